// maps.js: many calls of one type, whose results come as they end.
//
// The calls are taken as they are needed and sent as jobs of some thousand calls, a few at a time. A reader who stops
// to read stops the service, too. A stream that is cut is asked for again, and the calls that have come are left out.
import { failureOf, HttpError, Unavailable } from "./failures.js";
import { readLines } from "./streams.js";
import { onAbort } from "./waiting.js";

const CALLS_MAX = 10000; // of one job
const TEXT_MAX = 1 << 20; // characters of one job, unless one call has more
const JOBS_MAX = 16; // at a time
const AHEAD_MAX = 40000; // calls that were sent and have not ended
const INDEX_END = 1000000; // of a job at the service
const LINGER_MS = 5; // for more calls of a source that is slow
const READY_MAX = 4; // lists of results that wait for the reader
const ALIVE_MS = 10000; // a stream that lasts so long is no fault of the service
const HEAD_WAIT_MS = 240000; // until a stream begins; fetch gives up after 300 s

// A list from writers that wait for their reader.
class Channel {
  #lists = [];
  #end = null; // { error } when there is no more
  #wakeReader = () => {};
  #wakeWriters = [];

  // Resolves when the reader wants more.
  async push(list) {
    this.#lists.push(list);
    this.#wakeReader();
    if (this.#lists.length > READY_MAX && this.#end === null)
      await new Promise((resolve) => { this.#wakeWriters.push(resolve); });
  }

  // No more comes. The first close() counts; after it no writer waits.
  close(error) {
    this.#end ??= { error };
    this.#wakeReader();
    this.#wakeWriters.splice(0).forEach((wake) => wake());
  }

  // The next list; null at the end. An error comes at once.
  async take() {
    while (this.#lists.length === 0 && this.#end === null)
      await new Promise((resolve) => { this.#wakeReader = resolve; });
    if (this.#end?.error !== undefined)
      throw this.#end.error;
    const list = this.#lists.shift() ?? null;
    if (this.#lists.length < READY_MAX)
      this.#wakeWriters.splice(0).forEach((wake) => wake());
    return list;
  }
}

// Yields { first, count, text }: the calls of one job, as the text of `items`. lingers: what has come is sent when the
// source pauses.
async function* gatherItems(iterator, encodeItem, lingers) {
  let next = null; // a promise of the source that was not answered in time
  for (let first = 0, done = false; !done;) {
    let text = "";
    let count = 0;
    let late = null;
    let timer;
    while (count < CALLS_MAX && text.length < TEXT_MAX) {
      let step = next ?? iterator.next();
      next = null;
      if (typeof step?.then === "function") {
        const promise = step;
        if (lingers && count > 0) {
          late ??= new Promise((resolve) => { timer = setTimeout(resolve, LINGER_MS, null); });
          step = await Promise.race([promise, late]);
        } else {
          step = await promise;
        }
        if (step === null) {
          next = promise;
          break;
        }
      }
      if (step.done) {
        done = true;
        break;
      }
      text += (count === 0 ? "" : ",") + encodeItem(step.value);
      count++;
    }
    clearTimeout(timer);
    if (count > 0)
      yield { first, count, text: `"items":[${text}]` };
    first += count;
  }
}

function makeOutcome(index, { status, result, error }, jobId) {
  if (status === "succeeded")
    return { index, status, result };
  return { index, status, error: Object.assign(failureOf(error ?? {}, jobId), { index }) };
}

// Yields [index, item] of the whole result of a map.
function* itemsOf(value) {
  if (Array.isArray(value?.items)) {
    yield* value.items.entries();
  } else if (Array.isArray(value?.results)) {
    const errors = new Map(value.errors.map(({ index, error }) => [index, error]));
    for (const [index, result] of value.results.entries())
      yield [index, errors.has(index) ? { status: "failed", error: errors.get(index) } : { status: "succeeded", result }];
  } else {
    throw new HttpError("the result of the job is none of a map");
  }
}

// The outcomes of the whole result of a map, in order.
export function outcomesOf(value, jobId) {
  return [...itemsOf(value)].map(([index, item]) => makeOutcome(index, item, jobId));
}

// The calls of a job whose outcome has come.
class Seen {
  #marks = new Uint8Array(CALLS_MAX);
  count = 0;

  // False if it was there already.
  add(index) {
    if (!Number.isSafeInteger(index) || index < 0 || index >= INDEX_END)
      throw new HttpError(`the answer has a call of the index ${index}`);
    if (index >= this.#marks.length) { // by columns there can be more
      const more = new Uint8Array(INDEX_END);
      more.set(this.#marks);
      this.#marks = more;
    }
    if (this.#marks[index] !== 0)
      return false;
    this.#marks[index] = 1;
    this.count++;
    return true;
  }
}

function parseLine(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    throw new HttpError("the answer has a line that is no JSON");
  }
}

// Sends one job, and hands on the outcome of each of its calls once. first: what is added to their indexes.
async function readJob(service, submission, first, push) {
  const { signal, sent } = submission;
  const seen = new Seen();
  const progress = {};
  const take = (index, item) => (seen.add(index) ? [makeOutcome(first + index, item, submission.id)] : []);

  const readStream = async (body) => {
    for await (const lines of readLines(body)) {
      const ready = [];
      let total, trouble;
      for (const text of lines) {
        const line = parseLine(text);
        if (line.index !== undefined)
          ready.push(...take(line.index, line));
        else if (line.summary !== undefined)
          total = line.summary.total;
        else if (line.error?.code === "draining") // the job goes on at the next start
          trouble = new Unavailable(line.error.detail, { problem: line.error, retryAfterMs: 1000 });
        else if (line.error !== undefined)
          trouble = failureOf(line.error, submission.id);
      }
      progress.made ||= ready.length > 0;
      if (ready.length > 0)
        await push(ready); // what counts as seen has to be handed on, whatever comes after it
      if (trouble !== undefined)
        throw trouble;
      if (total !== undefined && total !== seen.count)
        throw new HttpError(`the answer has ${seen.count} of ${total} calls`);
      if (total !== undefined)
        return;
    }
    throw new Unavailable("the answer was cut", {});
  };

  await service.requests.retry(signal, async () => {
    const request = submission.request({ accept: "application/x-ndjson" });
    const options = { signal, sent, waitMs: HEAD_WAIT_MS, silenceMs: Infinity, unbounded: true };
    const answer = await service.requests.open(request, options);
    const opened = performance.now();
    try {
      submission.noteJob(answer.header);
      if (/^application\/x-ndjson\b/.test(answer.header("content-type") ?? "")) {
        await readStream(answer.body);
        return;
      }
    } finally {
      answer.close();
      progress.made ||= performance.now() - opened > ALIVE_MS; // fetch cuts what is silent for 300 s
    }
    // Too many clients wait, so the service did not stream.
    const document = await service.end({ id: submission.id }, signal);
    for (const [index, item] of itemsOf(await service.value(document, signal)))
      await push(take(index, item));
  }, { progress });
}

// Yields { index, status: "succeeded", result } or { index, status: "failed", error } for each call when it has ended.
//
// source: { iterator, encodeItem, lingers } of the calls, or { text } of a job by columns.
// makeSubmission(text, number, signal) makes the submission of a job.
export async function* streamCalls(service, source, makeSubmission, signal) {
  signal?.throwIfAborted();
  const controller = new AbortController();
  const channel = new Channel();
  const running = new Set();
  let ahead = 0;
  let number = 0;
  let wakeFeeder = () => {};

  const off = onAbort(signal, () => {
    controller.abort(signal.reason);
    channel.close(signal.reason);
  });

  const run = async ({ first, count, text }) => {
    const submission = makeSubmission(text, number++, controller.signal);
    ahead += count;
    await service.owning(submission, () => readJob(service, submission, first, (list) => {
      ahead -= list.length;
      wakeFeeder();
      return list.length > 0 ? channel.push(list) : undefined;
    }));
  };

  const fail = (error) => {
    channel.close(error);
    controller.abort(error);
  };

  const feed = async () => {
    const jobs = source.text === undefined ? gatherItems(source.iterator, source.encodeItem, source.lingers)
                                           : [{ first: 0, count: 0, text: source.text }];
    for await (const job of jobs) {
      while (running.size >= JOBS_MAX || (running.size > 0 && ahead + job.count > AHEAD_MAX))
        await new Promise((resolve) => { wakeFeeder = resolve; });
      if (controller.signal.aborted)
        return;
      const task = run(job).catch(fail).finally(() => {
        running.delete(task);
        wakeFeeder();
      });
      running.add(task);
    }
    await Promise.all(running);
    channel.close();
  };

  try {
    feed().catch(fail);
    for (let list = await channel.take(); list !== null; list = await channel.take())
      for (const outcome of list) {
        signal?.throwIfAborted();
        yield outcome;
      }
  } finally {
    off();
    controller.abort();
    wakeFeeder();
    Promise.resolve(source.iterator?.return?.()).catch(() => {});
  }
}
