"""Executor: concurrent.futures on the processes of a service. The work is done by _dispatch.py."""

from __future__ import annotations

import collections
import concurrent.futures
import inspect
import itertools
import os
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, TypeVar, Union

from ._annotations import Shape
from ._api import RETRY_FOR_S, json_params, parse, read_result, type_of
from ._bodies import read_binary
from ._call import call_each
from ._client import Client
from ._dispatch import Dispatcher, Pending
from ._failures import HTTPError
from ._http import Address
from ._values import encode

if TYPE_CHECKING:
    from ._service import Service

T = TypeVar("T")
MAX_KNOWN = 1000  # functions whose signatures are remembered


class Future(concurrent.futures.Future[T]):
    """That of a call: a concurrent.futures.Future that can also stop a call which runs."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._dispatcher = dispatcher

    def stop(self) -> bool:
        """Cancels the call, even if it runs. False: it has ended already.

        A call that waits is cancelled, as by cancel(). If it runs, its job is cancelled at the service: the function
        gets `offload.Cancelled`, and its process is ended if that does not help. The future gets the exception
        JobCancelled at once. Short calls travel together, as one job: those that travel with this one and have not
        ended are sent again, each alone, so one that had begun runs again.
        """
        if self.cancel():
            return True
        if self.done():
            return False
        self._dispatcher.stop(self)
        return True


class Executor(concurrent.futures.Executor):
    """As concurrent.futures.ProcessPoolExecutor, with a service behind it.

    Executor(): the service is its own. It is started by the first call and ends with the script, however that ends. It
    runs the script's functions, in processes that import the main module as multiprocessing does. If a process dies,
    its call is tried again; then only that call fails, and the others go on. Arguments are those of
    ProcessPoolExecutor, in the same order. mp_context is accepted and not used. max_attempts: how often a call is
    tried if its process dies; 1: never again, as ProcessPoolExecutor has it.

    Executor("http://HOST:PORT"): a service that runs, with the functions that it offers. A call's function is a task,
    a function that has the name of a type, or that name. Positional arguments go by the signature of the function, or
    by the order in the schema of the type. The result is read as the function's return annotation says. max_workers:
    how many calls the service gets at a time (default: as many as it has workers, and two); key, ca, cert, cert_key: as
    those of Client; retry_for: for how many seconds a service is tried again that cannot be reached (None: for ever);
    max_attempts: as in the options of a job.

    After a fork the child cannot use an executor of its parent: submit raises a RuntimeError.
    """

    def __init__(
        self,
        max_workers: Union[int, str, None] = None,
        mp_context: Any = None,
        initializer: Optional[Callable[..., Any]] = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: Optional[int] = None,
        max_attempts: Optional[int] = None,
        url: Optional[str] = None,
        key: Optional[str] = None,
        ca: Optional[str] = None,
        cert: Optional[str] = None,
        cert_key: Optional[str] = None,
        retry_for: Optional[float] = RETRY_FOR_S,
    ) -> None:
        if isinstance(max_workers, str):
            if url is not None:
                raise TypeError("an Executor has one URL")
            max_workers, url = None, max_workers
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        for name, value in (("max_tasks_per_child", max_tasks_per_child), ("max_attempts", max_attempts)):
            if value is not None and not isinstance(value, int):
                raise TypeError(f"{name} must be an integer")
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be >= 1")
        self._own = url is None
        if url is None:
            if not (key is None and ca is None and cert is None and cert_key is None):
                raise TypeError("key, ca, cert and cert_key are for an Executor with a URL")
            self._dispatcher = Dispatcher(
                OwnBackend(max_workers, mp_context, initializer, initargs, max_tasks_per_child, max_attempts), None
            )
        else:
            if not (mp_context is None and initializer is None and max_tasks_per_child is None):
                raise TypeError("an Executor with a URL uses processes that are there: it has no say about them")
            client = Client(url, key=key, ca=ca, cert=cert, cert_key=cert_key, retry_for=retry_for)
            self._dispatcher = Dispatcher(UrlBackend(client, retry_for, max_attempts), max_workers)
        self._dispatcher.executor = weakref.ref(self, orphaner(self._dispatcher))

    def submit(self, fn: Union[Callable[..., T], str], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Schedules fn(*args, **kwargs), and returns its future at once, however many calls wait.

        Raises a RuntimeError after shutdown, and BrokenProcessPool if the service cannot be reached or started any
        more. What is wrong with the call itself (it cannot be pickled, say) is the exception of the future.
        """
        future: Future[T] = Future(self._dispatcher)
        self._dispatcher.submit(Pending(future, fn, args, kwargs))
        return future

    def map(
        self,
        fn: Union[Callable[..., T], str],
        *iterables: Iterable[Any],
        timeout: Optional[float] = None,
        chunksize: int = 1,
        buffersize: Optional[int] = None,
    ) -> Iterator[T]:
        """As the built-in map, with the calls made at the same time. The results are in order.

        timeout: seconds, from now, after which the iterator raises a TimeoutError. chunksize: so many calls are pickled
        together, and run one after the other; short calls travel together without it, too. With a URL it is not used.
        buffersize: only so many calls are scheduled ahead of the results that are taken (Python 3.14). The first call
        that has failed raises its exception, and the calls after it that have not begun are cancelled.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else timeout + time.monotonic()
        arguments: Iterator[tuple[Any, ...]] = zip(*iterables)
        if chunksize > 1 and self._own:
            alone = len(iterables) == 1  # then no tuples are needed
            source: Iterator[Any] = iter(iterables[0]) if alone else arguments
            chunks: Iterator[list[Any]] = iter(lambda: list(itertools.islice(source, chunksize)), [])
            columns = ((fn, chunk) if alone else (fn, *zip(*chunk)) for chunk in chunks)
            results: Iterator[Any] = self._map(call_each, columns, end, buffersize)
            return flatten(results)
        return self._map(fn, arguments, end, buffersize)

    def _map(
        self, fn: Any, arguments: Iterator[tuple[Any, ...]], end: Optional[float], buffersize: Optional[int]
    ) -> Iterator[Any]:
        futures = collections.deque(self.submit(fn, *args) for args in itertools.islice(arguments, buffersize))
        executor = weakref.ref(self)  # the iterator does not keep it alive

        def results() -> Iterator[Any]:
            try:
                while futures:
                    alive = executor() if buffersize is not None else None
                    if alive is not None:
                        futures.extend(alive.submit(fn, *args) for args in itertools.islice(arguments, 1))
                    del alive
                    yield result_of(futures.popleft(), end)
            finally:
                for future in futures:
                    future.cancel()

        return results()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more calls are taken. Those that are there are finished; cancel_futures: those that have not begun are
        cancelled. wait: returns when all have ended, and so has a service of its own."""
        self._dispatcher.shutdown(wait, cancel_futures)

    def __exit__(self, kind: Optional[type[BaseException]], value: Any, trace: Any) -> Literal[False]:
        """As shutdown(). After ctrl-C the calls that wait are cancelled, and those that run are stopped."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._dispatcher.abort()
        self.shutdown(wait=True)
        return False


def orphaner(dispatcher: Dispatcher) -> Callable[[Any], None]:
    return lambda reference: dispatcher.orphan()


def result_of(future: concurrent.futures.Future[Any], end: Optional[float]) -> Any:
    try:
        try:
            return future.result(None if end is None else end - time.monotonic())
        finally:
            future.cancel()
    finally:
        del future  # its exception has a traceback with this frame


def flatten(chunks: Iterator[list[Any]]) -> Iterator[Any]:
    """The results of chunks. It keeps none that was taken."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


