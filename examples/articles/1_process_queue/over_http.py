"""One job for one piece of work. Its events take the place of the queue.

    offloadd --python tasks.py
    python3 over_http.py [STOP]       counts the primes below STOP (200000)
"""

import sys
import time

import offload


def main():
    stop = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    began = time.perf_counter()
    with offload.Client() as client:
        job = client.submit("count_primes", {"stop": stop})
        print("The job has been accepted. This process could do something else now, or end, and ask for the job later.")
        for event in job.events():
            if event.name == "progress":
                print(f"{event.data['fraction']:.0%} after {time.perf_counter() - began:.2f} s.")
        count = job.result()
    print(f"After {time.perf_counter() - began:.2f} s the job has {job.status}.")
    print(f"result: {count} primes are below {stop}")


if __name__ == "__main__":
    main()
