"""A numpy array in shared memory: each process doubles a part of it in place, and nothing is copied to it and back.

    python3 FILE [COUNT]    doubles COUNT (4000000) numbers, and adds them up
"""

import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory

import numpy as np

PARTS = 8
UNTOUCHED, PREPARED, DOUBLED = 0, 1, 2


def layout(buffer, count):
    """What the segment holds: the array, as much room for its double, and how far each part is."""
    array, doubles = np.ndarray((2, count), np.float64, buffer)
    return array, doubles, np.ndarray(PARTS, np.uint8, buffer, 2 * array.nbytes)


def double(array, doubles, state, part):
    """Doubles a part of the array in place, and returns its exact sum.

    The process can die at any point, and the call can be made again. To double twice would be wrong, so each step is
    one that does no harm if it is done again, and the state says which step is next.
    """
    size = -(-len(array) // PARTS)
    mine = slice(part * size, (part + 1) * size)
    if state[part] == UNTOUCHED:
        doubles[mine] = array[mine] * 2
        state[part] = PREPARED
    if state[part] == PREPARED:
        array[mine] = doubles[mine]
        state[part] = DOUBLED
    return math.fsum(array[mine])


def double_part(name, count, part):
    """Attaches to the segment, and doubles a part of the array in it."""
    segment = shared_memory.SharedMemory(name)
    try:
        return double(*layout(segment.buf, count), part)
    finally:
        segment.close()


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000_000
    segment = shared_memory.SharedMemory(create=True, size=2 * count * 8 + PARTS)
    try:
        array = layout(segment.buf, count)[0]
        array[:] = np.arange(count)
        before = array.sum()
        began = time.perf_counter()
        with ProcessPoolExecutor() as executor:
            sums = executor.map(double_part, [segment.name] * PARTS, [count] * PARTS, range(PARTS))
            total = math.fsum(sums)
        print(f"{count} numbers took {time.perf_counter() - began:.2f} s.")
        print(f"result: the sum was {before:.0f}, and it is {total:.0f}; this process sees {array.sum():.0f}")
    finally:
        segment.close()
        segment.unlink()


if __name__ == "__main__":
    main()
