// maps.test.js: maps and events against a real service, also when it or the connection breaks.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, HttpError, InvalidParams, TaskError, Unavailable } from "../lib/client.js";
import { Daemon, noDaemon, programCommand, Proxy, until } from "./daemon.js";

const failure = (promise) => promise.then((value) => assert.fail(`it resolved with ${value}`), (error) => error);
const numbers = (count) => Array.from({ length: count }, (_, n) => n);

async function gather(iterable) {
  const list = [];
  for await (const value of iterable)
    list.push(value);
  return list;
}

describe("maps", { skip: noDaemon, timeout: 120000 }, () => {
  let daemon, client;
  before(async () => {
    daemon = await Daemon.start("--program", programCommand("all.mjs"));
    client = new Client(daemon.url);
  });
  after(() => daemon.stop());

  const unfinished = async () => (await daemon.jobs()).filter(({ status }) => ["queued", "running"].includes(status)).length;

  test("results come in order, whatever the calls come from", async () => {
    const calls = numbers(300).map((n) => ({ n }));
    const expected = numbers(300).map((n) => 2 * n);
    assert.deepEqual(await client.map("double", calls), expected);
    assert.deepEqual(await client.map("double", new Set(calls)), expected);
    assert.deepEqual(await client.map("double", (function* () { yield* calls; })()), expected);
    assert.deepEqual(await client.map("double", (async function* () { yield* calls; })()), expected);
    assert.deepEqual(await client.map("double", []), []);
    assert.deepEqual(await client.columns("double", { n: numbers(300) }), expected);
    assert.deepEqual(await client.columns("double", { n: new Float64Array([1, 2]), by: 5 }), [5, 10]);
    assert.deepEqual(await client.columns("double", { n: [1n, 2n ** 60n], by: undefined }), [2, String(2n ** 61n)]);
    assert.deepEqual(await client.columns("double", { n: [] }), []);
    assert.deepEqual(await client.columns("give", { value: [undefined, null, 0] }), [null, null, 0]);
  });

  test("a stream yields each call when it has ended", async () => {
    const calls = [{ ms: 60000 }, { ms: 1 }, { ms: 1 }];
    const stream = client.stream("sleep", calls, { chunks: 3 });
    const early = [(await stream.next()).value, (await stream.next()).value];
    assert.deepEqual(early.map(({ index }) => index).sort(), [1, 2]);
    assert.deepEqual(early[0], { index: early[0].index, status: "succeeded", result: { ms: 1 } });
    await stream.return();
    await until(async () => (await unfinished()) === 0); // the first was cancelled
    const columns = await gather(client.stream("double", { n: [3, 4, "x"] }));
    assert.deepEqual(columns.map(({ index }) => index).sort(), [0, 1, 2]);
    assert.equal(columns.find(({ index }) => index === 2).error.pointer, "/n");
    let sum = 0;
    for await (const { index, result } of client.stream("echo", { value: numbers(12000) })) // one job
      sum += result.value === index;
    assert.equal(sum, 12000);
  });

  test("calls of a slow source are sent as they come", async () => {
    let received = 0;
    async function* source() {
      for (let n = 0; n < 5; n++) {
        await until(() => received === n); // the next call comes when the one before it is answered
        yield { n };
      }
    }
    for await (const { result } of client.stream("double", source()))
      assert.equal(result, 2 * received++);
    assert.equal(received, 5);
  });

  test("bad calls: the map rejects with the first, or tells all", async () => {
    const calls = [{ n: 1 }, { n: "x" }, 7, { n: 2 }, { n: 3, more: 1 }];
    const error = await failure(client.map("double", calls));
    assert.ok(error instanceof InvalidParams);
    assert.ok([1, 2, 4].includes(error.index));
    for (const settled of [
      await client.map("double", calls, { settled: true }),
      await client.columns("double", { n: [1, "x", null, 2, []] }, { settled: true }),
    ]) {
      assert.deepEqual(settled.map(({ status }) => status), ["fulfilled", "rejected", "rejected", "fulfilled", "rejected"]);
      assert.deepEqual([settled[0].value, settled[3].value], [2, 4]);
      assert.equal(settled[1].reason.pointer, "/n");
      assert.equal(settled[1].reason.index, 1);
    }
    const [{ reason }] = await client.map("fail", [{ how: "now" }], { settled: true });
    assert.ok(reason instanceof TaskError);
    assert.deepEqual([reason.message, reason.index], ["Broken: at once", 0]);
    assert.match(reason.traceback, /all\.mjs/);
    assert.equal((await daemon.get(`/v1/jobs/${reason.jobId}`)).type, "fail");
    assert.equal((await failure(client.columns("double", { n: [1, "x", "y"] }))).index, 1);
    assert.equal((await failure(client.columns("double", { n: 1 }))).code, "invalid_params");
    assert.equal((await failure(client.map("nothing", [{}]))).code, "unknown_type");
  });

  test("a call that ends its process each time fails alone", async () => {
    const calls = [{ how: "now" }, { how: "exit" }, { how: "text" }];
    const settled = await client.map("fail", calls, { settled: true, maxAttempts: 2 });
    assert.deepEqual(settled.map(({ reason }) => reason.code), ["handler_failed", "worker_crashed", "handler_failed"]);
    assert.equal(settled[2].reason.detail, "only text");
    const error = await failure(client.run("fail", { how: "exit" }, { maxAttempts: 2 }));
    assert.deepEqual(error.lost.map(({ exit_code }) => exit_code), [3, 3]);
  });

  test("a call that fails cancels the others of its map", async () => {
    const error = await failure(client.map("sleep", [{ ms: 60000 }, { ms: "x" }]));
    assert.equal(error.index, 1);
    await until(async () => (await unfinished()) === 0);
  });

  test("an abort cancels all jobs of a map, a reader that reads or not", async () => {
    for (const reads of [true, false]) {
      const controller = new AbortController();
      const stream = client.stream("sleep", numbers(25000).map(() => ({ ms: 100 })), { signal: controller.signal });
      await stream.next();
      const rest = reads ? failure(gather(stream)) : null;
      await until(async () => (await unfinished()) >= 3);
      controller.abort();
      if (reads)
        assert.equal((await rest).name, "AbortError");
      await until(async () => (await unfinished()) === 0);
      await assert.rejects(reads ? client.map("double", [{ n: 1 }], { signal: controller.signal }) : stream.next(), /abort/i);
    }
  });

  test("a source that throws ends the map with its error, and is closed if the map ends before it", async () => {
    let closed = 0;
    function* source(thrown) {
      try {
        for (let n = 0; ; n++) {
          if (n === 5)
            throw thrown;
          yield { n };
        }
      } finally {
        closed++;
      }
    }
    assert.equal((await failure(client.map("double", source(new Error("no more"))))).message, "no more");
    async function* endless() {
      try {
        for (let n = 0; ; n++)
          yield { n };
      } finally {
        closed++;
      }
    }
    for await (const { index } of client.stream("double", endless()))
      if (index >= 0)
        break;
    await until(() => closed === 2);
    await until(async () => (await unfinished()) === 0);
    await assert.rejects(client.map("double", [{ n: () => {} }]), /JSON cannot hold a function/);
  });

  test("what is sent ahead of a slow reader is bounded, and each call has one outcome", async () => {
    const total = 100000;
    let taken = 0;
    function* source() {
      for (; taken < total; taken++)
        yield { value: taken };
    }
    const stream = client.stream("echo", source());
    const seen = new Uint8Array(total);
    const take = ({ value: { index, result } }) => {
      assert.equal(result.value, index);
      assert.equal(seen[index]++, 0);
    };
    for (let n = 0; n < 10; n++)
      take(await stream.next());
    await new Promise((go) => { setTimeout(go, 500); }); // time to run ahead, if it did
    assert.ok(taken < 60000, `${taken} calls were taken`);
    let most = 0;
    for (let n = 10; n < total; n++) {
      take(await stream.next());
      most = Math.max(most, taken - n);
    }
    assert.ok(most < 70000, `${most} calls were ahead`);
    assert.equal((await stream.next()).done, true);
    assert.equal(seen.every((count) => count === 1), true);
  });

  test("a connection that is cut again and again: each call has one outcome", async () => {
    for (const kind of ["url", "unix"]) {
      let cuts = 0;
      const lose = (chunk, { bytes }) => bytes > 20000 * (cuts + 1) && cuts++ < 6;
      await Proxy.with(daemon.port, lose, async (proxy) => {
        const calls = numbers(12000).map((value) => ({ value }));
        const outcomes = await gather(new Client(proxy[kind]).stream("echo", calls));
        assert.deepEqual(outcomes.map(({ index }) => index).sort((a, b) => a - b), numbers(12000));
        assert.ok(proxy.lost >= 6);
      });
    }
    assert.equal((await daemon.jobs("&type=echo")).filter(({ status }) => status === "queued").length, 0);
  });

  test("the answer to a map by columns is lost", async () => {
    let left = 2;
    await Proxy.with(daemon.port, () => left-- > 0, async (proxy) => {
      assert.deepEqual(await new Client(proxy.url).columns("double", { n: [1, 2] }), [2, 4]);
      assert.equal(proxy.lost, 2);
    });
  });
});

