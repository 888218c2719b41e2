"""What both clients must do. test_client.py and test_async_client.py run these tests."""

import concurrent.futures
import dataclasses
import enum
import json
import os
import pickle
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time
import traceback
import unittest
from typing import Any, Optional
from unittest import mock

import offload
from daemon import Daemon, until
from peers import Proxy, Script, answer, problem

TASKS = '''
import dataclasses, enum, os, time
from typing import Any, Optional
import offload

class Colour(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: int
    y: float

@offload.task
def same(value: Any) -> Any:
    return value

@offload.task
def double(n: int) -> int:
    return 2 * n

@offload.task(name="turn-around")
def reverse(data: bytes) -> bytes:
    return data[::-1]

@offload.task
def move(point: Point, by: int = 1) -> Point:
    return Point(point.x + by, point.y)

@offload.task
def which(colour: Colour) -> Optional[Colour]:
    return colour

@offload.task
def many(count: int) -> list[int]:
    return list(range(count))

@offload.task
def boom(text: str) -> None:
    raise LookupError(text)

@offload.task
def picky(n: int) -> int:
    if n < 0:
        raise offload.InvalidParams("/n", "is below zero")
    return n

@offload.task
def die(path: str, times: int) -> int:
    """Dies in its first attempts. Returns how often."""
    if offload.attempt() < times:
        os.kill(os.getpid(), 9)
    return offload.attempt()

@offload.task
def record(path: str, n: int = 0, ms: int = 0) -> int:
    """Leaves a line for each time that it runs."""
    with open(path, "a") as file:
        file.write(f"{n}\\\\n")
    time.sleep(ms / 1000)
    return n

@offload.task
def hold(path: str) -> str:
    """Runs until the file PATH.go is there."""
    try:
        open(path + ".started", "w").close()
        while not os.path.exists(path + ".go"):
            time.sleep(0.005)
    except offload.Cancelled:
        open(path + ".cancelled", "w").close()
        raise
    return "held"
'''.replace("\\\\", "\\")


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float


def double(n: int) -> int:
    raise AssertionError("it runs at the service")


def move(point: Point, by: int = 1) -> Point:
    raise AssertionError


def which(colour: Colour) -> Optional[Colour]:
    raise AssertionError


def same(value: Any):
    raise AssertionError


@offload.task(name="turn-around")
def reverse(data: bytes) -> bytes:
    raise AssertionError


