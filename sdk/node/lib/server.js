// server.js: the conversation with the host (docs/programs.md). One call runs at a time, in the order of the numbers.
// Values are gathered, and sent about every millisecond, before a call that may be slow, and when nothing is left to do.
import { readSync } from "node:fs";
import { Socket } from "node:net";

import { Context, setCurrent, setLook } from "./context.js";
import { describe } from "./errors.js";
import { FRAME_MAX, frame, FrameReader } from "./frames.js";
import { closeTasks, findTask } from "./tasks.js";
import { encode, quote } from "./values.js";

const FLUSH_MS = 1;
const GATHER_MAX = 1048576; // characters of values in one frame
const CHUNKS_MAX = 4096;
const EXIT_MS = 500; // for answers that the host has not read yet

const now = () => performance.now();
const nextTurn = () => new Promise((resolve) => { setImmediate(resolve); });

// What is to be sent, in order: frames, and behind them values that become a frame of their own.
class Outbox {
  #socket;
  #frames = [];
  #first = 0; // the call of the first value
  #values = [];
  #gathered = 0; // characters of the values
  #since = 0; // when the oldest of all was put in
  #timer = null;

  constructor(socket) {
    this.#socket = socket;
  }

  get isEmpty() {
    return this.#frames.length === 0 && this.#values.length === 0;
  }

  get isDue() {
    return !this.isEmpty && now() - this.#since >= FLUSH_MS;
  }

