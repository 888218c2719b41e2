"""offload.Executor when something goes wrong: objects that cannot be pickled, processes that die, initializers."""

import concurrent.futures
import multiprocessing
import os
import pickle
import shutil
import signal
import unittest
import warnings
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool

import calls
from daemon import PATIENCE_S, Scratch, until

import offload


class Faults(Scratch):
    @classmethod
    def setUpClass(cls):
        cls.executor = offload.Executor(2)
        cls.addClassCleanup(cls.executor.shutdown)

    def fails(self, kind, function, *args):
        """The call fails, and the executor goes on."""
        error = self.executor.submit(function, *args).exception(PATIENCE_S)
        self.assertIsInstance(error, kind, repr(error))
        self.assertEqual(self.executor.submit(abs, -3).result(PATIENCE_S), 3)
        return error

    def test_functions_that_cannot_be_pickled(self):
        def inner():
            pass

        error = self.fails((pickle.PicklingError, AttributeError), lambda: 1)
        self.assertIn("lambda", str(error))
        self.assertIn("inner", str(self.fails((pickle.PicklingError, AttributeError), inner)))
        with self.assertRaises((pickle.PicklingError, AttributeError)):
            list(self.executor.map(lambda n: n, [1, 2], chunksize=2))

    def test_at_the_pickling_of_arguments(self):
        error = self.fails(pickle.PicklingError, calls.identity, calls.AtPickle(calls.refuse_to_pickle))
        self.assertIn("in refuse_to_pickle", str(error.__cause__))
        self.fails(SystemExit, calls.identity, calls.AtPickle(calls.leave))
        self.fails(KeyboardInterrupt, calls.identity, calls.AtPickle(calls.raise_it, KeyboardInterrupt))

    def test_at_the_unpickling_of_arguments(self):
        self.fails(pickle.UnpicklingError, calls.identity, calls.AtUnpickle(calls.refuse_to_unpickle))
        self.fails(SystemExit, calls.identity, calls.AtUnpickle(calls.leave))
        error = self.fails(offload.WorkerLost, calls.identity, calls.AtUnpickle(calls.crash))
        self.assertIsInstance(error, BrokenProcessPool)

    def test_at_the_pickling_of_results(self):
        self.fails(pickle.PicklingError, calls.make, calls.AtPickle, calls.refuse_to_pickle)
        self.fails((SystemExit, pickle.PicklingError), calls.make, calls.AtPickle, calls.leave)
        self.fails(offload.WorkerLost, calls.make, calls.AtPickle, calls.crash)
        self.fails((pickle.PicklingError, AttributeError, TypeError), calls.make, open, os.devnull)

    def test_at_the_unpickling_of_results(self):
        self.fails(pickle.UnpicklingError, calls.make, calls.AtUnpickle, calls.refuse_to_unpickle)
        self.fails(SystemExit, calls.make, calls.AtUnpickle, calls.leave)

    def test_processes_that_die(self):
        """The call is tried again. Then it fails alone."""
        self.assertGreater(self.executor.submit(calls.kill_self_once, self.path("mark")).result(PATIENCE_S), 0)
        other = self.executor.submit(calls.wait_for, self.path("go"), 5)
        error = self.fails(offload.WorkerLost, calls.kill_self)
        self.assertEqual(error.code, "worker_crashed")
        self.assertIsInstance(error, BrokenProcessPool)
        calls.touch(self.path("go"))
        self.assertEqual(other.result(PATIENCE_S), 5)

    def test_one_of_many_that_travel_together(self):
        self.assertEqual(list(self.executor.map(calls.tiny_or_die, range(300), [-1] * 300)), list(range(300)))
        futures = [self.executor.submit(calls.tiny_or_die, n, 150) for n in range(300)]
        self.assertIsInstance(futures[150].exception(PATIENCE_S), offload.WorkerLost)
        others = [n for n in range(300) if n != 150]
        self.assertEqual([futures[n].result(PATIENCE_S) for n in others], others)

    def test_large_data(self):
        data = os.urandom(3 << 20)
        results = self.executor.map(calls.identity, [data] * 5)
        self.assertTrue(all(result == data for result in results))
        self.fails(offload.WorkerLost, calls.crash, data)
        texts = ["x" * 40_000] * 60  # small enough to travel in the JSON, and too many for an answer in one piece
        list(self.executor.map(len, range(0)))
        for _ in range(3):
            self.assertEqual(list(self.executor.map(calls.identity, texts)), texts)

    def test_shutdown_while_a_process_dies(self):
        with offload.Executor(1) as executor:
            future = executor.submit(calls.kill_self)
            executor.shutdown()
            self.assertIsInstance(future.exception(0), offload.WorkerLost)
        with offload.Executor(1) as executor:
            future = executor.submit(calls.identity, calls.AtPickle(calls.refuse_to_pickle))
            executor.shutdown(wait=False)
            self.assertIsInstance(future.exception(PATIENCE_S), pickle.PicklingError)

    def test_at_most_once(self):
        """max_attempts=1: a call that was lost is not tried again, and no call is run again because of another one."""
        with offload.Executor(1, max_attempts=1) as executor:
            self.assertIsInstance(executor.submit(calls.kill_self_once, self.path("mark")).exception(), BrokenProcessPool)
            marks = [self.path(f"mark{n}") for n in range(100)]
            futures = [executor.submit(calls.touch, mark) for mark in marks]
            lost = executor.submit(calls.kill_self)
            futures += [executor.submit(calls.touch, mark) for mark in marks]
            self.assertIsInstance(lost.exception(PATIENCE_S), BrokenProcessPool)
            concurrent.futures.wait(futures, PATIENCE_S)
            for mark in marks:
                with open(mark, encoding="utf-8") as file:
                    self.assertEqual(len(file.readlines()), 2)

    def test_the_service_is_killed(self):
        """It is started anew, and what was not answered is sent again."""
        with offload.Executor(2) as executor:
            futures = [executor.submit(calls.begin_and_wait, self.path("begun"), self.path("go"), n) for n in range(8)]
            until(lambda: os.path.exists(self.path("begun")), "it has not begun")
            first = executor._dispatcher.backend.service.pid
            os.kill(first, signal.SIGKILL)
            until(lambda: executor._dispatcher.backend.service.pid not in (first, None), "it is not started anew")
            calls.touch(self.path("go"))
            self.assertEqual([future.result(PATIENCE_S) for future in futures], list(range(8)))
            self.assertEqual(list(executor.map(calls.mul, range(500), [2] * 500)), list(range(0, 1000, 2)))

    def test_the_service_dies_at_each_attempt(self):
        with offload.Executor(1, max_attempts=2) as executor:
            future = executor.submit(calls.begin_and_wait, self.path("begun"), self.path("never"))
            for count in (1, 2):
                until(lambda count=count: self.lines("begun") == count, "it has not begun")
                os.kill(executor._dispatcher.backend.service.pid, signal.SIGKILL)
            self.assertIsInstance(future.exception(PATIENCE_S), offload.WorkerLost)
            self.assertEqual(executor.submit(abs, -1).result(PATIENCE_S), 1)

    def lines(self, name):
        try:
            with open(self.path(name), encoding="utf-8") as file:
                return len(file.readlines())
        except FileNotFoundError:
            return 0

    def test_the_service_cannot_be_started(self):
        """Only then the executor is broken: all calls fail, now and later."""
        before = os.environ.get("OFFLOADD")
        os.environ["OFFLOADD"] = shutil.which("false")
        try:
            executor = offload.Executor(1)
            futures = [executor.submit(abs, n) for n in range(5)]
            for future in futures:
                self.assertIsInstance(future.exception(PATIENCE_S), BrokenProcessPool)
            with self.assertRaises(BrokenProcessPool):
                executor.submit(abs, 1)
            executor.shutdown()
        finally:
            if before is None:
                del os.environ["OFFLOADD"]
            else:
                os.environ["OFFLOADD"] = before


