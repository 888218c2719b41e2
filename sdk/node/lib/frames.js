// frames.js: messages as frames, and frames as messages (docs/programs.md, "Frames").

const HEAD_BYTES = 8;
export const FRAME_MAX = 268435456; // bytes of JSON

// The frame of a JSON text.
export function frame(text) {
  const size = Buffer.byteLength(text);
  if (size > FRAME_MAX)
    throw new RangeError(`a message of ${size} bytes is larger than a frame can be, 256 MiB`);
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + size);
  bytes.writeUInt32LE(size, 0);
  bytes.writeUInt32LE(0, 4);
  bytes.write(text, HEAD_BYTES);
  return bytes;
}

// Takes bytes as they come, and calls take(message) for each message that is complete.
export class FrameReader {
  #parts = [];
  #size = 0; // of all parts
  #wanted = HEAD_BYTES; // bytes until something can be done: the head, or the whole frame
  #take;

  constructor(take) {
    this.#take = take;
  }

  feed(bytes) {
    this.#parts.push(bytes);
    this.#size += bytes.length;
    while (this.#size >= this.#wanted) {
      const all = this.#parts.length === 1 ? this.#parts[0] : Buffer.concat(this.#parts, this.#size);
      const whole = this.#wanted > HEAD_BYTES ? this.#wanted : HEAD_BYTES + readSize(all);
      if (all.length < whole) {
        this.#parts = [all];
        this.#wanted = whole;
        return;
      }
      this.#parts = all.length > whole ? [all.subarray(whole)] : [];
      this.#size = all.length - whole;
      this.#wanted = HEAD_BYTES;
      this.#take(JSON.parse(all.toString("utf8", HEAD_BYTES, whole)));
    }
  }
}

function readSize(head) {
  const size = head.readUInt32LE(0);
  if (size < 2 || size > FRAME_MAX || head.readUInt32LE(4) !== 0)
    throw new Error(`the host has sent a frame of ${size} and ${head.readUInt32LE(4)} bytes`);
  return size;
}
