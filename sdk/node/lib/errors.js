// errors.js: the errors that have a meaning for offload, and how any thrown value is told to the host. The errors of the
// client are in failures.js.

// What all errors of this package have in common.
export class OffloadError extends Error {}
OffloadError.prototype.name = "OffloadError";

// The parameters are wrong in a way that the schema does not say. The client gets 422, and throws it again.
export class InvalidParams extends OffloadError {
  // pointer: a JSON pointer within the params, such as "/n"; "" is all of them. detail: what is wrong there.
  constructor(pointer, detail) {
    super(String(detail));
    if (typeof pointer !== "string" || (pointer !== "" && !pointer.startsWith("/")))
      throw new TypeError(`InvalidParams takes a JSON pointer such as "/n", not ${JSON.stringify(pointer)}`);
    this.pointer = pointer;
  }
}
InvalidParams.prototype.name = "InvalidParams";

const TRACEBACK_MAX = 16384; // characters
const OURS = new URL(".", import.meta.url).href;

// The stack of an error and of its causes, without the lines of this package.
function traceback(error) {
  const stacks = [];
  for (let e = error; e instanceof Error && stacks.length < 5; e = e.cause)
    stacks.push(String(e.stack).split("\n").filter((line) => !line.includes(OURS)).join("\n"));
  return stacks.join("\ncaused by ").slice(0, TRACEBACK_MAX);
}

// The member `error` of a result.
export function describe(error) {
  if (error instanceof InvalidParams)
    return { code: "invalid_params", pointer: error.pointer, detail: error.message };
  if (!(error instanceof Error)) // `throw "text"`
    return { code: "handler_failed", exception: typeof error, detail: textOf(error) };
  if (error.code === "ERR_MEMORY_ALLOCATION_FAILED" || error.message === "Array buffer allocation failed")
    return { code: "memory_limit", detail: error.message };
  return {
    code: "handler_failed",
    exception: error.constructor?.name || error.name,
    detail: String(error.message),
    traceback: traceback(error),
  };
}

function textOf(thrown) {
  try {
    return String(thrown);
  } catch {
    return "a value that is no text was thrown"; // an object without a prototype
  }
}
