"""offload.Executor as a concurrent.futures.Executor: submit, map, wait, as_completed, futures."""

import asyncio
import concurrent.futures
import functools
import io
import itertools
import os
import sys
import threading
import weakref
from concurrent.futures import CancelledError, InvalidStateError, TimeoutError
from concurrent.futures.process import _RemoteTraceback
from contextlib import redirect_stderr

import calls
from daemon import PATIENCE_S, Scratch, until

import offload


def ended(state, result=None, exception=None):
    """A future of the standard library in a state."""
    future = concurrent.futures.Future()
    future._state, future._result, future._exception = state, result, exception
    return future


CANCELLED = ended("CANCELLED_AND_NOTIFIED")
FAILED = ended("FINISHED", exception=OSError())
SUCCEEDED = ended("FINISHED", result=42)


class Case(Scratch):
    """`executor` has two workers and is of the class."""

    @classmethod
    def setUpClass(cls):
        cls.executor = offload.Executor(2)
        cls.addClassCleanup(cls.executor.shutdown)
        cls.executor.submit(abs, 1).result(PATIENCE_S)

    def setUp(self):
        super().setUp()
        self.addCleanup(until, lambda: not self.executor._dispatcher.parcels, "a call has not ended")

    def block(self):
        """Fills all places where calls can be that have been sent. Returns their futures, and what lets them end."""
        dispatcher = self.executor._dispatcher
        until(lambda: not dispatcher.parcels, "another call has not ended")
        go = self.path("go")
        futures = [self.executor.submit(calls.block, go, n) for n in range(dispatcher.workers + 2)]
        until(lambda: all(future.running() for future in futures), "the calls are not sent")
        self.addCleanup(calls.touch, go)
        return futures, functools.partial(calls.touch, go)


class Submit(Case):
    def test_submit(self):
        self.assertEqual(self.executor.submit(pow, 2, 8).result(PATIENCE_S), 256)
        self.assertEqual(self.executor.submit(calls.mul, 2, y=8).result(PATIENCE_S), 16)
        future = self.executor.submit(calls.capture, 1, self=2, fn=3)
        self.assertEqual(future.result(PATIENCE_S), ((1,), {"self": 2, "fn": 3}))
        with self.assertRaises(TypeError):
            self.executor.submit(fn=calls.capture, arg=1)
        with self.assertRaises(TypeError):
            self.executor.submit(arg=1)

    def test_callables(self):
        thing = calls.Thing(4)
        for function, args, result in [
            (thing.method, (), 4),
            (thing, (3,), 7),
            (calls.Thing.method, (thing,), 4),
            (functools.partial(functools.partial(calls.mul, 2), 3), (), 6),
            (str.upper, ("a",), "A"),
            (len, ("abc",), 3),
            (complex, (1, 2), 1 + 2j),
        ]:
            self.assertEqual(self.executor.submit(function, *args).result(PATIENCE_S), result, function)

    def test_from_several_threads(self):
        results = {}

        def work(number):
            futures = [self.executor.submit(calls.mul, number, n) for n in range(200)]
            results[number] = [future.result(PATIENCE_S) for future in futures]

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, {n: [n * k for k in range(200)] for n in range(6)})

    def test_exceptions(self):
        future = self.executor.submit(calls.fail)
        with self.assertRaises(RuntimeError) as caught:
            future.result(PATIENCE_S)
        error = caught.exception
        self.assertEqual(error.args, (123,))
        self.assertIs(type(error.__cause__), _RemoteTraceback)
        self.assertIn("raise RuntimeError(number)  # this comment is in the traceback", error.__cause__.tb)
        self.assertNotIn("offload", error.__cause__.tb)
        text = io.StringIO()
        with redirect_stderr(text):
            sys.excepthook(type(error), error, error.__traceback__)
        self.assertIn("# this comment is in the traceback", text.getvalue())
        error = self.executor.submit(calls.fail_twice, 1, "b").exception(PATIENCE_S)
        self.assertEqual((type(error), error.one, error.two), (calls.TwoArguments, 1, "b"))
        for kind in (SystemExit, KeyboardInterrupt, GeneratorExit, concurrent.futures.BrokenExecutor, CancelledError):
            self.assertIs(type(self.executor.submit(calls.raise_it, kind).exception(PATIENCE_S)), kind)
        self.assertEqual(self.executor.submit(abs, -1).result(PATIENCE_S), 1)

    def test_nothing_is_kept(self):
        """Neither the arguments nor the results of calls that have ended."""
        thing = calls.Thing()
        gone = weakref.ref(thing)
        future = self.executor.submit(thing.method)
        self.executor.submit(thing.method)
        del thing
        until(lambda: gone() is None, "an argument is kept")
        self.assertEqual(future.result(PATIENCE_S), 0)
        future = self.executor.submit(calls.Thing, 3)
        gone = weakref.ref(future.result(PATIENCE_S))
        del future
        until(lambda: gone() is None, "a result is kept")
        error = self.executor.submit(calls.fail_twice, 1, 2).exception(PATIENCE_S)
        gone = weakref.ref(error)
        del error
        until(lambda: gone() is None, "an exception is kept")


