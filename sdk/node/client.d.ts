// The types of `offload/client`: the client of a service. README.md is the manual.

export interface ClientOptions {
  /** The API key: it is sent as `Authorization: Bearer KEY`. Default: $OFFLOAD_API_KEY, if it is set. */
  key?: string;
  /** For https: a file (PEM) with the authorities to trust, and no others. Default: $OFFLOAD_CA, else those of Node. */
  ca?: string;
  /** For https: a file (PEM) with the client's own certificate, if the service wants one. */
  cert?: string;
  /** A file (PEM) with its private key. Default: that of `cert`. */
  certKey?: string;
  /** For how many seconds a request is sent again while its answers are lost or the service is busy. 0: no Idempotency-Key
   *  is sent either, and the service cancels a job whose client hangs up. Default: 60. */
  retryFor?: number;
  /** Seconds that an answer may take beyond the time that the service was asked to wait. Default: 30. */
  timeout?: number;
  /** How many requests are under way at a time; the others wait. Streams, events and cancels are not counted.
   *  Default: 256. */
  connections?: number;
  /** Headers of all requests. */
  headers?: Record<string, string>;
  /** In place of the fetch of Node. It is not used for a Unix socket. */
  fetch?: typeof globalThis.fetch;
}

export interface Abortable {
  /** Ends the waiting. That of `run`, `submit`, `map`, `columns` and `stream` cancels their jobs, too. */
  signal?: AbortSignal;
}

export interface CallOptions extends Abortable {
  /** 0 to 7; 0 is the most urgent. Default: 3. */
  priority?: number;
  /** Seconds that the job can run. */
  timeout?: number;
  /** Seconds after which a job that has not started fails; 0: never. */
  queueTimeout?: number;
  /** How often each chunk is tried if workers are lost. */
  maxAttempts?: number;
  /** Seconds that the job and its result are kept after its end. */
  ttl?: number;
  /** Seconds; the job starts no earlier than that. */
  delay?: number;
  /** How many chunks; 0: the service decides. */
  chunks?: number;
  /** "fresh": new processes for this job alone. */
  isolation?: "pool" | "fresh";
  /** The URL that gets a POST when the job has ended. */
  webhook?: string;
  /** In place of a random one: the same key gives the same job for 24 hours, from any process. */
  idempotencyKey?: string;
  /** Headers of the submission, such as `traceparent`. */
  headers?: Record<string, string>;
}

export interface MapOptions extends CallOptions {
  /** Resolve with the outcome of each call, as Promise.allSettled does. */
  settled?: boolean;
}

/** The parameters of a call. Those that are undefined are left out. BigInts, bytes, Maps and the like are written by the
 *  rules for results. */
export type Params = object;

/** The parameters of many calls: call i has the i-th value of each list; what is no list is the same for all. */
export type Columns = object;

export type Outcome<R = any> =
  | { index: number; status: "succeeded"; result: R; error?: undefined }
  | { index: number; status: "failed"; result?: undefined; error: CallError };

/** Why a call of a map has failed. */
export type CallError = (TaskError | InvalidParams) & { readonly index: number };

export type JobStatus = "queued" | "running" | "succeeded" | "failed" | "cancelled";

/** How a lost attempt died. */
export interface LostAttempt {
  chunk?: number;
  cause: "signal" | "exit" | "oom" | "timeout" | "memory" | "protocol" | "restart";
  signal?: string;
  exit_code?: number;
  max_rss_bytes?: number;
  cpu_ms?: number;
  stderr_tail?: string;
}

/** A problem document (RFC 9457). */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  instance?: string;
  job?: string;
  errors?: { pointer: string; detail: string }[];
  exception?: string;
  traceback?: string;
  [member: string]: unknown;
}

/** A Job as the service shows it; times are in RFC 3339. */
export interface JobDocument {
  id: string;
  type: string;
  status: JobStatus;
  created_at: string;
  started_at?: string;
  finished_at?: string;
  expires_at?: string;
  progress?: { done: number; total: number; fraction?: number };
  attempts: number;
  lost?: LostAttempt[];
  waiting_for?: string;
  estimated_start?: string;
  priority: number;
  result?: any;
  error?: Problem;
  timings: { queued_ms?: number; run_ms?: number; cpu_ms?: number };
  links: { self: string; result: string; events: string; log?: string };
}

interface EventOf<E extends string, D> {
  /** For `lastEventId`. */
  id: string | undefined;
  event: E;
  data: D;
}

export type JobEvent =
  | EventOf<"status", { status: "queued" | "running"; time: string }>
  | EventOf<"progress", { done: number; total: number; fraction: number }>
  | EventOf<"item", { index: number; status: "succeeded"; result: any } | { index: number; status: "failed"; error: Problem }>
  | EventOf<"log", { text: string }>
  | EventOf<"snapshot", JobDocument>
  | EventOf<"end", JobDocument>;

export interface EventOptions extends Abortable {
  /** Only the events after this one. */
  lastEventId?: string;
}

/** A job type, as GET /v1/types shows it. */
export interface JobType {
  name: string;
  summary: string;
  source: string;
  /** A JSON Schema. */
  params: { readonly [keyword: string]: unknown };
  flags: string[];
  timeout?: number;
  max_attempts?: number;
}

