// transport.js: sends one request and gives its answer: by fetch, or by node:http to a Unix socket, which the fetch of
// Node cannot do without a package.
//
// send({ method, path, headers, body, signal }) resolves when the head of the answer is there, to
// { status, header(name), body }: the body is an async iterable of Uint8Array that throws if it is cut.

const LOCALHOST = "localhost"; // a service takes that name on each of its addresses

// Where a service is. Throws a TypeError if the URL is none that can be used.
export function parseAddress(url) {
  const text = String(url);
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (!path.startsWith("/") || path.includes("\0"))
      throw new TypeError(`not a URL that can be used: ${text} (unix:/PATH)`);
    return { text, socketPath: path };
  }
  let parsed = null;
  try {
    parsed = new URL(text);
  } catch { /* told below */ }
  if (!["http:", "https:"].includes(parsed?.protocol) || parsed.username || parsed.password || parsed.search ||
      parsed.hash)
    throw new TypeError(`not a URL that can be used: ${text} (http://HOST:PORT, https://HOST or unix:/PATH)`);
  return { text, base: parsed.origin + parsed.pathname.replace(/\/+$/, "") };
}

function fetchTransport(base, fetchFunction) {
  return async ({ method, path, headers, body, signal }) => {
    const response = await fetchFunction(base + path, { method, headers, body, signal, redirect: "manual" });
    return { status: response.status, header: (name) => response.headers.get(name), body: response.body ?? [] };
  };
}

function socketTransport(socketPath) {
  let agent = null;
  return async ({ method, path, headers, body, signal }) => {
    const { Agent, request } = await import("node:http");
    agent ??= new Agent({ keepAlive: true });
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const options = { agent, socketPath, method, path, headers: { host: LOCALHOST, ...headers }, signal };
      const sent = request(options, (response) => {
        response.on("error", () => {}); // of an answer that nobody reads any more
        const header = (name) => response.headers[name.toLowerCase()] ?? null;
        resolve({ status: response.statusCode, header, body: response });
      });
      sent.on("error", reject);
      sent.end(body);
    });
  };
}

// fetchFunction: undefined is the one of Node.
export function makeTransport(address, fetchFunction) {
  if (address.socketPath !== undefined)
    return socketTransport(address.socketPath);
  return fetchTransport(address.base, fetchFunction ?? ((...args) => globalThis.fetch(...args)));
}
