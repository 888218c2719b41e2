"""offloadd --python tasks.py"""

import offload


@offload.task
def digit_sum(start: int, stop: int) -> int:
    """The sum of the digits of start, start + 1, ..., stop - 1."""
    return sum(sum(map(int, str(number))) for number in range(start, stop))


@digit_sum.split
def _(start, stop, chunks):
    """The service runs the chunks of one job side by side. 0 chunks: as many as are good, here some 50 ms each."""
    count = chunks or min(4096, 1 + max(0, stop - start) // 50_000)
    size = max(1, -(-(stop - start) // count))
    for first in range(start, stop, size):
        yield {"start": first, "stop": min(stop, first + size)}


@digit_sum.merge
def _(parts):
    return sum(parts)