# ---- the services ----------------------------------------------------------------------------------------------------


class OwnBackend:
    """A service of the executor's own: see _service.py."""

    own = True
    key: Optional[str] = None
    retry_for: Optional[float] = None
    max_attempts: Optional[int]

    def __init__(
        self,
        max_workers: Optional[int],
        mp_context: Any,
        initializer: Optional[Callable[..., Any]],
        initargs: tuple[Any, ...],
        max_tasks_per_child: Optional[int],
        max_attempts: Optional[int],
    ) -> None:
        from ._service import Service

        if mp_context is not None and mp_context.get_start_method() == "fork":
            text = "mp_context is not used: the processes import the main module, and do not have what it has set since"
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        attempts = self.max_attempts = 3 if max_attempts is None else max_attempts
        self.options: dict[str, Any] = {}
        self.service: Service = Service(max_workers, initializer, initargs, max_tasks_per_child, attempts)
        self.codec: Any = self.service.codec

    def start(self) -> None:
        self.service.start()

    def address(self) -> Address:
        return self.service.address

    def workers(self) -> int:
        return self.service.max_workers

    def stop(self) -> None:
        self.service.stop()


class UrlBackend:
    """A service that is there."""

    own = False

    def __init__(self, client: Client, retry_for: Optional[float], max_attempts: Optional[int]) -> None:
        self.client = client
        self.key, self.retry_for, self.max_attempts = client.key, retry_for, max_attempts
        self.options = {} if max_attempts is None else {"max_attempts": max_attempts}
        self.codec: Any = TaskCodec(self.client)

    def start(self) -> None:
        pass

    def address(self) -> Address:
        return self.client.address

    def workers(self) -> int:
        try:
            document = ask(self.client, "/v1/workers")
            count = sum(worker.get("lane") == "main" for worker in document["workers"])
        except (HTTPError, LookupError, TypeError, AttributeError) as error:
            if isinstance(error, HTTPError) and error.status == 0:
                raise
            count = 0  # the key may not ask
        return count or os.cpu_count() or 1

    def stop(self) -> None:
        self.client.close()


