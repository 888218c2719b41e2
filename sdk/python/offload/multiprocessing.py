"""offload.multiprocessing: Pool, Process and Queue of `multiprocessing`, on a service of the script's own.

    from offload import multiprocessing               # in place of: import multiprocessing

A process that dies takes only the call that it runs: a Pool tries it again, and goes on. The rest is as the manual of
Python says; docs/drop-in.md lists what is different.
"""

from __future__ import annotations

import collections
import functools
import importlib
import itertools
import json
import multiprocessing as original
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from multiprocessing import managers, process, util
from multiprocessing.context import TimeoutError
from typing import Any, Callable, Optional

from . import _remote
from ._api import Call, Lost
from ._call import call_each
from ._client import Exchange
from ._executor import Executor
from ._service import Service, usable_cpus

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Pool",
    "Process",
    "Queue",
    "RLock",
    "Semaphore",
    "SimpleQueue",
    "TimeoutError",
    "get_context",
    "get_start_method",
    "set_start_method",
]

# Names that mean the same with offload. Modules are in the second row.
SAME = {
    *("AuthenticationError", "BufferTooShort", "Manager", "Pipe", "ProcessError", "active_children", "cpu_count"),
    *("current_process", "freeze_support", "get_logger", "log_to_stderr", "parent_process", "set_executable"),
}
MODULES = {"connection", "dummy", "managers", "reduction", "resource_tracker", "shared_memory", "util"}
NOT_OFFERED = {
    "Array": "its memory is inherited by a fork; use shared_memory, or Manager().Array",
    "RawArray": "its memory is inherited by a fork; use shared_memory",
    "RawValue": "its memory is inherited by a fork; use shared_memory",
    "Value": "its memory is inherited by a fork; use shared_memory, or Manager().Value",
    "pool": "Pool and ThreadPool: offload.multiprocessing.Pool, multiprocessing.pool.ThreadPool",
    "sharedctypes": "its memory is inherited by a fork; use shared_memory",
}


