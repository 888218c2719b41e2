"""Rows about jobs that are on disk: how fast they are accepted and done, and how fast a start finds them again."""

import contextlib
import json
import os
import statistics
import subprocess
import time

import measure
from measure import Service
from report import Row, gives

SUBMITTERS = measure.WRK_CONNECTIONS
DURABLE = f"tiny durable jobs over HTTP, {SUBMITTERS} connections, until their ends are recorded, too"
MEMORY_DIRECTORY = "/dev/shm"
QUEUED = 100_000
QUEUED_JOB = {"type": "sum", "params": {"start": 0, "stop": 100}, "options": {"delay_ms": 24 * 3600 * 1000}}


def over_http(where=None):
    """Jobs a second, submitted with respond-async at a new service with an empty database. The time runs from the first
    request until the end of the last job is on disk, too."""
    with measure.scratch(where) as directory, measure.service("--data-dir", directory, "--max-queue", "10000000") as s:
        rate, answers = measure.wrk(s.port, "Prefer: respond-async")
        left = time.monotonic()
        measure.check_all_succeeded(s, answers)
        seconds = answers / rate + time.monotonic() - left
        return measure.ended_jobs(s)["succeeded"] / seconds


def in_store(outstanding):
    """Submissions a second through the store's own interface, on the disk of the build."""
    with measure.scratch() as directory:
        out = subprocess.run([os.path.join(measure.BUILD, "bench", "store_rate"), "--seconds", str(measure.WRK_SECONDS),
                              "--outstanding", str(outstanding), directory], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["submissions_per_s"]


def synchronous():
    with measure.service() as s:
        rate, answers = measure.wrk(s.port)
        measure.check_all_succeeded(s, answers, clients_left=True)
        return rate


def compared(name, what, goal, one, other):
    done = measure.rounds(lambda number: measure.alternate(number, one, other))
    middle = [statistics.median(done.column(at)) for at in (0, 1)]
    yield Row(name, what, "ratio", [a / b for a, b in done.results], goal, done, f"{middle[0]:.0f} and {middle[1]:.0f} a second")


@gives("durable_rate")
def durable_rate():
    what, target = f"{DURABLE}: rate / that of submissions to the store alone", ">= 0.35"
    if not measure.have("wrk", "wrk"):
        yield Row("durable_rate", what, "ratio", [], target, skipped="wrk is missing")
        return
    yield from compared("durable_rate", what, target, over_http, lambda: in_store(SUBMITTERS))


@gives("durable_in_memory")
def durable_in_memory():
    what = f"{DURABLE}, with the data directory in {MEMORY_DIRECTORY}: rate / that of synchronous ones"
    if not measure.have("wrk", "wrk") or not os.access(MEMORY_DIRECTORY, os.W_OK):
        yield Row("durable_in_memory", what, "ratio", [], skipped=f"wrk or {MEMORY_DIRECTORY} is missing")
        return
    yield from compared("durable_in_memory", what, "", lambda: over_http(MEMORY_DIRECTORY), synchronous)


@gives("group_commit")
def group_commit():
    yield from compared("group_commit", f"the store alone, {SUBMITTERS} submissions at a time: rate / that of one commit for each", ">= 8",
                        lambda: in_store(SUBMITTERS), lambda: in_store(1))


def heap_bytes(pid):
    """The heap of the event loop's thread, where the jobs are. The store's page cache is in another arena."""
    with open(f"/proc/{pid}/smaps", encoding="ascii") as file:
        lines = iter(file)
        for line in lines:
            if line.rstrip().endswith("[heap]"):
                return next(int(l.split()[1]) * 1024 for l in lines if l.startswith("Rss:"))
    raise measure.Wrong("no heap")


def fill(s, count):
    """Submits so many jobs; the size of the heap then."""
    figures = measure.finish_load(measure.start_load(s, "/v1/jobs", QUEUED_JOB, "--connections", "32", "--count", str(count),
                                                     "--header", "Prefer: respond-async"))
    if figures["accepted"] != count:
        raise measure.Wrong(f"the backlog: {figures}")
    return heap_bytes(s.process.pid)


@contextlib.contextmanager
def killed(directory):
    """A service that is ended by SIGKILL, whatever it still has to do."""
    s = Service(os.path.join(measure.BUILD, "offloadd"), "--data-dir", directory)
    try:
        yield s
    finally:
        s.process.kill()
        s.process.wait()


@gives("backlog_start", "backlog_memory")
def restart_with_a_backlog():
    """The second half of the backlog shows what a job takes: what exists only once is there by then."""
    with measure.scratch() as directory:
        with killed(directory) as s:
            half = fill(s, QUEUED // 2)
            held = (fill(s, QUEUED // 2) - half) / (QUEUED // 2) - len(json.dumps(QUEUED_JOB["params"]))

        def start(_):
            start_s = time.monotonic()
            with killed(directory) as s:
                seconds = time.monotonic() - start_s
                delayed = measure.metrics(s)["offload_jobs_delayed"]
            if delayed != QUEUED:
                raise measure.Wrong(f"{delayed:.0f} of {QUEUED} jobs were found again")
            return seconds

        done = measure.rounds(start)
    yield Row("backlog_start", f"start to ready with {QUEUED} queued jobs", "s", done.results, "<= 2", done)
    yield Row("backlog_memory", "memory per queued job beyond its params", "bytes", [round(held)], "<= 1024")


ROWS = (durable_rate, durable_in_memory, group_commit, restart_with_a_backlog)
