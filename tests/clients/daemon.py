"""A service for the tests of the clients, and what they share."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGE = os.path.join(ROOT, "sdk", "python")
OFFLOADD = os.path.abspath(os.environ.get("OFFLOADD") or os.path.join(ROOT, "build", "offloadd"))
PATIENCE_S = 60

if PACKAGE not in sys.path:
    sys.path.insert(0, PACKAGE)


def until(condition, what):
    """Waits for something that happens soon. Returns what the condition has returned."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.005)


class Scratch(unittest.TestCase):
    """Tests with a directory of their own, `folder`; `path(name)` is a file in it, which is not there yet."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="offload-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)


class Daemon:
    """with Daemon("--workers", "2", tasks=TEXT) as daemon: a service on a port of its own.

    tasks: the text of a task file (`daemon.folder` has it as tasks.py). unix: it listens on a Unix socket instead.
    durable: it has a data directory; otherwise it runs with --data-dir none. `url` is where it is, `pid` its process.
    """

    def __init__(self, *options, tasks=None, unix=False, durable=False):
        self.folder = tempfile.mkdtemp(prefix="offload-test-")
        self.log = os.path.join(self.folder, "log")
        self.url = "unix:" + os.path.join(self.folder, "sock") if unix else ""
        self.options = [*options, "--data-dir", os.path.join(self.folder, "data") if durable else "none"]
        if tasks is not None:
            with open(os.path.join(self.folder, "tasks.py"), "w", encoding="utf-8") as file:
                file.write(textwrap.dedent(tasks))
            self.options += ["--python", os.path.join(self.folder, "tasks.py"), "--python-bin", sys.executable]
        self.process = None

    def start(self):
        """Starts it, on the address that it had before if there was one. Waits until it is ready."""
        listen = self.url if self.url.startswith("unix:") else self.url.partition("//")[2] or "127.0.0.1:0"
        before = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [OFFLOADD, "--listen", listen, "--log-format", "text", *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                cwd=self.folder,
            )

        def ready():
            text = self.printed()[before:]
            if self.process.poll() is not None:
                raise RuntimeError(f"offloadd has ended with {self.process.returncode}:\n{text[-4000:]}")
            return re.search(r"\bready\b.*", text)

        try:
            line = until(ready, "offloadd is not ready")[0]
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        if not self.url:
            self.url = "http://127.0.0.1:" + re.search(r"127\.0\.0\.1:(\d+)", line)[1]
        return self

    @property
    def pid(self):
        return self.process.pid

    def printed(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def end(self, number=signal.SIGTERM):
        """Ends the service, by its pid, and waits until it is gone."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def ask(self, method, path, body=None, **headers):
        """A request by http.client, which is not what is tested. Returns the status and the body."""
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_S)
        if self.url.startswith("unix:"):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(PATIENCE_S)
            connection.sock.connect(self.url[len("unix:") :])
        else:
            host, port = self.url.partition("//")[2].split(":")
            connection.sock = socket.create_connection((host, int(port)), PATIENCE_S)
        with contextlib.closing(connection):
            headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def __enter__(self):
        return self.start()

    def __exit__(self, *error):
        try:
            self.end()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
