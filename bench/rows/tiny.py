"""Rows about tiny synchronous jobs: how many a second, and what one costs."""

import hashlib
import json
import os
import secrets
import statistics

import measure
from measure import TINY, TINY_PRIMES
from report import Row, gives

WARM_UP_SECONDS = 1
MANY_WORKERS = 64
KEYS = 1000


def answer_bytes(s):
    """The size of the body that a tiny job is answered with; it also checks the result."""
    done, _ = measure.result(s, TINY, "count", TINY_PRIMES)
    return len(json.dumps(done, separators=(",", ":")))


def check_tiny(s, at_least):
    """All tiny jobs succeeded, and each was waited for: none was answered 202."""
    measure.check_all_succeeded(s, at_least, clients_left=True)
    later = measure.metrics(s).get('offload_http_requests_total{route="/v1/jobs",code="202"}', 0)
    if later > 0:
        raise measure.Wrong(f"{later:.0f} tiny jobs were answered 202")


def loaded(port, processes):
    """The rate of wrk at this port, and the CPU time per request of each group of processes, in us."""
    before = {name: measure.cpu_ns(pids) for name, pids in processes.items()}
    rate, answers = measure.wrk(port)
    return {"rate": rate, "answers": answers,
            **{name: (measure.cpu_ns(pids) - before[name]) / answers / 1000 for name, pids in processes.items()}}


@gives("tiny_rate", "tiny_cpu")
def rate():
    rate_what = f"tiny job, {measure.WRK_CONNECTIONS} connections: rate / bare libmicrohttpd's"
    cpu_what = f"tiny job, {measure.WRK_CONNECTIONS} connections: CPU time of all processes / bare libmicrohttpd's"
    if not measure.have("wrk", "wrk"):
        yield Row("tiny_rate", rate_what, "ratio", [], ">= 0.62", skipped="wrk is missing")
        yield Row("tiny_cpu", cpu_what, "ratio", [], "<= 2.0", skipped="wrk is missing")
        return
    with measure.service() as s, measure.hello(answer_bytes(s)) as (bare, bare_port):
        front, *others = measure.family(s)
        ours = {"front_us": [front], "workers_us": others}
        measure.wrk(s.port, seconds=WARM_UP_SECONDS)
        measure.wrk(bare_port, seconds=WARM_UP_SECONDS)
        done = measure.rounds(lambda number: measure.alternate(
            number, lambda: loaded(s.port, ours), lambda: loaded(bare_port, {"all_us": [bare.pid]})))
        check_tiny(s, sum(a["answers"] for a, _ in done.results))
    rates = [(a["rate"], b["rate"]) for a, b in done.results]
    costs = [(a["front_us"] + a["workers_us"], b["all_us"]) for a, b in done.results]
    figures = {
        "requests_per_s": statistics.median(a for a, _ in rates), "hello_requests_per_s": statistics.median(b for _, b in rates),
        "cpu_us": statistics.median(a for a, _ in costs), "hello_cpu_us": statistics.median(b for _, b in costs),
        "front_cpu_us": statistics.median(a["front_us"] for a, _ in done.results),
        "workers_cpu_us": statistics.median(a["workers_us"] for a, _ in done.results),
    }
    yield Row("tiny_rate", rate_what, "ratio", [a / b for a, b in rates], ">= 0.62", done,
              "{requests_per_s:.0f} and {hello_requests_per_s:.0f} requests/s".format_map(figures), figures)
    yield Row("tiny_cpu", cpu_what, "ratio", [a / b for a, b in costs], "<= 2.0", done,
              "{cpu_us:.1f} us ({front_cpu_us:.1f} of it front end) and {hello_cpu_us:.1f} us".format_map(figures), figures)


def rate_of(s, **options):
    return measure.wrk(s.port, *(f"{name}: {value}" for name, value in s.headers.items()), **options)


def rates_of_two(one, other):
    """Rounds of the rates of two services; all their jobs have been checked."""
    for s in (one, other):
        rate_of(s, seconds=WARM_UP_SECONDS)
    done = measure.rounds(lambda number: measure.alternate(number, lambda: rate_of(one), lambda: rate_of(other)))
    for at, s in enumerate((one, other)):
        check_tiny(s, sum(r[at][1] for r in done.results))
    return done, [a[0] / b[0] for a, b in done.results]


@gives("many_workers")
def many_workers():
    what, target = f"{MANY_WORKERS} workers on these CPUs: rate of the tiny job / that with the default's", ">= 0.9"
    if not measure.have("wrk", "wrk"):
        yield Row("many_workers", what, "ratio", [], target, skipped="wrk is missing")
        return
    with measure.service("--workers", str(MANY_WORKERS)) as many, measure.service() as default:
        done, ratios = rates_of_two(many, default)
        count = measure.lanes(default).count("main")
    yield Row("many_workers", what, "ratio", ratios, target, done, f"the default is {count} workers here")


@gives("synchronous_beside_store")
def synchronous_beside_store():
    what, target = "synchronous tiny job: rate with the store open / without", ">= 0.97"
    if not measure.have("wrk", "wrk"):
        yield Row("synchronous_beside_store", what, "ratio", [], target, skipped="wrk is missing")
        return
    with measure.scratch() as directory, measure.service("--data-dir", directory) as on_disk, \
            measure.service() as in_memory:
        done, ratios = rates_of_two(on_disk, in_memory)
    yield Row("synchronous_beside_store", what, "ratio", ratios, target, done)


QUOTAS = "rate=1000000000/s jobs=100000 cpu=100000000/h bytes=1000GiB/h"


def beside_keys(quotas):
    """Rounds of the rates of a service with many keys and of one without."""
    with measure.scratch() as directory:
        path = os.path.join(directory, "keys")
        keys = ["offload_" + secrets.token_urlsafe(32) for _ in range(KEYS)]
        with open(path, "w", encoding="ascii") as file:
            for number, key in enumerate(keys):
                file.write(f"name-{number} sha256:{hashlib.sha256(key.encode()).hexdigest()} submit,read {quotas}\n")
        with measure.service("--keys", path, headers={"Authorization": f"Bearer {keys[KEYS // 2]}"}) as keyed, \
                measure.service() as open_to_all:
            return rates_of_two(keyed, open_to_all)


@gives("tiny_with_key", "tiny_with_quotas")
def with_key():
    rows = (("tiny_with_key", "tiny job: rate with a key, one of 1,000 / without keys", ">= 0.97", ""),
            ("tiny_with_quotas", "tiny job: rate with a key that has all quotas / without keys", "", QUOTAS))
    for name, what, target, quotas in rows:
        if measure.have("wrk", "wrk"):
            done, ratios = beside_keys(quotas)
            yield Row(name, what, "ratio", ratios, target, done)
        else:
            yield Row(name, what, "ratio", [], target, skipped="wrk is missing")


ROWS = (rate, many_workers, synchronous_beside_store, with_key)
