// example.test.js: examples/client.mjs with the tasks of examples/tasks.mjs.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Daemon, noDaemon, until } from "./daemon.js";

const path = (name) => fileURLToPath(new URL(`../../../examples/${name}`, import.meta.url));

test("examples/client.mjs", { skip: noDaemon, timeout: 120000 }, async () => {
  const daemon = await Daemon.start("--program", `${process.execPath} ${path("tasks.mjs")}`);
  for (const url of [daemon.url, daemon.unix]) {
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, OFFLOAD_URL: url };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [path("client.mjs")], { env });
    assert.equal(stderr, "");
    const lines = stdout.trimEnd().split("\n").filter((line) => !line.startsWith("squares: "));
    assert.deepEqual(lines, [
      "1000003 is prime: true",
      "the sum of the squares: 8999995500000500000n",
      "primes in order: [ 100003, 100019, 100043 ]",
      "primes in all: 81",
      "wrong: /n",
      "cancelled: TimeoutError",
    ]);
    assert.match(stdout, /^squares: 8 of 8 chunks$/m);
    const running = () => daemon.jobs("&type=squares&status=running");
    await until(async () => (await running()).length === 0);
  }
  await daemon.stop();
});
