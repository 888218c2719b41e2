"""A map of a small function over many numbers: one request, one answer.

    offloadd --python tasks.py
    python3 over_http.py [START STOP]     finds the primes of range(100000, 200000)
"""

import sys
import time

import offload


def main():
    start, stop = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else (100_000, 200_000)
    numbers = range(start, stop)
    began = time.perf_counter()
    with offload.Client() as client:
        answers = list(client.map("is_prime", columns={"n": numbers}))
    print(f"{len(answers)} numbers took {time.perf_counter() - began:.2f} s.")
    primes = [n for n, prime in zip(numbers, answers) if prime]
    print(f"result: {len(primes)} primes, and the last one is {primes[-1] if primes else None}")


if __name__ == "__main__":
    main()
