"""The service of a drop-in executor: an offloadd of its own, which runs the script's functions and ends with it.

    script ──spawns──► offloadd --exit-with-parent ──► template (_remote.py) ──forks──► program processes
      │  ▲                 ▲                                                                   │
      │  │                 └── unix:DIR/sock: calls, by HTTP (_executor.py)                    │
      │  └──────────────────── DIR/hub: preparation, streams, large parts (this thread) ───────┘

DIR is private (mode 0700). offloadd makes it and removes it at its end. It sees by a pidfd that the script is gone,
however it died.
"""

from __future__ import annotations

import binascii
import contextlib
import itertools
import os
import pickle
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from multiprocessing import context as contexts
from multiprocessing import process, resource_tracker, spawn, util
from typing import Any, Callable, NamedTuple, Optional

from . import _buffers
from ._http import Address
from ._remote import BEGUN, FAULT, HELLO, MESSAGE, NOT_IMPORTED, RESULT, SLAB, TRACKER, Remote, name_of

PATIENCE_S = 60  # for what another process of ours does at once
STOP_S = 10  # offloadd needs some milliseconds to end
TAIL = 64 << 10  # bytes of offloadd's log that are kept, for the message when it does not start

START = "import sys; sys.path.insert(0, {folder!r}); import offload._remote as it; it.leave(it.main({path!r}))"

NOT_FOUND = """\
offload.Executor() starts a service of its own, and the program offloadd is not on PATH. Build it (`make`) and install \
it (`make install`), or set OFFLOADD to its path. For a service that runs already: offload.Executor(URL)."""

NO_GUARD = """\
An Executor was made while the main module is imported by a worker. The workers import it as multiprocessing does, to \
find its functions, so what starts work has to be below

    if __name__ == "__main__":
"""


def find_offloadd() -> str:
    """$OFFLOADD, else offloadd on PATH. Raises a FileNotFoundError that says how to get it."""
    given = os.environ.get("OFFLOADD")
    if given:
        found = shutil.which(given)
        if found is None:
            raise FileNotFoundError(f"OFFLOADD is {given!r}, and that is not an executable file")
        return os.path.abspath(found)
    found = shutil.which("offloadd")
    if found is None:
        raise FileNotFoundError(NOT_FOUND)
    return os.path.abspath(found)


def usable_cpus() -> int:
    return len(os.sched_getaffinity(0))


class Token(NamedTuple):
    """Of a call that was packed and has not ended."""

    number: int
    serial: int  # of the slab with its large parts; 0: it has none
    name: str


