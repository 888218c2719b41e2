// The types of the package `offload`: job types in JavaScript, and the client. README.md is the manual.

export * from "./client.js";

/** The type of a parameter in the short form of a schema. `?` behind it: the client can leave it out. */
type Word = "integer" | "number" | "string" | "boolean" | "array" | "object" | "bytes" | "any";
export type ShortType = Word | `${Word}?` | `${Word}[]` | `${Word}[]?`;

/** A JSON Schema (draft 2020-12). */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** A JSON Schema whose `type` is "object", or the short form: a word, a list of strings, or a JSON Schema for each
 *  parameter. A parameter with a `default` is optional. */
export type ParamsSchema =
  | (JsonSchema & { readonly type: "object" })
  | { readonly [name: string]: ShortType | readonly string[] | JsonSchema };

/** What a function can know of its call. */
export interface Context {
  /** Aborted when the call is cancelled. */
  readonly signal: AbortSignal;
  /** True if the call is cancelled. Unlike `cancelled()` it does not look for what has come in a loop without `await`. */
  readonly cancelled: boolean;
  /** Tells how far the call is: whole numbers, 0 <= done <= total. */
  readonly progress: (done: number, total: number) => void;
  /** 0, or how often this call was lost before. */
  readonly attempt: number;
  /** When the job will be stopped, in milliseconds as Date.now() has them. */
  readonly deadline: number | undefined;
}

export interface TaskOptions<P> {
  /** One line. */
  summary?: string;
  /** Seconds, for jobs that have no options.timeout. */
  timeout?: number;
  /** For jobs that have no options.max_attempts. */
  maxAttempts?: number;
  /** The parameters of 1 to 4096 chunks. wished: how many the client wants; 0: choose. */
  split?: (params: P, wished: number) => Iterable<object> | AsyncIterable<object> | Promise<Iterable<object>>;
  /** The result of the job, from the values of all chunks in their order, as they are in JSON. */
  merge?: (parts: any[]) => unknown;
}

/** Registers a function as a job type. Returns a function that calls it, with the defaults filled in. */
export function task<P = any, R = unknown>(
  name: string,
  schema: ParamsSchema,
  fn: (params: P, context: Context) => R,
  options?: TaskOptions<P>,
): (params?: P, context?: Context) => R;

/** Answers offload from now on. It is called by itself when offload has started the process; elsewhere it does nothing. */
export function serve(): void;

/** True if the call that runs is to stop. It works in a loop without `await`, too. */
export function cancelled(): boolean;
/** The same as those of the call's context. Outside of a call: nothing, 0 and undefined. */
export function progress(done: number, total: number): void;
export function attempt(): number;
export function deadline(): number | undefined;
