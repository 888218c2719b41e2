"""Rows about Python functions as job types, against Python's own pools that run the same functions."""

import concurrent.futures
import http.client
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time

import measure
import tasks
from report import Row, gives

from .maps import HEADERS, Client, timed

SPEC = os.path.join(measure.ROOT, "bench", "tasks.py") + ":tiny,is_prime,sum_of_100,pid_of_first"
NUMPY = os.path.join(measure.ROOT, "bench", "tasks_numpy.py") + ":mean"
CONNECTIONS, REQUESTS = 32, 20_000
SUBMITTED, IN_FLIGHT = 10_000, 32
ONE_BY_ONE = 2_000
CALLS = 100_000
KILLS = 10


def python_service(*options, spec=SPEC, interpreter=sys.executable):
    return measure.service("--python", spec, "--python-bin", interpreter, *options)


def tiny_job(n=1):
    return {"type": "tiny", "params": {"n": n}}


def rate_over_http(s):
    figures = measure.finish_load(measure.start_load(
        s, "/v1/jobs", tiny_job(), "--connections", str(CONNECTIONS), "--count", str(REQUESTS)))
    if figures["accepted"] > 0:
        raise measure.Wrong(f"{figures['accepted']} tiny jobs were answered 202")
    return figures["rate"]


def rate_of_submit(pool):
    """Futures a second, with as many in flight as the service has connections."""
    start, waiting, done = time.monotonic(), set(), 0
    while done < SUBMITTED:
        while len(waiting) < IN_FLIGHT and done + len(waiting) < SUBMITTED:
            waiting.add(pool.submit(tasks.tiny, 1))
        ended, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
        done += len(ended)
        if any(future.result() != 2 for future in ended):
            raise measure.Wrong("tiny(1) is not 2")
    return SUBMITTED / (time.monotonic() - start)


@gives("python_rate")
def rate():
    what = (f"tiny Python function over HTTP, {CONNECTIONS} connections: rate / ProcessPoolExecutor.submit's without HTTP, "
            f"{IN_FLIGHT} in flight")
    with concurrent.futures.ProcessPoolExecutor(len(measure.CPUS)) as pool, python_service() as s:
        pool.submit(tasks.tiny, 1).result()
        measure.result_is(s, tiny_job(), 2)
        rate_over_http(s)
        done = measure.rounds(lambda number: measure.alternate(
            number, lambda: rate_over_http(s), lambda: rate_of_submit(pool)))
        measure.check_all_succeeded(s, REQUESTS)
    yield Row("python_rate", what, "ratio", [a / b for a, b in done.results], ">= 5", done,
              f"{statistics.median(done.column(0)):.0f} and {statistics.median(done.column(1)):.0f} calls/s")


def median_us(s, job):
    """What one client waits for a job, one after the other on one connection."""
    figures = measure.finish_load(measure.start_load(s, "/v1/jobs", job, "--connections", "1", "--count", str(ONE_BY_ONE)))
    return figures["p50_us"]


@gives("python_p50")
def latency():
    with python_service() as s:
        median_us(s, tiny_job())
        done = measure.rounds(lambda number: measure.alternate(
            number, lambda: median_us(s, tiny_job()), lambda: median_us(s, measure.TINY)))
    yield Row("python_p50", "tiny Python function, one client: p50 beyond that of a tiny built-in job", "us",
              [a - b for a, b in done.results], "<= 50", done,
              f"{statistics.median(done.column(0)):.0f} and {statistics.median(done.column(1)):.0f} us")


def map_of(name, function, goal):
    numbers = list(range(CALLS, 2 * CALLS))
    expected = {"results": [function(n) for n in numbers], "errors": []}
    with multiprocessing.Pool(len(measure.CPUS)) as pool, python_service() as s:
        client, job = Client(s), {"type": function.__name__, "columns": {"n": numbers}}

        def one_round(number):
            (ours_s, got), (pool_s, values) = measure.alternate(
                number, lambda: timed(client.values_to_values, job), lambda: timed(pool.map, function, numbers))
            if got != expected or values != expected["results"]:
                raise measure.Wrong(f"the map gave {str(got)[:300]}")
            return ours_s, pool_s

        one_round(0)
        done = measure.rounds(one_round)
    yield Row(name, f"map of {CALLS} {function.__name__} by columns, values to values, over HTTP: rate / Python's Pool.map",
              "ratio", [b / a for a, b in done.results], goal, done,
              f"{statistics.median(done.column(0)) * 1000:.0f} and {statistics.median(done.column(1)) * 1000:.0f} ms")


@gives("python_map_primes")
def map_of_primes():
    yield from map_of("python_map_primes", tasks.is_prime, ">= 0.75")


@gives("python_map_sums")
def map_of_sums():
    yield from map_of("python_map_sums", tasks.sum_of_100, ">= 0.6")


def private_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        lines = [line.split() for line in file]
    return sum(int(line[1]) * 1024 for line in lines if line[0] in ("Private_Clean:", "Private_Dirty:"))


def program_processes(s):
    """The Python processes of a service, but for the template, which is the oldest."""
    found = []
    for pid in measure.family(s):
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            if file.read().startswith("python"):
                found.append(pid)
    return sorted(found, key=lambda pid: (int(measure.stat_fields(pid)[19]), pid))[1:]


def has_numpy(interpreter):
    return subprocess.run([interpreter, "-c", "import numpy"], check=False, capture_output=True).returncode == 0


@gives("python_memory")
def memory():
    what, goal = "private memory of each further Python process, numpy imported", "<= 2.5"
    interpreter = next((p for p in (sys.executable, "/usr/bin/python3") if has_numpy(p)), None)
    if interpreter is None:
        yield Row("python_memory", what, "MB", [], goal, skipped="numpy is missing (Debian: python3-numpy)")
        return
    with python_service(spec=NUMPY, interpreter=interpreter) as s:
        job = {"type": "mean", "params": {"values": [1, 2, 3]}, "options": {"chunks": 0}}
        for _ in range(50):
            measure.result_is(s, job, 2.0)
        sizes = [private_bytes(pid) / 1e6 for pid in program_processes(s)]
    yield Row("python_memory", what, "MB", sizes, goal, note=f"{len(sizes)} processes")


@gives("python_death")
def death():
    """From the SIGKILL of a process in the middle of a call to the answer, which another process gives."""
    with python_service("--retry-delay", "0s") as s, measure.scratch() as directory:
        def one_round(number):
            times = []
            for i in range(KILLS):
                path = os.path.join(directory, f"{number}-{i}")
                connection = http.client.HTTPConnection(s.host, s.port)
                connection.request("POST", "/v1/jobs", json.dumps({"type": "pid_of_first", "params": {"path": path}}), HEADERS)
                measure.wait_until(lambda: os.path.exists(path), "the call has begun", pause_s=0.001)
                with open(path, encoding="ascii") as file:
                    pid = int(file.read())
                start = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                job = json.loads(connection.getresponse().read())
                times.append((time.monotonic() - start) * 1000)
                if job.get("result") in (None, 0, pid):
                    raise measure.Wrong(f"the call that was killed gave {job}")
                connection.close()
            return statistics.median(times)

        one_round(-1)
        done = measure.rounds(one_round)
    yield Row("python_death", "a Python process is killed in mid-call: until another one has answered", "ms", done.results,
              "<= 10", done)


ROWS = (rate, latency, map_of_primes, map_of_sums, memory, death)
