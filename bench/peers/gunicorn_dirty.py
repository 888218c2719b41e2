"""gunicorn's dirty workers, a pool of processes that gunicorn 25 brought, behind a WSGI application in threads.

The client of the dirty workers is one for each thread, with a connection of its own (get_dirty_client). An ASGI
application makes a client for each request; it took half as much CPU time again.
"""

import concurrent.futures
import json

import jobs
from gunicorn.dirty import DirtyApp, get_dirty_client

LARGEST_BODY = 1 << 20
TIMEOUT_S = 300
ANSWERS = {200: "200 OK", 400: "400 Bad Request", 404: "404 Not Found"}

# The threads that wait for the parts of a job, beside those that gunicorn has for requests.
parts = concurrent.futures.ThreadPoolExecutor(4 * jobs.WORKERS)


class Jobs(DirtyApp):
    def primes(self, start, stop):
        return jobs.primes(start, stop)

    def squares(self, start, stop):
        """As text: the protocol's integers have 64 bits."""
        return str(jobs.squares(start, stop))


def call(name, start, stop):
    return int(get_dirty_client(TIMEOUT_S).execute("gunicorn_dirty:Jobs", name, start, stop))


def count_primes(start, stop):
    """A long range goes to the pool in pieces, as many at a time as the pool has workers."""
    if stop - start <= jobs.PIECE:
        return call("primes", start, stop)
    left = jobs.Shared(jobs.pieces(start, stop))
    lanes = [parts.submit(lambda: sum(call("primes", *piece) for piece in left)) for _ in range(jobs.WORKERS)]
    return sum(lane.result() for lane in lanes)


def sum_squares(start, stop, chunks):
    return sum(parts.map(lambda part: call("squares", *part), jobs.parts(start, stop, chunks)))


def submit(body):
    """The status and what is answered."""
    try:
        job = json.loads(body)
        kind, start, stop = job["type"], job["params"]["start"], job["params"]["stop"]
        chunks = job.get("options", {}).get("chunks", 1)
        if not all(isinstance(n, int) for n in (start, stop, chunks)) or not (0 <= start <= stop and 1 <= chunks <= 1000):
            raise ValueError("out of range")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return 400, {"error": str(error)}
    if kind == "primes":
        return 200, {"result": {"count": count_primes(start, stop)}}
    if kind == "sum":
        return 200, {"result": {"sum": str(sum_squares(start, stop, chunks))}}
    return 400, {"error": "no such type"}


def app(environ, start_response):
    status, answer = 404, {"error": "no such path"}
    if environ["PATH_INFO"] == "/health":
        status, answer = 200, {"status": "ok"}
    elif environ["PATH_INFO"] == "/v1/jobs" and environ["REQUEST_METHOD"] == "POST":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        status, answer = submit(environ["wsgi.input"].read(min(length, LARGEST_BODY)))
    body = json.dumps(answer).encode()
    start_response(ANSWERS[status], [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
