"""Rows about maps: 10,000 tiny items in one request, against Python's own pool of processes, and a request for each; and
100,000 tiny calls by columns, against the same by items, and Python's pool."""

import http.client
import json
import multiprocessing
import statistics
import time

import measure
from report import Row, gives

ITEMS = 10_000
CALLS = 100_000  # by columns
MAPS = 4  # in a round, of each kind
ONE_BY_ONE_REQUESTS = 2_000
HEADERS = {"Content-Type": "application/json", "Prefer": "wait=60"}


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


class Client:
    """One connection, which is kept."""

    def __init__(self, s):
        self.connection = http.client.HTTPConnection(s.host, s.port)

    def ask(self, method, path, body=None):
        self.connection.request(method, path, body, HEADERS)
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise measure.Wrong(f"{method} {path} was answered {answer.status}: {content[:300]}")
        return content

    def bytes_to_bytes(self, body):
        """The Job with its result; if that is too large to be in it, both, one behind the other."""
        job = self.ask("POST", "/v1/jobs", body)
        return (job,) if b'"result":{' in job else (job, self.ask("GET", json.loads(job)["links"]["result"]))

    def values_to_values(self, job):
        """The result of the map as Python values, from Python values."""
        return result_of(self.bytes_to_bytes(json.dumps(job).encode()))


def result_of(answers):
    last = json.loads(answers[-1])
    return last if len(answers) == 2 else last["result"]


def in_many_requests(s, job):
    """Seconds for a request for each item, one after the other on one connection, estimated from some of them."""
    client = Client(s)
    start = time.monotonic()
    for params in job["items"][:ONE_BY_ONE_REQUESTS]:
        client.ask("POST", "/v1/jobs", json.dumps({"type": job["type"], "params": params}))
    return (time.monotonic() - start) * ITEMS / ONE_BY_ONE_REQUESTS


def timed(work, *arguments):
    start = time.monotonic()
    result = work(*arguments)
    return time.monotonic() - start, result


