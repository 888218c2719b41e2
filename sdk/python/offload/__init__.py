"""Python functions as job types of offload, a service for CPU-bound work, and clients of that service.

    import offload

    @offload.task
    def is_prime(n: int) -> bool: ...

`offloadd --python tasks.py` serves the functions of a file (docs/python.md). All of this also works without the
service: a task is called like any function, `progress` does nothing, and `cancelled` is False.

    offload.Client("http://127.0.0.1:8080").run("is_prime", {"n": 7})

docs/clients.md is the manual of the clients.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._call import attempt, cancelled, deadline, progress
from ._errors import Cancelled, InvalidParams
from ._tasks import Task, task

if TYPE_CHECKING:
    from ._api import Event
    from ._async_client import AsyncClient, AsyncJob
    from ._client import Client, Job
    from ._executor import Executor, Future
    from ._failures import (
        HTTPError,
        JobCancelled,
        JobTimeout,
        OffloadError,
        RemoteTraceback,
        TaskError,
        Unavailable,
        WorkerLost,
    )

LATER = {
    "AsyncClient": "_async_client",
    "AsyncJob": "_async_client",
    "Client": "_client",
    "Event": "_api",
    "Executor": "_executor",
    "Future": "_executor",
    "HTTPError": "_failures",
    "Job": "_client",
    "JobCancelled": "_failures",
    "JobTimeout": "_failures",
    "OffloadError": "_failures",
    "RemoteTraceback": "_failures",
    "TaskError": "_failures",
    "Unavailable": "_failures",
    "WorkerLost": "_failures",
}
"""What the clients have, and where. It is loaded when it is first used: a worker does not need it."""

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Cancelled",
    "Client",
    "Event",
    "Executor",
    "Future",
    "HTTPError",
    "InvalidParams",
    "Job",
    "JobCancelled",
    "JobTimeout",
    "OffloadError",
    "RemoteTraceback",
    "Task",
    "TaskError",
    "Unavailable",
    "WorkerLost",
    "attempt",
    "cancelled",
    "deadline",
    "progress",
    "task",
]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *LATER})
