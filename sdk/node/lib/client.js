// client.js: the client of a service. README.md is the manual, client.d.ts has the types.
import { randomUUID } from "node:crypto";

import { Job } from "./job.js";
import { outcomesOf, streamCalls } from "./maps.js";
import { Requests } from "./requests.js";
import { Service, Submission } from "./service.js";
import { makeTransport, parseAddress, readTls } from "./transport.js";
import { encode, quote } from "./values.js";

export { InvalidParams, OffloadError } from "./errors.js";
export { HttpError, TaskError, Unavailable } from "./failures.js";
export { Job } from "./job.js";

const DEFAULT_URL = "http://127.0.0.1:8080";
const CLIENT_OPTIONS = ["key", "ca", "cert", "certKey", "retryFor", "timeout", "connections", "headers", "fetch"];
// Our names of the options of a job, theirs, and by what the number is multiplied; 0: it is no number.
const JOB_OPTIONS = {
  priority: ["priority", 1],
  timeout: ["timeout_ms", 1000],
  queueTimeout: ["queue_timeout_ms", 1000],
  maxAttempts: ["max_attempts", 1],
  ttl: ["ttl_s", 1],
  delay: ["delay_ms", 1000],
  chunks: ["chunks", 1],
  isolation: ["isolation", 0],
  webhook: ["webhook", 0],
};
const CALL_OPTIONS = [...Object.keys(JOB_OPTIONS), "signal", "idempotencyKey", "headers"];
const MAP_OPTIONS = [...CALL_OPTIONS, "settled"];

function checkNames(options, names) {
  for (const name of Object.keys(options))
    if (!names.includes(name))
      throw new TypeError(`there is no option "${name}"; there are ${names.join(", ")}`);
}

function checkNumber(name, value, least) {
  if (typeof value !== "number" || !(value >= least))
    throw new TypeError(`${name} is no number of at least ${least}: ${String(value)}`);
  return value;
}

// The member `options` of a submission, with a comma before it; nothing if there are none.
function encodeOptions(options) {
  const members = [];
  for (const [name, [member, scale]] of Object.entries(JOB_OPTIONS)) {
    const value = options[name];
    if (value === undefined)
      continue;
    if (scale !== 0 && checkNumber(name, value, 0) === Infinity)
      throw new TypeError(`${name} is infinite`);
    members.push(`"${member}":${scale === 0 ? quote(String(value)) : Math.round(value * scale)}`);
  }
  return members.length === 0 ? "" : `,"options":{${members.join(",")}}`;
}

function isPlain(value) {
  const prototype = typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : undefined;
  return prototype === Object.prototype || prototype === null;
}

// Of a plain object the members that are undefined are left out: the type has defaults for them.
function encodeParams(params) {
  if (!isPlain(params) || typeof params.toJSON === "function")
    return encode(params);
  let text = "";
  for (const [name, value] of Object.entries(params))
    if (value !== undefined)
      text += `${text === "" ? "" : ","}${quote(name)}:${encode(value)}`;
  return `{${text}}`;
}

function encodeObject(what, value) {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new TypeError(`${what} have to be an object`);
  return encodeParams(value);
}

// A header that the caller has set himself stands, unless he gives a key as well.
function setKey(headers, given) {
  const key = given ?? (headers.has("authorization") ? undefined : process.env.OFFLOAD_API_KEY || undefined);
  if (key === undefined)
    return;
  if (!/^[!-~]{1,4096}$/.test(key)) // it is not shown
    throw new TypeError("the API key is none: it has 1 to 4096 printable ASCII characters without spaces");
  headers.set("authorization", `Bearer ${key}`);
}

export class Client {
  #service;
  #keyed; // each submission gets a key, because it can be sent again

