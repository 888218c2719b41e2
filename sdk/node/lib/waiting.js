// waiting.js: waiting that ends when a signal is aborted.

const hubs = new WeakMap(); // signal → what to call

// Calls fn when the signal is aborted, at once if it is. Returns a function that undoes that. A signal gets one listener,
// however many calls share it: Node warns of more than ten.
export function onAbort(signal, fn) {
  if (!signal || signal.aborted) {
    if (signal?.aborted)
      fn();
    return () => {};
  }
  let hub = hubs.get(signal);
  if (hub === undefined) {
    hub = new Set();
    hubs.set(signal, hub);
    signal.addEventListener("abort", () => [...hub].forEach((call) => call()), { once: true });
  }
  hub.add(fn);
  return () => hub.delete(fn);
}

// Rejects with the signal's reason when it is aborted.
export async function sleep(ms, signal) {
  signal?.throwIfAborted();
  let timer;
  let off = () => {};
  try {
    await new Promise((resolve, reject) => {
      timer = setTimeout(resolve, ms);
      off = onAbort(signal, () => reject(signal.reason));
    });
  } finally {
    clearTimeout(timer);
    off();
  }
}

// At most `count` are inside at a time; the others enter in the order in which they came.
export class Slots {
  #free;
  #waiting = [];
  #head = 0; // of #waiting: what is before it has entered or left

  constructor(count) {
    this.#free = count;
  }

  // Resolves when there is room. Whoever has entered calls leave().
  async enter(signal) {
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    const waiter = { enter: null };
    let off = () => {};
    try {
      await new Promise((resolve, reject) => {
        waiter.enter = resolve;
        off = onAbort(signal, () => {
          waiter.enter = null;
          reject(signal.reason);
        });
        this.#waiting.push(waiter);
      });
    } finally {
      off();
    }
  }

  leave() {
    while (this.#head < this.#waiting.length) {
      const { enter } = this.#waiting[this.#head++];
      if (this.#head >= 1024 && this.#head * 2 >= this.#waiting.length) {
        this.#waiting.splice(0, this.#head);
        this.#head = 0;
      }
      if (enter !== null) {
        enter();
        return;
      }
    }
    this.#waiting = [];
    this.#head = 0;
    this.#free++;
  }
}