def __getattr__(name: str) -> Any:
    if name in SAME:
        return getattr(original, name)
    if name in MODULES:
        return importlib.import_module(f"multiprocessing.{name}")
    if name in NOT_OFFERED:
        raise ImportError(f"offload.multiprocessing does not offer {name}: {NOT_OFFERED[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ---- how processes start: always in the same way ---------------------------------------------------------------------


def get_context(method: Optional[str] = None) -> Any:
    """This module. Processes always start in offload's way, which is like "spawn" for the script: what they need is
    imported or pickled."""
    set_start_method(method)
    return sys.modules[__name__]


def set_start_method(method: Optional[str], force: bool = False) -> None:
    """Does nothing, as there is one way only. A ValueError if there is no such method."""
    if method not in (None, "fork", "spawn", "forkserver"):
        raise ValueError(f"cannot find context for {method!r}")


def get_start_method(allow_none: bool = False) -> str:
    return "spawn"


# ---- Pool ------------------------------------------------------------------------------------------------------------


def starmap_chunk(function: Callable[..., Any], chunk: list[Any]) -> list[Any]:
    return list(itertools.starmap(function, chunk))


def chunks_of(iterable: Iterable[Any], size: int) -> Iterator[list[Any]]:
    it = iter(iterable)
    while chunk := list(itertools.islice(it, size)):
        yield chunk


class AsyncResult:
    """What the methods of a Pool return whose names end in _async."""

    def __init__(
        self,
        pieces: int,
        gather: Callable[[list[Any]], Any],
        callback: Optional[Callable[[Any], Any]] = None,
        error_callback: Optional[Callable[[BaseException], Any]] = None,
    ) -> None:
        self._gather, self._callback, self._error_callback = gather, callback, error_callback
        self._values: list[Any] = [None] * pieces
        self._left = pieces
        self._error: Optional[BaseException] = None
        self._value: Any = None
        self._lock = threading.Lock()
        self._event = threading.Event()
        if pieces == 0:
            self._end()

    def _take(self, index: int, future: Future[Any]) -> None:
        """A piece is done. The result is there when all are, also if one has failed: the first error counts."""
        error = error_of(future)
        with self._lock:
            if error is None:
                self._values[index] = future.result()
            elif self._error is None:
                self._error = error
            self._left -= 1
            last = self._left == 0
        if last:
            self._end()

    def _end(self) -> None:
        if self._error is None:
            self._value = self._gather(self._values)
        self._values = []
        try:
            if self._error is None and self._callback is not None:
                self._callback(self._value)
            elif self._error is not None and self._error_callback is not None:
                self._error_callback(self._error)
        finally:
            self._event.set()

    def ready(self) -> bool:
        return self._event.is_set()

    def successful(self) -> bool:
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def wait(self, timeout: Optional[float] = None) -> None:
        self._event.wait(timeout)

    def get(self, timeout: Optional[float] = None) -> Any:
        if not self._event.wait(timeout):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value


def error_of(future: Future[Any]) -> Optional[BaseException]:
    return RuntimeError("the pool was terminated") if future.cancelled() else future.exception()


class IMapIterator:
    """The results of imap and imap_unordered, one by one."""

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._ready = threading.Condition()
        self._done: collections.deque[Future[Any]] = collections.deque()  # unordered: those that have ended
        self._futures: dict[int, Future[Any]] = {}  # ordered: all that were not yet taken
        self._taken = 0
        self._count: Optional[int] = None  # how many there will be; None: not known yet
        self._items: Iterator[Any] = iter(())  # of the chunk that was taken last

    def _put(self, index: int, future: Future[Any]) -> None:
        with self._ready:
            if self._ordered:
                self._futures[index] = future
        future.add_done_callback(self._ended)

    def _ended(self, future: Future[Any]) -> None:
        with self._ready:
            if not self._ordered:
                self._done.append(future)
            self._ready.notify_all()

    def _all(self, count: int) -> None:
        with self._ready:
            self._count = count
            self._ready.notify_all()

    def _next_future(self) -> Optional[Future[Any]]:
        """The next one, if it is there. Raises a StopIteration if there will be none."""
        if self._ordered:
            future = self._futures.get(self._taken)
            if future is not None and future.done():
                return self._futures.pop(self._taken)
        elif self._done:
            return self._done.popleft()
        if self._count is not None and self._taken >= self._count:
            raise StopIteration
        return None

    def __iter__(self) -> IMapIterator:
        return self

    def next(self, timeout: Optional[float] = None) -> Any:
        for item in self._items:
            return item
        end = None if timeout is None else time.monotonic() + timeout
        with self._ready:
            while (future := self._next_future()) is None:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError
                self._ready.wait(left)
            self._taken += 1
        error = error_of(future)
        if error is not None:
            raise error
        self._items = iter(future.result())
        return self.next(timeout)

    __next__ = next


class Pool:
    """As multiprocessing.Pool. A call whose process dies is tried again, and the pool goes on.

    processes: how many; None: one for each CPU. maxtasksperchild: a process is replaced after so many calls; a chunk is
    one. context: ignored.
    """

    def __init__(
        self,
        processes: Optional[int] = None,
        initializer: Optional[Callable[..., Any]] = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: Optional[int] = None,
        context: Any = None,
    ) -> None:
        self._processes = usable_cpus() if processes is None else processes
        if self._processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._executor = Executor(
            self._processes, None, initializer, tuple(initargs), max_tasks_per_child=maxtasksperchild
        )
        self._state = "RUN"
        self._feeders: list[threading.Thread] = []

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} state={self._state} pool_size={self._processes}>"

    def _check_running(self) -> None:
        if self._state != "RUN":
            raise ValueError("Pool not running")

    # ---- one call ----

    def apply(self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Optional[dict[str, Any]] = None) -> Any:
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Optional[dict[str, Any]] = None,
        callback: Optional[Callable[[Any], Any]] = None,
        error_callback: Optional[Callable[[BaseException], Any]] = None,
    ) -> AsyncResult:
        self._check_running()
        result = AsyncResult(1, lambda values: values[0], callback, error_callback)
        self._executor.submit(func, *args, **(kwds or {})).add_done_callback(functools.partial(result._take, 0))
        return result

    # ---- many, and all results together ----

    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: Optional[int] = None) -> list[Any]:
        return self.map_async(func, iterable, chunksize).get()  # type: ignore[no-any-return]

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: Optional[int] = None
    ) -> list[Any]:
        return self.starmap_async(func, iterable, chunksize).get()  # type: ignore[no-any-return]

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: Optional[int] = None,
        callback: Optional[Callable[[Any], Any]] = None,
        error_callback: Optional[Callable[[BaseException], Any]] = None,
    ) -> AsyncResult:
        return self._map(call_each, func, iterable, chunksize, callback, error_callback)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: Optional[int] = None,
        callback: Optional[Callable[[Any], Any]] = None,
        error_callback: Optional[Callable[[BaseException], Any]] = None,
    ) -> AsyncResult:
        return self._map(starmap_chunk, func, iterable, chunksize, callback, error_callback)

    def _map(
        self,
        run: Callable[..., Any],
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: Optional[int],
        callback: Optional[Callable[[Any], Any]],
        error_callback: Optional[Callable[[BaseException], Any]],
    ) -> AsyncResult:
        self._check_running()
        items = iterable if isinstance(iterable, (list, tuple, range)) else list(iterable)
        if chunksize is None:  # as multiprocessing chooses it
            chunksize, more = divmod(len(items), self._processes * 4)
            chunksize += bool(more)
        chunks = list(chunks_of(items, chunksize)) if items else []
        result = AsyncResult(len(chunks), lambda parts: list(itertools.chain(*parts)), callback, error_callback)
        for i, chunk in enumerate(chunks):
            self._executor.submit(run, func, chunk).add_done_callback(functools.partial(result._take, i))
        return result

    # ---- many, and one result after the other ----

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        return self._imap(True, func, iterable, chunksize)

    def imap_unordered(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int = 1) -> IMapIterator:
        return self._imap(False, func, iterable, chunksize)

    def _imap(self, ordered: bool, func: Callable[[Any], Any], iterable: Iterable[Any], size: int) -> IMapIterator:
        self._check_running()
        if size < 1:
            raise ValueError(f"Chunksize must be 1+, not {size:n}")
        results = IMapIterator(ordered)
        # As with multiprocessing, a thread of its own takes the items, so an iterable that is slow stops nobody.
        feeder = threading.Thread(target=self._feed, args=(results, func, iterable, size), daemon=True)
        self._feeders = [thread for thread in self._feeders if thread.is_alive()] + [feeder]
        feeder.start()
        return results

    def _feed(self, results: IMapIterator, func: Callable[[Any], Any], iterable: Iterable[Any], size: int) -> None:
        count = 0
        try:
            for chunk in chunks_of(iterable, size):
                results._put(count, self._executor.submit(call_each, func, chunk))
                count += 1
        except BaseException as error:  # of the iterable; or the pool was terminated
            failed: Future[Any] = Future()
            failed.set_exception(error)
            results._put(count, failed)
            count += 1
        results._all(count)

    # ---- the end ----

    def close(self) -> None:
        """Takes no more work. What was given to it is done."""
        if self._state == "RUN":
            self._state = "CLOSE"

    def terminate(self) -> None:
        """Ends the processes at once, with what they run. Results that are not there raise an error."""
        self._state = "TERMINATE"
        self._executor._dispatcher.abort()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def join(self) -> None:
        """Waits until all is done and the processes have ended. After close() or terminate()."""
        if self._state == "RUN":
            raise ValueError("Pool is still running")
        for feeder in self._feeders:
            feeder.join()
        self._executor.shutdown(wait=True)

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *error: Any) -> None:
        self.terminate()

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")


