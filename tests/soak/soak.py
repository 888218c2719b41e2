#!/usr/bin/env python3
"""soak.py [--minutes N] [--seed N] [--keep]: one service under every kind of load and fault, for a long time.

It starts the offloadd of $BUILD (build) with a store on disk, warms it up, and notes its memory, descriptors and
threads. Then clients of all kinds come and go, workers and zygotes are killed and the configuration is reloaded, until
the time is over. When all is quiet it checks that nothing has grown, that no process is left, and that each job that
was answered 202 ended once, sent one webhook, and is counted once. Prints TAP, and last "N passed, M failed".

`make soak MINUTES=10` calls it. It ends only processes that it has started, or that these have started. The seed is
printed; it repeats the choices, not the order in which threads run. --keep leaves the service's log and data."""

import argparse
import collections
import http.client
import http.server
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

TIMEOUT_S = 120  # for an answer; more than anything here takes
ENDED = ("succeeded", "failed", "cancelled")
CLIENTS = 6
# What may be there at the end beyond the base line. The memory of a process that has served much is not quite flat.
MORE_MEMORY = 1.1
MORE_BYTES = 6 << 20
KEPT = 100  # --keep-sync: results of synchronous jobs that the service remembers
LATE_S = 20  # for what goes on for some time, such as connections to the receiver of webhooks that are kept
# Jobs of these types are counted exactly: whoever submits one waits for its end, and nobody hangs up on it or deletes it.
COUNTED = ("primes", "sum", "embeddings", "collatz", "echo", "crash", "process", "spawned")
ATTEMPTS = {"max_attempts": 100}  # so that killed workers do not make a job fail


class Wrong(Exception):
    pass


# ---- the receiver of webhooks ----------------------------------------------------------------------------------------


class Receiver:
    """Takes webhooks. It answers the first attempt for a path below /again with 503, all others with 200. It closes each
    connection, so that the number of those that the service keeps says nothing."""

    def __init__(self):
        self.lock = threading.Lock()
        self.seen = collections.defaultdict(list)  # id of the job: the types of the webhooks that were taken
        refused = set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                job = body["data"]["id"]
                with outer.lock:
                    again = self.path.startswith("/again") and job not in refused
                    if again:
                        refused.add(job)
                    else:
                        outer.seen[job].append((body["type"], body["data"]["status"], self.headers["webhook-id"]))
                self.send_response(503 if again else 200)
                self.send_header("Content-Length", "0")
                self.send_header("Connection", "close")
                self.end_headers()

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request, client_address):
                pass  # the service can leave

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def taken(self, job):
        with self.lock:
            return list(self.seen[job])


# ---- the service -----------------------------------------------------------------------------------------------------


