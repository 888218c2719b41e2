"""The drop-in executor: what the script's functions get and give, and what happens when processes die."""

import os
import signal
import subprocess
import sys
import tempfile
import unittest

from daemon import PACKAGE
from scripts import Script, name_of

NUMPY = None
for _python in (sys.executable, "/usr/bin/python3"):
    if subprocess.run([_python, "-c", "import numpy"], capture_output=True, check=False).returncode == 0:
        NUMPY = _python
        break


class DropIn(unittest.TestCase):
    def runs(self, text, *arguments, **options):
        """Runs a script, which must succeed and leave nothing. Returns what it has printed."""
        with Script(text, *arguments, **options) as script:
            status = script.wait()
            self.assertEqual(status, 0, script.output)
            script.leaves_nothing()
            return script.output

    def test_what_functions_see(self):
        output = self.runs(
            """
            import offload, multiprocessing
            os.environ["SEEN"] = "yes"
            os.environ["OFFLOAD_URL"] = "http://127.0.0.1:1"

            class Thing:
                def __init__(self, n): self.n = n
                def twice(self): return Thing(2 * self.n)

            def see():
                print("printed", flush=False)
                print("complained", file=sys.stderr)
                return {
                    "argv": sys.argv, "path": sys.path, "cwd": os.getcwd(), "executable": sys.executable,
                    "prefix": sys.prefix, "environ": dict(os.environ), "name": __name__, "umask": os.umask(0o22),
                    "parent": multiprocessing.parent_process().pid, "flags": sys.flags.optimize,
                }

            if __name__ == "__main__":
                os.mkdir("elsewhere")
                os.chdir("elsewhere")
                sys.path.insert(0, "/somewhere")
                sys.argv.append("more")
                here = {"argv": sys.argv, "path": sys.path, "cwd": os.getcwd(), "executable": sys.executable,
                        "prefix": sys.prefix, "environ": dict(os.environ), "name": "__mp_main__", "umask": 0o22,
                        "parent": os.getpid(), "flags": 1}
                os.umask(0o22)
                with offload.Executor(1) as executor:
                    there = executor.submit(see).result()
                    print("after")
                    assert executor.submit(Thing(21).twice).result().n == 42
                    assert executor.submit(max, [3, 1], key=abs).result() == 3
                    assert list(executor.map(pow, [2, 3], [3, 2])) == [8, 9]
                for name in [n for n in there["environ"] if n.endswith("_NUM_THREADS")]:
                    assert there["environ"].pop(name) == here["environ"].pop(name, "1")
                for name in here:
                    assert here[name] == there[name], (name, here[name], there[name])
            """,
            "one",
            how=["-O", "script.py"],
        )
        self.assertEqual(output.splitlines(), ["printed", "complained", "after"])

    def test_module_with_relative_imports(self):
        files = [
            ("pkg/__init__.py", ""),
            ("pkg/other.py", "def double(n): return 2 * n\n"),
            (
                "pkg/mod.py",
                """
                import offload
                from .other import double
                def quadruple(n): return double(double(n))
                if __name__ == "__main__":
                    with offload.Executor(1) as executor:
                        print(executor.submit(quadruple, 4).result(), executor.submit(double, 4).result())
                """,
            ),
        ]
        self.assertEqual(self.runs("", how=["-m", "pkg.mod"], files=files), "16 8\n")

    def test_without_a_guard(self):
        with Script("import offload\nprint(offload.Executor(1).submit(abs, -1).result())") as script:
            self.assertEqual(script.wait(), 1)
            script.leaves_nothing()
            self.assertIn('if __name__ == "__main__":', script.output)
            self.assertIn("BrokenProcessPool", script.output)
            self.assertIn("RuntimeError", script.output.splitlines()[-1])

    def test_main_module_that_cannot_be_imported(self):
        text = "import offload\ndef f(): pass\ntry: print(offload.Executor(1).submit(f).result())\n"
        text += "except Exception as error: print(repr(error))\nprint(offload.Executor(1).submit(abs, -1).result())"
        output = self.runs("", how=["-c", text])
        self.assertIn("PicklingError", output)
        self.assertIn("function f", output)
        self.assertIn("Put the function into a module", output)
        self.assertEqual(output.splitlines()[-1], "1")
        files = [("pkg/__init__.py", ""), ("pkg/__main__.py", text)]
        self.assertIn("Put the function into a module", self.runs("", how=["-m", "pkg"], files=files))

    def test_main_module_that_fails_in_the_workers(self):
        with Script(
            """
            import offload
            if __name__ != "__main__":
                raise ValueError("not here")
            for _ in range(2):
                try:
                    offload.Executor(1).submit(abs, -1).result()
                except Exception as error:
                    say(type(error).__name__, error)
            """
        ) as script:
            self.assertEqual(script.wait(), 0, script.output)
            script.leaves_nothing()
            lines = [line for line in script.output.splitlines() if line.startswith("BrokenProcessPool")]
            self.assertEqual(len(lines), 2, script.output)
            self.assertIn("ValueError: not here (script.py, line 10)", lines[0])

    def test_there_is_no_offloadd(self):
        text = """
        import offload
        try:
            offload.Executor(1).submit(abs, -1).result()
        except FileNotFoundError as error:
            say("refused", error)
        """
        self.assertIn("make install", self.runs(text, offloadd=None, environment=[("PATH", "/nowhere")]))
        self.assertIn("/nowhere/offloadd", self.runs(text, offloadd="/nowhere/offloadd"))

    def test_errors(self):
        self.runs(
            """
            import offload, pickle, traceback

            class Strange(Exception):
                def __init__(self, a, b): super().__init__("strange")
            class Holder(Exception):
                def __init__(self): self.lock = threading.Lock()
            class Bomb:
                def __reduce__(self): return explode, ()
            def explode(): raise RuntimeError("when it was unpickled")

            def fail(): raise KeyError("the key")
            def leave(): sys.exit("bye")
            def strange(): raise Strange(1, 2)
            def holder(): raise Holder
            def give_lock(): return threading.Lock()
            def give_bomb(): return Bomb()
            def take(argument): return 1

            def error(*call):
                future = executor.submit(*call)
                found = future.exception()
                if isinstance(found, (KeyError, Strange, SystemExit, pickle.PicklingError, RuntimeError)):
                    found.text = "".join(traceback.format_exception(type(found), found, found.__traceback__))
                return found

            if __name__ == "__main__":
                with offload.Executor(1) as executor:
                    found = error(fail)
                    assert type(found) is KeyError and found.args == ("the key",)
                    assert 'raise KeyError("the key")' in found.text and "script.py" in found.text, found.text
                    assert "_remote.py" not in str(found.__cause__), found.__cause__
                    assert type(error(leave)) is SystemExit and error(leave).code == "bye"
                    found = error(strange)
                    assert isinstance(found, pickle.PicklingError) and "strange" in str(found), found
                    assert "raise Strange" in found.text
                    found = error(holder)
                    assert isinstance(found, pickle.PicklingError) and "holder" in str(found), found
                    found = error(give_lock)
                    assert isinstance(found, pickle.PicklingError) and "the result of give_lock" in str(found), found
                    found = error(give_bomb)
                    assert isinstance(found, pickle.UnpicklingError) and "give_bomb" in str(found), found
                    found = error(take, Bomb())
                    assert type(found) is RuntimeError and "when it was unpickled" in str(found), found
                    found = error(take, threading.Lock())
                    assert type(found) is TypeError and "lock" in str(found), found
                    found = error(lambda: 1)
                    assert isinstance(found, (pickle.PicklingError, AttributeError)) and "lambda" in str(found), found
                    def closure(): return found
                    inner = error(closure)
                    assert isinstance(inner, (pickle.PicklingError, AttributeError)) and "closure" in str(inner), inner
                    assert executor.submit(take, 1).result() == 1
            """
        )

    def test_a_process_that_dies_takes_one_attempt_of_its_call(self):
        output = self.runs(
            """
            import offload
            def die(until):
                say("attempt", offload.attempt())
                if offload.attempt() < until:
                    os.kill(os.getpid(), signal.SIGKILL)
                return "survived"
            if __name__ == "__main__":
                with offload.Executor(2) as executor:
                    good = [executor.submit(abs, -n) for n in range(20)]
                    assert executor.submit(die, 2).result() == "survived"
                    try:
                        executor.submit(die, 9).result()
                    except offload.WorkerLost as error:
                        say("lost", error)
                    assert [f.result() for f in good] == list(range(20))
                    assert executor.submit(abs, -5).result() == 5
                with offload.Executor(1, max_attempts=1) as executor:
                    try:
                        executor.submit(die, 1).result()
                    except offload.WorkerLost as error:
                        say("once", error)
            """
        )
        self.assertEqual(output.count("attempt"), 3 + 3 + 1 + output.count("attempt 3 of 3") + output.count("1 of 1"))
        self.assertIn("SIGKILL", output)
        self.assertIn("\nonce ", output)

    def test_offloadd_is_killed(self):
        with Script(
            """
            import offload
            def slow(n):
                say("began", n)
                while not os.path.exists("go"):
                    time.sleep(0.01)
                return n
            if __name__ == "__main__":
                with offload.Executor(2) as executor:
                    futures = [executor.submit(slow, n) for n in range(4)]
                    say("results", *[f.result() for f in futures])
            """
        ) as script:
            script.said("began")
            os.kill(script.offloadd(), signal.SIGKILL)
            script.go()
            self.assertEqual(script.said("results"), ["0", "1", "2", "3"])
            self.assertEqual(script.wait(), 0)
            script.leaves_nothing()

    def test_initializer(self):
        output = self.runs(
            """
            import offload
            from concurrent.futures.process import BrokenProcessPool
            seen = []
            def prepare(word, data):
                say("prepared", os.getpid(), len(data))
                seen.append(word)
            def look(_):
                time.sleep(0.01)
                return os.getpid(), seen
            def refuse():
                raise ValueError("no")
            if __name__ == "__main__":
                with offload.Executor(2, None, prepare, ("word", bytes(1 << 20))) as executor:
                    found = list(executor.map(look, range(20)))
                assert all(words == ["word"] for _, words in found), found
                with offload.Executor(2, initializer=refuse) as executor:
                    try:
                        executor.submit(abs, 1).result()
                    except BrokenProcessPool as error:
                        assert "ValueError: no" in str(error), error
                    else:
                        raise AssertionError
                    try:
                        executor.submit(abs, 1)
                    except BrokenProcessPool:
                        say("stays", "broken")
            """
        )
        prepared = [line.split() for line in output.splitlines() if line.startswith("prepared")]
        self.assertEqual(len({pid for _, pid, _ in prepared}), len(prepared))
        self.assertEqual({size for *_, size in prepared}, {str(1 << 20)})
        self.assertIn("Exception in initializer:", output)
        self.assertIn("stays broken", output)

    def test_max_tasks_per_child(self):
        self.runs(
            """
            import offload, collections
            def where(_): return os.getpid()
            if __name__ == "__main__":
                with offload.Executor(1, max_tasks_per_child=3) as executor:
                    pids = [executor.submit(where, 0).result() for _ in range(7)]
                    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1], pids
                    pids = [f.result() for f in [executor.submit(where, n) for n in range(30)]]
                    assert max(collections.Counter(pids).values()) == 3, pids
            """
        )

    def test_one_worker_is_one_process(self):
        self.runs(
            """
            import offload
            count = 0
            def add(_):
                global count
                count += 1
                return os.getpid(), count
            if __name__ == "__main__":
                with offload.Executor(1) as executor:
                    first = [executor.submit(add, n).result() for n in range(20)]
                    more = [f.result() for f in [executor.submit(add, n) for n in range(200)]]
                    more += list(executor.map(add, range(200), chunksize=7))
                assert len({pid for pid, _ in first + more}) == 1
                assert sorted(n for _, n in first + more) == list(range(1, 421))
            """
        )

    @unittest.skipIf(NUMPY is None, "no Python here has numpy")
    def test_arrays(self):
        self.runs(
            """
            import offload, numpy
            def check(array, mark):
                assert array.flags.writeable and array.flags.aligned
                assert array[0] == 0 and array[-1] == len(array) - 1, (array[0], array[-1])
                array += mark
                if offload.attempt() == 0 and mark == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
                return array
            kept = []
            def keep(array):
                kept.append(array)
                return sum(int(a.sum()) for a in kept)
            def shapes(*arrays):
                return [(a.shape, a.dtype.str, a.tolist()) for a in arrays]
            if __name__ == "__main__":
                array = numpy.arange(10_000_000, dtype=numpy.float64)
                with offload.Executor(1) as executor:
                    for mark in (1, 2):  # the second time its process dies when it has changed the array
                        result = executor.submit(check, array, mark).result()
                        assert result.flags.writeable and (result == array + mark).all()
                        result[:] = 7
                    assert array[1] == 1
                    assert [executor.submit(keep, numpy.full(50_000, n)).result() // 50_000 for n in range(20)] == [
                        n * (n + 1) // 2 for n in range(20)]
                    many = [numpy.arange(40_000, dtype=k).reshape(2, -1) for k in ("i2", "f8", "u1", "c16")]
                    many += [many[1].T, many[1][:, ::2], numpy.zeros((0, 3)), numpy.array(["a", "bc"])]
                    assert executor.submit(shapes, *many).result() == shapes(*many)
                    read_only = numpy.arange(100_000)
                    read_only.flags.writeable = False
                    assert not executor.submit(numpy.asarray, read_only).result().flags.writeable
                    held = [executor.submit(numpy.arange, 20_000).result() for _ in range(40)]
                    assert sum(int(a[-1]) for a in held) == 40 * 19_999
                assert not memfds()
            """,
            python=NUMPY,
        )

    def test_large_values(self):
        self.runs(
            """
            import offload
            def same(value): return value
            def large_error(): raise ValueError("x" * 200_000)
            if __name__ == "__main__":
                with offload.Executor(2) as executor:
                    for value in (bytes(20_000_000), "ä" * 3_000_000, list(range(300_000)), bytearray(b"x" * 70_000)):
                        assert executor.submit(same, value).result() == value
                    values = [bytes([n]) * (70_000 + n) for n in range(100)]
                    assert list(executor.map(same, values)) == values
                    assert [f.result() for f in [executor.submit(same, value) for value in values]] == values
                    assert len(str(executor.submit(large_error).exception())) == 200_000
                assert not memfds()
            """
        )

    def test_shared_memory(self):
        with Script(
            """
            import offload
            from multiprocessing import shared_memory
            def double(name):
                segment = shared_memory.SharedMemory(name=name)
                for i in range(10):
                    segment.buf[i] *= 2
                segment.close()
                return os.getpid()
            def by_object(segment):
                return bytes(segment.buf[:3])
            if __name__ == "__main__":
                segment = shared_memory.SharedMemory(create=True, size=10)
                segment.buf[:10] = bytes(range(10))
                with offload.Executor(1, max_tasks_per_child=1) as executor:
                    pids = [executor.submit(double, segment.name).result() for _ in range(3)]
                    assert executor.submit(by_object, segment).result() == bytes([0, 8, 16])
                assert len(set(pids)) == 3
                assert bytes(segment.buf[:10]) == bytes(8 * n for n in range(10))
                if len(sys.argv) == 1:
                    segment.close()
                    segment.unlink()
                    sys.exit()
                executor = offload.Executor(1)
                executor.submit(double, segment.name).result()
                say("segment", segment.name)
                time.sleep(600)
            """,
            "wait",
        ) as script:
            path = "/dev/shm/" + script.said("segment")[0]
            self.assertTrue(os.path.exists(path))
            script.process.kill()
            script.leaves_nothing()
            self.assertFalse(os.path.exists(path))
            script.command.pop()
            with open(script.log, "w"):
                pass
            with script:
                self.assertEqual(script.wait(), 0, script.output)
                self.assertEqual(script.output, "")  # the resource tracker has nothing to complain of

    def test_a_main_module_with_threads(self):
        """It must not be forked: each process imports it by itself."""
        output = self.runs(
            """
            import offload
            threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
            say("imported", __name__)
            def prepare(word): print("prepared", word)
            def where(n):
                time.sleep(0.05)
                return os.getpid(), threading.active_count() > 1
            if __name__ == "__main__":
                with offload.Executor(2, None, prepare, ("word",), max_tasks_per_child=4) as executor:
                    found = list(executor.map(where, range(8)))
                assert all(threads for _, threads in found)
                say("processes", len(set(found)))
            """
        )
        processes = int(output.splitlines()[-1].split()[1])
        self.assertGreaterEqual(processes, 2)
        self.assertGreaterEqual(output.count("imported __mp_main__"), processes)
        self.assertGreaterEqual(output.count("prepared word"), processes)

    def test_the_thread_ends_that_has_made_the_executor(self):
        self.runs(
            """
            import offload
            def begin():
                global executor
                executor = offload.Executor(1)
                pids.append(executor.submit(os.getpid).result())
            if __name__ == "__main__":
                pids = []
                thread = threading.Thread(target=begin)
                thread.start()
                thread.join()
                time.sleep(0.2)
                assert executor.submit(os.getpid).result() == pids[0]
            """
        )

    def test_an_executor_in_a_function(self):
        self.runs(
            """
            import offload
            def outer(n):
                with offload.Executor(1) as executor:
                    return executor.submit(pow, n, 2).result()
            def forgotten(n):
                global executor
                executor = offload.Executor(1)
                return executor.submit(pow, n, 2).result()
            if __name__ == "__main__":
                with offload.Executor(1) as executor:
                    assert executor.submit(outer, 3).result() == 9
                    assert executor.submit(forgotten, 4).result() == 16
            """
        )

    def test_a_virtual_environment(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "venv", "--without-pip", folder]
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": PACKAGE})
            output = self.runs(
                """
                import offload
                def where(): return sys.executable, sys.prefix
                if __name__ == "__main__":
                    with offload.Executor(1) as executor:
                        assert executor.submit(where).result() == where()
                    say(*where())
                """,
                python=os.path.join(folder, "bin", "python3"),
            )
            self.assertEqual(output.split(), [os.path.join(folder, "bin", "python3"), folder])

    def test_streams_that_are_closed(self):
        self.runs(
            """
            import offload
            def noise():
                print("nobody reads this")
                return 1
            if __name__ == "__main__":
                for fd in (0, 1, 2):
                    os.close(fd)
                with offload.Executor(1) as executor:
                    assert executor.submit(noise).result() == 1
            """
        )

    def test_the_directory_is_private(self):
        with Script(
            """
            import offload
            if __name__ == "__main__":
                executor = offload.Executor(1)
                executor.submit(abs, 1).result()
                say("ready")
                time.sleep(600)
            """
        ) as script:
            script.said("ready")
            (folder,) = os.listdir(script.temporary)
            self.assertEqual(os.stat(os.path.join(script.temporary, folder)).st_mode & 0o777, 0o700)
            self.assertIn("--private-dir", name_of(script.offloadd()) or "")


if __name__ == "__main__":
    unittest.main()