export class Client {
  /** url: "http://HOST:PORT", "https://HOST" or "unix:/PATH". Default: $OFFLOAD_URL, else "http://127.0.0.1:8080". */
  constructor(url?: string | URL, options?: ClientOptions);
  /** Runs one call and waits for it: its result, or a rejection with its failure. */
  run<R = any>(type: string, params?: Params, options?: CallOptions): Promise<R>;
  /** Resolves when the service has the job, and has it on disk. */
  submit<R = any>(type: string, params?: Params, options?: CallOptions): Promise<Job<R>>;
  /** The results of many calls, in their order. The first call that fails rejects, and the others are cancelled. */
  map<R = any>(type: string, calls: Iterable<Params> | AsyncIterable<Params>, options: MapOptions & { settled: true }):
    Promise<PromiseSettledResult<R>[]>;
  map<R = any>(type: string, calls: Iterable<Params> | AsyncIterable<Params>, options?: CallOptions & { settled?: false }):
    Promise<R[]>;
  /** The same by columns, in one job: the fastest way for many tiny calls. */
  columns<R = any>(type: string, columns: Columns, options: MapOptions & { settled: true }):
    Promise<PromiseSettledResult<R>[]>;
  columns<R = any>(type: string, columns: Columns, options?: CallOptions & { settled?: false }): Promise<R[]>;
  /** Yields the outcome of each call when it has ended. What is sent ahead of the reader is bounded. A reader that leaves
   *  cancels the rest. */
  stream<R = any>(type: string, calls: Iterable<Params> | AsyncIterable<Params> | Columns, options?: CallOptions):
    AsyncGenerator<Outcome<R>, void, undefined>;
  /** The job of that id. */
  get<R = any>(id: string, options?: Abortable): Promise<Job<R>>;
  /** Cancels a job; it resolves when no process works on it any more. */
  cancel<R = any>(id: string, options?: Abortable): Promise<Job<R>>;
  /** Yields the jobs that the service still has, newest first; their documents are without results. */
  jobs(options?: Abortable & { status?: JobStatus; type?: string }): AsyncGenerator<Job, void, undefined>;
  /** Yields the events of a job until it has ended, over lost connections. */
  events(id: string, options?: EventOptions): AsyncGenerator<JobEvent, void, undefined>;
  /** The job types of the service. */
  types(options?: Abortable): Promise<JobType[]>;
}

/** A job, as it was when the service was last asked. */
export class Job<R = any> {
  private constructor();
  readonly document: JobDocument;
  readonly id: string;
  readonly type: string;
  readonly status: JobStatus;
  readonly progress: JobDocument["progress"];
  readonly ended: boolean;
  /** Asks how the job is now. */
  refresh(options?: Abortable): Promise<this>;
  /** Resolves when the job has ended, in whatever way. */
  wait(options?: Abortable): Promise<this>;
  /** Waits for the job: its result, or a rejection with its failure. */
  result(options?: Abortable): Promise<R>;
  /** Resolves when no process works on the job any more. */
  cancel(options?: Abortable): Promise<this>;
  events(options?: EventOptions): AsyncGenerator<JobEvent, void, undefined>;
  /** The last 64 KiB of what the job's processes have printed. */
  log(options?: Abortable): Promise<string>;
  /** Cancels the job if it has not ended, and has the service forget it. */
  delete(options?: Abortable): Promise<void>;
  toJSON(): JobDocument;
}

/** What all errors of this package have in common. */
export class OffloadError extends Error {}

/** The parameters are wrong. A task throws it for what its schema does not say; the client throws it for 422. */
export class InvalidParams extends OffloadError {
  /** pointer: a JSON pointer within the params, such as "/n"; "" is all of them. detail: what is wrong there. */
  constructor(pointer: string, detail: string);
  readonly pointer: string;
  /** "invalid_params" at a client. */
  readonly code?: string;
  /** The answer of the service, with all faults, at a client. */
  readonly problem?: Problem;
}

/** A job, or a call of a map, has failed or was cancelled. Its cause has the stack of the task. */
export class TaskError extends OffloadError {
  private constructor();
  /** "handler_failed", "worker_crashed", "job_timeout", "memory_limit", "queue_timeout", "cancelled", ... */
  readonly code: string;
  /** The status of HTTP that goes with it. */
  readonly status: number | undefined;
  /** The message of the task's exception, or another text. */
  readonly detail: string | undefined;
  /** The class of the task's exception. */
  readonly exception: string | undefined;
  /** The stack of the task's exception. */
  readonly traceback: string | undefined;
  readonly jobId: string | undefined;
  readonly lost: LostAttempt[];
  readonly problem: Problem;
}

/** The service has refused a request. */
export class HttpError extends OffloadError {
  protected constructor();
  /** undefined: there was no answer. */
  readonly status: number | undefined;
  /** The stable name of what is wrong, such as "unknown_type". */
  readonly code: string | undefined;
  readonly problem: Problem | undefined;
}

/** The service could not be reached, or took nothing, for as long as the client tries. */
export class Unavailable extends HttpError {}
