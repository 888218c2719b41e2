"""Rows about the work itself: counting primes against primesieve's own program, and sums of powers."""

import statistics
import subprocess
import time

import measure
from report import Row, gives

PRIMES_STOP, PRIMES_COUNT = 10**10, 455052511


def by_primesieve(threads):
    """Seconds that primesieve's own program takes."""
    start = time.monotonic()
    out = subprocess.run(["primesieve", str(PRIMES_STOP), "-t", str(threads), "-q"], check=True, capture_output=True, text=True).stdout
    seconds = time.monotonic() - start
    if int(out.split()[-1]) != PRIMES_COUNT:
        raise measure.Wrong(f"primesieve says {out}")
    return seconds


@gives("primes_count")
def primes_count():
    what, target = "primes below 10^10: speed / primesieve's on as many threads", ">= 0.97"
    if not measure.have("primesieve", "primesieve-bin"):
        yield Row("primes_count", what, "ratio", [], target, skipped="primesieve is missing")
        return
    job = {"type": "primes", "params": {"start": 0, "stop": PRIMES_STOP}}
    with measure.service() as s:  # it has all of its workers by now
        threads = measure.lanes(s).count("main")
        done = measure.rounds(lambda number: measure.alternate(
            number, lambda: measure.result(s, job, "count", PRIMES_COUNT)[1], lambda: by_primesieve(threads)))
    middle = [statistics.median(done.column(at)) * 1000 for at in (0, 1)]
    yield Row("primes_count", what, "ratio", [theirs / ours for ours, theirs in done.results], target, done,
              f"{middle[0]:.0f} and {middle[1]:.0f} ms, {threads} threads")


def power_sum(n, power):
    """The sum of k^power for k in range(n), in closed form."""
    return n * (n - 1) // 2 if power == 1 else n * (n - 1) * (2 * n - 1) // 6


# terms, power, and how often in a round
SUMS = {"sum_squares": (2 * 10**7, 2, 20), "sum_many_squares": (2 * 10**9, 2, 1), "sum_terms": (2 * 10**7, 1, 20)}


@gives(*SUMS)
def sum_rate():
    """Against the CPU's own clock: 10^9 terms a second are two or three cycles each."""
    with measure.service() as s:
        for name, (terms, power, times) in SUMS.items():
            job = {"type": "sum", "params": {"start": 0, "stop": terms, "power": power}, "options": {"chunks": 1}}
            expected = str(power_sum(terms, power))
            done = measure.rounds(lambda _: statistics.median(
                measure.result(s, job, "sum", expected)[0]["timings"]["cpu_ms"] for _ in range(times)))
            yield Row(name, f"sum of n^{power}, {terms:.0e} terms in one chunk: terms per CPU second", "10^9/s",
                      [terms / (cpu_ms / 1000) / 1e9 for cpu_ms in done.results], ">= 1.0", done,
                      f"CPU {statistics.median(done.results):.1f} ms")


ROWS = (primes_count, sum_rate)
