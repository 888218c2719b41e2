"""Rows about the drop-in executor of the Python package, against Python's own pools that run the same functions."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import statistics
import sys
import time

import measure
import tasks
from report import Row, gives

sys.path.insert(0, os.path.join(measure.ROOT, "sdk", "python"))
import offload  # noqa: E402 (the path is set just above)
import offload.multiprocessing  # noqa: E402

SUBMITTED = 10_000
ONE_BY_ONE = 1_000
CALLS = 100_000
MEGABYTES = 64


@contextlib.contextmanager
def both(ours, theirs):
    """Our pool and Python's, with the same number of workers."""
    os.environ["OFFLOADD"] = os.path.join(measure.BUILD, "offloadd")
    with ours(len(measure.CPUS)) as one, theirs(len(measure.CPUS)) as other:
        yield one, other


def compared(name, what, unit, goal, work, pools, figure):
    """Both pools do the same work in turn. `figure` makes the value of a round from the seconds of both."""
    def timed(pool):
        start = time.monotonic()
        work(pool)
        return time.monotonic() - start

    with both(*pools) as (ours, theirs):
        work(ours)
        work(theirs)
        done = measure.rounds(lambda number: measure.alternate(number, lambda: timed(ours), lambda: timed(theirs)))
    note = " and ".join(f"{statistics.median(done.column(i)) * 1000:.0f}" for i in (0, 1))
    yield Row(name, what, unit, [figure(a, b) for a, b in done.results], goal, done, f"{note} ms")


EXECUTORS = (offload.Executor, concurrent.futures.ProcessPoolExecutor)
POOLS = (offload.multiprocessing.Pool, multiprocessing.Pool)


def submit_all(pool):
    futures = [pool.submit(tasks.tiny, n) for n in range(SUBMITTED)]
    if sum(future.result() for future in futures) != sum(range(1, SUBMITTED + 1)):
        raise measure.Wrong("the sum of tiny(n) is wrong")


@gives("executor_submit")
def submit():
    yield from compared("executor_submit", f"{SUBMITTED} submits of a tiny function to offload.Executor(): rate / "
                        "ProcessPoolExecutor's", "ratio", ">= 3", submit_all, EXECUTORS, lambda a, b: b / a)


def one_by_one(pool):
    for n in range(ONE_BY_ONE):
        if pool.submit(tasks.tiny, n).result() != n + 1:
            raise measure.Wrong(f"tiny({n}) is not {n + 1}")


@gives("executor_one")
def latency():
    yield from compared("executor_one", "the same, one after the other: time / ProcessPoolExecutor's", "ratio", "",
                        one_by_one, EXECUTORS, lambda a, b: a / b)


def map_of(name, function):
    numbers = range(CALLS, 2 * CALLS)
    expected = [function(n) for n in numbers]

    def work(pool):
        if pool.map(function, numbers) != expected:
            raise measure.Wrong(f"the map of {function.__name__} is wrong")

    yield from compared(name, f"map of {CALLS} {function.__name__} by offload.multiprocessing.Pool: rate / Python's Pool.map",
                        "ratio", ">= 0.9", work, POOLS, lambda a, b: b / a)


@gives("pool_map_primes")
def map_of_primes():
    yield from map_of("pool_map_primes", tasks.is_prime)


@gives("pool_map_sums")
def map_of_sums():
    yield from map_of("pool_map_sums", tasks.sum_of_100)


def exchange(array, pool):
    """An array there and another one back."""
    if pool.submit(tasks.doubled, array).result()[-1] != 2:
        raise measure.Wrong("the last element of the doubled array is not 2")


@gives("executor_array")
def arrays():
    what = f"an array of {MEGABYTES} MB to a worker, and one back: rate / ProcessPoolExecutor's"
    try:
        import numpy
    except ImportError:
        yield Row("executor_array", what, "ratio", [], "", skipped="numpy is missing (Debian: python3-numpy)")
        return
    array = numpy.ones(MEGABYTES * 1_000_000 // 8)
    yield from compared("executor_array", what, "ratio", "", lambda pool: exchange(array, pool), EXECUTORS,
                        lambda a, b: b / a)


def first_result(executor):
    start = time.monotonic()
    with executor(len(measure.CPUS)) as pool:
        one_result = pool.submit(tasks.tiny, 1).result()
    if one_result != 2:
        raise measure.Wrong("tiny(1) is not 2")
    return (time.monotonic() - start) * 1000


@gives("executor_start")
def start():
    os.environ["OFFLOADD"] = os.path.join(measure.BUILD, "offloadd")
    done = measure.rounds(lambda number: measure.alternate(
        number, lambda: first_result(EXECUTORS[0]),
        lambda: first_result(lambda n: EXECUTORS[1](n, multiprocessing.get_context("spawn")))))
    yield Row("executor_start", "offload.Executor() until it has ended, one call: time / ProcessPoolExecutor's (spawn)", "ratio",
              [a / b for a, b in done.results], "", done,
              f"{statistics.median(done.column(0)):.0f} and {statistics.median(done.column(1)):.0f} ms")


ROWS = (submit, latency, map_of_primes, map_of_sums, arrays, start)
