// failures.js: the errors of the client, made from the problems (RFC 9457) that the service sends.
import { InvalidParams, OffloadError } from "./errors.js";

const WITHIN = /^(\/params|\/items\/\d+)(?=\/|$)/;
const COLUMN = /^\/columns(\/[^/]*)(?:\/\d+(?=\/|$))?/;

const text = (value) => (typeof value === "string" ? value : undefined);

// A property that is not printed with the error.
const hide = (error, name, value) => Object.defineProperty(error, name, { value, writable: true, configurable: true });

// The service has refused a request, or what answers is no offload service.
export class HttpError extends OffloadError {
  constructor(message, { status = undefined, problem = undefined, cause = undefined } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status; // of HTTP; undefined: there was no answer
    this.code = text(problem?.code); // the stable name of what is wrong
    hide(this, "problem", problem);
  }
}
HttpError.prototype.name = "HttpError";

// The service could not be reached, or took nothing, for as long as the client tries.
export class Unavailable extends HttpError {
  constructor(message, { retryAfterMs = 0, fatal = false, refused = false, ...rest }) {
    super(message, rest);
    hide(this, "hint", { retryAfterMs, fatal, refused }); // how the client goes on; of no use to others
  }
}
Unavailable.prototype.name = "Unavailable";

// An error whose stack is the one of the process that ran the task.
function remoteCause(exception, detail, traceback) {
  const cause = new Error(detail);
  cause.name = exception ?? "Error";
  cause.stack = traceback;
  return cause;
}

// A job, or a call of a map, has failed.
export class TaskError extends OffloadError {
  constructor(problem, jobId, lost = []) {
    const { code, detail, title, exception, traceback, status, job } = problem;
    const message = exception === undefined ? `${detail ?? title ?? "no reason given"} (${code})`
                                            : detail ? `${exception}: ${detail}` : exception;
    super(message, traceback === undefined ? undefined : { cause: remoteCause(exception, detail, traceback) });
    this.code = text(code);
    this.status = status;
    this.detail = text(detail);
    this.exception = text(exception);
    this.jobId = text(job) ?? jobId;
    this.lost = lost; // how each lost attempt died
    hide(this, "traceback", text(traceback)); // it is printed as the cause
    hide(this, "problem", problem);
  }
}
TaskError.prototype.name = "TaskError";

// A pointer into a request as one within the params of its call.
function pointerInParams(pointer) {
  return COLUMN.test(pointer) ? pointer.replace(COLUMN, "$1") : pointer.replace(WITHIN, "");
}

export function invalidParams(problem) {
  const faults = Array.isArray(problem.errors) ? problem.errors : [];
  const pointer = pointerInParams(text(faults[0]?.pointer) ?? "");
  const why = text(faults[0]?.detail) ?? text(problem.detail) ?? "the parameters are wrong";
  const error = new InvalidParams(pointer.startsWith("/") ? pointer : "", pointer ? `${pointer}: ${why}` : why);
  error.code = "invalid_params";
  hide(error, "problem", problem);
  return error;
}

// The error for the `error` of a job or of a call.
export function failureOf(problem, jobId, lost) {
  return problem.code === "invalid_params" ? invalidParams(problem) : new TaskError(problem, jobId, lost);
}
