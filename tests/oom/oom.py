#!/usr/bin/env python3
"""oom.py OFFLOADD FAILING.SO [PATH...]: lets each allocation on the way of a request fail, once; prints TAP.

For each path (paths.py) the allocations of one request are counted. Then the request is made again and again, and each
time another of its allocations fails. The service must live, give a right answer or say clearly that it cannot, lose
nothing that it has acknowledged, keep nothing, and answer the next request right. The connection can be closed without
an answer only where the memory for the answer itself is missing.

Where there are many allocations, some are picked, always the same ones: OOM_SEED names others, and with OOM_ALL=1 each
of them fails; OOM_K="3,17" picks these. OOM_KEEP=1 keeps the logs. PATH: only these paths.
"""

import collections
import hashlib
import os
import random
import shutil
import ssl
import subprocess
import sys
import tempfile
import time

import paths
from page import Maps, Page
from service import Service, Wrong

PICKED = 25
STARTS = 20
IN_WORKER = 30
QUIET_S = 10
ANSWER_FUNCTIONS = ("http_request_new", "http_connection_new", "http_answer", "http_queue", "slice_response",
                    "begin_request")
OPTIONS = ("--workers", "2", "--express-workers", "1", "--keep-sync", "2", "--webhook-allow", "127.0.0.1",
           "--webhook-retry", "50ms", "--webhook-timeout", "2s", "--retry-delay", "10ms")


QUOTAS = "rate=1000000/s jobs=100000 cpu=1000000/h bytes=1000GiB/h"


