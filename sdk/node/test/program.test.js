// program.test.js: real programs over a real socket, as offload starts them.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

import { frame } from "../lib/frames.js";
import { Host, programPath } from "./host.js";

const example = fileURLToPath(new URL("../../../examples/tasks.mjs", import.meta.url));

// A test with a program that has said hello.
function withProgram(what, body, path = programPath("all.mjs")) {
  test(what, { timeout: 60000 }, async () => {
    const host = new Host(path);
    try {
      await body(host, await host.receive());
    } finally {
      await host.end();
    }
  });
}

async function until(condition) {
  while (!condition())
    await new Promise((resolve) => { setTimeout(resolve, 5); });
}

withProgram("hello describes the tasks", async (host, hello) => {
  assert.equal(hello.kind, "hello");
  assert.equal(hello.protocol, 1);
  assert.equal(hello.fork, false);
  assert.deepEqual(hello.sources, [programPath("all.mjs")]);
  assert.deepEqual(hello.types.find(({ name }) => name === "give"), {
    name: "give", summary: "What it was given", timeout: 60, max_attempts: 5, flags: [],
    params: { type: "object", properties: { value: {} }, required: ["value"], additionalProperties: false },
  });
  assert.deepEqual(hello.types.find(({ name }) => name === "range").flags, ["split", "merge"]);
});

withProgram("values go in and out", async (host) => {
  for (const [type, params, value] of [
    ["double", { n: 21 }, 42],
    ["double", { n: 21, by: 3 }, 63],
    ["double", { n: "9223372036854775808" }, "18446744073709551616"],
    ["integers", { list: [1, "9007199254740992", "5"] }, ["number", "bigint", "number"]],
    ["octets", { data: "aGk=" }, "aGkh"],
    ["choose", { kind: "blur" }, "blur 0.5"],
    ["give", { value: { a: [null, "é", 1.5] } }, { a: [null, "é", 1.5] }],
    ["give", {}, null],
  ])
    assert.deepEqual(await host.call(type, params), { value }, type);
});

withProgram("errors have their class, message and stack", async (host) => {
  const { error } = await host.call("fail", { how: "now" });
  assert.equal(error.code, "handler_failed");
  assert.equal(error.exception, "Broken");
  assert.equal(error.detail, "at once");
  assert.match(error.traceback, /^Error: at once\n +at .*all\.mjs/);
  assert.doesNotMatch(error.traceback, /sdk\/node\/lib/);
  assert.deepEqual((await host.call("fail", { how: "invalid" })).error,
                   { code: "invalid_params", pointer: "/how", detail: "is not good" });
  assert.deepEqual((await host.call("fail", { how: "text" })).error,
                   { code: "handler_failed", exception: "string", detail: "only text" });
  assert.equal((await host.call("fail", { how: "async" })).error.detail, "later");
  assert.match((await host.call("fail", { how: "cause" })).error.traceback, /outer[^]*\ncaused by RangeError: inner/);
  assert.equal((await host.call("fail", { how: "function" })).error.detail, "JSON cannot hold a function");
  assert.deepEqual((await host.call("octets", { data: "?" })).error,
                   { code: "invalid_params", pointer: "/data", detail: "is not base64" });
  assert.match((await host.call("nothing", {})).error.detail, /there is no task "nothing"/);
  assert.deepEqual(await host.call("double", { n: 1 }), { value: 2 });
});

withProgram("quick calls are answered together, and errors stand between them", async (host) => {
  host.send({ kind: "run", type: "double", call: 1, calls: [{ n: 0 }], attempt: 0 });
  await host.results(1, 1); // from now on it is known to be quick
  const from = host.frames.length;
  host.send({ kind: "run", type: "double", call: 2, calls: Array.from({ length: 500 }, (_, n) => ({ n })), attempt: 0 });
  host.send({ kind: "run", type: "fail", call: 502, calls: [{ how: "text" }, { how: "text" }], attempt: 0 });
  host.send({ kind: "run", type: "double", call: 504, calls: [{ n: 7 }], attempt: 0 });
  const answers = await host.results(2, 503);
  assert.deepEqual(answers.slice(0, 500).map(({ value }) => value), Array.from({ length: 500 }, (_, n) => 2 * n));
  assert.deepEqual(answers.slice(500).map(({ error, value }) => error?.detail ?? value), ["only text", "only text", 14]);
  assert.ok(host.frames.length - from < 250, `${host.frames.length - from} frames`);
});

