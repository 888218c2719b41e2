"""The ways that a request can take through the service. One of its allocations fails, so each says which answers are
right, and looks afterwards whether anything was lost.

    prepare(n)   what the request needs; with all the memory it wants
    run(n)       the request: "right", the code of a problem, or "closed". It raises Wrong for any other answer
    after(n)     what must hold now; with all the memory again
"""

import gzip
import http.server
import json
import os
import signal
import threading
import time

from service import Wrong

PROBLEMS = (429, 500, 503, 507)


def judge(answer, is_right):
    if answer is None:
        return "closed"
    if answer.cut and (answer.by_tls or answer.headers.get("Transfer-Encoding") == "chunked"):
        return "cut"  # the head was sent already: nothing else can say so
    try:
        if not answer.cut and is_right(answer):
            return "right"
    except (ValueError, KeyError, IndexError):
        pass
    if answer.status in PROBLEMS and answer.problem() is not None:
        return answer.problem()
    raise Wrong(f"a wrong answer: {answer.status} {answer.headers.items()} {answer.body[:400]}")


class Path:
    every = True  # whether each k is tried if there are not too many
    same_workers = True

    def __init__(self, service):
        self.service = service

    def prepare(self, n):
        pass

    def after(self, n):
        pass

    def again(self, n):
        """The same request until it is right. A store that was in trouble says so, and is tried again each second."""
        end = time.monotonic() + 8
        outcome = self.run(n)
        while outcome == "store_unavailable" and time.monotonic() < end:
            time.sleep(0.02)
            outcome = self.run(n)
        if outcome != "right":
            raise Wrong(f"the same request cannot be made again: {outcome}")

    def post(self, body, **headers):
        return self.service.ask("POST", "/v1/jobs", body, {k.replace("_", "-"): v for k, v in headers.items()})

    def submit(self, body):
        """With all the memory. The job's id."""
        return self.service.must("POST", "/v1/jobs", body, {"Prefer": "respond-async"}, 202).json()["id"]

    def end_of(self, job):
        """Waits for the job's end, also if a request of it fails. The Job, or None if it is not there."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            answer = self.service.ask("GET", f"/v1/jobs/{job}", None, {"Prefer": "wait=5"})
            if answer is not None and answer.status == 404:
                return None
            if answer is not None and answer.status == 200 and "finished_at" in answer.json():
                return answer.json()
            time.sleep(0.01)
        raise Wrong(f"job {job} does not end")


class Sync(Path):
    def body(self, n):
        return {"type": "echo", "params": {"value": n}}

    def result(self, n):
        return {"value": n}

    def is_right(self, answer, n):
        return answer.status == 200 and answer.json()["result"] == self.result(n)

    def headers(self, n):
        return {}

    def run(self, n):
        return judge(self.post(self.body(n), **self.headers(n)), lambda a: self.is_right(a, n))


class Keyed(Sync):
    """With an Idempotency-Key. Afterwards the same key gets the same job, or makes it."""

    def headers(self, n):
        return {"Idempotency_Key": f'"{type(self).__name__}-{n}"'}

    def after(self, n):
        self.again(n)


class Map(Sync):
    def body(self, n):
        return {"type": "echo", "items": [{"value": n}, {"value": [n]}, {"value": "x"}]}

    def is_right(self, answer, n):
        items = answer.json()["result"]["items"] if answer.status == 200 else []
        return [i["result"]["value"] for i in items] == [n, [n], "x"]


class LargeMap(Map):
    def body(self, n):
        return json.dumps(super().body(n)).encode() + b" " * 4096


class Stream(Map):
    def headers(self, n):
        return {"Accept": "application/x-ndjson"}

    def is_right(self, answer, n):
        lines = [json.loads(line) for line in answer.body.decode().splitlines()]
        values = {line["index"]: line["result"]["value"] for line in lines if "index" in line}
        return answer.status == 200 and values == {0: n, 1: [n], 2: "x"}


class Upload(Sync):
    def body(self, n):
        return json.dumps(super().body(n)).encode() + b" " * 100000


class Compressed(Sync):
    """A worker inflates the body."""

    def body(self, n):
        return gzip.compress(json.dumps(super().body(n)).encode() + b" " * 20000)

    def headers(self, n):
        return {"Content_Encoding": "gzip", "Content_Type": "application/json"}


class LargeResult(Sync):
    """The result is in a memfd. A worker compresses it; if there is no memory for that, it is sent as it is."""

    def prepare(self, n):
        self.job = self.submit({"type": "echo", "params": {"value": "x" * 200000}})
        self.end_of(self.job)

    def run(self, n):
        answer = self.service.ask("GET", f"/v1/jobs/{self.job}/result", None, {"Accept-Encoding": "gzip"})
        return judge(answer, lambda a: a.status == 200 and self.is_whole(a))

    @staticmethod
    def is_whole(answer):
        if "Content-Encoding" in answer.headers:
            return answer.body[:2] == b"\x1f\x8b" and len(answer.body) > 100
        return answer.body == b'{"value":"' + b"x" * 200000 + b'"}'


class Printed(Sync):
    """A job that prints. Its log can lack what there was no memory for; the job does not notice."""

    def body(self, n):
        return {"type": "report", "params": {"print": f"{n}\n", "cost_us": 0}}

    def is_right(self, answer, n):
        return answer.status == 200 and answer.json()["result"]["survived_attempts"] == 0


class Log(Sync):
    """It is read from the disk, or from memory."""

    def prepare(self, n):
        self.job = self.submit({"type": "report", "params": {"print": f"{n}\n", "lines": 2000}})
        self.end_of(self.job)

    def run(self, n):
        lines = [str(n)] + [f"line {i}" for i in range(2000)]
        answer = self.service.ask("GET", f"/v1/jobs/{self.job}/log")
        return judge(answer, lambda a: a.status == 200 and a.body.decode().splitlines() == lines)


class KeyedUpload(Keyed, Upload):
    pass


class Async(Sync):
    """What is answered 202 ends, and is there after a restart."""

    def __init__(self, service):
        super().__init__(service)
        self.accepted = {}

    def headers(self, n):
        return {"Prefer": "respond-async"}

    def is_right(self, answer, n):
        if answer.status != 202:
            return False
        self.accepted[answer.json()["id"]] = n
        self.check_end(answer.json()["id"])
        return True

    def check_end(self, job):
        ended = self.end_of(job)
        if ended is None:
            raise Wrong(f"job {job} was answered 202, and is lost")
        if ended["status"] != "succeeded" or ended["result"] != self.result(self.accepted[job]):
            raise Wrong(f"job {job} was answered 202, and ended so: {str(ended)[:600]}")

    def after(self, n):
        if self.accepted:
            self.check_end(list(self.accepted)[-1])


class AsyncKeyed(Async):
    def headers(self, n):
        return {"Prefer": "respond-async", "Idempotency_Key": f'"async-{n}"'}

    def is_right(self, answer, n):
        return super().is_right(answer, n) if answer.status == 202 else Sync.is_right(self, answer, n)

    def after(self, n):
        super().after(n)
        self.again(n)


class AsyncUpload(Async, Upload):
    pass


class AsyncPlanned(Async):
    """Its one chunk takes longer than a 202 waits, so it is sent by itself."""

    def body(self, n):
        return {"type": "primes", "params": {"start": 0, "stop": 3000000 + n % 10}}

    def result(self, n):
        return {"count": 216816}


class AsyncChunks(Async):
    def body(self, n):
        return {"type": "sum", "params": {"start": 0, "stop": 20000, "power": 2}, "options": {"chunks": 4}}

    def result(self, n):
        return {"sum": "2666466670000", "count": 20000}


class Restarted(Async):
    """A worker dies at the job, which is tried again."""

    same_workers = False

    def body(self, n):
        return {"type": "crash", "params": {"how": "SIGKILL", "times": 1}, "options": {"max_attempts": 4}}

    def check_end(self, job):
        ended = self.end_of(job)
        if ended is None or ended["status"] != "succeeded":
            raise Wrong(f"job {job} was answered 202, and ended so: {str(ended)[:600]}")


class Get(Path):
    def prepare(self, n):
        if not hasattr(self, "job"):
            self.job = self.submit({"type": "echo", "params": {"value": 7}})
            self.end_of(self.job)

    def run(self, n):
        return judge(self.service.ask("GET", f"/v1/jobs/{self.job}"), lambda a: a.json()["result"]["value"] == 7)


class Result(Get):
    def run(self, n):
        return judge(self.service.ask("GET", f"/v1/jobs/{self.job}/result"), lambda a: a.json() == {"value": 7})


class List(Get):
    def run(self, n):
        return judge(self.service.ask("GET", "/v1/jobs?limit=20"),
                     lambda a: a.status == 200 and len(a.json()["jobs"]) >= 1)


class Poll(Path):
    """Waits for a job that runs."""

    def prepare(self, n):
        self.job = self.submit({"type": "sleep", "params": {"ms": 20}})

    def run(self, n):
        answer = self.service.ask("GET", f"/v1/jobs/{self.job}", None, {"Prefer": "wait=5"})
        return judge(answer, lambda a: a.status == 200 and a.json()["status"] == "succeeded")

    def after(self, n):
        ended = self.end_of(self.job)
        if ended is None or ended["status"] != "succeeded":
            raise Wrong(f"the job ended so: {ended}")


class Events(Poll):
    def run(self, n):
        answer = self.service.ask("GET", f"/v1/jobs/{self.job}/events")
        return judge(answer, lambda a: a.status == 200 and b"event: end" in a.body)


class Cancel(Path):
    def prepare(self, n):
        self.job = self.submit({"type": "sleep", "params": {"ms": 60000}})

    def run(self, n):
        answer = self.service.ask("POST", f"/v1/jobs/{self.job}/cancel")
        return judge(answer, lambda a: a.status in (200, 202) and a.json()["id"] == self.job)

    def after(self, n):
        self.again(n)
        if self.end_of(self.job)["status"] != "cancelled":
            raise Wrong("it was not cancelled")


class Delete(Get):
    def prepare(self, n):
        self.job = self.submit({"type": "echo", "params": {"value": 7}})
        self.end_of(self.job)

    def run(self, n):
        return judge(self.service.ask("DELETE", f"/v1/jobs/{self.job}"), lambda a: a.status in (204, 410))

    def after(self, n):
        self.again(n)
        self.service.must("GET", f"/v1/jobs/{self.job}", status=410)


class Invalid(Path):
    """The answer names what is wrong with the body."""

    def run(self, n):
        answer = self.post({"type": "echo", "params": {"value": 1, "other": 2}, "options": {"nonsense": n}})
        return judge(answer, lambda a: a.status == 400 or a.status == 422)


class Embeddings(Sync):
    """As OpenAI's API."""

    def post(self, body, **headers):
        return self.service.ask("POST", "/v1/embeddings", body, {k.replace("_", "-"): v for k, v in headers.items()})

    def body(self, n):
        return {"model": "hash-384", "input": ["hi there", str(n)], "dimensions": 3}

    def is_right(self, answer, n):
        data = answer.json()["data"] if answer.status == 200 else []
        return len(data) == 2 and data[0]["embedding"] == [0.4472136, 0.8944272, 0.0]


