"""offloadd --python tasks.py"""

import math

import offload


@offload.task
def is_prime(n: int) -> bool:
    """Is n a prime?"""
    if n < 2:
        return False
    for divisor in range(2, math.isqrt(n) + 1):
        if n % divisor == 0:
            return False
    return True