withProgram("what is finished is sent before a slow call begins", async (host) => {
  host.send({ kind: "run", type: "steps", call: 1, calls: [{ n: 300 }], attempt: 0 });
  await host.results(1, 1);
  host.send({ kind: "run", type: "double", call: 2, calls: [{ n: 1 }, { n: 2 }], attempt: 0 });
  host.send({ kind: "run", type: "steps", call: 4, calls: [{ n: 300 }], attempt: 0 });
  assert.equal((await host.results(2, 2)).length, 2);
  const frames = host.frames.length;
  await host.results(4, 1);
  assert.equal(host.frames.length, frames + 1); // it was not in the frame of the others
});

withProgram("one call runs at a time, in order", async (host) => {
  host.send({ kind: "run", type: "running", call: 1, calls: [{}, {}, {}], attempt: 0 });
  host.send({ kind: "run", type: "running", call: 4, calls: [{}, {}], attempt: 0 });
  assert.deepEqual((await host.results(1, 5)).map(({ value }) => value), [0, 0, 0, 0, 0]);
});

withProgram("a call knows its attempt and deadline", async (host) => {
  host.send({ kind: "run", type: "context", call: 1, calls: [{}], attempt: 2, deadline: 1764230400.25 });
  assert.deepEqual(await host.results(1, 1), [{ value: [2, 1764230400250, 2, 1764230400250, false, 2, false] }]);
  assert.deepEqual(await host.call("context", {}, 2), { value: [0, null, 0, null, false, 0, false] });
});

withProgram("progress is told", async (host) => {
  assert.deepEqual(await host.call("progress", { of: 3 }), { value: 3 });
  const told = host.frames.filter(({ kind }) => kind === "progress");
  assert.deepEqual(told.at(-1), { kind: "progress", call: 1, done: 3, total: 3 });
  assert.ok(told.length >= 2);
  assert.equal((await host.call("regress", {}, 2)).error.detail,
               "progress takes two whole numbers, 0 <= done <= total, not 2 and 1");
});

withProgram("cancel aborts the signal, and calls that have not begun are answered", async (host) => {
  host.send({ kind: "run", type: "wait", call: 1, calls: [{ ms: 60000 }, { ms: 60000 }], attempt: 0 });
  await until(() => host.stdout.includes("it waits"));
  host.send({ kind: "cancel", call: 2 });
  host.send({ kind: "cancel", call: 1 });
  assert.deepEqual(await host.results(1, 2), [{ error: { code: "cancelled" } }, { error: { code: "cancelled" } }]);
  host.send({ kind: "cancel", call: 1 }); // it is answered: nothing happens
  assert.deepEqual(await host.call("double", { n: 1 }, 3), { value: 2 });
});

withProgram("a function that does not listen is awaited, so that one call runs at a time", async (host) => {
  host.send({ kind: "run", type: "deaf", call: 1, calls: [{ ms: 100 }], attempt: 0 });
  await until(() => host.stdout.includes("it is deaf"));
  host.send({ kind: "cancel", call: 1 });
  assert.deepEqual(await host.results(1, 1), [{ value: "ended" }]);
});

withProgram("a loop without await learns of cancel by cancelled()", async (host) => {
  host.send({ kind: "run", type: "spin", call: 1, calls: [{ ms: 60000 }, { ms: 0 }], attempt: 0 });
  await until(() => host.stdout.includes("it spins"));
  host.send({ kind: "cancel", call: 1 });
  assert.deepEqual(await host.results(1, 2), [{ error: { code: "cancelled" } }, { value: "spun" }]);
});

withProgram("cancel comes through between slow calls without await", async (host) => {
  host.send({ kind: "run", type: "steps", call: 1, calls: Array.from({ length: 200 }, () => ({ n: 20 })), attempt: 0 });
  await host.results(1, 1);
  for (let call = 10; call <= 200; call++)
    host.send({ kind: "cancel", call });
  const answers = await host.results(2, 199);
  assert.ok(answers.slice(100).every(({ error }) => error?.code === "cancelled"));
  assert.equal(answers[0].value, 20);
});

withProgram("a loop without await hears of exit", async (host) => {
  host.send({ kind: "run", type: "spin", call: 1, calls: [{ ms: 60000 }], attempt: 0 });
  await until(() => host.stdout.includes("it spins"));
  host.send({ kind: "exit" });
  assert.deepEqual(await host.exited, { code: 0, signal: null });
});

withProgram("split and merge", async (host) => {
  host.send({ kind: "plan", type: "range", call: 1, params: { start: 0, stop: 900 }, chunks: 3 });
  const planned = await host.receive();
  assert.deepEqual(planned, { kind: "planned", call: 1, chunks: [{ start: 0, stop: 300 }, { start: 300, stop: 600 },
                                                                 { start: 600, stop: 900 }] });
  host.send({ kind: "run", type: "range", call: 2, calls: planned.chunks, attempt: 0 });
  const parts = (await host.results(2, 3)).map(({ value }) => value);
  host.send({ kind: "merge", type: "range", call: 5, parts: [...parts, "18446744073709551616"] });
  assert.deepEqual(await host.results(5, 1), [{ value: "18446744073709552516" }]);
});

