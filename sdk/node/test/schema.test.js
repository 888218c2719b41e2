// schema.test.js: the short form of a schema, and parameters as JavaScript values.
import assert from "node:assert/strict";
import { test } from "node:test";

import { InvalidParams, task } from "../index.js";
import { decoder, expand } from "../lib/schema.js";

test("the short form becomes a JSON Schema", () => {
  const minimum = { type: "integer", minimum: 1, default: 3 };
  assert.deepEqual(expand({ n: "integer", list: "number[]?", kind: ["a", "b"], k: minimum, data: "bytes", x: "any" }), {
    type: "object",
    properties: {
      n: { type: "integer" },
      list: { type: "array", items: { type: "number" } },
      kind: { type: "string", enum: ["a", "b"] },
      k: minimum,
      data: { type: "string", contentEncoding: "base64" },
      x: {},
    },
    required: ["n", "kind", "data", "x"],
    additionalProperties: false,
  });
});

test("a schema of type object stays as it is", () => {
  const schema = { type: "object", properties: { type: { type: "string" } }, additionalProperties: true };
  assert.equal(expand(schema), schema);
});

for (const [given, message] of [
  [{ n: "int" }, /parameter n: there is no type "int"/],
  [{ n: [] }, /parameter n: a type/],
  [{ n: [1] }, /parameter n: a type/],
  [{ n: 5 }, /parameter n: a type/],
  ["integer", /no object/],
]) {
  test(`a wrong schema: ${JSON.stringify(given)}`, () => {
    assert.throws(() => expand(given), message);
  });
}

test("integers that came as strings are numbers or BigInts, at every depth", () => {
  const decode = decoder({ type: "object", properties: {
    n: { type: "integer" }, s: { type: "string" }, list: { type: "array", items: { type: "integer" } },
    deep: { type: "object", properties: { "a/b": { type: ["integer", "null"] } } } } });
  assert.deepEqual(decode({ n: "18446744073709551616", s: "7", list: [1, "-9007199254740992", "12"], other: "5",
                            deep: { "a/b": null } }),
                   { n: 18446744073709551616n, s: "7", list: [1, -9007199254740992n, 12], other: "5",
                     deep: { "a/b": null } });
  assert.deepEqual(decode({ deep: { "a/b": "9007199254740993" } }), { deep: { "a/b": 9007199254740993n } });
  assert.deepEqual(decode({ n: "text", list: 5, deep: [] }), { n: "text", list: 5, deep: [] });
});

test("base64 becomes a Buffer, and what is none is refused with its pointer", () => {
  const decode = decoder({ type: "object", properties: {
    "a/b": { type: "array", items: { type: "string", contentEncoding: "base64" } } } });
  assert.deepEqual(decode({ "a/b": ["aGk=", ""] }), { "a/b": [Buffer.from("hi"), Buffer.alloc(0)] });
  for (const wrong of ["a", "a===", "aGk=aGk=", "aG k", "aGk-"])
    assert.throws(() => decode({ "a/b": ["", wrong] }),
                  (error) => error instanceof InvalidParams && error.pointer === "/a~1b/1");
});

test("defaults are filled in, and not shared between calls", () => {
  const decode = decoder(expand({ list: { type: "array", default: [] }, n: { type: "integer", default: "9007199254740993" } }));
  decode({}).list.push(1);
  assert.deepEqual(decode({}), { list: [], n: 9007199254740993n });
  assert.deepEqual(decode({ list: [2] }).list, [2]);
});

test("a task can be called as a function, with its defaults", async () => {
  const add = task("add", { a: "integer", b: { type: "integer", default: 5 } }, ({ a, b }) => a + b);
  assert.equal(add({ a: 1 }), 6);
  const aborted = task("aborted", {}, async (_, { signal, progress }) => {
    progress(1, 2);
    return signal.aborted;
  });
  assert.equal(await aborted(), false);
});

for (const [message, ...args] of [
  [/task Bad: a name is/, "Bad", {}, () => {}],
  [/task x: the third/, "x", {}, 5],
  [/task x: there is no option "time"/, "x", {}, () => {}, { time: 5 }],
  [/task x: timeout/, "x", {}, () => {}, { timeout: 0 }],
  [/task x: maxAttempts/, "x", {}, () => {}, { maxAttempts: 1.5 }],
  [/task x: summary/, "x", {}, () => {}, { summary: "two\nlines" }],
  [/task x: split/, "x", {}, () => {}, { split: [] }],
  [/task x: parameter n/, "x", { n: "whole" }, () => {}],
  [/task x: Do not know how to serialize a BigInt/, "x", { n: { type: "integer", maximum: 5n } }, () => {}],
]) {
  test(`a wrong task: ${message.source}`, () => {
    assert.throws(() => task(...args), message);
  });
}

test("two tasks of one name", () => {
  task("twice", {}, () => {});
  assert.throws(() => task("twice", {}, () => {}), /task twice: there are two tasks of this name/);
});

test("InvalidParams takes a JSON pointer", () => {
  assert.throws(() => new InvalidParams("n", "is wrong"), /takes a JSON pointer/);
});