class Map(Case):
    def test_map(self):
        wanted = list(map(pow, range(40), range(40)))
        for options in ({}, {"chunksize": 6}, {"chunksize": 40}, {"chunksize": 50}, {"buffersize": 3}):
            self.assertEqual(list(self.executor.map(pow, range(40), range(40), **options)), wanted, options)
        self.assertEqual(list(self.executor.map(pow, range(4), range(3))), [1, 1, 4])
        self.assertEqual(list(self.executor.map(pow, range(4), range(3), chunksize=2)), [1, 1, 4])
        self.assertEqual(list(self.executor.map(abs, [])), [])
        self.assertEqual(list(self.executor.map(abs)), [])

    def test_what_is_refused(self):
        for options, kind in [
            ({"chunksize": 0}, ValueError),
            ({"chunksize": -1}, ValueError),
            ({"buffersize": 0}, ValueError),
            ({"buffersize": -1}, ValueError),
            ({"buffersize": "3"}, TypeError),
        ]:
            with self.assertRaises(kind, msg=options):
                self.executor.map(abs, [1], **options)

    def test_exception(self):
        for options in ({}, {"chunksize": 1, "buffersize": 2}):
            results = self.executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5], **options)
            self.assertEqual(next(results), (0, 1))
            self.assertEqual(next(results), (0, 1))
            with self.assertRaises(ZeroDivisionError):
                next(results)
            with self.assertRaises(StopIteration):
                next(results)
        with self.assertRaises(ZeroDivisionError):
            list(self.executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5], chunksize=4))

    def test_timeout(self):
        """What is not begun then is cancelled."""
        blocked, go = self.block()
        marks = [self.path(f"mark{n}") for n in range(3)]
        results = self.executor.map(calls.touch_late, marks, timeout=0.05)
        with self.assertRaises(TimeoutError):
            next(results)
        go()
        self.assertEqual([future.result(PATIENCE_S) for future in blocked], list(range(len(blocked))))
        self.executor.submit(abs, 1).result(PATIENCE_S)
        self.assertEqual([mark for mark in marks if os.path.exists(mark)], [])
        with self.assertRaises(TimeoutError):
            next(self.executor.map(calls.wait_for, [self.path("other")], timeout=0))
        calls.touch(self.path("other"))
        self.assertEqual(list(self.executor.map(abs, [-1, -2], timeout=PATIENCE_S)), [1, 2])

    def test_iterator_that_is_left(self):
        blocked, go = self.block()
        marks = [self.path(f"mark{n}") for n in range(3)]
        results = self.executor.map(calls.touch_and_return, marks)
        self.assertIsNotNone(iter(results))
        threading.Timer(0.05, go).start()
        next(results)
        results.close()
        for future in blocked:
            future.result(PATIENCE_S)

    def test_buffersize(self):
        """Only so many calls are made ahead; the iterables can be endless."""
        drawn = 0

        def numbers():
            nonlocal drawn
            for drawn in itertools.count():
                yield drawn

        results = self.executor.map(abs, numbers(), buffersize=4)
        self.assertEqual(drawn, 3)
        self.assertEqual([next(results) for _ in range(10)], list(range(10)))
        self.assertEqual(drawn, 13)
        results.close()
        chunks = self.executor.map(abs, itertools.count(), chunksize=3, buffersize=2)
        self.assertEqual([next(chunks) for _ in range(20)], list(range(20)))
        chunks.close()

    def test_references(self):
        """The iterator keeps neither the results that were taken, nor the executor."""
        for options in ({}, {"chunksize": 3}, {"buffersize": 2}):
            for thing in self.executor.map(calls.Thing, range(7), **options):
                gone = weakref.ref(thing)
                del thing
                until(lambda gone=gone: gone() is None, "a result is kept")
        executor = offload.Executor(1)
        results = executor.map(abs, range(-5, 5), buffersize=20)
        gone = weakref.ref(executor)
        del executor
        until(lambda: gone() is None, "the executor is kept")
        self.assertEqual(list(results), [5, 4, 3, 2, 1, 0, 1, 2, 3, 4])