class Codec:
    """Calls of functions as jobs of the type `call`, and their answers (_remote.py states the texts). Any thread."""

    def __init__(self, has_main: bool) -> None:
        self.has_main = has_main
        self.slabs = _buffers.Slabs()
        self.numbers = itertools.count(1)
        self.live: set[int] = set()
        self.results: dict[int, Optional[int]] = {}  # the memory of results that have come; None: it could not be taken
        self.arrived = threading.Condition()
        self.begun: dict[str, Callable[[int], None]] = {}  # who wants to know the process of a Process, by its key

    def pack(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[str, bytes, Token]:
        """(type, JSON of the params, token). Raises what pickling raises; the memory is kept until release(token)."""
        if not self.has_main and getattr(fn, "__module__", None) == "__main__":
            raise pickle.PicklingError(f"Can't pickle {fn!r}: {NOT_IMPORTED}")
        parts = _buffers.dumps_call(fn, args, kwargs)
        number, serial = next(self.numbers), 0
        if _buffers.is_large(parts):
            serial, offset, sizes = self.slabs.put(parts)
            text = b'{"p":"%d@%d %d %b"}' % (number, serial, offset, ",".join(map(str, sizes)).encode())
        else:
            text = b'{"p":"%d %b"}' % (number, binascii.b2a_base64(parts[0], newline=False))
        self.live.add(number)
        return "call", text, Token(number, serial, name_of(fn))

    def unpack(self, type: str, value: Any, token: Token) -> Any:
        """The result from the job's value; or raises what the call has raised, with its traceback as the cause. A
        BrokenProcessPool: the initializer has failed, so no call will run."""
        kind, text = value[0], value[1:]
        if kind == "b":
            raise BrokenProcessPool(f"the initializer of a process in the pool has raised {text}")
        if kind == "r":
            return self.read(token, pickle.loads, binascii.a2b_base64(text))
        if kind == "R":
            return self.read(token, self.take, token.number, text)
        content = pickle.loads(binascii.a2b_base64(text)) if kind == "e" else self.take(token.number, text)
        trace, pickled = content
        try:
            error = pickle.loads(pickled)
        except Exception as fault:
            error = pickle.UnpicklingError(f"the exception that {token.name} has raised cannot be unpickled: {fault!r}")
        error.__cause__ = _RemoteTraceback(trace)
        raise error

    def read(self, token: Token, load: Callable[..., Any], *args: Any) -> Any:
        try:
            return load(*args)
        except Exception as fault:
            raise pickle.UnpicklingError(f"the result of {token.name} cannot be unpickled: {fault!r}") from fault

    def take(self, number: int, text: str) -> Any:
        """The object in the memory that has come for a call. It was sent before the call was answered."""
        with self.arrived:
            if not self.arrived.wait_for(lambda: number in self.results, PATIENCE_S):
                raise RuntimeError("the memory with it has not come")
            fd = self.results.pop(number)
        if fd is None:
            raise OSError("there was no descriptor left for the memory with it")
        try:
            return _buffers.loads(fd, 0, [int(size) for size in text.partition(" ")[2].split(",")])
        finally:
            os.close(fd)

    def release(self, token: Token) -> None:
        """The call has ended, in whatever way."""
        self.live.discard(token.number)
        if token.serial:
            self.slabs.free(token.serial)
        if token.number in self.results:
            self.drop(token.number)

    def arrive(self, number: int, fd: Optional[int]) -> None:
        """A process has sent the memory of a result. It is the second time if it died before it could answer."""
        with self.arrived:
            self.drop(number)
            self.results[number] = fd
            self.arrived.notify_all()
        if number not in self.live:
            self.drop(number)

    def drop(self, number: int) -> None:
        fd = self.results.pop(number, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        for number in list(self.results):
            self.drop(number)
        self.slabs.close()


class Running:
    """One offloadd, from its start to its end, and the thread that serves its processes.

    ready: it takes calls, or has failed; `fault` says why then.
    """

    def __init__(self, options: Sequence[str], preparation: bytes, codec: Codec) -> None:
        program = find_offloadd()
        self.codec = codec
        self.owner = os.getpid()
        self.ready = threading.Event()
        self.fault: Optional[str] = None
        self.log = b""
        self.ended = False  # there will be no more of the log
        self.numbers = itertools.count(0)  # 0: the template
        self.stopping = False
        self.wake, self.waker = socket.socketpair()
        self.folder = new_folder()
        self.path = os.path.join(self.folder, "sock")
        self.hub_path = os.path.join(self.folder, "hub")
        self.hub = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self.preparation = _buffers.new_memory()
        try:
            _buffers.write(self.preparation, 0, [preparation])
            self.process = subprocess.Popen(
                [program, *self.arguments(), *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment(),
                start_new_session=True,
            )
        except BaseException:
            for sock in (self.hub, self.wake, self.waker):
                sock.close()
            os.close(self.preparation)
            raise
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.wake, selectors.EVENT_READ, self.receive)
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        self.selector.register(self.process.stderr, selectors.EVENT_READ, self.read_log)
        self.thread = threading.Thread(target=self.serve, name="offload-hub", daemon=True)
        self.thread.start()

    def arguments(self) -> list[str]:
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        flags = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
        command = [spawn.get_executable(), *flags, "-c", START.format(folder=folder, path=self.hub_path)]
        return [
            *("--listen", "unix:" + self.path, "--exit-with-parent", str(self.owner), "--private-dir", self.folder),
            *("--program", " ".join(shlex.quote(os.fsdecode(word)) for word in command), "--data-dir", "none"),
            *("--log-format", "json", "--log-level", "info", "--load-timeout", "24h", "--drain-timeout", "0s"),
            # What multiprocessing does not limit is not limited here.
            *("--job-timeout", "720h", "--max-job-memory", "0", "--max-wait", "24h", "--sync-wait", "24h"),
            *("--max-sync", "1000000", "--max-queue", "100000000", "--max-body", "4GiB", "--idle-timeout", "24h"),
            # No call runs on the express lane: there are exactly as many processes as workers.
            *("--express-cost", "0", "--retry-delay", "0", "--keep-sync", "100"),
        ]

    def alive(self) -> bool:
        return self.process.poll() is None

    # ---- the thread ----

    def serve(self) -> None:
        while not os.path.isdir(self.folder) and self.alive():  # offloadd makes it, so that it is removed in any case
            time.sleep(0.0005)
        with contextlib.suppress(FileNotFoundError):  # offloadd has ended already
            self.hub.bind(self.hub_path)
            self.hub.listen(4096)
            self.selector.register(self.hub, selectors.EVENT_READ, self.accept)
        while not self.stopping:
            self.turn(None)
            if self.ended and not self.ready.is_set():
                self.turn(0)  # what the template has said before it ended
                self.fault = self.fault or self.last_words()
                self.ready.set()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self.selector.close()
        self.hub.close()
        os.close(self.preparation)

    def turn(self, timeout: Optional[float]) -> None:
        for key, _ in self.selector.select(timeout):
            key.data(key.fileobj)

    def accept(self, hub: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock, _ = hub.accept()
            self.selector.register(sock, selectors.EVENT_READ, self.receive)

    def receive(self, sock: socket.socket) -> None:
        """A message of a process. Nothing that it sends harms anybody but itself."""
        try:
            message, descriptors, flags, _ = socket.recv_fds(sock, MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
            if not message:
                raise EOFError
            self.answer(sock, message[:1], message[1:], descriptors)
        except (OSError, EOFError, ValueError):
            self.selector.unregister(sock)
            sock.close()

    def answer(self, sock: socket.socket, kind: bytes, rest: bytes, descriptors: list[int]) -> None:
        if kind == RESULT:
            self.codec.arrive(int(rest), descriptors[0] if descriptors else None)
        elif kind == HELLO:
            self.greet(sock)
        elif kind == SLAB:
            fd = self.codec.slabs.descriptor(int(rest))
            self.give(sock, fd)
        elif kind == TRACKER:
            tracker = resource_tracker.getfd()
            self.give(sock, None if tracker is None else os.dup(tracker))
        elif kind == BEGUN:
            pid, key = rest.decode().split(" ")
            self.codec.begun.pop(key, id)(int(pid))
        elif kind == FAULT:
            self.fault = rest.decode()

    def give(self, sock: socket.socket, fd: Optional[int]) -> None:
        if fd is None:
            sock.send(b"n")
            return
        try:
            socket.send_fds(sock, [b"y"], [fd])
        finally:
            os.close(fd)

    def greet(self, sock: socket.socket) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            streams = [fd if is_open(fd) else null for fd in (1, 2)]
            socket.send_fds(sock, [str(next(self.numbers)).encode()], [self.preparation, *streams])
        finally:
            os.close(null)

    def read_log(self, stream: Any) -> None:
        """offloadd's log: it says when it is ready, and why it has not started."""
        data = os.read(stream.fileno(), TAIL)
        if not data:
            self.selector.unregister(stream)
            stream.close()
            self.ended = True
            return
        self.log = (self.log + data)[-TAIL:]
        if b'"event":"ready"' in self.log:
            self.ready.set()

    def last_words(self) -> str:
        lines = self.log.decode("utf-8", "replace").splitlines()
        plain = [line for line in lines if not line.startswith("{")]
        return plain[-1] if plain else "offloadd has ended"

    # ---- the end ----

    def stop(self, kill: bool = False) -> None:
        """Ends the service and its processes, and waits for that."""
        if self.owner != os.getpid():  # this is a fork of the script, whose service it is not
            return
        if self.alive():
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.stopping = True
        self.waker.close()
        if threading.current_thread() is not self.thread:
            self.thread.join(STOP_S)
        shutil.rmtree(self.folder, ignore_errors=True)


class Service:
    """A service of the script's own, started when it is first needed. Any thread.

    max_workers: how many processes run calls; None: one for each CPU that this process can use. initializer, initargs:
    called in each process before its first call. max_tasks_per_child: a process is replaced after so many calls.
    max_attempts: how often a call is tried if its process dies. All as in concurrent.futures.ProcessPoolExecutor.
    """

    def __init__(
        self,
        max_workers: Optional[int] = None,
        initializer: Optional[Callable[..., Any]] = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: Optional[int] = None,
        max_attempts: int = 3,
    ) -> None:
        self.max_workers = max_workers or usable_cpus()
        self.initializer, self.initargs = initializer, initargs
        self.max_tasks_per_child, self.max_attempts = max_tasks_per_child, max_attempts
        self.codec = Codec(main_is_importable())
        self.place: Optional[tuple[int, str]] = None  # of the initializer, in the codec's slabs
        self.lock = threading.Lock()
        self.running: Optional[Running] = None
        self.stopped = False
        self.finalizer: Any = None

    def start(self) -> None:
        """Starts it, if it does not run: for the first time, or because somebody has killed it. Does not wait until it
        is ready. Raises a FileNotFoundError if there is no offloadd; RuntimeError if this is not allowed here."""
        with self.lock:
            if self.stopped:
                raise RuntimeError("the service of this executor was stopped")
            if self.running is not None and self.running.alive():
                return
            if getattr(process.current_process(), "_inheriting", False):
                raise RuntimeError(NO_GUARD)
            if self.running is not None:
                self.finalizer()
            if self.initializer is not None and self.place is None:
                serial, offset, sizes = self.codec.slabs.put(_buffers.dumps((self.initializer, self.initargs)))
                self.place = serial, f"{offset} {','.join(map(str, sizes))}"
            self.running = Running(["--workers", str(self.max_workers)], self.preparation(), self.codec)
            # After the executors' own ends, and after the Processes that are still running have been joined.
            self.finalizer = util.Finalize(self, self.running.stop, exitpriority=-100)

    def preparation(self) -> bytes:
        data = preparation_data()
        data.update(
            environment=dict(os.environ),
            parent_name=process.current_process().name,
            parent_pid=os.getpid(),
            initializer=self.place,
            has_main=self.codec.has_main,
            max_attempts=self.max_attempts,
            max_calls=self.max_tasks_per_child,
        )
        return pickle.dumps(data)

    @property
    def address(self) -> Address:
        """Where it takes calls: another place after each start. Starts it and waits until it is ready. Raises a
        BrokenProcessPool if it cannot run the script's functions, and what `start` raises."""
        self.start()
        running = self.running
        assert running is not None
        running.ready.wait()
        if running.fault is not None:
            raise BrokenProcessPool(f"the service of this executor has not started: {running.fault}")
        return Address.parse("unix:" + running.path)

    @property
    def pid(self) -> Optional[int]:
        """Of its offloadd; None: it does not run."""
        running = self.running
        return running.process.pid if running is not None and running.alive() else None

    def stop(self) -> None:
        """Ends it, with what it runs, and waits until it has ended. It cannot be started again."""
        with self.lock:
            self.stopped = True
            if self.running is not None:
                self.finalizer()
                self.running = None
            self.codec.close()


def preparation_data() -> dict[str, Any]:
    """What a process needs to be like this one, as multiprocessing's spawn sees it."""
    default: Any = contexts._default_context
    chosen = default._actual_context
    data: dict[str, Any] = spawn.get_preparation_data("MainProcess")
    if chosen is None:  # asking for the start method has fixed it; the script can still choose one
        default._actual_context = None
        del data["start_method"]
    data["authkey"] = bytes(data["authkey"])
    return data


def main_is_importable() -> bool:
    """Can a worker import the main module? Not if it is interactive, `python -c`, or a package's __main__."""
    main = sys.modules["__main__"]
    name = getattr(main.__spec__, "name", None)
    if name is not None:
        return name != "__main__" and not name.endswith(".__main__")
    return getattr(main, "__file__", None) is not None


def new_folder() -> str:
    """Where the private directory will be: in a process of a service in that one's, which is removed with it. The path
    of a Unix socket in it has room for some 100 bytes."""
    name = f"offload-{os.urandom(8).hex()}"
    folder = os.path.join(os.path.dirname(Remote.path) or os.path.abspath(tempfile.gettempdir()), name)
    return folder if len(os.fsencode(folder)) < 90 else os.path.join("/tmp", name)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def environment() -> dict[str, str]:
    """What is for another offloadd is left out. The functions get all of it (_remote.prepare)."""
    ours = ("OFFLOAD", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_FDS", "LISTEN_PID", "STATE_DIRECTORY")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
