"""offloadd --python tasks.py"""

import time

import offload


@offload.task
def longest_chain(stop: int) -> tuple[int, int, float]:
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
