/**
 * Bull Board asks for no credential, so the browser of the person at this machine is its only door. A page from
 * elsewhere must not come in through it: neither by a DNS name that was rebound to 127.0.0.1 (its name is in `Host`),
 * nor by a form or a script of its own (its address is in `Origin`).
 */

const LOOPBACK = /^(localhost|[\w.-]+\.localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?$/i;

/** Why a request with these headers is refused, or nothing when it may come in. */
export function refusal({ host, origin }) {
  if (!LOOPBACK.test(host ?? "")) return "Bull Board answers to localhost and loopback addresses only.";
  if (origin !== undefined && origin.toLowerCase() !== `http://${host.toLowerCase()}`) {
    return "Bull Board takes no requests from pages of other sites.";
  }
  return undefined;
}

/** Express's middleware: 403 for what is refused. */
export function loopbackOnly(request, response, next) {
  const reason = refusal(request.headers);
  if (reason === undefined) {
    next();
    return;
  }
  response.statusCode = 403;
  response.setHeader("Content-Type", "text/plain; charset=utf-8");
  response.end(`${reason}\n`);
}
