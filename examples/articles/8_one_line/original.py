"""One heavy call, in one line.

    python3 FILE [N]    adds up the squares below N (10000000)
"""

import sys
from concurrent.futures import ProcessPoolExecutor


def heavy_task(n):
    """The sum of the squares of 0, 1, ..., n - 1."""
    return sum(i * i for i in range(n))


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with ProcessPoolExecutor() as executor:
        print("result:", executor.submit(heavy_task, number).result())
