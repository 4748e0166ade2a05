/* Sends HTTP/1.1 requests and prints one line of JSON: a load generator with one thread and an epoll loop.
 *
 *   http_load PORT CONNECTIONS COUNT RATE HEAD BODY OFFSET PATH...
 *
 * COUNT requests go over CONNECTIONS kept connections of 127.0.0.1. With RATE 0 each connection sends its next request
 * when it has the answer (a closed loop: for CPU and the highest rate). Otherwise RATE requests a second are due at
 * fixed times, whatever has been answered, and a latency counts from the time when its request was due: a server that
 * stalls is charged for all that it kept waiting. HEAD is a file with the request's headers; a `{}` in it is the path.
 * BODY is a file whose 16 bytes at OFFSET are replaced by other hexadecimal digits each time, or `-`. Paths take turns.
 * SIGTERM ends it before COUNT requests; what has been answered by then is reported.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, STATUSES = 600, LINE_MAX_CHARS = 32 };
enum part { HEAD, COUNTED, SIZE_LINE, CHUNK, CHUNK_END, TRAILERS };

struct connection {
    int socket, busy, filled, status, closing;
    int64_t due;                 /* ns */
    size_t sent, total, left;    /* bytes of the request; bytes left of a body or chunk */
    const char *request;
    size_t request_size;
    enum part part;
    char head[HEAD_MAX + 1], line[LINE_MAX_CHARS + 1], digits[17];
};

static char *body, **requests;
static size_t body_size, digits_at;
static uint64_t seed, started, finished, errors, bytes, statuses[STATUSES];
static uint64_t count;
static int port, poller, request_count;
static uint32_t *latencies;  /* microseconds */
static double rate;
static int64_t began;
static volatile sig_atomic_t stopped;

static void stop(int number) { (void)number; stopped = 1; }

static void fail(const char *what) { perror(what); exit(1); }

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail(path);
    *size = ftell(file);
    rewind(file);
    char *text = calloc(1, *size + 1);
    if (fread(text, 1, *size, file) != *size) fail(path);
    fclose(file);
    return text;
}

static void watch(struct connection *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, operation, c->socket, &event)) fail("epoll_ctl");
}

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
    int yes = 1;
    setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(c->socket, F_SETFL, O_NONBLOCK);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void reopen(struct connection *c) {
    close(c->socket);
    open_connection(c);
}

/* The part of the request that is not sent yet: head, body before the digits, digits, body after them. */
static int remaining(struct connection *c, struct iovec *parts) {
    struct iovec all[] = {{(char *)c->request, c->request_size}, {body, digits_at}, {c->digits, 16},
                          {body + digits_at + 16, body_size - digits_at - 16}};
    size_t skip = c->sent;
    int used = 0;
    for (int i = 0; i < (body ? 4 : 1); i++) {
        if (skip >= all[i].iov_len) { skip -= all[i].iov_len; continue; }
        parts[used++] = (struct iovec){(char *)all[i].iov_base + skip, all[i].iov_len - skip};
        skip = 0;
    }
    return used;
}

static void finish(struct connection *c, int status) {
    if (status) statuses[status]++; else errors++;
    latencies[finished++] = (now() - c->due) / 1000;
    c->busy = 0;
}

static void send_more(struct connection *c) {
    while (c->sent < c->total) {
        struct iovec parts[4];
        ssize_t written = writev(c->socket, parts, remaining(c, parts));
        if (written < 0) {
            if (errno == EAGAIN) { watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT); return; }
            finish(c, 0);
            reopen(c);
            return;
        }
        c->sent += written;
    }
    if (body) watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void start(struct connection *c, int64_t due) {
    int number = started % request_count;
    c->request = requests[number];
    c->request_size = strlen(c->request);
    c->total = c->request_size + body_size;
    c->sent = c->filled = c->closing = 0;
    c->part = HEAD;
    c->due = due;
    c->busy = 1;
    snprintf(c->digits, sizeof c->digits, "%016llx", (unsigned long long)(seed + started));
    started++;
    send_more(c);
}

/* Reads status and framing of a complete head. Returns 1 when the answer has no body. */
static int parse_head(struct connection *c) {
    c->status = atoi(c->head + 9);
    if (c->status < 100 || c->status >= STATUSES) { fprintf(stderr, "no status: %.80s\n", c->head); exit(1); }
    c->closing = strcasestr(c->head, "\r\nconnection: close") != NULL;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (c->status == 304 || c->status == 204) return 1;
    if (length) {
        c->left = strtoull(length + 17, NULL, 10);
        c->part = COUNTED;
        return c->left == 0;
    }
    if (!strcasestr(c->head, "\r\ntransfer-encoding: chunked")) { fprintf(stderr, "no framing: %s\n", c->head); exit(1); }
    c->part = SIZE_LINE;
    c->line[0] = 0;
    return 0;
}

/* Collects a line of the chunked framing. Returns 1 at its end. */
static int take_line(struct connection *c, const char **at, const char *end) {
    size_t used = strlen(c->line);
    while (*at < end) {
        char byte = *(*at)++;
        if (byte == '\n') return 1;
        if (byte != '\r' && used < LINE_MAX_CHARS) { c->line[used++] = byte; c->line[used] = 0; }
    }
    return 0;
}

