// values.test.js: JavaScript values as JSON text.
import assert from "node:assert/strict";
import { test } from "node:test";

import { encode } from "../lib/values.js";

class Point {
  constructor() {
    this.x = 1;
    this.y = undefined;
  }
}
const same = { a: 1 };

for (const [what, value, text] of [
  ["null", null, "null"],
  ["undefined", undefined, "null"],
  ["undefined in a list and in an object", [undefined, { a: undefined }], '[null,{"a":null}]'],
  ["booleans", [true, false], "[true,false]"],
  ["numbers", [0, -0, 1.5, 1e-7, -3, 123456789012345.6], "[0,0,1.5,1e-7,-3,123456789012345.6]"],
  ["the largest safe integers", [2 ** 53 - 1, -(2 ** 53 - 1)], "[9007199254740991,-9007199254740991]"],
  ["numbers beyond them are no integers", [2 ** 60, -1e300, 2 ** 53], "[1.152921504606847e+18,-1e+300,9.007199254740992e+15]"],
  ["NaN and infinities", [NaN, Infinity, -Infinity], '["NaN","Infinity","-Infinity"]'],
  ["small BigInt", [5n, -5n, 9007199254740991n], "[5,-5,9007199254740991]"],
  ["large BigInt", [2n ** 64n, -9007199254740992n], '["18446744073709551616","-9007199254740992"]'],
  ["text", 'a"\\\n\u0001é\u{1F600}', '"a\\"\\\\\\n\\u0001é\u{1F600}"'],
  ["half of a surrogate pair is replaced", ["a\ud800", { "\udc00": 1 }], '["a\ufffd",{"\ufffd":1}]'],
  ["objects", { b: [], a: {} }, '{"b":[],"a":{}}'],
  ["an instance of a class", new Point(), '{"x":1,"y":null}'],
  ["an object without a prototype", Object.assign(Object.create(null), { k: 1 }), '{"k":1}'],
  ["a Map", new Map([["k", 2n ** 60n], [7, new Map()]]), '{"k":"1152921504606846976","7":{}}'],
  ["a Set", new Set([1, "a"]), '[1,"a"]'],
  ["a Buffer and parts of one", [Buffer.from("hello"), Buffer.from("hello").subarray(1, 3)], '["aGVsbG8=","ZWw="]'],
  ["a Uint8Array and an ArrayBuffer", [new Uint8Array([255]), new Uint8Array([1, 2]).buffer], '["/w==","AQI="]'],
  ["other typed arrays", [new Float64Array([1.5, NaN]), new BigInt64Array([-1n])], '[[1.5,"NaN"],[-1]]'],
  ["a Date and a URL", [new Date(0), new URL("http://localhost/")], '["1970-01-01T00:00:00.000Z","http://localhost/"]'],
  ["boxed values", [Object(1), Object("a"), Object(2n), Object(true)], '[1,"a",2,true]'],
  ["one object twice", [same, same], '[{"a":1},{"a":1}]'],
]) {
  test(what, () => {
    assert.equal(encode(value), text);
    JSON.parse(text);
  });
}

const nest = (depth) => (depth === 0 ? 1 : [nest(depth - 1)]);
test("a depth of 500", () => assert.equal(encode(nest(500)), "[".repeat(500) + "1" + "]".repeat(500)));

const round = { name: "round" };
round.self = [round];
for (const [value, message] of [
  [() => {}, /cannot hold a function/],
  [{ deep: [Symbol("x")] }, /cannot hold a symbol/],
  [round, /cannot hold an instance of Object that contains itself/],
  [nest(501), /nested deeper than 500/],
  [Promise.resolve(1), /an instance of Promise/],
  [new Map([[{}, 1]]), /an instance of Object as the key of a Map/],
  [new Map([[1, "a"], ["1", "b"]]), /two keys that are "1"/],
  [/x/, /an instance of RegExp/],
  [new TypeError("x"), /an instance of TypeError/],
  [new WeakMap(), /an instance of WeakMap/],
  [new Map().keys(), /an instance of /],
  [(function* () {})(), /an instance of /],
]) {
  test(`it fails: ${message.source}`, () => {
    assert.throws(() => encode(value), (error) => error instanceof TypeError && message.test(error.message));
  });
}
