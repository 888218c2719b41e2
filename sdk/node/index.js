// offload: job types in JavaScript, and the client. README.md is the manual, index.d.ts has the types.
import { isMainThread } from "node:worker_threads";

import { serve } from "./lib/server.js";
import { onFirstTask } from "./lib/tasks.js";

export { Client, HttpError, Job, OffloadError, TaskError, Unavailable } from "./lib/client.js";
export { attempt, cancelled, deadline, progress } from "./lib/context.js";
export { InvalidParams } from "./lib/errors.js";
export { serve } from "./lib/server.js";
export { task } from "./lib/tasks.js";

// offload has started this process: it is served as soon as the modules that have tasks are evaluated.
if (isMainThread && process.env.OFFLOAD_FD !== undefined)
  onFirstTask(() => setImmediate(serve));
