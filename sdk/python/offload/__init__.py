"""Python functions as job types of offload, a service for CPU-bound work. docs/python.md is the manual.

    import offload

    @offload.task
    def is_prime(n: int) -> bool: ...

`offloadd --python tasks.py` serves the functions of a file. All of this also works without the service: a task is
called like any function, `progress` does nothing, and `cancelled` is False.
"""

from ._call import attempt, cancelled, deadline, progress
from ._errors import Cancelled, InvalidParams
from ._tasks import Task, task

__all__ = ["Cancelled", "InvalidParams", "Task", "attempt", "cancelled", "deadline", "progress", "task"]
__version__ = "0.2.0"
