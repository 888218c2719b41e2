// requests.js: requests to the service, sent again until they are answered or the client gives up.
import { failureOf, HttpError, invalidParams, Unavailable } from "./failures.js";
import { onAbort, sleep, Slots } from "./waiting.js";

const BACKOFF_MS = 50; // before the second try; it doubles
const BACKOFF_MAX_MS = 5000;
const TIMER_MAX_MS = 2147483647;
const PROBLEM_MAX = 1 << 20; // bytes
const RETRIED = new Set([408, 429, 502, 503, 504]); // if they are not about a job; a proxy can send them, too
// With these the service has taken nothing. An `over_memory` can be the answer to a job that was run.
const NOTHING_TAKEN = new Set(["draining", "over_quota", "queue_full", "starting", "store_unavailable", "too_many_connections"]);
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

// How long to try again. The time begins with the first trouble, and an answer ends it.
export class Patience {
  #ms;
  #began;
  #tries;

  constructor(ms) {
    this.#ms = ms;
    this.calm();
  }

  calm() {
    this.#began = undefined;
    this.#tries = 0;
  }

  // Waits until the next try, at least atLeastMs. Throws the error if it cannot pass, or would not within our time.
  async pause(error, signal, atLeastMs = 0) {
    if (!(error instanceof Unavailable) || error.hint.fatal)
      throw error;
    const now = performance.now();
    this.#began ??= now;
    const backoff = Math.min(BACKOFF_MS * 2 ** this.#tries++, BACKOFF_MAX_MS) * (0.5 + Math.random() / 2);
    const wait = Math.max(error.hint.retryAfterMs || backoff, atLeastMs);
    if (now + wait > this.#began + this.#ms)
      throw error;
    await sleep(wait, signal);
  }
}

export class Requests {
  #address;
  #send;
  #headers;
  #retryForMs;
  #timeoutMs;
  #slots;

  constructor({ address, send, headers, retryForMs, timeoutMs, connections }) {
    this.#address = address;
    this.#send = send;
    this.#headers = headers;
    this.#retryForMs = retryForMs;
    this.#timeoutMs = timeoutMs;
    this.#slots = new Slots(connections);
  }

  makePatience() {
    return new Patience(this.#retryForMs);
  }

  // Calls attempt() until it throws something else than an Unavailable that can pass, or patience is over. `progress` is
  // an object whose `made` an attempt sets to true: then the service is alive.
  async retry(signal, attempt, { progress = {}, retryForMs = this.#retryForMs } = {}) {
    const patience = new Patience(retryForMs);
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (progress.made)
          patience.calm();
        progress.made = false;
        await patience.pause(error, signal);
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
      await this.retry(options.signal, () => this.whole(request, options), { retryForMs: options.retryForMs });
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
    const drains = problem?.code === "draining"; // the job goes on at the next start
    if (typeof problem?.job === "string" && !drains)
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