# ---- Process ---------------------------------------------------------------------------------------------------------


class Slots:
    """Services for Processes. All that have begun run at the same time, so that they can wait for each other: there is
    always a service with a free slot. The first has twice as many as there are CPUs, and each next one twice those."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.services: list[Service] = []
        self.used: dict[Service, int] = {}

    def take(self) -> Service:
        with self.lock:
            for service in self.services:
                if self.used[service] < service.max_workers:
                    break
            else:
                size = self.services[-1].max_workers * 2 if self.services else max(8, 2 * usable_cpus())
                service = Service(size, max_attempts=1)
                self.services.append(service)
                self.used[service] = 0
            self.used[service] += 1
            return service

    def give_back(self, service: Service) -> None:
        with self.lock:
            self.used[service] -= 1


slots = Slots()
keys = itertools.count(1)
LIFE_S = 30 * 86400.0  # a Process can take longer than a client waits in silence: --job-timeout of the service


def run_process(key: str, one: process.BaseProcess) -> int:
    """In the new process. Returns the exit code."""
    assert _remote.hub is not None
    _remote.hub.begun(key)
    parent = os.dup(_remote.hub.sock.fileno())  # becomes ready when the script is gone
    return one._bootstrap(parent_sentinel=parent)  # type: ignore[attr-defined, no-any-return]


class Popen:
    """The life of a Process, as multiprocessing's BaseProcess wants it (see multiprocessing/popen_fork.py)."""

    def __init__(self, one: process.BaseProcess) -> None:
        util._flush_std_streams()  # type: ignore[attr-defined]
        self.returncode: Optional[int] = None
        self.pid: Optional[int] = None
        self.sentinel = -1  # a pidfd
        self.ended = threading.Event()
        self.begun = threading.Event()
        self.error: Optional[BaseException] = None
        self.service = slots.take()
        key = str(next(keys))
        codec = self.service.codec
        try:
            _, params, self.token = codec.pack(run_process, (key, one), {})
            codec.begun[key] = self.on_begun
            self.exchange = Exchange(self.service.address, collections.deque())
        except BaseException:
            codec.begun.pop(key, None)
            slots.give_back(self.service)
            raise
        options = b'"options":{"isolation":"fresh","max_attempts":1}'
        self.body = b'{"type":"call","params":%b,%b}' % (params, options)
        threading.Thread(target=self.follow, name=f"offload-{one.name}", daemon=True).start()
        self.begun.wait()
        if self.error is not None:
            raise self.error

    def on_begun(self, pid: int) -> None:
        self.pid = pid
        try:
            self.sentinel = os.pidfd_open(pid)
        except OSError as error:  # it is gone already, or there are no descriptors
            self.error = error if not isinstance(error, ProcessLookupError) else None
        self.begun.set()

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
        """Sends a request. Returns the status of the answer, and its JSON. Raises Lost."""
        call = Call(method, target, {"Content-Type": "application/json"} if body else {}, body)
        call.patience = LIFE_S
        answer = self.exchange.whole(call)
        return answer.status, json.loads(answer.body)

    def follow(self) -> None:
        """The thread of its own: from the submission to the end."""
        code = 255  # of one that nobody knows the end of: offloadd was killed
        try:
            status, job = self.ask("POST", "/v1/jobs", self.body)
            if status == 200:
                code = self.service.codec.unpack("call", job["result"], self.token)
            elif "job" in job:
                lost = self.ask("GET", f"/v1/jobs/{job['job']}")[1].get("lost", [{}])[-1]
                number = getattr(signal, lost.get("signal", ""), 0)
                code = -int(number) if number else lost.get("exit_code", code)
            else:
                self.error = RuntimeError(f"the service does not start the process: {job.get('detail')}")
        except Exception as error:
            if not self.begun.is_set():
                self.error = error.cause if isinstance(error, Lost) else error
        finally:
            for connection in self.exchange.pool:
                connection.close()
            self.service.codec.release(self.token)
            slots.give_back(self.service)
            self.returncode = code
            self.ended.set()
            self.begun.set()

    def poll(self, flag: int = os.WNOHANG) -> Optional[int]:
        return self.returncode

    def wait(self, timeout: Optional[float] = None) -> Optional[int]:
        self.ended.wait(timeout)
        return self.returncode

    def send(self, number: signal.Signals) -> None:
        if self.returncode is None and self.sentinel >= 0:
            try:
                signal.pidfd_send_signal(self.sentinel, number)
            except ProcessLookupError:
                pass

    def terminate(self) -> None:
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    def interrupt(self) -> None:
        self.send(signal.SIGINT)

    def close(self) -> None:
        if self.sentinel >= 0:
            os.close(self.sentinel)
            self.sentinel = -1


