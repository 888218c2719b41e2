// requests.js: requests to the service, sent again until they are answered or the client gives up.
import { failureOf, HttpError, invalidParams, Unavailable } from "./failures.js";
import { onAbort, sleep, Slots } from "./waiting.js";

const BACKOFF_MS = 200; // before the second try; it doubles
const BACKOFF_MAX_MS = 10000;
const RETRY_AFTER_MAX_MS = 300000; // a service that names a longer time is not asked again
const TIMER_MAX_MS = 2147483647;
const PROBLEM_MAX = 1 << 20; // bytes
const RETRIED = new Set([408, 429, 502, 503, 504]); // if they are not about a job; a proxy can send them, too
// With these the service has taken nothing. An `over_memory` can be the answer to a job that was run.
const NOTHING_TAKEN = new Set(["draining", "queue_full", "starting", "store_unavailable", "too_many_connections"]);
const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOENT", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"]);
const HOPELESS = /^(ENOTFOUND|EACCES|CERT_|ERR_TLS|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/;

// Milliseconds; 0 if there is no such header. It has seconds, or a date (RFC 9110, section 10.2.3).
function retryAfter(value) {
  if (value === null)
    return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(ms, 0) : 0;
}

async function gather(body, max = Infinity) {
  const chunks = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > max)
      throw new HttpError(`the answer has more than ${max} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

function parseObject(bytes) {
  try {
    const value = JSON.parse(bytes.toString());
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

export class Requests {
  #address;
  #send;
  #headers;
  #retries;
  #timeoutMs;
  #slots;

  constructor({ address, send, headers, retries, timeoutMs, connections }) {
    this.#address = address;
    this.#send = send;
    this.#headers = headers;
    this.#retries = retries;
    this.#timeoutMs = timeoutMs;
    this.#slots = new Slots(connections);
  }

  get retries() {
    return this.#retries;
  }

  // Calls attempt() until it throws something else than an Unavailable that can pass. `progress` is an object whose
  // `made` an attempt sets to true: then the service is alive, and the tries are counted anew.
  async retry(signal, attempt, progress = {}, retries = this.#retries) {
    for (let tried = 0;; tried++) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof Unavailable))
          throw error;
        if (progress.made)
          tried = 0;
        progress.made = false;
        const { retryAfterMs, fatal } = error.hint;
        if (fatal || tried >= retries || retryAfterMs > RETRY_AFTER_MAX_MS)
          throw error;
        const backoff = Math.min(BACKOFF_MS * 2 ** tried, BACKOFF_MAX_MS);
        await sleep(Math.max(retryAfterMs, backoff / 2) + (Math.random() * backoff) / 2, signal);
      }
    }
  }

  // Sends a request once. Resolves with the answer if its status is 2xx: { status, header(name), body, close() }; the
  // caller has to call close(). Rejects with an HttpError, with an Unavailable, with the failure of the job that the
  // answer is about, or with the signal's reason.
  //
  // waitMs: how long the service may take on purpose. silenceMs: how long the body may pause. unbounded: it needs no
  // slot. `sent` is an object; its `mayRun` tells whether a job can exist that we were not told of.
  async open(request, { signal, waitMs = 0, silenceMs = this.#timeoutMs, unbounded = false, sent = {} } = {}) {
    signal?.throwIfAborted();
    if (!unbounded)
      await this.#slots.enter(signal);
    const controller = new AbortController();
    const off = onAbort(signal, () => controller.abort());
    let timer;
    const watch = (ms) => {
      clearTimeout(timer);
      timer = ms > TIMER_MAX_MS ? undefined : setTimeout(() => controller.abort(), ms);
    };
    let open = true;
    let isWhole = false;
    const close = () => {
      if (!open)
        return;
      open = false;
      clearTimeout(timer);
      off();
      if (!isWhole)
        controller.abort();
      if (!unbounded)
        this.#slots.leave();
    };
    const lost = (error) => {
      signal?.throwIfAborted();
      const isOurs = error instanceof HttpError || (error instanceof TypeError && error.cause === undefined);
      return isOurs ? error : this.#lost(error, controller.signal.aborted); // a TypeError: a header that cannot be sent
    };
    async function* read(body) {
      try {
        for await (const chunk of body) {
          watch(Infinity); // the reader can take its time
          yield chunk;
          watch(silenceMs);
        }
        isWhole = true;
      } catch (error) {
        throw lost(error);
      }
    }
    const mayHaveRun = sent.mayRun;
    try {
      watch(waitMs + this.#timeoutMs);
      sent.mayRun = true;
      const headers = { ...this.#headers, ...request.headers };
      const answer = await this.#send({ ...request, headers, signal: controller.signal }).catch((error) => {
        throw lost(error);
      });
      watch(silenceMs);
      const { status, header } = answer;
      const body = read(answer.body);
      if (status < 200 || status > 299)
        throw this.#refusal(status, header, parseObject(await gather(body, PROBLEM_MAX)));
      return { status, header, body, close };
    } catch (error) {
      if (error?.hint?.refused)
        sent.mayRun = mayHaveRun;
      close();
      throw error;
    }
  }

  // As open(), with the whole body: { status, header(name), bytes }.
  async whole(request, options) {
    const answer = await this.open(request, options);
    try {
      return { status: answer.status, header: answer.header, bytes: await gather(answer.body) };
    } finally {
      answer.close();
    }
  }

  // Sends a request until it is answered; the answer as whole() gives it, with `json` in place of bytes.
  async ask(request, options = {}) {
    const { status, header, bytes } =
      await this.retry(options.signal, () => this.whole(request, options), {}, options.retries);
    const json = parseObject(bytes);
    if (json === undefined && bytes.length > 0)
      throw new HttpError(`${this.#address} is not an offload service: its answer is no JSON`, { status });
    return { status, header, json };
  }

  #lost(error, timedOut) {
    const cause = error.cause ?? error; // fetch says "fetch failed", and its cause tells why
    const refused = NOT_CONNECTED.has(cause.code);
    const why = timedOut ? "it did not answer in time"
                         : cause.message || cause.code || cause.errors?.[0]?.message || "the connection was lost";
    return new Unavailable(`${this.#address} cannot be reached: ${why}`,
                           { cause, refused, fatal: HOPELESS.test(cause.code) });
  }

  #refusal(status, header, problem) {
    if (typeof problem?.job === "string")
      return failureOf(problem, problem.job);
    if (problem?.code === "invalid_params")
      return invalidParams(problem);
    const why = problem?.detail ?? problem?.title ?? "the service gave no reason";
    const message = `${why} (${[status, problem?.code].filter(Boolean).join(", ")})`;
    if (!RETRIED.has(status))
      return new HttpError(message, { status, problem });
    const refused = NOTHING_TAKEN.has(problem?.code);
    return new Unavailable(message, { status, problem, refused, retryAfterMs: retryAfter(header("retry-after")) });
  }
}
