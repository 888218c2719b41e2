// transport.js: sends one request and gives its answer: by fetch, or by node:http and node:https for what the fetch of
// Node cannot do without a package: Unix sockets, authorities of one's own, and certificates of clients. None of them
// follows a redirect, so a key goes to no other host.
//
// send({ method, path, headers, body, signal }) resolves when the head of the answer is there, to
// { status, header(name), body }: the body is an async iterable of Uint8Array that throws if it is cut.

import { readFileSync } from "node:fs";

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
  return { text, base: parsed.origin + parsed.pathname.replace(/\/+$/, ""), secure: parsed.protocol === "https:" };
}

// What node:tls is told, of files in PEM. ca: the authorities to trust, and no others; cert, certKey: our certificate and
// its private key. undefined: there is nothing to tell. Throws what readFileSync throws, or a TypeError.
export function readTls({ ca, cert, certKey }) {
  if (certKey !== undefined && cert === undefined)
    throw new TypeError("certKey is the private key of cert, and that is not given");
  if (ca === undefined && cert === undefined)
    return undefined;
  const read = (file, what) => {
    const text = file === undefined ? undefined : readFileSync(file, "utf8");
    if (text !== undefined && !what.test(text))
      throw new TypeError(`${file} has no PEM of what is wanted`);
    return text;
  };
  const certificate = /-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/;
  return { ca: read(ca, certificate), cert: read(cert, certificate), key: read(certKey ?? cert, /PRIVATE KEY-----/) };
}

function fetchTransport(base, fetchFunction) {
  return async ({ method, path, headers, body, signal }) => {
    const response = await fetchFunction(base + path, { method, headers, body, signal, redirect: "manual" });
    return { status: response.status, header: (name) => response.headers.get(name), body: response.body ?? [] };
  };
}

// load: imports the module. target(path, headers): the options that say where the request goes.
function requestTransport(load, agentOptions, target) {
  let agent = null;
  return async ({ method, path, headers, body, signal }) => {
    const { Agent, request } = await load();
    agent ??= new Agent({ keepAlive: true, ...agentOptions });
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const sent = request({ agent, method, signal, ...target(path, headers) }, (response) => {
        response.on("error", () => {}); // of an answer that nobody reads any more
        const header = (name) => response.headers[name.toLowerCase()] ?? null;
        resolve({ status: response.statusCode, header, body: response });
      });
      sent.on("error", reject);
      sent.end(body);
    });
  };
}

function socketTransport(socketPath) {
  return requestTransport(() => import("node:http"), {}, (path, headers) =>
    ({ socketPath, path, headers: { host: LOCALHOST, ...headers } }));
}

function tlsTransport(base, tls) {
  const { hostname, port, pathname } = new URL(base);
  const host = hostname.replace(/^\[|\]$/g, ""); // of an IPv6 address
  const prefix = pathname.replace(/\/+$/, "");
  return requestTransport(() => import("node:https"), tls, (path, headers) =>
    ({ host, port: port || 443, path: prefix + path, headers }));
}

// fetchFunction: undefined is the one of Node. tls: of readTls; only for https.
export function makeTransport(address, fetchFunction, tls) {
  if (address.socketPath !== undefined)
    return socketTransport(address.socketPath);
  if (address.secure && tls !== undefined)
    return tlsTransport(address.base, tls);
  return fetchTransport(address.base, fetchFunction ?? ((...args) => globalThis.fetch(...args)));
}
