"""The package: its version, that it can be installed, and its types."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import unittest

from host import PACKAGE, ROOT, interpreter_with

sys.path.insert(0, PACKAGE)
import offload  # noqa: E402 (the path is set just above)

TYPED = """
import offload

@offload.task
def double(n: int) -> int:
    return 2 * n

@double.split
def parts(n: int, chunks: int) -> list[dict[str, int]]:
    return [{"n": n}]

@offload.task(name="other", timeout=5)
def text(s: str = "") -> str:
    offload.progress(1, 2)
    return s

reveal_type(double(3))
reveal_type(text(s="x"))
reveal_type([offload.Client().run(text, {"s": "x"})])
double("3")
"""


class Package(unittest.TestCase):
    def test_version(self):
        with open(os.path.join(PACKAGE, "pyproject.toml"), encoding="utf-8") as file:
            self.assertIn(f'\nversion = "{offload.__version__}"\n', file.read())
        changelog = os.path.join(ROOT, "CHANGELOG.md")
        if os.path.exists(changelog):
            with open(changelog, encoding="utf-8") as file:
                released = re.search(r"^## \[(\d[^]]*)\]", file.read(), re.MULTILINE)
            self.assertEqual(offload.__version__, released[1])

    def test_names(self):
        for name in offload.__all__:
            self.assertTrue(hasattr(offload, name), name)
        self.assertFalse(issubclass(offload.Cancelled, Exception))
        self.assertEqual(str(offload.InvalidParams("/n", "is wrong")), "/n: is wrong")

        @offload.task
        def double(n):
            return 2 * n

        self.assertEqual(double(4), 8)
        self.assertEqual((offload.attempt(), offload.deadline(), offload.cancelled()), (0, None, False))
        with self.assertRaises(TypeError):
            offload.progress("a", 1)

    def test_pip_install(self):
        python = interpreter_with("setuptools, wheel, venv") or interpreter_with("setuptools, venv")
        if python is None:
            self.skipTest("no Python here has setuptools and venv")
        with tempfile.TemporaryDirectory() as folder:
            # Copied, because setuptools builds in the source.
            source = os.path.join(folder, "source")
            subprocess.run(["cp", "-r", PACKAGE, source], check=True)
            venv = [python, "-m", "venv", "--system-site-packages", "--without-pip", folder + "/venv"]
            subprocess.run(venv, check=True)
            own = os.path.join(folder, "venv", "bin", "python3")
            command = [own, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--quiet", source]
            pip = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=pip)
            missing = re.search(r"bdist_wheel|No module named (pip|wheel)", done.stderr + done.stdout)
            if done.returncode != 0 and missing:
                self.skipTest("pip cannot build a wheel here: " + done.stderr.strip().rpartition("\n")[2])
            self.assertEqual(done.returncode, 0, done.stderr)
            script = "import offload, os; print(offload.__file__, os.listdir(os.path.dirname(offload.__file__)))"
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            options = {"capture_output": True, "text": True, "check": True, "cwd": folder, "env": environment}
            found = subprocess.run([own, "-c", script], **options)
            self.assertTrue(found.stdout.startswith(os.path.join(folder, "venv")), found.stdout)
            self.assertIn("py.typed", found.stdout)
            usage = subprocess.run([own, "-m", "offload", "--help"], **options)
            self.assertIn("usage: python3 -m offload", usage.stdout)

    @unittest.skipUnless(importlib.util.find_spec("mypy"), "mypy is not installed")
    def test_types(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "typed.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write(TYPED)
            config = ["--config-file", os.path.join(PACKAGE, "pyproject.toml")]
            command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", folder, *config]
            done = subprocess.run(
                [*command, path], capture_output=True, text=True, check=False, env={**os.environ, "MYPYPATH": PACKAGE}
            )
            self.assertIn('Revealed type is "int"', done.stdout)
            self.assertIn('Revealed type is "str"', done.stdout)
            self.assertRegex(done.stdout, r'Revealed type is "(builtins\.)?list\[(builtins\.)?str\]"')
            self.assertIn('expected "int"', done.stdout)
            self.assertIn("Found 1 error in 1 file", done.stdout)
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PACKAGE)
            self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