withProgram("a wrong split is an error of the plan", async (host) => {
  for (const [how, detail] of [["none", /no chunk/], ["text", /has to give objects/], ["many", /more than 4096/]]) {
    host.send({ kind: "plan", type: "badsplit", call: 1, params: { how }, chunks: 0 });
    assert.match((await host.results(1, 1))[0].error.detail, detail);
  }
});

withProgram("unknown members and kinds are ignored, and frames come in pieces", async (host) => {
  host.send({ kind: "later", call: 1, big: "x".repeat(1 << 20) });
  const bytes = frame(JSON.stringify({ kind: "run", type: "double", call: 1, calls: [{ n: 4 }], attempt: 0, more: {} }));
  for (const byte of bytes) {
    host.socket.write(Buffer.from([byte]));
    await new Promise((resolve) => { setImmediate(resolve); });
  }
  assert.deepEqual(await host.results(1, 1), [{ value: 8 }]);
  host.socket.write(Buffer.concat([2, 3, 4].map((call) => // many in one piece
    frame(JSON.stringify({ kind: "run", type: "double", call, calls: [{ n: call }], attempt: 0 })))));
  assert.deepEqual((await host.results(2, 3)).map(({ value }) => value), [4, 6, 8]);
});

withProgram("results that are larger than the socket's buffer arrive whole", async (host) => {
  const value = "é".repeat(3 << 20);
  host.send({ kind: "run", type: "give", call: 1, calls: [{ value }, { value }, { value: 1 }], attempt: 0 });
  assert.deepEqual((await host.results(1, 3)).map((answer) => answer.value === value || answer.value), [true, true, 1]);
});

for (const [what, end] of [["exit", (host) => host.send({ kind: "exit" })], ["the end of the stream", (host) => host.socket.end()]])
  withProgram(`${what} ends the process`, async (host) => {
    end(host);
    assert.deepEqual(await host.exited, { code: 0, signal: null });
    assert.equal(host.stderr, "");
  });

withProgram("garbage from the host ends the process with a line", async (host) => {
  host.socket.write(Buffer.alloc(8, 0xff));
  assert.equal((await host.exited).code, 1);
  assert.match(host.stderr, /^offload: the host has sent a frame of 4294967295 and 4294967295 bytes\n$/);
});

withProgram("a function can end the process", async (host) => {
  host.send({ kind: "run", type: "fail", call: 1, calls: [{ how: "exit" }], attempt: 0 });
  assert.deepEqual(await host.exited, { code: 3, signal: null });
});

test("a task that is registered too late ends the process with a line", async () => {
  const host = new Host(programPath("late.mjs"));
  assert.equal((await host.exited).code, 1);
  assert.match(host.stderr, /task second: it comes too late: register all tasks before/);
});

test("an OFFLOAD_FD that is no number ends the process with a line", async () => {
  const host = new Host(programPath("all.mjs"), { OFFLOAD_FD: "three" });
  assert.equal((await host.exited).code, 1);
  assert.match(host.stderr, /OFFLOAD_FD is no number of a descriptor: three/);
});

test("without OFFLOAD_FD a file with tasks is a module like others", async () => {
  const { double } = await import("./programs/all.mjs");
  assert.equal(double({ n: 4 }), 8);
});

withProgram("examples/tasks.mjs", async (host, hello) => {
  assert.deepEqual(hello.types.map(({ name }) => name), ["is_prime", "squares"]);
  host.send({ kind: "run", type: "is_prime", call: 1, calls: [2, 1, 9, 97, 1000003].map((n) => ({ n })), attempt: 0 });
  assert.deepEqual((await host.results(1, 5)).map(({ value }) => value), [true, false, false, true, true]);
  for (const [start, stop, chunks, sum] of [[0, 1000, 3, 332833500], [5, 5, 0, 0], [9, 2, 2, 0],
                                            [0, 300000, 1, "8999955000050000"],
                                            ["9007199254740993", "9007199254740995", 2, null]]) {
    const call = 100;
    host.send({ kind: "plan", type: "squares", call, params: { start, stop }, chunks });
    const planned = await host.receive();
    assert.equal(planned.chunks.length, chunks || 1);
    host.send({ kind: "run", type: "squares", call: call + 1, calls: planned.chunks, attempt: 0 });
    const parts = (await host.results(call + 1, planned.chunks.length)).map(({ value }) => value);
    host.send({ kind: "merge", type: "squares", call: call + 99, parts });
    const wanted = sum ?? String(9007199254740993n ** 2n + 9007199254740994n ** 2n);
    assert.deepEqual(String((await host.results(call + 99, 1))[0].value), String(wanted));
  }
}, example);
