"""A numpy array in shared memory: the service, on the same machine, doubles it in place. Only its name travels.

    offloadd --python tasks.py
    python3 over_http.py [COUNT]      doubles COUNT (4000000) numbers, and adds them up
"""

import math
import sys
import time
from multiprocessing import shared_memory

import numpy as np

import offload
from tasks import PARTS, layout


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000_000
    segment = shared_memory.SharedMemory(create=True, size=2 * count * 8 + PARTS)
    try:
        array = layout(segment.buf, count)[0]
        array[:] = np.arange(count)
        before = array.sum()
        began = time.perf_counter()
        with offload.Client() as client:
            calls = [{"name": segment.name, "count": count, "part": part} for part in range(PARTS)]
            total = math.fsum(client.map("double_part", calls))
        print(f"{count} numbers took {time.perf_counter() - began:.2f} s.")
        print(f"result: the sum was {before:.0f}, and it is {total:.0f}; this process sees {array.sum():.0f}")
    finally:
        segment.close()
        segment.unlink()


if __name__ == "__main__":
    main()
