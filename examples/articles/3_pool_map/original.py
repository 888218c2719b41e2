"""Pool.map of a small function over many numbers.

    python3 FILE [START STOP]    finds the primes of range(100000, 200000)
"""

import math
import sys
import time
from multiprocessing import Pool


def is_prime(n):
    """Is n a prime?"""
    if n < 2:
        return False
    for divisor in range(2, math.isqrt(n) + 1):
        if n % divisor == 0:
            return False
    return True


def main():
    start, stop = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else (100_000, 200_000)
    numbers = range(start, stop)
    began = time.perf_counter()
    with Pool() as pool:
        answers = pool.map(is_prime, numbers)
    print(f"{len(answers)} numbers took {time.perf_counter() - began:.2f} s.")
    primes = [n for n, prime in zip(numbers, answers) if prime]
    print(f"result: {len(primes)} primes, and the last one is {primes[-1] if primes else None}")


if __name__ == "__main__":
    main()
