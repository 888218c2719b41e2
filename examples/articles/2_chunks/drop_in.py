"""A large list in chunks: one after the other, and then in parallel, the results as they come.

    python3 FILE [COUNT]    adds up the digits of COUNT (600000) numbers
"""

import sys
import time
from concurrent.futures import as_completed
from offload import Executor as ProcessPoolExecutor

CHUNKS = 8


def process_chunk(chunk):
    """The sum of the digits of each number."""
    return sum(sum(map(int, str(number))) for number in chunk)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600_000
    numbers = list(range(count))
    size = max(1, -(-count // CHUNKS))
    chunks = [numbers[first : first + size] for first in range(0, count, size)]

    began = time.perf_counter()
    sequential = sum(process_chunk(chunk) for chunk in chunks)
    sequential_s = time.perf_counter() - began
    print(f"One after the other: {sequential_s:.2f} s.")

    began = time.perf_counter()
    parallel = 0
    with ProcessPoolExecutor() as executor:
        futures = {executor.submit(process_chunk, chunk): index for index, chunk in enumerate(chunks)}
        for future in as_completed(futures):
            parallel += future.result()
            print(f"Chunk {futures[future]} is there after {time.perf_counter() - began:.2f} s.")
    parallel_s = time.perf_counter() - began
    print(f"In parallel: {parallel_s:.2f} s, {sequential_s / parallel_s:.1f} times as fast.")
    print(f"result: the sum is {parallel}, the results are {'equal' if parallel == sequential else 'different'}")


if __name__ == "__main__":
    main()
