"""Python functions as job types. Serve them:

    offloadd --python examples/tasks.py

and call them:

    offload run is_prime n=2147483647
    offload run squares start=0 stop=20000000
"""

import re
from typing import Literal

import offload


@offload.task
def is_prime(n: int) -> bool:
    """Is a number prime?

    Args:
        n: an integer of any size
    """
    if n < 4:
        return n > 1
    if n % 2 == 0:
        return False
    i = 3
    while i * i <= n:
        if n % i == 0:
            return False
        i += 2
    return True


@offload.task
def squares(start: int, stop: int) -> int:
    """The sum of the squares of start, start + 1, ..., stop - 1, in chunks on all workers."""
    total = 0
    for n in range(start, stop):
        total += n * n
        if n % 100000 == 0:
            offload.progress(n - start, stop - start)
    return total


@squares.split
def _(start, stop, chunks):
    """The parameters of each chunk; 0 chunks: as many as are good, here one for each 500,000 numbers."""
    count = chunks or min(4096, 1 + max(0, stop - start) // 500_000)
    size = max(1, -(-(stop - start) // count))
    for begin in range(start, stop, size):
        yield {"start": begin, "stop": min(stop, begin + size)}


@squares.merge
def _(parts):
    return sum(parts)


@offload.task(name="filter", timeout=60, max_attempts=5)
def process_image(image: bytes, kind: Literal["grey", "sepia"] = "grey") -> bytes:
    """Filters an image.

    Args:
        image: a PPM (P6) with 8 bits for each colour, as base64 in JSON
        kind: which filter
    """
    head = re.match(rb"P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s", image)
    if head is None:
        raise offload.InvalidParams("/image", "is not a PPM with 8 bits for each colour")
    pixels = image[head.end() :]
    size = int(head[1]) * int(head[2]) * 3
    if len(pixels) != size:
        raise offload.InvalidParams("/image", f"has {len(pixels)} bytes of pixels, not {size}")
    out = bytearray(size)
    for i in range(0, size, 3):
        red, green, blue = pixels[i : i + 3]
        if kind == "grey":
            out[i] = out[i + 1] = out[i + 2] = (299 * red + 587 * green + 114 * blue) // 1000
        else:
            out[i] = min(255, (393 * red + 769 * green + 189 * blue) // 1000)
            out[i + 1] = min(255, (349 * red + 686 * green + 168 * blue) // 1000)
            out[i + 2] = min(255, (272 * red + 534 * green + 131 * blue) // 1000)
    return head[0] + bytes(out)
