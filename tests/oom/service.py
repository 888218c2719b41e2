"""The real daemon with failing.so, and requests to it over sockets of their own."""

import http.client
import json
import os
import re
import signal
import subprocess
import time

START_S, STOP_S, ANSWER_S, QUIET_S = 30, 20, 8, 10


class Wrong(Exception):
    """Something that must not be, in words."""


class Answer:
    def __init__(self, status, headers, body, cut=False):
        self.status, self.headers, self.body = status, headers, body
        self.cut = cut  # it ended too early, and the client can see that
        self.by_tls = False  # then its head is a record of its own

    def json(self):
        return json.loads(self.body)

    def problem(self):
        """The code of the problem or of OpenAI's error that it is, or None."""
        try:
            if self.headers.get("Content-Type") == "application/json":
                return self.json()["error"]["code"]
            return self.json()["code"] if self.headers.get("Content-Type") == "application/problem+json" else None
        except (ValueError, KeyError, TypeError):
            return None


class Service:
    def __init__(self, program, library, page, directory, options):
        self.program, self.library, self.page, self.directory, self.options = program, library, page, directory, options
        self.log_path = os.path.join(directory, "log")
        self.data = os.path.join(directory, "data")
        self.process = None
        self.headers = {}  # that every request has
        self.port = 0
        self.starts = 0
        self.context = None  # an ssl.SSLContext if it speaks TLS

    def start(self, data=None):
        """Returns when it is ready (True) or has ended (False)."""
        self.starts += 1
        self.log_path = os.path.join(self.directory, f"log-{self.starts}")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOAD_")}
        environment.update(LD_PRELOAD=self.library, FAILING_PAGE=self.page.path)
        environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [self.program, "--listen", "127.0.0.1:0", "--data-dir", data or self.data,
                 "--log-format", "json", "--log-level", "debug", "--drain-timeout", "0s", "--enable-test-types",
                 *self.options],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=environment)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            text = self.log()
            ready = re.search(r'"event":"ready".*"listen":\["127\.0\.0\.1:(\d+)"', text)
            if ready:
                self.port = int(ready.group(1))
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.01)
        raise Wrong(f"it neither became ready nor ended in {START_S} s:\n{self.log()[-2000:]}")

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def all_logs(self):
        for i in range(1, self.starts + 1):
            with open(os.path.join(self.directory, f"log-{i}"), encoding="utf-8", errors="replace") as log:
                yield from log

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise Wrong(f"the service ended with {code}:\n{self.log()[-1500:]}")

    def stop(self, number=signal.SIGTERM):
        """Ends it. The exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Wrong(f"it did not stop in {STOP_S} s") from None

    def connect(self):
        """A connection on which nothing was asked yet; with TLS the handshake is done."""
        if self.context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=ANSWER_S, context=self.context)
        connection.connect()
        return connection

    def ask(self, method, path, body=None, headers=None):
        """One request on a connection of its own. None: the connection was closed without a whole answer."""
        headers = dict(headers or {})
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection = self.connect()
        except TimeoutError:
            raise Wrong(f"there is no connection in {ANSWER_S} s") from None
        except OSError:
            return None
        return self.ask_on(connection, method, path, body, headers)

    def ask_on(self, connection, method, path, body, headers):
        """The same on this connection, which is closed then."""
        try:
            connection.request(method, path, body, {**self.headers, **headers, "Connection": "close"})
            response = connection.getresponse()
            try:
                answer = Answer(response.status, response.headers, response.read())
            except http.client.IncompleteRead as e:
                answer = Answer(response.status, response.headers, e.partial, cut=True)
            answer.by_tls = self.context is not None
            return answer
        except TimeoutError:
            raise Wrong(f"{method} {path[:40]} was not answered in {ANSWER_S} s") from None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def must(self, method, path, body=None, headers=None, status=200):
        """A request that has all the memory it needs. A store that is in trouble tries again each second."""
        end = time.monotonic() + ANSWER_S
        answer = self.ask(method, path, body, headers)
        while answer is not None and answer.problem() == "store_unavailable" and time.monotonic() < end:
            time.sleep(0.02)
            answer = self.ask(method, path, body, headers)
        if answer is None or answer.status != status:
            said = "nothing" if answer is None else f"{answer.status} {answer.body[:300]}"
            raise Wrong(f"{method} {path[:60]} was answered {said}, not {status}")
        return answer

    def metrics(self):
        values = {}
        for line in self.must("GET", "/metrics").body.decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def state(self):
        """What must be the same again when all is quiet."""
        values = self.metrics()
        kept = ("offload_jobs_queued", "offload_jobs_running", "offload_http_waiting", "offload_webhooks_pending",
                "offload_http_connections", "offload_held_bytes", "offload_worker_restarts_total")
        state = {name: value for name, value in values.items() if name.split("{")[0] in kept}
        for what in ("workers", "log"):  # the resident memory of other processes, and lines on their way
            state.pop(f'offload_held_bytes{{what="{what}"}}', None)
        state["descriptors"] = len(os.listdir(f"/proc/{self.process.pid}/fd"))
        return state
