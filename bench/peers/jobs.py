"""The work that the peers in Python do in their pools, in plain Python. See bench/peers/run."""

import math
import os
import threading

WORKERS = len(os.sched_getaffinity(0))
PIECE = 4_000_000  # numbers: a piece of a long count of primes takes some 20 ms, as a chunk of offload does


def primes(start, stop):
    """How many primes are in [start, stop): the sieve of Eratosthenes, as quick as plain Python can."""
    start = max(start, 2)
    if stop <= start:
        return 0
    flags = bytearray(b"\1") * (stop - start)
    for prime in primes_to(math.isqrt(stop - 1)):
        first = max(prime * prime, -(-start // prime) * prime)
        flags[first - start::prime] = bytes(len(range(first, stop, prime)))
    return flags.count(1)


def primes_to(limit):
    flags = bytearray(b"\1") * (limit + 1)
    flags[:2] = b"\0\0"
    for n in range(2, math.isqrt(limit) + 1):
        if flags[n]:
            flags[n * n::n] = bytes(len(range(n * n, limit + 1, n)))
    return [n for n, is_prime in enumerate(flags) if is_prime]


def squares(start, stop):
    return sum(n * n for n in range(start, stop))


def parts(start, stop, count):
    """The range in so many parts of about the same size."""
    bounds = [start + (stop - start) * i // count for i in range(count + 1)]
    return list(zip(bounds, bounds[1:]))


def pieces(start, stop):
    """The range in pieces of PIECE numbers, one after the other."""
    return ((a, min(a + PIECE, stop)) for a in range(start, stop, PIECE))


class Shared:
    """An iterator for several threads: each item goes to one of them."""

    def __init__(self, items):
        self.items, self.lock = iter(items), threading.Lock()

    def __iter__(self):
        return self

    def __next__(self):
        with self.lock:
            return next(self.items)