class Process(process.BaseProcess):
    """As multiprocessing.Process. It is a process of its own, made when it starts; it is never tried again."""

    _start_method = None

    @staticmethod
    def _Popen(one: process.BaseProcess) -> Popen:
        return Popen(one)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        config = state["_config"]
        state["_config"] = {**config, "authkey": bytes(config["authkey"])}  # which has a class that is not pickled
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.authkey = state["_config"]["authkey"]


# ---- Queue, and what else is shared ----------------------------------------------------------------------------------


class QueueProxy(managers.BaseProxy):
    """A queue, which is in the script. It can be an argument of calls, and of Processes."""

    _exposed_ = ("put", "get", "qsize", "empty", "full", "join", "task_done")
    _ask: Any = managers.BaseProxy._callmethod

    def put(self, obj: Any, block: bool = True, timeout: Optional[float] = None) -> None:
        self._ask("put", (obj, block, timeout))

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        return self._ask("get", (block, timeout))

    def put_nowait(self, obj: Any) -> None:
        self.put(obj, False)

    def get_nowait(self) -> Any:
        return self.get(False)

    def qsize(self) -> int:
        return int(self._ask("qsize"))

    def empty(self) -> bool:
        return bool(self._ask("empty"))

    def full(self) -> bool:
        return bool(self._ask("full"))

    def join(self) -> None:
        self._ask("join")

    def task_done(self) -> None:
        self._ask("task_done")

    def close(self) -> None:
        """Nothing waits to be sent, so this and the next two have nothing to do."""

    def join_thread(self) -> None:
        """See close()."""

    def cancel_join_thread(self) -> None:
        """See close()."""


