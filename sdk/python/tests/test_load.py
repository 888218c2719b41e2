"""Every way to write a task file wrong: one line, which says where and why. And what is found in one that is right."""

import os
import subprocess
import sys
import unittest

from host import INSTALLED, Program, ProgramTest

HEAD = "import offload\nfrom typing import *\n"


class Errors(ProgramTest):
    def check(self, text, line, names="", printed=None, **options):
        found = self.refused(text, names, **options)
        spec = options.get("spec") or options.get("name", "tasks.py") + names
        self.assertEqual(found, f"offload: {spec}: {line}")
        self.assertNotIn(INSTALLED, self.printed)
        if printed:
            self.assertIn(printed, self.printed)

    def test_the_file(self):
        self.check("", "there is no such file", spec="other.py")
        self.check("", "there is no such file", spec="other.py:f")
        os.mkdir(os.path.join(self.folder, "folder.py"))
        self.check("", "it is a directory", spec="folder.py")
        self.check("", "it is neither a file nor the name of a module", spec="what is this")
        found = self.refused("", spec="my.package.tasks")
        self.assertIn("offload: my.package.tasks: No module named 'my'; modules are looked for in ", found)

    def test_python_does_not_understand_it(self):
        self.check("def f(:\n  pass", "SyntaxError: invalid syntax (tasks.py, line 1)", printed="def f(:")
        self.check("if True:\npass", "IndentationError: expected an indented block after 'if' statement on line 1"
                   " (tasks.py, line 2)" if sys.version_info >= (3, 10) else
                   "IndentationError: expected an indented block (tasks.py, line 2)")

    def test_the_import_fails(self):
        self.check(
            "import offload\nimport no_such_module",
            "ModuleNotFoundError: No module named 'no_such_module' (tasks.py, line 2)",
            printed="Traceback (most recent call last):",
        )
        self.check("x = 1\n\ny = 1 / 0", "ZeroDivisionError: division by zero (tasks.py, line 3)", printed="y = 1 / 0")
        self.check("raise ValueError('two\\nlines')", "ValueError: two lines (tasks.py, line 1)")
        self.check("import sys\nsys.exit(3)", "it called sys.exit(3) while it was imported (tasks.py, line 2)")
        self.check("raise KeyboardInterrupt", "KeyboardInterrupt (tasks.py, line 1)")
        self.write("def f():\n    import nothing_here\nf()", "helper.py")
        self.check("import helper", "ModuleNotFoundError: No module named 'nothing_here' (helper.py, line 2)")
        line = "it called sys.exit('no GPU') while it was imported (tasks.py, line 2)"
        self.check("import sys\nsys.exit('no GPU')", line)

    def test_no_tasks(self):
        self.check("def f(): pass", "no function in it is decorated with @offload.task; name some: tasks.py:name,...")
        self.check("def f(): pass", "it has no g", ":g")
        self.check("f = 5", "f is not a function, but of the type int", ":f")
        self.check("class F: pass", "F is a class, not a function", ":F")
        self.check("", "it has no f", ":f")

    def test_names(self):
        rule = "(a-z first, then a-z, 0-9, _ and -, at most 64 in all): give it one by @offload.task(name=...)"
        self.check("def F(): pass", f"F: 'F' cannot be the name of a job type {rule}", ":F")
        self.check("def _f(): pass", f"_f: '_f' cannot be the name of a job type {rule}", ":_f")
        self.check(
            HEAD + "@offload.task(name='a b')\ndef f(): pass", f"f: 'a b' cannot be the name of a job type {rule}"
        )
        long = "f" * 65
        self.check(f"def {long}(): pass", f"{long}: '{long}' cannot be the name of a job type {rule}", ":" + long)
        self.check(
            HEAD + "@offload.task\ndef f(): pass\n@offload.task(name='f')\ndef g(): pass\n",
            "two tasks are called f: tasks.py:3 and tasks.py:5",
        )
        self.check(
            HEAD + "@offload.task\ndef f(): pass\n\n@offload.task\ndef f(x): pass\n",
            "two tasks are called f: tasks.py:3 and tasks.py:6",
        )

    def test_annotations(self):
        for annotation, line in [
            ("complex", "the annotation complex is not supported"),
            ("Callable[[int], int]", "the annotation typing.Callable[[int], int] is not supported"),
            ("5", "the annotation 5 is not supported"),
            ("List[complex]", "the annotation typing.List[complex] is not supported (in it: complex)"),
            (
                "dict[int, str]",
                "the annotation dict[int, str] is not supported: the keys of a dict can only be str, as in JSON",
            ),
            (
                "Literal[b'x']",
                "the annotation typing.Literal[b'x'] is not supported: in a Literal only strings, integers, booleans"
                " and None are supported",
            ),
            ("'nowhere'", "the annotation 'nowhere' has no meaning: NameError: name 'nowhere' is not defined"),
            ("'list['", "the annotation 'list[' has no meaning: SyntaxError: "),
            ("Thing", "the annotation tasks.Thing is not supported"),
            ("Data", "the annotation tasks.Data is not supported (in it: complex)"),
            ("Choice", "the annotation tasks.Choice is not supported: the value of Choice.A is no string or number"),
            ("Bits", "the annotation tasks.Bits is not supported: flags are not supported"),
            ("type('X', (), {})", "the annotation tasks.X is not supported"),
        ]:
            with self.subTest(annotation):
                found = self.refused(
                    HEAD + "import dataclasses, enum\nclass Thing: pass\n@dataclasses.dataclass\nclass Data:\n"
                    "    x: complex\nclass Choice(enum.Enum):\n    A = ()\nclass Bits(enum.Flag):\n    A = 1\n"
                    f"def f(a: int, b: {annotation}): pass",
                    ":f",
                )
                self.assertTrue(found.startswith(f"offload: tasks.py:f: f(b): {line}"), found)

    def test_kinds_of_parameters(self):
        self.check(
            "def f(a, /, b): pass",
            "f(a): the parameter is positional-only (before /), but parameters of jobs have names",
            ":f",
        )
        self.check(
            "def f(*parts): pass",
            "f(parts): *parts is not supported, as parameters of jobs have names: use a list",
            ":f",
        )

    def test_split_and_merge(self):
        task = HEAD + "@offload.task\ndef f(start: int, stop: int): pass\n"
        self.check(
            task + "@f.split\ndef _(start, end, chunks): pass",
            "f.split: f has no parameter end; split can take start, stop, chunks",
        )
        self.check(
            task + "@f.split\ndef _(start, /, chunks): pass",
            "f.split: start is positional-only (before /), but all parameters come by name",
        )
        self.check(
            HEAD + "@offload.task\ndef f(chunks: int): pass\n@f.split\ndef _(chunks): pass",
            "f.split: a task with a split cannot have a parameter chunks, because split gets it",
        )
        self.check(
            task + "@f.merge\ndef _(): pass",
            "f.merge: it is called with one argument, the list of the parts: too many positional arguments",
        )
        self.check(
            task + "@f.merge\ndef _(parts, start): pass",
            "f.merge: it is called with one argument, the list of the parts: missing a required argument: 'start'",
        )

    def test_the_decorator(self):
        for options, line in [
            ("timeout=0", "ValueError: timeout is a number of seconds above 0, not 0"),
            ("timeout='5'", "ValueError: timeout is a number of seconds above 0, not '5'"),
            ("timeout=float('inf')", "ValueError: timeout is a number of seconds above 0, not inf"),
            ("max_attempts=0", "ValueError: max_attempts is an integer of at least 1, not 0"),
            ("max_attempts=True", "ValueError: max_attempts is an integer of at least 1, not True"),
            ("name=5", "TypeError: the name of a task is a string, not int"),
        ]:
            with self.subTest(options):
                self.check(HEAD + f"@offload.task({options})\ndef f(): pass", f"{line} (tasks.py, line 3)")
        line = "TypeError: offload.task decorates functions, not <class 'int'> (tasks.py, line 3)"
        self.check(HEAD + "f = offload.task(int)", line)

    def test_the_socket(self):
        environment = {**os.environ, "PYTHONPATH": INSTALLED}
        for number in ("", "x", "0", "999"):
            environment["OFFLOAD_FD"] = number
            done = subprocess.run(
                [sys.executable, "-m", "offload", "tasks.py"],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(done.returncode, 1)
            self.assertIn("OFFLOAD_FD is not a socket: offloadd starts this program", done.stderr)
        for arguments, status in ((["--help"], 0), ([], 2), (["a", "b"], 2)):
            done = subprocess.run(
                [sys.executable, "-m", "offload", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertEqual(done.returncode, status)
            self.assertIn("usage: python3 -m offload FILE|MODULE[:NAME,...]", done.stdout + done.stderr)


class Found(ProgramTest):
    def test_decorated(self):
        program = self.start(
            HEAD
            + """
@offload.task(name="filter", timeout=60, max_attempts=5)
def process(n: int = 2) -> int:
    "Twice."
    return 2 * n

@offload.task
def with_all(start: int): return start
@with_all.split
def _(start, chunks): return [{"start": start}]
@with_all.merge
def _(parts): return parts

def plain(): pass

if __name__ == "__main__":
    raise RuntimeError("this is not the main module")
assert process(n=4) == 8 and process.__name__ == "process"
"""
        )
        self.assertEqual(
            program.hello["types"],
            [
                {
                    "name": "filter",
                    "summary": "Twice.",
                    "params": {
                        "type": "object",
                        "properties": {"n": {"type": "integer", "default": 2}},
                        "additionalProperties": False,
                    },
                    "timeout": 60,
                    "max_attempts": 5,
                },
                {
                    "name": "with_all",
                    "params": {
                        "type": "object",
                        "properties": {"start": {"type": "integer"}},
                        "required": ["start"],
                        "additionalProperties": False,
                    },
                    "flags": ["split", "merge"],
                },
            ],
        )
        self.assertEqual(program.value("filter", n=21), 42)

    def test_named(self):
        """Functions as they are, and everything else that can be called."""
        program = self.start(
            """
            import functools, math
            def is_prime(n: int) -> bool:
                return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))
            double = lambda n: n * 2
            power = functools.partial(pow, 2)
            hundred = functools.partial(is_prime, n=101)
            sqrt = math.sqrt
            class Counter:
                def __call__(self, n: int): return n + 1
                def method(self, n: int): return n + 2
            counter = Counter()
            method = counter.method
            def outer(function):
                @functools.wraps(function)
                def inner(*args, **kwargs): return function(*args, **kwargs) + 1
                return inner
            @outer
            def wrapped(n: int = 1): return n
            """,
            ":is_prime,double,counter,method,hundred,wrapped,is_prime",
        )
        self.assertEqual(list(program.types), ["is_prime", "double", "counter", "method", "hundred", "wrapped"])
        self.assertEqual(program.value("is_prime", n=97), True)
        self.assertEqual(program.value("double", n=[1]), [1, 1])
        self.assertEqual(program.value("counter", n=1), 2)
        self.assertEqual(program.value("method", n=1), 3)
        self.assertEqual(program.value("hundred"), True)
        self.assertEqual(program.value("hundred", n=100), False)
        self.assertEqual(program.value("wrapped"), 2)
        self.assertEqual(program.value("wrapped", n=5), 6)
        self.assertIn("positional-only", self.refused("from math import sqrt", ":sqrt"))

    def test_a_module(self):
        self.write("", "my/__init__.py")
        self.write("", "my/package/__init__.py")
        self.write("import offload\n@offload.task\ndef helper(): return __name__", "my/package/helper.py")
        self.write(
            "import json\nfrom .helper import helper\nimport offload\n@offload.task\ndef f(): return __name__\n",
            "my/package/tasks.py",
        )
        program = self.start("", spec="my.package.tasks")
        self.assertEqual(program.value("f"), "my.package.tasks")
        self.assertEqual(program.value("helper"), "my.package.helper")
        files = ["my/__init__.py", "my/package/__init__.py", "my/package/helper.py", "my/package/tasks.py"]
        self.assertEqual(program.hello["sources"], [os.path.join(self.folder, f) for f in files])
        program = self.start("", spec="my.package.tasks:f")
        self.assertEqual(list(program.types), ["f"])

    def test_a_file_elsewhere(self):
        """Its directory is on the path, and the current one is not."""
        text = "import offload, near, os\n@offload.task\ndef f(): return [near.x, os.getcwd(), __name__]"
        self.write(text, "a/b/tasks.py")
        self.write("x = 1", "a/b/near.py")
        self.write("raise RuntimeError", "near.py")
        self.write("", "a/b/site-packages/package.py")
        program = self.start("", spec="a/b/tasks.py")
        self.assertEqual(program.value("f"), [1, os.path.realpath(self.folder), "tasks"])
        files = [os.path.join(self.folder, name) for name in ("a/b/near.py", "a/b/tasks.py")]
        self.assertEqual(program.hello["sources"], files)

    def test_names_of_files(self):
        for name in ("json.py", "my-tasks.py", "tasks.txt", "offload.py", "a:b.py"):
            self.write("def f(): return __name__", "d/" + name)
            program = Program(f"d/{name}:f", cwd=self.folder)
            self.addCleanup(program.close)
            self.assertEqual(program.value("f"), "__offload_tasks__" if name != "tasks.txt" else "tasks", name)
            self.assertIn(os.path.join(self.folder, "d", name), program.hello["sources"])

    def test_what_it_runs_in(self):
        """Lines go out at once; the socket is not inherited; signals are as usual."""
        program = self.start(
            """
            import os, signal, subprocess, sys
            def look():
                print("out"); print("err", file=sys.stderr)
                listed = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True).stdout
                return [listed.count("socket:"), "OFFLOAD_FD" in os.environ, sys.argv,
                        signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, list(signal.pthread_sigmask(0, []))]
            """,
            ":look",
        )
        self.assertEqual(program.value("look"), [0, False, ["tasks.py"], True, []])
        self.assertEqual(sorted(program.printed().split()), ["err", "out"])


if __name__ == "__main__":
    unittest.main()
