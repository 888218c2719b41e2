"""Rows about what a service weighs: its start, its memory at rest and under a large upload, and what it does when idle."""

import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import measure
from measure import TINY, TINY_PRIMES
from report import Row, gives

STARTS = 10  # in a round
IDLE_SECONDS = 5
SETTLE_S = 0.5
UPLOAD_BYTES = 64 * 1024 * 1024  # the default --max-body
UPLOADS = 3  # in a round
PROBES = ("--connections", "4", "--rate", "400")
SAMPLE_S = 0.003
MB = 1_000_000


# ---- start -----------------------------------------------------------------------------------------------------------


def asks_ready(path):
    """True if /readyz says 200, on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except OSError:
            return False
        s.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return s.recv(16).startswith(b"HTTP/1.1 200")


def start_ms():
    """From exec until /readyz says so; it is asked every millisecond, as an impatient orchestrator would."""
    with tempfile.TemporaryDirectory() as directory:  # of a short name, for the socket
        path = os.path.join(directory, "socket")
        start = time.monotonic()
        with subprocess.Popen([os.path.join(measure.BUILD, "offloadd"), "--listen", "unix:" + path, "--data-dir", "none"],
                              stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not asks_ready(path):
                if process.poll() is not None or time.monotonic() - start > measure.START_LIMIT_S:
                    process.kill()
                    raise measure.Wrong("the service did not become ready")
                time.sleep(0.001)
            seconds = time.monotonic() - start
            process.kill()
    return seconds * 1000


@gives("start_to_ready")
def start_to_ready():
    done = measure.rounds(lambda _: statistics.median(start_ms() for _ in range(STARTS)))
    yield Row("start_to_ready", f"start until /readyz says 200, median of {STARTS} starts", "ms", done.results, "<= 50", done)


# ---- at rest ---------------------------------------------------------------------------------------------------------


def memory_kb(pid):
    """The sums over all mappings of a process, by the names that /proc/PID/smaps_rollup has for them."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return {line.split(":")[0]: int(line.split()[1]) for line in list(file)[1:]}


@gives("idle_rss", "idle_worker_pss")
def idle_memory():
    def one_round(_):
        with measure.service() as s:
            measure.result(s, TINY, "count", TINY_PRIMES)
            time.sleep(SETTLE_S)
            pss = [memory_kb(w["pid"])["Pss"] for w in measure.workers(s)]
            return memory_kb(s.process.pid)["Rss"] * 1024 / MB, statistics.mean(pss) * 1024 / MB, len(pss)

    done = measure.rounds(one_round)
    yield Row("idle_rss", "resident memory of the front end at rest, after one job", "MB", done.column(0), "<= 12", done)
    yield Row("idle_worker_pss", "memory of a worker at rest (PSS: pages that processes share are divided among them)", "MB",
              done.column(1), "<= 1", done, f"mean of {done.results[0][2]}")


def switches(pid):
    """How often the process has been put to sleep or moved aside: any wake-up ends in one of the two."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)


@gives("idle_wakeups")
def idle_wakeups():
    with measure.service() as s:
        keep_alive = subprocess.Popen(measure.load_command(s, "/livez", None, "--hold"), stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        keep_alive.stdout.readline()
        measure.result(s, TINY, "count", TINY_PRIMES)
        time.sleep(1)
        before = switches(s.process.pid)
        time.sleep(IDLE_SECONDS)
        woken = switches(s.process.pid) - before
        keep_alive.stdin.close()
        keep_alive.wait()
    yield Row("idle_wakeups", f"wake-ups of the front end in {IDLE_SECONDS} s at rest, one client connected", "", [woken], "= 0")


# ---- a large upload --------------------------------------------------------------------------------------------------


def large_body():
    """A body that is as large as is allowed, and the sum of its numbers."""
    head, tail, step = b'{"type":"sum","params":{"numbers":[', b"]}}", 1000
    block = b",".join(b"%d" % n for n in range(1_000_000, 1_000_000 + step))
    blocks = (UPLOAD_BYTES - len(head) - len(tail) + 1) // (len(block) + 1)
    return head + b",".join([block] * blocks) + tail, blocks * sum(range(1_000_000, 1_000_000 + step))


def upload(s, body, expected):
    answer = s.send("POST", "/v1/jobs", {"Content-Type": "application/json", "Prefer": "wait=60"}, body)
    if answer.status != 200 or f'"sum":"{expected}"'.encode() not in answer.body:
        raise measure.Wrong(f"the upload was answered {answer.status}: {answer.body[:300]}")


def memfd_bytes(pids):
    """What the memfds that these processes hold take, each counted once, mapped or not."""
    sizes = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    path = f"/proc/{pid}/fd/{fd}"
                    if os.readlink(path).startswith("/memfd:"):
                        status = os.stat(path)
                        sizes[status.st_ino] = status.st_blocks * 512
    return sum(sizes.values())


def memory_bytes(pids):
    """What these processes take: their anonymous memory, their share of mapped files, and their memfds."""
    total = memfd_bytes(pids)
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):  # it has just ended
            kb = memory_kb(pid)
            total += (kb["Pss_Anon"] + kb["Pss_File"]) * 1024
    return total


class Peak:
    """Samples the memory of a service in a thread of its own, every few milliseconds, while the block runs."""

    def __init__(self, s):
        self.pids, self.bytes, self.samples, self.over = measure.family(s), 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.sample)

    def sample(self):
        while not self.over.wait(SAMPLE_S):
            self.bytes = max(self.bytes, memory_bytes(self.pids))
            self.samples += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


@gives("upload_livez_p99", "upload_memory")
def large_upload():
    """Memory and latency are measured in different uploads, because taking samples of memory takes time."""
    body, expected = large_body()

    def one_round(_):
        with measure.service() as s:
            with Peak(s) as peak:
                upload(s, body, expected)
            start = time.monotonic()
            upload(s, body, expected)
            seconds = time.monotonic() - start
            rest = measure.finish_load(measure.start_load(s, "/livez", None, *PROBES, "--seconds", "1"))
            probes = measure.start_load(s, "/livez", None, *PROBES, "--seconds", f"{UPLOADS * seconds:.2f}")
            while probes.poll() is None:
                upload(s, body, expected)
            return {"livez": measure.finish_load(probes)["p99_us"] / 1000, "rest": rest["p99_us"] / 1000, "seconds": seconds,
                    "memory": peak.bytes / len(body), "samples": peak.samples}

    done = measure.rounds(one_round)
    middle = {key: statistics.median(r[key] for r in done.results) for key in done.results[0]}
    what = f"JSON of {UPLOAD_BYTES >> 20} MiB is uploaded and its numbers are summed"
    yield Row("upload_livez_p99", f"{what}, one after the other: p99 of /livez meanwhile", "ms", [r["livez"] for r in done.results],
              "<= 3", done, "idle {rest:.2f} ms; an upload takes {seconds:.2f} s".format_map(middle))
    yield Row("upload_memory", f"{what}: peak memory of all processes / size of the body", "ratio",
              [r["memory"] for r in done.results], "<= 3", done, "{samples:.0f} samples".format_map(middle))


ROWS = (start_to_ready, idle_memory, idle_wakeups, large_upload)
