"""AsyncClient: jobs from asyncio. What is asked and how answers are read is in _api.py; here are the connections."""

from __future__ import annotations

import asyncio
import collections
import os
import time
from collections.abc import AsyncIterator, Generator, Iterable, Mapping
from typing import Any, Callable, Optional, TypeVar, Union, cast, overload

from ._annotations import Shape
from ._api import (
    RETRY_FOR_S,
    Api,
    Batch,
    Call,
    Event,
    Function,
    Handle,
    Open,
    Operation,
    Params,
    Read,
    Sleep,
    Steps,
    Submission,
    Work,
    lost_by,
    map_of,
    time_left,
)
from ._embed import embedding
from ._http import Address, Broken, Closed, Parser, Response, find_key, request_pieces

R = TypeVar("R")
IDLE_CONNECTIONS = 100
SEND_BYTES = 1 << 20
AHEAD_BYTES = 1 << 20  # of a stream that were not yet read


class Connection(asyncio.Protocol):
    """One connection, in the process and the event loop that have made it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()
        self.parser = Parser()
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.waiter: Optional[asyncio.Future[None]] = None
        self.fault: Optional[Exception] = None
        self.used = False
        self.streaming = False
        self.can_write = True

    # ---- what asyncio calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.feed(data)
        if self.streaming and self.parser.size > AHEAD_BYTES:
            self.transport.pause_reading()

    def eof_received(self) -> None:
        self.feed(b"")

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.fail(error or Closed("the service closed the connection"))

    def pause_writing(self) -> None:
        self.can_write = False

    def resume_writing(self) -> None:
        self.can_write = True
        self.wake()

    # ---- the other side ----

    def feed(self, data: bytes) -> None:
        try:
            if self.fault is None:
                self.parser.feed(data)
        except Broken as error:
            self.fail(error)
        self.wake()

    def fail(self, error: Exception) -> None:
        self.fault = self.fault or error
        self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self, call: Call) -> None:
        """Waits until something has happened. Raises what is wrong, or a TimeoutError."""
        if self.fault is not None:
            raise self.fault
        self.waiter = self.loop.create_future()
        timer = self.loop.call_later(time_left(call), self.expire, self.waiter)
        try:
            await self.waiter
        finally:
            timer.cancel()
            self.waiter = None

    def expire(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_exception(TimeoutError("the time is over"))

    def usable(self) -> bool:
        ours = self.pid == os.getpid() and self.loop is asyncio.get_running_loop()
        return ours and self.fault is None and not self.parser.begun and not self.transport.is_closing()

    def take(self) -> bytes:
        data = self.parser.take()
        if self.streaming and data and not self.transport.is_closing():
            self.transport.resume_reading()
        return data

    def close(self) -> None:
        if self.pid == os.getpid() and not self.loop.is_closed():
            self.transport.abort()


class Exchange:
    """Does the steps of one operation."""

    def __init__(self, address: Address, pool: collections.deque[Connection]) -> None:
        self.address = address
        self.pool = pool
        self.stream: Optional[tuple[Connection, Call]] = None

    async def perform(self, step: Any) -> Any:
        if isinstance(step, Open):
            self.close()
            connection, response = await self.send(step)
            self.stream = (connection, step)
            return response
        if isinstance(step, Call):
            return await self.whole(step)
        if isinstance(step, Read):
            return await self.read()
        if isinstance(step, Sleep):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Work):
            work = asyncio.get_running_loop().run_in_executor(None, step.function)
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.wait([work])  # a thread cannot be stopped
                raise
        raise AssertionError(step)

    async def whole(self, call: Call) -> Response:
        connection, response = await self.send(call)
        try:
            while not connection.parser.done:
                await self.wait(connection, call)
        except BaseException:
            connection.close()
            raise
        response.body = connection.parser.take()
        self.put_back(connection)
        return response

    async def send(self, call: Call) -> tuple[Connection, Response]:
        """Sends a request, and waits for the head of the answer. The answer can come before all is sent."""
        pieces = request_pieces(self.address, call.method, call.target, call.headers, call.body)
        connection = await self.connect(call)
        try:
            connection.streaming = isinstance(call, Open)
            for piece in pieces:
                view = memoryview(piece)
                for start in range(0, len(view), SEND_BYTES):
                    connection.transport.write(view[start : start + SEND_BYTES])
                    while not connection.can_write and connection.parser.head() is None:
                        await self.wait(connection, call)
                    if connection.parser.head() is not None:
                        break
            response = connection.parser.head()
            while response is None:
                await self.wait(connection, call)
                response = connection.parser.head()
            if connection.transport.get_write_buffer_size() > 0:
                connection.parser.keep_alive = False
        except BaseException:
            connection.close()
            raise
        return connection, response

    async def connect(self, call: Call) -> Connection:
        while self.pool:
            idle = self.pool.pop()
            if idle.usable():
                return idle
            idle.close()
        loop, address = asyncio.get_running_loop(), self.address
        made: Any
        if address.path:
            made = loop.create_unix_connection(Connection, address.path)
        else:
            made = loop.create_connection(Connection, address.name, address.port, ssl=address.tls)
        try:
            connection: Connection = (await asyncio.wait_for(made, time_left(call)))[1]
        except asyncio.TimeoutError:
            raise lost_by(TimeoutError(), call, connecting=True) from None
        except OSError as error:
            raise lost_by(error, call, connecting=True) from None
        return connection

    async def wait(self, connection: Connection, call: Call) -> None:
        try:
            await connection.wait(call)
        except (OSError, Broken) as error:
            raise lost_by(error, call, stale=connection.used and not connection.parser.begun) from None

    async def read(self) -> bytes:
        """The next bytes of the stream; b"" at its end."""
        if self.stream is None:
            return b""
        connection, call = self.stream
        while True:
            data = connection.take()
            if data:
                return data
            if connection.parser.done:
                self.stream = None
                self.put_back(connection)
                return b""
            try:
                await self.wait(connection, call)
            except BaseException:
                self.close()
                raise

    def put_back(self, connection: Connection) -> None:
        parser = connection.parser
        if not parser.keep_alive or not parser.idle or connection.fault or len(self.pool) >= IDLE_CONNECTIONS:
            return connection.close()
        parser.next()
        connection.used, connection.streaming = True, False
        self.pool.append(connection)

    def close(self) -> None:
        """Leaves the stream."""
        if self.stream is not None:
            self.stream[0].close()
            self.stream = None


class Performance(Operation):
    """An operation whose steps are done here."""

    def __init__(self, address: Address, pool: collections.deque[Connection], steps: Steps) -> None:
        self.exchange = Exchange(address, pool)
        self.closing: Optional[asyncio.Future[None]] = None
        super().__init__(steps, self.exchange.close)

    async def perform(self) -> None:
        """Does a step."""
        try:
            outcome = await self.exchange.perform(self.step)
        except BaseException as error:
            self.throw(error)
        else:
            self.send(outcome)

    async def finish(self) -> Any:
        """Does all steps of an operation that yields no values."""
        while not self.ended:
            await self.perform()
        return self.value

    async def next(self) -> bool:
        """Goes on to the next values. False: there are no more."""
        while not self.values and not self.ended:
            if isinstance(self.step, Batch):
                self.take()
            else:
                await self.perform()
        return bool(self.values)

    async def close(self) -> None:
        """Leaves the operation: a map that has not ended is cancelled at the service. Who waits for that can give up,
        and several can wait."""
        if not self.ended and self.closing is None:
            self.closing = asyncio.ensure_future(self.abandon())
        if self.closing is not None:
            await asyncio.shield(self.closing)

    async def abandon(self) -> None:
        if self.leave():
            try:
                await self.finish()
            except GeneratorExit:
                pass


class AsyncResults:
    """The results of a map: `async for` has them as they come, `await` as a list. The map is made then, and once."""

    def __init__(self, values: AsyncIterator[Any]) -> None:
        self.values = values

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.values

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.gather().__await__()

    async def gather(self) -> list[Any]:
        return [value async for value in self.values]


class AsyncJob(Handle):
    """A job at the service. `document` is the Job as it was seen last (openapi.yaml says what it has)."""

    def __init__(self, client: AsyncClient, document: dict[str, Any], read: Optional[Shape] = None) -> None:
        super().__init__(document, read)
        self.client = client

    @property
    def status(self) -> str:
        """queued, running, succeeded, failed or cancelled, as it was seen last: refresh() looks again."""
        return str(self.document["status"])

    async def refresh(self) -> AsyncJob:
        """Looks at the job again, if it had not ended. Returns itself."""
        if not self.has_ended:
            self.document = await self.client.do(self.client.api.refresh(self.id))
        return self

    async def result(self, timeout: Optional[float] = None) -> Any:
        """Waits for the job, `timeout` seconds at most, and returns its result: see Job.result."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self.document = await self.client.do(self.client.api.wait(self.document, deadline))
        return await self.client.do(self.client.api.result(self.document, self.read))

    async def cancel(self) -> bool:
        """Cancels the job, and waits until no process works on it. False: it had ended before."""
        self.document = await self.client.do(self.client.api.cancel(self.id))
        return bool(self.document["status"] == "cancelled")

    def events(self) -> AsyncIterator[Event]:
        """What happens to the job, from its beginning to its end, as it happens."""
        return self.client.iterate(self.client.api.events(self.id))


