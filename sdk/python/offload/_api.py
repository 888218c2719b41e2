"""What the clients do, without input and output: what is asked, how an answer is read, and when to try again.

Each operation is a generator. It yields what is to be done, and is sent what has come of it; its value is that of the
operation. Client and AsyncClient do the same things in their own ways:

    Call    a request whose answer is read as a whole           → Response, or Lost is raised at the `yield`
    Open    a request whose answer is a stream                  → Response without its body, or Lost
    READ    the next bytes of that stream                       → bytes, b"" at its end, or Lost
    Sleep   so many seconds
    Work    a function that takes some time
    Batch   values for the one who iterates (maps and events)

Every submission has an Idempotency-Key of its own. So whatever is lost can be sent again, and nothing runs twice.
"""

from __future__ import annotations

import collections
import errno
import json
import math
import random
import re
import socket
import ssl
import time
import types
import urllib.parse
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional, Union

from ._annotations import Shape, shape_of_result
from ._bodies import Form, binary_part, mixed_parts, read_binary
from ._errors import NoJson, Unfit
from ._failures import HTTPError, JobCancelled, OffloadError, Unavailable, failure_of, invalid_params
from ._http import Body, Broken, Closed, Lines, Response, retry_after
from ._shared import FROM as SHARED_FROM
from ._shared import MAX_CALLS, MAX_TEXT
from ._tasks import definition_of
from ._values import EXACT, encode, to_json

WAIT_S = 20  # of one long poll
QUIET_S = 60.0  # without a byte of the answer: the connection is lost
PROBE_S = 10.0
CANCEL_S = 5.0  # for the cancelling of what nobody waits for any more
RETRY_FOR_S = 60.0
MIN_PAUSE_S = 0.05
MAX_PAUSE_S = 5.0
AWAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EMFILE, errno.ENFILE)  # it may end
ENDED = ("succeeded", "failed", "cancelled")
PROBLEM = "application/problem+json"
MIXED = "multipart/mixed"
BARE_TYPES = ("application/octet-stream", "application/x-npy")
BARE = "".join(f", {name};q=0.5" for name in BARE_TYPES)
WHOLE_BYTES = 64 << 20  # of the results of a map, which are fetched in one request
NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"

Function = Union[str, Callable[..., Any]]
Params = Mapping[str, Any]


class Lost(Exception):
    """There is no answer. `cause`: why.

    again: it can help to ask again. stale: the connection was an old one, and has failed before anything came. quiet:
    the connection is there, but nothing has come for a long time. expired: the deadline of the call is over.
    """

    def __init__(
        self,
        cause: BaseException,
        *,
        again: bool = True,
        stale: bool = False,
        quiet: bool = False,
        expired: bool = False,
    ) -> None:
        super().__init__(str(cause) or type(cause).__name__)
        self.cause, self.again, self.stale, self.quiet, self.expired = cause, again, stale, quiet, expired


def lost_by(error: Exception, call: Call, *, connecting: bool = False, stale: bool = False) -> Lost:
    """What an error of the network means. stale: the connection was used before, and nothing of an answer has come."""
    if isinstance(error, (TimeoutError, socket.timeout)):
        expired = call.deadline is not None and time.monotonic() >= call.deadline
        why = TimeoutError("no connection was made in time" if connecting else "nothing came for a long time")
        return Lost(why, expired=expired, quiet=not connecting)
    closed = isinstance(error, (ConnectionError, Closed))
    away = isinstance(error, (FileNotFoundError, BlockingIOError, ssl.SSLEOFError)) or (
        isinstance(error, OSError) and error.errno in AWAY
    )
    return Lost(error, again=closed or away, stale=stale and closed)


class Call:
    """A request. deadline: as of time.monotonic(). patience: seconds without a byte, then it is lost."""

    __slots__ = ("method", "target", "headers", "body", "deadline", "patience")

    def __init__(
        self, method: str, target: str, headers: dict[str, str], body: Body = b"", deadline: Optional[float] = None
    ) -> None:
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.deadline = deadline
        self.patience = QUIET_S


def time_left(call: Call) -> float:
    """The seconds for the next step of the socket. Raises a TimeoutError if there are none."""
    if call.deadline is None:
        return call.patience
    left = call.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time is over")
    return min(left, call.patience)


class Open(Call):
    """A request whose answer is a stream."""

    __slots__ = ()


class Read:
    """The next bytes of the stream."""


