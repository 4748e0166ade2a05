/* Many clients of the notification stream in one process: epoll, no thread, no memory per event.
 *
 *   cc -O2 -o sse_clients bench/sse_clients.c
 *   ./sse_clients HOST PORT CLIENTS UNTIL SECONDS [LAST_EVENT_ID]
 *
 * Opens CLIENTS streams, prints {"connected": seconds} when each has its first bytes, and reads until each has the
 * event UNTIL, or for SECONDS. Then it prints one line of JSON: the seconds to the end; the events that were read; gaps,
 * repetitions and closed connections, which should be 0; and the delay of an event's last client, in ms, over all
 * events whose data begins with {"sent":NANOSECONDS, by CLOCK_REALTIME, as the measuring program writes it.
 * A chunk of the response has to hold whole events, as Gallery's do.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OPENING = 256, LINE = 48, EVENTS = 1 << 20 };

struct client {
    int fd, open, begun, done;
    long last, id; /* the last event read; the id in front of the event that is being read */
    int is_event;
    int length; /* of the line's beginning */
    char line[LINE];
};

static struct client *clients;
static double *delays; /* of each event's last client */
static int *received;
static long count, until, first = -1;
static long begun, finished, gaps, repetitions, closed, refused, events, opening;
static char request[512];
static int poller, request_length;
static struct sockaddr_in address;

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void dial(struct client *c) {
    int one = 1;
    struct epoll_event wanted = {.events = EPOLLOUT | EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) fail("connect");
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &wanted) < 0) fail("epoll_ctl");
    opening++;
}

static void finish_line(struct client *c, double clock) {
    c->line[c->length < LINE ? c->length : LINE - 1] = 0;
    if (!strncmp(c->line, "id: ", 4)) {
        c->id = atol(c->line + 4);
        c->is_event = 0;
        if (c->last < 0) c->last = c->id; /* the number at which the stream begins */
        if (!c->done && c->id >= until && c->last >= until) c->done = 1, finished++;
    } else if (!strncmp(c->line, "event: reset", 12)) {
        gaps++;
    } else if (!strncmp(c->line, "event: ", 7)) {
        c->is_event = 1;
        if (c->id <= c->last) repetitions++;
        if (c->id > c->last + 1) gaps++;
        c->last = c->id;
        events++;
        if (!c->done && c->last >= until) c->done = 1, finished++;
    } else if (c->is_event && !strncmp(c->line, "data: {\"sent\":", 14)) {
        double delay = clock - atoll(c->line + 14) / 1e9;
        if (first < 0) first = c->id;
        long place = c->id - first + 1000;
        if (place >= 0 && place < EVENTS) {
            received[place]++;
            if (delay > delays[place]) delays[place] = delay;
        }
    }
    c->length = 0;
}

static void take(struct client *c, const char *data, ssize_t size) {
    double clock = now(CLOCK_REALTIME);
    const char *end = data + size;
    if (!c->begun) {
        c->begun = 1, begun++, opening--;
        if (strncmp(data, "HTTP/1.1 200", 12)) refused++;
    }
    while (data < end) {
        const char *stop = memchr(data, '\n', end - data);
        const char *to = stop ? stop : end;
        int room = LINE - 1 - c->length, piece = to - data < room ? to - data : room;
        if (piece > 0) memcpy(c->line + c->length, data, piece), c->length += piece;
        if (!stop) break;
        finish_line(c, clock);
        data = stop + 1;
    }
}

static void drop(struct client *c) {
    closed++;
    c->open = 0;
    if (!c->begun) opening--;
    if (!c->done) c->done = 1, finished++;
    close(c->fd);
}

static void serve(struct client *c, uint32_t happened) {
    static char buffer[1 << 18];
    if (!c->open && happened & EPOLLOUT) {
        struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = c};
        if (send(c->fd, request, request_length, MSG_NOSIGNAL) != request_length) fail("send");
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &wanted);
        c->open = 1;
    }
    if (happened & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
        ssize_t size = recv(c->fd, buffer, sizeof buffer, 0);
        if (size > 0)
            take(c, buffer, size);
        else if (size == 0 || errno != EAGAIN)
            drop(c);
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(double began) {
    long whole = 0;
    for (long i = 0; i < EVENTS; i++)
        if (received[i] == count) delays[whole++] = delays[i];
    qsort(delays, whole, sizeof *delays, ascending);
    printf("{\"seconds\": %.3f, \"events\": %ld, \"gaps\": %ld, \"repetitions\": %ld, \"closed\": %ld, \"refused\": %ld, "
           "\"whole\": %ld", now(CLOCK_MONOTONIC) - began, events, gaps, repetitions, closed, refused, whole);
    if (whole)
        printf(", \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f", delays[whole / 2] * 1000,
               delays[(long)((whole - 1) * 0.99 + 0.5)] * 1000, delays[whole - 1] * 1000);
    printf("}\n");
}

int main(int argc, char **argv) {
    if (argc < 6) return fprintf(stderr, "HOST PORT CLIENTS UNTIL SECONDS [LAST_EVENT_ID]\n"), 2;
    count = atol(argv[3]), until = atol(argv[4]);
    struct rlimit files = {count + 64, count + 64};
    setrlimit(RLIMIT_NOFILE, &files);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    request_length = snprintf(request, sizeof request, "GET /api/v1/notifications/stream HTTP/1.1\r\nHost: %s:%s\r\n%s%s%s\r\n",
                              argv[1], argv[2], argc > 6 ? "Last-Event-ID: " : "", argc > 6 ? argv[6] : "",
                              argc > 6 ? "\r\n" : "");
    clients = calloc(count, sizeof *clients);
    delays = calloc(EVENTS, sizeof *delays);
    received = calloc(EVENTS, sizeof *received);
    poller = epoll_create1(0);
    double began = now(CLOCK_MONOTONIC), end = began + atof(argv[5]);
    long started = 0;
    int told = 0;
    while (finished < count && now(CLOCK_MONOTONIC) < end) {
        struct epoll_event happened[512];
        for (; started < count && opening < OPENING; started++) {
            clients[started].last = argc > 6 ? atol(argv[6]) : -1;
            dial(&clients[started]);
        }
        int ready = epoll_wait(poller, happened, 512, 100);
        for (int i = 0; i < ready; i++) serve(happened[i].data.ptr, happened[i].events);
        if (!told && begun == count) {
            told = 1;
            printf("{\"connected\": %.3f}\n", now(CLOCK_MONOTONIC) - began);
            fflush(stdout);
        }
    }
    report(began);
    return 0;
}
