"""Binary data of calls (docs/programs.md): how tasks get them, and results that are bytes."""

import os
import struct
import subprocess
import sys
import unittest

from host import Program, ProgramTest, interpreter_with


def memfd(data):
    """A descriptor that can only read, as the host sends it."""
    fd = os.memfd_create("test")
    with open(fd, "wb") as memory:
        memory.write(data)
        memory.flush()
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)


def npy(header, data=b"", version=(1, 0)):
    text = header.encode("latin-1")
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text + data


class BinaryTest(ProgramTest):
    def call(self, program, name, params, attachments, binary=b"", fds=(), **members):
        """The answer to one call with these members of "attachments"."""
        first = program.next_call
        program.next_call += 1
        message = {"kind": "run", "type": name, "call": first, "calls": [params], "attempt": 0, **members}
        program.send({**message, "attachments": attachments}, fds, binary)
        for fd in fds:
            os.close(fd)
        return program.answers(first, 1)[0]

    def inline(self, program, name, data, media_type="", **params):
        about = {"offset": 0, "size": len(data), "media_type": media_type}
        return self.call(program, name, {"data": {"attachment": 0}, **params}, [about], data)


class Binary(BinaryTest):
    def test_views_and_bytes(self):
        program = self.start(
            """
            def kind(data: memoryview) -> list:
                return [type(data).__name__, data.readonly, data.nbytes, sum(data[:10]), type(data.obj).__name__]
            def copy(data: bytes) -> bytes:
                return data
            def both(a: bytearray, b: memoryview = b"none") -> bytes:
                a += b
                return a
            def none(data: bytes = None) -> int:
                return -1 if data is None else len(data)
            """,
            ":kind,copy,both,none",
        )
        self.assertTrue(program.hello["binary"] and program.hello["fds"])
        large = bytes(range(256)) * 1000
        lead = 4096 * 3 + 100  # the data need not begin at a page
        about = {"fd": 0, "offset": lead, "size": len(large), "media_type": "image/png"}
        place = {"data": {"attachment": 0}}
        found = self.call(program, "kind", place, [about], fds=[memfd(bytes(lead) + large)])
        self.assertEqual(found["value"], ["memoryview", True, len(large), 45, "mmap"])
        self.assertEqual(self.inline(program, "kind", b"\x01\x02")["value"][1:4], [True, 2, 3])
        self.assertEqual(self.inline(program, "kind", b"")["value"][2], 0)
        self.assertEqual(program.value("kind", data="AQI=")[1:4], [True, 2, 3])
        found = self.call(program, "copy", place, [about], fds=[memfd(bytes(lead) + large)])
        self.assertEqual(found["value"], large)
        self.assertEqual(found["binary"], {"media_type": "application/octet-stream", "fd": True, "size": len(large)})
        found = self.inline(program, "copy", b"abc")
        self.assertEqual((found["value"], found["binary"]), (b"abc", {"media_type": "application/octet-stream"}))
        params = {"a": {"attachment": 1}, "b": {"attachment": 0}}
        listed = [{"offset": 64, "size": 2, "media_type": ""}, {"offset": 0, "size": 3, "media_type": ""}]
        self.assertEqual(self.call(program, "both", params, listed, b"abc" + bytes(61) + b"de")["value"], b"abcde")
        self.assertEqual([program.value("none"), program.value("none", data=None)], [-1, -1])
        self.assertEqual(self.inline(program, "none", b"abc")["value"], 3)

    def test_a_frame_of_many(self):
        """Calls share an attachment, JSON and bytes are mixed, and descriptors come in order. None is left open."""
        program = self.start(
            """
            import offload, os
            @offload.task(writable=True)
            def first(data: memoryview, as_text: bool = False):
                data[0] += 1
                return data[0] if as_text else bytes(data[:2])
            @offload.task
            def descriptors() -> int:
                return len(os.listdir("/proc/self/fd"))
            """,
            "",
        )
        before = program.value("descriptors")
        one, two = b"\x05" + bytes(100_000), b"\x07" + bytes(200_000)
        listed = [
            {"fd": 0, "offset": 0, "size": len(one), "media_type": ""},
            {"fd": 1, "offset": 0, "size": len(two), "media_type": ""},
        ]
        calls = [{"data": {"attachment": i % 2}, "as_text": i == 3} for i in range(6)]
        fds = [memfd(one), memfd(two)]
        program.send({"kind": "run", "type": "first", "call": program.next_call, "calls": calls, "attachments": listed}, fds)
        for fd in fds:
            os.close(fd)
        program.next_call += 6
        answers = program.answers(program.next_call - 6, 6)
        self.assertEqual([a["value"] for a in answers], [b"\x06\0", b"\x08\0", b"\x06\0", 8, b"\x06\0", b"\x08\0"])
        self.assertEqual(program.value("descriptors"), before)

    def test_split_and_merge(self):
        program = self.start(
            """
            import offload
            @offload.task
            def reverse(data: memoryview, start: int = 0, stop: int = 0) -> bytes:
                return bytes(data[start:stop])[::-1]
            @reverse.split
            def _(data, chunks):
                half = len(data) // 2
                yield {"start": 0, "stop": half}
                yield {"start": half, "stop": len(data)}
            @reverse.merge
            def _(parts):
                return b"".join(reversed(parts))
            """,
            "",
        )
        self.assertEqual(program.types["reverse"]["flags"], ["split", "merge"])
        listed = [{"offset": 0, "size": 6, "media_type": ""}]
        call, program.next_call = program.next_call, program.next_call + 2
        params = {"data": {"attachment": 0}}
        message = {"kind": "plan", "type": "reverse", "call": call, "params": params, "chunks": 0}
        program.send({**message, "attachments": listed}, binary=b"abcdef")
        planned = program.answers(call, 1)[0]["chunks"]
        self.assertEqual(planned, [{**params, "start": 0, "stop": 3}, {**params, "start": 3, "stop": 6}])
        listed = [
            {"part": 0, "offset": 0, "size": 3, "media_type": "application/octet-stream"},
            {"part": 1, "offset": 64, "size": 3, "media_type": "application/octet-stream"},
        ]
        message = {"kind": "merge", "type": "reverse", "call": call + 1, "parts": [None, None]}
        program.send({**message, "attachments": listed}, binary=b"cba" + bytes(61) + b"fed")
        self.assertEqual(program.answers(call + 1, 1)[0]["value"], b"fedcba")

    def test_results_are_those_of_their_time(self):
        program = self.start(
            """
            import offload
            shared = bytearray(b"a" * 100_000)
            @offload.task(media_type="text/plain")
            def grow(n: int):
                shared[0] = n
                return shared if n % 2 else memoryview(shared)[:3]
            @offload.task
            def inside():
                return {"data": b"ab", "more": [b"c"]}
            """,
            "",
        )
        program.run("grow", {"n": 0})
        answers = program.run("grow", *({"n": n} for n in range(1, 9)))
        self.assertEqual([a["value"][0] for a in answers], list(range(1, 9)))
        self.assertEqual([len(a["value"]) for a in answers], [100_000, 3] * 4)
        self.assertEqual({a["binary"]["media_type"] for a in answers}, {"text/plain"})
        self.assertEqual(program.value("inside"), {"data": "YWI=", "more": ["Yw=="]})

    def test_wrong_options(self):
        for text, words in [
            ('@offload.task(media_type="png")', "media_type is as 'image/png'"),
            ('@offload.task(media_type="text/plain\\r\\nX: y")', "media_type is as 'image/png'"),
            ("@offload.task(writable=1)", "writable is True or False"),
        ]:
            with self.subTest(text):
                done = subprocess.run(
                    [sys.executable, "-c", f"import offload\n{text}\ndef f(): pass"],
                    capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": self.path},
                )
                self.assertIn(words, done.stderr)

    path = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Arrays(BinaryTest):
    python = interpreter_with("numpy")

    def begin(self, text, spec=""):
        self.write(text)
        program = Program(f"tasks.py{spec}", cwd=self.folder, python=self.python, site=True)
        self.addCleanup(program.close)
        return program

    @unittest.skipIf(python is None, "there is no numpy")
    def test_arrays_are_mapped(self):
        program = self.begin(
            """
            import offload, numpy as np
            from numpy.typing import NDArray
            @offload.task
            def about(data: np.ndarray) -> list:
                base = data
                while isinstance(base, np.ndarray): base = base.base
                return [str(data.dtype), list(data.shape), data.flags.writeable, data.flags.f_contiguous,
                        data.tolist() if data.size < 9 else None, type(base.obj).__name__]
            @offload.task(writable=True)
            def twice(data: np.ndarray) -> np.ndarray:
                data *= 2
                return data
            @offload.task
            def octets(data: NDArray[np.uint8]) -> int:
                return int(data.sum())
            """
        )
        header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }\n"
        data = struct.pack("<6d", *range(6))
        large = npy(header.replace("(2, 3)", "(200, 300)"), bytes(8 * 60000))
        self.assertEqual(
            self.inline(program, "about", npy(header, data))["value"][:5],
            ["float64", [2, 3], False, False, [[0, 1, 2], [3, 4, 5]]],
        )
        listed = [{"fd": 0, "offset": 0, "size": len(large), "media_type": "application/x-npy"}]
        place = {"data": {"attachment": 0}}
        found = self.call(program, "about", place, listed, fds=[memfd(large)])["value"]
        self.assertEqual(found, ["float64", [200, 300], False, False, None, "mmap"])
        fortran = npy(header.replace("False", "True"), data)
        self.assertEqual(self.inline(program, "about", fortran)["value"][3:5], [True, [[0, 2, 4], [1, 3, 5]]])
        for version in ((2, 0), (3, 0)):
            self.assertEqual(self.inline(program, "about", npy(header, data, version))["value"][1], [2, 3])
        big = npy("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }\n", b"\x01\x02\0\x03")
        self.assertEqual(self.inline(program, "about", big)["value"][:5:4], [">i2", [258, 3]])
        found = self.call(program, "twice", place, listed, fds=[memfd(large)])
        self.assertEqual((found["binary"]["media_type"], found["binary"]["fd"]), ("application/x-npy", True))
        self.assertEqual(len(found["value"]) - 8 * 60000, 128)
        self.assertEqual(self.inline(program, "octets", b"\x01\x02")["value"], 3)
        found = self.inline(program, "twice", npy("{'descr': '<i8', 'fortran_order': False, 'shape': (), }\n", bytes(8)))
        self.assertEqual(found["value"][-8:], bytes(8))

    @unittest.skipIf(python is None, "there is no numpy")
    def test_hostile_arrays(self):
        program = self.begin("import numpy as np\ndef f(data: np.ndarray) -> list: return list(data.shape)", ":f")
        shape = "{'descr': '<f8', 'fortran_order': False, 'shape': %s, }\n"
        for data in [
            b"", b"\x93NUMPY", b"\x93NUMPY\x01\0\xff\xff{", npy(shape % "(2,)", bytes(15)),
            npy(shape % "(2**62, 2**62)"), npy(shape % "(1 << 40, 1 << 40)", bytes(8)), npy(shape % "(-1,)", bytes(8)),
            npy(shape % "(4611686018427387904, 4)", bytes(8)), npy(shape % "3", bytes(24)), npy("__import__('os')"),
            npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", bytes(8)),
            npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }\n", bytes(8)),
            npy(shape % "(1,)", bytes(8), (9, 0)), npy("(" * 10000),
        ]:
            with self.subTest(data[:80]):
                error = self.inline(program, "f", data)["error"]
                self.assertEqual((error["code"], error["pointer"]), ("invalid_params", "/data"))
        self.assertEqual(self.inline(program, "f", npy(shape % "(0, 5)"))["value"], [0, 5])
        self.assertEqual(self.inline(program, "f", npy(shape % "(1,)", bytes(8)))["value"], [1])


