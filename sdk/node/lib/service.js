// service.js: what the client, its jobs and its maps ask of a service.
import { failureOf, HttpError, TaskError, Unavailable } from "./failures.js";
import { readEvents } from "./streams.js";
import { sleep } from "./waiting.js";

const WAIT_S = 20; // of a long poll: less than the time after which a proxy closes a silent connection
const POLL_MS = 1000; // a service or a proxy without long polls is asked no more often
const EVENTS_SILENCE_MS = 45000; // a comment is due every 15 s
const EVENTS_PAUSE_MS = 1000;
const ABANDON_MS = 5000; // how long to try to cancel what nobody waits for any more
const PAGE = 1000; // jobs of a list
const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const JOB_PATH = /\/v1\/jobs\/([0-9a-f-]+)$/;

const pathOf = (id, what = "") => `/v1/jobs/${encodeURIComponent(id)}${what}`;

function parseData(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new HttpError("an event of the job is no JSON");
  }
}

export const hasEnded = (document) => ENDED.has(document.status);

// A submission that is under way. `text` is its body, `key` its Idempotency-Key or undefined, `id` its job once we know.
export class Submission {
  id = undefined;
  sent = { mayRun: false };

  constructor({ text, key, headers, signal }) {
    this.text = text;
    this.key = key;
    this.headers = headers;
    this.signal = signal;
  }

  request(headers) {
    const all = { "content-type": "application/json", ...this.headers, ...headers };
    if (this.key !== undefined)
      all["idempotency-key"] = `"${this.key.replace(/["\\]/g, "\\$&")}"`;
    return { method: "POST", path: "/v1/jobs", headers: all, body: this.text };
  }

  // Takes the job's id from an answer to it.
  noteJob(header, document) {
    this.id ??= document?.id ?? JOB_PATH.exec(header("location") ?? "")?.[1];
  }
}

export class Service {
  #requests;

  constructor(requests) {
    this.#requests = requests;
  }

  get requests() {
    return this.#requests;
  }