class Keeper(managers.BaseManager):
    """Keeps the queues and locks, in threads of the script."""


proxies: Any = managers
Keeper.register("Queue", queue.Queue, QueueProxy)
Keeper.register("Barrier", threading.Barrier, proxies.BarrierProxy)
Keeper.register("BoundedSemaphore", threading.BoundedSemaphore, proxies.AcquirerProxy)
Keeper.register("Condition", threading.Condition, proxies.ConditionProxy)
Keeper.register("Event", threading.Event, proxies.EventProxy)
Keeper.register("Lock", threading.Lock, proxies.AcquirerProxy)
Keeper.register("RLock", threading.RLock, proxies.AcquirerProxy)
Keeper.register("Semaphore", threading.Semaphore, proxies.AcquirerProxy)

keeper_lock = threading.Lock()
keeper: Optional[Keeper] = None


def accept(server: Any) -> None:
    """Serves each connection in a thread. As the accepter of managers.Server, but it bears the interpreter's exit."""
    while True:
        try:
            connection = server.listener.accept()
        except OSError:
            time.sleep(0.01)
            continue
        try:
            threading.Thread(target=server.handle_request, args=(connection,), daemon=True).start()
        except RuntimeError:  # the interpreter exits
            connection.close()


def kept() -> Any:
    """The keeper. Starts it when it is first needed. Its address is abstract (unix(7)), so nothing is left of it; who
    connects has to know the script's authkey."""
    global keeper
    with keeper_lock:
        if keeper is None:
            authkey = bytes(process.current_process().authkey)
            address = f"\0offload-{os.getpid()}-{os.urandom(8).hex()}"
            server: Any = Keeper(address, authkey).get_server()
            server.stop_event = threading.Event()
            threading.Thread(target=accept, args=(server,), name="offload-keeper", daemon=True).start()
            found = Keeper(address, authkey)
            found.connect()
            keeper = found
        return keeper


def Queue(maxsize: int = 0) -> QueueProxy:
    """As multiprocessing.Queue, and as JoinableQueue. If a process dies in get(), it can take an item with it."""
    made: QueueProxy = kept().Queue(maxsize)
    return made


JoinableQueue = Queue


def SimpleQueue() -> QueueProxy:
    return Queue()


def Lock() -> Any:
    return kept().Lock()


def RLock() -> Any:
    return kept().RLock()


def Semaphore(value: int = 1) -> Any:
    return kept().Semaphore(value)


def BoundedSemaphore(value: int = 1) -> Any:
    return kept().BoundedSemaphore(value)


def Event() -> Any:
    return kept().Event()


def Condition() -> Any:
    return kept().Condition()


def Barrier(parties: int, action: Optional[Callable[[], Any]] = None, timeout: Optional[float] = None) -> Any:
    return kept().Barrier(parties, action, timeout)
