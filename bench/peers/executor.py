"""ProcessPoolExecutor without HTTP: a client in Python that calls the pool itself. See bench/peers/run.

It reads one command a line from its standard input, and answers each with one line of JSON:

    tiny CALLS SECONDS    counts the primes below 1000, so many calls at a time: {"rate", "requests"}
    sum CHUNKS            the sum of squares, in parts: {"seconds", "sum"}
    giant                 begins the giant job, which ends with this program: {}
    paced RATE SECONDS    sends tiny calls at fixed times: {"p50_us", "p99_us", "requests"}
"""

import collections
import concurrent.futures
import functools
import json
import sys
import threading
import time

import jobs

TINY, TINY_PRIMES = (0, 1000), 168
SUM_STOP = 20_000_000
GIANT = (0, 10**12)


def check(counts):
    """Fails if a call gave something else, or an exception. The keys are what they gave."""
    if list(counts) != [TINY_PRIMES]:
        raise ValueError(f"the primes below 1000 are {counts}")


def note(counts, future):
    counts[future.exception() or future.result()] += 1


def tiny(pool, calls, seconds):
    """Keeps so many calls in flight."""
    free, counts = threading.Semaphore(int(calls)), collections.Counter()

    def ended(future):
        note(counts, future)
        free.release()

    start = time.monotonic()
    while time.monotonic() < start + float(seconds):
        free.acquire()
        pool.submit(jobs.primes, *TINY).add_done_callback(ended)
    for _ in range(int(calls)):
        free.acquire()
    seconds = time.monotonic() - start
    check(counts)
    return {"rate": counts.total() / seconds, "requests": counts.total()}


def sum_squares(pool, chunks):
    start = time.monotonic()
    futures = [pool.submit(jobs.squares, *part) for part in jobs.parts(0, SUM_STOP, int(chunks))]
    total = sum(future.result() for future in futures)
    return {"seconds": time.monotonic() - start, "sum": str(total)}


def giant(pool):
    """The primes below 10^12 in pieces, as many at a time as the pool has workers."""
    left = jobs.Shared(jobs.pieces(*GIANT))

    def submit_next(_=None):
        pool.submit(jobs.primes, *next(left)).add_done_callback(submit_next)

    for _ in range(jobs.WORKERS):
        submit_next()
    return {}


def paced(pool, rate, seconds):
    """The time of a call is counted from when it was due."""
    times, counts, all_ended = [], collections.Counter(), threading.Semaphore(0)

    def ended(due, future):
        times.append(time.monotonic() - due)
        note(counts, future)
        all_ended.release()

    start, calls = time.monotonic(), int(float(rate) * float(seconds))
    for i in range(calls):
        due = start + i / float(rate)
        time.sleep(max(0.0, due - time.monotonic()))
        pool.submit(jobs.primes, *TINY).add_done_callback(functools.partial(ended, due))
    for _ in range(calls):
        all_ended.acquire()
    check(counts)
    times.sort()
    return {"p50_us": times[calls // 2] * 1e6, "p99_us": times[calls * 99 // 100] * 1e6, "requests": calls}


def main():
    commands = {"tiny": tiny, "sum": sum_squares, "giant": giant, "paced": paced}
    with concurrent.futures.ProcessPoolExecutor(jobs.WORKERS) as pool:
        for line in sys.stdin:
            name, *arguments = line.split()
            print(json.dumps(commands[name](pool, *arguments)), flush=True)


if __name__ == "__main__":
    main()
