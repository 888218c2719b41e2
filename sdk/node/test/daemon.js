// daemon.js: a real offloadd for tests of the client, and proxies that lose what it says.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const BUILT = fileURLToPath(new URL("../../../build/offloadd", import.meta.url));
const OFFLOADD = process.env.OFFLOADD ? resolve(process.env.OFFLOADD) : BUILT;

// For the option `skip` of a test: only where this package is by itself, without a service, its tests are skipped.
export const noDaemon = process.env.OFFLOADD || existsSync(OFFLOADD) ? false : "there is no offloadd";

export const programCommand = (name) =>
  `${process.execPath} ${fileURLToPath(new URL(`programs/${name}`, import.meta.url))}`;

export async function until(condition) {
  for (const end = Date.now() + 60000; !(await condition());) {
    if (Date.now() > end)
      throw new Error(`it has not come true in a minute: ${condition}`);
    await new Promise((go) => { setTimeout(go, 10); });
  }
}

export class Daemon {
  static async start(...options) {
    const daemon = new Daemon();
    daemon.folder = await mkdtemp(join(tmpdir(), "offload-node-"));
    await daemon.begin(...options);
    return daemon;
  }

  // Starts the process, again if it has ended: on another port, with the same data.
  async begin(...options) {
    const args = ["--listen", "127.0.0.1:0", "--listen", `unix:${this.folder}/sock`, "--data-dir", `${this.folder}/data`,
                  "--workers", "2", "--enable-test-types", "--log-format", "json", ...options];
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
    this.child = spawn(OFFLOADD, args, { stdio: ["ignore", "ignore", "pipe"], env });
    this.exited = once(this.child, "exit").then(([code, signal]) => ({ code, signal }));
    this.log = "";
    await new Promise((ready, fail) => {
      this.child.on("error", fail);
      this.child.on("exit", () => fail(new Error(`offloadd has ended: ${this.log}`)));
      this.child.stderr.setEncoding("utf8").on("data", (text) => {
        this.log += text;
        const line = /^.*"event":"ready".*$/m.exec(this.log);
        if (line !== null && this.port === undefined) {
          this.port = Number(JSON.parse(line[0]).listen.find((address) => !address.startsWith("unix:")).split(":").pop());
          ready();
        }
      });
    });
    this.url = `http://127.0.0.1:${this.port}`;
    this.unix = `unix:${this.folder}/sock`;
  }

  async get(path) {
    return (await fetch(this.url + path)).json();
  }

  jobs(query = "") {
    return this.get(`/v1/jobs?limit=1000${query}`).then(({ jobs }) => jobs);
  }

  async kill() {
    this.child.kill("SIGKILL");
    await this.exited;
    this.port = undefined;
  }

  async stop() {
    this.child.kill("SIGTERM");
    const { code } = await this.exited;
    await rm(this.folder, { recursive: true });
    if (code !== 0) // a leak, for example
      throw new Error(`offloadd has ended with ${code}: ${this.log.slice(-4000)}`);
  }
}

// A proxy for connections to `port`, by TCP and by a Unix socket. lose(chunk, connection) is asked about each chunk of an
// answer. If it is true, the chunk is dropped and the connection closed. connection is { socket, bytes }: of the client,
// and how much was passed on.
export class Proxy {
  // Calls body(proxy).
  static async with(port, lose, body) {
    const proxy = await Proxy.start(port, lose);
    try {
      await body(proxy);
    } finally {
      await proxy.stop();
    }
  }

  static async start(port, lose) {
    const proxy = new Proxy();
    proxy.port = port;
    proxy.lost = 0;
    proxy.sockets = new Set();
    proxy.lose = lose;
    proxy.folder = await mkdtemp(join(tmpdir(), "offload-node-proxy-"));
    proxy.servers = [createServer().listen(0, "127.0.0.1"), createServer().listen(`${proxy.folder}/sock`)];
    proxy.servers.forEach((server) => server.on("connection", (socket) => proxy.#connect(socket)));
    await Promise.all(proxy.servers.map((server) => once(server, "listening")));
    proxy.url = `http://127.0.0.1:${proxy.servers[0].address().port}`;
    proxy.unix = `unix:${proxy.folder}/sock`;
    return proxy;
  }

  #connect(client) {
    const connection = { socket: client, bytes: 0 };
    const server = createConnection(this.port, "127.0.0.1");
    const close = () => {
      client.destroy();
      server.destroy();
      this.sockets.delete(client);
    };
    this.sockets.add(client);
    client.on("data", (chunk) => server.write(chunk)).on("end", () => server.end()).on("error", close).on("close", close);
    server.on("error", close).on("close", close);
    server.on("data", (chunk) => {
      if (this.lose(chunk, connection)) {
        this.lost++;
        close();
        return;
      }
      connection.bytes += chunk.length;
      if (!client.write(chunk)) {
        server.pause();
        client.once("drain", () => server.resume());
      }
    });
  }

  async stop() {
    const closed = this.servers.map((server) => once(server.close(), "close"));
    this.sockets.forEach((socket) => socket.destroy());
    await Promise.all(closed);
    await rm(this.folder, { recursive: true });
  }
}
