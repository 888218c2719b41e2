"""One process for one piece of work, and a queue for its result.

    python3 FILE [STOP]    counts the primes below STOP (200000)
"""

import math
import sys
import time
from offload.multiprocessing import Process, Queue


def count_primes(stop, queue):
    """Puts the number of primes below stop into the queue."""
    count = 0
    for n in range(2, stop):
        count += all(n % divisor for divisor in range(2, math.isqrt(n) + 1))
    queue.put(count)


def main():
    stop = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    queue = Queue()
    count = None
    began = time.perf_counter()
    while count is None:
        process = Process(target=count_primes, args=(stop, queue))
        process.start()
        print("The process has started. This one could do something else now.")
        process.join()
        print(f"It ended after {time.perf_counter() - began:.2f} s with the exit code {process.exitcode}.")
        if process.exitcode == 0:
            count = queue.get()  # a process that was killed has put nothing into the queue: another one is started
    print(f"result: {count} primes are below {stop}")


if __name__ == "__main__":
    main()
