// tasks.js: the tasks that were registered.
import { fileURLToPath } from "node:url";

import { Context } from "./context.js";
import { decoder, expand } from "./schema.js";

const NAME = /^[a-z][a-z0-9_-]{0,63}$/;
const OPTIONS = ["summary", "timeout", "maxAttempts", "split", "merge"];

const tasks = new Map(); // by name
const sources = new Set(process.argv[1] === undefined ? [] : [process.argv[1]]);
let closed = false;
let whenFirst = () => {};

// The file that has called task(): a change of it is a reason to load the program anew.
function callingFile() {
  const prepare = Error.prepareStackTrace;
  Error.prepareStackTrace = (_, sites) => sites;
  const site = new Error().stack[2];
  Error.prepareStackTrace = prepare;
  const name = site?.getFileName();
  return name?.startsWith("file:") ? fileURLToPath(name) : name;
}

function check(name, fn, options) {
  if (closed)
    throw new Error("it comes too late: register all tasks before the first `await` that follows a task");
  if (typeof name !== "string" || !NAME.test(name))
    throw new TypeError("a name is a-z, then a-z, 0-9, _ and -, at most 64 characters");
  if (tasks.has(name))
    throw new Error("there are two tasks of this name");
  if (typeof fn !== "function")
    throw new TypeError("the third argument is no function");
  for (const option of Object.keys(options))
    if (!OPTIONS.includes(option))
      throw new TypeError(`there is no option "${option}"; there are ${OPTIONS.join(", ")}`);
  for (const option of ["split", "merge"])
    if (options[option] !== undefined && typeof options[option] !== "function")
      throw new TypeError(`${option} is no function`);
  if (options.summary !== undefined && (typeof options.summary !== "string" || /[\r\n]/.test(options.summary)))
    throw new TypeError("summary is no single line");
  if (options.timeout !== undefined && !(Number.isFinite(options.timeout) && options.timeout > 0))
    throw new TypeError("timeout is no number of seconds above 0");
  if (options.maxAttempts !== undefined && !(Number.isSafeInteger(options.maxAttempts) && options.maxAttempts > 0))
    throw new TypeError("maxAttempts is no whole number above 0");
}

// Registers a function as a job type. Returns a function that calls it, with the defaults filled in.
export function task(name, schema, fn, options = {}) {
  let params;
  try {
    check(name, fn, options);
    params = expand(schema);
    JSON.stringify(params); // a schema with a BigInt, or one that contains itself
  } catch (error) {
    error.message = `task ${name}: ${error.message}`;
    throw error;
  }
  const decode = decoder(params);
  const file = callingFile();
  if (file !== undefined)
    sources.add(file);
  tasks.set(name, { name, params, decode, fn, split: options.split, merge: options.merge, options, slow: true });
  if (tasks.size === 1)
    whenFirst();
  return (given = {}, context = new Context()) => fn(decode(given), context);
}

export function onFirstTask(call) {
  whenFirst = call;
}

export function findTask(name) {
  return tasks.get(name);
}

// The member `types` of hello, and `sources`. No task can be registered any more.
export function closeTasks() {
  closed = true;
  const types = [...tasks.values()].map(({ name, params, split, merge, options }) => ({
    name,
    summary: options.summary,
    params,
    flags: [...(split ? ["split"] : []), ...(merge ? ["merge"] : [])],
    timeout: options.timeout,
    max_attempts: options.maxAttempts,
  }));
  return { types, sources: [...sources] };
}
