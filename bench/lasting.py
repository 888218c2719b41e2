"""Rows of bench/run about jobs that last: what the store costs, what a restart costs, what a map costs. See bench/run."""

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
    """Submissions per second through the store's own interface: all that arrived in one commit, against one commit each."""
    what, target = f"durable submissions, {SUBMITTERS} at a time: rate / that of one commit per job", ">= 8"
    ratios, grouped, single = [], [], []
    for _ in range(bench.ROUNDS):
        with tempfile.TemporaryDirectory(dir=".") as directory:
            out = subprocess.run([os.path.join(bench.BUILD, "bench", "store"), directory], check=True, capture_output=True, text=True)
        figures = json.loads(out.stdout.splitlines()[-1])
        grouped.append(figures["group_per_s"])
        single.append(figures["single_per_s"])
        ratios.append(grouped[-1] / single[-1])
    bench.row(what, bench.spread(ratios), target, statistics.median(ratios) >= 8,
              f"{statistics.median(grouped):.0f} and {statistics.median(single):.0f} a second")


def rate_of_acceptance():
    """202s per second over HTTP: each job planned, committed, run, and its end committed."""
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


def map_of_items():
    """10,000 items in one request: against Python's pool, and against a request for each. Python's own reading of the answer, which
    takes about as long as its pool does for the sums, is told apart from the rest."""
    stops = [100 + i % 7 for i in range(ITEMS)]
    job = {"type": "sum", "items": [{"start": 0, "stop": stop} for stop in stops]}
    expected = [str(sum_below(stop)) for stop in stops]
    ours, decoding, pool, requests = [], [], [], []
    with bench.service() as s, multiprocessing.Pool(len(os.sched_getaffinity(0))) as python:
        body = json.dumps(job)
        for _ in range(bench.ROUNDS):
            start = time.monotonic()
            answer = s.send("POST", "/v1/jobs", {"Content-Type": "application/json", "Prefer": "wait=60"}, body)
            done = json.loads(answer.body)
            text = None if "result" in done else s.send("GET", done["links"]["result"]).body
            ours.append(time.monotonic() - start)
            start = time.monotonic()
            got = done["result"] if text is None else json.loads(text)
            decoding.append(time.monotonic() - start)
            if [item["result"]["sum"] for item in got["items"]] != expected:
                raise bench.Wrong(f"the map gave {str(got)[:300]}")
            start = time.monotonic()
            if [str(value) for value in python.map(sum_below, stops)] != expected:
                raise bench.Wrong("Python's pool was wrong")
            pool.append(time.monotonic() - start)
            start = time.monotonic()
            connection = http.client.HTTPConnection(s.host, s.port)
            for stop in stops[:ONE_BY_ONE_REQUESTS]:
                connection.request("POST", "/v1/jobs", json.dumps({"type": "sum", "params": {"start": 0, "stop": stop}}),
                                   {"Content-Type": "application/json"})
                connection.getresponse().read()
            requests.append((time.monotonic() - start) * ITEMS / ONE_BY_ONE_REQUESTS)
            connection.close()
    ratios = [p / o for p, o in zip(pool, ours)]
    bench.row(f"map of {ITEMS} tiny items, HTTP and JSON included: rate / that of Python's Pool.map", bench.spread(ratios), ">= 2",
              statistics.median(ratios) >= 2, f"{statistics.median(ours) * 1000:.0f} and {statistics.median(pool) * 1000:.0f} ms")
    decoded = [p / (o + d) for p, o, d in zip(pool, ours, decoding)]
    bench.row("the same, with the time in which Python's json reads the result", bench.spread(decoded), "-",
              note=f"{statistics.median(decoding) * 1000:.0f} ms of that")
    shares = [o / r for o, r in zip(ours, requests)]
    bench.row(f"the same map: time / that of {ITEMS} requests on one connection", bench.spread(shares), "<= 0.1",
              statistics.median(shares) <= 0.1, f"{statistics.median(requests) * 1000:.0f} ms")


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def restart_with_a_backlog():
    job = {"type": "sum", "params": {"start": 0, "stop": 100}, "options": {"delay_ms": 24 * 3600 * 1000}}
    seconds = []
    with tempfile.TemporaryDirectory(dir=".") as directory:
        with bench.service("--data-dir", directory) as s:
            bench.submit(s, job, Prefer="respond-async")
            before = resident_bytes(s.process.pid)
            out = subprocess.run([os.path.join(bench.BUILD, "bench", "load"), "--connections", "32", "--count", str(QUEUED - 1),
                                  "--header", "Prefer: respond-async", str(s.port), "/v1/jobs", json.dumps(job)],
                                 check=True, capture_output=True, text=True)
            figures = json.loads(out.stdout)
            if figures["failed"] > 0 or figures["accepted"] != QUEUED - 1:
                raise bench.Wrong(f"the backlog: {out.stdout}")
            held = (resident_bytes(s.process.pid) - before) / QUEUED
            s.process.kill()
        for _ in range(bench.ROUNDS):
            start = time.monotonic()
            with bench.service("--data-dir", directory) as s:
                seconds.append(time.monotonic() - start)
                after = resident_bytes(s.process.pid)
                s.process.kill()
    bench.row(f"start to ready with {QUEUED} queued jobs, s", bench.spread(seconds), "<= 2", statistics.median(seconds) <= 2,
              f"resident after it {after / 1048576:.0f} MiB")
    bench.row("memory per queued job, bytes", f"{held:.0f}", "<= 1024", held <= 1024)


ROWS = (rate_of_store, rate_of_acceptance, synchronous_beside_store, map_of_items, restart_with_a_backlog)
