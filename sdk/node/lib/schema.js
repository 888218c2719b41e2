// schema.js: the schema of a task's parameters, from its short form, and how parameters become JavaScript values.
import { InvalidParams } from "./errors.js";

const WORDS = new Map([
  ["integer", { type: "integer" }],
  ["number", { type: "number" }],
  ["string", { type: "string" }],
  ["boolean", { type: "boolean" }],
  ["array", { type: "array" }],
  ["object", { type: "object" }],
  ["bytes", { type: "string", contentEncoding: "base64" }],
  ["any", {}],
]);

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function expandWord(name, word) {
  if (word.endsWith("[]"))
    return { type: "array", items: expandWord(name, word.slice(0, -2)) };
  const schema = WORDS.get(word);
  if (schema === undefined)
    throw new TypeError(`parameter ${name}: there is no type "${word}"; there are ${[...WORDS.keys()].join(", ")}`);
  return { ...schema };
}

// {schema, optional} of one parameter in the short form.
function expandProperty(name, short) {
  if (typeof short === "string") {
    const optional = short.endsWith("?");
    return { schema: expandWord(name, optional ? short.slice(0, -1) : short), optional };
  }
  if (Array.isArray(short) && short.length > 0 && short.every((choice) => typeof choice === "string"))
    return { schema: { type: "string", enum: short }, optional: false };
  if (isObject(short))
    return { schema: short, optional: Object.hasOwn(short, "default") };
  throw new TypeError(`parameter ${name}: a type such as "integer", a list of strings, or a JSON Schema is needed`);
}

// The JSON Schema of the parameters. `given` is one already if its `type` is "object"; else it is the short form.
export function expand(given) {
  if (!isObject(given))
    throw new TypeError("the schema is no object");
  if (given.type === "object")
    return given;
  const properties = {};
  const required = [];
  for (const [name, short] of Object.entries(given)) {
    const { schema, optional } = expandProperty(name, short);
    properties[name] = schema;
    if (!optional)
      required.push(name);
  }
  return { type: "object", properties, required, additionalProperties: false };
}

// ---- parameters come in ----------------------------------------------------------------------------------------------

function toInteger(value) {
  if (typeof value !== "string" || !/^[+-]?\d+$/.test(value))
    return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : BigInt(value);
}

function toBytes(value, pointer) {
  if (typeof value !== "string")
    return value;
  if (value.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(value))
    throw new InvalidParams(pointer, "is not base64");
  return Buffer.from(value, "base64");
}

function escape(name) {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

// A function (value, pointer) that makes the JavaScript value, or null if JSON.parse has made it already.
function decoderOf(schema) {
  if (!isObject(schema))
    return null;
  if (schema.type === "integer" || (Array.isArray(schema.type) && schema.type.includes("integer") &&
                                    !schema.type.includes("string")))
    return toInteger;
  if (schema.type === "string" && schema.contentEncoding === "base64")
    return toBytes;
  const ofItem = decoderOf(schema.items);
  if (ofItem !== null)
    return (value, pointer) =>
      Array.isArray(value) ? value.map((item, i) => ofItem(item, `${pointer}/${i}`)) : value;
  const ofMembers = Object.entries(isObject(schema.properties) ? schema.properties : {})
    .map(([name, property]) => [name, decoderOf(property), property?.default])
    .filter(([, decode, fallback]) => decode !== null || fallback !== undefined);
  if (ofMembers.length === 0)
    return null;
  return (value, pointer) => {
    if (!isObject(value))
      return value;
    const decoded = { ...value };
    for (const [name, decode, fallback] of ofMembers) {
      const member = Object.hasOwn(value, name) ? value[name] : structuredClone(fallback);
      if (member !== undefined)
        decoded[name] = decode === null ? member : decode(member, `${pointer}/${escape(name)}`);
    }
    return decoded;
  };
}

// A function that makes what the task gets from the parameters as JSON.parse made them: defaults are filled in,
// integers that came as strings are numbers or BigInts, and base64 is a Buffer. It throws InvalidParams.
export function decoder(schema) {
  const decode = decoderOf(schema);
  return decode === null ? (params) => params : (params) => decode(params, "");
}
