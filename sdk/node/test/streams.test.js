// streams.test.js: lines and server-sent events in whatever pieces they come.
import assert from "node:assert/strict";
import { test } from "node:test";

import { readEvents, readLines } from "../lib/streams.js";

const all = async (iterable) => {
  const list = [];
  for await (const value of iterable)
    list.push(value);
  return list;
};
const cut = (text, size) => {
  const bytes = Buffer.from(text);
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
};

test("lines, cut anywhere; what has no end is no line", async () => {
  for (let size = 1; size < 40; size++)
    assert.deepEqual((await all(readLines(cut('{"é":1}\n{"b":"€"}\n\n{"c":3}\nrest', size)))).flat(),
                     ['{"é":1}', '{"b":"€"}', "", '{"c":3}'], `in pieces of ${size}`);
  assert.deepEqual(await all(readLines([])), []);
});

test("events, cut anywhere, with each of the three ends of lines", async () => {
  const text = "\ufeffretry: 10\n: comment\n\nid: 1\nevent: status\ndata: {\"a\":\ndata:1}\n\ndata\n\nid\nid: x\0\nevent: lost\n\n" +
               "retry: soon\ndata: é\nunknown: 1\n\nid: 2\ndata: cut";
  for (const end of ["\n", "\r", "\r\n"])
    for (let size = 1; size < 60; size++)
      assert.deepEqual(await all(readEvents(cut(text.replaceAll("\n", end), size))), [
        { retry: 10 },
        { id: "1", event: "status", data: '{"a":\n1}' },
        { id: "1", event: "message", data: "" },
        { id: "", event: "message", data: "é" },
      ], `${JSON.stringify(end)} in pieces of ${size}`);
});
