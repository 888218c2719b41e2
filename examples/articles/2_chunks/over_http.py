"""One job in chunks. The service divides it and puts the results together; here is only the one call.

    offloadd --python tasks.py
    python3 over_http.py [COUNT]      adds up the digits of COUNT (600000) numbers
"""

import sys
import time

import offload
from tasks import digit_sum


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 600_000
    began = time.perf_counter()
    sequential = digit_sum(0, count)  # a task is a function
    sequential_s = time.perf_counter() - began
    print(f"One after the other: {sequential_s:.2f} s.")

    began = time.perf_counter()
    with offload.Client() as client:
        job = client.submit("digit_sum", {"start": 0, "stop": count})
        for event in job.events():
            if event.name == "progress":
                print(f"{event.data['done']} of {event.data['total']}, after {time.perf_counter() - began:.2f} s.")
        parallel = job.result()
    parallel_s = time.perf_counter() - began
    print(f"In parallel: {parallel_s:.2f} s, {sequential_s / parallel_s:.1f} times as fast.")
    print(f"result: the sum is {parallel}, the results are {'equal' if parallel == sequential else 'different'}")


if __name__ == "__main__":
    main()
