// client.test.js: calls and jobs against a real service.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { Client, HttpError, InvalidParams, Job, OffloadError, TaskError, Unavailable } from "../lib/client.js";
import { Daemon, noDaemon, programCommand, Proxy, until } from "./daemon.js";

const LIMIT = { timeout: 120000 };

// What the promise is rejected with.
const failure = (promise) => promise.then((value) => assert.fail(`it resolved with ${value}`), (error) => error);

for (const kind of ["url", "unix"])
  describe(`calls by ${kind}`, { skip: noDaemon, ...LIMIT }, () => {
    let daemon, client;
    before(async () => {
      daemon = await Daemon.start("--program", programCommand("all.mjs"));
      client = new Client(daemon[kind]);
    });
    after(() => daemon.stop());

    test("values go in and out", async () => {
      assert.equal(await client.run("double", { n: 21 }), 42);
      assert.equal(await client.run("double", { n: 2, by: undefined }), 4);
      assert.equal(await client.run("double", { n: 2n ** 62n }), "9223372036854775808");
      assert.equal(await client.run("octets", { data: new Uint8Array([104, 105]) }), "aGkh");
      const value = { a: [null, "é", 1.5, 2n ** 80n, NaN], b: new Map([["k", new Set([1])]]) };
      assert.deepEqual(await client.run("give", { value }), { a: [null, "é", 1.5, String(2n ** 80n), "NaN"], b: { k: [1] } });
      assert.equal((await client.run("context"))[0], 0);
      await assert.rejects(client.run("give", { value: () => {} }), /JSON cannot hold a function/);
      await assert.rejects(client.run("give", [1]), TypeError);
    });

    test("a result beyond 256 KiB", async () => {
      const value = "é".repeat(400000);
      assert.equal(await client.run("give", { value }), value);
      const job = await client.submit("give", { value });
      assert.equal(await job.result(), value);
      assert.equal("result" in job.document, false);
    });

    test("the failure of a task has its class, message and stack", async () => {
      const error = await failure(client.run("fail", { how: "now" }));
      assert.ok(error instanceof TaskError && error instanceof OffloadError);
      assert.equal(error.name, "TaskError");
      assert.equal(error.message, "Broken: at once");
      assert.deepEqual([error.code, error.status, error.exception, error.detail], ["handler_failed", 500, "Broken", "at once"]);
      assert.match(error.traceback, /^Error: at once\n +at .*all\.mjs/);
      assert.equal(error.cause.stack, error.traceback);
      assert.equal((await client.get(error.jobId)).status, "failed");
    });

    test("InvalidParams of the schema and of the task point into the params", async () => {
      const ofTask = await failure(client.run("fail", { how: "invalid" }));
      assert.ok(ofTask instanceof InvalidParams);
      assert.deepEqual([ofTask.pointer, ofTask.message, ofTask.code], ["/how", "/how: is not good", "invalid_params"]);
      const ofSchema = await failure(client.run("double", { n: "x" }));
      assert.ok(ofSchema instanceof InvalidParams);
      assert.equal(ofSchema.pointer, "/n");
      assert.equal((await failure(client.run("double", { n: 1, m: 2 }))).pointer, "/m");
      assert.equal((await failure(client.run("double"))).pointer, "");
    });

    test("other refusals are HttpErrors", async () => {
      const error = await failure(client.run("nothing"));
      assert.ok(error instanceof HttpError && !(error instanceof Unavailable));
      assert.deepEqual([error.status, error.code, error.problem.errors[0].pointer], [422, "unknown_type", "/type"]);
      assert.equal((await failure(client.get("01890000-0000-7000-8000-000000000000"))).code, "not_found");
      assert.equal((await failure(client.get("../types"))).code, "not_found");
    });

    test("a job: status, events, log, cancel, delete", async () => {
      const job = await client.submit("wait", { ms: 60000 }, { priority: 1, timeout: 90, ttl: 600, chunks: 1 });
      assert.ok(job instanceof Job);
      assert.equal(job.document.priority, 1);
      await until(async () => (await job.refresh()).status === "running");
      await until(async () => (await job.log()) === "it waits\n");
      assert.equal(job.ended, false);
      const events = job.events();
      assert.deepEqual((await events.next()).value.data.status, "queued");
      assert.equal(await job.cancel(), job);
      assert.equal(job.status, "cancelled");
      let last;
      for await (const { event, data } of events)
        last = [event, data.status];
      assert.deepEqual(last, ["end", "cancelled"]);
      const error = await failure(job.result());
      assert.ok(error instanceof TaskError);
      assert.deepEqual([error.code, error.jobId], ["cancelled", job.id]);
      assert.equal((await client.cancel(job.id)).status, "cancelled");
      assert.equal(JSON.parse(JSON.stringify(job)).id, job.id);
      await job.delete();
      assert.equal((await failure(job.refresh())).code, "gone");
      assert.equal((await failure(job.delete())).code, "gone");
    });

    test("jobs", async () => {
      await Promise.all([1, 2, 3].map((n) => client.run("double", { n })));
      const jobs = [];
      for await (const job of client.jobs({ type: "double", status: "succeeded" }))
        jobs.push(job);
      assert.ok(jobs.length >= 3 && jobs.every(({ type, status }) => type === "double" && status === "succeeded"));
      assert.ok((await jobs[0].result()) !== undefined);
      const error = await failure(client.jobs({ status: "done" }).next());
      assert.equal(error.code, "invalid_query");
    });

    test("types", async () => {
      const type = (await client.types()).find(({ name }) => name === "give");
      assert.deepEqual([type.summary, type.timeout], ["What it was given", 60]);
    });

    test("an abort cancels the job, and a signal can be shared", async () => {
      const warnings = [];
      const warn = (warning) => warnings.push(warning);
      process.on("warning", warn);
      const controller = new AbortController();
      const runs = Array.from({ length: 30 }, (_, i) =>
        failure(client.run("sleep", { ms: 60000 + i }, { signal: controller.signal })));
      await until(async () => (await daemon.jobs("&type=sleep")).length === 30);
      controller.abort(new Error("enough"));
      for (const error of await Promise.all(runs))
        assert.equal(error.message, "enough");
      await until(async () => (await daemon.jobs("&type=sleep&status=cancelled")).length === 30);
      const { reason } = controller.signal;
      assert.equal(await failure(client.run("double", { n: 1 }, { signal: controller.signal })), reason);
      assert.equal(await failure(client.types({ signal: controller.signal })), reason);
      process.off("warning", warn);
      assert.deepEqual(warnings, []);
    });

    test("the signal of a wait ends the wait alone", async () => {
      const job = await client.submit("sleep", { ms: 60000 });
      const error = await failure(job.result({ signal: AbortSignal.timeout(50) }));
      assert.equal(error.name, "TimeoutError");
      assert.equal((await job.refresh()).ended, false);
      await job.cancel();
    });

    test("at most `connections` requests at a time, and all are answered in the end", async () => {
      const narrow = new Client(daemon[kind], { connections: 2 });
      const values = await Promise.all(Array.from({ length: 40 }, (_, n) => narrow.run("double", { n })));
      assert.deepEqual(values, Array.from({ length: 40 }, (_, n) => 2 * n));
      const controller = new AbortController();
      const { signal } = controller;
      const busy = [1, 2, 3, 4].map(() => failure(narrow.run("sleep", { ms: 50000 }, { signal })));
      const other = narrow.run("double", { n: 3 }); // it waits behind these
      controller.abort();
      await Promise.all(busy);
      assert.equal(await other, 6);
    });
  });

