"""The exceptions of the tasks' side. Those of the clients are in _failures.py."""

from __future__ import annotations

from typing import Any, Optional


def escape(name: Any) -> str:
    """A name as one part of a JSON pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


class InvalidParams(ValueError):
    """Raised by a task whose parameters are wrong: the job is answered with 422. The clients raise it for that answer.

    `pointer` is a JSON pointer to the value within the parameters ("/image", "/points/3/x"; "" for all of them). The
    name of a parameter will do, too. `why` says what is wrong with it. `problem`: the answer of the service (RFC 9457),
    at a client.
    """

    problem: Optional[dict[str, Any]] = None

    def __init__(self, pointer: str, why: str) -> None:
        if not isinstance(pointer, str) or not isinstance(why, str):
            raise TypeError("InvalidParams takes a JSON pointer and a text")
        super().__init__(pointer, why)
        self.pointer = pointer if pointer == "" or pointer.startswith("/") else "/" + escape(pointer)
        self.why = why

    def __str__(self) -> str:
        return f"{self.pointer}: {self.why}" if self.pointer else self.why


class Cancelled(BaseException):
    """Raised in the main thread, within a task, when its job is cancelled or out of time.

    It is no `Exception`, so that `except Exception:` does not stop it. Whatever stops it gets it again.
    """


class LoadError(Exception):
    """The tasks cannot be offered. The text is one line, for the one who starts the service."""


class Unfit(Exception):
    """A value that does not fit where it is. The place is collected on the way up, from the inside out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.place: list[str] = []

    def within(self, name: Any) -> Unfit:
        """Adds the member or the index that has the place so far."""
        self.place.append(escape(name))
        return self

    @property
    def pointer(self) -> str:
        return "".join("/" + part for part in reversed(self.place))


class NoJson(Exception):
    """A result that JSON cannot hold. The text says why."""