def ask(client: Client, target: str) -> Any:
    return parse(client.do(client.api.succeed(client.api.get(target))).body)


def names_in(schema: dict[str, Any]) -> list[str]:
    """The parameters of a type in their order; if there are several forms, of the first."""
    forms = schema.get("anyOf", [schema])
    return list(forms[0].get("properties", {}))


class Caller:
    """How a function is called. names: of its parameters, in their order; None: the service knows them."""

    def __init__(self, function: Any) -> None:
        self.type, self.shape = type_of(function)
        self.signature: Optional[inspect.Signature] = None
        self.names: Optional[list[str]] = None
        if isinstance(function, str):
            return
        self.signature = inspect.signature(function)
        kinds = [parameter.kind for parameter in self.signature.parameters.values()]
        self.names = list(self.signature.parameters)
        required = [p for p in self.signature.parameters.values() if p.default is p.empty]
        self.least = len(required)
        self.most = len(kinds) if set(kinds) <= {inspect.Parameter.POSITIONAL_OR_KEYWORD} else -1

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The parameters by name. Raises a TypeError."""
        assert self.names is not None
        if self.signature is None or (not kwargs and self.least <= len(args) <= self.most):
            if len(args) > len(self.names):
                raise TypeError(f"{self.type} takes {len(self.names)} parameters, and {len(args)} were given")
            params = dict(zip(self.names, args))
            for name in params.keys() & kwargs.keys():
                raise TypeError(f"{self.type} got multiple values for the parameter {name!r}")
            params.update(kwargs)
            return params
        params = {}
        for name, value in self.signature.bind(*args, **kwargs).arguments.items():
            kind = self.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                params.update(value)
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                raise TypeError(f"{self.type} cannot be called with *{name}: a job has its parameters by name")
            else:
                params[name] = value
        return params


class TaskCodec:
    """Calls of the functions that a service offers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.callers: dict[Any, Caller] = {}

    def pack(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, bytes, Optional[Shape]]:
        try:
            caller = self.callers.get(fn)
        except TypeError:  # it has no hash
            caller = None
        if caller is None:
            caller = Caller(fn)
            if len(self.callers) >= MAX_KNOWN:
                self.callers.clear()
            self.callers[fn] = caller
        if caller.names is None and args:
            caller.names = names_in(ask(self.client, "/v1/types/" + caller.type)["params"])
        params = kwargs if caller.names is None else caller.bind(args, kwargs)
        return caller.type, encode(json_params(params)), caller.shape

    def unpack(self, type: str, value: Any, token: Optional[Shape]) -> Any:
        return read_binary(value, "", token) if isinstance(value, bytes) else read_result(token, value)

    def release(self, token: Any) -> None:
        pass
