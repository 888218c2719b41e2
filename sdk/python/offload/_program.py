"""The program: the conversation with the host (docs/programs.md), in one process.

    hello ──► idle ──run──► call, call, ... ──► idle ──exit, end of the stream──► gone
               │
               └─fork─► a child that says hello on its own socket, and is then in the same loop

Results are gathered, and sent in one frame: after a millisecond, at the end of each batch, and after each call that
took long. Before a call of a type that usually takes long nothing is left unsent.

Cancelling: the host sends a frame, and SIGUSR1 until the call is answered. The signal's handler reads the frames. It
raises Cancelled if the call that runs is meant, and if what it has interrupted is the task: never in the code here, so
there is no place where an exception would be in the way. Otherwise it leaves a note (`attention`). A task that swallows
the exception gets another one with the next signal. One that is in its `finally` blocks because of the first does not.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import socket
import sys
import threading
import time
import traceback
import types
import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import _call
from ._binary import Binary
from ._errors import Cancelled, InvalidParams, LoadError, NoJson, Unfit
from ._frames import HEAD, MAX_SIZE, Broken, HangUp, Reader, frame
from ._trace import GENERATED, HERE, strip
from ._values import encode, encode_plain, name_of

if TYPE_CHECKING:
    from ._types import JobType

PROTOCOL = 1
LONG_S = 0.0002
TINY_S = 0.00002
GATHER_S = 0.001
PROGRESS_S = 0.005
AWAY_S = 0.05
MAX_DETAIL = 8192
MAX_TRACEBACK = 65536
CANCEL_SIGNAL = signal.SIGUSR1
JOIN = 1 << 16  # below it, a head and its text are sent as one piece


def is_ours(trace: types.FrameType) -> bool:
    name = trace.f_code.co_filename
    return name.startswith(HERE) or name == GENERATED


def clean(text: str, most: int) -> str:
    """Text that is UTF-8, and not too long: its ends are kept."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) > most:
        text = text[: most // 4] + "\n[...]\n" + text[-(most - most // 4) :]
    return text


def failure(error: BaseException) -> dict[str, Any]:
    """What a call is answered with that has raised an exception."""
    if isinstance(error, Unfit):
        return {"code": "invalid_params", "pointer": error.pointer, "detail": clean(error.why, MAX_DETAIL)}
    if isinstance(error, InvalidParams):
        return {"code": "invalid_params", "pointer": clean(error.pointer, 1024), "detail": clean(error.why, MAX_DETAIL)}
    if isinstance(error, NoJson):
        return {"code": "handler_failed", "detail": clean(str(error), MAX_DETAIL)}
    code = "memory_limit" if isinstance(error, MemoryError) else "handler_failed"
    kind = type(error)
    answer: dict[str, Any] = {"code": code, "detail": kind.__name__, "exception": name_of(kind)}
    try:
        text = f"sys.exit({error.code!r})" if isinstance(error, SystemExit) else str(error)
        if isinstance(error, MemoryError):
            text = text or "the memory is used up"
        answer["detail"] = clean(text or kind.__name__, MAX_DETAIL)
        lines = traceback.format_exception(kind, error, strip(error.__traceback__))
        answer["traceback"] = clean("".join(lines), MAX_TRACEBACK)
    except BaseException:  # its __str__ has raised one itself, or there is no memory
        pass
    return answer


def flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # whatever the task has made of them
            pass


def leave(status: int) -> None:
    """Ends the process at once, whatever its threads do."""
    flush_streams()
    os._exit(status)


class Program:
    """The state of this process. The main thread has it; `report` and `is_cancelled` can be called from any."""

    max_calls: Optional[int] = None  # after so many a program process ends

    def __init__(self, sock: socket.socket, job_types: list[JobType], fork: bool) -> None:
        self.sock = sock
        self.job_types = {job_type.name: job_type for job_type in job_types}
        # Data come along as descriptors, if some type takes some. To receive without is faster.
        self.attaches = any(getattr(job_type, "binary", []) or job_type.takes_parts for job_type in job_types)
        self.reader = Reader(sock, descriptors=fork or self.attaches)
        self.sending = threading.Lock()
        self.running: Optional[int] = None  # the number of the call whose task runs
        self.attention = False  # the signal came when it could not be heeded
        self.cancels: set[int] = set()  # calls that are to be cancelled, and are not answered
        self.values: list[Any] = []  # the results of the last calls, in their order, not yet in a frame
        self.frames: list[Any] = []  # to be sent: bytes, and the Binary whose memory goes with the bytes behind it
        self.attempt = 0
        self.deadline: Optional[float] = None
        self.raised: tuple[int, Callable[[], Optional[Cancelled]], float] = (-1, lambda: None, 0.0)
        self.reported = 0.0  # when progress was sent last, and for which call
        self.reported_call = -1
        self.prctl: Any = None
        self.frozen = False

    # ---- sending ----

    def send(self, data: bytes) -> None:
        """Sends frames. The process ends if nobody reads them."""
        try:
            with self.sending:
                self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            leave(0)

    def send_with(self, data: bytes, descriptor: int) -> None:
        """The same, with a descriptor."""
        try:
            with self.sending:
                rest = data[socket.send_fds(self.sock, [data], [descriptor]) :]
                self.sock.sendall(rest)
        except (BrokenPipeError, ConnectionResetError):
            leave(0)

    def say(self, message: dict[str, Any]) -> None:
        self.send(frame(encode_plain(message)))

    def put(self, text: bytes) -> None:
        """Appends a frame to those that will be sent."""
        self.frames.append(HEAD.pack(len(text), 0))
        self.frames.append(text)

    def seal(self, end: int) -> None:
        """Makes a frame of the values: they are the results of the calls before `end`."""
        values = self.values
        if not values:
            return
        try:
            text = encode(values)
        except (ValueError, TypeError, RecursionError, MemoryError):
            text = b""
        if text and len(text) < MAX_SIZE - 100:
            first = end - len(values)
            text = b'{"kind":"result","call":%d,"values":%b}' % (first, text)
            self.put(text)
        else:
            for i, value in enumerate(values):
                self.seal_alone(end - len(values) + i, value)
        values.clear()

    def seal_binary(self, call: int, value: Binary) -> None:
        about: dict[str, Any] = {"media_type": value.media_type}
        if value.fd >= 0:
            about.update(fd=True, size=value.size)
            self.frames.append(value)
        text = encode_plain({"kind": "result", "call": call, "binary": about})
        self.frames.append(HEAD.pack(len(text), len(value.data)) + text)
        if value.data:
            self.frames.append(value.data)

    def seal_alone(self, call: int, value: Any) -> None:
        """One value, if there is something about them."""
        if type(value) is Binary:
            return self.seal_binary(call, value)
        try:
            text = encode_plain(value)
        except ValueError as error:  # UnicodeEncodeError
            return self.seal_error(call, NoJson(f"JSON cannot hold the result: a string in it is not Unicode: {error}"))
        except RecursionError:
            return self.seal_error(call, NoJson("JSON cannot hold the result: it is nested too deeply"))
        except MemoryError as error:
            return self.seal_error(call, error)
        if len(text) >= MAX_SIZE - 100:
            why = f"the result has {len(text)} bytes as JSON; more than {MAX_SIZE} cannot be sent"
            return self.seal_error(call, NoJson(why))
        self.put(b'{"kind":"result","call":%d,"value":%b}' % (call, text))

    def seal_error(self, call: int, error: BaseException) -> None:
        """Answers a call that has raised an exception."""
        if isinstance(error, Cancelled) and call in self.cancels:
            answer: dict[str, Any] = {"code": "cancelled", "detail": "the call was cancelled"}
        else:
            answer = failure(error)
        self.put(encode_plain({"kind": "result", "call": call, "error": answer}))

    def flush(self, end: int) -> None:
        """Sends the results of the calls before `end`."""
        if self.values:
            self.seal(end)
        frames = self.frames
        if not frames:
            return
        self.frames = []
        flush_streams()  # what a call has printed comes before its answer
        memory: Optional[Binary] = None
        if len(frames) == 2 and len(frames[1]) < JOIN and type(frames[0]) is bytes:
            return self.send(frames[0] + frames[1])
        if not any(type(piece) is Binary for piece in frames) and sum(map(len, frames)) < JOIN:
            return self.send(b"".join(frames))
        for piece in frames:
            if type(piece) is Binary:
                memory = piece
            elif memory is None:
                self.send(piece)
            else:
                self.send_with(piece, memory.fd)
                memory.close()
                memory = None

    # ---- what tasks ask (_call.py) ----

    def report(self, done: float, total: float) -> None:
        call = self.running
        now = time.monotonic()
        if call is None or (call == self.reported_call and now - self.reported < PROGRESS_S and done != total):
            return self.check()
        self.reported, self.reported_call = now, call
        numbers = [int(v) if isinstance(v, int) or float(v).is_integer() else float(v) for v in (done, total)]
        message = frame(encode_plain({"kind": "progress", "call": call, "done": numbers[0], "total": numbers[1]}))
        if threading.current_thread() is threading.main_thread():
            self.flush(call)
        self.send(message)
        self.check()

    def is_cancelled(self) -> bool:
        if threading.current_thread() is threading.main_thread():
            self.look()
        return self.running is not None and self.running in self.cancels

    def check(self) -> None:
        """Raises Cancelled if the signal came while our own code ran within a task."""
        if self.attention and threading.current_thread() is threading.main_thread():
            self.look()
            self.interrupt()

    # ---- cancelling ----

    def on_signal(self, signum: int, interrupted: Optional[types.FrameType]) -> None:
        if self.running is None or interrupted is None or is_ours(interrupted):
            self.attention = True
            return
        self.look()
        self.interrupt()

    def interrupt(self) -> None:
        """Raises Cancelled if the call that runs is to be cancelled, and is not ending for that reason."""
        if self.running is None or self.running not in self.cancels:
            return
        now = time.monotonic()
        call, raised, when = self.raised
        if call == self.running and raised() is not None:
            # It is on its way up, or handled by an `except` or `finally` that has not ended; or it was put away.
            if sys.exc_info()[0] is not None or now - when < AWAY_S:
                return
        error = Cancelled()
        self.raised = (self.running, weakref.ref(error), now)
        raise error

    def look(self) -> None:
        """Takes the frames that have come. Those that cancel are heeded; the others wait for their turn."""
        self.attention = False
        waiting = self.reader.messages
        try:
            self.reader.poll()
        except HangUp:
            leave(0)
        except Broken as error:
            print(f"offload: the host has broken the protocol: {error}", file=sys.stderr)
            leave(1)
        for message in list(waiting):
            if message.get("kind") == "cancel":
                waiting.remove(message)
                self.cancels.add(message["call"])

    # ---- calls ----

    def run(self, message: dict[str, Any]) -> None:
        """Runs the calls of a batch. Each is answered."""
        call: int = message["call"]
        job_type = self.job_types.get(message["type"])
        self.attempt = message.get("attempt", 0)
        self.deadline = message.get("deadline")
        if job_type is None:
            return self.refuse(call, message)
        if self.cancels:
            self.cancels = {number for number in self.cancels if number >= call}
        calls = message["calls"]
        attachments = message.get("attachments", ())
        if attachments or job_type.writable:
            calls = [job_type.attach(params, attachments) for params in calls]
        try:
            self.run_calls(job_type, call, calls)
        finally:
            for attachment in attachments:
                attachment.close()

    def run_calls(self, job_type: JobType, call: int, calls: list[Any]) -> None:
        invoke = job_type.call
        values = self.values
        clock = time.monotonic
        usually_long = job_type.mean > LONG_S
        begun = last = clock()
        if not usually_long and job_type.mean < TINY_S and not self.cancels:
            done = self.run_tiny(call, calls, invoke)
            call += done
            calls = calls[done:]
            now = clock()
            if done > 0:
                job_type.mean = (now - begun) / done
                usually_long = job_type.mean > LONG_S
            if calls:
                self.flush(call)
            begun = last = now
        started = last
        for params in calls:
            if self.attention:
                self.look()
            if self.cancels and call in self.cancels:
                self.seal(call)
                self.seal_error(call, Cancelled())
                self.cancels.discard(call)
            else:
                self.running = call
                try:
                    value = invoke(params)
                except BaseException as error:
                    self.running = None
                    self.seal(call)
                    self.seal_error(call, error)
                else:
                    self.running = None
                    values.append(value)
                    value = None
                if self.cancels:
                    self.cancels.discard(call)
            call += 1
            now = clock()
            took = now - last
            last = now
            if usually_long:
                job_type.mean = took if job_type.mean == INFINITE else job_type.mean + (took - job_type.mean) / 8
                usually_long = job_type.mean > LONG_S
                self.flush(call)
                begun = last = clock()
            elif took > LONG_S:
                job_type.mean = took
                usually_long = True
                self.flush(call)
                begun = last = clock()
            elif now - begun > GATHER_S:
                self.flush(call)
                begun = last = clock()
        if calls and not usually_long:
            job_type.mean = (last - started) / len(calls)
        self.flush(call)

    def run_tiny(self, call: int, calls: list[Any], invoke: Callable[[Any], Any]) -> int:
        """Runs calls until a millisecond is over, or something is to be cancelled. Returns how many it has answered."""
        values, clock = self.values, time.monotonic
        first, end = call, clock() + GATHER_S
        for params in calls:
            if self.attention or self.cancels or clock() > end:
                break
            self.running = call  # stays: where the signal interrupts this code, it only leaves a note
            try:
                values.append(invoke(params))
            except BaseException as error:
                self.running = None
                self.seal(call)
                self.seal_error(call, error)
            call += 1
        self.running = None
        return call - first

    def refuse(self, call: int, message: dict[str, Any]) -> None:
        for i in range(len(message["calls"])):
            self.seal_error(call + i, NoJson(f"this program has no type {message['type']!r}"))
        self.flush(call)

    def single(self, message: dict[str, Any]) -> None:
        """plan and merge: one call, answered at once."""
        call: int = message["call"]
        kind = message["kind"]
        job_type = self.job_types.get(message["type"])
        flag = "split" if kind == "plan" else "merge"
        if job_type is None or getattr(job_type.definition, flag) is None:
            self.seal_error(call, NoJson(f"this program has no type {message['type']!r} with {flag}"))
            return self.flush(call)
        self.attempt, self.deadline = message.get("attempt", 0), message.get("deadline")
        if self.attention:
            self.look()
        text: Optional[bytes] = None
        attachments = message.get("attachments", [])
        if call in self.cancels:
            self.seal_error(call, Cancelled())
        else:
            self.running = call
            try:
                if kind == "plan":
                    chunks = job_type.plan(message["params"], message.get("chunks", 0), attachments)
                else:
                    parts = message["parts"]
                    for place, attachment in zip(message.get("parts_of", ()), attachments):
                        parts[place] = attachment
                    value = job_type.merged(parts)
            except BaseException as error:
                self.running = None
                self.seal_error(call, error)
            else:
                self.running = None
                if kind == "merge":
                    self.seal_alone(call, value)
                else:
                    text = self.planned(call, chunks)
        self.cancels.discard(call)
        for attachment in attachments:
            attachment.close()
        if text is not None:
            self.put(text)
        self.flush(call)

    def planned(self, call: int, chunks: list[dict[str, Any]]) -> Optional[bytes]:
        try:
            text = encode_plain({"kind": "planned", "call": call, "chunks": chunks})
        except ValueError as error:
            self.seal_error(call, NoJson(f"JSON cannot hold the chunks: a string in them is not Unicode: {error}"))
            return None
        if len(text) > MAX_SIZE:
            self.seal_error(call, NoJson(f"the chunks have {len(text)} bytes as JSON; {MAX_SIZE} can be sent"))
            return None
        return text

    # ---- forking ----

    def hello(self, fork: bool) -> dict[str, Any]:
        hello: dict[str, Any] = {"kind": "hello", "protocol": PROTOCOL, "fork": fork, "cancel_signal": int(CANCEL_SIGNAL)}
        hello.update(binary=True, fds=True)
        if self.max_calls is not None:
            hello["max_calls"] = self.max_calls
        return hello

    def fork(self, message: dict[str, Any]) -> None:
        """Makes a program process that is a child of `parent`. In the child this returns, too, and its state is that of
        a new program."""
        given = self.reader.take(2)
        try:
            if self.prctl is None:
                raise OSError("this program said that it cannot be forked")
            if len(given) != 2:
                raise OSError(f"the message came with {len(given)} descriptors, not with 2")
            pid = self.fork_twice(message["parent"], given)
        except OSError as error:
            pid = -1
            self.say({"kind": "forked", "error": str(error)})
        if pid == 0:
            self.say(self.hello(False))
            return
        for descriptor in given:
            os.close(descriptor)
        if pid > 0:
            self.say({"kind": "forked", "pid": pid})

    def fork_twice(self, parent: int, given: list[int]) -> int:
        """The pid of the new process; there 0."""
        if not self.frozen:  # what the collector never looks at stays shared
            gc.collect()
            gc.freeze()
            self.frozen = True
        flush_streams()
        read, write = os.pipe()
        between = os.fork()
        if between == 0:
            between = os.getpid()
            try:
                pid = os.fork()
            except OSError as error:
                os.write(write, f"-{error.errno}".encode())
                os._exit(1)
            if pid != 0:
                os.write(write, str(pid).encode())
                os._exit(0)
            os.close(read)
            os.close(write)
            self.become(parent, between, given)
            return 0
        os.close(write)
        with open(read, "rb") as stream:
            answer = stream.read()
        os.waitpid(between, 0)
        pid = int(answer or b"-11")  # EAGAIN: it was killed
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def become(self, parent: int, between: int, given: list[int]) -> None:
        """In the new process: it waits for its parent, so that it dies with it, and takes its streams."""
        os.setpgid(0, 0)  # what tasks start and leave behind is killed with the group
        while os.getppid() == between:
            time.sleep(0.0001)
        self.prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)
        self.reader.close()
        self.sock = socket.socket(fileno=given[0])
        self.reader = Reader(self.sock, descriptors=self.attaches)
        self.sending = threading.Lock()
        self.prctl = None
        os.dup2(given[1], 1)
        os.dup2(given[1], 2)
        os.close(given[1])
        for name in ("random", "numpy.random"):  # otherwise all processes would draw the same numbers
            module: Any = sys.modules.get(name)
            if module is not None:
                module.seed()

    # ---- the loop ----

    def serve(self) -> None:
        """Answers the host until it hangs up or says exit."""
        try:
            while True:
                message = self.reader.next()
                kind = message.get("kind")
                if kind == "run":
                    self.run(message)
                elif kind == "plan" or kind == "merge":
                    self.single(message)
                elif kind == "cancel":
                    self.cancels.add(message["call"])
                elif kind == "fork":
                    self.fork(message)
                elif kind == "exit":
                    return
        except HangUp:
            return


