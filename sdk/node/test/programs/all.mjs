// all.mjs: tasks that use everything, for program.test.js.
import { setTimeout as sleep } from "node:timers/promises";

import { attempt, cancelled, deadline, InvalidParams, progress, serve, task } from "offload";

export const double = task("double", { n: "integer", by: { type: "integer", default: 2 } }, ({ n, by }) =>
  typeof n === "bigint" ? n * BigInt(by) : n * by);
task("give", { value: "any" }, ({ value }) => value, { summary: "What it was given", timeout: 60, maxAttempts: 5 });
task("integers", { type: "object", properties: { list: { type: "array", items: { type: "integer" } } } },
     ({ list }) => list.map((n) => typeof n));
task("octets", { data: "bytes" }, ({ data }) => Buffer.concat([data, Buffer.from("!")]));
task("choose", { kind: ["blur", "sepia"], strength: "number?" }, ({ kind, strength = 0.5 }) => `${kind} ${strength}`);
task("fail", { how: "string" }, ({ how }) => {
  class Broken extends Error {}
  if (how === "invalid")
    throw new InvalidParams("/how", "is not good");
  if (how === "text")
    throw "only text";
  if (how === "async")
    return Promise.reject(new Broken("later"));
  if (how === "function")
    return { deep: [() => {}] };
  if (how === "cause")
    throw new Broken("outer", { cause: new RangeError("inner") });
  if (how === "exit")
    process.exit(3);
  throw new Broken("at once");
});
task("wait", { ms: "integer" }, async ({ ms }, { signal }) => {
  console.log("it waits");
  await sleep(ms, undefined, { signal });
  return "waited";
});
task("deaf", { ms: "integer" }, async ({ ms }) => { // it does not listen, and comes to its end
  console.log("it is deaf");
  await sleep(ms);
  return "ended";
});
task("spin", { ms: "integer" }, ({ ms }) => { // without await
  console.log("it spins");
  for (const end = Date.now() + ms; Date.now() < end;)
    if (cancelled())
      throw new Error("stopped");
  return "spun";
});
task("context", {}, async (_, context) => {
  const before = [attempt(), deadline(), context.attempt, context.deadline, cancelled()];
  await sleep(1);
  return [...before, attempt(), context.signal.aborted];
});
task("progress", { of: "integer" }, async ({ of }, context) => {
  for (let i = 0; i <= of; i++) {
    (i % 2 === 0 ? progress : context.progress)(i, of);
    await sleep(10);
  }
  return of;
});
task("regress", {}, () => progress(2, 1));
task("steps", { n: "integer" }, ({ n }) => { // a slow call without await: 0 = quick
  for (const end = Date.now() + n; Date.now() < end;)
    ;
  return n;
});
task("running", {}, (() => {
  let running = 0;
  return async () => {
    const others = running++;
    await sleep(2);
    running--;
    return others;
  };
})());
task("range", { start: "integer", stop: "integer" }, ({ start, stop }) => BigInt(stop) - BigInt(start), {
  async *split({ start, stop }, wished) {
    const n = wished || 2;
    for (let i = 0; i < n; i++)
      yield { start: start + ((stop - start) * i) / n, stop: start + ((stop - start) * (i + 1)) / n };
  },
  merge: async (parts) => parts.reduce((sum, part) => sum + BigInt(part), 0n),
});
task("badsplit", { how: "string" }, () => null, {
  split: ({ how }) => (how === "none" ? [] : how === "text" ? ["text"] : Array.from({ length: 4097 }, () => ({}))),
});

serve(); // early: all tasks must be registered before