def read_status(pid):
    """The fields of /proc/PID/status; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return None


def rss_of(pid):
    status = read_status(pid)
    return int(status["VmRSS"].split()[0]) * 1024 if status and "VmRSS" in status else 0


def children_of(pid):
    children = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                children += [int(child) for child in f.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return children


def descendants_of(pid):
    found = []
    for child in children_of(pid):
        found += [child] + descendants_of(child)
    return found


def is_kept(kind):
    """A large result is in a memfd as long as it is kept; KEPT says how many can be."""
    return kind.startswith("/memfd:")


class Service:
    def __init__(self, folder, receiver):
        self.log = folder / "log"
        self.config = folder / "config"
        self.config.write_text("result-ttl = 1h\n", encoding="ascii")
        command = [os.environ.get("BUILD", "build") + "/offloadd", "--listen", "127.0.0.1:0", "--enable-test-types",
                   "--config", str(self.config), "--data-dir", str(folder / "data"), "--workers", "2",
                   "--retry-delay", "1ms", "--max-retry-delay", "50ms", "--max-ended", "300", "--keep-sync", str(KEPT),
                   "--max-body", "8MiB", "--idle-timeout", "5s", "--header-timeout", "2s", "--cancel-grace", "100ms",
                   "--webhook-allow", f"127.0.0.1:{receiver.port}", "--webhook-retry", "100ms"]
        self.is_sanitized = b"__asan_init" in pathlib.Path(command[0]).read_bytes()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=open(self.log, "w", encoding="utf-8"))
        self.pid = self.process.pid
        self.port = self.wait_until_ready()

    def wait_until_ready(self):
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end and self.process.poll() is None:
            for line in self.log.read_text(encoding="utf-8").splitlines():
                if '"event":"ready"' in line:
                    return int(json.loads(line)["listen"][0].rsplit(":", 1)[1])
            time.sleep(0.02)
        sys.exit("the service did not start:\n" + self.log.read_text(encoding="utf-8"))

    def zygotes(self):
        return children_of(self.pid)

    def replace_zygote(self):
        """Reloads. The first zygote is forked, and all later ones are executed anew, which takes more memory."""
        first, end = set(self.zygotes()), time.monotonic() + 10
        os.kill(self.pid, signal.SIGHUP)
        while (first & set(self.zygotes()) or not self.zygotes()) and time.monotonic() < end:
            time.sleep(0.05)

    def workers(self):
        return [worker for zygote in self.zygotes() for worker in children_of(zygote)]

    def descriptors(self):
        """How many the front end has of each kind."""
        kinds = collections.Counter()
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                kinds[os.readlink(f"/proc/{self.pid}/fd/{fd}").split(":[")[0]] += 1
            except FileNotFoundError:
                pass  # it was closed meanwhile
        return kinds

    def look(self):
        """What must not grow."""
        zygotes = self.zygotes()
        return {"memory of the front end": rss_of(self.pid),
                "memory of the zygote": max([rss_of(pid) for pid in zygotes] or [0]),
                "descriptors of the front end": sum(n for kind, n in self.descriptors().items() if not is_kept(kind)),
                "descriptors of the zygote": len(os.listdir(f"/proc/{zygotes[0]}/fd")) if zygotes else 0,
                "threads of the front end": len(os.listdir(f"/proc/{self.pid}/task")),
                "processes": len(descendants_of(self.pid))}


# ---- clients ---------------------------------------------------------------------------------------------------------


class Client:
    """One connection, which is opened anew when it was closed."""

    def __init__(self, port):
        self.port = port
        self.connection = None

    def close(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def call(self, method, path, body=None, headers=None):
        """(status, headers, bytes)"""
        for last in (False, True):
            fresh = self.connection is None
            if fresh:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
            try:
                self.connection.request(method, path, body, headers or {})
                response = self.connection.getresponse()
                data = response.read()
                if response.will_close:
                    self.close()
                return response.status, response.headers, data
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.close()
                if last or fresh:  # a kept connection can be closed while the request is on its way
                    raise
        raise AssertionError

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)

    def get_job(self, job, wait=None):
        status, _, data = self.call("GET", f"/v1/jobs/{job}", headers={"Prefer": f"wait={wait}"} if wait else {})
        return status, json.loads(data)

    def metrics(self):
        _, _, data = self.call("GET", "/metrics")
        found = {}
        for line in data.decode().splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                found[name] = float(value)
        return found


JSON = {"Content-Type": "application/json"}


def post_head(length, extra=""):
    return (f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{extra}"
            f"Content-Length: {length}\r\n\r\n").encode()


class Soak:
    def __init__(self, service, receiver, seed):
        self.service, self.receiver, self.seed = service, receiver, seed
        self.lock = threading.Lock()
        self.acknowledged = {}  # id: the Job as it ended; of those that were answered 202 and not deleted
        self.webhooks = set()  # ids of those of them that have a webhook
        self.ended = collections.Counter()  # (type, status), of all jobs of COUNTED types
        self.done = collections.Counter()  # by kind of client
        self.wrong = []
        self.stop = threading.Event()
        self.phase = 0  # the next one must not repeat the keys of this one

    # ---- bookkeeping ----

    def complain(self, text):
        with self.lock:
            self.wrong.append(text)

    def expect(self, condition, text):
        if not condition:
            raise Wrong(text)

    def count(self, kind, status):
        with self.lock:
            self.ended[kind, status] += 1

    def finish(self, client, job, kind, webhook):
        """Follows an acknowledged job until it has ended, and notes how."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            status, document = client.get_job(job, wait=20)
            self.expect(status == 200, f"GET of the acknowledged job {job} ({kind}): {status} {document}")
            if document["status"] in ENDED:
                break
            self.expect(time.monotonic() < end, f"job {job} ({kind}) does not end: {document}")
        with self.lock:
            if job in self.acknowledged:
                raise Wrong(f"two submissions were answered with the job {job}")
            self.acknowledged[job] = document
            if webhook:
                self.webhooks.add(job)
            if kind in COUNTED:
                self.ended[kind, document["status"]] += 1
        return document

    # ---- what clients do: each is a kind of load ----

    def body(self, rng, options=None):
        """(type, body, the status with which the job has to end, the result or None)"""
        n = rng.randrange(1000000)
        options = {**ATTEMPTS, **(options or {})}
        kinds = [
            ("echo", {"params": {"value": n}}, "succeeded", {"value": n}),
            ("primes", {"params": {"start": 100000, "stop": 200000}}, "succeeded", {"count": 8392}),
            ("primes", {"params": {"nth": 1000}}, "succeeded", {"prime": 7919}),
            ("primes", {"params": {"numbers": [n * 2 + 4]}}, "succeeded", None),
            ("sum", {"params": {"start": 0, "stop": n + 1}}, "succeeded", {"sum": str(n * (n + 1) // 2), "count": n + 1}),
            ("sum", {"params": {"numbers": [0.5, n]}}, "succeeded", {"sum": n + 0.5, "count": 2}),
            ("embeddings", {"params": {"input": f"text {n}", "dimensions": 16}}, "succeeded", None),
            ("collatz", {"params": {"below": 3000}}, "succeeded", None),
            ("primes", {"params": {"start": 0, "stop": 20000000}, "options": {"chunks": 6}}, "succeeded",
             {"count": 1270607}),
            ("crash", {"params": {"how": rng.choice(["SIGSEGV", "SIGKILL", "abort", "exit"]), "times": 1}}, "succeeded",
             None),
            ("process", {"params": {}}, "succeeded", None),
            ("spawned", {"params": {}}, "succeeded", None),
            ("echo", {"params": {"value": n}, "options": {"isolation": "fresh"}}, "succeeded", {"value": n}),
        ]
        kind, body, status, result = rng.choices(kinds, [8, 3, 4, 4, 4, 4, 4, 2, 1, 1, 2, 0.3, 0.5])[0]
        body = {"type": kind, **body, "options": {**body.get("options", {}), **options}}
        return kind, json.dumps(body), status, result

    def check_end(self, document, kind, status, result):
        self.expect(document["status"] == status, f"a job {kind} ended as {document}, not {status}")
        if result is not None:
            self.expect(document.get("result") == result, f"a job {kind} has the result {document.get('result')}, not {result}")

    def synchronous(self, client, rng):
        for _ in range(rng.randrange(1, 30)):
            kind, body, status, result = self.body(rng)
            code, _, data = client.call("POST", "/v1/jobs", body, JSON)
            document = json.loads(data)
            if code == 202:
                document = self.finish(client, document["id"], kind, False)
            else:
                self.expect(code == 200, f"a synchronous job: {code} {document}")
                self.count(kind, document["status"])
            self.check_end(document, kind, status, result)

    def webhook_options(self, rng):
        return {"webhook": f"http://127.0.0.1:{self.receiver.port}/{rng.choice(['once', 'once', 'again'])}"}

    def asynchronous(self, client, rng):
        waiting = []
        for _ in range(rng.randrange(1, 12)):
            webhook = rng.random() < 0.5
            options = self.webhook_options(rng) if webhook else {}
            if rng.random() < 0.3:
                options["delay_ms"] = rng.randrange(800)
            options["priority"] = rng.randrange(8)
            kind, body, status, result = self.body(rng, options)
            code, _, data = client.call("POST", "/v1/jobs", body, {**JSON, "Prefer": "respond-async"})
            self.expect(code == 202, f"an asynchronous job: {code} {data[:500]}")
            waiting.append((json.loads(data)["id"], kind, webhook, status, result))
        for job, kind, webhook, status, result in waiting:
            self.check_end(self.finish(client, job, kind, webhook), kind, status, result)

    def failing(self, client, rng):
        options = {"max_attempts": rng.randrange(1, 3), **self.webhook_options(rng)}
        body = json.dumps({"type": "crash", "params": {"how": "exit"}, "options": options})
        code, _, data = client.call("POST", "/v1/jobs", body, {**JSON, "Prefer": "respond-async"})
        self.expect(code == 202, f"a job that crashes: {code} {data[:500]}")
        document = self.finish(client, json.loads(data)["id"], "crash", True)
        self.check_end(document, "crash", "failed", None)
        self.expect(document["error"]["code"] == "worker_crashed", f"a job that crashes ended with {document['error']}")

    def maps(self, client, rng):
        n = rng.choice([1, 10, 300])
        items = [{"value": i} for i in range(n)] + ([{"nonsense": 1}] if rng.random() < 0.5 else [])
        body = json.dumps({"type": "echo", "items": items, "options": {**ATTEMPTS, "chunks": rng.randrange(5)}})
        code, _, data = client.call("POST", "/v1/jobs", body, {**JSON, "Prefer": "respond-async"})
        self.expect(code == 202, f"a map: {code} {data[:500]}")
        job = json.loads(data)["id"]
        self.check_end(self.finish(client, job, "echo", False), "echo", "succeeded", None)
        code, _, data = client.call("GET", f"/v1/jobs/{job}/result")
        if code in (404, 410):
            return  # so many jobs have ended since that it is not kept any more
        got = json.loads(data)["items"]
        self.expect([item["status"] == "succeeded" for item in got] == ["value" in item for item in items],
                    f"the map {job} has other items than were asked for")

    def lines(self, client, rng):
        """NDJSON that is read to its end."""
        n = rng.choice([1, 50, 500])
        body = json.dumps({"type": "echo", "items": [{"value": "x" * rng.choice([1, 2000])}] * n, "options": ATTEMPTS})
        code, _, data = client.call("POST", "/v1/jobs", body, {**JSON, "Accept": "application/x-ndjson"})
        got = [json.loads(line) for line in data.decode().splitlines()]
        self.expect(code == 200 and got[-1].get("summary") == {"total": n, "succeeded": n, "failed": 0},
                    f"a stream of {n} items: {code}, {len(got)} lines, the last is {got[-1:]}")
        self.expect(sorted(line["index"] for line in got[:-1]) == list(range(n)), "a stream lacks items")
        self.count("echo", "succeeded")

    def dropped_lines(self, client, rng):
        """NDJSON of which a client reads nothing, or a little, before it leaves. (Not of a counted type.)"""
        body = json.dumps({"type": "sleep", "items": [{"ms": 5}] * 200, "options": ATTEMPTS}).encode()
        with client.raw() as s:
            s.sendall(post_head(len(body), "Accept: application/x-ndjson\r\n") + body)
            if rng.random() < 0.5:
                s.recv(100)
            time.sleep(rng.random() * 0.3)

    def events(self, client, rng):
        """The events of a job: read to their end, read slowly, or dropped."""
        kind, body, status, result = self.body(rng)
        code, _, data = client.call("POST", "/v1/jobs", body, {**JSON, "Prefer": "respond-async"})
        self.expect(code == 202, f"a job whose events are read: {code} {data[:500]}")
        job = json.loads(data)["id"]
        how = rng.choice(["read", "slow", "drop"])
        with client.raw() as s:
            s.sendall(f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            text = b""
            while how != "drop":
                piece = s.recv(64 if how == "slow" else 65536)
                if not piece:
                    break
                text += piece
            if how != "drop":
                self.expect(b"event: end" in text, f"the events of {job} have no end: {text[-500:]!r}")
        self.check_end(self.finish(client, job, kind, False), kind, status, result)

    def large(self, client, rng):
        """A body that is spooled and parsed by a worker."""
        pad = " " * rng.choice([50000, 300000, 2000000])
        n = rng.randrange(1000)
        body = f'{{"type":"echo",{pad}"params":{{"value":{n}}},"options":{{"max_attempts":100}}}}'
        code, _, data = client.call("POST", "/v1/jobs", body, JSON)
        if code == 500 and b"SIGKILL (cause: signal), attempt 3 of 3" in data:
            return  # three workers were killed before one had read its max_attempts; its type is unknown, too
        self.expect(code == 200, f"a large body: {code} {data[:500]}")
        self.count("echo", "succeeded")
        self.check_end(json.loads(data), "echo", "succeeded", {"value": n})

    def large_results(self, client, rng):
        stop = rng.choice([2000000, 6000000])
        body = json.dumps({"type": "primes", "params": {"start": 0, "stop": stop, "op": "list"}, "options": ATTEMPTS})
        code, _, data = client.call("POST", "/v1/jobs", body, {**JSON, "Accept-Encoding": rng.choice(["gzip", "identity"])})
        self.expect(code in (200, 202), f"a large result: {code} {data[:500]}")
        if code == 202:
            self.finish(client, json.loads(data)["id"], "primes", False)
        else:
            self.count("primes", "succeeded")

    def upload_cut(self, client, rng):
        """A client that leaves in the middle of its body."""
        with client.raw() as s:
            s.sendall(post_head(1000000) + b'{"type":"echo"' + b" " * rng.randrange(200000))
            if rng.random() < 0.5:
                s.shutdown(socket.SHUT_WR)

    def keyed(self, client, rng):
        """The same key several times, at the same time: one job."""
        key = f"key-{rng.getrandbits(64)}"
        kind, body, status, result = self.body(rng)
        headers = {**JSON, "Idempotency-Key": f'"{key}"', "Prefer": "respond-async"}
        ids = []

        def again():
            other = Client(self.service.port)
            try:
                code, _, data = other.call("POST", "/v1/jobs", body, headers)
                ids.append(json.loads(data).get("id", f"{code} {data[:300]}") if code in (200, 202) else f"{code} {data[:300]}")
            except Exception as e:  # it is reported below
                ids.append(repr(e))
            other.close()

        threads = [threading.Thread(target=again) for _ in range(3)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.expect(len(set(ids)) == 1 and " " not in ids[0], f"the same key three times: {ids}")
        self.check_end(self.finish(client, ids[0], kind, False), kind, status, result)

    def cancelled(self, client, rng):
        body = json.dumps({"type": rng.choice(["sleep", "burn"]), "options": {**ATTEMPTS, **self.webhook_options(rng)},
                           "params": {}})
        document = json.loads(body)
        document["params"] = {"ms": 60000} if document["type"] == "sleep" else {"cpu_ms": 60000, "chunks": 4}
        if rng.random() < 0.3:
            document = {"type": "crash", "params": {"how": "hang"}, "options": document["options"]}
        code, _, data = client.call("POST", "/v1/jobs", json.dumps(document), {**JSON, "Prefer": "respond-async"})
        self.expect(code == 202, f"a job that is cancelled: {code} {data[:500]}")
        job = json.loads(data)["id"]
        time.sleep(rng.random() * 0.2)
        code, _, data = client.call("POST", f"/v1/jobs/{job}/cancel", "", {})
        self.expect(code == 200 and json.loads(data)["status"] == "cancelled", f"a cancel: {code} {data[:500]}")
        self.finish(client, job, document["type"], True)

    def deleted(self, client, rng):
        body = json.dumps({"type": "sleep", "params": {"ms": rng.choice([0, 30000])}, "options": ATTEMPTS})
        code, _, data = client.call("POST", "/v1/jobs", body, {**JSON, "Prefer": "respond-async"})
        self.expect(code == 202, f"a job that is deleted: {code} {data[:500]}")
        job = json.loads(data)["id"]
        time.sleep(rng.random() * 0.05)
        code, _, data = client.call("DELETE", f"/v1/jobs/{job}")
        self.expect(code == 204, f"DELETE of {job}: {code} {data[:500]}")
        code, document = client.get_job(job)
        self.expect(code in (404, 410), f"GET of the deleted job {job}: {code} {document}")

    def hang_up(self, client, rng):
        """A synchronous client that leaves: its job is cancelled."""
        body = json.dumps({"type": "sleep", "params": {"ms": 60000}, "options": ATTEMPTS}).encode()
        with client.raw() as s:
            s.sendall(post_head(len(body)) + body)
            time.sleep(rng.random() * 0.2)
            if rng.random() < 0.3:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST

    def wrong_requests(self, client, rng):
        cases = [("POST", "/v1/jobs", "{", 400), ("POST", "/v1/jobs", '{"type":"no-such"}', 422),
                 ("POST", "/v1/jobs", '{"type":"primes","params":{"x":1}}', 422), ("GET", "/nowhere", None, 404),
                 ("DELETE", "/v1/types", None, 405), ("GET", "/v1/jobs/nonsense", None, 404),
                 ("GET", "/v1/jobs?limit=x", None, 400),
                 ("POST", "/v1/jobs", '{"type":"echo","params":{"value":' + "[" * 100 + "]" * 100 + "}}", 400)]
        for method, path, body, wanted in rng.sample(cases, 4):
            code, _, data = client.call(method, path, body, JSON if body else {})
            self.expect(code == wanted, f"{method} {path}: {code}, not {wanted}: {data[:300]}")

    def broken_requests(self, client, rng):
        heads = [b"GET / HTTP/9.9\r\n\r\n", b"\0\1\2\3" * 20, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 50000,
                 b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", b"GET", b"\r\n" * 5,
                 b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
        with client.raw() as s:
            s.settimeout(10)
            try:
                s.sendall(rng.choice(heads))
                if rng.random() < 0.5:
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
            except OSError:
                pass  # the service may reset the connection at any time, or leave it open

    def half_closed(self, client, rng):
        """Closes its sending side behind a whole request. What follows is read if there is something."""
        with client.raw() as s:
            s.settimeout(20)
            s.sendall(b"GET /v1/types HTTP/1.1\r\nHost: localhost\r\n\r\n")
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(65536):
                    pass
            except OSError:
                pass

    def idle(self, client, rng):
        """Connections that say nothing, or are kept open."""
        sockets = [client.raw() for _ in range(rng.randrange(1, 30))]
        for s in sockets[::2]:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(rng.random())
        for s in sockets:
            s.close()

    def pipelined(self, client, rng):
        n = rng.randrange(2, 20)
        with client.raw() as s:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * (n - 1) +
                      b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            text = b""
            while piece := s.recv(65536):
                text += piece
        self.expect(text.count(b"HTTP/1.1 200") == n, f"{n} requests in a pipeline: {text.count(b'HTTP/1.1 200')} answers")

    def reads(self, client, rng):
        for path in ("/livez", "/readyz?verbose", "/metrics", "/v1/types", "/v1/workers", "/v1/jobs?limit=100",
                     "/openapi.json", "/v1/jobs?status=failed"):
            code, _, data = client.call("GET", path, headers={"Accept-Encoding": rng.choice(["gzip", "identity"])})
            good = (200, 503) if path.startswith("/readyz") else (200,)  # while workers are killed it is not ready
            self.expect(code in good, f"GET {path}: {code} {data[:300]}")

    LOADS = {"synchronous": 12, "asynchronous": 10, "failing": 1, "maps": 3, "lines": 3, "dropped_lines": 1, "events": 3,
             "large": 2, "large_results": 1, "upload_cut": 2, "keyed": 2, "cancelled": 2, "deleted": 2, "hang_up": 2,
             "wrong_requests": 2, "broken_requests": 2, "half_closed": 1, "idle": 1, "pipelined": 1, "reads": 2}

    def client_loop(self, number):
        rng = random.Random(f"{self.seed}-{self.phase}-{number}")
        client = Client(self.service.port)
        names, weights = zip(*self.LOADS.items())
        first = list(names[number::CLIENTS])  # each kind at least once
        while not self.stop.is_set():
            name = first.pop() if first else rng.choices(names, weights)[0]
            try:
                getattr(self, name)(client, rng)
                with self.lock:
                    self.done[name] += 1
            except Wrong as e:
                self.complain(f"{name}: {e}")
            except Exception:  # whatever it is: the load goes on, and this is reported
                self.complain(f"{name}: {traceback.format_exc()}")
                client.close()
            if len(self.wrong) > 50:
                break
        client.close()

    # ---- faults ----

    def fault_loop(self):
        rng = random.Random(f"{self.seed}-{self.phase}-faults")
        while not self.stop.wait(0.05 + rng.random() * 0.5):
            what = rng.choices(["worker", "zygote", "reload", "freeze"], [12, 1, 1, 2])[0]
            workers, zygotes = self.service.workers(), self.service.zygotes()
            try:
                if what == "worker" and workers:
                    os.kill(rng.choice(workers), signal.SIGKILL)
                elif what == "zygote" and zygotes:
                    os.kill(rng.choice(zygotes), signal.SIGKILL)
                elif what == "freeze" and workers:
                    pid = rng.choice(workers)
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(rng.random() * 0.2)
                    os.kill(pid, signal.SIGCONT)
                elif what == "reload":
                    self.service.config.write_text(f"result-ttl = {rng.randrange(50, 70)}m\n", encoding="ascii")
                    os.kill(self.service.pid, signal.SIGHUP)
                with self.lock:
                    self.done["fault: " + what] += 1
            except ProcessLookupError:
                pass  # it has ended by itself

    # ---- phases ----

    def run_load(self, seconds):
        self.phase += 1
        self.stop.clear()
        threads = [threading.Thread(target=self.client_loop, args=(i,)) for i in range(CLIENTS)]
        threads.append(threading.Thread(target=self.fault_loop))
        for t in threads:
            t.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.service.process.poll() is None and len(self.wrong) <= 50:
            time.sleep(0.2)
        self.stop.set()
        for t in threads:
            t.join()

    def is_quiet(self, client):
        m = client.metrics()
        return (m["offload_jobs_running"] == 0 and all(m[f'offload_jobs_queued{{priority="{p}"}}'] == 0 for p in range(8))
                and m["offload_http_connections"] == 1 and m["offload_webhooks_pending"] == 0
                and m["offload_http_waiting"] == 0
                and m['offload_workers{lane="main",state="idle"}'] == 2
                and m['offload_workers{lane="express",state="idle"}'] == 1
                and len(self.service.zygotes()) == 1 and len(self.service.workers()) == 3)

    def settle(self):
        """Waits until nothing is going on. What is still going on, or nothing."""
        client = Client(self.service.port)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.is_quiet(client):
                client.close()
                time.sleep(0.2)
                return None
            time.sleep(0.1)
        m = client.metrics()
        client.close()
        return {name: value for name, value in m.items() if value and "_total" not in name and "seconds" not in name and
                name.startswith("offload_")}


# ---- checks ----------------------------------------------------------------------------------------------------------


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, wrong):
        """wrong: a list of lines; empty: the check passes."""
        number = self.passed + self.failed + 1
        self.passed += not wrong
        self.failed += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number} - {what}")
        for line in wrong[:20]:
            print("\n".join("# " + part for part in str(line).splitlines()))
        if len(wrong) > 20:
            print(f"# and {len(wrong) - 20} more")
        sys.stdout.flush()


def most_of(name, base):
    return base * MORE_MEMORY + MORE_BYTES if name.startswith("memory") else base


def check_growth(report, service, before, kinds):
    end = time.monotonic() + LATE_S
    after = service.look()
    while any(after[name] > most_of(name, base) for name, base in before.items()) and time.monotonic() < end:
        time.sleep(0.5)
        after = service.look()
    now = service.descriptors()
    print(f"# descriptors that are new: {dict(now - kinds)}, and gone: {dict(kinds - now)}")
    memfds = sum(n for kind, n in now.items() if is_kept(kind))
    report.check("no more memfds than results can be kept", [] if memfds <= KEPT + 5 else [f"{memfds}: {dict(now)}"])
    print("# before, after:")
    for name, base in before.items():
        print(f"#   {name}: {base}, {after[name]}")
    for name, base in before.items():
        most = most_of(name, base)
        if name.startswith("memory") and service.is_sanitized:
            continue  # it keeps what was freed
        report.check(f"not more: {name}", [] if after[name] <= most else [f"{base} before, {after[name]} after; at most {most:.0f}"])


def check_processes(report, service):
    zombies = []
    for pid in descendants_of(service.pid):
        status = read_status(pid)
        if status is not None and status["State"].startswith("Z"):
            zombies.append(f"process {pid}, {status['Name']}")
    report.check("no process is a zombie", zombies)


def check_jobs(report, soak):
    client = Client(soak.service.port)
    wrong, kept = [], 0
    for job, ended in soak.acknowledged.items():
        status, now = client.get_job(job)
        if status == 200:
            kept += 1
            same = all(now.get(name) == ended.get(name) for name in ("status", "finished_at", "result", "error"))
            if not same:
                wrong.append(f"{job} ended twice: {ended}, now {now}")
        elif status not in (404, 410):
            wrong.append(f"{job}: {status} {now}")
    client.close()
    if soak.acknowledged and kept == 0:
        wrong.append("none of the jobs is kept")
    report.check(f"each of the {len(soak.acknowledged)} acknowledged jobs ended once ({kept} are still kept)", wrong)


def check_webhooks(report, soak):
    wrong = []
    for job in soak.webhooks:
        status = soak.acknowledged[job]["status"]
        taken = soak.receiver.taken(job)
        if len(taken) != 1 or taken[0][:2] != (f"job.{status}", status):
            wrong.append(f"{job} ended as {status}; webhooks: {taken}")
    report.check(f"each of the {len(soak.webhooks)} jobs with a webhook sent one, of the right type", wrong)
    strange = [job for job in soak.receiver.seen if job not in soak.webhooks]
    report.check("no other job sent a webhook", strange)


def check_metrics(report, soak, delivered):
    client = Client(soak.service.port)
    m = client.metrics()
    client.close()
    wrong = []
    for kind in COUNTED:
        for status in ENDED:
            counted = m[f'offload_jobs_total{{type="{kind}",status="{status}"}}']
            if counted != soak.ended[kind, status]:
                wrong.append(f"{kind}, {status}: {counted:.0f} in /metrics, {soak.ended[kind, status]} by the clients")
    report.check(f"/metrics counts {sum(soak.ended.values())} jobs as their clients do", wrong)
    counted = m['offload_webhooks_total{outcome="delivered"}']
    report.check("/metrics counts the webhooks as their receiver does",
                 [] if counted == delivered else [f"{counted:.0f} in /metrics, {delivered} received"])


def check_log(report, service):
    bad = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "worker_protocol_error",
           "zygote_protocol_error", "illegal_move")
    with open(service.log, encoding="utf-8", errors="replace") as log:
        wrong = [line.strip()[:500] for line in log if any(word in line for word in bad)]
    report.check("the log has no line about a broken protocol or a sanitizer", wrong)


def check_end(report, service):
    processes = descendants_of(service.pid)
    service.process.send_signal(signal.SIGTERM)
    try:
        status = service.process.wait(60)
    except subprocess.TimeoutExpired:
        service.process.kill()
        status = service.process.wait()
    report.check("SIGTERM ends it with status 0", [] if status == 0 else [f"status {status}"])
    end = time.monotonic() + 10
    left = processes
    while left and time.monotonic() < end:
        left = [pid for pid in left if (s := read_status(pid)) is not None and not s["State"].startswith("Z")]
        time.sleep(0.05)
    report.check("no process is left", [f"process {pid}" for pid in left])


def soak_service(folder, seconds, seed, report):
    receiver = Receiver()
    service = Service(folder, receiver)
    soak = Soak(service, receiver, seed)
    try:
        warm_up = max(6, min(seconds * 0.2, 60))
        soak.run_load(warm_up)
        service.replace_zygote()
        busy = soak.settle()
        report.check("it is quiet after the warm-up", [] if busy is None else [busy])
        before, kinds = service.look(), service.descriptors()
        soak.run_load(max(seconds - warm_up, 6))
        if service.process.poll() is not None:
            report.check("the service lives", [f"it ended with status {service.process.poll()}"] +
                         service.log.read_text(encoding="utf-8").splitlines()[-30:])
        else:
            busy = soak.settle()
            report.check("it is quiet after the load", [] if busy is None else [busy])
            check_growth(report, service, before, kinds)
            check_processes(report, service)
            check_jobs(report, soak)
            check_webhooks(report, soak)
            check_metrics(report, soak, sum(len(taken) for taken in receiver.seen.values()))
            check_end(report, service)
        report.check("every answer was right", soak.wrong)
        missing = [name for name in Soak.LOADS if soak.done[name] == 0]
        report.check("every kind of load was there", missing)
        check_log(report, service)
        print("# " + ", ".join(f"{name} {n}" for name, n in sorted(soak.done.items())))
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    report = Report()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="offload-soak-"))
    print(f"# seed {options.seed}")
    try:
        soak_service(folder, options.minutes * 60, options.seed, report)
    finally:
        if options.keep or report.failed:
            print(f"# the log and the data of the service: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(report.failed != 0)


main()