class Waiting(Case):
    def test_as_completed(self):
        futures = [self.executor.submit(calls.mul, 2, 21), self.executor.submit(calls.mul, 7, 6)]
        found = list(concurrent.futures.as_completed([CANCELLED, FAILED, SUCCEEDED, *futures, futures[0]]))
        self.assertEqual(len(found), 5)
        self.assertEqual(set(found), {CANCELLED, FAILED, SUCCEEDED, *futures})

    def test_as_completed_in_time(self):
        future = self.executor.submit(calls.wait_for, self.path("go"))
        found = set()
        with self.assertRaises(TimeoutError):
            for one in concurrent.futures.as_completed([CANCELLED, FAILED, SUCCEEDED, future], timeout=0):
                found.add(one)
        self.assertEqual(found, {CANCELLED, FAILED, SUCCEEDED})
        calls.touch(self.path("go"))
        self.assertEqual(list(concurrent.futures.as_completed([future], PATIENCE_S)), [future])

    def test_as_completed_in_the_order_of_the_ends(self):
        first = self.executor.submit(calls.wait_for, self.path("first"))
        second = self.executor.submit(calls.wait_for, self.path("second"))
        order = concurrent.futures.as_completed([first, second], PATIENCE_S)
        calls.touch(self.path("second"))
        self.assertIs(next(order), second)
        calls.touch(self.path("first"))
        self.assertIs(next(order), first)

    def test_as_completed_keeps_nothing(self):
        futures = [self.executor.submit(calls.mul, n, 2) for n in range(5)]
        for future in concurrent.futures.as_completed(futures, PATIENCE_S):
            futures.remove(future)
            gone = weakref.ref(future)
            del future
            until(lambda gone=gone: gone() is None, "a future is kept")

    def test_first_completed(self):
        first = self.executor.submit(calls.mul, 21, 2)
        second = self.executor.submit(calls.wait_for, self.path("go"))
        done, left = concurrent.futures.wait([CANCELLED, first, second], return_when="FIRST_COMPLETED")
        self.assertIn(CANCELLED, done)
        done, left = concurrent.futures.wait([first, second], PATIENCE_S, return_when="FIRST_COMPLETED")
        self.assertEqual((done, left), ({first}, {second}))
        calls.touch(self.path("go"))
        second.result(PATIENCE_S)

    def test_first_exception(self):
        first = self.executor.submit(calls.mul, 2, 21)
        second = self.executor.submit(calls.wait_and_fail, self.path("fail"))
        third = self.executor.submit(calls.wait_for, self.path("go"))
        threading.Timer(0.05, calls.touch, [self.path("fail")]).start()
        done, left = concurrent.futures.wait([first, second, third], PATIENCE_S, return_when="FIRST_EXCEPTION")
        self.assertEqual((done, left), ({first, second}, {third}))
        done, left = concurrent.futures.wait([FAILED, third], PATIENCE_S, return_when="FIRST_EXCEPTION")
        self.assertEqual((done, left), ({FAILED}, {third}))
        calls.touch(self.path("go"))

    def test_all_completed(self):
        futures = [self.executor.submit(divmod, 2, 0), self.executor.submit(calls.mul, 2, 21)]
        done, left = concurrent.futures.wait([SUCCEEDED, CANCELLED, FAILED, *futures], PATIENCE_S)
        self.assertEqual((done, left), ({SUCCEEDED, CANCELLED, FAILED, *futures}, set()))

    def test_timeout(self):
        future = self.executor.submit(calls.wait_for, self.path("go"))
        done, left = concurrent.futures.wait([CANCELLED, FAILED, SUCCEEDED, future], timeout=0.01)
        self.assertEqual((done, left), ({CANCELLED, FAILED, SUCCEEDED}, {future}))
        with self.assertRaises(TimeoutError):
            future.result(timeout=0.01)
        with self.assertRaises(TimeoutError):
            future.exception(timeout=0.01)
        calls.touch(self.path("go"))
        self.assertIsNone(future.exception(PATIENCE_S))

    def test_threads_that_switch_at_once(self):
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            futures = {self.executor.submit(calls.wait_for, self.path("go")) for _ in range(50)}
            calls.touch(self.path("go"))
            done, left = concurrent.futures.wait(futures, PATIENCE_S)
        finally:
            sys.setswitchinterval(before)
        self.assertEqual((done, left), (futures, set()))

    def test_a_future_that_is_cancelled(self):
        """Who waits for it is told."""
        blocked, go = self.block()
        future = self.executor.submit(calls.touch_late, self.path("mark"))
        self.assertTrue(future.cancel())
        waiter = threading.Thread(target=concurrent.futures.wait, args=([future],))
        waiter.start()
        go()
        waiter.join(PATIENCE_S)
        self.assertFalse(waiter.is_alive())
        concurrent.futures.wait(blocked, PATIENCE_S)


