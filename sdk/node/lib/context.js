// context.js: what a function can know of its call and say about it.

const PROGRESS_EVERY_MS = 5;

// The call that runs, or null. One call runs at a time.
let current = null;
let look = () => {}; // reads what has come from the host, without waiting

export class Context {
  #controller = null;
  #sendProgress; // (done, total), or null: nobody listens
  #sentAt = 0;
  #later = null; // the timer of a progress that came too early to be sent
  #aborted = false;

  constructor({ attempt = 0, deadline = undefined, sendProgress = null } = {}) {
    this.attempt = attempt;
    this.deadline = deadline;
    this.#sendProgress = sendProgress;
    this.progress = (done, total) => this.#report(done, total);
  }

  // Made when somebody asks for it: most functions do not.
  get signal() {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#aborted)
        this.#controller.abort();
    }
    return this.#controller.signal;
  }

  get cancelled() {
    return this.#aborted;
  }

  abort() {
    this.#aborted = true;
    this.#controller?.abort();
  }

  // The call has been answered: nothing more is said about it.
  close() {
    clearTimeout(this.#later);
    this.#sendProgress = null;
  }

  #report(done, total) {
    if (!Number.isSafeInteger(done) || !Number.isSafeInteger(total) || done < 0 || total < done)
      throw new TypeError(`progress takes two whole numbers, 0 <= done <= total, not ${done} and ${total}`);
    clearTimeout(this.#later);
    const wait = this.#sentAt + PROGRESS_EVERY_MS - performance.now();
    if (wait <= 0 || done === total)
      this.#send(done, total);
    else
      this.#later = setTimeout(() => this.#send(done, total), wait);
  }

  #send(done, total) {
    this.#sentAt = performance.now();
    this.#sendProgress?.(done, total);
  }
}

export function setCurrent(context) {
  current = context;
}

export function setLook(readWaiting) {
  look = readWaiting;
}

export function currentContext() {
  return current;
}

// True if the call that runs is to stop. It works in a loop without `await`, too.
export function cancelled() {
  if (current !== null)
    look();
  return current?.cancelled ?? false;
}

export function progress(done, total) {
  current?.progress(done, total);
}

export function attempt() {
  return current?.attempt ?? 0;
}

export function deadline() {
  return current?.deadline;
}
