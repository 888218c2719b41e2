"""executor.map of tasks that take very different times.

    python3 FILE [UNIT]    the smallest task looks at UNIT (1000) numbers, the largest at 32 times as many
"""

import sys
import time
from concurrent.futures import ProcessPoolExecutor

WEIGHTS = [1, 8, 2, 32, 1, 16, 4, 1, 2, 24, 1, 8]


def longest_chain(stop):
    """The number below stop with the longest Collatz chain, the length of that chain, and how long it took in s."""
    began = time.perf_counter()
    best = (0, 0)
    for start in range(1, stop):
        n, steps = start, 0
        while n != 1:
            n = 3 * n + 1 if n % 2 else n // 2
            steps += 1
        best = max(best, (steps, start))
    return best[1], best[0], time.perf_counter() - began


def main():
    unit = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    sizes = [unit * weight for weight in WEIGHTS]
    found, work_s = [], 0.0
    began = time.perf_counter()
    with ProcessPoolExecutor() as executor:
        for size, (number, steps, took_s) in zip(sizes, executor.map(longest_chain, sizes)):
            after_s = time.perf_counter() - began
            print(f"Below {size}: {number} has {steps} steps. It took {took_s:.2f} s, and came after {after_s:.2f} s.")
            found.append((number, steps))
            work_s += took_s
    print(f"{work_s:.2f} s of work took {time.perf_counter() - began:.2f} s.")
    print(f"result: {found}")


if __name__ == "__main__":
    main()