describe("a service that has trouble", { skip: noDaemon, timeout: 120000 }, () => {
  test("it is killed in the middle of a map: all calls have their outcome", async () => {
    const daemon = await Daemon.start();
    await Proxy.with(daemon.port, () => false, async (proxy) => {
      const client = new Client(proxy.url);
      const stream = client.stream("sleep", numbers(60).map(() => ({ ms: 20 })), { chunks: 60 });
      const outcomes = [];
      for (let n = 0; n < 10; n++)
        outcomes.push((await stream.next()).value);
      await daemon.kill();
      await daemon.begin();
      proxy.port = daemon.port;
      outcomes.push(...await gather(stream));
      assert.deepEqual(outcomes.map(({ index }) => index).sort((a, b) => a - b), numbers(60));
      assert.ok(outcomes.every(({ result }) => result.ms === 20));
      assert.equal((await daemon.jobs()).length, 1);
    });
    await daemon.stop();
  });

  test("it is stopped and started again: a map, a run and events go on", async () => {
    const daemon = await Daemon.start("--drain-timeout", "0s");
    await Proxy.with(daemon.port, () => false, async (proxy) => {
      const client = new Client(proxy.url);
      const map = client.map("sleep", numbers(8).map((n) => ({ ms: 300 + n })), { chunks: 8 });
      const run = client.run("sleep", { ms: 400 });
      const job = await client.submit("sleep", { ms: 500 });
      const events = gather(job.events());
      await until(async () => (await daemon.jobs()).some(({ type, progress }) => type === "sleep" && progress?.done > 0));
      daemon.child.kill("SIGTERM");
      assert.equal((await daemon.exited).code, 0);
      daemon.port = undefined;
      await daemon.begin();
      proxy.port = daemon.port;
      assert.deepEqual(await map, numbers(8).map((n) => ({ ms: 300 + n })));
      assert.deepEqual(await run, { ms: 400 });
      const list = await events;
      assert.equal(list.at(-1).event, "end");
      assert.deepEqual(list.at(-1).data.result, { ms: 500 });
    });
    await daemon.stop();
  });

  test("more clients wait than it lets: the map comes as a whole", async () => {
    const daemon = await Daemon.start("--max-sync", "1");
    const client = new Client(daemon.url);
    const controller = new AbortController();
    const waiting = failure(client.run("sleep", { ms: 60000 }, { signal: controller.signal }));
    await until(async () => (await daemon.jobs("&status=running")).length === 1);
    assert.deepEqual(await client.map("echo", [{ value: 1 }, { value: 2 }]), [{ value: 1 }, { value: 2 }]);
    const outcomes = await gather(client.stream("echo", { value: [5, 6] }));
    assert.deepEqual(outcomes.map(({ result }) => result.value), [5, 6]);
    controller.abort();
    await waiting;
    await daemon.stop();
  });
});

