"""offloadd --python tasks.py"""

import offload


@offload.task
def heavy_task(n: int) -> int:
    """The sum of the squares of 0, 1, ..., n - 1."""
    return sum(i * i for i in range(n))