class AsyncClient:
    """A service, for asyncio. Its arguments and methods are those of Client, with `await`; no threads are used. Many tasks
    can use it at a time: each run and each submit has a connection, and those beyond `concurrency` of them wait for their
    turn. A task that is cancelled while run or map waits cancels the job at the service."""

    def __init__(
        self,
        url: Optional[str] = None,
        *,
        key: Optional[str] = None,
        ca: Optional[str] = None,
        cert: Optional[str] = None,
        cert_key: Optional[str] = None,
        retry_for: Optional[float] = RETRY_FOR_S,
        concurrency: int = 100,
    ) -> None:
        self.address = Address.parse(url, ca, cert, cert_key)
        self.api = Api(find_key(key), retry_for, bool(self.address.path))
        self.pool: collections.deque[Connection] = collections.deque()
        self.active: set[Performance] = set()  # maps and followed events
        self.concurrency = concurrency
        self.loop: Optional[asyncio.AbstractEventLoop] = None  # of the turns
        self.turns: dict[str, asyncio.Semaphore] = {}

    @overload
    async def run(self, type: Callable[..., R], params: Optional[Params] = None, **options: Any) -> R: ...

    @overload
    async def run(self, type: str, params: Optional[Params] = None, **options: Any) -> Any: ...

    async def run(self, type: Function, params: Optional[Params] = None, **options: Any) -> Any:
        """Makes a job, and returns its result: see Client.run."""
        submission = Submission(type, options, params=params)
        async with self.turn("run"):
            return await self.do(self.api.run(submission))

    async def submit(self, type: Function, params: Optional[Params] = None, **options: Any) -> AsyncJob:
        """Makes a job, and does not wait for it."""
        submission = Submission(type, options, params=params)
        async with self.turn("submit"):
            return AsyncJob(self, await self.do(self.api.submit(submission)), submission.read)

    def map(
        self,
        type: Function,
        params: Optional[Iterable[Params]] = None,
        *,
        columns: Optional[Mapping[str, Any]] = None,
        return_exceptions: bool = False,
        **options: Any,
    ) -> AsyncResults:
        """Makes one job of many calls: `async for` yields their results in order, as they come; `await` makes a list of
        them. See Client.map."""
        return AsyncResults(self.iterate(self.api.map(map_of(type, params, columns, options), return_exceptions)))

    async def embed(
        self,
        texts: Union[str, Iterable[str]],
        model: Optional[str] = None,
        *,
        dimensions: Optional[int] = None,
        normalize: Optional[bool] = None,
        truncate: bool = False,
        **options: Any,
    ) -> Any:
        """The vectors of texts, as an array of numpy: see Client.embed."""
        wanted = embedding(texts, model, dimensions, normalize, truncate, options)
        async with self.turn("run"):
            return await self.do(wanted.steps(self.api))

    async def job(self, id: str) -> AsyncJob:
        """The job of that id, which may have been made elsewhere."""
        return AsyncJob(self, await self.do(self.api.refresh(id)))

    async def get(self, id: str, timeout: Optional[float] = None) -> Any:
        """The result of the job of that id: see Job.result."""
        return await (await self.job(id)).result(timeout)

    async def types(self) -> list[dict[str, Any]]:
        """The job types: name, summary, params (a JSON Schema), and more (openapi.yaml)."""
        types: list[dict[str, Any]] = await self.do(self.api.types())
        return types

    async def close(self) -> None:
        """Closes the connections, and cancels the maps that have not ended. The client can still be used."""
        for performance in list(self.active):
            await performance.close()
        while self.pool:
            self.pool.pop().close()
        await asyncio.sleep(0)  # so that the loop closes them

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    # ---- how operations are done ----

    def turn(self, what: str) -> asyncio.Semaphore:
        """So many can do that at a time. Who submits does not wait for those that wait for their results."""
        loop = asyncio.get_running_loop()
        if loop is not self.loop:
            self.loop, self.turns = loop, {}
        if what not in self.turns:
            self.turns[what] = asyncio.Semaphore(self.concurrency)
        return self.turns[what]

    async def do(self, steps: Steps) -> Any:
        """Does an operation. Returns its value."""
        return await Performance(self.address, self.pool, steps).finish()

    async def iterate(self, steps: Steps) -> AsyncIterator[Any]:
        """An operation that yields values. It begins with the first of them, and is left by who leaves early."""
        performance = Performance(self.address, self.pool, steps)
        self.active.add(performance)
        try:
            while await performance.next():
                yield performance.values.popleft()
        finally:
            try:
                await performance.close()
            finally:
                self.active.discard(performance)