test("an answer that is no stream of a map", async () => {
  const answer = async (lines) => {
    const head = { status: 200, headers: { "content-type": "application/x-ndjson" } };
    const client = new Client("http://127.0.0.1:1", { retryFor: 0, fetch: async () => new Response(lines, head) });
    return failure(client.map("double", [{ n: 1 }, { n: 2 }]));
  };
  const one = '{"index":0,"status":"succeeded","result":2}\n';
  assert.match((await answer(`${one}{"summary":{"total":2}}\n`)).message, /has 1 of 2 calls/);
  assert.match((await answer('{"index":-1}\n')).message, /the index -1/);
  assert.match((await answer('{"index":1e9}\n')).message, /the index 1000000000/);
  assert.match((await answer("{]\n")).message, /no JSON/);
  const cut = await answer(one);
  assert.ok(cut instanceof Unavailable);
  assert.match(cut.message, /was cut/);
  const failed = await answer('{"error":{"code":"worker_crashed","status":500,"detail":"it died"}}\n');
  assert.ok(failed instanceof TaskError && !(failed instanceof HttpError));
});

test("a service that drains in the middle of a map, or whose answer is cut: no outcome is lost or comes twice", async () => {
  const line = (index) => `{"index":${index},"status":"succeeded","result":${index}}\n`;
  const answers = [
    `${line(1)}{"error":{"code":"draining","status":503,"detail":"it drains"}}\n`,
    `${line(1)}${line(0)}{"ind`,
    `${line(0)}${line(1)}${line(2)}{"summary":{"total":3,"succeeded":3,"failed":0}}\n`,
  ];
  const head = { status: 200, headers: { "content-type": "application/x-ndjson" } };
  const client = new Client("http://127.0.0.1:1", { fetch: async () => new Response(answers.shift(), head) });
  const outcomes = await gather(client.stream("double", [{}, {}, {}]));
  assert.deepEqual(outcomes.map(({ index, result }) => [index, result]), [[1, 1], [0, 0], [2, 2]]);
  assert.equal(answers.length, 0);
});

