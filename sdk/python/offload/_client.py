"""Client: jobs from threads. What is asked and how answers are read is in _api.py; here are the sockets."""

from __future__ import annotations

import collections
import os
import select
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, Optional, TypeVar, Union, overload

from ._annotations import Shape
from ._api import (
    RETRY_FOR_S,
    Api,
    Batch,
    Call,
    Event,
    Function,
    Handle,
    Lost,
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
from ._http import Address, Broken, Parser, Response, find_key, request_pieces

R = TypeVar("R")
IDLE_CONNECTIONS = 16
READ_BYTES = 1 << 18
SEND_BYTES = 1 << 20


class Connection:
    """One connection, in the process that has made it."""

    def __init__(self, address: Address, timeout: Optional[float]) -> None:
        self.sock = address.connect(timeout)
        self.timeout = timeout
        self.poll: Optional[select.poll] = None
        if address.tls is None:  # what comes on an idle TLS connection can be for TLS itself
            self.poll = select.poll()
            self.poll.register(self.sock, select.POLLIN)
        self.parser = Parser()
        self.pid = os.getpid()
        self.used = False

    def usable(self) -> bool:
        """Is nothing wrong with it, as far as can be seen? The service may have closed it meanwhile."""
        if self.pid != os.getpid():  # of the process that we were forked from, which uses it
            return False
        return self.poll is None or not self.poll.poll(0)  # it has ended, or something came that nobody has asked for

    def limit(self, timeout: Optional[float]) -> None:
        """How long the next step can take."""
        if timeout != self.timeout:
            self.sock.settimeout(timeout)
            self.timeout = timeout

    def close(self) -> None:
        self.sock.close()


class Exchange:
    """Does the steps of one operation. `pool`: idle connections; deque's own methods are safe among threads."""

    def __init__(self, address: Address, pool: collections.deque[Connection]) -> None:
        self.address = address
        self.pool = pool
        self.stream: Optional[tuple[Connection, Call]] = None

    def perform(self, step: Any) -> Any:
        if isinstance(step, Open):
            self.close()
            connection, response = self.send(step)
            self.stream = (connection, step)
            return response
        if isinstance(step, Call):
            return self.whole(step)
        if isinstance(step, Read):
            return self.read()
        if isinstance(step, Sleep):
            return time.sleep(step.seconds)
        if isinstance(step, Work):
            return step.function()
        raise AssertionError(step)

    def whole(self, call: Call) -> Response:
        connection, response = self.send(call)
        parser = connection.parser
        try:
            while not parser.done:
                self.receive(connection, call)
        except BaseException:
            connection.close()
            raise
        response.body = parser.take()
        self.put_back(connection)
        return response

    def send(self, call: Call) -> tuple[Connection, Response]:
        """Sends a request, and waits for the head of the answer."""
        pieces = request_pieces(self.address, call.method, call.target, call.headers, call.body)
        connection = self.connect(call)
        try:
            try:
                for piece in pieces:
                    data = piece if len(piece) <= SEND_BYTES else memoryview(piece)
                    for start in range(0, len(data), SEND_BYTES):
                        connection.limit(time_left(call))
                        connection.sock.sendall(data[start : start + SEND_BYTES])  # no copy
            except OSError as error:
                if not isinstance(error, ConnectionError) or not self.has_answer(connection, call):
                    raise self.lost(error, connection, call) from None
            response = connection.parser.head()
            while response is None:
                self.receive(connection, call)
                response = connection.parser.head()
        except BaseException:
            connection.close()
            raise
        return connection, response

    def has_answer(self, connection: Connection, call: Call) -> bool:
        """The service has closed the connection. Has it answered before, because the request is too large?"""
        try:
            while not connection.parser.done:
                self.receive(connection, call)
        except Lost:
            pass
        connection.parser.keep_alive = False
        return connection.parser.head() is not None

    def connect(self, call: Call) -> Connection:
        while True:
            try:
                connection = self.pool.pop()
            except IndexError:
                break
            if connection.usable():
                return connection
            connection.close()
        try:
            return Connection(self.address, time_left(call))
        except OSError as error:
            raise lost_by(error, call, connecting=True) from None

    def receive(self, connection: Connection, call: Call) -> None:
        """Waits for some bytes, and gives them to the parser."""
        try:
            connection.limit(time_left(call))
            connection.parser.feed(connection.sock.recv(READ_BYTES))
        except (OSError, Broken) as error:
            raise self.lost(error, connection, call) from None

    def lost(self, error: Exception, connection: Connection, call: Call) -> Lost:
        return lost_by(error, call, stale=connection.used and not connection.parser.begun)

    def read(self) -> bytes:
        """The next bytes of the stream; b"" at its end."""
        if self.stream is None:
            return b""
        connection, call = self.stream
        while True:
            data = connection.parser.take()
            if data:
                return data
            if connection.parser.done:
                self.stream = None
                self.put_back(connection)
                return b""
            try:
                self.receive(connection, call)
            except BaseException:
                self.close()
                raise

    def put_back(self, connection: Connection) -> None:
        parser = connection.parser
        if not parser.keep_alive or not parser.idle or len(self.pool) >= IDLE_CONNECTIONS:
            return connection.close()
        parser.next()
        connection.used = True
        self.pool.append(connection)

    def close(self) -> None:
        """Leaves the stream."""
        if self.stream is not None:
            self.stream[0].close()
            self.stream = None


class Performance(Operation, Iterator[Any]):
    """An operation whose steps are done here. It iterates over the values that they yield."""

    def __init__(self, address: Address, pool: collections.deque[Connection], steps: Steps) -> None:
        self.exchange = Exchange(address, pool)
        super().__init__(steps, self.exchange.close)

    def perform(self) -> None:
        """Does a step."""
        try:
            outcome = self.exchange.perform(self.step)
        except BaseException as error:
            self.throw(error)
        else:
            self.send(outcome)

    def finish(self) -> Any:
        """Does all steps of an operation that yields no values."""
        while not self.ended:
            self.perform()
        return self.value

    def __next__(self) -> Any:
        while not self.values:
            if self.ended:
                raise StopIteration
            if isinstance(self.step, Batch):
                self.take()
            else:
                self.perform()
        return self.values.popleft()

    def close(self) -> None:
        """Leaves the operation: a map that has not ended is cancelled at the service."""
        if self.leave():
            try:
                self.finish()
            except GeneratorExit:
                pass

    def __del__(self) -> None:
        if not getattr(self, "ended", True) and not sys.is_finalizing():
            self.close()


class Job(Handle):
    """A job at the service. `document` is the Job as it was seen last (openapi.yaml says what it has)."""

    def __init__(self, client: Client, document: dict[str, Any], read: Optional[Shape] = None) -> None:
        super().__init__(document, read)
        self.client = client

    @property
    def status(self) -> str:
        """queued, running, succeeded, failed or cancelled. The service is asked, until the job has ended."""
        return str(self.refresh().document["status"])

    def refresh(self) -> Job:
        """Looks at the job again, if it had not ended. Returns itself."""
        if not self.has_ended:
            self.document = self.client.do(self.client.api.refresh(self.id))
        return self

    def result(self, timeout: Optional[float] = None) -> Any:
        """Waits for the job, `timeout` seconds at most, and returns its result.

        Raises a TimeoutError if it has not ended by then (it goes on), TaskError or a subclass if it has failed, and
        InvalidParams. Whoever stops waiting does not cancel the job: cancel() does.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self.document = self.client.do(self.client.api.wait(self.document, deadline))
        return self.client.do(self.client.api.result(self.document, self.read))

    def cancel(self) -> bool:
        """Cancels the job, and waits until no process works on it. False: it had ended before."""
        self.document = self.client.do(self.client.api.cancel(self.id))
        return bool(self.document["status"] == "cancelled")

    def events(self) -> Iterator[Event]:
        """What happens to the job, from its beginning to its end, as it happens."""
        return self.client.iterate(self.client.api.events(self.id))


class Client:
    """A service. It can be used by many threads at the same time, and after a fork.

    url: http://HOST:PORT[/PREFIX], https://…, unix:/PATH; None: $OFFLOAD_URL, else http://127.0.0.1:8080. key: the
    API key; None: $OFFLOAD_API_KEY, if it is set. For https: ca: a file (PEM) of the authorities to trust; None:
    $OFFLOAD_CA, else those of the system; cert and cert_key: files with our certificate and its private key, if the
    service wants one. retry_for: for how many seconds a request is sent again while the service cannot be reached, or
    takes no jobs (429, 503: as Retry-After says); None: for ever. Then Unavailable is raised.

    A job type is its name, or the task or function itself: then the result is read as its return annotation says.
    Options of jobs: timeout, queue_timeout, delay and ttl (in seconds), priority, max_attempts, chunks, isolation,
    webhook, idempotency_key.
    """

    def __init__(
        self,
        url: Optional[str] = None,
        *,
        key: Optional[str] = None,
        ca: Optional[str] = None,
        cert: Optional[str] = None,
        cert_key: Optional[str] = None,
        retry_for: Optional[float] = RETRY_FOR_S,
    ) -> None:
        self.address = Address.parse(url, ca, cert, cert_key)
        self.key = find_key(key)
        self.api = Api(self.key, retry_for, bool(self.address.path))
        self.pool: collections.deque[Connection] = collections.deque()

    @overload
    def run(self, type: Callable[..., R], params: Optional[Params] = None, **options: Any) -> R: ...

    @overload
    def run(self, type: str, params: Optional[Params] = None, **options: Any) -> Any: ...

    def run(self, type: Function, params: Optional[Params] = None, **options: Any) -> Any:
        """Makes a job, and returns its result. Raises TaskError or a subclass, InvalidParams, HTTPError. An exception
        that comes while it waits (ctrl-C) cancels the job at the service."""
        return self.do(self.api.run(Submission(type, options, params=params)))

    def submit(self, type: Function, params: Optional[Params] = None, **options: Any) -> Job:
        """Makes a job, and does not wait for it."""
        submission = Submission(type, options, params=params)
        return Job(self, self.do(self.api.submit(submission)), submission.read)

    def map(
        self,
        type: Function,
        params: Optional[Iterable[Params]] = None,
        *,
        columns: Optional[Mapping[str, Any]] = None,
        return_exceptions: bool = False,
        **options: Any,
    ) -> Iterator[Any]:
        """Makes one job of many calls, and yields their results in order, as they come.

        params: the parameters of each call. Or columns: {"n": [1, 2, …], "k": 3}; a value that is no list is the same
        for all. The first call that has failed raises, or, with return_exceptions, yields its exception. Whoever leaves
        before the end cancels the job.
        """
        return self.iterate(self.api.map(map_of(type, params, columns, options), return_exceptions))

    def embed(
        self,
        texts: Union[str, Iterable[str]],
        model: Optional[str] = None,
        *,
        dimensions: Optional[int] = None,
        normalize: Optional[bool] = None,
        truncate: bool = False,
        **options: Any,
    ) -> Any:
        """The vectors of texts, by the job type `embeddings`: an array of numpy, float32, with a row for each text. Of
        a single text: its vector.

        model: None: the service's default. dimensions: how many of its dimensions to keep. normalize: whether each
        vector has the length 1; None: as the model has it. truncate: the beginning of a text that is too long is
        embedded; otherwise it is InvalidParams, which names it. Many texts become several jobs.
        """
        return self.do(embedding(texts, model, dimensions, normalize, truncate, options).steps(self.api))

    def job(self, id: str) -> Job:
        """The job of that id, which may have been made elsewhere."""
        return Job(self, self.do(self.api.refresh(id)))

    def get(self, id: str, timeout: Optional[float] = None) -> Any:
        """The result of the job of that id: see Job.result."""
        return self.job(id).result(timeout)

    def types(self) -> list[dict[str, Any]]:
        """The job types: name, summary, params (a JSON Schema), and more (openapi.yaml)."""
        types: list[dict[str, Any]] = self.do(self.api.types())
        return types

    def close(self) -> None:
        """Closes the connections that are idle. The client can still be used."""
        while True:
            try:
                self.pool.pop().close()
            except IndexError:
                return

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ---- how operations are done ----

    def do(self, steps: Steps) -> Any:
        """Does an operation. Returns its value."""
        return Performance(self.address, self.pool, steps).finish()

    def iterate(self, steps: Steps) -> Performance:
        """Begins an operation that yields values: the request is sent at once."""
        operation = Performance(self.address, self.pool, steps)
        operation.perform()
        return operation
