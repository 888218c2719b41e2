"""offload.Executor with the URL of a service that runs."""

import concurrent.futures
import functools
import http.server
import json
import os
import re
import signal
import tempfile
import threading
import unittest
from concurrent.futures.process import BrokenProcessPool
from typing import Literal
from unittest import mock

from daemon import PATIENCE_S, Daemon, Scratch, until

import offload
from offload._dispatch import Pending

TASKS = '''
import offload, os, time
from typing import Literal

@offload.task
def add(a: int, b: int = 1) -> int:
    return a + b

@offload.task(name="other-name")
def renamed(data: bytes, kind: Literal["up", "down"] = "up") -> bytes:
    return data.upper() if kind == "up" else data.lower()

@offload.task
def fail(text: str) -> None:
    raise KeyError(text)  # this comment is in the traceback

@offload.task
def wait_for(path: str) -> float:
    offload.progress(1, 2)
    while not os.path.exists(path):
        time.sleep(0.005)
    return float("inf")

@offload.task
def twice(text: str) -> str:
    return 2 * text

@offload.task
def members(a: int, **more: int) -> dict:
    return {"a": a, **more}
'''


# The same functions as a client has them: they are not called here.


@offload.task
def add(a: int, b: int = 1) -> int: ...


@offload.task(name="other-name")
def renamed(data: bytes, kind: Literal["up", "down"] = "up") -> bytes: ...


def fail(text: str) -> None: ...


def wait_for(path: str) -> float: ...


def twice(text): ...


def members(a: int, **more: int) -> dict: ...


def several(*numbers): ...


