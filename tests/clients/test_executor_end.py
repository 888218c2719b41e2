"""How an offload.Executor ends: shutdown, garbage collection, the end of the interpreter, ctrl-C, a fork."""

import concurrent.futures
import gc
import os
import signal
import threading
import unittest
import weakref

import calls
from daemon import PATIENCE_S, Scratch, until
from scripts import Script

import offload


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "offload-dispatcher"]


class Shutdown(Scratch):
    def blocked(self, executor):
        """Calls that fill all places, and one that waits behind them."""
        first = [executor.submit(calls.block, self.path("go"), n) for n in range(3)]
        until(lambda: all(future.running() for future in first), "they are not sent")
        return first, executor.submit(calls.touch_late, self.path("mark"))

    def test_after_shutdown(self):
        executor = offload.Executor(1)
        self.assertEqual(executor.submit(pow, 2, 5).result(PATIENCE_S), 32)
        executor.shutdown()
        executor.shutdown()
        with self.assertRaisesRegex(RuntimeError, "after shutdown"):
            executor.submit(pow, 2, 5)
        with self.assertRaisesRegex(RuntimeError, "after shutdown"):
            executor.map(abs, [1])
        unused = offload.Executor(1)
        unused.shutdown()
        with self.assertRaisesRegex(RuntimeError, "after shutdown"):
            unused.submit(pow, 2, 5)

    def test_with(self):
        with offload.Executor(2) as executor:
            results = executor.map(abs, range(-5, 5))
        self.assertEqual(list(results), [5, 4, 3, 2, 1, 0, 1, 2, 3, 4])
        self.assertFalse(executor._dispatcher.thread.is_alive())
        self.assertIsNone(executor._dispatcher.backend.service.pid)
        with self.assertRaises(ZeroDivisionError), offload.Executor(1) as executor:
            future = executor.submit(abs, -1)
            raise ZeroDivisionError
        self.assertEqual(future.result(0), 1)

    def test_without_waiting(self):
        executor = offload.Executor(1)
        first, last = self.blocked(executor)
        executor.shutdown(wait=False)
        self.assertFalse(last.done())
        calls.touch(self.path("go"))
        self.assertEqual([future.result(PATIENCE_S) for future in [*first, last]], [0, 1, 2, None])
        executor._dispatcher.thread.join(PATIENCE_S)
        self.assertFalse(executor._dispatcher.thread.is_alive())

    def test_cancel_futures(self):
        """Those that have begun are finished."""
        executor = offload.Executor(1)
        first, last = self.blocked(executor)
        others = [executor.submit(calls.block, self.path("go")) for _ in range(30)]
        executor.shutdown(wait=False, cancel_futures=True)
        done, left = concurrent.futures.wait([last, *others], PATIENCE_S)
        self.assertEqual((len(left), {future.cancelled() for future in done}), (0, {True}))
        calls.touch(self.path("go"))
        executor.shutdown(wait=True)
        self.assertEqual([future.result(0) for future in first], [0, 1, 2])
        self.assertFalse(os.path.exists(self.path("mark")))

    def test_cancelled_right_before(self):
        executor = offload.Executor(1)
        executor.submit(int).result(PATIENCE_S)
        executor.submit(int).cancel()
        executor.shutdown(wait=True)

    def test_many_that_wait(self):
        executor = offload.Executor(2)
        futures = [executor.submit(calls.touch_late, self.path("mark")) for _ in range(20)]
        executor.shutdown()
        self.assertEqual([future.result(0) for future in futures], [None] * 20)

    def test_from_a_callback(self):
        executor = offload.Executor(1)
        ended = threading.Event()

        def end(future):
            executor.shutdown(wait=True)  # it cannot wait for its own thread
            ended.set()

        executor.submit(abs, 1).add_done_callback(end)
        self.assertTrue(ended.wait(PATIENCE_S))
        executor._dispatcher.thread.join(PATIENCE_S)
        self.assertFalse(executor._dispatcher.thread.is_alive())

    def test_the_executor_is_forgotten(self):
        """Its calls are finished, and then its thread and its service end."""
        executor = offload.Executor(1)
        first, last = self.blocked(executor)
        dispatcher, gone = executor._dispatcher, weakref.ref(executor)
        del executor
        gc.collect()
        self.assertIsNone(gone())
        calls.touch(self.path("go"))
        self.assertEqual([future.result(PATIENCE_S) for future in [*first, last]], [0, 1, 2, None])
        dispatcher.thread.join(PATIENCE_S)
        self.assertFalse(dispatcher.thread.is_alive())
        self.assertIsNone(dispatcher.backend.service.pid)

    def test_no_thread_is_left(self):
        before = len(threads())
        executors = [offload.Executor(1) for _ in range(3)]
        self.assertEqual(len(threads()), before)  # nothing is started before it is needed
        for executor in executors:
            executor.submit(abs, 1)
        self.assertEqual(len(threads()), before + 3)
        executors.clear()
        del executor
        until(lambda: len(threads()) == before, "a thread is left")


