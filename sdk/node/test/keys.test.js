// keys.test.js: keys, authorities and certificates of the client, against small servers that keep what they get.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { inspect } from "node:util";

import { Client, HttpError, Unavailable } from "../lib/client.js";
import { Daemon, noDaemon } from "./daemon.js";

const LIMIT = { timeout: 60000 };
const failure = (promise) => promise.then((value) => assert.fail(`it resolved with ${value}`), (error) => error);
const NAMES = ["OFFLOAD_API_KEY", "OFFLOAD_CA"];
const saved = NAMES.map((name) => process.env[name]);
const open = [];

// Answers every request with the status, and keeps it. tls: the options of node:https.
async function serve(status, body, fields = {}, tls = undefined) {
  const requests = [];
  const take = (request, response) => {
    request.resume();
    const client = tls?.requestCert ? request.socket.getPeerCertificate().subject?.CN : undefined;
    requests.push({ path: request.url, authorization: request.headers.authorization, host: request.headers.host, client });
    response.writeHead(status, { "content-type": "application/json", ...fields }).end(JSON.stringify(body));
  };
  const server = tls === undefined ? createServer(take) : createTlsServer(tls, take);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(server);
  return { requests, port: server.address().port, url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${server.address().port}` };
}

beforeEach(() => NAMES.forEach((name) => { delete process.env[name]; }));
afterEach(() => {
  for (const server of open.splice(0)) {
    server.close();
    server.closeAllConnections?.();
  }
});
after(() => NAMES.forEach((name, i) => { if (saved[i] !== undefined) process.env[name] = saved[i]; }));

test("the key is the option, else a header, else $OFFLOAD_API_KEY", LIMIT, async () => {
  const { url, requests } = await serve(200, { types: [] });
  await new Client(url).types();
  process.env.OFFLOAD_API_KEY = "from-outside";
  await new Client(url).types();
  await new Client(url, { key: "mine" }).types();
  await new Client(url, { headers: { Authorization: "Basic eA==" } }).types();
  await new Client(url, { key: "mine", headers: { Authorization: "Basic eA==" } }).types();
  process.env.OFFLOAD_API_KEY = "";
  await new Client(url).types();
  assert.deepEqual(requests.map(({ authorization }) => authorization),
                   [undefined, "Bearer from-outside", "Bearer mine", "Basic eA==", "Bearer mine", undefined]);
});

test("what is no key is refused, and not shown", () => {
  for (const key of ["", "se cret", "secret\r\nX-Y: z", "sécret", "secret".repeat(1000)]) {
    const check = (error) => error instanceof TypeError && !error.message.includes("cret");
    assert.throws(() => new Client("http://127.0.0.1:1", { key }), check);
  }
});

test("who is not let in is told at once, without the key", LIMIT, async () => {
  for (const [status, code] of [[401, "unauthorized"], [403, "forbidden"]]) {
    const { url, requests } = await serve(status, { status, code, detail: "why" });
    const client = new Client(url, { key: "sesame" });
    const error = await failure(client.types());
    assert.ok(error instanceof HttpError && !(error instanceof Unavailable));
    assert.deepEqual([error.status, error.code, requests.length], [status, code, 1]);
    assert.doesNotMatch(inspect(error, { depth: 10, showHidden: true }) + inspect(client), /sesame/);
  }
});

test("a quota that is used up passes", LIMIT, async () => {
  let tries = 0;
  const client = new Client("http://127.0.0.1:1", {
    fetch: async () => {
      tries++;
      return tries === 1
        ? new Response(JSON.stringify({ status: 429, code: "over_quota" }), { status: 429, headers: { "retry-after": "1" } })
        : new Response(JSON.stringify({ types: [] }));
    },
  });
  assert.deepEqual(await client.types(), []);
  assert.equal(tries, 2);
});

test("the key goes to no other server", LIMIT, async () => {
  const other = await serve(200, { types: [] });
  const { url, requests } = await serve(307, {}, { location: `${other.url}/v1/types` });
  await failure(new Client(url, { key: "sesame", retryFor: 0 }).types());
  assert.deepEqual([requests.length, other.requests.length], [1, 0]);
});

test("files and a fetch do not go together", () => {
  const fetch = globalThis.fetch;
  for (const option of ["ca", "cert", "certKey"])
    assert.throws(() => new Client("https://localhost", { fetch, [option]: "x.pem" }), /not for a fetch of yours/);
  assert.throws(() => new Client("https://localhost", { certKey: "x.pem" }), /and that is not given/);
  assert.throws(() => new Client("https://localhost", { ca: "/nowhere/x.pem" }), { code: "ENOENT", path: "/nowhere/x.pem" });
});

const noOpenssl = spawnSync("openssl", ["version"]).status === 0 ? false : "there is no openssl to make certificates with";

describe("https", { skip: noOpenssl, ...LIMIT }, () => {
  let folder, pem, key, tls;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "offload-node-"));
    [pem, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const made = spawnSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=alice",
                                       "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", pem]);
    assert.equal(made.status, 0, String(made.stderr));
    tls = { cert: readFileSync(pem), key: readFileSync(key) };
  });
  after(() => rmSync(folder, { recursive: true }));

  test("ca and $OFFLOAD_CA name the authority; without one nothing is sent, and at once", async () => {
    const { url, port, requests } = await serve(200, { types: [] }, {}, tls);
    const error = await failure(new Client(url, { key: "sesame" }).types());
    assert.ok(error instanceof Unavailable);
    assert.match(error.message, /cannot be reached: self.signed certificate/);
    assert.equal(requests.length, 0);
    await new Client(url, { key: "sesame", ca: pem }).types();
    process.env.OFFLOAD_CA = pem;
    await new Client(`https://localhost:${port}/prefix/`, { key: "sesame" }).types();
    assert.deepEqual(requests.map(({ path, authorization, host }) => [path, authorization, host]), [
      ["/v1/types", "Bearer sesame", `127.0.0.1:${port}`],
      ["/prefix/v1/types", "Bearer sesame", `localhost:${port}`],
    ]);
    assert.throws(() => new Client(url, { ca: key }), /has no PEM of what is wanted/);
  });

  test("a certificate for another name is not trusted", async () => {
    const { port, requests } = await serve(200, { types: [] }, {}, tls);
    const error = await failure(new Client(`https://127.0.0.2:${port}`, { ca: pem, retryFor: 0 }).types());
    assert.ok(error instanceof Unavailable);
    assert.equal(requests.length, 0);
  });

  test("cert is the client's own certificate", async () => {
    const { url, requests } = await serve(200, { types: [] }, {}, { ...tls, ca: tls.cert, requestCert: true });
    await new Client(url, { ca: pem, cert: pem, certKey: key }).types();
    const both = join(folder, "both.pem");
    writeFileSync(both, Buffer.concat([tls.cert, tls.key]), { mode: 0o600 });
    await new Client(url, { ca: pem, cert: both }).types();
    assert.deepEqual(requests.map(({ client }) => client), ["alice", "alice"]);
    await failure(new Client(url, { ca: pem, retryFor: 0 }).types());
    assert.equal(requests.length, 2);
    assert.throws(() => new Client(url, { ca: pem, cert: pem }), /has no PEM of what is wanted/); // without its key
  });

  test("jobs and streams go by it, too", async () => {
    const answer = { id: "1", status: "succeeded", result: 7 };
    const { url, requests } = await serve(200, answer, {}, tls);
    const client = new Client(url, { ca: pem, key: "sesame" });
    assert.deepEqual(await Promise.all([1, 2, 3].map((n) => client.run("double", { n }))), [7, 7, 7]);
    assert.equal(requests.filter(({ authorization }) => authorization === "Bearer sesame").length, 3);
  });
});

test("a service with --keys", { skip: noDaemon, ...LIMIT }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "offload-node-"));
  const line = (name, scopes) => `${name} sha256:${createHash("sha256").update(`the key of ${name}`.replaceAll(" ", "-")).digest("hex")} ${scopes}\n`;
  writeFileSync(join(folder, "keys"), line("alice", "submit,read") + line("reader", "read"));
  const daemon = await Daemon.start("--keys", join(folder, "keys"));
  try {
    const alice = new Client(daemon.url, { key: "the-key-of-alice" });
    const job = await alice.submit("echo", { value: 7 });
    assert.deepEqual(await job.result(), { value: 7 });
    for (const [key, id, status] of [["the-key-of-reader", job.id, 404], ["another", job.id, 401], [undefined, job.id, 401]]) {
      const error = await failure(new Client(daemon.unix, { key }).get(id));
      assert.equal(error.status, status);
    }
    const error = await failure(new Client(daemon.url, { key: "the-key-of-reader" }).run("echo", { value: 7 }));
    assert.deepEqual([error.status, error.code], [403, "forbidden"]);
  } finally {
    await daemon.stop();
    rmSync(folder, { recursive: true });
  }
});