class Initializers(unittest.TestCase):
    def test_initializer(self):
        with offload.Executor(2, None, calls.set_state, ("set",)) as executor:
            futures = [executor.submit(calls.get_state) for _ in range(8)]
            self.assertEqual({future.result(PATIENCE_S) for future in futures}, {"set"})

    def test_initializer_that_fails(self):
        executor = offload.Executor(2, initializer=calls.fail_to_initialize)
        futures = [executor.submit(calls.get_state) for _ in range(20)]
        for future in futures:
            error = future.exception(PATIENCE_S)
            self.assertIsInstance(error, BrokenExecutor)
            self.assertIn("error in initializer", str(error))
        with self.assertRaises(BrokenExecutor):
            executor.submit(calls.get_state)
        executor.shutdown()


class Arguments(unittest.TestCase):
    def test_what_is_refused(self):
        for positional, named, kind, text in [
            ((0,), {}, ValueError, "max_workers must be greater than 0"),
            ((-1,), {}, ValueError, "max_workers must be greater than 0"),
            ((1,), {"initializer": 3}, TypeError, "initializer must be a callable"),
            ((1,), {"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child"),
            ((1,), {"max_tasks_per_child": "3"}, TypeError, "max_tasks_per_child"),
            ((1,), {"max_attempts": 0}, ValueError, "max_attempts"),
            ((1,), {"key": "secret"}, TypeError, "key"),
            (("http://localhost:1",), {"url": "http://localhost:2"}, TypeError, "URL"),
            (("http://localhost:1",), {"initializer": print}, TypeError, "URL"),
            (("ftp://localhost:1",), {}, ValueError, "URL"),
        ]:
            with self.assertRaisesRegex(kind, text, msg=(positional, named)):
                offload.Executor(*positional, **named)

    def test_mp_context(self):
        """It is not used. That is said where it matters."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with self.assertRaisesRegex(RuntimeWarning, "mp_context"):
                offload.Executor(1, multiprocessing.get_context("fork"))
            with offload.Executor(1, multiprocessing.get_context("spawn")) as executor:
                self.assertEqual(executor.submit(abs, -1).result(PATIENCE_S), 1)

    def test_max_tasks_per_child(self):
        with offload.Executor(1, max_tasks_per_child=3) as executor:
            pids = [executor.submit(os.getpid).result(PATIENCE_S) for _ in range(7)]
        self.assertEqual([pids.count(pid) for pid in dict.fromkeys(pids)], [3, 3, 1])
        with offload.Executor(2, max_tasks_per_child=1) as executor:
            futures = [executor.submit(calls.mul, n, n) for n in range(6)]
        self.assertEqual([future.result(0) for future in futures], [n * n for n in range(6)])