class Url(Scratch):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--workers", "2", tasks=TASKS)
        cls.daemon.start()
        cls.addClassCleanup(cls.daemon.__exit__)
        cls.executor = offload.Executor(cls.daemon.url)
        cls.addClassCleanup(cls.executor.shutdown)

    def setUp(self):
        super().setUp()
        self.addCleanup(until, lambda: not self.executor._dispatcher.parcels, "a call has not ended")

    def metric(self, name):
        text = self.daemon.ask("GET", "/metrics")[1].decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))

    def test_functions_and_names(self):
        for function, args, named, result in [
            (add, (2,), {}, 3),
            (add, (2, 5), {}, 7),
            (add, (2,), {"b": 5}, 7),
            (add, (), {"b": 5, "a": 1}, 6),
            (add, (2**80,), {}, 2**80 + 1),
            ("add", (2, 5), {}, 7),
            ("add", (2,), {"b": 9}, 11),
            ("add", (), {"a": 2}, 3),
            ("add", (2**80,), {}, str(2**80 + 1)),  # nobody knows that it is an int
            (renamed, (b"abC\xff",), {}, b"ABC\xff"),
            (renamed, (b"abC",), {"kind": "down"}, b"abc"),
            ("other-name", ("YWI=", "up"), {}, b"AB"),
            (members, (1,), {"x": 2, "y": 3}, {"a": 1, "x": 2, "y": 3}),
            ("sum", (0, 10), {"power": 2}, {"count": 10, "sum": "285"}),
        ]:
            with self.subTest(function=function, args=args, named=named):
                self.assertEqual(self.executor.submit(function, *args, **named).result(PATIENCE_S), result)
        self.assertEqual(list(self.executor.map(add, range(5), range(5), chunksize=3)), [0, 2, 4, 6, 8])
        self.assertEqual(list(self.executor.map("add", range(5), buffersize=2)), [1, 2, 3, 4, 5])

    def test_calls_that_are_wrong(self):
        for function, args, named, kind, text in [
            (add, (), {}, TypeError, "missing a required argument: 'a'"),
            (add, (1, 2, 3), {}, TypeError, "too many positional"),
            (add, (1,), {"a": 2}, TypeError, "multiple values"),
            (add, (object(),), {}, TypeError, "parameter a"),
            (add, ("many",), {}, offload.InvalidParams, "/a"),
            ("add", (1, 2, 3), {}, TypeError, "2 parameters, and 3"),
            ("add", (1,), {"a": 2}, TypeError, "multiple values"),
            ("add", (), {"c": 2}, offload.InvalidParams, "c"),
            ("no-such-type", (), {}, offload.HTTPError, "unknown_type"),
            ("no-such-type", (1,), {}, offload.HTTPError, "not_found"),
            (several, (1,), {}, TypeError, "numbers"),
            (functools.partial(add, 1), (), {}, TypeError, "job type"),
            (5, (), {}, TypeError, "job type"),
        ]:
            with self.subTest(function=function, args=args, named=named):
                error = self.executor.submit(function, *args, **named).exception(PATIENCE_S)
                self.assertIsInstance(error, kind)
                self.assertIn(text, str(error))

    def test_a_task_that_fails(self):
        error = self.executor.submit(fail, "x").exception(PATIENCE_S)
        self.assertIs(type(error), offload.TaskError)
        self.assertEqual((error.exception, error.code), ("KeyError", "handler_failed"))
        self.assertIsInstance(error.__cause__, offload.RemoteTraceback)
        self.assertIn("# this comment is in the traceback", str(error.__cause__))

    def test_many_calls(self):
        """They travel together. What is wrong with one of them concerns that one alone."""
        self.assertEqual(list(self.executor.map(add, range(50))), list(range(1, 51)))
        before = self.metric("offload_http_requests_total")
        futures = [self.executor.submit(add, n if n % 1000 else "wrong") for n in range(5000)]
        for n, future in enumerate(futures):
            if n % 1000:
                self.assertEqual(future.result(PATIENCE_S), n + 1)
            else:
                self.assertIsInstance(future.exception(PATIENCE_S), offload.InvalidParams)
        self.assertLess(self.metric("offload_http_requests_total") - before, 2500)
        errors = [self.executor.submit(fail, str(n)) for n in range(200)]
        for n, future in enumerate(errors):
            self.assertEqual(future.exception(PATIENCE_S).detail, repr(str(n)))

    def test_large_results(self):
        """They are not in the Job, alone or together."""
        text = "x" * 300_000
        self.assertEqual(self.executor.submit(twice, text).result(PATIENCE_S), 2 * text)
        for size, count in ((10, 100), (3000, 300)):
            texts = [str(n % 10) * size for n in range(count)]
            self.assertEqual(list(self.executor.map(twice, texts)), [2 * text for text in texts])

    def test_stop(self):
        """The job is cancelled at the service."""
        future = self.executor.submit(wait_for, self.path("never"))

        def made():
            jobs = json.loads(self.daemon.ask("GET", "/v1/jobs?type=wait_for&limit=100")[1])["jobs"]
            return [job["id"] for job in jobs if job["status"] in ("queued", "running")]

        job = until(made, "it is not there")[0]
        self.assertTrue(future.stop())
        self.assertIsInstance(future.exception(PATIENCE_S), offload.JobCancelled)
        until(lambda: json.loads(self.daemon.ask("GET", f"/v1/jobs/{job}")[1])["status"] == "cancelled", "it still runs")

    def test_few_at_a_time(self):
        """However many are submitted, the service has few of them."""
        futures = [self.executor.submit(wait_for, self.path("go")) for _ in range(40)]
        until(lambda: futures[3].running(), "they are not sent")
        document = json.loads(self.daemon.ask("GET", "/v1/jobs?type=wait_for&limit=100")[1])
        active = [job for job in document["jobs"] if job["status"] in ("queued", "running")]
        self.assertLessEqual(len(active), 4)  # two workers, and two
        self.assertFalse(futures[-1].running())
        with open(self.path("go"), "w", encoding="utf-8"):
            pass
        self.assertEqual({future.result(PATIENCE_S) for future in futures}, {float("inf")})
        with offload.Executor(self.daemon.url) as executor:
            self.assertEqual(executor.submit(add, 1).result(PATIENCE_S), 2)
            self.assertEqual(executor._dispatcher.workers, 2)
        with offload.Executor(5, url=self.daemon.url) as executor:
            self.assertEqual(executor.submit(add, 1).result(PATIENCE_S), 2)
            self.assertEqual(executor._dispatcher.workers, 5)

    def test_a_flood(self):
        """So many calls neither fill the service nor are they as many requests."""
        count, most = 50_000, 0
        before = self.metric("offload_http_requests_total")
        with offload.Executor(self.daemon.url) as executor:
            futures = [executor.submit(add, n) for n in range(count)]
            for n, future in enumerate(futures):
                if n % 2000 == 0:
                    workers = self.metric('offload_held_bytes{what="workers"}')  # their own memory
                    most = max(most, self.metric("offload_held_bytes") - workers)
                self.assertEqual(future.result(PATIENCE_S), n + 1)
        self.assertLess(most, 32 << 20)
        self.assertLess(self.metric("offload_http_requests_total") - before, count / 4)


