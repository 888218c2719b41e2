"""Operations on a service (the steps of _api.py), many at a time in one thread, without blocking. See Client for the
same with one thread for each.

The thread that calls `Loop.wait` does everything; only `Loop.wake` is for others.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import ssl
import time
from typing import Any, Callable, Optional, cast

from ._api import Call, Lost, Open, Read, Sleep, Steps, lost_by
from ._http import Address, Broken, Parser, request

CONNECT_S = 10.0
LOOK_S = 1.0  # how often it looks for connections that are silent
RECEIVE_BYTES = 1 << 18
SEND_BYTES = 1 << 20
NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """One connection. `trip`: whose it is now. `heard`: when something came or went."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.sock = address.connect(CONNECT_S)
        self.sock.setblocking(False)
        self.parser = Parser()
        self.unsent = memoryview(b"")
        self.trip: Optional[Trip] = None
        self.used = False
        self.heard = 0.0
        self.watched = 0

    def receive(self) -> Optional[bytes]:
        """What has come; b"": the end; None: nothing now."""
        try:
            return self.sock.recv(RECEIVE_BYTES)
        except NOT_NOW:
            return None

    def send(self) -> None:
        """Sends as much as goes at once."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent[:SEND_BYTES]) :]
        except NOT_NOW:
            pass

    def decrypted(self) -> bool:
        """There are bytes that no selector sees."""
        return isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0


class Trip:
    """An operation that is under way. `ended` is called once, with its value, or with the exception that it raised."""

    def __init__(self, loop: Loop, steps: Steps, ended: Callable[[Any, Optional[BaseException]], None]) -> None:
        self.loop, self.steps, self.ended = loop, steps, ended
        self.step: Any = None
        self.call = Call("", "", {})  # the last request
        self.connection: Optional[Connection] = None
        self.over = False

    def start(self) -> None:
        self.go(self.steps.send, None)

    def go(self, how: Callable[[Any], Any], what: Any) -> None:
        """Sends an outcome to the steps, or throws an exception, and does the next ones until one has to wait."""
        while not self.over:
            try:
                self.step = how(what)
            except StopIteration as stop:
                return self.end(stop.value, None)
            except BaseException as error:
                return self.end(None, error)
            try:
                how, what = self.steps.send, self.begin()
            except Exception as error:  # Lost, and what the address of the service raises
                how, what = self.steps.throw, error
            if what is self:
                return

    def begin(self) -> Any:
        """Begins the step. Returns its outcome, or the trip itself: there is none yet. Raises Lost."""
        step = self.step
        if isinstance(step, Read):
            return self.outcome()
        if isinstance(step, Sleep):
            self.loop.at(time.monotonic() + step.seconds, self)
            return self
        self.leave()
        self.call = step
        self.connection = connection = self.loop.connect(step)
        connection.trip = self
        address = connection.address
        connection.unsent = memoryview(request(address, step.method, step.target, step.headers, step.body))
        return self.send()

    def send(self) -> Any:
        """As begin."""
        connection = self.connection
        assert connection is not None
        connection.heard = time.monotonic()
        try:
            connection.send()
        except ConnectionError:
            connection.unsent = memoryview(b"")  # perhaps it is answered already, because it is too large
        except OSError as error:
            raise self.lost(error) from None
        self.loop.watch(connection)
        return self

    def receive(self) -> Any:
        """As begin."""
        connection = self.connection
        assert connection is not None
        try:
            data = connection.receive()
            if data is not None:
                connection.heard = time.monotonic()
                connection.parser.feed(data)
        except (OSError, Broken) as error:
            raise self.lost(error) from None
        return self.outcome()

    def lost(self, error: Exception) -> Lost:
        connection = self.connection
        stale = connection is not None and connection.used and not connection.parser.begun
        self.leave()
        return lost_by(error, self.call, stale=stale)

    def give_up(self) -> Any:
        """As begin: nothing has come for too long."""
        raise self.lost(TimeoutError())

    def outcome(self) -> Any:
        """Of the step, from what has come. The trip: there is none yet."""
        connection, step = self.connection, self.step
        if connection is None:
            return b""
        parser = connection.parser
        if isinstance(step, Open):
            return parser.head() or self
        if isinstance(step, Read):
            data = parser.take()
            if not data and not parser.done:
                return self
            if not data:
                self.put_back()
            return data
        response = parser.whole()
        if response is None:
            return self
        self.put_back()
        return response

    def attempt(self, action: Callable[[], Any]) -> None:
        """The selector says that the step can go on."""
        try:
            outcome = action()
        except Lost as lost:
            return self.go(self.steps.throw, lost)
        if outcome is not self:
            self.go(self.steps.send, outcome)

    def put_back(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            self.loop.put_back(connection)

    def leave(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            self.loop.close(connection)

    def end(self, value: Any, error: Optional[BaseException]) -> None:
        self.over = True
        self.leave()
        self.ended(value, error)

    def abandon(self) -> None:
        """Ends it without a word. Its connection is closed, by which the service may cancel the job."""
        self.over = True
        self.leave()
        self.steps.close()


class Loop:
    """The connections and the timers.

    address: where the service is; asked for each new connection. silent: connections can be lost without a sign of it.
    """

    def __init__(self, address: Callable[[], Address], silent: bool) -> None:
        self.address, self.silent = address, silent
        self.selector = selectors.DefaultSelector()
        self.waiter, self.waker = socket.socketpair()
        self.waiter.setblocking(False)
        self.waker.setblocking(False)
        self.selector.register(self.waiter, selectors.EVENT_READ)
        self.idle: list[Connection] = []
        self.busy: set[Connection] = set()
        self.timers: list[tuple[float, int, Trip]] = []
        self.numbers = itertools.count()
        self.looked = 0.0

    def wake(self) -> None:
        """Ends a wait, or the next one. For any thread, signal handlers and finalizers."""
        with contextlib.suppress(OSError):
            self.waker.send(b"\0")

    def at(self, when: float, trip: Trip) -> None:
        heapq.heappush(self.timers, (when, next(self.numbers), trip))

    def connect(self, step: Call) -> Connection:
        """Raises Lost, and what `address` raises."""
        while self.idle:
            connection = self.idle.pop()
            if not self.silent or connection.receive() is None:
                self.busy.add(connection)
                return connection
            self.close(connection)
        address = self.address()
        try:
            connection = Connection(address)
        except OSError as error:
            raise lost_by(error, step, connecting=True) from None
        self.busy.add(connection)
        return connection

    def watch(self, connection: Connection) -> None:
        """Tells the selector what the connection waits for."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if connection.watched == 0:
            self.selector.register(connection.sock, events, connection)
        elif connection.watched != events:
            self.selector.modify(connection.sock, events, connection)
        connection.watched = events

    def put_back(self, connection: Connection) -> None:
        """It has answered, and can be used again."""
        parser = connection.parser
        if not parser.keep_alive or not parser.idle or connection.unsent:
            return self.close(connection)
        parser.next()
        connection.used, connection.trip = True, None
        self.busy.discard(connection)
        self.idle.append(connection)

    def close(self, connection: Connection) -> None:
        self.busy.discard(connection)
        if connection.watched:
            self.selector.unregister(connection.sock)
            connection.watched = 0
        connection.trip = None
        connection.sock.close()

    def wait(self, block: bool) -> None:
        """Lets the trips go on that can. block: waits until one can, or somebody wakes it."""
        timeout = None if block else 0.0
        if block and self.silent and self.busy:
            timeout = LOOK_S
        if block and self.timers:
            due = max(0.0, self.timers[0][0] - time.monotonic())
            timeout = due if timeout is None else min(due, timeout)
        for key, mask in self.selector.select(timeout):
            if key.data is None:
                self.waiter.recv(RECEIVE_BYTES)
            else:
                self.serve(cast(Connection, key.data), mask)
        if self.timers or self.silent:
            self.look_at_clock(time.monotonic())

    def serve(self, connection: Connection, mask: int) -> None:
        trip = connection.trip
        if trip is None:
            if connection in self.idle:  # the service has closed it
                self.idle.remove(connection)
                self.close(connection)
            return
        if mask & selectors.EVENT_WRITE:
            trip.attempt(trip.send)
        if mask & selectors.EVENT_READ and connection.trip is trip:
            trip.attempt(trip.receive)
            while connection.trip is trip and connection.decrypted():
                trip.attempt(trip.receive)

    def look_at_clock(self, now: float) -> None:
        while self.timers and self.timers[0][0] <= now:
            trip = heapq.heappop(self.timers)[2]
            trip.go(trip.steps.send, None)
        if not self.silent or now - self.looked < LOOK_S:
            return
        self.looked = now
        for connection in list(self.busy):
            trip = cast(Trip, connection.trip)
            patience, deadline = trip.call.patience, trip.call.deadline
            if now - connection.heard > patience or (deadline is not None and now > deadline):
                trip.attempt(trip.give_up)

    def end(self) -> None:
        for connection in [*self.idle, *self.busy]:
            self.close(connection)
        self.idle.clear()
        self.selector.close()
        self.waiter.close()
        self.waker.close()
