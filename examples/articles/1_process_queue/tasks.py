"""offloadd --python tasks.py"""

import math

import offload


@offload.task
def count_primes(stop: int) -> int:
    """How many primes are below a number?

    Args:
        stop: the first number that is not looked at
    """
    if stop < 0:
        raise offload.InvalidParams("/stop", "must not be negative")
    count = 0
    for n in range(2, stop):
        count += all(n % divisor for divisor in range(2, math.isqrt(n) + 1))
        offload.progress(n, stop)
    return count