def host_socket() -> socket.socket:
    text = os.environ.pop("OFFLOAD_FD", "")
    try:
        sock = socket.socket(fileno=int(text))
    except (ValueError, OSError):
        raise LoadError("OFFLOAD_FD is not a socket: offloadd starts this program (offloadd --python)") from None
    sock.setblocking(True)
    os.set_inheritable(sock.fileno(), False)  # what a task starts must not keep the conversation open
    return sock


def set_up_signals() -> None:
    """Those of a terminal are for the service, which lets jobs finish. Others can be ignored or blocked by whoever has
    started us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def set_up_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


INFINITE = float("inf")


def thread_count() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def load_prctl() -> Any:
    """The function, before the fork: nothing needs to be loaded in the child. None: there is none."""
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, AttributeError, OSError):
        return None


def may_fork() -> tuple[bool, str]:
    """Can this process be forked; and if it cannot, why not."""
    start = os.environ.get("OFFLOAD_START", "")
    if start == "spawn":
        return False, "OFFLOAD_START is spawn"
    threads = thread_count()
    if threads > 1 and start != "fork":
        return False, f"it has {threads} threads after it was imported"
    return True, ""


def start(sock: socket.socket, job_types: list[JobType], files: list[str], kind: type[Program] = Program) -> None:
    """Says hello, and serves, as a program of that kind. Returns when the conversation is over."""
    fork, reason = may_fork()
    prctl = load_prctl() if fork else None
    if fork and prctl is None:
        fork, reason = False, "ctypes cannot be loaded"
    program = kind(sock, job_types, fork)
    program.prctl = prctl
    _call.host = program
    signal.signal(CANCEL_SIGNAL, program.on_signal)
    hello = program.hello(fork)
    if reason:
        hello["fork_reason"] = reason
    hello["sources"] = files
    hello["types"] = [job_type.describe() for job_type in job_types]
    program.say(hello)
    program.serve()
