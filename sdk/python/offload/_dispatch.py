"""The dispatcher of an executor: it sends calls to a service, and completes their futures.

    submit ──► arrived ──► waiting, by function ──► parcels: requests that are under way ──► results, exceptions
    any thread │                                  the dispatcher's thread

Calls that are not known to be short are sent one by one: a parcel is one job. Short ones travel together: a parcel is a
map, of as much as is worth some milliseconds. Only a few parcels are under way at a time. All other calls wait here,
where they can be cancelled. So however many calls are submitted, the service has few of them.

How long the calls of a function take is measured: the service says how long each job ran.

The thread does not know the executor, only whether it is still there. It ends when no call is left, and the executor is
shut down or gone, or the interpreter exits.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import logging
import math
import os
import sys
import threading
import traceback
import uuid
import weakref
from concurrent.futures import BrokenExecutor, Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from typing import Any, Optional, Protocol, cast

from ._api import (
    ENDED,
    WAIT_S,
    Api,
    Lost,
    Patience,
    Sleep,
    Steps,
    Submission,
    document_of,
    error_of,
)
from ._api import Call as Request
from ._failures import JobCancelled, OffloadError, Unavailable, WorkerLost, failure_of
from ._http import Address
from ._loop import Loop, Trip

SHORT_S = 0.002  # calls that take no longer travel together
PARCEL_S = 0.005  # what a parcel of them takes
LONG_S = 0.05  # a job that takes longer has a call that is not short, and nothing else can explain it
NEW_CALLS = 4  # so many must have been short before some travel together
WARY_CALLS = 16  # the same after one that was long
SPREAD_S = 0.0005  # calls that take less together are not divided among the workers
MOST_CALLS = 1024  # in a parcel
MOST_BYTES = 1 << 20  # of a parcel: then no more calls are added
MORE_PARCELS = 2  # under way, beyond one for each worker
RESTART_S = 10.0  # for how long the executor's own service may be away

LOG = logging.getLogger("offload")


class Codec(Protocol):
    """Makes jobs of calls, and Python values of results. Only the dispatcher's thread uses it."""

    def pack(self, fn: Any, args: Any, kwargs: Any) -> tuple[str, bytes, Any]:
        """(type, JSON of the params, token). Raises what is wrong with the call."""

    def unpack(self, type: str, value: Any, token: Any) -> Any:
        """The result; or raises what the call has raised. A BrokenExecutor without a cause: no call can be run."""

    def release(self, token: Any) -> None:
        """The call has ended, in whatever way."""


class Backend(Protocol):
    """A service.

    own: it belongs to the executor. It is started anew if it ends, and its jobs have no Idempotency-Keys. key: for
    Authorization. options: of each job. max_attempts: how often a call is tried; 1: it travels alone, because whether
    one of several had begun cannot be known. retry_for: for how many seconds a service that is not reached is tried.
    """

    codec: Codec
    own: bool
    key: Optional[str]
    options: dict[str, Any]
    max_attempts: Optional[int]
    retry_for: Optional[float]

    def start(self) -> None:
        """Called by the first submit. Raises what is wrong."""

    def address(self) -> Address:
        """Where it is now. The dispatcher's thread calls it for each connection; it can start it, and wait."""

    def workers(self) -> int:
        """How many calls it runs at the same time. The dispatcher's thread calls it once; it can wait."""

    def stop(self) -> None:
        """No call is left."""


class Pending:
    """A call that has not ended. function, args, kwargs: until it is packed; then there is its text. stopped: somebody
    has asked for that."""

    __slots__ = ("future", "function", "args", "kwargs", "type", "text", "token", "place", "stopped")

    def __init__(self, future: Future[Any], function: Any, args: Any, kwargs: Any) -> None:
        self.future, self.function, self.args, self.kwargs = future, function, args, kwargs
        self.type = ""
        self.text: Optional[bytes] = None
        self.token: Any = None
        self.place = 0
        self.stopped = False


class Kind:
    """The calls of one function.

    cost: the seconds that a call takes; infinite if that is not known. It is the least of the last measurements, since
    whatever else the machine does only adds to them. But after one that was long, calls are taken for long until so
    many in a row were short.
    """

    __slots__ = ("name", "waiting", "last", "cost", "wary")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: collections.deque[Pending] = collections.deque()
        self.last: collections.deque[float] = collections.deque(maxlen=4)
        self.cost = math.inf
        self.wary = NEW_CALLS

    def learn(self, seconds: float, calls: int) -> None:
        """A job of so many calls took so many seconds."""
        if seconds > LONG_S:
            self.last.clear()
            self.wary = WARY_CALLS if self.cost <= SHORT_S else max(self.wary, NEW_CALLS - 1)
        elif self.wary > 0:
            self.wary -= 1
        self.last.append(seconds / calls)
        self.cost = math.inf if self.wary > 0 else min(self.last)


