"""restart.py OFFLOADD DIRECTORY [--jobs N] [--clients N] [--kills N] [--keys] [--signal NAME]

Kills the service again and again while clients submit jobs to it, and checks that every job that was answered 202 ends
exactly once, with the right result. Prints one line of figures; if something is wrong it says what, and exits with 1.
It ends only processes that it has started."""

import argparse
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time

START_S, END_S = 30, 120
ENDED = ("succeeded", "failed", "cancelled")

# Jobs with several chunks, with one chunk, and quick ones, each with its result. %d makes them different.
KINDS = [
    ('{"type":"primes","params":{"start":0,"stop":30000000},"options":{"chunks":4,"max_attempts":100}}', lambda n: {"count": 1857859}),
    ('{"type":"sum","params":{"start":0,"stop":20000000,"power":2},"options":{"chunks":5,"max_attempts":100}}',
     lambda n: {"sum": "2666666466666670000000", "count": 20000000}),
    ('{"type":"echo","params":{"value":%d}}', lambda n: {"value": n}),
    ('{"type":"burn","params":{"cpu_ms":30,"chunks":3}}', lambda n: None),
]


# Jobs with binary data, which is spooled to a file: the sum of its bytes, and the data themselves.
DATA_KINDS = ["sum", "copy"]
DATA_SIZE = 300_000


class Wrong(Exception):
    pass