class Troubles(unittest.TestCase):
    def test_the_service_is_restarted(self):
        """Calls that were not answered are sent again."""
        with tempfile.TemporaryDirectory() as folder, Daemon("--workers", "2", tasks=TASKS) as daemon:
            go = os.path.join(folder, "go")
            with offload.Executor(daemon.url) as executor:
                self.assertEqual(executor.submit(add, 1).result(PATIENCE_S), 2)
                futures = [executor.submit(wait_for, go) for _ in range(6)]
                until(lambda: futures[1].running(), "it is not sent")
                daemon.end(signal.SIGKILL)
                more = [executor.submit(add, n) for n in range(100)]
                daemon.start()
                with open(go, "w", encoding="utf-8"):
                    pass
                self.assertEqual({future.result(PATIENCE_S) for future in futures}, {float("inf")})
                self.assertEqual([future.result(PATIENCE_S) for future in more], list(range(1, 101)))

    def test_the_service_stays_away(self):
        """When it was tried for long enough, the executor is broken."""
        with Daemon("--workers", "1", tasks=TASKS) as daemon:
            executor = offload.Executor(daemon.url, retry_for=0.2)
            self.assertEqual(executor.submit(add, 1).result(PATIENCE_S), 2)
            daemon.end(signal.SIGKILL)
            futures = [executor.submit(add, n) for n in range(20)]
            for future in futures:
                self.assertIsInstance(future.exception(PATIENCE_S), BrokenProcessPool)
            with self.assertRaisesRegex(BrokenProcessPool, "does not answer"):
                executor.submit(add, 1)
            executor.shutdown()
        executor = offload.Executor(daemon.url, retry_for=0)  # it was never there
        self.assertIsInstance(executor.submit(add, 1).exception(PATIENCE_S), BrokenProcessPool)
        executor.shutdown()

    def test_answers_that_come_later(self):
        """The service does not let so many wait, and answers 202."""
        with Daemon("--workers", "2", "--max-sync", "1", tasks=TASKS) as daemon:
            with tempfile.TemporaryDirectory() as folder, offload.Executor(daemon.url) as executor:
                go = os.path.join(folder, "go")
                waits = executor.submit(wait_for, go)
                self.assertEqual(list(executor.map(add, range(300))), list(range(1, 301)))
                with open(go, "w", encoding="utf-8"):
                    pass
                self.assertEqual(waits.result(PATIENCE_S), float("inf"))
                self.assertEqual(executor.submit(fail, "x").exception(PATIENCE_S).exception, "KeyError")

    def test_the_service_takes_no_more(self):
        """The executor waits as the service says, however long, and asks for the same job again."""
        refused = b'{"code": "queue_full", "status": 429}'
        answers = [(429, refused, {"Retry-After": "0"}), (503, b'{"code": "draining"}', {"Retry-After": "1"})]
        with Strange([*answers, (200, RESULT, {})]) as strange:
            with offload.Executor(strange.url, key="secret", retry_for=0) as executor:
                self.assertEqual(executor.submit("add", a=1).result(PATIENCE_S), 7)
        self.assertEqual(len(strange.requests), 3)
        self.assertEqual({headers["Authorization"] for headers, _ in strange.requests}, {"Bearer secret"})
        self.assertEqual(len({headers["Idempotency-Key"] for headers, _ in strange.requests}), 1)
        self.assertEqual(len({body for _, body in strange.requests}), 1)

    def test_the_key_of_the_environment(self):
        """The calls have it, and what the executor asks before them."""
        with mock.patch.dict(os.environ, {"OFFLOAD_API_KEY": "from-outside"}):
            with Strange([(200, RESULT, {})]) as strange, offload.Executor(strange.url) as executor:
                self.assertEqual(executor.submit("add", a=1).result(PATIENCE_S), 7)
        self.assertGreaterEqual(len(strange.requests), 1)
        self.assertEqual({headers["Authorization"] for headers, _ in strange.requests}, {"Bearer from-outside"})
        for options in ({"key": "secret"}, {"ca": "x"}, {"cert": "x"}, {"cert_key": "x"}):
            with self.assertRaisesRegex(TypeError, "with a URL"):
                offload.Executor(1, **options)

    def test_what_is_no_service(self):
        texts = [b"no JSON", b"[]", b"{}", b'{"id": "1", "status": "succeeded"}', b'{"id": 5, "status": "succeeded"}']
        texts += [b'{"id": "1", "status": "failed"}', b'{"id": "1", "status": "succeeded", "result": 1, "timings": []}']
        with Strange([(200, text, {}) for text in texts]) as strange, offload.Executor(strange.url) as executor:
            for text in texts[:-1]:
                self.assertIsInstance(executor.submit("add", a=1).exception(PATIENCE_S), offload.OffloadError, text)
            self.assertEqual(executor.submit("add", a=1).result(PATIENCE_S), 1)

    def test_what_is_no_result_of_a_map(self):
        """The calls of that map fail, and only those."""
        wrong = [b"5", b'{"items": 5}', b'{"items": []}', b'{"items": [1, 2]}', b'{"items": [{}, {}]}']
        answers = [(200, RESULT, {})] * 4  # the calls are known to be short then
        answers += [(200, b'{"id": "1", "status": "succeeded", "result": %b}' % text, {}) for text in wrong]
        with Strange([*answers, (200, RESULT, {})]) as strange, offload.Executor(1, url=strange.url) as executor:
            for _ in range(4):
                executor.submit("add", a=1).result(PATIENCE_S)
            for text in wrong:
                futures = together(executor, 2)
                for future in futures:
                    self.assertIsInstance(future.exception(PATIENCE_S), offload.OffloadError, text)
            self.assertEqual(executor.submit("add", a=1).result(PATIENCE_S), 7)


