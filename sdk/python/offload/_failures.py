"""The exceptions of the clients. The side of the workers does not load this file (_errors.py has theirs)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Optional

from ._errors import InvalidParams

WITHIN = re.compile(r"/params(?=/|\Z)|/items/[0-9]+(?=/|\Z)")
COLUMN = re.compile(r"/columns(/[^/]*)(?:/[0-9]+)?")


class OffloadError(Exception):
    """What all errors of the clients have in common, except InvalidParams, which is a ValueError."""


class RemoteTraceback(Exception):
    """The cause of a TaskError: the traceback in the process that ran the task, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class HTTPError(OffloadError):
    """The service has refused a request.

    status: of HTTP; 0: there was no answer. code: the stable name of what is wrong. problem: the whole document
    (RFC 9457).
    """

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(problem)
        self.problem = dict(problem)
        self.status = whole_number(problem.get("status"))
        self.code = str(problem.get("code", ""))

    def __str__(self) -> str:
        text = str(self.problem.get("detail") or self.problem.get("title") or "the service gave no reason")
        return f"{text} ({', '.join(filter(None, [str(self.status or ''), self.code]))})"


class Unavailable(HTTPError):
    """The service could not be reached, or it took no jobs, for as long as the client tries again."""


class TaskError(OffloadError):
    """A job, or a call of a map, has failed. If the task has raised an exception, its traceback is the cause.

    code: the stable name of what happened, such as "handler_failed". status: the status of HTTP that goes with it.
    exception: the class of the task's exception, or "". detail: its message, or another text. job_id: None for a call
    that has no job of its own. problem: the whole document (RFC 9457).
    """

    def __init__(self, problem: Mapping[str, Any], job_id: Optional[str] = None) -> None:
        super().__init__(problem, job_id)
        self.problem = dict(problem)
        self.job_id = job_id
        self.code = str(problem.get("code", ""))
        self.status = whole_number(problem.get("status"))
        self.exception = str(problem.get("exception", ""))
        self.detail = str(problem.get("detail", ""))
        text = problem.get("traceback")
        if isinstance(text, str) and text:
            self.__cause__ = RemoteTraceback(text)

    def __str__(self) -> str:
        if self.exception:
            return f"{self.exception}: {self.detail}" if self.detail else self.exception
        return f"{self.detail} ({self.code})" if self.detail else self.code


class WorkerLost(TaskError, BrokenProcessPool):
    """The process of the call died in each attempt. Other calls are not concerned: the pool goes on."""


class JobTimeout(TaskError, TimeoutError):
    """The job ran longer than its timeout, or it waited longer than its queue_timeout."""


class JobCancelled(TaskError):
    """Someone has cancelled the job."""


KINDS: dict[str, type[TaskError]] = {
    "worker_crashed": WorkerLost,
    "job_timeout": JobTimeout,
    "queue_timeout": JobTimeout,
    "cancelled": JobCancelled,
}


def whole_number(value: Any) -> int:
    return value if type(value) is int else 0


def pointer_in_params(pointer: str) -> str:
    """The place within the parameters of a call, whether they were sent as params, items or columns."""
    column = COLUMN.match(pointer)
    if column:
        return column[1] + pointer[column.end() :]
    return WITHIN.sub("", pointer, count=1) if WITHIN.match(pointer) else pointer


def invalid_params(problem: Mapping[str, Any]) -> InvalidParams:
    """`pointer` and `why` are those of the first fault; the problem has all."""
    faults = problem.get("errors")
    first = faults[0] if isinstance(faults, list) and faults and isinstance(faults[0], dict) else {}
    why = str(first.get("detail") or problem.get("detail") or "the parameters are wrong")
    error = InvalidParams(pointer_in_params(str(first.get("pointer", ""))), why)
    error.problem = dict(problem)
    return error


def failure_of(problem: Mapping[str, Any], job_id: Optional[str] = None) -> Exception:
    """The exception for the `error` of a Job or of a call of a map."""
    code = problem.get("code")
    if code == "invalid_params":
        return invalid_params(problem)
    return KINDS.get(str(code), TaskError)(problem, job_id)
