"""What a task can ask about the call that runs. Without the service there is none, and the answers say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable, Optional, Protocol


class Host(Protocol):
    """What the program (_program.py) knows of the call that runs."""

    attempt: int
    deadline: Optional[float]

    def is_cancelled(self) -> bool: ...

    def report(self, done: float, total: float) -> None: ...


host: Optional[Host] = None


def cancelled() -> bool:
    """Is the job of this call cancelled or out of time? For loops that catch `Cancelled`, and for other threads."""
    return host is not None and host.is_cancelled()


def progress(done: float, total: float) -> None:
    """Tells how far the call is: `done` of `total`. It can be called often: what is too much is left out."""
    for value in (done, total):
        if not isinstance(value, (int, float)) and not hasattr(value, "__float__"):
            raise TypeError(f"progress takes two numbers, not {type(value).__name__}")
    if not (0 <= done <= total < float("inf")):
        raise ValueError(f"progress takes 0 <= done <= total, not {done!r} of {total!r}")
    if host is not None:
        host.report(done, total)


def attempt() -> int:
    """0, or how often this call was lost before, because its process died."""
    return 0 if host is None else host.attempt


def deadline() -> Optional[float]:
    """The time (as of time.time()) at which the job will be stopped; None: it has no limit, or it is not known."""
    return None if host is None else host.deadline


def call_each(function: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """The calls of one chunk of a map, Executor's or Pool's: call i has the i-th value of each column."""
    return list(map(function, *columns))