def name_of(function: Any) -> str:
    """What calls have in common that take about the same time."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, str):
        return function
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


class Parcel:
    """A request that is under way, with one call or several. document: of its job, once it is known."""

    __slots__ = ("kind", "calls", "short", "key", "body", "content_type", "losses", "trip", "document")

    def __init__(self, kind: Kind, calls: list[Pending], short: bool, key: str) -> None:
        self.kind, self.calls, self.short, self.key = kind, calls, short, key
        self.body = b""
        self.content_type = "application/json"
        self.losses = 0
        self.trip: Optional[Trip] = None
        self.document: Optional[dict[str, Any]] = None


class Dispatcher:
    """`lock` guards what other threads touch: the calls that have arrived, the futures to stop, and how it ends."""

    def __init__(self, backend: Backend, limit: Optional[int]) -> None:
        self.backend, self.codec, self.limit = backend, backend.codec, limit
        self.lock = threading.RLock()  # a finalizer or a signal handler can submit while its own thread has it
        self.arrived: collections.deque[Pending] = collections.deque()
        self.to_stop: collections.deque[Future[Any]] = collections.deque()
        self.thread: Optional[threading.Thread] = None
        self.asleep = False
        self.shut = self.orphaned = self.forked = False
        self.cancelling = self.aborting = False
        self.broken: Optional[str] = None
        self.executor: Optional[weakref.ref[Any]] = None  # it says when the executor is gone
        self.loop: Loop = cast(Loop, None)  # until there is a thread
        # From here on the thread's own.
        self.api = Api(backend.key, backend.retry_for)
        self.headers = {**self.api.headers, "Content-Type": "application/json", "Prefer": f"wait={WAIT_S}"}
        if backend.own:
            self.headers["Prefer"] = "wait=86400"  # nothing is between us that could lose the connection
        self.options = json.dumps(backend.options).encode()[1:-1] if backend.options else b""
        self.kinds: dict[str, Kind] = {}
        self.waiting: dict[str, Kind] = {}  # those of the kinds that have calls waiting
        self.again: collections.deque[tuple[Kind, Pending]] = collections.deque()  # calls that are sent alone
        self.parcels: set[Parcel] = set()
        self.errands: set[Trip] = set()  # they cancel jobs
        self.long = self.short = 0  # parcels
        self.workers = 1
        self.numbers = itertools.count()
        self.key = str(uuid.uuid4())
        dispatchers.add(self)

    # ---- for any thread ----

    def submit(self, call: Pending) -> None:
        with self.lock:
            if self.forked:
                raise RuntimeError("this executor is of the process that has forked; make a new one after a fork")
            if self.broken is not None:
                raise BrokenProcessPool(self.broken)
            if exiting:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            if self.shut:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self.thread is None:
                self.backend.start()
                self.loop = Loop(self.backend.address, silent=not self.backend.own)
                thread = threading.Thread(target=self.run, name="offload-dispatcher")
                thread.start()
                self.thread = thread
            self.arrived.append(call)
            wake, self.asleep = self.asleep, False
        if wake:
            self.loop.wake()

    def stop(self, future: Future[Any]) -> None:
        """Stops a call that runs."""
        with self.lock:
            if self.forked:
                return
            self.to_stop.append(future)
        self.loop.wake()

    def shutdown(self, wait: bool, cancel: bool) -> None:
        if self.forked:
            return
        with self.lock:
            self.shut = True
            self.cancelling = self.cancelling or cancel
            thread = self.thread
        if thread is None:
            return
        self.loop.wake()
        if wait and thread is not threading.current_thread():
            thread.join()

    def abort(self) -> None:
        """Cancels what waits, and stops what runs."""
        self.aborting = True

    def orphan(self) -> None:
        """The executor is gone. It is a finalizer that says so, so no lock is taken."""
        self.orphaned = True
        if self.thread is not None:
            self.loop.wake()

    def in_child(self) -> None:
        """This process was forked, and has no such thread."""
        self.lock = threading.RLock()
        self.forked = True

    # ---- the thread ----

    def run(self) -> None:
        try:
            self.serve()
        except BaseException as error:
            if not isinstance(error, BrokenExecutor):
                LOG.critical("the dispatcher of an executor has failed", exc_info=True)
            self.break_up(str(error) or repr(error), error)
        finally:
            for trip in [*self.errands, *(parcel.trip for parcel in self.parcels)]:
                if trip is not None:  # it is the one that has failed
                    trip.abandon()
            self.parcels.clear()
            self.loop.end()
            self.backend.stop()
            self.codec = None  # type: ignore[assignment]

    def serve(self) -> None:
        try:
            self.workers = self.limit or self.backend.workers()
        except Unavailable as error:
            raise BrokenProcessPool(str(error)) from error
        while True:
            self.take_arrived()
            self.heed()
            self.send_parcels()
            with self.lock:
                more = bool(self.arrived or self.to_stop)
                if not more and self.is_over():
                    self.shut = True
                    return
                self.asleep = not more
            self.loop.wait(block=not more)
            self.asleep = False

    def is_over(self) -> bool:
        idle = not (self.parcels or self.waiting or self.again or self.errands)
        return idle and (self.shut or self.orphaned or exiting)

    def take_arrived(self) -> None:
        arrived, kinds = self.arrived, self.kinds
        while arrived:
            call = arrived.popleft()
            name = name_of(call.function)
            kind = kinds.get(name)
            if kind is None:
                kind = kinds[name] = Kind(name)
            if not kind.waiting:
                self.waiting[name] = kind
            call.place = next(self.numbers)
            kind.waiting.append(call)

    def heed(self) -> None:
        """Cancels and stops, if somebody has asked for it."""
        if self.aborting:
            self.cancelling = True
            for parcel in list(self.parcels):
                self.stop_calls(parcel, parcel.calls)
        if self.cancelling:
            self.cancelling = False
            for kind in self.waiting.values():
                for call in kind.waiting:
                    if call.future.cancel():
                        call.future.set_running_or_notify_cancel()
                kind.waiting.clear()
            self.waiting.clear()
        if self.aborting:
            self.to_stop.extend(call.future for _, call in self.again)
        while self.to_stop:
            future = self.to_stop.popleft()
            for parcel in list(self.parcels):
                self.stop_calls(parcel, [call for call in parcel.calls if call.future is future])
            for kind, call in [entry for entry in self.again if entry[1].future is future]:
                self.again.remove((kind, call))
                self.fail(call, stopped())

    # ---- sending ----

    def send_parcels(self) -> None:
        most = self.workers + MORE_PARCELS
        while self.again and self.long < most:
            kind, call = self.again.popleft()
            self.send(kind, [call], False)
        while self.waiting:
            found = None
            for kind in self.waiting.values():
                free = self.short if kind.cost <= SHORT_S else self.long
                if free < most and (found is None or kind.waiting[0].place < found.waiting[0].place):
                    found = kind
            if found is None:
                return
            short = found.cost <= SHORT_S
            calls = self.take_calls(found, self.worth(found, most - self.short) if short else 1)
            if calls:
                self.send(found, calls, short)

    def worth(self, kind: Kind, free: int) -> int:
        """How many calls travel together, if there can be so many more parcels. A few calls that find workers idle go
        to them at once, and at the same time: they may even wait for each other."""
        if self.backend.max_attempts == 1 or len(kind.waiting) <= free:
            return 1
        cost = max(kind.cost, 1e-9)
        share = max(len(kind.waiting) / self.workers, SPREAD_S / cost)
        return max(1, math.ceil(min(share, PARCEL_S / cost, MOST_CALLS)))

    def take_calls(self, kind: Kind, most: int) -> list[Pending]:
        """Those that are next, of one type. They are running now."""
        calls: list[Pending] = []
        waiting, size = kind.waiting, 0
        while waiting and len(calls) < most and size < MOST_BYTES:
            call = waiting.popleft()
            if call.text is None and not self.pack(call):
                continue
            if calls and call.type != calls[0].type:
                waiting.appendleft(call)
                break
            calls.append(call)
            size += len(call.text or b"")
        if not waiting:
            del self.waiting[kind.name]
        return calls

    def pack(self, call: Pending) -> bool:
        """False: it has ended."""
        if not call.future.set_running_or_notify_cancel():
            return False
        try:
            call.type, call.text, call.token = self.codec.pack(call.function, call.args, call.kwargs)
        except BaseException as error:
            error.__cause__ = _RemoteTraceback(traceback.format_exc())  # type: ignore[arg-type]
            self.fail(call, error)
            return False
        call.function = call.args = call.kwargs = None
        return True

    def send(self, kind: Kind, calls: list[Pending], short: bool) -> None:
        key = "" if self.backend.own else f"{self.key}-{next(self.numbers)}"
        parcel = Parcel(kind, calls, short, key)
        self.short += short
        self.long += not short
        self.parcels.add(parcel)
        parcel.body = self.body_of(calls)
        parcel.trip = Trip(self.loop, self.carry(parcel), functools.partial(self.arrive, parcel))
        parcel.trip.start()

    def body_of(self, calls: list[Pending]) -> bytes:
        kind = b'{"type":' + json.dumps(calls[0].type).encode()
        options = self.options
        if len(calls) == 1:
            content = b',"params":' + (calls[0].text or b"")
        else:
            content = b',"items":[' + b",".join([call.text or b"" for call in calls]) + b"]"
            options = b'"chunks":1' + (b"," + options if options else b"")
        return kind + content + (b',"options":{' + options + b"}}" if options else b"}")

    # ---- parcels under way: see _api.py about steps ----

    def carry(self, parcel: Parcel) -> Steps:
        """Makes the job. Its value is the job's result."""
        troubles, refusals = self.patiences()
        headers = {**self.headers, "Idempotency-Key": parcel.key} if parcel.key else self.headers
        while True:
            try:
                response = yield Request("POST", "/v1/jobs", headers, parcel.body)
                pause = refusals.refused(response)
                if pause is None:
                    break
            except Lost as lost:
                pause = self.lost(parcel, lost, troubles)
            yield pause
        if response.status not in (200, 202):
            raise (yield from self.api.explain(error_of(response)))
        document = parcel.document = document_of(response)
        if document["status"] not in ENDED:
            document = yield from self.api.wait(document)
        if document["status"] == "succeeded":
            self.learn(parcel, document)
            if "result" in document and "result_media_type" not in document:
                return document["result"]
        return (yield from self.api.result(document, None))

    def patiences(self) -> tuple[Patience, Patience]:
        return Patience(RESTART_S if self.backend.own else self.backend.retry_for), Patience(None)

    def lost(self, parcel: Parcel, lost: Lost, troubles: Patience) -> Sleep:
        """How long to wait before it is sent again. Raises WorkerLost, or Unavailable."""
        if lost.quiet and parcel.key:
            return Sleep(0)
        if self.backend.own and not isinstance(lost.cause, (FileNotFoundError, ConnectionRefusedError)):
            parcel.losses += not lost.stale  # it was there, and has ended
            troubles.calm()
            if parcel.losses >= (self.backend.max_attempts or math.inf):
                detail = f"the service has ended in each of {parcel.losses} attempts"
                raise WorkerLost({"code": "worker_crashed", "status": 500, "detail": detail})
        return troubles.lost(lost)

    # ---- the ends ----

    def arrive(self, parcel: Parcel, value: Any, error: Optional[BaseException]) -> None:
        """A parcel has come to its end."""
        self.parcels.discard(parcel)
        parcel.trip = None
        self.short -= parcel.short
        self.long -= not parcel.short
        if isinstance(error, BrokenExecutor) and not isinstance(error, WorkerLost):
            self.parcels.add(parcel)  # its calls are failed with all others
            raise error
        if isinstance(error, Unavailable) and error.status == 0:
            self.parcels.add(parcel)
            raise BrokenProcessPool(f"{error}") from error
        calls = parcel.calls
        if error is None and len(calls) > 1:
            error = self.take_answers(calls, value)
        elif error is None:
            return self.finish(calls.pop(), value)
        if error is not None:
            self.end_calls(parcel, error)

    def take_answers(self, calls: list[Pending], result: Any) -> Optional[Exception]:
        """The result of a map."""
        answers = result.get("items") if isinstance(result, dict) else None
        if not isinstance(answers, list) or len(answers) != len(calls):
            return OffloadError("the service has sent what is no result of a map")
        calls.reverse()
        for answer in answers:  # what has ended is forgotten at once: a callback may take long
            call = calls.pop()
            try:
                failed = None if answer["status"] == "succeeded" else failure_of(answer["error"])
                value = answer["result"] if failed is None else None
            except (LookupError, TypeError, AttributeError):
                failed = OffloadError("the service has sent what is no answer to a call")
            if failed is None:
                self.finish(call, value)
            else:
                self.fail(call, failed)
        return None

    def end_calls(self, parcel: Parcel, error: BaseException) -> None:
        """The parcel has failed. If it was cancelled because one of its calls was to be stopped, the others go on. And
        if it was lost, it is not known by which of its calls."""
        calls, parcel.calls = parcel.calls, []
        stops = isinstance(error, JobCancelled) and any(call.stopped for call in calls)
        lost = isinstance(error, WorkerLost) and len(calls) > 1
        for call in calls:
            if lost or (stops and not call.stopped):
                self.again.append((parcel.kind, call))
            else:
                self.fail(call, error)

    def learn(self, parcel: Parcel, document: dict[str, Any]) -> None:
        timings = document.get("timings")
        run_ms = timings.get("run_ms") if isinstance(timings, dict) else None
        if isinstance(run_ms, (int, float)):
            parcel.kind.learn(run_ms / 1000, len(parcel.calls))

    def finish(self, call: Pending, value: Any) -> None:
        try:
            result = self.codec.unpack(call.type, value, call.token)
        except BrokenExecutor as error:
            if error.__cause__ is None:
                self.fail(call, error)
                raise
            return self.fail(call, error)
        except BaseException as error:
            return self.fail(call, error)
        self.codec.release(call.token)
        try:
            call.future.set_result(result)
        except InvalidStateError:  # somebody else has set it
            pass

    def fail(self, call: Pending, error: BaseException) -> None:
        if call.text is not None:
            self.codec.release(call.token)
        error.__traceback__ = error.__context__ = None  # they would keep alive what they have seen
        try:
            call.future.set_exception(error)
        except InvalidStateError:
            pass

    def stop_calls(self, parcel: Parcel, calls: list[Pending]) -> None:
        """Cancels the job. Other calls that travel with these are sent again, each alone."""
        if not calls:
            return
        for call in calls:
            call.stopped = True
        assert parcel.trip is not None
        parcel.trip.abandon()  # without a key this cancels the job: nobody waits for it
        if parcel.key:
            self.run_errand(self.api.abandon(cast(Submission, parcel), parcel.document))
        self.arrive(parcel, None, stopped())

    def run_errand(self, steps: Steps) -> None:
        trip = Trip(self.loop, steps, lambda value, error: self.errands.discard(trip))
        self.errands.add(trip)
        trip.start()

    def break_up(self, why: str, cause: BaseException) -> None:
        """Nothing works any more: all calls fail, now and later."""
        with self.lock:
            self.broken = why
            calls = list(self.arrived)
            self.arrived.clear()
        for kind in self.waiting.values():
            calls += kind.waiting
        calls += [call for _, call in self.again]
        for parcel in self.parcels:
            calls += parcel.calls
        for call in calls:
            error = BrokenProcessPool(why)
            error.__cause__ = cause.__cause__
            if call.text is not None or call.future.set_running_or_notify_cancel():
                self.fail(call, error)


def stopped() -> JobCancelled:
    return JobCancelled({"code": "cancelled", "status": 409, "detail": "the call was stopped"})


# ---- the end of the interpreter, and forks ---------------------------------------------------------------------------

dispatchers: weakref.WeakSet[Dispatcher] = weakref.WeakSet()
exiting = False


def at_exit() -> None:
    """The calls that are left are finished first, unless ctrl-C ends the script."""
    global exiting
    exiting = True
    last = getattr(sys, "last_type", None)
    interrupted = isinstance(last, type) and issubclass(last, KeyboardInterrupt) and not hasattr(sys, "ps1")
    for dispatcher in list(dispatchers):
        if dispatcher.thread is not None and not dispatcher.forked:
            if interrupted:
                dispatcher.abort()
            dispatcher.loop.wake()
    for dispatcher in list(dispatchers):
        if dispatcher.thread is not None and not dispatcher.forked:
            dispatcher.thread.join()


def after_fork_in_child() -> None:
    for dispatcher in list(dispatchers):
        dispatcher.in_child()


# Before the threads are joined, as concurrent.futures does it; atexit's own functions come after that.
threading._register_atexit(at_exit)  # type: ignore[attr-defined]
os.register_at_fork(after_in_child=after_fork_in_child)
