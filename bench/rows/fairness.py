"""Rows about tiny jobs and probes while others want much: a giant job on every worker, thousands of waiting clients."""

import contextlib
import json
import statistics
import subprocess

import measure
from measure import TINY
from report import Row, gives

GIANT = {"type": "primes", "params": {"start": 0, "stop": 10**13}, "options": {"timeout_ms": 3600000}}
SLEEP = {"type": "sleep", "params": {"ms": 3000000}, "options": {"timeout_ms": 3600000}}
PACED = ("--connections", "4", "--rate", "200", "--seconds", "3")
WAITING_CLIENTS, DEFAULT_MAX_SYNC = 4000, 1000
LONG_WAIT = ("--sync-wait", "1h", "--max-wait", "1h")  # longer than all rounds take


def latencies(s):
    """The latency of tiny jobs and of /livez, both requested at the same time at a modest rate."""
    both = measure.start_load(s, "/v1/jobs", TINY, *PACED), measure.start_load(s, "/livez", None, *PACED)
    tiny, livez = (measure.finish_load(process) for process in both)
    return {"tiny": tiny, "livez": livez}


def latencies_beside_giant(s):
    job, _ = measure.submit(s, GIANT, Prefer="respond-async")
    measure.wait_until(lambda: all(w["state"] == "busy" for w in measure.workers(s) if w["lane"] == "main"),
                       "the giant job has every worker")
    found = latencies(s)
    s.send("POST", f"/v1/jobs/{job['id']}/cancel")
    measure.wait_until_quiet(s)
    return found


@gives("giant_p50", "giant_p99", "giant_livez_p99")
def saturated():
    with measure.service() as s:
        latencies(s)  # to warm up
        done = measure.rounds(lambda number: measure.alternate(number, lambda: latencies_beside_giant(s), lambda: latencies(s)))
    busy, idle = zip(*done.results)

    def middle(of, path, quantile, divisor):
        return statistics.median(r[path][quantile] for r in of) / divisor

    yield Row("giant_p50", "tiny job, a giant one on every worker: p50 / idle p50", "ratio",
              [b["tiny"]["p50_us"] / i["tiny"]["p50_us"] for b, i in done.results], "<= 1.5", done,
              f"{middle(busy, 'tiny', 'p50_us', 1):.0f} and {middle(idle, 'tiny', 'p50_us', 1):.0f} us")
    yield Row("giant_p99", "tiny job, a giant one on every worker: p99", "ms", [b["tiny"]["p99_us"] / 1000 for b in busy], "<= 5", done,
              f"idle {middle(idle, 'tiny', 'p99_us', 1000):.2f} ms")
    yield Row("giant_livez_p99", "/livez, a giant job on every worker, and tiny ones: p99", "ms", [b["livez"]["p99_us"] / 1000 for b in busy], "<= 3", done,
              f"idle {middle(idle, 'livez', 'p99_us', 1000):.2f} ms")


@contextlib.contextmanager
def waiting_clients(s):
    """WAITING_CLIENTS connections, each with a job that sleeps."""
    process = subprocess.Popen(measure.load_command(s, "/v1/jobs", SLEEP, "--hold", "--connections", str(WAITING_CLIENTS)),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        told = json.loads(process.stdout.readline())
        if told["failed"] > 0 or told["sent"] != WAITING_CLIENTS:
            raise measure.Wrong(f"the waiting clients: {told}")
        yield
    finally:
        process.stdin.close()
        process.wait()


def waiting(name, what, goal, allowed, *options):
    """Two services side by side: at one of them the clients wait, as many as are allowed to, and the other one has
    nothing to do."""
    def paced(s):
        return measure.finish_load(measure.start_load(s, "/v1/jobs", TINY, *PACED))

    with measure.service(*LONG_WAIT, *options) as crowded, measure.service(*LONG_WAIT, *options) as idle, \
            waiting_clients(crowded):
        done = measure.rounds(lambda number: measure.alternate(number, lambda: paced(crowded), lambda: paced(idle)))
        waited = measure.metrics(crowded)["offload_http_waiting"]
    if waited != allowed:
        raise measure.Wrong(f"{waited:.0f} clients wait; {WAITING_CLIENTS} came, and {allowed} are allowed to")
    tail = statistics.median(c["p99_us"] for c in done.column(0)) / 1000
    accepted, requests = (sum(c[key] for c in done.column(0)) for key in ("accepted", "requests"))
    yield Row(name, what, "ratio", [c["p50_us"] / i["p50_us"] for c, i in done.results], goal, done,
              f"p99 {tail:.2f} ms; {allowed} wait, {WAITING_CLIENTS - allowed} were told 202 at once, of the tiny jobs "
              f"{accepted} in {requests}")


@gives("many_waiting")
def many_waiting():
    yield from waiting("many_waiting", f"tiny job, {WAITING_CLIENTS} clients wait, --max-sync 5000: p50 / idle p50", "<= 1.1",
                       WAITING_CLIENTS, "--max-sync", "5000")


@gives("many_wish_to_wait")
def many_wish_to_wait():
    yield from waiting("many_wish_to_wait", f"tiny job, {WAITING_CLIENTS} clients wish to wait, default --max-sync: p50 / idle p50",
                       "<= 1.5", DEFAULT_MAX_SYNC)


ROWS = (saturated, many_waiting, many_wish_to_wait)
