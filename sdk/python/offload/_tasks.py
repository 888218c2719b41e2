"""The decorator. A decorated function stays the function that it is, with two attributes: split and merge."""

from __future__ import annotations

import inspect
import os
import re
import types
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union, cast, overload

if TYPE_CHECKING:
    from typing import Protocol

    from typing_extensions import ParamSpec

    P = ParamSpec("P")
    R_co = TypeVar("R_co", covariant=True)

    class Task(Protocol[P, R_co]):
        """A function that is decorated with `offload.task`."""

        __name__: str

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

        def split(self, function: F) -> F:
            """Decorates the function that divides a job into chunks. It gets the parameters that it names, and
            `chunks` (how many the client wished for, 0: choose), and yields a dict of parameters for each chunk."""

        def merge(self, function: F) -> F:
            """Decorates the function that makes the result of the job from the list of the chunks' results."""
else:
    Task = Callable

F = TypeVar("F", bound=Callable[..., Any])

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")
MEDIA_TYPE = re.compile(r"(?=.{3,127}\Z)[a-z0-9!#$&^_+][a-z0-9!#$&^_.+-]*/[a-z0-9!#$&^_.+-]+\Z")
NAME_RULE = "a-z first, then a-z, 0-9, _ and -, at most 64 in all"


class Definition:
    """What is known of a task: the function, and what the decorators say about it."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self.function = function
        self.name = name
        self.timeout: Optional[float] = None
        self.max_attempts: Optional[int] = None
        self.writable = False
        self.media_type: Optional[str] = None
        self.split: Optional[Callable[..., Any]] = None
        self.merge: Optional[Callable[..., Any]] = None

    def __str__(self) -> str:
        return str(getattr(self.function, "__name__", self.name))

    def where(self) -> str:
        """tasks.py:12, for messages"""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code else str(self)


defined: list[Definition] = []
"""All that were decorated, in their order."""


@overload
def task(function: Callable[P, R_co], /) -> Task[P, R_co]: ...


@overload
def task(
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    max_attempts: Optional[int] = None,
    writable: bool = False,
    media_type: Optional[str] = None,
) -> Callable[[Callable[P, R_co]], Task[P, R_co]]: ...


def task(
    function: Optional[Callable[..., Any]] = None,
    /,
    *,
    name: Optional[str] = None,
    timeout: Optional[float] = None,
    max_attempts: Optional[int] = None,
    writable: bool = False,
    media_type: Optional[str] = None,
) -> Any:
    """Makes a function a job type. As @task, or with options as @task(name="filter", timeout=60, max_attempts=5).

    name: of the type, if it is not that of the function
    timeout: seconds, for jobs that are submitted without options.timeout
    max_attempts: for jobs that are submitted without options.max_attempts: how often a call is tried in all
    writable: the function may write to the arrays and memoryviews that it gets: they are its own
    media_type: of a result that is bytes, an array or an image, if it is not the usual one: "image/webp"
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"the name of a task is a string, not {type(name).__name__}")
    seconds = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if timeout is not None and not (seconds and 0 < timeout < float("inf")):
        raise ValueError(f"timeout is a number of seconds above 0, not {timeout!r}")
    if max_attempts is not None and (type(max_attempts) is not int or max_attempts < 1):
        raise ValueError(f"max_attempts is an integer of at least 1, not {max_attempts!r}")

    if type(writable) is not bool:
        raise TypeError(f"writable is True or False, not {writable!r}")
    if media_type is not None and not (isinstance(media_type, str) and MEDIA_TYPE.match(media_type)):
        raise ValueError(f"media_type is as 'image/png', in lower case and without parameters, not {media_type!r}")

    def decorate(function: Callable[..., Any]) -> Any:
        if not isinstance(function, types.FunctionType):
            raise TypeError(f"offload.task decorates functions, not {function!r}")
        definition = Definition(function, function.__name__ if name is None else name)
        definition.timeout, definition.max_attempts = timeout, max_attempts
        definition.writable, definition.media_type = writable, media_type

        def split(part: F) -> F:
            definition.split = part
            return part

        def merge(part: F) -> F:
            definition.merge = part
            return part

        attributes: dict[str, Any] = {"split": split, "merge": merge, "__offload__": definition}
        function.__dict__.update(attributes)
        defined.append(definition)
        return function

    return decorate if function is None else decorate(function)


def definition_of(function: Any) -> Optional[Definition]:
    """That of a decorated function, also below other decorators that keep its attributes."""
    found = getattr(function, "__offload__", None)
    return cast("Union[Definition, None]", found) if isinstance(found, Definition) else None
