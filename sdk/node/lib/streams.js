// streams.js: reads bodies that come bit by bit: lines, and server-sent events.
import { HttpError } from "./failures.js";

const LINE_MAX = 1 << 28; // bytes; a string of V8 takes twice as many
const CR = 13;
const LF = 10;

// Yields the whole lines that have come, as a list for each chunk of the body. They end with LF, CR or both. What follows
// the last end is dropped: that line was cut.
export async function* readLines(body) {
  let pieces = []; // of a line that is not whole
  let size = 0;
  let afterCr = false;
  for await (const bytes of body) {
    let chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (afterCr && chunk[0] === LF) // the line has ended with the chunk before
      chunk = chunk.subarray(1);
    if (bytes.byteLength > 0)
      afterCr = bytes[bytes.byteLength - 1] === CR;
    const end = Math.max(chunk.lastIndexOf(LF), chunk.lastIndexOf(CR));
    if (end >= 0) {
      const stop = chunk[end] === LF && chunk[end - 1] === CR ? end - 1 : end;
      const text = Buffer.concat([...pieces, chunk.subarray(0, stop)]).toString();
      pieces = [];
      size = 0;
      yield text.includes("\r") ? text.split(/\r\n|\r|\n/) : text.split("\n");
    }
    pieces.push(chunk.subarray(end + 1));
    size += chunk.length - end - 1;
    if (size > LINE_MAX)
      throw new HttpError(`the answer has a line of more than ${LINE_MAX} bytes`);
  }
}

async function* each(lists) {
  for await (const list of lists)
    yield* list;
}

// Yields server-sent events (WHATWG HTML, section 9.2.6): { id, event, data }, and { retry } in milliseconds. `id` is
// the last one that was sent, or undefined.
export async function* readEvents(body) {
  let isFirst = true;
  let id;
  let event = "";
  let data = [];
  for await (const raw of each(readLines(body))) {
    const line = isFirst && raw.startsWith("\ufeff") ? raw.slice(1) : raw;
    isFirst = false;
    if (line === "") {
      if (data.length > 0)
        yield { id, event: event || "message", data: data.join("\n") };
      event = "";
      data = [];
      continue;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data")
      data.push(value);
    else if (name === "event")
      event = value;
    else if (name === "id" && !value.includes("\0"))
      id = value;
    else if (name === "retry" && /^\d+$/.test(value))
      yield { retry: Number(value) };
  }
}
