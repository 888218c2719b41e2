"""The program of the drop-in executor: its job type `call` calls a function of the script with pickled arguments.

A service that `offload.Executor()` has started starts it (_service.py). It is a program like any other (_program.py): a
template, which only forks, and a program process for each worker. Each of these has a connection to the script, on
which comes what a process needs that multiprocessing would have inherited or sent through a pipe:

    process → script     HELLO                → number, of this process; with the preparation, stdout, stderr
                         SLAB serial          → the memory with the large parts of a call
                         TRACKER              → the pipe to the script's resource tracker
                         RESULT number        the memory with a result's large parts; its call is answered afterwards
                         BEGUN pid key        the target of a Process (multiprocessing.py) begins here
                         FAULT text           the main module cannot be imported

They are messages of a SOCK_SEQPACKET socket, with descriptors (unix(7)). An answer follows each of the first three.
A call's parameter `p` and its value are text:

    p       number SP base64 of the pickle of (function, args, kwargs)
            number "@" serial SP offset SP size,size,…        that pickle and its buffers, in a slab
    value   "r" base64 of the result's pickle;  "e" of an exception's
            "R" number SP sizes, "E" number SP sizes: the same, in memory that was sent with RESULT
            "b" text: the initializer has failed
"""

from __future__ import annotations

import binascii
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from multiprocessing import process, resource_tracker, spawn
from typing import Any, Optional

from . import _buffers, _program
from ._errors import Cancelled, LoadError
from ._frames import Broken
from ._program import leave
from ._trace import boundary, reason, strip

HELLO, SLAB, TRACKER, RESULT, BEGUN, FAULT = b"H", b"S", b"T", b"R", b"B", b"F"
MESSAGE = 8192  # the most bytes of a message
PATIENCE_S = 60  # for the script to open its socket; if it is gone this process is ended before
NOT_IMPORTED = (
    "the main module is not a file that the workers can import: it is interactive, `python -c`, or a package's "
    "__main__. Put the function into a module"
)


__all__ = ["leave", "main"]


def name_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or repr(function))


class Hub:
    """This process's connection to the script. Any thread."""

    def __init__(self, path: str) -> None:
        self.lock = threading.Lock()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.sock.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):  # the script is about to open it
                if time.monotonic() > end:
                    raise
                time.sleep(0.001)

    def ask(self, message: bytes, most: int = 1) -> tuple[bytes, list[int]]:
        """The answer, and the descriptors that came with it."""
        with self.lock:
            self.sock.send(message)
            answer, descriptors, _, _ = socket.recv_fds(self.sock, MESSAGE, most, socket.MSG_CMSG_CLOEXEC)
        if not answer:
            raise EOFError("the script is gone")
        return answer, descriptors

    def hello(self) -> tuple[int, list[int]]:
        answer, descriptors = self.ask(HELLO, 3)
        return int(answer), descriptors

    def slab(self, serial: int) -> int:
        _, descriptors = self.ask(SLAB + str(serial).encode())
        if not descriptors:
            raise RuntimeError("the arguments of the call are not there any more")
        return descriptors[0]

    def tracker(self) -> Optional[int]:
        _, descriptors = self.ask(TRACKER)
        return descriptors[0] if descriptors else None

    def send_result(self, number: int, parts: list[_buffers.Part]) -> None:
        """Gives the memory with these parts to the script."""
        fd = _buffers.pack_alone(parts)
        try:
            socket.send_fds(self.sock, [RESULT + str(number).encode()], [fd])
        finally:
            os.close(fd)

    def begun(self, key: str) -> None:
        self.sock.send(BEGUN + f"{os.getpid()} {key}".encode())

    def fault(self, text: str) -> None:
        self.sock.send(FAULT + text.encode("utf-8", "backslashreplace")[: MESSAGE - 1])


hub: Optional[Hub] = None


class SharedTracker(resource_tracker.ResourceTracker):
    """The script's resource tracker: a segment of shared memory is forgotten when the script says so, not when one of
    the processes ends that have used it."""

    def ensure_running(self) -> None:
        if self._fd is None and hub is not None:  # type: ignore[has-type]
            self._fd = hub.tracker()
        if self._fd is None:
            super().ensure_running()