class Cases:
    """`make`: makes a client for an URL, with the interface of Client."""

    maxDiff = None
    make: Any

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--enable-test-types", "--workers", "2", "--drain-timeout", "1s", tasks=TASKS).start()
        cls.addClassCleanup(cls.daemon.__exit__)
        cls.client = cls.make(cls.daemon.url)
        cls.addClassCleanup(cls.client.close)
        cls.number = 0

    def path(self):
        """A name that no other test has."""
        type(self).number += 1
        return os.path.join(self.daemon.folder, f"{type(self).__name__}-{self.number}")

    def connect(self, url, **options):
        client = self.make(url, **options)
        self.addCleanup(client.close)
        return client

    def lines(self, path):
        with open(path, encoding="utf-8") as file:
            return file.read().split()

    def newest(self, job_type):
        status, body = self.daemon.ask("GET", f"/v1/jobs?limit=1&type={job_type}")
        self.assertEqual(status, 200)
        return json.loads(body)["jobs"][0]

    def is_cancelled(self, job_type):
        until(lambda: self.newest(job_type)["status"] == "cancelled", f"the job of {job_type} is not cancelled")

    # ---- values ----

    def test_values_by_name(self):
        for value in [
            None,
            True,
            0,
            -5,
            2**53 - 1,
            0.5,
            "",
            "ä\0\ud7ff",
            [],
            {},
            [1, "2", [None]],
            {"a": {"b": [1.5]}},
        ]:
            self.assertEqual(self.client.run("same", {"value": value}), value)
        for value, expected in [
            (2**53, "9007199254740992"),
            (-(2**100), str(-(2**100))),
            (float("inf"), "Infinity"),
            (b"\xff\x00", "/wA="),
            ((1, 2), [1, 2]),
            ({3}, [3]),
            (Point(2**60, 0.5), {"x": str(2**60), "y": 0.5}),
            (Colour.RED, "red"),
            ([2**53, b"a"], ["9007199254740992", "YQ=="]),
            ({1: range(2)}, {"1": [0, 1]}),
        ]:
            self.assertEqual(self.client.run("same", {"value": value}), expected)

    def test_values_by_function(self):
        self.assertEqual(self.client.run(double, {"n": 2**70}), 2**71)
        self.assertEqual(self.client.run(move, {"point": Point(2**60, float("-inf"))}), Point(2**60 + 1, float("-inf")))
        self.assertEqual(self.client.run(which, {"colour": Colour.RED}), Colour.RED)
        self.assertEqual(self.client.run(reverse, {"data": b"\x00\xffa"}), b"a\xff\x00")
        self.assertEqual(self.client.run(same, {"value": 2**60}), str(2**60))  # its annotation says nothing
        self.assertEqual(self.client.submit(reverse, {"data": b"ab"}).result(), b"ba")
        self.assertEqual(list(self.client.map(reverse, [{"data": b"ab"}, {"data": b""}])), [b"ba", b""])
        self.assertEqual(list(self.client.map(double, columns={"n": [1, 2**60]})), [2, 2**61])

    def test_numpy(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        self.assertEqual(self.client.run("double", {"n": numpy.int64(21)}), 42)
        self.assertEqual(list(self.client.map("double", columns={"n": numpy.arange(3)})), [0, 2, 4])
        array = numpy.array([[1.5, 2]])
        found: numpy.ndarray = self.client.run(_array, {"value": array})
        self.assertTrue((found == array).all())
        rows = list(self.client.map(_array, columns={"value": array}))
        self.assertTrue((rows[0] == array[0]).all())

    def test_what_json_cannot_hold(self):
        for params, text in [
            ({"value": object()}, "JSON cannot hold parameter value: it is of the type object"),
            ({"value": [1, {"a": 1j}]}, "parameter value: at /1/a it is of the type complex"),
            ({"value": "\ud800"}, "JSON cannot hold the parameters"),
            ({1: 2}, "the name of a parameter is a string"),
            ([1], "a dict of names and values, not list"),
        ]:
            with self.assertRaisesRegex(TypeError, text):
                self.client.run("same", params)
        with self.assertRaisesRegex(TypeError, "item 1: parameter n"):
            list(self.client.map("double", [{"n": 1}, {"n": object()}]))
        with self.assertRaisesRegex(TypeError, "a job type is a name"):
            self.client.run(3, {})
        for wrong in ({}, {"columns": {}, "params": []}):
            with self.assertRaisesRegex(TypeError, "or columns"):
                list(self.client.map("double", **wrong))

    def test_large_params_and_results(self):
        text = "x" * 3_000_000
        self.assertEqual(self.client.run("same", {"value": text}), text)
        self.assertEqual(self.client.run("many", {"count": 100_000}), list(range(100_000)))
        self.assertEqual(self.client.submit("many", {"count": 100_000}).result(), list(range(100_000)))

    # ---- errors ----

    def test_a_task_that_raises(self):
        job = self.client.submit("boom", {"text": "not here"})
        for call in (
            lambda: self.client.run("boom", {"text": "not here"}),
            job.result,
            lambda: self.client.get(job.id),
            lambda: list(self.client.map("boom", [{"text": "not here"}])),
        ):
            with self.assertRaises(offload.TaskError) as caught:
                call()
            error = caught.exception
            self.assertEqual((error.code, error.status, error.exception), ("handler_failed", 500, "LookupError"))
            self.assertEqual((error.detail, str(error)), ("not here", "LookupError: not here"))
            self.assertIsInstance(error.__cause__, offload.RemoteTraceback)
            self.assertIn("raise LookupError(text)", str(error.__cause__))
        self.assertEqual(job.status, "failed")

    def test_wrong_params(self):
        for call, pointer in [
            (lambda: self.client.run("double", {"n": "many"}), "/n"),
            (lambda: self.client.run("double", {}), ""),
            (lambda: self.client.run("move", {"point": {"x": 1, "y": []}}), "/point/y"),
            (lambda: self.client.run("picky", {"n": -1}), "/n"),
            (lambda: self.client.submit("picky", {"n": -1}).result(), "/n"),
            (lambda: self.client.submit("double", {"m": 1}), "/m"),
            (lambda: list(self.client.map("picky", [{"n": 1}, {"n": -1}])), "/n"),
            (lambda: list(self.client.map("picky", columns={"n": [1, -1]})), "/n"),
            (lambda: list(self.client.map("move", columns={"point": [{"x": 1, "y": []}]})), "/point/y"),
            (lambda: list(self.client.map("double", columns={"m": [1]})), "/m"),
            (lambda: self.client.run("double", {"n": 1}, priority=9), "/options/priority"),
        ]:
            with self.assertRaises(offload.InvalidParams) as caught:
                call()
            self.assertEqual((caught.exception.pointer, caught.exception.problem["code"]), (pointer, "invalid_params"))
            self.assertTrue(caught.exception.why)

    def test_what_the_service_refuses(self):
        with self.assertRaises(offload.HTTPError) as caught:
            self.client.run("doubel", {"n": 1})
        self.assertEqual((caught.exception.status, caught.exception.code), (422, "unknown_type"))
        self.assertIn('no job type "doubel"', str(caught.exception))
        for call in (self.client.job, self.client.get):
            for name in ("01890000-0000-7000-8000-000000000000", "../types", "a b\r\n"):
                with self.assertRaises(offload.HTTPError) as caught:
                    call(name)
                self.assertEqual((caught.exception.status, caught.exception.code), (404, "not_found"))

    def test_ways_to_end(self):
        with self.assertRaises(offload.WorkerLost) as caught:
            self.client.run("die", {"path": "", "times": 9}, max_attempts=2)
        self.assertIsInstance(caught.exception, concurrent.futures.process.BrokenProcessPool)
        self.assertEqual((caught.exception.code, caught.exception.exception), ("worker_crashed", ""))
        with self.assertRaises(offload.JobTimeout) as caught:
            self.client.run("sleep", {"ms": 60_000}, timeout=0.05)
        self.assertIsInstance(caught.exception, TimeoutError)
        self.assertEqual((caught.exception.code, caught.exception.status), ("job_timeout", 504))
        job = self.client.submit("sleep", {"ms": 60_000})
        self.assertTrue(job.cancel())
        self.assertFalse(self.client.submit("double", {"n": 1}).cancel() and job.status != "cancelled")
        with self.assertRaises(offload.JobCancelled) as caught:
            job.result()
        self.assertEqual((caught.exception.code, caught.exception.job_id), ("cancelled", job.id))

    def test_errors_can_be_pickled(self):
        found = list(self.client.map("boom", [{"text": "a"}], return_exceptions=True))
        for error in [
            *found,
            offload.WorkerLost({"code": "worker_crashed", "status": 500, "detail": "it died"}, "id"),
            offload.JobTimeout({"code": "job_timeout", "status": 504, "detail": "it took too long"}, "id"),
            offload.JobCancelled({"code": "cancelled"}, "id"),
            offload.HTTPError({"code": "gone", "status": 410}),
            offload.Unavailable({"code": "draining", "status": 503}),
            offload.InvalidParams("/n", "is wrong"),
        ]:
            again = pickle.loads(pickle.dumps(error))
            self.assertEqual((type(again), str(again), vars(again)), (type(error), str(error), vars(error)))

    # ---- jobs ----

    def test_job(self):
        path = self.path()
        job = self.client.submit("hold", {"path": path}, priority=1, ttl=60)
        until(lambda: os.path.exists(path + ".started"), "it does not start")
        again = self.client.job(job.id)
        self.assertEqual((again.id, again.status, again.document["priority"]), (job.id, "running", 1))
        for timeout in (0, 0.01, -1):
            with self.assertRaises(TimeoutError):
                job.result(timeout)
        with self.assertRaises(TimeoutError):
            self.client.get(job.id, timeout=0)
        open(path + ".go", "w").close()
        self.assertEqual((job.result(60), again.result(), self.client.get(job.id)), ("held",) * 3)
        self.assertEqual((job.result(0), job.status, job.refresh().document["result"]), ("held", "succeeded", "held"))
        self.assertIn(f"{job.id} succeeded>", repr(job))
        self.assertFalse(job.cancel())

    def test_options(self):
        job = self.client.submit("same", {"value": 1}, delay=60, timeout=1.5, queue_timeout=None, max_attempts=1)
        self.assertEqual((job.status, job.document["waiting_for"]), ("queued", "delay"))
        self.assertTrue(job.cancel())
        with self.assertRaisesRegex(TypeError, "no option 'timeout_ms'; there are timeout, "):
            self.client.run("same", {"value": 1}, timeout_ms=5)
        for wrong in ("5", -1, float("inf"), True):
            with self.assertRaisesRegex(ValueError, "a number of seconds"):
                self.client.run("same", {"value": 1}, timeout=wrong)
        jobs = [self.client.submit("same", {"value": 1}, idempotency_key="mine") for _ in range(2)]
        self.assertEqual(jobs[0].id, jobs[1].id)
        with self.assertRaises(offload.HTTPError) as caught:
            self.client.submit("same", {"value": 2}, idempotency_key="mine")
        self.assertEqual(caught.exception.code, "idempotency_mismatch")

    def test_types(self):
        types = {entry["name"]: entry for entry in self.client.types()}
        self.assertEqual(types["double"]["params"]["required"], ["n"])
        self.assertIn("primes", types)

    def test_events(self):
        job = self.client.submit("sleep", {"ms": 20})
        events = list(job.events())
        self.assertEqual(events[-1].name, "end")
        self.assertEqual((events[-1].data["id"], events[-1].data["status"]), (job.id, "succeeded"))
        names = [event.name for event in self.client.submit("record", {"path": self.path()}, delay=0.2).events()]
        self.assertEqual((names[0], names[-1]), ("status", "end"))
        self.assertEqual(names.count("end"), 1)
        with self.assertRaises(offload.HTTPError):
            job.id = "01890000-0000-7000-8000-000000000000"
            list(job.events())

    # ---- maps ----

    def test_map(self):
        self.assertEqual(list(self.client.map("double", [{"n": n} for n in range(1000)])), list(range(0, 2000, 2)))
        self.assertEqual(list(self.client.map("double", ({"n": n} for n in range(3)))), [0, 2, 4])
        self.assertEqual(list(self.client.map("double", columns={"n": range(1000)})), list(range(0, 2000, 2)))
        self.assertEqual(list(self.client.map("double", columns={"n": iter([1, 2])})), [2, 4])
        both = self.client.map("move", columns={"point": [{"x": 1, "y": 0}, {"x": 2, "y": 0}], "by": 5})
        self.assertEqual([point["x"] for point in both], [6, 7])
        self.assertEqual(list(self.client.map("double", [])), [])
        self.assertEqual(list(self.client.map("double", columns={"n": []})), [])
        sleeps = [{"ms": ms} for ms in (200, 1, 100, 1)]  # in order, whatever ends first
        self.assertEqual(list(self.client.map("sleep", sleeps, chunks=4)), sleeps)

    def test_map_with_bad_items(self):
        params = [{"n": 1}, {"n": "x"}, {}, {"n": -1}, {"n": 5}]
        for given in ({"params": params}, {"columns": {"n": [1, "x", None, -1, 5]}}):
            found = list(self.client.map("picky", return_exceptions=True, **given))
            self.assertEqual((found[0], found[4]), (1, 5))
            self.assertEqual([type(error) for error in found[1:4]], [offload.InvalidParams] * 3)
            self.assertEqual((found[1].pointer, found[3].pointer, found[3].why), ("/n", "/n", "is below zero"))
            seen = []
            with self.assertRaises(offload.InvalidParams):
                for value in self.client.map("picky", **given):
                    seen.append(value)
            self.assertEqual(seen, [1])
        times = [{"path": "", "times": times} for times in (0, 99, 0)]
        found = list(self.client.map("die", times, return_exceptions=True))
        self.assertEqual([type(value) for value in found], [int, offload.WorkerLost, int])

    def test_an_item_that_raises_cancels_the_rest(self):
        path = self.path()
        with self.assertRaises(offload.InvalidParams):
            for _ in self.client.map("hold", [{"path": 1}, {"path": path}], chunks=2):
                self.fail("there is no result")
        self.is_cancelled("hold")

    def test_who_leaves_a_map_cancels_it(self):
        path = self.path()
        open(path + "a.go", "w").close()
        results = self.client.map("hold", [{"path": path + "a"}, {"path": path + "b"}], chunks=2)
        for value in results:
            self.assertEqual(value, "held")
            break
        results.close()
        self.is_cancelled("hold")

    # ---- trouble ----

    def test_a_lost_answer_runs_once(self):
        for times in (1, 3):
            path = self.path()
            with Proxy(self.daemon, times=times) as proxy:
                client = self.connect(proxy.url)
                self.assertEqual(client.run("record", {"path": path, "n": 1}), 1)
                self.assertEqual((self.lines(path), proxy.cuts), (["1"], times))
                proxy.cuts = 0
                self.assertEqual(client.submit("record", {"path": path, "n": 2}).result(), 2)
                self.assertEqual((self.lines(path), proxy.cuts), (["1", "2"], times))
                proxy.cuts = 0
                self.assertTrue(client.submit("sleep", {"ms": 60_000}).cancel())
                self.assertEqual(proxy.cuts, times)
                keys = {line for data in proxy.requests for line in data.split(b"\r\n") if b"Idempotency-Key" in line}
                self.assertEqual(len(keys), 3)

    def test_a_map_that_is_cut_goes_on(self):
        for given in ("params", "columns"):
            for passes in (0, 100, 1000, 3000):
                path = self.path()
                params = [{"path": path, "n": n, "ms": 2} for n in range(100)]
                columns = {"path": path, "n": range(100), "ms": 2}
                with Proxy(self.daemon, passes=passes, times=3) as proxy:
                    client = self.connect(proxy.url)
                    found = client.map("record", **({"columns": columns} if given == "columns" else {"params": params}))
                    self.assertEqual(list(found), list(range(100)))
                    self.assertEqual(proxy.cuts, 3)
                self.assertEqual(sorted(map(int, self.lines(path))), list(range(100)))

    def test_events_that_are_cut_are_resumed(self):
        """Each event comes once, wherever the stream is cut."""
        path = self.path()
        items = [{"path": f"{path}-{n}"} for n in range(20)]
        for item in items[:-1]:
            open(item["path"] + ".go", "w").close()
        body = json.dumps({"type": "hold", "items": items, "options": {"chunks": 20}})
        with Proxy(self.daemon, passes=1 << 30, times=5) as proxy:
            _, document = self.daemon.ask("POST", "/v1/jobs", body, Prefer="respond-async")
            follower, events = self.connect(proxy.url).job(json.loads(document)["id"]), []
            proxy.passes = 700
            for event in follower.events():
                events.append(event)
                if sum(e.name == "item" for e in events) == 19:
                    open(items[-1]["path"] + ".go", "w").close()
            self.assertEqual(proxy.cuts, 5)
        self.assertEqual(sorted(e.data["index"] for e in events if e.name == "item"), list(range(20)))
        ids = [event.id for event in events]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(events[-1].name, "end")

    def test_a_process_that_is_killed(self):
        self.assertEqual(self.client.run("die", {"path": "", "times": 2}), 2)
        job = self.client.submit("die", {"path": "", "times": 1})
        self.assertEqual((job.result(), job.document["attempts"]), (1, 2))

    def test_a_service_that_restarts(self):
        """kill -9 while a client waits for run, for map, and for a Job."""
        with Daemon("--workers", "4", tasks=TASKS, durable=True) as daemon:
            path = self.path()
            job = self.connect(daemon.url).submit("hold", {"path": path + "j"})

            def on_its_own(call):
                client = self.make(daemon.url)
                try:
                    return call(client)
                finally:
                    client.close()

            def map_two(client):
                open(path + "a.go", "w").close()
                return list(client.map("hold", [{"path": path + "a"}, {"path": path + "b"}], chunks=2))

            with concurrent.futures.ThreadPoolExecutor(3) as threads:
                run = threads.submit(on_its_own, lambda client: client.run("hold", {"path": path + "r"}))
                mapped = threads.submit(on_its_own, map_two)
                waited = threads.submit(on_its_own, lambda client: client.get(job.id))
                for name in "jrab":
                    until(lambda n=name: os.path.exists(path + n + ".started"), "it does not start")
                daemon.end(signal.SIGKILL)
                daemon.start()
                for name in "jrb":
                    open(path + name + ".go", "w").close()
                self.assertEqual(run.result(60), "held")
                self.assertEqual(mapped.result(60), ["held", "held"])
                self.assertEqual(waited.result(60), "held")
            self.assertEqual(len(json.loads(daemon.ask("GET", "/v1/jobs")[1])["jobs"]), 3)

    def test_a_service_that_starts_later(self):
        with Daemon(tasks=TASKS, unix=True) as daemon:
            self.assertEqual(self.connect(daemon.url).run("double", {"n": 1}), 2)
            daemon.end()
            with self.assertRaises(offload.Unavailable) as caught:
                self.connect(daemon.url, retry_for=0).run("double", {"n": 1})
            self.assertEqual((caught.exception.status, caught.exception.code), (0, "unreachable"))
            self.assertIsInstance(caught.exception.__cause__, OSError)
            starter = threading.Timer(0.2, daemon.start)
            starter.start()
            try:
                self.assertEqual(self.connect(daemon.url).run("double", {"n": 2}), 4)
            finally:
                starter.join()

    def test_a_silent_service(self):
        """One that is busy is waited for, and one that has stopped is not."""
        path = self.path()
        with mock.patch("offload._api.QUIET_S", 0.2):
            timer = threading.Timer(1, lambda: open(path + ".go", "w").close())
            timer.start()
            self.assertEqual(self.connect(self.daemon.url, retry_for=0).run("hold", {"path": path}), "held")
            timer.join()
        with Daemon(tasks=TASKS) as daemon:
            client = self.connect(daemon.url, retry_for=0)
            os.kill(daemon.pid, signal.SIGSTOP)
            try:
                with mock.patch("offload._api.QUIET_S", 0.2), mock.patch("offload._api.PROBE_S", 0.2):
                    with self.assertRaises(offload.Unavailable):
                        client.run("double", {"n": 1})
            finally:
                os.kill(daemon.pid, signal.SIGCONT)

    def test_a_full_queue(self):
        with Daemon("--workers", "1", "--max-queue", "2", tasks=TASKS) as daemon:
            client, path = self.connect(daemon.url), self.path()
            running = client.submit("hold", {"path": path})
            until(lambda: os.path.exists(path + ".started"), "it does not start")
            queued = client.submit("same", {"value": 1})
            with self.assertRaises(offload.Unavailable) as caught:
                self.connect(daemon.url, retry_for=0).submit("same", {"value": 2})
            self.assertEqual((caught.exception.status, caught.exception.code), (429, "queue_full"))
            timer = threading.Timer(0.2, lambda: open(path + ".go", "w").close())
            timer.start()
            self.assertEqual(client.run("same", {"value": 3}), 3)  # it is sent again
            self.assertEqual((running.result(), queued.result()), ("held", 1))
            timer.join()

    def test_too_many_who_wait(self):
        """Maps and runs are answered 202 then."""
        with Daemon("--workers", "2", "--max-sync", "1", tasks=TASKS) as daemon:
            client, path = self.connect(daemon.url), self.path()
            body = json.dumps({"type": "hold", "params": {"path": path}})
            waits = threading.Thread(target=daemon.ask, args=("POST", "/v1/jobs", body))
            waits.start()
            until(lambda: os.path.exists(path + ".started"), "it does not start")
            self.assertEqual(client.run("double", {"n": 1}), 2)
            self.assertEqual(list(client.map("double", [{"n": 1}, {"n": 2}])), [2, 4])
            found = list(client.map("picky", columns={"n": [1, -1]}, return_exceptions=True))
            self.assertEqual((found[0], found[1].pointer), (1, "/n"))
            found = list(client.map("boom", [{"text": "a"}], return_exceptions=True))
            self.assertEqual(found[0].detail, "a")
            open(path + ".go", "w").close()
            waits.join()

    def test_a_body_that_is_too_large(self):
        with Daemon("--max-body", "64KiB", tasks=TASKS) as daemon:
            client = self.connect(daemon.url)
            for size in (70_000, 5_000_000):
                with self.assertRaises(offload.HTTPError) as caught:
                    client.run("same", {"value": "x" * size})
                self.assertEqual((caught.exception.status, caught.exception.code), (413, "body_too_large"))
            self.assertEqual(client.run("double", {"n": 1}), 2)

    def test_retry_after(self):
        job = '{"id":"1","status":"succeeded","result":7}'
        for refusal in (
            problem(503, "starting", Retry_After=1),
            problem(429, "queue_full", Retry_After=1),
            problem(429, "over_quota", Retry_After=1),
        ):
            with Script(refusal, answer(200, job)) as peer:
                self.assertEqual(self.connect(peer.url, key="secret").run("x", {}), 7)
            (first, body, begun), (second, again, ended) = peer.requests
            self.assertGreaterEqual(ended - begun, 1)
            self.assertEqual((first, body), (second, again))
            self.assertIn("\r\nAuthorization: Bearer secret\r\n", first)
            self.assertIn("\r\nIdempotency-Key: ", first)
        with Script(problem(503, "starting", Retry_After=3600)) as peer:
            begun = time.monotonic()
            with self.assertRaises(offload.Unavailable):  # at once: it would be too long
                self.connect(peer.url).run("x", {})
            self.assertEqual(len(peer.requests), 1)
        with Script(answer(502, "<html>", "text/html"), answer(200, job)) as peer:
            self.assertEqual(self.connect(peer.url).run("x", {}), 7)

    def test_the_key(self):
        job = answer(200, '{"id":"1","status":"succeeded","result":7}')
        with Script(job) as peer, mock.patch.dict(os.environ, {"OFFLOAD_API_KEY": "from-outside"}):
            self.assertEqual(self.connect(peer.url).run("x", {}), 7)
            self.assertEqual(self.connect(peer.url, key="mine").run("x", {}), 7)
            os.environ["OFFLOAD_API_KEY"] = ""
            self.assertEqual(self.connect(peer.url).run("x", {}), 7)
            keys = [re.findall(r"\r\nAuthorization: (.*)\r\n", first) for first, *_ in peer.requests]
            self.assertEqual(keys, [["Bearer from-outside"], ["Bearer mine"], []])
            for wrong in ("", "se cret", "secret\r\nX-Y: z", "secret\0", "sécret", "secret" * 1000):
                with self.assertRaises(ValueError) as caught:
                    self.make(peer.url, key=wrong)
                self.assertNotIn("cret", str(caught.exception))
            self.assertEqual(len(peer.requests), 3)

    def test_who_is_not_let_in(self):
        """It is told at once, and the key is not in what is told."""
        for status, code in ((401, "unauthorized"), (403, "forbidden")):
            with Script(problem(status, code)) as peer:
                with self.assertRaises(offload.HTTPError) as caught:
                    self.connect(peer.url, key="secret").run("x", {})
                self.assertEqual((caught.exception.status, caught.exception.code), (status, code))
                self.assertNotIn("secret", "".join(traceback.format_exception(caught.exception)))
                self.assertEqual(len(peer.requests), 1)

    def test_the_key_goes_nowhere_else(self):
        job = answer(200, '{"id":"1","status":"succeeded","result":7}')
        with Script(job) as other, Script(answer(307, "", Location=other.url + "/v1/jobs")) as peer:
            with self.assertRaises(offload.OffloadError):
                self.connect(peer.url, key="secret").run("x", {})
            self.assertEqual((len(peer.requests), len(other.requests)), (1, 0))

    @unittest.skipUnless(shutil.which("openssl"), "there is no openssl to make a certificate with")
    def test_https(self):
        path = self.path()
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=offload"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path + ".key", "-out", path + ".pem"]
        subprocess.run(command, check=True, capture_output=True)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(path + ".pem", path + ".key")
        job = answer(200, '{"id":"1","status":"succeeded","result":7}')
        with Script(job, tls=server) as peer, mock.patch.dict(os.environ):
            with self.assertRaises(offload.Unavailable) as caught:  # at once: it will not get better
                self.connect(peer.url).run("x", {})
            self.assertIsInstance(caught.exception.__cause__, ssl.SSLCertVerificationError)
            os.environ["SSL_CERT_FILE"] = path + ".pem"
            client = self.connect(peer.url)
            self.assertEqual([client.run("x", {}) for _ in range(3)], [7, 7, 7])
            self.assertEqual(len(peer.requests), 3)
            with self.assertRaises(offload.Unavailable):
                self.connect(peer.url.replace("https:", "http:"), retry_for=0).run("x", {})
            del os.environ["SSL_CERT_FILE"]
            self.assertEqual(self.connect(peer.url, ca=path + ".pem").run("x", {}), 7)
            os.environ["OFFLOAD_CA"] = path + ".pem"
            self.assertEqual(self.connect(peer.url).run("x", {}), 7)
            for wrong, fault in ((path + ".none", FileNotFoundError), (path + ".key", ValueError)):
                with self.assertRaisesRegex(fault, re.escape(wrong)):
                    self.make(peer.url, ca=wrong)
        server.load_verify_locations(path + ".pem")  # it wants a certificate of its clients, and takes its own
        server.verify_mode = ssl.CERT_REQUIRED
        with Script(job, tls=server) as peer:
            files = {"ca": path + ".pem", "cert": path + ".pem", "cert_key": path + ".key"}
            self.assertEqual(self.connect(peer.url, **files).run("x", {}), 7)
            self.assertEqual(len(peer.requests), 1)
            with self.assertRaises(offload.Unavailable):
                self.connect(peer.url, ca=path + ".pem", retry_for=0).run("x", {})
            with self.assertRaises(ValueError):  # without its key
                self.make(peer.url, ca=path + ".pem", cert=path + ".pem")
            self.assertEqual(len(peer.requests), 1)

    def test_hostile_answers(self):
        ok = '{"id":"1","status":"succeeded","result":7}'
        ndjson = "application/x-ndjson"
        for text in [
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
            answer(200, "no JSON"),
            answer(200, "[" * 100_000),
            answer(200, '{"id":5,"status":"succeeded"}'),
            answer(200, ok, "text/html"),
            answer(301, "", Location="http://127.0.0.1:1/"),
            answer(404, "<html>", "text/html"),
            answer(422, '{"code":"invalid_params","errors":[7]}', "application/problem+json"),
            answer(500, '{"code":["a"],"job":{}}', "application/problem+json"),
            answer(200, '{"index":5,"status":"succeeded","result":1}\n', ndjson),
            answer(200, '{"index":-1,"status":"succeeded","result":1}\n', ndjson),
            answer(200, '{"index":true,"status":"succeeded","result":1}\n', ndjson),
            answer(200, "7\n", ndjson),
            answer(200, "1],[2\n", ndjson),
            answer(200, '{"summary":{}}\n', ndjson),
            answer(200, '{"error":{"code":"cancelled","job":7}}\n', ndjson),
        ]:
            with Script(text) as peer:
                client = self.connect(peer.url, retry_for=0)
                for call in (
                    lambda c=client: c.run("x", {}, timeout=1),
                    lambda c=client: c.submit("x", {}).status,
                    lambda c=client: list(c.map("x", [{}])),
                    lambda c=client: c.types(),
                    lambda c=client: list(c.job("1").events()),
                ):
                    try:
                        self.assertEqual(call(), 7 if text == ok else "succeeded")
                    except (offload.OffloadError, offload.InvalidParams):
                        pass

    def test_embed(self):
        import numpy

        client = self.connect(self.daemon.url)
        texts = ["one text", "zwei Texte", "три текста"]
        job = client.run("embeddings", {"input": texts})
        vectors = client.embed(texts)
        self.assertEqual((vectors.shape, vectors.dtype), ((3, 384), numpy.float32))
        self.assertTrue(numpy.array_equal(vectors, numpy.array(job["embeddings"], numpy.float32)))
        self.assertTrue(vectors.flags.writeable)
        one = client.embed(texts[1], "hash-384", dimensions=20)
        self.assertEqual(one.shape, (20,))
        self.assertTrue(numpy.array_equal(one, client.embed(iter(texts), dimensions=20)[1]))
        self.assertAlmostEqual(float(numpy.linalg.norm(one)), 1, 6)
        plain = client.embed("a a a", normalize=False)
        self.assertGreater(float(numpy.linalg.norm(plain)), 1.5)
        self.assertEqual(client.embed([]).shape, (0, 0))
        self.assertEqual(client.embed((), dimensions=5).shape, (0, 5))
        long = "word " * 9000
        self.assertTrue(numpy.isfinite(client.embed(long, truncate=True)).all())

    def test_embed_many(self):
        """More than one job takes; the order stays, and the errors name the texts."""
        import numpy

        client = self.connect(self.daemon.url)
        texts = [f"text number {i}" for i in range(250)]
        whole = client.embed(texts, dimensions=8)
        with mock.patch("offload._embed.JOB_TEXTS", 100), mock.patch("offload._embed.JOB_CHARACTERS", 500):
            self.assertTrue(numpy.array_equal(client.embed(texts, dimensions=8, idempotency_key="many"), whole))
            self.assertTrue(numpy.array_equal(client.embed(texts, dimensions=8, idempotency_key="many"), whole))
            for wrong in (0, 131, 249):
                with self.assertRaises(offload.InvalidParams) as caught:
                    client.embed([*texts[:wrong], "", *texts[wrong + 1 :]])
                self.assertEqual(caught.exception.pointer, f"/input/{wrong}")
                self.assertIn(f"/input/{wrong}", str(caught.exception))

    def test_embed_faults(self):
        client = self.connect(self.daemon.url)
        with self.assertRaises(offload.InvalidParams) as caught:
            client.embed("")
        self.assertEqual(caught.exception.pointer, "/input")
        with self.assertRaises(offload.InvalidParams) as caught:
            client.embed("a", "no such model")
        self.assertEqual(caught.exception.pointer, "/model")
        for texts in (["a", 5], 5, [["a"]], [b"a"], None):
            with self.assertRaises(TypeError):
                client.embed(texts)
        with mock.patch.dict("sys.modules", {"numpy": None}), self.assertRaisesRegex(ImportError, "pip install numpy"):
            client.embed("a")
        for result in ("7", "{}", '{"dimensions":1,"embeddings":["?"]}', '{"dimensions":2,"embeddings":["AACAPw=="]}'):
            text = answer(200, '{"id":"1","status":"succeeded","result":%s}' % result)
            with Script(text) as peer, self.assertRaises(offload.HTTPError):
                self.connect(peer.url, retry_for=0).embed("a")

    def test_many_connections_in_a_row(self):
        """The connection is used again, also after answers that are errors."""
        client = self.connect(self.daemon.url)
        for n in range(50):
            self.assertEqual(client.run("double", {"n": n}), 2 * n)
            with self.assertRaises(offload.InvalidParams):
                client.run("double", {})
            self.assertEqual(list(client.map("double", [{"n": n}])), [2 * n])
            self.assertEqual(self.idle(client), 1)


try:
    import numpy

    def _array(value: numpy.ndarray) -> numpy.ndarray:
        raise AssertionError

    _array.__name__ = "same"
except ImportError:
    pass
