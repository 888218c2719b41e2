"""Rows of bench/run about jobs that last: what the store, a restart and a map cost. See bench/run."""

import contextlib
import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time

import __main__ as bench  # bench/run

ITEMS = 10_000
QUEUED = 100_000
SUBMITTERS = 32
ONE_BY_ONE_REQUESTS = 2_000


def rate_of_store():
    """Submissions per second through the store's own interface: one commit for all that arrived, or one each."""
    what, target = f"durable submissions, {SUBMITTERS} at a time: rate / that of one commit per job", ">= 8"
    with tempfile.TemporaryDirectory(dir=".") as directory:
        out = subprocess.run([os.path.join(bench.BUILD, "bench", "store_rate"), "--rounds", str(bench.ROUNDS), "--queued", "0",
                              "--outstanding", str(SUBMITTERS), directory], check=True, capture_output=True, text=True)
    figures = json.loads(out.stdout)
    grouped, single = figures["group_commit_per_s"], figures["commit_each_per_s"]
    ratios = [g / s for g, s in zip(grouped, single)]
    bench.row(what, bench.spread(ratios), target, statistics.median(ratios) >= 8,
              f"{statistics.median(grouped):.0f} and {statistics.median(single):.0f} a second")


def rate_of_acceptance():
    """202s per second over HTTP. Each job is planned, committed and run, and its end is committed."""
    with tempfile.TemporaryDirectory(dir=".") as directory, bench.service("--data-dir", directory, "--max-queue", "10000000") as s:
        rates = [bench.wrk(s.port, [s.process.pid], "Prefer: respond-async")[0] for _ in range(bench.ROUNDS)]
    bench.row(f"202 over HTTP, {bench.WRK_CONNECTIONS} connections, tiny jobs that are run at the same time: jobs/s",
              bench.spread(rates), "-")


def synchronous_beside_store():
    what, target = "synchronous tiny job: rate with the store open / without", ">= 0.97"
    ratios = []
    with tempfile.TemporaryDirectory(dir=".") as directory, bench.service("--data-dir", directory) as on_disk, bench.service() as in_memory:
        for i in range(2 * bench.ROUNDS):
            order = (on_disk, in_memory) if i % 2 == 0 else (in_memory, on_disk)
            rates = {id(s): bench.wrk(s.port, [s.process.pid])[0] for s in order}
            ratios.append(rates[id(on_disk)] / rates[id(in_memory)])
    bench.row(what, bench.spread(ratios), target, statistics.median(ratios) >= 0.97)


def sum_below(stop):
    return sum(range(stop))


def primes_below(stop):
    """The sieve of Eratosthenes, as quick as Python can."""
    sieve = bytearray([1]) * stop
    sieve[:2] = b"\0\0"
    for n in range(2, int(stop ** 0.5) + 1):
        if sieve[n]:
            sieve[n * n::n] = bytes(len(range(n * n, stop, n)))
    return sum(sieve)


def in_one_request(s, job):
    """The result of the map, as Python values."""
    answer = s.send("POST", "/v1/jobs", {"Content-Type": "application/json", "Prefer": "wait=60"}, json.dumps(job))
    done = json.loads(answer.body)
    return done["result"] if "result" in done else json.loads(s.send("GET", done["links"]["result"]).body)


def in_many_requests(s, job):
    connection = http.client.HTTPConnection(s.host, s.port)
    for params in job["items"][:ONE_BY_ONE_REQUESTS]:
        connection.request("POST", "/v1/jobs", json.dumps({"type": job["type"], "params": params}),
                           {"Content-Type": "application/json"})
        connection.getresponse().read()
    connection.close()


def seconds_of(work, *arguments):
    start = time.monotonic()
    result = work(*arguments)
    return time.monotonic() - start, result