/* Takes the body's bytes. Returns 1 when the answer is complete. */
static int take_body(struct connection *c, const char *at, const char *end) {
    while (at < end) {
        if (c->part == COUNTED || c->part == CHUNK) {
            size_t taken = (size_t)(end - at) < c->left ? (size_t)(end - at) : c->left;
            at += taken;
            c->left -= taken;
            if (c->left) return 0;
            if (c->part == COUNTED) return 1;
            c->part = CHUNK_END;
            c->line[0] = 0;
            continue;
        }
        if (!take_line(c, &at, end)) return 0;
        if (c->part == CHUNK_END) c->part = SIZE_LINE;
        else if (c->part == TRAILERS && !c->line[0]) return 1;
        else if (c->part == SIZE_LINE) {
            c->left = strtoull(c->line, NULL, 16);
            c->part = c->left ? CHUNK : TRAILERS;
        }
        c->line[0] = 0;
    }
    return 0;
}

static int take(struct connection *c, const char *buffer, size_t size) {
    bytes += size;
    if (c->part != HEAD) return take_body(c, buffer, buffer + size);
    size_t room = HEAD_MAX - c->filled, taken = size < room ? size : room;
    int before = c->filled;
    memcpy(c->head + c->filled, buffer, taken);
    c->filled += taken;
    c->head[c->filled] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (c->filled == HEAD_MAX) { fprintf(stderr, "a head above %d bytes\n", HEAD_MAX); exit(1); }
        return 0;
    }
    size_t body_from = end + 4 - c->head - before;
    end[2] = 0;
    return parse_head(c) || take_body(c, buffer + body_from, buffer + size);
}

static void receive(struct connection *c) {
    static char buffer[1 << 18];
    for (;;) {
        ssize_t size = read(c->socket, buffer, sizeof buffer);
        if (size < 0 && errno == EAGAIN) return;
        if (size <= 0) {
            if (c->busy) finish(c, 0);
            reopen(c);
            return;
        }
        if (!c->busy) { fprintf(stderr, "bytes without a request\n"); exit(1); }
        if (take(c, buffer, size)) {
            finish(c, c->status);
            if (c->closing) reopen(c);
            return;
        }
        if ((size_t)size < sizeof buffer) return;
    }
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double at(double part) {
    if (!finished) return 0;
    uint64_t index = part * finished;
    return latencies[index < finished ? index : finished - 1] / 1000.0;
}

static void report(double seconds) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    qsort(latencies, finished, sizeof *latencies, compare);
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"errors\": %llu, \"bytes\": %llu, \"cpu_us\": %.2f, \"statuses\": {",
           (unsigned long long)finished, seconds, (unsigned long long)errors, (unsigned long long)bytes, finished ? cpu / finished : 0);
    const char *comma = "";
    for (int status = 0; status < STATUSES; status++)
        if (statuses[status]) {
            printf("%s\"%d\": %llu", comma, status, (unsigned long long)statuses[status]);
            comma = ", ";
        }
    printf("}, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f}\n", at(0.5), at(0.99), at(0.999),
           at(1));
}

/* Gives each free connection a request that is due. Returns the ns until the next is due, or -1 for no time limit. */
static int64_t start_due(struct connection *all, int connections) {
    for (int i = 0; i < connections && started < count; i++) {
        if (all[i].busy) continue;
        int64_t due = rate ? began + (int64_t)(started / rate * 1e9) : now();
        int64_t wait = due - now();
        if (rate && wait > 0) return wait;
        start(&all[i], due);
    }
    return -1;
}

int main(int argc, char **argv) {
    if (argc < 9) { fprintf(stderr, "http_load PORT CONNECTIONS COUNT RATE HEAD BODY OFFSET PATH...\n"); return 2; }
    int connections = atoi(argv[2]);
    size_t size;
    port = atoi(argv[1]);
    count = strtoull(argv[3], NULL, 10);
    rate = atof(argv[4]);
    char *head = read_file(argv[5], &size), *hole = strstr(head, "{}");
    if (!hole) { fprintf(stderr, "no {} in the head\n"); return 2; }
    if (strcmp(argv[6], "-")) body = read_file(argv[6], &body_size);
    digits_at = strtoull(argv[7], NULL, 10);
    request_count = argc - 8;
    requests = calloc(request_count, sizeof *requests);
    for (int i = 0; i < request_count; i++)
        if (asprintf(&requests[i], "%.*s%s%s", (int)(hole - head), head, argv[8 + i], hole + 2) < 0) fail("asprintf");
    latencies = calloc(count, sizeof *latencies);
    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    seed = (uint64_t)clock.tv_sec << 32 | clock.tv_nsec;  /* other bytes than in any run before */
    signal(SIGTERM, stop);
    poller = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    for (int i = 0; i < connections; i++) open_connection(&all[i]);
    began = now();
    while (finished < count && !stopped) {
        int64_t wait = start_due(all, connections);
        struct timespec limit = {wait / 1000000000, wait % 1000000000};
        struct epoll_event events[256];
        int ready = epoll_pwait2(poller, events, 256, wait < 0 ? NULL : &limit, NULL);
        if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT && c->busy) send_more(c);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
        }
    }
    report((now() - began) / 1e9);
    return 0;
}