RESULT = b'{"id": "1", "status": "succeeded", "result": 7, "timings": {"run_ms": 0.1}}'


def together(executor, count):
    """Submits calls that travel together."""
    dispatcher = executor._dispatcher
    dispatcher.workers = -1  # there is room for one parcel
    futures = [offload.Future(dispatcher) for _ in range(count)]
    dispatcher.arrived.extend([Pending(future, "add", (), {"a": n}) for n, future in enumerate(futures)])
    dispatcher.loop.wake()
    return futures


class Strange:
    """with Strange([(status, body, headers), ...]) as strange: answers POST with these, in turn. It keeps what came."""

    def __init__(self, answers):
        strange = self
        self.answers, self.requests = iter(answers), []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                strange.requests.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                status, body, headers = next(strange.answers)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                self.send_error(404)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Futures(unittest.TestCase):
    def test_with_others(self):
        """wait and as_completed take futures of any executors."""
        with Daemon("--workers", "1", tasks=TASKS, unix=True) as daemon:
            with offload.Executor(daemon.url) as one, concurrent.futures.ThreadPoolExecutor(1) as other:
                futures = [one.submit(add, 1), other.submit(abs, -2)]
                done, left = concurrent.futures.wait(futures, PATIENCE_S)
                self.assertEqual(sorted(future.result() for future in done), [2, 2])