class Interpreter(unittest.TestCase):
    def runs(self, text, status=0, **options):
        with Script(text, **options) as script:
            self.assertEqual(script.wait(), status, script.output)
            script.leaves_nothing()
            return script.output

    def test_exit(self):
        """The calls that are left are finished first."""
        for end in ("", "executor.shutdown(wait=False)", "del executor", "sys.exit()"):
            output = self.runs(
                f"""
                import offload
                def late(n):
                    time.sleep(0.1)
                    say("late", n)
                if __name__ == "__main__":
                    executor = offload.Executor(1)
                    for n in range(6):
                        executor.submit(late, n)
                    {end}
                """
            )
            self.assertEqual(sorted(output.splitlines()), [f"late {n}" for n in range(6)], end)

    def test_cancelled_at_exit(self):
        output = self.runs(
            """
            import offload
            def late(n):
                time.sleep(0.1)
                say("late", n)
            if __name__ == "__main__":
                executor = offload.Executor(1)
                for n in range(30):
                    executor.submit(late, n)
                executor.shutdown(wait=False, cancel_futures=True)
            """
        )
        self.assertLess(len(output.splitlines()), 10)

    def test_submit_after_the_end(self):
        for first in ("executor.submit(abs, 1).result()", "pass"):
            output = self.runs(
                f"""
                import atexit
                @atexit.register
                def last():
                    try:
                        executor.submit(abs, 1)
                    except RuntimeError as error:
                        print(error)
                import offload
                if __name__ == "__main__":
                    executor = offload.Executor(1)
                    {first}
                """
            )
            self.assertIn("cannot schedule new futures after interpreter shutdown", output)

    def test_an_exception(self):
        output = self.runs(
            """
            import offload
            if __name__ == "__main__":
                with offload.Executor(1) as executor:
                    executor.submit(divmod, 1, 0).result()
            """,
            status=1,
        )
        self.assertEqual(output.splitlines()[-1], "ZeroDivisionError: integer division or modulo by zero")

    def interrupted(self, text):
        """Ctrl-C ends the script soon: what waits is cancelled, what runs is stopped."""
        with Script(
            f"""
            import offload
            def forever(n):
                say("began", n)
                try:
                    time.sleep(600)
                finally:
                    say("stopped")
            if __name__ == "__main__":
                executor = offload.Executor(1)
                {text}
            """
        ) as script:
            script.said("began")
            os.kill(script.process.pid, signal.SIGINT)
            self.assertEqual(script.wait(), -signal.SIGINT, script.output)
            script.leaves_nothing()
            self.assertEqual(script.output.count("began"), 1, script.output)
            self.assertIn("KeyboardInterrupt", script.output)

    def test_ctrl_c(self):
        self.interrupted("[executor.submit(forever, n) for n in range(5)][0].result()")

    def test_ctrl_c_in_with(self):
        self.interrupted("with executor: [executor.submit(forever, n) for n in range(5)][0].result()")

    def test_fork(self):
        """The child cannot use it, and does not end it."""
        output = self.runs(
            """
            import offload
            if __name__ == "__main__":
                with offload.Executor(1) as executor:
                    executor.submit(abs, 1).result()
                    future = executor.submit(time.sleep, 0.3)
                    pid = os.fork()
                    if pid == 0:
                        try:
                            executor.submit(abs, 2)
                        except RuntimeError as error:
                            say("child", error)
                        executor.shutdown()
                        with offload.Executor(1) as other:
                            say("child", other.submit(abs, -3).result())
                        sys.exit(5)
                    say("status", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    future.result()
                    say("parent", executor.submit(abs, -4).result())
            """,
            how=["-W", "ignore::DeprecationWarning", "script.py"],
        )
        lines = output.splitlines()
        self.assertIn("has forked", lines[0])
        self.assertEqual(lines[1:], ["child 3", "status 5", "parent 4"])

    def test_processes_of_multiprocessing(self):
        """They end by os._exit, and must not hang in the executor that they have inherited."""
        output = self.runs(
            """
            import offload, multiprocessing
            if __name__ == "__main__":
                executor = offload.Executor(1)
                executor.submit(abs, 1).result()
                child = multiprocessing.get_context("fork").Process(target=say, args=("child",))
                child.start()
                child.join()
                say(child.exitcode, executor.submit(abs, -1).result())
            """
        )
        self.assertEqual(output.splitlines(), ["child", "0 1"])
