"""Client and AsyncClient: large parameters are shared memory for a service on a Unix socket that takes it."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import unittest
from unittest import mock

from daemon import PACKAGE, Daemon, until

import offload
from offload import _api, _http, _shared

TASKS = """
import os, time
import offload

@offload.task
def total(data: memoryview, more: bytes = b"") -> list:
    return [sum(data[:10]), len(data), len(more)]

@offload.task
def invert(data: bytes) -> bytes:
    return data.translate(bytes(255 - b for b in range(256)))

@offload.task
def slow(data: memoryview, path: str) -> int:
    open(path, "w").close()
    time.sleep(60)

@offload.task
def picky(data: memoryview) -> None:
    raise offload.InvalidParams("/data", "is not nice")
"""
LARGE = b"\1" * (3 << 20)


def objects(pid=None):
    prefix = f"offload-{pid or os.getpid()}-"
    return {name for name in os.listdir(_shared.DIRECTORY) if name.startswith(prefix)}


class Sent:
    """Counts what the clients submit: the forms, the names of shared memory, and the bytes."""

    def __init__(self):
        self.forms, self.names, self.bytes = 0, 0, 0
        self.post = _api.Api.post

    def __enter__(self):
        sent = self

        def post(api, submission, prefer):
            call = sent.post(api, submission, prefer)
            sent.forms += submission.content_type.startswith("multipart/")
            body = call.body if isinstance(call.body, bytes) else b"".join(call.body)
            sent.names += body.count(b'"shm"')
            sent.bytes += len(body)
            return call

        self.patch = mock.patch.object(_api.Api, "post", post)
        self.patch.start()
        return self

    def __exit__(self, *error):
        self.patch.stop()


class Base(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("--workers", "2", *cls.options, tasks=TASKS, unix=True)
        cls.daemon.__enter__()
        cls.addClassCleanup(cls.daemon.__exit__, None, None, None)

    def setUp(self):
        self.client = offload.Client(self.daemon.url)
        self.addCleanup(self.client.close)

    def tearDown(self):
        self.assertEqual(objects(), set())


class Shared(Base):
    options = ("--allow-shm",)

    def test_run(self):
        with Sent() as sent:
            self.assertEqual(self.client.run("total", {"data": LARGE}), [10, len(LARGE), 0])
            self.assertEqual(self.client.run("total", {"data": LARGE, "more": LARGE}), [10, len(LARGE), len(LARGE)])
            self.assertEqual(self.client.run("invert", {"data": LARGE}), b"\xfe" * len(LARGE))
        self.assertEqual((sent.forms, sent.names), (0, 4))
        self.assertLess(sent.bytes, 1000)

    def test_small_parameters_are_sent(self):
        with Sent() as sent:
            more = b"\2" * 100_000
            self.assertEqual(self.client.run("total", {"data": more, "more": LARGE}), [20, len(more), len(LARGE)])
            self.assertEqual(self.client.run("total", {"data": more}), [20, len(more), 0])
        self.assertEqual((sent.forms, sent.names), (2, 1))

    def test_a_map(self):
        with Sent() as sent:
            found = list(self.client.map("total", [{"data": LARGE}, {"data": b"a"}, {"data": LARGE + b"a"}]))
            self.assertEqual([size for _, size, _ in found], [len(LARGE), 1, len(LARGE) + 1])
        self.assertEqual((sent.forms, sent.names), (0, 2))
        calls = [{"data": LARGE}] * 200  # too many to name memory
        with Sent() as sent:
            self.assertEqual(list(self.client.map("total", calls)), [[10, len(LARGE), 0]] * 200)
        self.assertEqual((sent.forms, sent.names), (1, 0))
        calls = [{"data": LARGE}] * _shared.MAX_CALLS
        with Sent() as sent:
            self.assertEqual(list(self.client.map("total", calls)), [[10, len(LARGE), 0]] * len(calls))
        self.assertEqual((sent.forms, sent.names), (0, len(calls)))

    def test_a_map_that_is_left(self):
        for _ in self.client.map("total", [{"data": LARGE}] * 3):
            self.assertEqual(len(objects()), 1)
            break

    def test_an_array(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("there is no numpy")
        array = numpy.arange(1 << 20, dtype="float64")
        with Sent() as sent:
            self.assertEqual(self.client.run("array", {"op": "sum", "array": array})["sum"], array.sum())
            doubled = self.client.run("array", {"op": "scale", "factor": 2, "array": array.reshape(4, -1).T})
        self.assertEqual((sent.forms, sent.names), (0, 2))
        numpy.testing.assert_array_equal(doubled, array.reshape(4, -1).T * 2)

    def test_asyncio(self):
        async def main():
            async with offload.AsyncClient(self.daemon.url) as client:
                self.assertEqual(await client.run("total", {"data": LARGE}), [10, len(LARGE), 0])
                found = [value async for value in client.map("total", [{"data": LARGE}] * 2)]
                self.assertEqual(found, [[10, len(LARGE), 0]] * 2)

        with Sent() as sent:
            asyncio.run(main())
        self.assertEqual((sent.forms, sent.names), (0, 3))

    def test_asyncio_cancelled_at_any_time(self):
        async def main():
            async with offload.AsyncClient(self.daemon.url) as client:
                for n in range(20):
                    task = asyncio.ensure_future(client.run("total", {"data": LARGE * 3}))
                    await asyncio.sleep(n / 2000)
                    task.cancel()
                    try:
                        await task
                    except asyncio.CancelledError:
                        pass

        asyncio.run(main())

    def test_faults(self):
        with self.assertRaisesRegex(offload.InvalidParams, "is not nice"):
            self.client.run("picky", {"data": LARGE})
        with self.assertRaises(offload.InvalidParams):
            self.client.run("total", {"data": LARGE, "none": 1})
        with Sent() as sent:  # that was not about the memory
            self.client.run("total", {"data": LARGE})
        self.assertEqual((sent.forms, sent.names), (0, 1))

    def test_no_room(self):
        with mock.patch.object(os, "posix_fallocate", side_effect=OSError(28, "No space left on device")), Sent() as sent:
            self.assertEqual(self.client.run("total", {"data": LARGE}), [10, len(LARGE), 0])
        self.assertEqual((sent.forms, sent.names), (1, 0))
        with mock.patch.object(_shared, "DIRECTORY", "/nowhere"):
            self.assertEqual(self.client.run("total", {"data": LARGE}), [10, len(LARGE), 0])

    def test_interrupted(self):
        path = os.path.join(self.daemon.folder, "begun")
        program = (
            f"import sys; sys.path.insert(0, {PACKAGE!r}); import offload\n"
            f"offload.Client({self.daemon.url!r}).run('slow', {{'data': bytes(3 << 20), 'path': {path!r}}})"
        )
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
            until(lambda: os.path.exists(path), "the task does not begin")
            self.assertEqual(len(objects(process.pid)), 1)
            process.send_signal(signal.SIGINT)
            self.assertIn(b"KeyboardInterrupt", process.communicate()[1])
        self.assertEqual(objects(process.pid), set())

    def test_it_is_there_until_the_job_has_ended(self):
        path = os.path.join(self.daemon.folder, "waits")
        with mock.patch.object(_api, "WAIT_S", 1):  # it is answered with a 202, and then waited for
            thread = threading.Thread(target=self.run_slow, args=(path,))
            thread.start()
            until(lambda: os.path.exists(path), "the task does not begin")
            time.sleep(2)
            self.assertEqual(len(objects()), 1)
            thread.join()

    def run_slow(self, path):
        with self.assertRaises(offload.JobTimeout):
            self.client.run("slow", {"data": LARGE, "path": path}, timeout=4)


class Refused(Base):
    def test_it_is_sent_from_then_on(self):
        with Sent() as sent:
            self.assertEqual(self.client.run("total", {"data": LARGE}), [10, len(LARGE), 0])
            self.assertEqual((sent.forms, sent.names), (1, 1))
            self.assertEqual(self.client.run("total", {"data": LARGE}), [10, len(LARGE), 0])
        self.assertEqual((sent.forms, sent.names), (2, 1))

    def test_a_map(self):
        with Sent() as sent:
            self.assertEqual(list(self.client.map("total", [{"data": LARGE}] * 2)), [[10, len(LARGE), 0]] * 2)
        self.assertEqual((sent.forms, sent.names), (1, 2))


class Elsewhere(unittest.TestCase):
    def test_only_over_a_unix_socket(self):
        with Daemon("--allow-shm", tasks=TASKS) as daemon, offload.Client(daemon.url) as client, Sent() as sent:
            self.assertFalse(_http.Address.parse(daemon.url).path)
            self.assertEqual(client.run("total", {"data": LARGE}), [10, len(LARGE), 0])
        self.assertEqual((sent.forms, sent.names), (1, 0))


if __name__ == "__main__":
    unittest.main()
