"""The manual and the examples work: each block of docs/python.md that is a task file is loaded and called."""

import base64
import os
import re
import shutil
import struct
import unittest

from host import ROOT, Program, ProgramTest, interpreter_with

MANUAL = os.path.join(ROOT, "docs", "python.md")
EXAMPLES = os.path.join(ROOT, "examples", "tasks.py")


@unittest.skipUnless(os.path.exists(MANUAL), "the package is here without the project")
class Docs(ProgramTest):
    def test_each_block(self):
        with open(MANUAL, encoding="utf-8") as file:
            blocks = re.findall(r"^```python\n# tasks.py\n(.*?)^```", file.read(), re.MULTILINE | re.DOTALL)
        plain, decorated, spans, arrays, count, squares = blocks

        program = self.start(plain, ":is_prime")
        self.assertEqual([a["value"] for a in program.run("is_prime", {"n": 2147483647}, {"n": 8})], [True, False])
        self.assertEqual(program.error("is_prime", n="many")["pointer"], "/n")

        program = self.start(decorated)
        self.assertEqual(list(program.types), ["is_prime", "filter"])
        self.assertEqual(program.types["filter"]["timeout"], 60)
        self.assertEqual(
            program.types["is_prime"]["params"]["properties"]["n"]["description"], "the number, of any size"
        )
        self.assertEqual(program.value("filter", image="AAEC"), b"\xff\xfe\xfd")

        program = self.start(spans)
        self.assertEqual(program.value("lengths", spans=[{"start": 1, "stop": 5}], unit=2), [2])
        error = program.error("lengths", spans=[{"start": 1, "stop": 5}, {"start": 5, "stop": 1}])
        self.assertEqual((error["pointer"], error["detail"]), ("/spans/1", "stop is before start"))
        self.assertEqual(program.error("lengths", spans=[], unit=0)["pointer"], "/unit")

        self.check_arrays(arrays)

        program = self.start(count)
        seen = []
        self.assertEqual(program.answers(program.begin("count", {"stop": 1000}), 1, seen)[0]["value"], 499500)
        self.assertEqual((seen[-1]["done"], seen[-1]["total"]), (1000, 1000))
        self.assertIn("counted up to 499500", program.printed())

        self.check_squares(self.start(squares))

    def check_arrays(self, text):
        python = interpreter_with("numpy")
        if python is None:
            return
        self.write(text)
        program = Program("tasks.py", cwd=self.folder, python=python, site=True)
        self.addCleanup(program.close)
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }".ljust(117) + b"\n"
        npy = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header
        data = base64.b64encode(npy + struct.pack("<2d", 1, 2)).decode()
        self.assertEqual(program.value("mean", a=data), 1.5)
        self.assertEqual(program.value("scale", a=data, factor=3)[-16:], struct.pack("<2d", 3, 6))

    def check_squares(self, program):
        for start, stop, chunks in [(0, 1000001, 0), (3, 50, 7), (5, 5, 0)]:
            params = {"start": start, "stop": stop}
            planned = program.ask("plan", "squares", params=params, chunks=chunks)["chunks"]
            self.assertTrue(chunks == 0 or len(planned) <= chunks)
            found = program.answers(program.begin("squares", *planned), len(planned), [])
            merged = program.ask("merge", "squares", parts=[answer["value"] for answer in found])["value"]
            whole = sum(n * n for n in range(params["start"], params["stop"]))
            self.assertEqual(merged, whole if whole < 2**53 else str(whole))

    def test_examples(self):
        program = self.start("", spec=EXAMPLES)
        numbers = [-1, 0, 1, 2, 3, 4, 9, 25, 97, 7919, 7917, 2147483647]
        primes = [a["value"] for a in program.run("is_prime", *({"n": n} for n in numbers))]
        self.assertEqual([n for n, prime in zip(numbers, primes) if prime], [2, 3, 97, 7919, 2147483647])
        self.check_squares(program)

        image = b"P6\n2 1\n255\n" + bytes([32, 10, 9, 255, 255, 255])
        found = program.value("filter", image=base64.b64encode(image).decode())
        self.assertEqual(found, b"P6\n2 1\n255\n" + bytes([16, 16, 16, 255, 255, 255]))
        found = program.value("filter", image=base64.b64encode(image).decode(), kind="sepia")
        self.assertEqual(found[-3:], bytes([255, 255, 238]))
        for wrong in (b"", b"P5\n1 1\n255\na", image[:-1], image + b"x", b"P6\n2 1\n65535\n" + bytes(12)):
            error = program.error("filter", image=base64.b64encode(wrong).decode())
            self.assertEqual((error["code"], error["pointer"]), ("invalid_params", "/image"))

    def test_without_the_service(self):
        """A task file is a module like any other."""
        shutil.copy(EXAMPLES, os.path.join(self.folder, "mine.py"))
        program = self.start(
            "import mine\ndef all(): return [mine.is_prime(7), mine.is_prime(n=8), mine.squares(0, 200001)]", ":all"
        )
        (answer,) = program.answers(program.begin("all", {}), 1, [])
        self.assertEqual(answer["value"], [True, False, sum(n * n for n in range(200001))])


if __name__ == "__main__":
    unittest.main()
