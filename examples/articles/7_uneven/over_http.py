"""Jobs that take very different times. The small ones are more urgent, so they do not wait behind the large ones.

    offloadd --python tasks.py
    python3 over_http.py [UNIT]       the smallest job looks at UNIT (1000) numbers, the largest at 32 times as many
"""

import sys
import time

import offload

WEIGHTS = [1, 8, 2, 32, 1, 16, 4, 1, 2, 24, 1, 8]


def main():
    unit = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    sizes = [unit * weight for weight in WEIGHTS]
    found, work_s = [], 0.0
    began = time.perf_counter()
    with offload.Client() as client:
        jobs = [client.submit("longest_chain", {"stop": size}, priority=3 if size > 8 * unit else 1) for size in sizes]
        for size, job in zip(sizes, jobs):
            number, steps, took_s = job.result()
            after_s = time.perf_counter() - began
            print(f"Below {size}: {number} has {steps} steps. It took {took_s:.2f} s, and came after {after_s:.2f} s.")
            found.append((number, steps))
            work_s += took_s
    print(f"{work_s:.2f} s of work took {time.perf_counter() - began:.2f} s.")
    print(f"result: {found}")


if __name__ == "__main__":
    main()