  addValue(call, text) {
    if (this.isEmpty)
      this.#since = now();
    if (this.#values.length > 0 &&
        (call !== this.#first + this.#values.length || this.#gathered + text.length > GATHER_MAX))
      this.#closeValues();
    if (this.#values.length === 0)
      this.#first = call;
    this.#values.push(text);
    this.#gathered += text.length + 1;
  }

  addMessage(text) {
    if (this.isEmpty)
      this.#since = now();
    this.#closeValues();
    this.#frames.push(frame(text));
  }

  #closeValues() {
    if (this.#values.length === 0)
      return;
    const what = this.#values.length === 1 ? `"value":${this.#values[0]}` : `"values":[${this.#values.join(",")}]`;
    this.#frames.push(frame(`{"kind":"result","call":${this.#first},${what}}`));
    this.#values = [];
    this.#gathered = 0;
  }

  // For the time in which a function waits for something.
  flushSoon() {
    if (!this.isEmpty)
      this.#timer ??= setTimeout(() => this.flush(), FLUSH_MS);
  }

  flush() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#closeValues();
    if (this.#frames.length > 0)
      this.#socket.write(this.#frames.length === 1 ? this.#frames[0] : Buffer.concat(this.#frames));
    this.#frames = [];
  }
}

async function takeChunks(chunks) {
  const texts = [];
  for await (const chunk of chunks) {
    if (typeof chunk !== "object" || chunk === null || Array.isArray(chunk))
      throw new TypeError("split has to give objects, the parameters of the chunks");
    if (texts.push(encode(chunk)) > CHUNKS_MAX)
      throw new RangeError(`split gave more than ${CHUNKS_MAX} chunks`);
  }
  if (texts.length === 0)
    throw new RangeError("split gave no chunk");
  return texts;
}

class Server {
  #fd;
  #socket;
  #outbox;
  #reader = new FrameReader((message) => this.#take(message));
  #queue = []; // calls that have not begun
  #running = null; // the call that has
  #busy = false; // #work is at it
  #lookedAt = 0;
  #waiting = Buffer.allocUnsafe(65536); // for #look

  constructor(fd) {
    this.#fd = fd;
    this.#socket = new Socket({ fd, readable: true, writable: true });
    this.#outbox = new Outbox(this.#socket);
    this.#socket.on("data", (bytes) => this.#feed(bytes));
    this.#socket.on("end", () => this.#exit());
    this.#socket.on("error", () => process.exit(0)); // the host is gone
    setLook(() => this.#look());
    const { types, sources } = closeTasks();
    const hello = { kind: "hello", protocol: 1, fork: false, sources, types };
    this.#outbox.addMessage(JSON.stringify(hello));
    this.#outbox.flush();
  }

  #feed(bytes) {
    try {
      this.#reader.feed(bytes);
    } catch (error) {
      process.stderr.write(`offload: ${error.message}\n`);
      process.exit(1);
    }
  }

  // Reads what has come while a function has the thread. The event loop is not reading now, so the order is kept.
  #look() {
    if (now() - this.#lookedAt < FLUSH_MS)
      return;
    this.#lookedAt = now();
    let size;
    try {
      size = readSync(this.#fd, this.#waiting);
    } catch {
      return; // EAGAIN: nothing has come
    }
    if (size === 0)
      this.#exit();
    else
      this.#feed(Buffer.from(this.#waiting.subarray(0, size)));
  }

  #take(message) {
    switch (message.kind) {
      case "run": {
        const { type, call, calls, attempt, deadline } = message;
        calls.forEach((params, i) => this.#queue.push({ kind: "run", type, call: call + i, params, attempt, deadline }));
        break;
      }
      case "plan":
      case "merge":
        this.#queue.push(message);
        break;
      case "cancel":
        this.#cancel(message.call);
        break;
      case "exit":
        this.#exit();
        break;
      default: // of a later version
    }
    if (!this.#busy && this.#queue.length > 0)
      this.#work();
  }

  #cancel(call) {
    if (this.#running?.call === call)
      this.#running.context.abort();
    const waiting = this.#queue.find((other) => other.call === call);
    if (waiting !== undefined)
      waiting.isCancelled = true;
  }

  #exit() {
    this.#outbox.flush();
    if (this.#socket.writableLength === 0)
      process.exit(0);
    this.#socket.end(() => process.exit(0));
    setTimeout(() => process.exit(0), EXIT_MS);
  }

  async #work() {
    this.#busy = true;
    let turnAt = now();
    for (let call = this.#queue.shift(); call !== undefined; call = this.#queue.shift()) {
      await this.#answer(call);
      if (this.#outbox.isDue)
        this.#outbox.flush();
      if (now() - turnAt >= FLUSH_MS) { // so that a `cancel` is read
        await nextTurn();
        turnAt = now();
      }
      if (this.#socket.writableNeedDrain)
        await new Promise((resolve) => { this.#socket.once("drain", resolve); });
    }
    this.#outbox.flush();
    this.#busy = false;
  }

  async #answer(call) {
    if (call.isCancelled) {
      this.#addError(call, { code: "cancelled" });
      return;
    }
    const task = findTask(call.type);
    if (task === undefined || task.slow || this.#outbox.isDue)
      this.#outbox.flush();
    const context = new Context({
      attempt: call.attempt,
      deadline: call.deadline === undefined ? undefined : call.deadline * 1000,
      sendProgress: (done, total) => {
        this.#outbox.addMessage(`{"kind":"progress","call":${call.call},"done":${done},"total":${total}}`);
        this.#outbox.flush();
      },
    });
    const begin = now();
    call.context = context;
    this.#running = call;
    setCurrent(context);
    try {
      if (task === undefined)
        throw new Error(`there is no task ${quote(String(call.type))}`);
      let outcome = this.#begin(call, task, context);
      if (typeof outcome?.then === "function") {
        this.#outbox.flushSoon();
        outcome = await outcome;
      }
      this.#addOutcome(call, outcome);
    } catch (error) {
      this.#addError(call, context.cancelled ? { code: "cancelled" } : describe(error));
    }
    context.close();
    setCurrent(null);
    this.#running = null;
    if (task !== undefined)
      task.slow = now() - begin >= FLUSH_MS;
  }

  // Returns the value, or the texts of the chunks, or a promise of one of them.
  #begin(call, task, context) {
    if (call.kind === "plan")
      return takeChunks(task.split(task.decode(call.params), call.chunks));
    return call.kind === "merge" ? task.merge(call.parts) : task.fn(task.decode(call.params), context);
  }

  #addOutcome(call, outcome) {
    if (call.kind === "plan") {
      this.#outbox.addMessage(`{"kind":"planned","call":${call.call},"chunks":[${outcome.join(",")}]}`);
      return;
    }
    const text = encode(outcome);
    if (text.length > GATHER_MAX && Buffer.byteLength(text) > FRAME_MAX - 100)
      throw new RangeError("the result is larger than a frame can be, 256 MiB");
    this.#outbox.addValue(call.call, text);
  }

  #addError(call, error) {
    this.#outbox.addMessage(`{"kind":"result","call":${call.call},"error":${encode(error)}}`);
  }
}

let server = null;

// Answers the host until it says `exit`. It is called by itself when offload has started the process. Elsewhere it does
// nothing, so that a file with tasks can be imported by its tests.
export function serve() {
  const text = process.env.OFFLOAD_FD;
  if (server !== null || text === undefined)
    return;
  delete process.env.OFFLOAD_FD; // not for the programs that a task starts
  if (!/^\d+$/.test(text))
    throw new Error(`OFFLOAD_FD is no number of a descriptor: ${text}`);
  server = new Server(Number(text));
}