class Futures(Case):
    def test_life(self):
        blocked, go = self.block()
        future = self.executor.submit(calls.wait_for, self.folder, 6)
        self.assertIsInstance(future, concurrent.futures.Future)
        self.assertEqual((future.running(), future.done(), future.cancelled()), (False, False, False))
        self.assertRegex(repr(future), r"<Future at 0x[0-9a-f]+ state=pending>")
        self.assertRegex(repr(blocked[0]), r"<Future at 0x[0-9a-f]+ state=running>")
        self.assertEqual((blocked[0].running(), blocked[0].done()), (True, False))
        go()
        self.assertEqual(future.result(PATIENCE_S), 6)
        self.assertEqual((future.running(), future.done(), future.cancelled()), (False, True, False))
        self.assertRegex(repr(future), r"<Future at 0x[0-9a-f]+ state=finished returned int>")
        self.assertFalse(future.cancel())
        with self.assertRaises(InvalidStateError):
            future.set_result(2)
        with self.assertRaises(InvalidStateError):
            future.set_exception(ValueError())
        failed = self.executor.submit(calls.fail)
        self.assertIsInstance(failed.exception(PATIENCE_S), RuntimeError)
        self.assertRegex(repr(failed), r"state=finished raised RuntimeError>")

    def test_cancel(self):
        """Calls that were not sent can be cancelled, and are never run. Those that were sent cannot."""
        blocked, go = self.block()
        marks = [self.path(f"mark{n}") for n in range(6)]
        futures = [self.executor.submit(calls.touch_late, mark) for mark in marks]
        told = []
        futures[0].add_done_callback(lambda future: told.append(future.cancelled()))
        self.assertEqual([future.cancel() for future in futures[:4]], [True] * 4)
        self.assertEqual(told, [True])
        self.assertTrue(futures[0].cancelled() and futures[0].done() and futures[0].cancel())
        self.assertRegex(repr(futures[0]), r"state=cancelled>")
        self.assertEqual([future.cancel() for future in blocked], [False] * len(blocked))
        with self.assertRaises(CancelledError):
            futures[0].result(0)
        with self.assertRaises(CancelledError):
            futures[0].exception(0)
        go()
        for future in futures[4:]:
            future.result(PATIENCE_S)
        self.assertEqual([os.path.exists(mark) for mark in marks], [False] * 4 + [True] * 2)

    def test_callbacks(self):
        seen = []
        everything = threading.Event()

        def bad(future):
            seen.append("bad")
            raise ValueError("a callback may fail")

        with self.assertLogs("concurrent.futures", "ERROR") as logs:
            blocked, go = self.block()
            future = self.executor.submit(calls.mul, 5, 1)
            future.add_done_callback(bad)
            future.add_done_callback(lambda future: seen.append(future.result()))
            future.add_done_callback(lambda future: everything.set())
            go()
            self.assertTrue(everything.wait(PATIENCE_S))
        self.assertIn("a callback may fail", logs.output[0])
        self.assertEqual(seen, ["bad", 5])
        future.add_done_callback(lambda future: seen.append("at once"))
        self.assertEqual(seen[-1], "at once")
        failed = self.executor.submit(calls.fail)
        failed.exception(PATIENCE_S)
        failed.add_done_callback(lambda future: seen.append(future.exception().args))
        self.assertEqual(seen[-1], (123,))

    def test_submit_from_callbacks(self):
        """A chain of calls, each submitted when the one before it has ended."""
        last = threading.Event()
        results = []

        def go_on(future):
            results.append(future.result())
            if len(results) < 50:
                self.executor.submit(calls.mul, len(results), 2).add_done_callback(go_on)
            else:
                last.set()

        self.executor.submit(calls.mul, 0, 2).add_done_callback(go_on)
        self.assertTrue(last.wait(PATIENCE_S))
        self.assertEqual(results, [2 * n for n in range(50)])

    def test_somebody_else_sets_it(self):
        """The executor bears that, too."""
        blocked, go = self.block()
        blocked[0].set_result("mine")
        go()
        self.assertEqual(blocked[0].result(), "mine")
        self.assertEqual([future.result(PATIENCE_S) for future in blocked[1:]], list(range(1, len(blocked))))