  constructor(url = process.env.OFFLOAD_URL || DEFAULT_URL, options = {}) {
    checkNames(options, CLIENT_OPTIONS);
    const { key, ca, cert, certKey, retryFor = 60, timeout = 30, connections = 256, fetch, headers } = options;
    const all = new Headers({ "accept-encoding": "identity", ...headers }); // the service is near, and its CPU is for jobs
    setKey(all, key);
    if (fetch !== undefined && (ca ?? cert ?? certKey) !== undefined)
      throw new TypeError("ca, cert and certKey are for the client's own connections, not for a fetch of yours");
    const address = parseAddress(url);
    const fromOutside = fetch === undefined && address.secure ? process.env.OFFLOAD_CA || undefined : undefined;
    this.#keyed = checkNumber("retryFor", retryFor, 0) > 0;
    this.#service = new Service(new Requests({
      address: address.text,
      send: makeTransport(address, fetch, readTls({ ca: ca ?? fromOutside, cert, certKey })),
      headers: Object.fromEntries(all),
      retryForMs: retryFor * 1000,
      timeoutMs: checkNumber("timeout", timeout, 0) * 1000,
      connections: checkNumber("connections", connections, 1),
    }));
  }

  #submission(type, what, options, signal = options.signal, keySuffix = "") {
    const { idempotencyKey, headers } = options;
    if (idempotencyKey !== undefined && !/^[ -~]{1,240}$/.test(idempotencyKey))
      throw new TypeError("idempotencyKey is no text of 1 to 240 printable ASCII characters");
    const key = idempotencyKey !== undefined ? idempotencyKey + keySuffix : this.#keyed ? randomUUID() : undefined;
    const text = `{"type":${quote(String(type))},${what}${encodeOptions(options)}}`;
    return new Submission({ text, key, headers: Object.fromEntries(new Headers(headers)), signal });
  }

  // Runs one call, and waits for it: its result, or its failure.
  async run(type, params = {}, options = {}) {
    checkNames(options, CALL_OPTIONS);
    const submission = this.#submission(type, `"params":${encodeObject("params", params)}`, options);
    return this.#service.owning(submission, () => this.#service.finish(submission));
  }

  // Resolves when the service has taken the job: it is on disk then.
  async submit(type, params = {}, options = {}) {
    checkNames(options, CALL_OPTIONS);
    const submission = this.#submission(type, `"params":${encodeObject("params", params)}`, options);
    return this.#service.owning(submission, async () =>
      new Job(this.#service, await this.#service.submit(submission, 0)));
  }

  // Yields { index, status, result or error } for each call when it has ended. calls: the params of each, in anything
  // that can be iterated, also by `for await`; or an object of columns.
  stream(type, calls, options = {}) {
    checkNames(options, CALL_OPTIONS);
    const makeSubmission = (text, number, signal) =>
      this.#submission(type, text, options, signal, number === 0 ? "" : `-${number}`);
    const iterator = typeof calls === "object" && (calls?.[Symbol.asyncIterator] ?? calls?.[Symbol.iterator])?.call(calls);
    const source = iterator ? { iterator, encodeItem: encodeParams, lingers: options.idempotencyKey === undefined }
                            : { text: `"columns":${encodeObject("calls", calls)}` };
    return streamCalls(this.#service, source, makeSubmission, options.signal);
  }

  // The results of all calls, in their order. The first call that fails rejects, and the others are cancelled. With
  // `settled` it resolves with what Promise.allSettled would give.
  async map(type, calls, options = {}) {
    checkNames(options, MAP_OPTIONS);
    const { settled = false, ...others } = options;
    const results = [];
    for await (const { index, result, error } of this.stream(type, calls, others)) {
      if (error !== undefined && !settled)
        throw error;
      results[index] = settled ? settle(result, error) : result;
    }
    return results;
  }

  // The same by columns: { n: [1, 2, 3], k: 5 } calls with n = 1, 2 and 3, and k = 5. One job, and the fastest way for
  // many tiny calls.
  async columns(type, columns, options = {}) {
    checkNames(options, MAP_OPTIONS);
    const { settled = false, ...others } = options;
    const submission = this.#submission(type, `"columns":${encodeObject("columns", columns)}`, others);
    return this.#service.owning(submission, async () => {
      const value = await this.#service.finish(submission);
      if (!settled && value?.errors?.length === 0)
        return value.results;
      return outcomesOf(value, submission.id).map(({ result, error }) => {
        if (error !== undefined && !settled)
          throw error;
        return settled ? settle(result, error) : result;
      });
    });
  }

  // The job of that id, as it is now.
  async get(id, { signal } = {}) {
    return new Job(this.#service, await this.#service.get(id, signal));
  }

  async cancel(id, { signal } = {}) {
    return new Job(this.#service, await this.#service.cancel(id, signal));
  }

  // Yields the jobs that the service still has, newest first.
  async *jobs({ status, type, signal } = {}) {
    for await (const document of this.#service.list({ status, type }, signal))
      yield new Job(this.#service, document);
  }

  // Yields { id, event, data } until the job has ended, over lost connections.
  events(id, options) {
    return this.#service.events(id, options);
  }

  // The job types, as GET /v1/types lists them.
  types({ signal } = {}) {
    return this.#service.types(signal);
  }
}

function settle(value, reason) {
  return reason === undefined ? { status: "fulfilled", value } : { status: "rejected", reason };
}