describe("events", { skip: noDaemon, timeout: 120000 }, () => {
  let daemon;
  before(async () => { daemon = await Daemon.start(); });
  after(() => daemon.stop());

  test("they go on where the connection was cut", async () => {
    let cuts = 0;
    const lose = (chunk, { socket, bytes }) => {
      if (cuts === 4 || bytes + chunk.length < 700)
        return false;
      cuts++;
      socket.write(chunk.subarray(0, 700 - bytes));
      return true;
    };
    await Proxy.with(daemon.port, lose, async (proxy) => {
      const direct = new Client(daemon.url);
      const stream = direct.stream("sleep", [...numbers(40).map(() => ({ ms: 20 })), { ms: 60000 }], { chunks: 41 });
      await stream.next();
      const [{ id }] = await daemon.jobs("&type=sleep");
      const events = [];
      const indexes = new Set();
      const other = gather(new Client(proxy.unix).events(id));
      for await (const { event, data } of new Client(proxy.url).events(id)) {
        events.push(event);
        if (event !== "item")
          continue;
        assert.equal(indexes.has(data.index), false);
        if (indexes.add(data.index).size === 40)
          await direct.cancel(id);
      }
      const inOther = (await other).filter(({ event }) => event === "item").map(({ data }) => data.index);
      assert.equal(proxy.lost, 4);
      assert.deepEqual(inOther.sort((a, b) => a - b), numbers(40));
      assert.deepEqual([...indexes].sort((a, b) => a - b), numbers(40));
      assert.deepEqual([events[0], events.at(-1)], ["status", "end"]);
      assert.deepEqual(await gather(direct.events(id, { lastEventId: "end" })), []);
      await stream.return();
    });
  });

  test("a job that is not there, an abort, and a reader that leaves", async () => {
    const client = new Client(daemon.url);
    const error = await failure(client.events("01890000-0000-7000-8000-000000000000").next());
    assert.equal(error.code, "not_found");
    const job = await client.submit("sleep", { ms: 60000 });
    const controller = new AbortController();
    const all = failure(gather(job.events({ signal: controller.signal })));
    for await (const { event, data } of job.events()) {
      assert.deepEqual([event, data.status], ["status", "queued"]);
      break;
    }
    controller.abort();
    assert.equal((await all).name, "AbortError");
    assert.equal((await job.refresh()).ended, false);
    await job.cancel();
  });
});
