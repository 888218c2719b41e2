"""Client, against the real service."""

import os
import signal
import sys
import threading
import unittest
from unittest import mock

import offload
from cases import TASKS, Cases
from daemon import Daemon, until


def waits():
    """Does the main thread wait for an answer?"""
    frame = sys._current_frames().get(threading.main_thread().ident)
    while frame is not None:
        if frame.f_code is offload._client.Exchange.receive.__code__:
            return True
        frame = frame.f_back
    return False


class Clients(Cases, unittest.TestCase):
    make = offload.Client

    def idle(self, client):
        return len(client.pool)

    def test_the_url_of_the_environment(self):
        before = os.environ.get("OFFLOAD_URL")
        os.environ["OFFLOAD_URL"] = self.daemon.url
        try:
            with offload.Client() as client:
                self.assertEqual(client.run("double", {"n": 1}), 2)
        finally:
            del os.environ["OFFLOAD_URL"]
            if before is not None:
                os.environ["OFFLOAD_URL"] = before

    def test_many_threads(self):
        client, faults = self.connect(self.daemon.url), []

        def work(k):
            try:
                for n in range(40):
                    assert client.run("double", {"n": n * k}) == 2 * n * k
                    assert list(client.map("double", columns={"n": [n, k]})) == [2 * n, 2 * k]
            except BaseException as error:
                faults.append(error)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(faults, [])
        self.assertLessEqual(self.idle(client), 16)

    def test_fork(self):
        """The child does not use the connections of its parent."""
        client = self.connect(self.daemon.url)
        self.assertEqual(client.run("double", {"n": 1}), 2)
        children = []
        for k in range(3):
            pid = os.fork()
            if pid == 0:
                try:
                    good = all(client.run("double", {"n": n * k}) == 2 * n * k for n in range(20))
                    os._exit(0 if good else 1)
                finally:
                    os._exit(2)
            children.append(pid)
        for n in range(20):
            self.assertEqual(client.run("double", {"n": n}), 2 * n)
        for pid in children:
            self.assertEqual(os.waitpid(pid, 0)[1], 0)

    def interrupt(self, started, call):
        """Presses ctrl-C while the main thread is in a call."""

        def press():
            until(lambda: started() and waits(), "it does not start, or nobody waits for it")
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        thread = threading.Thread(target=press)
        thread.start()
        with self.assertRaises(KeyboardInterrupt):
            call()
        thread.join()

    def test_keyboard_interrupt(self):
        """ctrl-C while a call waits cancels the job at the service."""
        path = self.path()
        self.interrupt(
            lambda: os.path.exists(path + ".started"), lambda: self.client.run("hold", {"path": path}, max_attempts=1)
        )
        self.is_cancelled("hold")
        until(lambda: os.path.exists(path + ".cancelled"), "the task was not told")
        path = self.path()
        self.interrupt(
            lambda: os.path.exists(path + ".started"), lambda: list(self.client.map("hold", [{"path": path}]))
        )
        self.is_cancelled("hold")
        self.assertEqual(self.client.run("double", {"n": 4}), 8)

    def test_keyboard_interrupt_without_a_service(self):
        """It ends, although nobody answers."""
        with Daemon(tasks=TASKS) as daemon:
            client, path = self.connect(daemon.url), self.path()

            def stopped():
                if os.path.exists(path + ".started"):
                    os.kill(daemon.pid, signal.SIGSTOP)
                    return True
                return False

            try:
                with mock.patch("offload._api.CANCEL_S", 0.1):
                    self.interrupt(stopped, lambda: client.run("hold", {"path": path}))
            finally:
                os.kill(daemon.pid, signal.SIGCONT)
                daemon.end(signal.SIGKILL)

    def test_job_goes_on_without_who_waits(self):
        path = self.path()
        job = self.client.submit("hold", {"path": path})
        self.interrupt(lambda: os.path.exists(path + ".started"), job.result)
        self.assertEqual(job.status, "running")
        open(path + ".go", "w").close()
        self.assertEqual(job.result(), "held")

    def test_a_map_is_sent_at_once(self):
        path = self.path()
        results = self.client.map("record", [{"path": path, "n": 1}])
        until(lambda: os.path.exists(path), "the map was not sent")
        self.assertEqual(list(results), [1])

    def test_a_map_that_is_dropped_is_cancelled(self):
        results = self.client.map("hold", [{"path": self.path()}])
        del results
        self.is_cancelled("hold")


if __name__ == "__main__":
    unittest.main()
