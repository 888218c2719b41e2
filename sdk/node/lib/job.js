// job.js: a job at the service.
import { hasEnded } from "./service.js";

export class Job {
  #service;

  constructor(service, document) {
    this.#service = service;
    this.document = document; // as it was when the service was last asked
  }

  get id() {
    return this.document.id;
  }

  get type() {
    return this.document.type;
  }

  get status() {
    return this.document.status;
  }

  get progress() {
    return this.document.progress;
  }

  get ended() {
    return hasEnded(this.document);
  }

  // Asks how the job is now.
  async refresh({ signal } = {}) {
    this.document = await this.#service.get(this.id, signal);
    return this;
  }

  // Resolves when the job has ended, in whatever way. An aborted signal ends the waiting, not the job.
  async wait({ signal } = {}) {
    this.document = await this.#service.end(this.document, signal);
    return this;
  }

  // Waits for the job. Its result, or its failure.
  async result({ signal } = {}) {
    await this.wait({ signal });
    return this.#service.value(this.document, signal);
  }

  // Resolves when no process works on the job any more.
  async cancel({ signal } = {}) {
    this.document = await this.#service.cancel(this.id, signal);
    return this;
  }

  events(options) {
    return this.#service.events(this.id, options);
  }

  // The last 64 KiB of what the job's processes have printed.
  log({ signal } = {}) {
    return this.#service.log(this.id, signal);
  }

  // Cancels the job if it has not ended, and has it forgotten.
  delete({ signal } = {}) {
    return this.#service.delete(this.id, signal);
  }

  toJSON() {
    return this.document;
  }
}
