"""offloadd --python tasks.py"""

import math

import numpy as np

import offload

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


@offload.task
def double_part(name: str, count: int, part: int) -> float:
    """Doubles a part of an array in shared memory, which the client has made, on this machine.

    Args:
        name: the segment, as multiprocessing.shared_memory names it
        count: how many numbers the array has
        part: which of its 8 parts
    """
    if "/" in name or not 0 <= part < PARTS:
        raise offload.InvalidParams("/name" if "/" in name else "/part", "does not exist")
    # SharedMemory(name) would have this process remove the segment when it ends, before Python 3.13 (track=False).
    segment = np.memmap("/dev/shm/" + name, np.uint8, "r+")
    if segment.nbytes < 2 * count * 8 + PARTS:
        raise offload.InvalidParams("/count", f"does not fit into {segment.nbytes} bytes")
    return double(*layout(segment, count), part)
