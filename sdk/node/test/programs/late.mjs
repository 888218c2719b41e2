// late.mjs: a task that is registered when the others are served already.
import { setTimeout as sleep } from "node:timers/promises";
import { task } from "offload";

task("first", {}, () => 1);
await sleep(20);
task("second", {}, () => 2);