  async #document(request, options) {
    const { json, status } = await this.#requests.ask(request, options);
    if (typeof json?.id !== "string" || typeof json.status !== "string")
      throw new HttpError("the answer is no job of offload", { status });
    return json;
  }

  // Sends a submission. Resolves with its Job document as it is after `wait` seconds.
  async submit(submission, wait) {
    const { signal, sent } = submission;
    const prefer = wait > 0 ? `wait=${wait}` : "respond-async";
    const request = submission.request({ accept: "application/json", prefer });
    const document = await this.#document(request, { signal, sent, waitMs: wait * 1000 });
    submission.id = document.id;
    return document;
  }

  // The value of a submission's job.
  async finish(submission) {
    const { signal } = submission;
    let document;
    try {
      document = await this.submit(submission, WAIT_S);
    } catch (error) {
      throw await this.#explain(error, signal);
    }
    return this.value(await this.end(document, signal), signal);
  }

  // The failure of a job that was answered by a problem alone, with what the Job has beyond that, if it is still there.
  async #explain(error, signal) {
    if (!(error instanceof TaskError) || error.jobId === undefined)
      return error;
    try {
      const document = await this.#document({ method: "GET", path: pathOf(error.jobId) }, { signal, retryForMs: 0 });
      return document.status === "failed" ? failureOf(document.error, document.id, document.lost) : error;
    } catch {
      return error;
    }
  }

  // Runs work(). If the submission's signal is aborted meanwhile, its job is cancelled.
  async owning(submission, work) {
    try {
      submission.signal?.throwIfAborted();
      return await work();
    } catch (error) {
      if (submission.signal?.aborted)
        this.abandon(submission);
      throw error;
    }
  }

  // Cancels the job of a submission, in the background. If we were not told its id, the same request tells it: with the
  // same key it makes no second job. Without a key the job ends with the connection.
  async abandon(submission) {
    try {
      if (submission.id === undefined) {
        if (!submission.sent.mayRun || submission.key === undefined)
          return;
        const request = submission.request({ prefer: "respond-async, return=minimal" });
        const { header, json } = await this.#requests.ask(request, { unbounded: true, retryForMs: ABANDON_MS });
        submission.noteJob(header, json);
      }
      await this.cancel(submission.id, undefined, ABANDON_MS);
    } catch { /* it has ended, or the service is not there */ }
  }

  get(id, signal) {
    return this.#document({ method: "GET", path: pathOf(id) }, { signal });
  }

  cancel(id, signal, retryForMs) {
    const request = { method: "POST", path: pathOf(id, "/cancel") };
    return this.#document(request, { signal, retryForMs, unbounded: true });
  }

  async delete(id, signal) {
    const request = { method: "DELETE", path: pathOf(id) };
    let tried = 0;
    await this.#requests.retry(signal, () => this.#requests.whole(request, { signal }).catch((error) => {
      if (tried++ === 0 || error?.status !== 410) // the answer that was lost can have been that it is deleted
        throw error;
    }));
  }

  async log(id, signal) {
    const request = { method: "GET", path: pathOf(id, "/log") };
    const { bytes } = await this.#requests.retry(signal, () => this.#requests.whole(request, { signal }));
    return bytes.toString();
  }

  // Yields the documents of jobs, newest first. filter: `status` and `type`, or nothing.
  async *list(filter, signal) {
    for (let cursor; ;) {
      const query = new URLSearchParams({ limit: PAGE });
      for (const [name, value] of Object.entries({ ...filter, cursor }))
        if (value !== undefined)
          query.set(name, value);
      const { json } = await this.#requests.ask({ method: "GET", path: `/v1/jobs?${query}` }, { signal });
      yield* json?.jobs ?? [];
      cursor = json?.next_cursor;
      if (cursor === undefined)
        return;
    }
  }

  async types(signal) {
    return (await this.#requests.ask({ method: "GET", path: "/v1/types" }, { signal })).json?.types ?? [];
  }

  // The Job document at its end.
  async end(document, signal) {
    const request = { method: "GET", path: pathOf(document.id), headers: { prefer: `wait=${WAIT_S}` } };
    while (!hasEnded(document)) {
      const asked = performance.now();
      document = await this.#document(request, { signal, waitMs: WAIT_S * 1000 });
      const early = asked + POLL_MS - performance.now();
      if (!hasEnded(document) && early > 0)
        await sleep(early, signal);
    }
    return document;
  }

  // The result of a job that has ended, or its failure.
  async value(document, signal) {
    if (document.status === "failed")
      throw failureOf(document.error ?? {}, document.id, document.lost);
    if (document.status === "cancelled")
      throw new TaskError({ status: 409, code: "cancelled", detail: "the job was cancelled" }, document.id);
    if ("result" in document)
      return document.result;
    const request = { method: "GET", path: pathOf(document.id, "/result") };
    const { header, bytes } = await this.#requests.retry(signal, () => this.#requests.whole(request, { signal }));
    return /^application\/([\w.-]+\+)?json\b/.test(header("content-type") ?? "") ? JSON.parse(bytes.toString()) : bytes;
  }

  async *events(id, { signal, lastEventId } = {}) {
    const patience = this.#requests.makePatience();
    let pause = EVENTS_PAUSE_MS;
    for (;;) {
      let answer;
      let trouble = new Unavailable("the events of the job end before the job", {});
      try {
        const headers = { accept: "text/event-stream" };
        if (lastEventId !== undefined)
          headers["last-event-id"] = lastEventId;
        const request = { method: "GET", path: pathOf(id, "/events"), headers };
        answer = await this.#requests.open(request, { signal, silenceMs: EVENTS_SILENCE_MS, unbounded: true });
        if (answer.status === 204)
          return;
        for await (const event of readEvents(answer.body)) {
          if (event.retry !== undefined) {
            pause = event.retry;
            continue;
          }
          patience.calm();
          lastEventId = event.id ?? lastEventId;
          yield { id: lastEventId, event: event.event, data: parseData(event.data) };
          if (event.event === "end")
            return;
        }
      } catch (error) {
        trouble = error;
      } finally {
        answer?.close();
      }
      await patience.pause(trouble, signal, pause);
    }
  }
}