class LargeEmbeddings(Embeddings):
    def body(self, n):
        return json.dumps(super().body(n)).encode() + b" " * 100000


class NoModel(Embeddings):
    def body(self, n):
        return {"model": str(n), "input": "a"}

    def is_right(self, answer, n):
        return answer.status == 404 and answer.json()["error"]["code"] == "model_not_found"


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Webhook(Async):
    def __init__(self, service):
        super().__init__(service)
        self.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self.receiver.got = []
        self.receiver.daemon_threads = True
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()

    def body(self, n):
        url = f"http://127.0.0.1:{self.receiver.server_port}/hook"
        return {"type": "echo", "params": {"value": n}, "options": {"webhook": url}}

    def has_come(self, job, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any(job in json.dumps(body) for body in list(self.receiver.got)):
                return True
            self.service.check_alive()
            time.sleep(0.005)
        return False

    def check_end(self, job):
        super().check_end(job)
        if not self.has_come(job, 40):  # a transfer that libcurl gives up can take its whole timeout, and is tried again
            raise Wrong(f"the webhook of job {job} never came")


class Reload(Path):
    """All workers are replaced, or the log says that the reload has failed."""

    same_workers = False

    def workers(self):
        answer = self.service.ask("GET", "/v1/workers")
        workers = answer.json()["workers"] if answer is not None and answer.status == 200 else []
        return {w["pid"] for w in workers if w["state"] == "idle"}

    def prepare(self, n):
        end = time.monotonic() + 8
        while len(self.workers()) != 3 and time.monotonic() < end:
            time.sleep(0.01)
        self.before = self.workers()

    def run(self, n):
        start = os.path.getsize(self.service.log_path)
        self.service.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 8
        while time.monotonic() < end:
            now = self.workers()
            if len(now) == len(self.before) and not now & self.before:
                return "right"
            for event in ("reload_failed", "handler_load_failed"):
                if f'"event":"{event}"' in self.service.log()[start:]:
                    return event
            time.sleep(0.005)
        raise Wrong("the reload neither succeeded nor failed")


class WorkerMap(Map):
    """The path of a worker: it parses, plans, runs and merges. An item can fail alone."""

    def is_right(self, answer, n):
        items = answer.json()["result"]["items"] if answer.status == 200 else []
        wanted = [n, [n], "x"]
        return len(items) == len(wanted) and all(
            i["error"]["code"] == "memory_limit" if "error" in i else i["result"]["value"] == w
            for i, w in zip(items, wanted))

    def body(self, n):
        return json.dumps(super().body(n)).encode() + b" " * 4096


class WorkerChunks(Sync):
    def body(self, n):
        return {"type": "sum", "params": {"start": 0, "stop": 20000, "power": 2}, "options": {"chunks": 3}}

    def result(self, n):
        return {"sum": "2666466670000", "count": 20000}


IN_MEMORY = [Keyed, AsyncKeyed, List, Delete, Printed, Log]
class SyncOpen(Sync):
    """On a connection that is there already."""

    def prepare(self, n):
        self.connection = self.service.connect()
        self.connection.request("GET", "/livez")
        self.connection.getresponse().read()

    def run(self, n):
        connection, self.connection = self.connection, None
        headers, body = {"Content-Type": "application/json"}, json.dumps(self.body(n)).encode()
        return judge(self.service.ask_on(connection, "POST", "/v1/jobs", body, headers), lambda a: self.is_right(a, n))


class UploadOpen(SyncOpen):
    """The body goes into a memfd, and so does the result."""

    same_workers = False

    def body(self, n):
        return {"type": "echo", "params": {"value": [n] * 60000}}

    def result(self, n):
        return {"value": [n] * 60000}

    def is_right(self, answer, n):
        job = answer.json()
        return answer.status == 200 and (job.get("result") == self.result(n) or "result" in job["links"])


BY_TLS = [SyncOpen, UploadOpen]
IN_WORKERS = [WorkerMap, WorkerChunks]
ALL = [Sync, Keyed, Map, LargeMap, Stream, Upload, KeyedUpload, Compressed, LargeResult, Async, AsyncKeyed, AsyncUpload,
       AsyncChunks, Restarted, Get, Result, Printed, Log, List, Poll, Events, Cancel, Delete, Invalid, Embeddings,
       LargeEmbeddings, NoModel, Webhook, Reload]