def map_of(function, kind, member, first):
    """10,000 items in one request, Python values on both ends; compared with Python's pool, and with a request each."""
    stops = [first + i % 7 for i in range(ITEMS)]
    job = {"type": kind, "items": [{"start": 0, "stop": stop} for stop in stops]}
    expected = [str(function(stop)) for stop in stops]
    ours, pool, requests = [], [], []
    with bench.service() as s, multiprocessing.Pool(len(os.sched_getaffinity(0))) as python:
        for _ in range(bench.ROUNDS):
            seconds, got = seconds_of(in_one_request, s, job)
            ours.append(seconds)
            seconds, values = seconds_of(python.map, function, stops)
            pool.append(seconds)
            requests.append(seconds_of(in_many_requests, s, job)[0] * ITEMS / ONE_BY_ONE_REQUESTS)
            if [str(item["result"][member]) for item in got["items"]] != expected or [str(v) for v in values] != expected:
                raise bench.Wrong(f"the map gave {str(got)[:300]}")
    ratios = [p / o for p, o in zip(pool, ours)]
    bench.row(f"map of {ITEMS} tiny items ({kind} below {first}), HTTP and JSON included: rate / that of Python's Pool.map",
              bench.spread(ratios), ">= 2", statistics.median(ratios) >= 2,
              f"{statistics.median(ours) * 1000:.0f} and {statistics.median(pool) * 1000:.0f} ms")
    shares = [o / r for o, r in zip(ours, requests)]
    bench.row(f"the same map: time / that of {ITEMS} requests on one connection", bench.spread(shares), "<= 0.1",
              statistics.median(shares) <= 0.1, f"{statistics.median(requests) * 1000:.0f} ms")


def map_of_items():
    map_of(primes_below, "primes", "count", 1000)
    map_of(sum_below, "sum", "sum", 100)


def heap_bytes(pid):
    """The heap of the event loop's thread, where the jobs are. The store's page cache is in another arena."""
    with open(f"/proc/{pid}/smaps", encoding="ascii") as file:
        lines = iter(file)
        for line in lines:
            if line.rstrip().endswith("[heap]"):
                return next(int(l.split()[1]) * 1024 for l in lines if l.startswith("Rss:"))
    raise bench.Wrong("no heap")


def fill(s, job, count):
    out = subprocess.run([os.path.join(bench.BUILD, "bench", "load"), "--connections", "32", "--count", str(count), "--header",
                          "Prefer: respond-async", str(s.port), "/v1/jobs", json.dumps(job)],
                         check=True, capture_output=True, text=True)
    figures = json.loads(out.stdout)
    if figures["failed"] > 0 or figures["accepted"] != count:
        raise bench.Wrong(f"the backlog: {out.stdout}")
    return heap_bytes(s.process.pid)


@contextlib.contextmanager
def killed(directory):
    """A service that is ended by SIGKILL, whatever it still has to do."""
    s = bench.Service(os.path.join(bench.BUILD, "offloadd"), "--data-dir", directory)
    try:
        yield s
    finally:
        s.process.kill()
        s.process.wait()


def restart_with_a_backlog():
    """The second half of the backlog shows what a job takes: what exists only once is there by then."""
    job = {"type": "sum", "params": {"start": 0, "stop": 100}, "options": {"delay_ms": 24 * 3600 * 1000}}
    seconds = []
    with tempfile.TemporaryDirectory(dir=".") as directory:
        with killed(directory) as s:
            half = fill(s, job, QUEUED // 2)
            held = (fill(s, job, QUEUED // 2) - half) / (QUEUED // 2) - len(json.dumps(job["params"]))
        for _ in range(bench.ROUNDS):
            start = time.monotonic()
            with killed(directory):
                seconds.append(time.monotonic() - start)
    bench.row(f"start to ready with {QUEUED} queued jobs, s", bench.spread(seconds), "<= 2", statistics.median(seconds) <= 2)
    bench.row("memory per queued job beyond its params, bytes", f"{held:.0f}", "<= 1024", held <= 1024)


ROWS = (rate_of_store, rate_of_acceptance, synchronous_beside_store, map_of_items, restart_with_a_backlog)
