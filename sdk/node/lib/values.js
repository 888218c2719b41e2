// values.js: JavaScript values as JSON text, by the rules of offload. JSON.stringify would turn NaN into null and leave
// out functions, so that a wrong result looks like a right one.
import { types } from "node:util";

const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const DEPTH_MAX = 500; // a host does not take a frame that is nested deeper than 512
const LONE_SURROGATE = /\p{Surrogate}/gu; // JSON could escape it, but it is no UTF-8

export function quote(text) {
  return JSON.stringify(text.replace(LONE_SURROGATE, "\ufffd"));
}

function writeNumber(n) {
  if (Number.isSafeInteger(n) || (n > -1e15 && n < 1e15))
    return JSON.stringify(n); // -0 is 0
  if (!Number.isFinite(n))
    return `"${n}"`; // "NaN", "Infinity", "-Infinity"
  return n.toExponential(); // digits alone would be an integer that is out of range
}

// "a function", "an instance of Promise"
function nameType(value) {
  return typeof value === "object" ? `an instance of ${value.constructor?.name ?? "an unknown class"}`
                                   : `a ${typeof value}`;
}

// What they hold is not in their members, so that JSON.stringify makes {} of them.
function isOpaque(value) {
  return types.isPromise(value) || types.isRegExp(value) || types.isNativeError(value) || types.isWeakMap(value) ||
         types.isWeakSet(value) || types.isGeneratorObject(value) || types.isMapIterator(value) ||
         types.isSetIterator(value) || types.isSymbolObject(value) || value instanceof WeakRef;
}

function base64(value) {
  const bytes = ArrayBuffer.isView(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
                                          : Buffer.from(value);
  return `"${bytes.toString("base64")}"`;
}

function writeList(list, above) {
  let text = "[";
  for (const item of list)
    text += (text.length > 1 ? "," : "") + write(item, above);
  return `${text}]`;
}

function writeMembers(entries, above) {
  let text = "{";
  for (const [key, value] of entries)
    text += `${text.length > 1 ? "," : ""}${quote(key)}:${write(value, above)}`;
  return `${text}}`;
}

function mapEntries(map) {
  const names = new Set();
  const entries = [];
  for (const [key, value] of map) {
    if (!["string", "number", "bigint", "boolean"].includes(typeof key))
      throw new TypeError(`JSON cannot hold ${nameType(key)} as the key of a Map`);
    const name = String(key);
    if (names.has(name))
      throw new TypeError(`JSON cannot hold a Map with two keys that are ${quote(name)}`);
    names.add(name);
    entries.push([name, value]);
  }
  return entries;
}

function writeObject(value, above) {
  if (value instanceof Uint8Array || types.isAnyArrayBuffer(value))
    return base64(value);
  if (types.isBoxedPrimitive(value) && !types.isSymbolObject(value))
    return write(value.valueOf(), above);
  if (isOpaque(value) || value instanceof DataView)
    throw new TypeError(`JSON cannot hold ${nameType(value)}`);
  if (above.has(value))
    throw new TypeError(`JSON cannot hold ${nameType(value)} that contains itself`);
  if (above.size === DEPTH_MAX)
    throw new TypeError(`the result is nested deeper than ${DEPTH_MAX}`);
  above.add(value);
  let text;
  if (types.isMap(value))
    text = writeMembers(mapEntries(value), above);
  else if (Array.isArray(value) || types.isSet(value) || ArrayBuffer.isView(value))
    text = writeList(value, above);
  else if (typeof value.toJSON === "function") // Date, URL
    text = write(value.toJSON(), above);
  else
    text = writeMembers(Object.entries(value), above);
  above.delete(value);
  return text;
}

function write(value, above) {
  switch (typeof value) {
    case "string":
      return quote(value);
    case "number":
      return writeNumber(value);
    case "bigint":
      return value >= -SAFE && value <= SAFE ? String(value) : `"${value}"`;
    case "boolean":
      return String(value);
    case "undefined":
      return "null";
    case "object":
      return value === null ? "null" : writeObject(value, above);
    default:
      throw new TypeError(`JSON cannot hold ${nameType(value)}`);
  }
}

// The JSON text of a value. Throws a TypeError that names the type which JSON cannot hold.
export function encode(value) {
  return write(value, new Set());
}