describe("what can go wrong on the way", { skip: noDaemon, ...LIMIT }, () => {
  let daemon, folder;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "offload-node-count-"));
    daemon = await Daemon.start("--program", programCommand("count.mjs"), "--max-wait", "1s");
  });
  after(async () => {
    await daemon.stop();
    await rm(folder, { recursive: true });
  });

  const counted = async (file) => (await readFile(file, "utf8")).split("\n").length - 1;

  test("an answer that is lost is asked for again, and the job runs once", async () => {
    const file = join(folder, "lost");
    let left = 2;
    await Proxy.with(daemon.port, () => left-- > 0, async (proxy) => {
      const client = new Client(proxy.url);
      assert.equal(await client.run("count", { file, name: "one" }), "one");
      assert.equal(proxy.lost, 2);
      assert.equal(await counted(file), 1);
      left = 3;
      const job = await client.submit("count", { file, name: "two" });
      assert.equal(await job.result(), "two");
      assert.equal(proxy.lost, 5);
      left = 1;
      await job.delete(); // the second DELETE is answered 410
      assert.equal(await counted(file), 2);
    });
  });

  test("an answer that is cut in the middle, too", async () => {
    const file = join(folder, "cut");
    let left = 3;
    const cut = (chunk, { socket }) => {
      if (left === 0)
        return false;
      left--;
      socket.write(chunk.subarray(0, chunk.length - 10)); // and then the connection is closed
      return true;
    };
    await Proxy.with(daemon.port, cut, async (proxy) => {
      assert.equal(await new Client(proxy.url).run("count", { file, name: "one" }), "one");
      assert.equal(proxy.lost, 3);
      assert.equal(await counted(file), 1);
    });
  });

  test("connections that are cut anywhere: each of many calls runs once", async () => {
    let seed = 1;
    const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    const cut = (chunk, { socket }) => {
      if (random() < 0.7)
        return false;
      socket.write(chunk.subarray(0, Math.floor(random() * chunk.length)));
      return true;
    };
    await Proxy.with(daemon.port, cut, async (proxy) => {
      for (const kind of ["url", "unix"]) {
        const file = join(folder, `anywhere-${kind}`);
        const names = Array.from({ length: 30 }, (_, i) => `call ${i}`);
        const client = new Client(proxy[kind], { retryFor: Infinity, connections: 16 });
        assert.deepEqual(await Promise.all(names.map((name) => client.run("count", { file, name }))), names);
        assert.ok(proxy.lost > 0);
        proxy.lost = 0;
        assert.deepEqual((await readFile(file, "utf8")).trimEnd().split("\n").sort(), [...names].sort());
      }
    });
  });

  test("the same idempotencyKey is the same job", async () => {
    const file = join(folder, "keyed");
    const options = { idempotencyKey: `"${folder}"` };
    const params = { file, name: "one" };
    const job = await new Client(daemon.url).submit("count", params, options);
    assert.equal(await new Client(daemon.unix).run("count", params, options), "one");
    assert.equal((await new Client(daemon.unix).submit("count", params, options)).id, job.id);
    assert.equal(await counted(file), 1);
    const error = await failure(new Client(daemon.url).run("count", { file, name: "two" }, options));
    assert.deepEqual([error.status, error.code], [422, "idempotency_mismatch"]);
    const calls = Array.from({ length: 10001 }, (_, value) => ({ value })); // two jobs
    for (let i = 0; i < 2; i++)
      assert.equal((await new Client(daemon.url).map("echo", calls, { idempotencyKey: `map of ${folder}` })).length, 10001);
    assert.equal((await daemon.jobs("&type=echo")).length, 2);
  });

  const running = async () => (await daemon.jobs("&type=sleep&status=running")).length;

  test("without retries there is no key, a lost answer is an error, and an abort hangs up", async () => {
    await Proxy.with(daemon.port, () => true, async (proxy) => {
      const client = new Client(proxy.url, { retryFor: 0 });
      const error = await failure(client.run("count", { file: join(folder, "once"), name: "one" }));
      assert.ok(error instanceof Unavailable && error instanceof HttpError);
      assert.equal(error.status, undefined);
      assert.equal(proxy.lost, 1);
    });
    const controller = new AbortController();
    const direct = new Client(daemon.url, { retryFor: 0 });
    const run = failure(direct.run("sleep", { ms: 60001 }, { signal: controller.signal }));
    await until(running);
    controller.abort();
    assert.equal((await run).name, "AbortError");
    await until(async () => (await running()) === 0);
  });

  test("an abort when an answer has named the job", async () => {
    const controller = new AbortController();
    let answers = 0;
    const counting = async (...args) => {
      const response = await fetch(...args);
      answers += response.status === 202; // after a second
      return response;
    };
    const client = new Client(daemon.url, { fetch: counting });
    const run = failure(client.run("sleep", { ms: 60002 }, { signal: controller.signal }));
    await until(() => answers === 1);
    controller.abort();
    assert.equal((await run).name, "AbortError");
    await until(async () => (await running()) === 0);
    assert.equal(answers, 1);
  });

  test("an abort when all answers were lost", async () => {
    await Proxy.with(daemon.port, () => true, async (proxy) => {
      const controller = new AbortController();
      const run = failure(new Client(proxy.url).run("sleep", { ms: 60003 }, { signal: controller.signal }));
      await until(() => proxy.lost > 0);
      assert.equal(await running(), 1);
      controller.abort();
      assert.equal((await run).name, "AbortError");
      proxy.lose = () => false;
      await until(async () => (await running()) === 0);
    });
  });

  test("a job that outlasts the wait is polled", async () => {
    const client = new Client(daemon.url); // the service grants a second
    assert.deepEqual(await client.run("sleep", { ms: 2300 }), { ms: 2300 });
  });

  test("a job that is cancelled by another, one that is out of time, and one whose worker dies each time", async () => {
    const client = new Client(daemon.url);
    const run = failure(client.run("sleep", { ms: 60004 }));
    let jobs;
    await until(async () => (jobs = await daemon.jobs("&type=sleep&status=running")).length === 1);
    await client.cancel(jobs[0].id);
    const cancelled = await run;
    assert.ok(cancelled instanceof TaskError);
    assert.deepEqual([cancelled.code, cancelled.jobId], ["cancelled", jobs[0].id]);
    const late = await failure(client.run("sleep", { ms: 60000 }, { timeout: 0.05 }));
    assert.deepEqual([late.code, late.status], ["job_timeout", 504]);
    const crashed = await failure(client.run("crash", { how: "SIGSEGV" }, { maxAttempts: 2 }));
    assert.deepEqual([crashed.code, crashed.lost.length, crashed.lost[0].signal], ["worker_crashed", 2, "SIGSEGV"]);
  });

  test("the worker is killed in the middle: the result comes all the same", async () => {
    const client = new Client(daemon.url);
    const job = await client.submit("sleep", { ms: 1000 });
    let busy;
    await until(async () => {
      busy = (await daemon.get("/v1/workers")).workers.find(({ state, type }) => state === "busy" && type === "sleep");
      return busy !== undefined;
    });
    process.kill(busy.pid, "SIGKILL");
    assert.deepEqual(await job.result(), { ms: 1000 });
    assert.equal(job.document.lost[0].signal, "SIGKILL");
  });

  test("a service that does not answer, one that is not there, and one that is none", async () => {
    const sockets = [];
    let requests = 0;
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => {}).on("data", () => { requests++; });
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${server.address().port}`;
    const silent = await failure(new Client(url, { timeout: 0.1, retryFor: 0.3 }).types());
    assert.ok(silent instanceof Unavailable);
    assert.match(silent.message, /did not answer in time/);
    assert.ok(requests >= 2);
    sockets.forEach((socket) => socket.destroy());
    server.close();
    await once(server, "close");
    const gone = await failure(new Client(url, { retryFor: 0.3 }).run("double", { n: 1 }));
    assert.ok(gone instanceof Unavailable);
    assert.match(gone.message, /cannot be reached.*ECONNREFUSED/);
    const nowhere = await failure(new Client(`unix:${folder}/nothing`, { retryFor: 0.3 }).types());
    assert.match(nowhere.message, /ENOENT/);
    const foreign = new Client(`${daemon.url}/docs`);
    assert.ok(await failure(foreign.types()) instanceof HttpError);
  });
});

test("a full queue is waited for", { skip: noDaemon, ...LIMIT }, async () => {
  const daemon = await Daemon.start("--max-queue", "4");
  const client = new Client(daemon.url, { retryFor: Infinity });
  let refused = 0;
  const counting = new Client(daemon.url, {
    retryFor: Infinity,
    fetch: async (...args) => {
      const response = await fetch(...args);
      refused += response.status === 429;
      return response;
    },
  });
  const sleepers = await Promise.all([1, 2, 3, 4].map(() => client.submit("sleep", { ms: 60000 })));
  const run = counting.run("echo", { value: 1 });
  await until(() => refused > 0);
  await Promise.all(sleepers.map((job) => job.cancel()));
  assert.deepEqual(await run, { value: 1 });
  const again = await Promise.all([1, 2, 3, 4].map(() => client.submit("sleep", { ms: 60000 })));
  const error = await failure(new Client(daemon.url, { retryFor: 0 }).run("echo", { value: 1 }));
  assert.ok(error instanceof Unavailable);
  assert.deepEqual([error.status, error.code], [429, "queue_full"]);
  await Promise.all(again.map((job) => job.cancel()));
  await daemon.stop();
});

test("Retry-After is respected, and a time that is too long ends the tries", LIMIT, async () => {
  const times = [];
  const headers = [];
  const answers = [[503, { "retry-after": "1" }], [429, { "retry-after": "1" }], [200, {}]];
  const client = new Client("http://127.0.0.1:1", {
    key: "secret",
    headers: { "X-Mine": "yes" },
    fetch: async (url, options) => {
      times.push(performance.now());
      headers.push(options.headers);
      const [status, extra] = answers[times.length - 1] ?? [503, { "retry-after": "301" }];
      const body = status === 200 ? { types: [] } : { status, code: "draining", detail: "it drains" };
      return new Response(JSON.stringify(body), { status, headers: extra });
    },
  });
  assert.deepEqual(await client.types(), []);
  assert.equal(times.length, 3);
  assert.ok(times[1] - times[0] >= 1000 && times[2] - times[1] >= 1000);
  assert.equal(headers[0].authorization, "Bearer secret");
  assert.equal(headers[0]["x-mine"], "yes");
  const error = await failure(client.types());
  assert.deepEqual([error.status, error.code], [503, "draining"]);
  assert.equal(times.length, 4);
});

test("one key for all tries of a call, another one for the next call", LIMIT, async () => {
  const keys = [];
  const client = new Client("http://127.0.0.1:1", {
    fetch: async (url, { headers }) => {
      keys.push(headers["idempotency-key"]);
      if (keys.length === 1)
        throw new TypeError("fetch failed", { cause: new Error("other side closed") });
      return new Response(JSON.stringify({ id: "0", status: "succeeded", result: 7 }));
    },
  });
  assert.equal(await client.run("double", { n: 1 }), 7);
  assert.equal(await client.run("double", { n: 1 }), 7);
  assert.equal(await client.run("double", { n: 1 }, { idempotencyKey: 'my "key"' }), 7);
  assert.equal(keys[0], keys[1]);
  assert.notEqual(keys[1], keys[2]);
  assert.match(keys[0], /^"[0-9a-f-]{36}"$/);
  assert.equal(keys[3], '"my \\"key\\""');
});

test("jobs come page by page", async () => {
  const paths = [];
  const client = new Client("http://127.0.0.1:1/prefix/", {
    fetch: async (url) => {
      paths.push(url);
      const page = paths.length === 1 ? { jobs: [{ id: "a" }, { id: "b" }], next_cursor: "x&y" } : { jobs: [{ id: "c" }] };
      return new Response(JSON.stringify(page));
    },
  });
  const ids = [];
  for await (const { id } of client.jobs({ type: "double" }))
    ids.push(id);
  assert.deepEqual(ids, ["a", "b", "c"]);
  assert.deepEqual(paths, ["", "&cursor=x%26y"].map((more) =>
    `http://127.0.0.1:1/prefix/v1/jobs?limit=1000&type=double${more}`));
});