class Call:
    """The job type `call`, as a JobType is for _program.py."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.name = "call"
        self.mean = float("inf")
        self.takes_parts = self.writable = False
        self.initializer: Optional[tuple[int, str]] = data["initializer"]  # where it and its arguments are
        self.max_attempts = data["max_attempts"]
        self.has_main = data["has_main"]
        self.broken: Optional[str] = None
        self.invoke = boundary("def call(function, args, kwargs): return function(*args, **kwargs)", None)

    def describe(self) -> dict[str, Any]:
        params = {"type": "object", "properties": {"p": {"type": "string"}}, "required": ["p"]}
        summary = "Calls a function of the script that has started this service"
        return {"name": self.name, "summary": summary, "params": params, "max_attempts": self.max_attempts}

    def initialize(self) -> None:
        """Calls the initializer, before the first call of this process. If it raises, no call is run here."""
        place, self.initializer = self.initializer, None
        assert place is not None
        try:
            function, arguments = self.take(*place)
            self.invoke(function, arguments, {})
        except Cancelled:
            self.initializer = place  # again, at the next call
            raise
        except BaseException as error:
            self.broken = "b" + reason(error, None)
            text = traceback.format_exception(type(error), error, strip(error.__traceback__))
            print("Exception in initializer:\n" + "".join(text), end="", file=sys.stderr)

    def call(self, params: dict[str, Any]) -> str:
        if self.initializer is not None:
            self.initialize()
        if self.broken is not None:
            return self.broken
        head, _, rest = params["p"].partition(" ")
        number, _, serial = head.partition("@")
        try:
            if serial:
                function, args, kwargs = self.take(int(serial), rest)
            else:
                function, args, kwargs = pickle.loads(binascii.a2b_base64(rest))
        except BaseException as error:
            if isinstance(error, AttributeError) and not self.has_main:
                error = AttributeError(f"{error}: {NOT_IMPORTED}")
            return self.failed(number, "the function or its arguments", error)
        try:
            result = self.invoke(function, args, kwargs)
        except Cancelled:
            raise
        except BaseException as error:
            return self.failed(number, name_of(function), error)
        try:
            parts = _buffers.dumps(result)
        except Cancelled:
            raise
        except BaseException as error:
            return self.unpicklable(number, f"the result of {name_of(function)}", error)
        return self.answer("r", number, parts)

    def take(self, serial: int, place: str) -> Any:
        assert hub is not None
        offset, sizes = place.split(" ")
        fd = hub.slab(serial)
        try:
            return _buffers.loads(fd, int(offset), [int(size) for size in sizes.split(",")])
        finally:
            os.close(fd)

    def answer(self, kind: str, number: str, parts: list[_buffers.Part]) -> str:
        if not _buffers.is_large(parts):
            return kind + binascii.b2a_base64(parts[0], newline=False).decode()
        assert hub is not None
        try:
            hub.send_result(int(number), parts)
        except OSError as error:  # there is no memory, say
            return self.failed(number, "", error)
        return f"{kind.upper()}{number} {','.join(map(str, _buffers.sizes_of(parts)))}"

    def failed(self, number: str, name: str, error: BaseException) -> str:
        text = "".join(traceback.format_exception(type(error), error, strip(error.__traceback__)))
        error.__traceback__ = None
        try:
            pickled = b"".join(_buffers.dumps(error)[:1])
            pickle.loads(pickled)
        except Exception as fault:
            why = f"the exception that {name} has raised cannot be pickled: {type(error).__name__}: {error}"
            return self.unpicklable(number, why, fault, text)
        return self.answer("e", number, _buffers.dumps((text, pickled)))

    def unpicklable(self, number: str, what: str, fault: BaseException, text: Optional[str] = None) -> str:
        if text is None:
            what = f"{what} cannot be pickled"
            text = "".join(traceback.format_exception(type(fault), fault, strip(fault.__traceback__)))
        error = pickle.PicklingError(f"{what} ({type(fault).__name__}: {fault})")
        return self.answer("e", number, _buffers.dumps((text, pickle.dumps(error))))


class Remote(_program.Program):
    """The program, and what its processes have of the script."""

    path = ""

    def become(self, parent: int, between: int, given: list[int]) -> None:
        super().become(parent, between, given)
        connect(self.path)


def connect(path: str) -> bytes:
    """Makes this process one of the script's: its streams, and its name. Returns the pickled preparation."""
    global hub
    try:
        hub = Hub(path)
        number, descriptors = hub.hello()
    except (OSError, EOFError):
        os._exit(0)  # the script is gone, and so is the service soon
    for fd, stream in zip(descriptors[1:], (1, 2)):
        os.dup2(fd, stream)
        os.close(fd)
    me: Any = process.current_process()
    me._name = f"OffloadProcess-{number}"
    me._identity = (number,)
    with open(descriptors[0], "rb") as file:
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


def prepare(data: dict[str, Any]) -> None:
    """As multiprocessing's spawn does it: the path, the arguments, the main module as __mp_main__."""
    threads = {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}
    os.environ.clear()
    os.environ.update({**threads, **data["environment"]})
    me: Any = process.current_process()
    me._inheriting = True  # an Executor that the main module makes while it is imported is refused
    try:
        spawn.prepare(data)
    except BaseException as error:
        trace = strip(error.__traceback__)
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OURS):
            trace = trace.tb_next
        print("".join(traceback.format_exception(type(error), error, trace)), end="", file=sys.stderr)
        raise LoadError(f"the main module could not be imported: {reason(error, trace)}") from None
    finally:
        del me._inheriting
    sentinel = os.dup(hub.sock.fileno()) if hub is not None else -1
    process._parent_process = process._ParentProcess(  # type: ignore[attr-defined]
        data["parent_name"], data["parent_pid"], sentinel
    )


OURS = (os.path.dirname(spawn.__file__) + os.sep, "<frozen runpy")


def main(path: str) -> int:
    _program.set_up_streams()
    try:
        sock = _program.host_socket()
        _program.set_up_signals()
        tracker: Any = resource_tracker._resource_tracker
        tracker.__class__ = SharedTracker
        Remote.path = path
        data = pickle.loads(connect(path))
        Remote.max_calls = data["max_calls"]
        prepare(data)
        call: Any = Call(data)
        _program.start(sock, [call], [], Remote)
    except LoadError as error:
        if hub is not None:
            hub.fault(str(error))
        return 1
    except Broken as error:
        print(f"offload: the host has broken the protocol: {error}", file=sys.stderr)
        return 1
    return 0