class Driver:
    def __init__(self, program, library, directory):
        self.program, self.library, self.directory = program, library, directory
        self.page = Page(os.path.join(directory, "page"))
        key, keys = "offload_" + "k" * 43, os.path.join(directory, "keys")
        with open(keys, "w", encoding="ascii") as file:
            file.write(f"key sha256:{hashlib.sha256(key.encode()).hexdigest()} submit,read {QUOTAS}\n")
        self.options = (*OPTIONS, "--keys", keys)
        self.service = Service(program, library, self.page, directory, self.options)
        self.service.headers = {"Authorization": f"Bearer {key}"}
        self.numbers = iter(range(1000, 10**9))
        self.maps = None
        self.number = self.failures = 0
        self.seed = int(os.environ.get("OOM_SEED", "1"))
        self.all = bool(os.environ.get("OOM_ALL"))

    def start(self):
        self.page.disarm()
        if not self.service.start():
            raise Wrong(f"it did not start:\n{self.service.log()[-2000:]}")
        self.maps = Maps(self.service.process.pid)

    def pick(self, count, at_most):
        everything = range(1, count + 1)
        if os.environ.get("OOM_K"):
            return [int(k) for k in os.environ["OOM_K"].split(",")]
        if self.all or count <= at_most:
            return everything
        return sorted(random.Random(self.seed).sample(everything, at_most))

    def callers(self):
        return self.maps.callers(self.page.frames(), self.program)

    def next_is_right(self):
        if paths.Sync(self.service).run(next(self.numbers)) != "right":
            raise Wrong("the next request was not answered right")

    def quiet_state(self):
        """The state when the connections of earlier requests are closed, and nothing changes any more."""
        end = time.monotonic() + QUIET_S
        before, state = None, self.service.state()
        while (state["offload_http_connections"] != 1 or state != before) and time.monotonic() < end:
            time.sleep(0.02)
            before, state = state, self.service.state()
        return state

    def check_quiet(self, base, path):
        end = time.monotonic() + QUIET_S
        tries = 0
        while True:
            now = self.service.state()
            different = {k: (base.get(k, 0), now.get(k, 0)) for k in base.keys() | now.keys()
                         if base.get(k, 0) != now.get(k, 0) and (path.same_workers or "worker" not in k)
                         and (self.service.data != "none" or "held" not in k)}
            if not different:
                return
            if time.monotonic() > end:
                raise Wrong(f"not as before: {different}")
            time.sleep(0.005)
            tries += 1
            if tries % 20 == 0:
                self.next_is_right()  # what is remembered of the last jobs is replaced

    def once(self, path, base, k):
        """Lets the k-th allocation fail. The outcome, or None if there were fewer."""
        n = next(self.numbers)
        path.prepare(n)
        self.page.arm(self.service.process.pid, first=k)
        try:
            outcome = path.run(n)
        finally:
            self.page.disarm()
        if self.page.read()["failed"] == 0:
            path.after(n)
            return None
        self.service.check_alive()
        if outcome == "closed":
            names = self.callers()
            if not names[0].startswith(("libmicrohttpd", "libgnutls", "libnettle")) and not any(n.startswith(ANSWER_FUNCTIONS) for n in names):
                raise Wrong("the connection was closed without an answer")
        path.after(n)
        self.next_is_right()
        self.check_quiet(base, path)
        return outcome

    def report(self, name, wrong, outcomes, count):
        self.number += 1
        said = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
        print(f"{'not ok' if wrong else 'ok'} {self.number} - {name}: {count} allocations, failed: {said}", flush=True)
        self.failures += bool(wrong)
        for callers, faults in wrong.items():
            print(f"#   {callers}")
            for k, text in faults[:2]:
                print(f"#       {k}: {text[:1500]}".replace("\n", "\n#       "))
            if len(faults) > 2:
                print(f"#       and {len(faults) - 2} more: {[k for k, _ in faults[2:]]}")
        sys.stdout.flush()

    def run_path(self, kind, where=""):
        path = kind(self.service)
        for _ in range(3):
            n = next(self.numbers)
            path.prepare(n)
            path.run(n)
            path.after(n)
        self.next_is_right()
        self.next_is_right()
        base = self.quiet_state()
        n = next(self.numbers)
        path.prepare(n)
        self.page.arm(self.service.process.pid)
        path.run(n)
        self.page.disarm()
        count = self.page.read()["count"]
        wrong, outcomes = collections.OrderedDict(), collections.Counter()
        for k in self.pick(count, PICKED):
            try:
                outcomes[self.once(path, base, k)] += 1
            except (Wrong, ValueError) as e:  # ValueError: what should be JSON is not
                self.page.disarm()
                outcomes["wrong"] += 1
                wrong.setdefault(" < ".join(self.callers()[:14]), []).append((k, str(e)))
                if self.service.process.poll() is not None:
                    self.start()
                else:
                    try:
                        self.check_quiet(base, path)
                    except Wrong:
                        self.service.stop(9)
                        self.start()
                for _ in range(3):
                    self.next_is_right()
                base = self.quiet_state()
                if sum(map(len, wrong.values())) > 40:
                    break
        self.report(kind.__name__ + where, wrong, outcomes, count)
        return path

    def check_after_restart(self, ran):
        """What was answered 202 ended once, and is there after a restart."""
        wrong = collections.OrderedDict()
        try:
            status = self.service.stop()
            if status != 0:
                raise Wrong(f"it ended with {status}:\n{self.service.log()[-3000:]}")
            self.start()
            for path in ran:
                for job in getattr(path, "accepted", {}):
                    if path.end_of(job) is None:
                        raise Wrong(f"job {job} is lost ({type(path).__name__})")
            ends = collections.Counter()
            for line in self.service.all_logs():
                if '"event":"job_ended"' in line:
                    ends[line.split('"job":"')[1].split('"')[0]] += 1
            twice = [job for job, count in ends.items() if count > 1]
            if twice:
                raise Wrong(f"jobs ended twice: {twice[:5]}")
        except Wrong as e:
            wrong["restart"] = [(0, str(e))]
        self.report("all of it is there after a restart", wrong, collections.Counter(), 0)

    def the_worker(self):
        """The pid of the worker that takes tasks first, when it is idle."""
        end = time.monotonic() + QUIET_S
        while time.monotonic() < end:
            workers = self.service.must("GET", "/v1/workers").json()["workers"]
            main = [w["pid"] for w in workers if w["lane"] == "main"]
            if main and all(w["state"] == "idle" for w in workers):
                return main[0]
            time.sleep(0.01)
        raise Wrong(f"the workers do not become idle: {workers}")

    def run_in_worker(self, kind):
        """The allocations of a worker. It can die of that: then its task runs again."""
        path = kind(self.service)
        path.run(next(self.numbers))
        self.page.arm(self.the_worker())
        path.run(next(self.numbers))
        self.page.disarm()
        count = self.page.read()["count"]
        wrong, outcomes = collections.OrderedDict(), collections.Counter()
        for k in self.pick(count, IN_WORKER):
            try:
                self.page.arm(self.the_worker(), first=k)
                outcome = path.run(next(self.numbers))
                self.page.disarm()
                if outcome == "closed":
                    raise Wrong("the connection was closed without an answer")
                outcomes[outcome] += 1
                self.service.check_alive()
                self.next_is_right()
            except Wrong as e:
                self.page.disarm()
                outcomes["wrong"] += 1
                wrong.setdefault(" < ".join(self.callers()[:14]), []).append((k, str(e)))
                if self.service.process.poll() is not None:
                    self.start()
        self.report(kind.__name__ + " in a worker", wrong, outcomes, count)

    def run_in_memory(self, kinds):
        """With the store that keeps jobs in memory."""
        data, self.service.data = self.service.data, "none"
        self.start()
        for kind in kinds:
            self.run_path(kind, " without a disk")
        self.service.stop()
        self.service.data = data

    def make_certificate(self):
        certificate, key = os.path.join(self.directory, "certificate"), os.path.join(self.directory, "key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "100", "-subj", "/CN=oom", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key,
                        "-out", certificate], check=True, stderr=subprocess.DEVNULL)
        return certificate, key

    def run_by_tls(self, kinds):
        """With TLS. The handshake has all the memory that it wants: see tls.c."""
        certificate, key = self.make_certificate()
        self.service.options = (*self.options, "--tls-cert", certificate, "--tls-key", key)
        self.service.context = ssl.create_default_context(cafile=certificate)
        self.start()
        for kind in kinds:
            self.run_path(kind, " by TLS")
        self.service.stop()
        self.service.options, self.service.context = self.options, None

    def run_in_workers(self, kinds):
        self.service.options = ("--workers", "1", "--express-workers", "1", "--retry-delay", "10ms")
        self.start()
        for kind in kinds:
            self.run_in_worker(kind)
        self.service.stop()

    def run_starts(self):
        """Starts with jobs that an earlier process has left."""
        left = os.path.join(self.directory, "left")
        self.service.start(left)
        path = paths.Async(self.service)
        jobs = [path.submit({"type": "sleep", "params": {"ms": 600000}}) for _ in range(6)]
        done = path.submit({"type": "echo", "params": {"value": "x" * 20000}})
        path.end_of(done)
        self.service.stop(9)
        copy = os.path.join(self.directory, "copy")

        def start(first):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(left, copy)
            self.page.arm(0, first=first)
            ready = self.service.start(copy)
            self.page.disarm()
            return ready

        def check_there():
            for job in [*jobs, done]:
                self.service.must("GET", f"/v1/jobs/{job}")

        start(0)
        count = self.page.read()["count"]
        self.maps = Maps(self.service.process.pid)
        self.service.stop(9)
        wrong, outcomes = collections.OrderedDict(), collections.Counter()
        for k in self.pick(count, STARTS):
            try:
                ready = start(k)
                log = self.service.log()
                if ready:
                    self.maps = Maps(self.service.process.pid)
                    check_there()
                    outcomes["right"] += 1
                    self.service.stop(9)
                else:
                    status = self.service.process.returncode
                    if status not in (1, 2) or not log.strip():
                        raise Wrong(f"it ended with {status}, and said: {log[-1500:]}")
                    outcomes["ended"] += 1
                    self.page.disarm()
                    if not self.service.start(copy):
                        raise Wrong(f"the next start failed: {self.service.log()[-1500:]}")
                    check_there()
                    self.service.stop(9)
            except Wrong as e:
                self.page.disarm()
                outcomes["wrong"] += 1
                frames = self.page.frames()
                if self.service.process.poll() is not None:
                    self.service.start(left)
                    self.service.stop(9)
                wrong.setdefault(" < ".join(self.maps.callers(frames, self.program)[:14]), []).append((k, str(e)))
                self.service.stop(9)
        self.report("start with jobs to recover", wrong, outcomes, count)


def main():
    program, library = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    names = sys.argv[3:]
    directory = tempfile.mkdtemp(prefix="offload-oom-")
    driver = Driver(program, library, directory)
    try:
        kinds = [kind for kind in paths.ALL if not names or kind.__name__ in names]
        if kinds:
            driver.start()
            driver.check_after_restart([driver.run_path(kind) for kind in kinds])
            driver.service.stop()
        kinds = [kind for kind in paths.IN_MEMORY if not names or kind.__name__ in names]
        if kinds:
            driver.run_in_memory(kinds)
        kinds = [kind for kind in paths.BY_TLS if not names or kind.__name__ in names]
        if kinds:
            driver.run_by_tls(kinds)
        kinds = [kind for kind in paths.IN_WORKERS if not names or kind.__name__ in names]
        if kinds:
            driver.run_in_workers(kinds)
        if not names or "Start" in names:
            driver.run_starts()
        print(f"1..{driver.number}")
    finally:
        driver.page.disarm()
        if driver.service.process is not None and driver.service.process.poll() is None:
            driver.service.process.kill()
            driver.service.process.wait()
        if os.environ.get("OOM_KEEP"):
            print(f"# {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    sys.exit(1 if driver.failures else 0)


main()