def data_of(n):
    return (f"data {n} ".encode() * (DATA_SIZE // 6 + 1))[:DATA_SIZE]


def data_kind(n):
    k = n % (len(KINDS) + len(DATA_KINDS)) - len(KINDS)
    return DATA_KINDS[k] if k >= 0 else None


def request_of(n):
    """The path, the media type and the body."""
    kind, path = data_kind(n), "/v1/jobs"
    if kind == "sum":
        return f"{path}?type=bytes&op=sum", "application/octet-stream", data_of(n)
    if kind == "copy":
        lines = ["--part", 'Content-Disposition: form-data; name="job"', "", '{"type":"bytes","params":{"op":"copy"}}', "--part",
                 'Content-Disposition: form-data; name="data"; filename="data"', "Content-Type: text/plain", "", ""]
        return path, "multipart/form-data; boundary=part", "\r\n".join(lines).encode() + data_of(n) + b"\r\n--part--\r\n"
    text = KINDS[n % (len(KINDS) + len(DATA_KINDS))][0]
    return path, "application/json", text % n if "%d" in text else text


def check_result(n, job):
    if job["status"] != "succeeded":
        raise Wrong(f"job {n} ended as {job['status']}: {json.dumps(job)[:500]}")
    kind = data_kind(n)
    if kind is None:
        wanted = KINDS[n % (len(KINDS) + len(DATA_KINDS))][1](n)
    else:
        wanted = {"sum": sum(data_of(n))} if kind == "sum" else None
    if wanted is not None and job["result"] != wanted:
        raise Wrong(f"job {n} has the result {job['result']}, not {wanted}")
    if kind == "copy" and job["result_size"] != DATA_SIZE:
        raise Wrong(f"job {n} has a result of {job['result_size']} bytes")
    causes = {lost["cause"] for lost in job.get("lost", [])}
    if not causes <= {"restart"} or (job["attempts"] > 1) != bool(causes):
        raise Wrong(f"job {n}: attempts {job['attempts']}, lost {causes}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    """The service on one port and one directory, killed and started anew."""

    def __init__(self, program, directory):
        self.program, self.directory, self.port = program, directory, free_port()
        self.starts = 0
        self.process = None

    def start(self):
        self.starts += 1
        self.log = os.path.join(self.directory, f"log-{self.starts:04}")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [self.program, "--listen", f"127.0.0.1:{self.port}", "--data-dir", os.path.join(self.directory, "data"),
                 "--enable-test-types", "--workers", "2", "--drain-timeout", "1s", "--log-level", "debug"],
                stdin=subprocess.DEVNULL, stderr=log)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with open(self.log, "rb") as log:
                if b'"event":"ready"' in log.read():
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        with open(self.log, "rb") as log:
            raise Wrong(f"it did not start ({self.process.poll()}): {log.read()[-3000:].decode()}")

    def end(self, number):
        self.process.send_signal(number)
        code = self.process.wait(END_S)
        if number != signal.SIGKILL and code != 0:
            raise Wrong(f"it exited with {code} after signal {number}")


class Client(threading.Thread):
    def __init__(self, port, numbers, keys):
        super().__init__(daemon=True)
        self.port, self.numbers, self.keys = port, numbers, keys
        self.connection = None
        self.ids, self.ended, self.error = {}, {}, None

    def ask(self, method, path, body=None, headers=None):
        """Sends one request; the answer, or None if the service is not there."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            self.connection.request(method, path, body, headers or {})
            answer = self.connection.getresponse()
            body = answer.read()
            return answer.status, body if path.endswith("/result") else json.loads(body or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            self.connection.close()
            self.connection = None
            time.sleep(0.01)
            return None

    def submit(self, n):
        path, media_type, body = request_of(n)
        headers = {"Content-Type": media_type, "Prefer": "respond-async"}
        if self.keys:
            headers["Idempotency-Key"] = f'"job-{n}"'
        while True:
            answer = self.ask("POST", path, body, headers)
            if answer is None or answer[0] in (429, 503):
                time.sleep(0.01)
                continue
            if answer[0] != 202:
                raise Wrong(f"job {n} was answered {answer}")
            self.ids[n] = answer[1]["id"]
            return

    def wait(self, n):
        end = time.monotonic() + END_S
        while time.monotonic() < end:
            answer = self.ask("GET", f"/v1/jobs/{self.ids[n]}", None, {"Prefer": "wait=5"})
            if answer is None or answer[0] == 503:
                time.sleep(0.01)
                continue
            if answer[0] != 200:
                raise Wrong(f"job {n} was acknowledged as {self.ids[n]} and is now {answer}")
            job = answer[1]
            if n in self.ended and job["status"] not in ENDED:
                raise Wrong(f"job {n} had ended and is {job['status']} again")
            if job["status"] in ENDED:
                check_result(n, job)
                self.ended[n] = job["finished_at"]
                return
        raise Wrong(f"job {n} never ended")

    def check_bytes(self, n):
        end = time.monotonic() + END_S
        while time.monotonic() < end:
            answer = self.ask("GET", f"/v1/jobs/{self.ids[n]}/result")
            if answer is None or answer[0] == 503:
                time.sleep(0.01)
            elif answer != (200, data_of(n)):
                raise Wrong(f"job {n} has another result: {answer[0]}, {len(answer[1])} bytes")
            else:
                return
        raise Wrong(f"the result of job {n} could not be read")

    def run(self):
        try:
            for n in self.numbers:
                self.submit(n)
                if n % 3 == 0:
                    self.wait(n)
            for n in self.numbers:
                if data_kind(n) == "copy":
                    self.wait(n)
                    self.check_bytes(n)
                before = self.ended.get(n)
                self.wait(n)
                if before is not None and before != self.ended[n]:
                    raise Wrong(f"job {n} ended twice: {before} and {self.ended[n]}")
        except Wrong as e:
            self.error = str(e)
        except Exception as e:  # a broken test must not pass
            self.error = f"{type(e).__name__}: {e}"


def check_files(directory, client, jobs, keys):
    """When all jobs have ended there is a file for each large result, and no other. Without keys there are jobs whose 202
    was lost, and their requests were sent again."""
    end = time.monotonic() + END_S
    for status in ("queued", "running"):
        answer = None  # what is queued comes before what runs: a job goes that way
        while answer is None or answer[0] != 200 or answer[1]["jobs"]:
            if time.monotonic() > end:
                raise Wrong(f"there are jobs that stay {status}: {answer}")
            answer = client.ask("GET", f"/v1/jobs?status={status}")
            time.sleep(0.02)
    names = os.listdir(os.path.join(directory, "data", "files"))
    others = [name for name in names if "-result-" not in name or name.endswith(".draft")]
    wanted = sum(data_kind(n) == "copy" for n in range(jobs))
    if others or len(names) < wanted or (keys and len(names) > wanted):
        raise Wrong(f"{wanted} results are files, and there are {len(names)} files, among them {others[:5]}")


def ends_in_logs(directory):
    """How often the end of each job was logged. It is logged when it is on disk."""
    counts = {}
    for name in sorted(os.listdir(directory)):
        if not name.startswith("log-"):
            continue
        with open(os.path.join(directory, name), "rb") as log:
            for line in log:
                if b'"event":"job_ended"' in line:
                    try:
                        job = json.loads(line)["job"]
                    except ValueError:
                        continue  # cut off by the kill
                    counts[job] = counts.get(job, 0) + 1
    return counts


def main():
    a = argparse.ArgumentParser()
    a.add_argument("program")
    a.add_argument("directory")
    a.add_argument("--jobs", type=int, default=2000)
    a.add_argument("--clients", type=int, default=16)
    a.add_argument("--kills", type=int, default=50)
    a.add_argument("--keys", action="store_true", help="with an Idempotency-Key: each request runs once, however often it is sent")
    a.add_argument("--signal", default="SIGKILL")
    o = a.parse_args()
    daemon = Daemon(o.program, o.directory)
    daemon.start()
    clients = [Client(daemon.port, range(c, o.jobs, o.clients), o.keys) for c in range(o.clients)]
    for c in clients:
        c.start()
    kills = 0
    try:
        while kills < o.kills or any(c.is_alive() for c in clients):
            if any(c.error for c in clients):
                break
            if daemon.process.poll() is not None:
                raise Wrong(f"it died by itself ({daemon.process.returncode}), see {daemon.log}")
            time.sleep(random.uniform(0.02, 0.35))
            if kills < o.kills:
                daemon.end(getattr(signal, o.signal))
                kills += 1
                daemon.start()
        for c in clients:
            c.join(END_S)
        clients[0].connection = None  # it can have ended before the last kill, and has a connection to what was killed
        errors = [c.error for c in clients if c.error]
        ids = [i for c in clients for i in c.ids.values()]
        if not errors and len(set(ids)) != o.jobs:
            errors.append(f"{len(set(ids))} ids for {o.jobs} jobs")
        if o.keys and not errors:
            listed, cursor = 0, ""
            while True:
                page = clients[0].ask("GET", f"/v1/jobs?limit=1000{cursor}")[1]
                listed += len(page["jobs"])
                if "next_cursor" not in page:
                    break
                cursor = f"&cursor={page['next_cursor']}"
            if listed != o.jobs:
                errors.append(f"{o.jobs} keys made {listed} jobs")
        twice = [i for i, count in ends_in_logs(o.directory).items() if count > 1]
        if twice:
            errors.append(f"ended more than once: {twice[:5]}")
        if errors:
            raise Wrong("; ".join(errors[:3]))
        check_files(o.directory, clients[0], o.jobs, o.keys)
    except Wrong as e:
        print(f"wrong after {kills} kills: {e}")
        return 1
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
    print(f"{o.jobs} jobs, {o.clients} clients, {kills} x {o.signal}: all ended once, and right")
    return 0


sys.exit(main())