class Sleep(NamedTuple):
    seconds: float


class Work(NamedTuple):
    function: Callable[[], None]


class Batch(NamedTuple):
    values: list[Any]


MAX_EVENT_LINES = 10_000
EVENT_ID = re.compile(rb"[!-~]{1,255}")

READ = Read()
Steps = Generator[Any, Any, Any]


class Event(NamedTuple):
    """What has happened to a job. name: status, item, log, progress, snapshot or end; data: see openapi.yaml."""

    name: str
    data: dict[str, Any]
    id: str


# ---- what is sent ----------------------------------------------------------------------------------------------------

SECONDS = {"timeout": "timeout_ms", "queue_timeout": "queue_timeout_ms", "delay": "delay_ms"}
AS_THEY_ARE = ("priority", "max_attempts", "chunks", "isolation", "webhook")
OPTIONS = (*SECONDS, "ttl", *AS_THEY_ARE)


def job_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a submission: times are in seconds here."""
    options: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in SECONDS or name == "ttl":
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
                raise ValueError(f"{name} is a number of seconds, not {value!r}")
            options[SECONDS.get(name, "ttl_s")] = math.ceil(value) if name == "ttl" else math.ceil(value * 1000)
        elif name in AS_THEY_ARE:
            options[name] = value
        else:
            raise TypeError(f"a job has no option {name!r}; there are {', '.join(OPTIONS)}")
    return options


def json_value(name: str, value: Any, form: Optional[Form] = None) -> Any:
    kind = type(value)
    if value is None or kind is bool or kind is str or (kind is int and -EXACT <= value <= EXACT):
        return value
    try:
        if isinstance(value, Handle):
            return {"job": value.id}
        part = None if form is None or kind is float else binary_part(value, name)
        if part is not None and form is not None:
            return form.add(value, *part)
        return to_json(value, name)
    except NoJson as error:
        raise TypeError(str(error)) from None


def json_params(params: Params, what: str = "", form: Optional[Form] = None) -> dict[str, Any]:
    """The parameters of one call. Raises a TypeError for what JSON cannot hold. form: takes those that are bytes."""
    if not isinstance(params, Mapping):
        raise TypeError(f"{what}the parameters are a dict of names and values, not {type(params).__name__}")
    result = {}
    for name, value in params.items():
        if type(name) is not str:
            raise TypeError(f"{what}the name of a parameter is a string, not {name!r}")
        result[name] = json_value(f"{what}parameter {name}", value, form)
    return result


def is_column(value: Any) -> bool:
    if isinstance(value, (str, bytes, bytearray, memoryview, Mapping)):
        return False
    return isinstance(value, (Sequence, Iterator)) or bool(getattr(value, "ndim", 0))


def json_column(name: str, value: Any, form: Form) -> list[Any]:
    items = value.tolist() if getattr(value, "ndim", 0) == 1 else list(value)
    if not any(isinstance(item, (bytes, bytearray, memoryview)) for item in items):
        try:
            return list(to_json(items))
        except NoJson:  # of arrays, perhaps: each element is a parameter
            pass
    return [json_value(f"column {name}", item, form) for item in items]


class Submission:
    """A job that is to be made: the body, and the key that makes it one job however often it is sent.

    read: makes the Python value of a result. count: how many calls a map has.
    """

    def __init__(
        self,
        function: Function,
        given: Mapping[str, Any],
        *,
        params: Optional[Params] = None,
        items: Optional[Iterable[Params]] = None,
        columns: Optional[Mapping[str, Any]] = None,
    ) -> None:
        given = dict(given)
        key = given.pop("idempotency_key", None)
        self.key = str(uuid.uuid4()) if key is None else key
        if not isinstance(self.key, str):
            raise TypeError(f"an idempotency_key is a string, not {type(key).__name__}")
        self.type, self.read = type_of(function)
        self.form = Form()
        self.by_columns = columns is not None
        body: dict[str, Any] = {"type": self.type}
        self.count = 1
        if columns is not None:
            if not isinstance(columns, Mapping):
                raise TypeError(f"columns are a dict of names and lists, not {type(columns).__name__}")
            lists = {name: json_column(name, value, self.form) for name, value in columns.items() if is_column(value)}
            others = {name: value for name, value in columns.items() if name not in lists}
            self.count = max(map(len, lists.values()), default=0)
            body["columns"] = {**json_params(others, form=self.form), **lists}
        elif items is not None:
            body["items"] = [json_params(item, f"item {i}: ", self.form) for i, item in enumerate(items)]
            self.count = len(body["items"])
        else:
            body["params"] = json_params({} if params is None else params, form=self.form)
        options = job_options(given)
        if options:
            body["options"] = options
        self.document = body
        self.shared = False
        self.encode()

    def encode(self) -> None:
        sent = self.form.fill_slots()
        try:
            text = encode(self.document)
        except (ValueError, TypeError, RecursionError) as error:
            raise TypeError(f"JSON cannot hold the parameters: {error}") from None
        self.text_size = len(text)
        self.content_type, self.body = self.form.finish(text, sent)

    def is_shareable(self) -> bool:
        """Has it large parts that can be shared memory?"""
        large = any(part.size >= SHARED_FROM for part in self.form.parts)
        return large and self.text_size < MAX_TEXT // 2 and self.count <= MAX_CALLS

    def share(self) -> None:
        """Writes its large parts into shared memory. If there is no room, they are sent."""
        try:
            for part in self.form.parts:
                if part.size >= SHARED_FROM:
                    part.share()
        except OSError:
            return self.unshare()
        self.shared = True
        self.encode()

    def unshare(self) -> None:
        """The job has ended, or the parts are to be sent."""
        for part in self.form.parts:
            part.unshare()
        if self.shared:
            self.shared = False
            self.encode()

    def result(self, value: Any) -> Any:
        return read_result(self.read, value)


def map_of(
    function: Function,
    params: Optional[Iterable[Params]],
    columns: Optional[Mapping[str, Any]],
    given: Mapping[str, Any],
) -> Submission:
    if (params is None) == (columns is None):
        raise TypeError("a map takes the parameters of each call, or columns")
    return Submission(function, given, items=params, columns=columns)


def type_of(function: Function) -> tuple[str, Optional[Shape]]:
    """The name of the type, and what its results are read with."""
    if isinstance(function, str):
        return function, None
    definition = definition_of(function)
    if definition is not None:
        return definition.name, shape_of_result(definition.function)
    if isinstance(function, (types.FunctionType, types.BuiltinFunctionType)):
        return function.__name__, shape_of_result(function)
    raise TypeError(f"a job type is a name, a task or a function, not {type(function).__name__}")


def read_result(shape: Optional[Shape], value: Any) -> Any:
    """As the task has returned it, if its return annotation tells: integers that came as strings are int."""
    if shape is None or value is None:
        return value
    try:
        return shape.read(value)
    except Unfit:
        return value


# ---- what comes ------------------------------------------------------------------------------------------------------


def parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OffloadError(f"the service has sent what is no JSON: {error}") from None


def problem_of(response: Response) -> dict[str, Any]:
    """The problem document of an answer; or one that is made up, if it is not from offload."""
    if response.media_type() in (PROBLEM, "application/json"):
        try:
            problem = parse(response.body)
            if isinstance(problem, dict) and "code" in problem:
                return {"status": response.status, **problem}
        except OffloadError:
            pass
    return {"status": response.status, "code": "", "detail": "what has answered is not offload"}


def error_of(response: Response) -> Exception:
    """The exception for an answer that is no success: the job has failed, or the service has refused the request."""
    problem = problem_of(response)
    job = problem.get("job")
    if isinstance(job, str) or problem["code"] == "cancelled":
        return failure_of(problem, job if isinstance(job, str) else None)
    return invalid_params(problem) if problem["code"] == "invalid_params" else HTTPError(problem)


def document_of(response: Response) -> dict[str, Any]:
    """The Job that an answer has."""
    document = parse(response.body) if response.media_type() == "application/json" else None
    if not isinstance(document, dict) or not isinstance(document.get("id"), str) or "status" not in document:
        raise HTTPError(problem_of(response))
    return document


def job_path(job_id: str) -> str:
    if not isinstance(job_id, str) or not job_id:
        raise TypeError(f"the id of a job is a string, not {job_id!r}")
    return "/v1/jobs/" + urllib.parse.quote(job_id, safe="")


class Patience:
    """How long to try again. `began` is when trouble began; answers end it."""

    def __init__(self, seconds: Optional[float]) -> None:
        self.seconds = seconds
        self.calm()

    def calm(self) -> None:
        self.began: Optional[float] = None
        self.tries = 0

    def pause(self, named: Optional[float], error: HTTPError, cause: Optional[BaseException] = None) -> Sleep:
        """How long to wait now: as long as the service has named, else longer each time. Raises the error if that is
        longer than there is patience."""
        now = time.monotonic()
        if self.began is None:
            self.began = now
        wait = random.uniform(0.5, 1) * min(MAX_PAUSE_S, 0.05 * 2 ** min(self.tries, 20))
        if named is not None:
            wait = max(named, MIN_PAUSE_S)
        self.tries += 1
        if self.seconds is not None and now + wait > self.began + self.seconds:
            raise error from cause
        return Sleep(wait)

    def lost(self, lost: Lost) -> Sleep:
        problem = {"status": 0, "code": "unreachable", "detail": f"the service does not answer: {lost}"}
        if not lost.again:
            raise Unavailable(problem) from lost.cause
        if lost.stale and self.tries == 0:
            self.tries = 1
            return Sleep(0)
        return self.pause(None, Unavailable(problem), lost.cause)

    def refused(self, response: Response) -> Optional[Sleep]:
        """None: the answer counts. 429 and 503 do not, unless they are about the job; nor do the errors of proxies."""
        if response.status not in (429, 502, 503, 504):
            return None
        problem = problem_of(response)
        status = 503 if problem["code"] in ("", "draining") else response.status
        again = status == 429 or (status == 503 and ("job" not in problem or problem["code"] == "draining"))
        return self.pause(retry_after(response.headers), Unavailable(problem)) if again else None


# ---- what is done ----------------------------------------------------------------------------------------------------


class Api:
    """The operations on a service. key: for Authorization. retry_for: seconds; None: for ever. local: it is on this
    machine, so large parameters are shared with it, until it is seen that it does not take that."""

    def __init__(self, key: Optional[str], retry_for: Optional[float], local: bool = False) -> None:
        self.retry_for = retry_for
        self.shares = local
        self.headers = {"Accept": f"application/json, {PROBLEM}"}
        if key is not None:
            self.headers["Authorization"] = f"Bearer {key}"

    def get(self, target: str, **headers: str) -> Call:
        return Call("GET", target, {**self.headers, **headers})

    def post(self, submission: Submission, prefer: str) -> Call:
        headers = {**self.headers, "Content-Type": submission.content_type, "Prefer": prefer}
        headers["Idempotency-Key"] = submission.key
        return Call("POST", "/v1/jobs", headers, submission.body)

    def ask(self, call: Call) -> Steps:
        """The answer to a call, after as many tries as it takes."""
        patience = Patience(self.retry_for)
        while True:
            try:
                response: Response = yield call
                pause = patience.refused(response)
                if pause is None:
                    return response
            except Lost as lost:
                if lost.expired:
                    raise
                pause = yield from self.recover(lost, patience)
            if call.deadline is not None and time.monotonic() + pause.seconds > call.deadline:
                raise Lost(TimeoutError("the time is over"), expired=True)
            yield pause

    def recover(self, lost: Lost, patience: Patience) -> Steps:
        """How long to wait before what was lost is sent again. A service that is silent can be busy: with large params,
        for example, it cannot say much before a worker has looked at them. Then there is no end to the patience."""
        if lost.quiet:
            probe = self.get("/livez", Accept="*/*")
            probe.deadline = time.monotonic() + PROBE_S
            try:
                response: Response = yield probe
                if response.status == 200:
                    patience.calm()
                    return Sleep(0)
            except Lost:
                pass
        return patience.lost(lost)

    def succeed(self, call: Call) -> Steps:
        """The answer, if it is 200; else the exception that it stands for."""
        response: Response = yield from self.ask(call)
        if response.status != 200:
            raise error_of(response)
        return response

    # ---- one job ----

    def submit(self, submission: Submission) -> Steps:
        """Makes a job. Returns its document."""
        response: Response = yield from self.ask(self.post(submission, "respond-async"))
        if response.status not in (200, 202):
            error = error_of(response)
            job = problem_of(response).get("job")
            if not isinstance(job, str):
                raise error
            return (yield from self.refresh(job))  # it has ended already, and badly
        return document_of(response)

    def run(self, submission: Submission) -> Steps:
        """Makes a job, and waits for its result. Whoever gives up the wait cancels the job."""
        document: Optional[dict[str, Any]] = None
        try:
            yield from self.share(submission)
            response: Response = yield from self.ask(self.run_call(submission))
            if self.is_unshared(submission, response):
                response = yield from self.ask(self.run_call(submission))
            if response.status not in (200, 202):
                raise (yield from self.explain(error_of(response)))
            if response.status == 200 and response.media_type() in BARE_TYPES:
                return read_binary(response.body, response.media_type(), submission.read)
            document = document_of(response)
            document = yield from self.wait(document)
        except BaseException as error:
            if not isinstance(error, Exception):  # KeyboardInterrupt, asyncio.CancelledError
                yield from self.abandon(submission, document)
            raise
        finally:
            submission.unshare()
        return (yield from self.result(document, submission.read))

    def run_call(self, submission: Submission) -> Call:
        call = self.post(submission, f"wait={WAIT_S}")
        call.headers["Accept"] += BARE
        return call

    def share(self, submission: Submission) -> Steps:
        """Writes its large parts into shared memory, if the service may take that."""
        if self.shares and submission.is_shareable():
            yield Work(submission.share)

    def is_unshared(self, submission: Submission, response: Response) -> bool:
        """The service does not take shared memory: the parts are sent now, and those of what follows at once."""
        if not submission.shared or response.status != 422:
            return False
        problem = problem_of(response)
        if "job" in problem or "shared memory" not in str(problem.get("detail")):
            return False
        self.shares = False
        submission.unshare()
        return True

    def explain(self, error: Exception) -> Steps:
        """The same exception with the remote traceback, which only the Job has."""
        job_id = getattr(error, "job_id", None)
        if job_id is None or not getattr(error, "exception", ""):
            return error
        try:
            document = yield from self.refresh(job_id)
        except OffloadError:
            return error
        return failure_of(document["error"], job_id) if isinstance(document.get("error"), dict) else error

    def wait(self, document: dict[str, Any], deadline: Optional[float] = None) -> Steps:
        """Waits until the job has ended. Returns its document. Raises a TimeoutError at the deadline (as of
        time.monotonic()); one that is over already is a single look."""
        while document["status"] not in ENDED:
            left = math.inf if deadline is None else deadline - time.monotonic()
            call = self.get(job_path(document["id"]))
            if left > 0:
                call.headers["Prefer"] = f"wait={math.ceil(min(WAIT_S, left))}"
                call.deadline = deadline
            try:
                document = document_of((yield from self.succeed(call)))
            except Lost:
                left = 0.0
            if left <= 0 and document["status"] not in ENDED:
                raise TimeoutError(f"the job {document['id']} has not ended in time")
        return document

    def result(self, document: dict[str, Any], read: Optional[Shape]) -> Steps:
        """The result of a job that has ended."""
        if document["status"] != "succeeded":
            raise self.failure(document)
        binary = "result_media_type" in document
        if binary and str(document["result_media_type"]).startswith(MIXED):
            return (yield from self.mixed(document, read))
        if "result" in document and not binary:
            return read_result(read, document["result"])
        response: Response = yield from self.succeed(self.get(job_path(document["id"]) + "/result", Accept="*/*"))
        return self.value(response.media_type(), response.body, read)

    def value(self, media_type: str, body: Any, read: Optional[Shape]) -> Any:
        if media_type == "application/json":
            return read_result(read, parse(bytes(body)))
        return read_binary(body, media_type, read)

    def mixed(self, document: dict[str, Any], read: Optional[Shape]) -> Steps:
        """The result of a map of which some items are bytes, as that of another map, with the bytes in their places."""
        response: Response = yield from self.succeed(self.get(job_path(document["id"]) + "/result", Accept="*/*"))
        items: list[Any] = []
        for media_type, body in self.parts(response):
            if media_type == PROBLEM:
                items.append({"status": "failed", "error": parse(bytes(body))})
            else:
                items.append({"status": "succeeded", "result": self.value(media_type, body, read)})
        return {"items": items}

    def parts(self, response: Response) -> list[tuple[str, memoryview]]:
        try:
            return mixed_parts(response.headers.get("content-type", ""), response.body)
        except Broken as broken:
            raise OffloadError(f"the service has sent what is no result of a map: {broken}") from None

    def fetch(self, answers: Answers) -> Steps:
        """Gets the bytes of those results that are not JSON: all in one request, or one by one if they are large."""
        path, read = answers.path + "/result", answers.submission.read
        response: Optional[Response] = None
        if sum(answers.missing.values()) <= WHOLE_BYTES and len(answers.missing) > 1:
            response = yield from self.succeed(self.get(path, Accept="*/*"))
        if response is not None and response.media_type() == MIXED:
            found = self.parts(response)
            if len(found) != answers.submission.count:
                raise OffloadError("the service has sent another number of results than there are calls")
            for index in answers.missing:
                answers.waiting[index] = (True, self.value(*found[index], read))
        else:
            for index in answers.missing:
                response = yield from self.succeed(self.get(f"{path}/{index}", Accept="*/*"))
                answers.waiting[index] = (True, self.value(response.media_type(), response.body, read))
        answers.missing.clear()

    def failure(self, document: dict[str, Any]) -> Exception:
        """The exception of a job that did not succeed."""
        error, job_id = document.get("error"), document["id"]
        if document["status"] == "cancelled" or not isinstance(error, dict):
            problem = {"code": document["status"], "status": 409, "detail": f"the job was {document['status']}"}
            return JobCancelled(problem, job_id) if document["status"] == "cancelled" else failure_of(problem, job_id)
        return failure_of(error, job_id)

    def refresh(self, job_id: str) -> Steps:
        return document_of((yield from self.succeed(self.get(job_path(job_id)))))

    def cancel(self, job_id: str) -> Steps:
        """Cancels a job. Returns its document once no process works on it."""
        return document_of((yield from self.succeed(Call("POST", job_path(job_id) + "/cancel", self.headers))))

    def abandon(self, submission: Submission, document: Optional[dict[str, Any]]) -> Steps:
        """Cancels a job that nobody waits for any more, if that is quickly done. It asks by the key which job it is; if
        the service has not seen the request, the job is made, and cancelled before it has got far."""
        deadline = time.monotonic() + CANCEL_S
        try:
            if document is None:
                call = self.post(submission, "respond-async")
                call.deadline = deadline
                document = document_of((yield call))
            call = Call("POST", job_path(document["id"]) + "/cancel", self.headers, b"", deadline)
            yield call
        except (Lost, OffloadError):
            pass

    def types(self) -> Steps:
        response: Response = yield from self.succeed(self.get("/v1/types"))
        document = parse(response.body)
        if not isinstance(document, dict) or not isinstance(document.get("types"), list):
            raise HTTPError(problem_of(response))
        return document["types"]

    # ---- streams ----

    def open(self, call: Open, media_type: str) -> Steps:
        """Opens a stream. Another answer is returned with its body."""
        response: Response = yield call
        if response.status != 200 or response.media_type() != media_type:
            pieces = []
            while True:
                data = yield READ
                if not data:
                    break
                pieces.append(data)
            response.body = b"".join(pieces)
        return response

    def map(self, submission: Submission, return_exceptions: bool) -> Steps:
        """Yields the results in their order. A stream that is cut is asked for again; what came is not yielded twice.
        Whoever leaves before the end cancels the job."""
        answers = Answers(submission, return_exceptions)
        patience = Patience(self.retry_for)
        document: dict[str, Any] = {}
        try:
            yield from self.share(submission)
            while not answers.ended:
                call = self.post(submission, f"wait={WAIT_S}")
                headers = {**call.headers, "Accept": f"{NDJSON}, {PROBLEM}"}
                try:
                    response = yield from self.open(Open("POST", "/v1/jobs", headers, submission.body), NDJSON)
                    pause = patience.refused(response)
                    answers.path = response.headers.get("location", "")
                    if pause is None and response.media_type() == NDJSON and response.status == 200:
                        pause = yield from self.lines(response, answers, patience)
                    elif pause is None and response.status in (200, 202):
                        document = document_of(response)  # too many clients wait for their jobs
                        yield from self.whole(document, answers)
                    elif pause is None and not self.is_unshared(submission, response):
                        raise error_of(response)
                except Lost as lost:
                    pause = yield from self.recover(lost, patience)
                if answers.ended and answers.missing:
                    yield from self.fetch(answers)
                yield from self.hand_out(answers)
                if not answers.ended and pause is not None:
                    yield pause
        except BaseException:
            if not answers.ended:
                yield from self.abandon(submission, document or None)
            raise
        finally:
            submission.unshare()

    def lines(self, response: Response, answers: Answers, patience: Patience) -> Steps:
        """Reads a stream of lines. Returns how long to wait before it is asked for again, if it has no end."""
        lines = Lines()
        try:
            while True:
                data = yield READ
                if not data:
                    return patience.lost(Lost(Broken("the stream was cut")))
                found = lines.feed(data)
                if found:
                    if answers.feed(found):
                        patience.calm()
                    if answers.ended:
                        yield from self.drain()
                    if not (answers.ended and answers.missing):
                        yield from self.hand_out(answers)
                    if answers.ended:
                        return None
                    if answers.stopped is not None:
                        return patience.pause(None, Unavailable(answers.stopped))
        except Broken as broken:
            raise OffloadError(f"the service has sent what is no stream of results: {broken}") from None

    def drain(self) -> Steps:
        """Reads a stream to its end, so that the connection can be used again."""
        try:
            while (yield READ):
                pass
        except Lost:
            pass

    def hand_out(self, answers: Answers) -> Steps:
        values = answers.ready()
        while values:
            yield Batch(values)
            values = answers.ready()

    def whole(self, document: dict[str, Any], answers: Answers) -> Steps:
        """The results of a map by its result."""
        document = yield from self.wait(document)
        answers.take((yield from self.result(document, None)))

    def events(self, job_id: str) -> Steps:
        """Yields the events of a job until its end. A stream that is cut is resumed where it was."""
        target = job_path(job_id) + "/events"
        patience = Patience(self.retry_for)
        last = ""
        while True:
            headers = {**self.headers, "Accept": f"{EVENT_STREAM}, {PROBLEM}"}
            if last:
                headers["Last-Event-ID"] = last
            try:
                response = yield from self.open(Open("GET", target, headers), EVENT_STREAM)
                pause = patience.refused(response)
                if pause is None:
                    if response.status == 204:
                        return
                    if response.status != 200 or response.media_type() != EVENT_STREAM:
                        raise error_of(response)
                    reader = EventReader()
                    while True:
                        data = yield READ
                        if not data:
                            break
                        found = reader.feed(data)
                        if found:
                            patience.calm()
                            last = found[-1].id or last
                            yield Batch(found)
                            if found[-1].name == "end":
                                return
                    pause = patience.lost(Lost(Broken("the stream was cut")))
            except Lost as lost:
                pause = yield from self.recover(lost, patience)
            except Broken as broken:
                raise OffloadError(f"the service has sent what is no stream of events: {broken}") from None
            yield pause


class Operation:
    """The steps of an operation, one after the other. step: what is to be done now. values: what was yielded and not
    handed out yet. value: what has come of it, when it has ended. `at_end` is called then, whatever has happened."""

    def __init__(self, steps: Steps, at_end: Callable[[], None]) -> None:
        self.steps = steps
        self.at_end = at_end
        self.values: collections.deque[Any] = collections.deque()
        self.value: Any = None
        self.ended = False
        self.step: Any = None
        self.send(None)

    def send(self, outcome: Any) -> None:
        """What has come of the step. The next one is in `step`."""
        self.advance(self.steps.send, outcome)

    def throw(self, error: BaseException) -> None:
        """The step has failed."""
        self.advance(self.steps.throw, error)

    def advance(self, how: Callable[[Any], Any], what: Any) -> None:
        try:
            self.step = how(what)
        except StopIteration as stop:
            self.value, self.ended = stop.value, True
        except BaseException:
            self.ended = True
            raise
        finally:
            if self.ended:
                self.step = None
                self.at_end()

    def take(self) -> None:
        """The step is a Batch: keeps its values. They are handed out before it goes on, which can raise."""
        self.values.extend(self.step.values)
        self.step = Sleep(0)

    def leave(self) -> bool:
        """Nobody wants the values any more. Returns whether there are steps left to do for that reason."""
        self.values.clear()
        if not self.ended:
            try:
                self.throw(GeneratorExit())
            except GeneratorExit:
                pass
        return not self.ended


class Handle:
    """A job. `document` is the Job as it was seen last. read: makes the Python value of its result."""

    def __init__(self, document: dict[str, Any], read: Optional[Shape]) -> None:
        self.id: str = document["id"]
        self.document = document
        self.read = read

    @property
    def has_ended(self) -> bool:
        return self.document.get("status") in ENDED

    def __repr__(self) -> str:
        return f"<offload.{type(self).__name__} {self.id} {self.document.get('status')}>"


MISSING: Any = object()


def is_bytes_entry(result: dict[str, Any]) -> bool:
    """Is it what a map by columns shows in place of bytes? If a task has made an object like that, it is fetched, too."""
    return "result_media_type" in result and "result_size" in result and len(result) <= 3


class Answers:
    """The results of a map, as they come in any order. `ended`: all is said. `stopped`: the problem of a service that
    ends, whose successor has the job."""

    def __init__(self, submission: Submission, return_exceptions: bool) -> None:
        self.submission = submission
        self.return_exceptions = return_exceptions
        self.waiting: dict[int, Any] = {}
        self.missing: dict[int, int] = {}  # calls whose results are not JSON, and their sizes: they are fetched at the end
        self.path = ""  # of the job
        self.next = 0
        self.ended = False
        self.stopped: Optional[dict[str, Any]] = None

    def feed(self, lines: list[bytes]) -> bool:
        """Returns whether there is something new among the lines."""
        self.stopped = None
        before = len(self.waiting) + self.next
        for entry in parse(b"[" + b",".join(lines) + b"]"):
            index = entry.get("index") if isinstance(entry, dict) else None
            if index is not None:
                self.put(index, entry.get("status") == "succeeded", entry)
            elif isinstance(entry, dict) and "summary" in entry:
                self.finish()
            elif isinstance(entry, dict) and isinstance(entry.get("error"), dict):
                error = entry["error"]
                if error.get("code") == "draining":
                    self.stopped = error
                else:
                    self.ended = True
                    job = error.get("job")
                    raise failure_of(error, job if isinstance(job, str) else None)
            else:
                raise OffloadError("the service has sent a line that is no result")
        return len(self.waiting) + self.next > before

    def put(self, index: Any, succeeded: bool, entry: dict[str, Any]) -> None:
        if type(index) is not int or not 0 <= index < self.submission.count:
            raise OffloadError(f"the service has sent a result of the call {index!r}, which is not in the map")
        if index < self.next or index in self.waiting:
            return
        result = entry.get("result")
        if succeeded and isinstance(result, dict) and self.submission.by_columns and is_bytes_entry(result):
            entry = result
        if succeeded and "result_media_type" in entry:
            size = entry.get("result_size")
            self.missing[index] = size if type(size) is int else 0
            self.waiting[index] = MISSING
        elif succeeded:
            self.waiting[index] = (True, self.submission.result(result))
        else:
            error = entry.get("error")
            self.waiting[index] = (False, failure_of(error if isinstance(error, dict) else {}))

    def take(self, result: Any) -> None:
        """The result of the whole job, as {"items"} or {"results", "errors"}."""
        try:
            for index, entry in enumerate(result.get("items", ())):
                self.put(index, entry.get("status") == "succeeded", entry)
            for fault in result.get("errors", ()):
                self.put(fault.get("index"), False, fault)
            for index, value in enumerate(result.get("results", ())):
                self.put(index, True, {"result": value})
        except (AttributeError, TypeError):
            raise OffloadError("the service has sent what is no result of a map") from None
        self.finish()

    def finish(self) -> None:
        if self.next + len(self.waiting) != self.submission.count:
            raise OffloadError("the service has sent the end of a map, but not all of its results")
        self.ended = True

    def ready(self) -> list[Any]:
        """The results that are next in the order. Raises the exception of the first that has failed."""
        values: list[Any] = []
        while self.waiting.get(self.next, MISSING) is not MISSING:
            succeeded, value = self.waiting[self.next]
            if not succeeded and not self.return_exceptions:
                if not values:
                    raise value
                break  # those before it are first
            del self.waiting[self.next]
            self.next += 1
            values.append(value)
        return values


class EventReader:
    """Makes events of the bytes of a stream (WHATWG HTML, section 9.2)."""

    def __init__(self) -> None:
        self.lines = Lines()
        self.name, self.id = "message", ""
        self.data: list[bytes] = []
        self.size = 0

    def feed(self, data: bytes) -> list[Event]:
        found = []
        for line in self.lines.feed(data):
            line = line.rstrip(b"\r")
            field, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            if not line:
                if self.data:
                    content = parse(b"\n".join(self.data))
                    if not isinstance(content, dict):
                        raise Broken("an event has no object")
                    found.append(Event(self.name, content, self.id))
                self.name, self.data, self.size = "message", [], 0
            elif field == b"event":
                self.name = value.decode("utf-8", "replace")
            elif field == b"data":
                self.data.append(value)
                self.size += len(value) + 1
                if self.size > self.lines.max_line or len(self.data) > MAX_EVENT_LINES:
                    raise Broken("an event is too long")
            elif field == b"id" and EVENT_ID.fullmatch(value):
                self.id = value.decode("ascii")
        return found