class Stop(Case):
    def test_a_call_that_runs(self):
        begun, never = self.path("begun"), self.path("never")
        future = self.executor.submit(calls.begin_and_wait, begun, never)
        until(lambda: os.path.exists(begun), "it has not begun")
        self.assertFalse(future.cancel())
        self.assertTrue(future.stop())
        error = future.exception(PATIENCE_S)
        self.assertIsInstance(error, offload.JobCancelled)
        self.assertFalse(future.cancelled())
        self.assertFalse(future.stop())
        # Its worker is free again.
        pids = [self.executor.submit(calls.begin_and_wait, self.path(n), self.path("go")) for n in "ab"]
        until(lambda: all(os.path.exists(self.path(n)) for n in "ab"), "a worker is not free")
        calls.touch(self.path("go"))
        concurrent.futures.wait(pids, PATIENCE_S)

    def test_a_call_that_waits(self):
        blocked, go = self.block()
        future = self.executor.submit(calls.touch_late, self.path("mark"))
        self.assertTrue(future.stop())
        self.assertTrue(future.cancelled())
        go()
        self.assertFalse(self.executor.submit(os.path.exists, self.path("mark")).result(PATIENCE_S))
        self.assertFalse(blocked[0].result(PATIENCE_S) is None or blocked[0].stop())

    def test_calls_that_travel_together(self):
        """Only the one that is stopped ends."""
        list(self.executor.map(calls.grow, itertools.repeat(-1, 300), range(300)))
        kind = self.executor._dispatcher.kinds["grow"]
        until(lambda: kind.cost < 0.002, "the calls are not known to be short")
        futures = [self.executor.submit(calls.grow, 150, n) for n in range(300)]
        done, left = concurrent.futures.wait(futures, 0.5)
        self.assertIn(futures[150], left)
        until(lambda: futures[150].running(), "it was not sent")
        self.assertTrue(futures[150].stop())
        self.assertIsInstance(futures[150].exception(PATIENCE_S), offload.JobCancelled)
        others = [n for n in range(300) if n != 150]
        self.assertEqual([futures[n].result(PATIENCE_S) for n in others], others)


class Asyncio(Case):
    def test_run_in_executor(self):
        async def work():
            loop = asyncio.get_running_loop()
            tasks = [loop.run_in_executor(self.executor, calls.mul, n, 2) for n in range(100)]
            results = await asyncio.gather(*tasks)
            failed = loop.run_in_executor(self.executor, calls.fail)
            with self.assertRaises(RuntimeError):
                await failed
            blocked = [loop.run_in_executor(self.executor, calls.block, self.path("go")) for _ in range(4)]
            waits = loop.run_in_executor(self.executor, calls.touch_late, self.path("mark"))
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(waits, 0.05)
            calls.touch(self.path("go"))
            await asyncio.gather(*blocked)
            await asyncio.wrap_future(self.executor.submit(abs, 1))
            return results

        self.assertEqual(asyncio.run(work()), [2 * n for n in range(100)])
        self.assertFalse(os.path.exists(self.path("mark")))

