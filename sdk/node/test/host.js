// host.js: the host's side of the conversation, for tests: it starts a program as offload does.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

import { frame } from "../lib/frames.js";

export const programPath = (name) => fileURLToPath(new URL(`programs/${name}`, import.meta.url));

export class Host {
  #bytes = Buffer.alloc(0);
  #wake = () => {};
  #ended = false;
  frames = []; // all that have come

  constructor(path, env = {}) {
    this.child = spawn(process.execPath, [path], {
      stdio: ["ignore", "pipe", "pipe", "pipe"], // number 3 is a Unix stream socket
      env: { ...process.env, NODE_TEST_CONTEXT: undefined, OFFLOAD_FD: "3", ...env },
    });
    this.exited = once(this.child, "close").then(([code, signal]) => ({ code, signal }));
    this.stdout = this.stderr = "";
    this.child.stdout.on("data", (bytes) => { this.stdout += bytes; });
    this.child.stderr.on("data", (bytes) => { this.stderr += bytes; });
    this.socket = this.child.stdio[3];
    this.socket.on("data", (bytes) => {
      this.#bytes = Buffer.concat([this.#bytes, bytes]);
      this.#wake();
    });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  // The next message; null at the end of the stream.
  async receive() {
    for (;;) {
      if (this.#bytes.length >= 8) {
        const whole = 8 + this.#bytes.readUInt32LE(0);
        if (this.#bytes.readUInt32LE(4) !== 0)
          throw new Error("a frame with a binary part");
        if (this.#bytes.length >= whole) {
          const message = JSON.parse(this.#bytes.toString("utf8", 8, whole));
          this.#bytes = this.#bytes.subarray(whole);
          this.frames.push(message);
          return message;
        }
      }
      if (this.#ended)
        return null;
      await new Promise((resolve) => { this.#wake = resolve; });
    }
  }

  send(message) {
    this.socket.write(frame(JSON.stringify(message)));
  }

  // The answers to `count` calls from `first` on, each {value} or {error}.
  async results(first, count) {
    const answers = [];
    while (answers.length < count) {
      const message = await this.receive();
      if (message === null)
        throw new Error(`the program has ended: ${this.stderr}`);
      if (message.kind !== "result")
        continue;
      if (message.call !== first + answers.length)
        throw new Error(`${JSON.stringify(message)} comes where ${first + answers.length} is due`);
      if (message.values !== undefined)
        answers.push(...message.values.map((value) => ({ value })));
      else
        answers.push("error" in message ? { error: message.error } : { value: message.value });
    }
    return answers;
  }

  async call(type, params, call = 1) {
    this.send({ kind: "run", type, call, calls: [params], attempt: 0 });
    return (await this.results(call, 1))[0];
  }

  async end() {
    this.socket.destroy();
    this.child.kill("SIGKILL");
    await this.exited;
  }
}
