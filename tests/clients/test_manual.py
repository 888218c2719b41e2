"""docs/clients.md: each program in it is run, and prints what the comments say."""

import os
import re
import subprocess
import sys
import unittest

from daemon import PACKAGE, PATIENCE_S, ROOT, Daemon

MANUAL = os.path.join(ROOT, "docs", "clients.md")


def section(name):
    """The Python programs in that part of the manual, by the numbers of their lines."""
    with open(MANUAL, encoding="utf-8") as file:
        text = file.read()
    begin = text.index(f"\n## {name}\n")
    end = text.find("\n## ", begin + 1)
    found = {}
    for block in re.finditer(r"^```python\n(.*?)^```", text[: len(text) if end < 0 else end], re.MULTILINE | re.DOTALL):
        if block.start() > begin:
            found[text.count("\n", 0, block.start()) + 1] = block[1]
    return found


def expected(program):
    """What it prints: the comments beside print(), and those on the lines below it."""
    return [match[1] for match in re.finditer(r"^(?:.*\bprint\(.*\)| +) +# (.*)$", program, re.MULTILINE)]


class Manual(unittest.TestCase):
    maxDiff = None

    def run_program(self, program, url, folder):
        environment = {**os.environ, "OFFLOAD_URL": url, "PYTHONPATH": f"{PACKAGE}:{folder}"}
        return subprocess.run(
            [sys.executable, "-B", "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def test_python(self):
        programs = section("Python")
        tasks = next(program for program in programs.values() if program.startswith("# tasks.py\n"))
        others = {line: program for line, program in programs.items() if program != tasks}
        others.update(section("Executor"))
        self.assertGreaterEqual(len(others), 7)
        with Daemon("--workers", "2", tasks=tasks) as daemon:
            for line, program in others.items():
                with self.subTest(line=line):
                    done = self.run_program(program.replace("http://127.0.0.1:8080", daemon.url), daemon.url, daemon.folder)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertTrue(expected(program))
                    self.assertEqual(done.stdout.splitlines(), expected(program))


if __name__ == "__main__":
    unittest.main()