test("the headers of a call", async () => {
  let sent;
  const client = new Client("http://127.0.0.1:1", {
    headers: { "X-Mine": "client", Traceparent: "client" },
    fetch: async (url, { headers }) => {
      sent = headers;
      return new Response(JSON.stringify({ id: "0", status: "succeeded", result: 7 }));
    },
  });
  await client.run("double", {}, { headers: { TraceParent: "call", "Content-Type": "application/json;charset=utf-8" } });
  assert.deepEqual([sent["x-mine"], sent.traceparent, sent["content-type"]], ["client", "call", "application/json;charset=utf-8"]);
  assert.deepEqual(Object.keys(sent).filter((name) => name !== name.toLowerCase()), []);
});

test("what is wrong with the arguments is told at once", async () => {
  for (const url of ["localhost:8080", "ftp://host", "unix:relative", "http://u:p@host", "http://host/?q", ""])
    assert.throws(() => new Client(url), /not a URL that can be used/, url);
  assert.throws(() => new Client(undefined, { retry: 1 }), /there is no option "retry"; there are key, /);
  assert.throws(() => new Client(undefined, { retryFor: -1 }), TypeError);
  assert.throws(() => new Client(undefined, { headers: { "a b": "c" } }), TypeError);
  const client = new Client();
  await assert.rejects(client.run("x", {}, { timeout_ms: 1 }), /there is no option "timeout_ms"/);
  await assert.rejects(client.run("x", {}, { timeout: "1" }), /timeout is no number/);
  await assert.rejects(client.submit("x", {}, { idempotencyKey: "" }), TypeError);
  await assert.rejects(client.map("x", 5), TypeError);
  await assert.rejects(client.run("x", {}, { headers: { "a b": "c" } }), TypeError);
});

test("$OFFLOAD_URL is the default", async () => {
  const before = process.env.OFFLOAD_URL;
  process.env.OFFLOAD_URL = "unix:/nowhere/sock";
  const error = await failure(new Client(undefined, { retryFor: 0 }).types());
  assert.match(error.message, /^unix:\/nowhere\/sock cannot be reached/);
  process.env.OFFLOAD_URL = "";
  assert.ok(new Client());
  if (before === undefined)
    delete process.env.OFFLOAD_URL;
  else
    process.env.OFFLOAD_URL = before;
});

test("the client does not load the worker's side", async () => {
  const seen = new Set();
  const visit = async (url) => {
    if (seen.has(url))
      return;
    seen.add(url);
    for (const [, path] of (await readFile(new URL(url), "utf8")).matchAll(/from "(\.[^"]+)"/g))
      await visit(new URL(path, url).href);
  };
  await visit(new URL("../lib/client.js", import.meta.url).href);
  const names = [...seen].map((url) => url.split("/").pop());
  assert.ok(names.includes("values.js"));
  for (const name of ["server.js", "tasks.js", "context.js", "frames.js"])
    assert.equal(names.includes(name), false, name);
});
