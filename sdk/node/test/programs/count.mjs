// count.mjs: a task whose runs can be counted.
import { appendFileSync } from "node:fs";

import { task } from "offload";

task("count", { file: "string", name: "string" }, ({ file, name }) => {
  appendFileSync(file, `${name}\n`);
  return name;
});