def map_of(function, kind, member, first, goals):
    """Yields three rows: bytes to bytes and values to values against Pool.map, and the time against single requests."""
    stops = [first + i % 7 for i in range(ITEMS)]
    job = {"type": kind, "items": [{"start": 0, "stop": stop} for stop in stops]}
    body = json.dumps(job).encode()
    expected = [function(stop) for stop in stops]

    def check(got, values):
        if [int(item["result"][member]) for item in got["items"]] != expected or values != expected:
            raise measure.Wrong(f"the map gave {str(got)[:300]}")

    # The pool is forked before there is a client, so that its processes hold no connection.
    with multiprocessing.Pool(len(measure.CPUS)) as pool, measure.service() as s:
        client = Client(s)

        def one_round(number):
            found = {"single": in_many_requests(s, job), "bytes": 0, "bytes_pool": 0, "values": 0, "values_pool": 0}
            for one, ours in enumerate((lambda: client.bytes_to_bytes(body), lambda: client.values_to_values(job)) * MAPS):
                name = "values" if one % 2 else "bytes"
                (seconds, got), (pool_s, values) = measure.alternate(
                    number + one // 2, lambda: timed(ours), lambda: timed(pool.map, function, stops))
                check(got if one % 2 else result_of(got), values)
                found[name] += seconds / MAPS
                found[name + "_pool"] += pool_s / MAPS
            return found

        one_round(0)  # to warm up
        done = measure.rounds(one_round)
    middle = {key: statistics.median(r[key] for r in done.results) * 1000 for key in done.results[0]}
    of = f"map of {ITEMS} {kind} below {first}"
    yield Row(f"map_{kind}_bytes", f"{of}, body prepared, bytes back: rate / Python's Pool.map", "ratio",
              [r["bytes_pool"] / r["bytes"] for r in done.results], goals["bytes"], done,
              "{bytes:.1f} and {bytes_pool:.1f} ms".format_map(middle))
    yield Row(f"map_{kind}_values", f"{of}, from Python values to Python values: rate / Python's Pool.map", "ratio",
              [r["values_pool"] / r["values"] for r in done.results], goals["values"], done,
              "{values:.1f} and {values_pool:.1f} ms".format_map(middle))
    yield Row(f"map_{kind}_single", f"{of}, bytes: time / that of {ITEMS} requests on one connection", "ratio",
              [r["bytes"] / r["single"] for r in done.results], goals["single"], done,
              "{bytes:.1f} and {single:.0f} ms".format_map(middle))


@gives("map_sum_bytes", "map_sum_values", "map_sum_single")
def map_of_sums():
    yield from map_of(sum_below, "sum", "sum", 100, {"bytes": ">= 1.2", "values": "", "single": "<= 0.1"})


@gives("map_primes_bytes", "map_primes_values", "map_primes_single")
def map_of_primes():
    yield from map_of(primes_below, "primes", "count", 1000, {"bytes": "", "values": ">= 3", "single": "<= 0.1"})


def columns_of(function, kind, member, first, goals):
    """Yields four rows: bytes to bytes and values to values against Pool.map; values to values, and the CPU time of the
    service, against items."""
    stops = [first + i % 7 for i in range(CALLS)]
    columns = {"type": kind, "columns": {"start": 0, "stop": stops}}
    items = {"type": kind, "items": [{"start": 0, "stop": stop} for stop in stops]}
    body = json.dumps(columns).encode()
    expected = [function(stop) for stop in stops]

    def check(got, values):
        results = got["results"] if "results" in got else [item["result"] for item in got["items"]]
        if [int(result[member]) for result in results] != expected or values != expected:
            raise measure.Wrong(f"the map gave {str(got)[:300]}")

    with multiprocessing.Pool(len(measure.CPUS)) as pool, measure.service() as s:
        client = Client(s)
        pids = measure.family(s)

        def by(job):
            """Seconds, and CPU seconds of the service."""
            before = measure.cpu_ns(pids)
            seconds, got = timed(client.values_to_values, job)
            check(got, expected)
            return seconds, (measure.cpu_ns(pids) - before) / 1e9

        def one_round(number):
            (seconds, got), (pool_s, values) = measure.alternate(
                number, lambda: timed(client.bytes_to_bytes, body), lambda: timed(pool.map, function, stops))
            check(result_of(got), values)
            (columns_s, columns_cpu), (items_s, items_cpu) = measure.alternate(number, lambda: by(columns), lambda: by(items))
            return {"bytes": seconds, "pool": pool_s, "columns": columns_s, "items": items_s,
                    "columns_cpu": columns_cpu, "items_cpu": items_cpu}

        one_round(0)  # to warm up
        done = measure.rounds(one_round)
    middle = {key: statistics.median(r[key] for r in done.results) * 1000 for key in done.results[0]}
    of = f"map of {CALLS} {kind} below {first} by columns"
    yield Row(f"columns_{kind}_bytes", f"{of}, body prepared, bytes back: rate / Python's Pool.map", "ratio",
              [r["pool"] / r["bytes"] for r in done.results], goals["bytes"], done,
              "{bytes:.0f} and {pool:.0f} ms".format_map(middle))
    yield Row(f"columns_{kind}_values", f"{of}, from Python values to Python values: rate / Python's Pool.map", "ratio",
              [r["pool"] / r["columns"] for r in done.results], goals["values"], done,
              "{columns:.0f} and {pool:.0f} ms".format_map(middle))
    yield Row(f"columns_{kind}_items", f"{of}, from Python values to Python values: time / that of the same by items",
              "ratio", [r["columns"] / r["items"] for r in done.results], goals["items"], done,
              "{columns:.0f} and {items:.0f} ms".format_map(middle))
    yield Row(f"columns_{kind}_cpu", f"{of}: CPU time of the service / that of the same by items", "ratio",
              [r["columns_cpu"] / r["items_cpu"] for r in done.results], goals["cpu"], done,
              "{columns_cpu:.0f} and {items_cpu:.0f} ms".format_map(middle))


@gives("columns_sum_bytes", "columns_sum_values", "columns_sum_items", "columns_sum_cpu")
def columns_of_sums():
    yield from columns_of(sum_below, "sum", "sum", 100,
                          {"bytes": ">= 1", "values": "", "items": "<= 0.6", "cpu": "<= 0.85"})


@gives("columns_primes_bytes", "columns_primes_values", "columns_primes_items", "columns_primes_cpu")
def columns_of_primes():
    yield from columns_of(primes_below, "primes", "count", 1000,
                          {"bytes": "", "values": ">= 3", "items": "<= 0.6", "cpu": ""})


ROWS = (map_of_sums, map_of_primes, columns_of_sums, columns_of_primes)