class Images(BinaryTest):
    python = interpreter_with("PIL")

    @unittest.skipIf(python is None, "there is no Pillow")
    def test_images(self):
        self.write(
            """
            import offload
            from PIL import Image
            @offload.task
            def new(width: int, mode: str = "RGB") -> Image.Image:
                return Image.new(mode, (width, 8), 200)
            @offload.task
            def same(data: Image.Image) -> Image.Image:
                return data
            @offload.task(media_type="image/jpeg")
            def half(data: Image.Image) -> Image.Image:
                return data.resize((data.width // 2, data.height // 2))
            """
        )
        program = Program("tasks.py", cwd=self.folder, python=self.python, site=True)
        self.addCleanup(program.close)
        made = program.run("new", {"width": 16})[0]
        self.assertEqual(made["binary"]["media_type"], "image/png")
        self.assertEqual(made["value"][:8], b"\x89PNG\r\n\x1a\n")
        half = self.inline(program, "half", made["value"])
        self.assertEqual((half["binary"]["media_type"], half["value"][:3]), ("image/jpeg", b"\xff\xd8\xff"))
        same = self.inline(program, "same", half["value"])
        self.assertEqual(same["binary"]["media_type"], "image/jpeg")
        self.assertIn("not an image", self.inline(program, "same", made["value"][:40])["error"]["detail"])
        self.assertIn("not an image", self.inline(program, "same", b"")["error"]["detail"])
        alpha = program.run("new", {"width": 4, "mode": "RGBA"})[0]
        error = self.inline(program, "half", alpha["value"])["error"]
        self.assertIn("cannot write as JPEG", error["detail"])


if __name__ == "__main__":
    unittest.main()
