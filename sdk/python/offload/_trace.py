"""Tracebacks: which frames are a task's own, and what one line says of an exception."""

from __future__ import annotations

import importlib
import os
import types
from typing import Any, Callable, Optional

GENERATED = "<offload>"
"""The file name of generated code: no frame of a task has it."""
BOUNDARY = "<task>"
"""The file name of the functions that stand for one without frames of its own."""

HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
OURS = (HERE, "<frozen importlib", os.path.dirname(importlib.__file__) + os.sep, GENERATED, BOUNDARY)


def strip(trace: Optional[types.TracebackType]) -> Optional[types.TracebackType]:
    """The traceback without our own frames, and those of the import system, at its beginning and at its end."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OURS):
        trace = trace.tb_next
    last = at = trace
    while at is not None:
        if not at.tb_frame.f_code.co_filename.startswith(OURS):
            last = at
        at = at.tb_next
    if last is not None:
        last.tb_next = None
    return trace


def reason(error: BaseException, trace: Optional[types.TracebackType]) -> str:
    """"NameError: name 'x' is not defined (tasks.py, line 3)", on one line."""
    if isinstance(error, SystemExit):
        text = f"it called sys.exit({error.code!r}) while it was imported"
    else:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        text = type(error).__name__ + (f": {message}" if message else "")
    file: Optional[str] = None
    line: Optional[int] = None
    if isinstance(error, SyntaxError):
        file, line = error.filename, error.lineno
    elif trace is not None:
        while trace.tb_next is not None:
            trace = trace.tb_next
        file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    where = f" ({os.path.basename(file)}, line {line})" if file and line else ""
    return " ".join(text.split()) + where


def boundary(source: str, function: Any, **names: Any) -> Callable[..., Any]:
    names["function"] = function
    exec(compile(source, BOUNDARY, "exec"), names)
    made: Callable[..., Any] = names["call"]
    return made
