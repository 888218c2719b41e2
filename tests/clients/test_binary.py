"""Client, AsyncClient and Executor: bytes, arrays, images and files as parameters, and results that are not JSON."""

import asyncio
import io
import os
import unittest

from daemon import PATIENCE_S, Daemon

import offload
from offload import _bodies, _http

TASKS = """
import offload

@offload.task
def invert(image: bytes) -> bytes:
    return bytes(255 - b for b in image)

@offload.task
def blob(n: int):
    return b"x" * n if n else None

@offload.task
def about(data: memoryview, more: bytes = b"") -> list:
    return [len(data), len(more)]
"""


class Binary(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--workers", "2", tasks=TASKS)
        cls.daemon.__enter__()
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)

    def setUp(self):
        self.client = offload.Client(self.daemon.url)
        self.addCleanup(self.client.close)

    def test_parameters(self):
        large = os.urandom(300_000)
        for value in (b"", b"abc", large, bytearray(large), memoryview(large), memoryview(large)[::2], io.BytesIO(large)):
            with self.subTest(type(value).__name__):
                size = len(value) if not isinstance(value, io.BytesIO) else len(large)
                self.assertEqual(self.client.run("about", {"data": value, "more": b"ab"}), [size, 2])
        with open(__file__, "rb") as file:
            file.read(10)
            size = os.path.getsize(__file__) - 10
            self.assertEqual(self.client.run("about", {"data": file, "more": large}), [size, len(large)])
        with open(__file__, encoding="utf-8") as file, self.assertRaisesRegex(TypeError, "mode 'rb'"):
            self.client.run("about", {"data": file})

    def test_results(self):
        large = os.urandom(300_000)
        inverted = bytes(255 - b for b in large)
        self.assertEqual(self.client.run("invert", {"image": large}), inverted)
        self.assertEqual(self.client.run("invert", {"image": b"\0"}), b"\xff")
        job = self.client.submit("invert", {"image": large})
        self.assertEqual(job.result(PATIENCE_S), inverted)
        self.assertEqual(self.client.get(job.id), inverted)
        self.assertEqual(self.client.run("invert", {"image": job}), large)
        self.assertEqual(self.client.run("blob", {"n": 0}), None)

    def test_maps(self):
        values = [os.urandom(10_000) for _ in range(5)]
        found = list(self.client.map("invert", [{"image": value} for value in values]))
        self.assertEqual(found, [bytes(255 - b for b in value) for value in values])
        for arguments in ({"params": [{"n": n} for n in (3, 0, 100_000)]}, {"columns": {"n": [3, 0, 100_000]}}):
            found = list(self.client.map("blob", **arguments))
            self.assertEqual(found, [b"xxx", None, b"x" * 100_000])
        found = list(self.client.map("blob", [{"n": 2}, {"n": "x"}, {"n": 1}], return_exceptions=True))
        self.assertEqual([type(value).__name__ for value in found], ["bytes", "InvalidParams", "bytes"])
        self.assertEqual(list(self.client.map("about", columns={"data": values, "more": values[0]})), [[10_000] * 2] * 5)

    def test_asyncio(self):
        large = os.urandom(5_000_000)

        async def main():
            async with offload.AsyncClient(self.daemon.url) as client:
                self.assertEqual(await client.run("about", {"data": large}), [len(large), 0])
                self.assertEqual(await client.map("blob", [{"n": 2}, {"n": 70_000}]), [b"xx", b"x" * 70_000])

        asyncio.run(main())

    def test_executor(self):
        with offload.Executor(self.daemon.url) as executor:
            self.assertEqual(executor.submit("invert", image=b"\0\1").result(PATIENCE_S), b"\xff\xfe")
            self.assertEqual(list(executor.map("blob", range(1, 30))), [b"x" * n for n in range(1, 30)])


class Forms(unittest.TestCase):
    def test_a_value_is_sent_once_and_from_its_own_buffer(self):
        value = bytes(10_000)
        form = _bodies.Form()
        slots = [form.add(value, "image/png", [value]) for _ in range(2)]
        self.assertEqual(form.add(b"abc", "", [b"abc"]), "YWJj")
        kind, body = form.finish(b"{}", form.fill_slots())
        self.assertEqual(slots, [{"part": 0}] * 2)
        self.assertTrue(kind.startswith("multipart/form-data; boundary="))
        self.assertTrue(any(piece is value for piece in body))

    def test_documents_that_are_broken(self):
        good = b"--b\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\nabc\r\n--b--\r\n"
        ((kind, data),) = _bodies.mixed_parts("multipart/mixed; boundary=b", good)
        self.assertEqual((kind, bytes(data)), ("image/png", b"abc"))
        self.assertEqual(_bodies.mixed_parts('multipart/mixed; boundary="b"', b"--b--\r\n"), [])
        for size in range(len(good) - 5):
            with self.subTest(size), self.assertRaises(_http.Broken):
                _bodies.mixed_parts("multipart/mixed; boundary=b", good[:size])
        for bad in (b"-1", b"", b"99", b"2", b"4", b"1" * 30):
            with self.subTest(bad), self.assertRaises(_http.Broken):
                _bodies.mixed_parts("multipart/mixed; boundary=b", good.replace(b"3", bad, 1))
        with self.assertRaises(_http.Broken):
            _bodies.mixed_parts("multipart/mixed", good)


if __name__ == "__main__":
    unittest.main()
