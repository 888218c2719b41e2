"""A service of its own for the test: starts offloadd on a port that the kernel picks, talks to it, stops it."""

import http.client
import json
import os
import subprocess
import tempfile
import time
import urllib.parse

START_S, STOP_S, ANSWER_S = 30, 30, 60


class Died(Exception):
    """The service ended, but was not asked to."""


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def media_type(self):
        return self.headers.get("Content-Type", "")


class Service:
    def __init__(self, program, *options, headers=None):
        """headers: what every request has, a key for example."""
        self.headers = headers or {}
        self.log = tempfile.NamedTemporaryFile(prefix="offloadd-", suffix=".log")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OFFLOAD_")}
        self.process = subprocess.Popen(
            [program, "--listen", "127.0.0.1:0", "--data-dir", "none", "--enable-test-types", *options],
            stdin=subprocess.DEVNULL,
            stderr=self.log,
            env=environment,
        )
        self.host, self.port = self.wait_ready()

    def log_text(self):
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return file.read()

    def ready_line(self):
        """The log's "ready" line as an object; None: it has not come yet."""
        for line in self.log_text().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") == "ready":
                return event
        return None

    def wait_ready(self):
        """The host and port from the log's "ready" line."""
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            ready = self.ready_line()
            if ready is not None:
                host, port = ready["listen"][0].rsplit(":", 1)
                return host, int(port)
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"the service did not start:\n{self.log_text()}")

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise Died(f"exit code {code}\n{self.log_text()[-4000:]}")

    def terminate(self):
        if self.process.poll() is None:
            self.process.terminate()

    def stop(self):
        """Ends the service if it still runs; returns its exit code."""
        self.terminate()
        return self.wait()

    def wait(self):
        """Waits until it has ended, and kills it if it does not; returns its exit code."""
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def send(self, method, path, headers=None, body=None):
        """One request on a connection of its own. Headers are sent as given: also a Content-Length that is not true."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, body=body, headers={**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


def target(path, places, parameters):
    """The request target: parameters filled into the path and the query, as the operation says."""
    query = {}
    for name, value in parameters.items():
        if places[name] == "path":
            path = path.replace("{" + name + "}", urllib.parse.quote(str(value), safe=""))
        else:
            query[name] = value
    return path + ("?" + urllib.parse.urlencode(query) if query else "")
