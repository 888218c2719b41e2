"""Rows about large binary data: arrays that are changed in place, summed, or doubled by a Python function."""

import concurrent.futures
import contextlib
import http.client
import io
import json
import math
import os
import statistics
import subprocess
import sys
import time
from multiprocessing import resource_tracker, shared_memory

import measure
from report import Row, gives
from rows.weight import PROBES, Peak

try:
    import numpy as np
except ImportError:
    np = None

sys.path.append(os.path.join(measure.ROOT, "sdk", "python"))
import offload  # noqa: E402

if np is not None:
    import tasks_numpy

HERE = os.path.dirname(os.path.abspath(__file__))
GIB = 1 << 30
DOUBLES = 100_000_000
LARGE = ("--max-body", "2GiB", "--max-memory", "6GiB")
NPY = "application/x-npy"
SCALE = "/v1/jobs?type=array&op=scale&factor=2"
SUM = "/v1/jobs?type=array&op=sum"


def npy(numbers):
    """The bytes of a .npy file of a one-dimensional array of doubles, and the array in them."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (numbers,)})
    head = head.getvalue()
    file = bytearray(len(head) + 8 * numbers)
    file[: len(head)] = head
    return file, np.frombuffer(file, np.float64, offset=len(head))


def send(port, path, body, into=None):
    """Sends the body, and reads the answer: into `into`, a buffer of its size, or as JSON. The seconds, and the JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        start = time.monotonic()
        connection.request("POST", path, body, {"Content-Type": NPY, "Accept": "application/json" if into is None else NPY})
        answer = connection.getresponse()
        if answer.status != 200:
            raise measure.Wrong(f"POST {path} was answered {answer.status}: {answer.read()[:300]}")
        if into is None:
            return time.monotonic() - start, json.loads(answer.read())
        room, done = memoryview(into), 0
        while done < len(room) and (n := answer.readinto(room[done:])) > 0:
            done += n
        seconds = time.monotonic() - start
        if done != len(room) or answer.read(1) != b"":
            raise measure.Wrong(f"POST {path} was answered with {done} bytes instead of {len(room)}")
        return seconds, None


# ---- an array is doubled in place ------------------------------------------------------------------------------------


@contextlib.contextmanager
def mirror():
    """The bare libmicrohttpd server that gives back what it takes; its port."""
    process = subprocess.Popen([os.path.join(measure.BUILD, "bench", "mirror")], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()


@gives("array_in_place", "array_in_place_memory")
def in_place():
    """Rate and memory are measured in different uploads, because taking samples of memory takes time."""
    what = "1 GiB .npy is doubled in place and comes back"
    if np is None:
        yield Row("array_in_place", what, "ratio", [], ">= 0.8", skipped="python3-numpy is missing")
        return
    body, array = npy(GIB // 8)
    array[:] = np.arange(len(array))
    back = bytearray(len(body))
    found = np.frombuffer(back, np.float64, offset=len(body) - GIB)

    def ours(s):
        seconds, _ = send(s.port, SCALE, body, back)
        if not (found[:1000] == 2 * array[:1000]).all() or not (found[::4099] == 2 * array[::4099]).all():
            raise measure.Wrong("the array that came back is not twice the one that was sent")
        return seconds

    def theirs(port):
        seconds, _ = send(port, "/", body, back)
        if back != body:
            raise measure.Wrong("the peer gave back other bytes")
        return seconds

    def one_round(number):
        with measure.service(*LARGE) as s, mirror() as port:
            seconds = measure.alternate(number, lambda: ours(s), lambda: theirs(port))
        with measure.service(*LARGE) as s, Peak(s) as peak:  # one of its own, for a service keeps the result
            ours(s)
        return (*seconds, peak.bytes / GIB)

    done = measure.rounds(one_round)
    middle = [statistics.median(done.column(at)) for at in (0, 1)]
    yield Row("array_in_place", f"{what}: rate / that of upload and download alone, by libmicrohttpd", "ratio",
              [theirs / ours for ours, theirs, _ in done.results], ">= 0.8", done, f"{middle[0]:.2f} and {middle[1]:.2f} s")
    yield Row("array_in_place_memory", f"{what}: peak memory of all processes / size of the array", "ratio", done.column(2),
              "<= 1.1", done)


# ---- an array is summed ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def uvicorn(app):
    """An app of FastAPI in bench/peers, on a port that the kernel picks; its port."""
    sys.path.append(os.path.join(os.path.dirname(HERE), "peers"))
    import peers  # where FastAPI is installed

    peers.install_python("fastapi")
    with measure.scratch() as folder:
        path = os.path.join(folder, "log")
        with open(path, "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [peers.PYTHON, "-m", "uvicorn", app, "--port", "0", "--app-dir", peers.HERE, "--no-access-log"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield port_in(path, process)
        finally:
            process.terminate()
            process.wait()


def port_in(path, process):
    """The port that uvicorn has written to its log."""
    def found():
        with open(path, encoding="utf-8") as file:
            words = [line.rsplit(":", 1)[1].split()[0] for line in file if "Uvicorn running on" in line]
        if process.poll() is not None:
            raise measure.Wrong(f"uvicorn has ended: see {path}")
        return words

    measure.wait_until(found, "uvicorn listens", measure.START_LIMIT_S)
    return int(found()[0])


@gives("array_sum", "array_sum_livez_p99")
def array_sum():
    what = f"sum of {DOUBLES // 10**6} million doubles in a .npy"
    if np is None:
        yield Row("array_sum", what, "ratio", [], ">= 2", skipped="python3-numpy is missing")
        return
    body, array = npy(DOUBLES)
    array[:] = np.random.default_rng(1).random(DOUBLES)
    expected = math.fsum(array)

    def ours(s):
        seconds, job = send(s.port, SUM, body)
        if job["result"] != {"sum": expected}:
            raise measure.Wrong(f"the sum is {job['result']}, and not {expected}")
        return seconds

    def theirs(port):
        seconds, answer = send(port, "/sum", body)
        if not math.isclose(answer["sum"], expected, rel_tol=1e-9):
            raise measure.Wrong(f"FastAPI's sum is {answer['sum']}, and not {expected}")
        return seconds

    def one_round(number):
        with measure.service(*LARGE) as s:
            seconds = measure.alternate(number, lambda: ours(s), lambda: theirs(port))
            rest = measure.finish_load(measure.start_load(s, "/livez", None, *PROBES, "--seconds", "1"))
            probes = measure.start_load(s, "/livez", None, *PROBES, "--seconds", "3")
            while probes.poll() is None:
                ours(s)
            return (*seconds, measure.finish_load(probes)["p99_us"] / 1000, rest["p99_us"] / 1000)

    with uvicorn("numpy_sum:app") as port:
        done = measure.rounds(one_round)
    middle = [statistics.median(done.column(at)) for at in range(4)]
    yield Row("array_sum", f"{what}: rate / that of FastAPI and numpy with the same body", "ratio",
              [theirs / ours for ours, theirs, *_ in done.results], ">= 2", done, f"{middle[0]:.2f} and {middle[1]:.2f} s")
    yield Row("array_sum_livez_p99", f"{what}, one after the other: p99 of /livez meanwhile", "ms", done.column(2), "<= 3", done,
              f"idle {middle[3]:.2f} ms")


# ---- an array goes to a Python function and comes back ---------------------------------------------------------------


def by_hand(pool, array):
    """As one writes it with multiprocessing.shared_memory: the array is copied in, doubled in place, and copied out."""
    memory = shared_memory.SharedMemory(create=True, size=array.nbytes)
    try:
        shared = np.ndarray(array.shape, array.dtype, memory.buf)
        shared[:] = array
        pool.submit(tasks_numpy.double_shared, memory.name, len(array)).result()
        return shared.copy()
    finally:
        shared = None
        memory.close()
        memory.unlink()


@gives("python_array", "python_array_shared")
def python_array():
    what = "64 MiB array to a Python function and back, by the Python client over a Unix socket with --allow-shm"
    if np is None:
        yield Row("python_array", what, "ratio", [], ">= 5", skipped="python3-numpy is missing")
        return
    array = np.arange(float(8 << 20))

    def seconds_of(work):
        start = time.monotonic()
        got = work()
        seconds = time.monotonic() - start
        if not (got == 2 * array).all():
            raise measure.Wrong("the array that came back is not twice the one that was sent")
        return seconds

    spec = os.path.join(measure.ROOT, "bench", "tasks_numpy.py") + ":double"
    resource_tracker.ensure_running()  # one for all processes: each of its own would remove the memory of the others
    with measure.scratch("/tmp") as folder:
        path = os.path.join(folder, "socket")
        with measure.service("--listen", f"unix:{path}", "--allow-shm", "--python", spec, "--python-bin", sys.executable), \
                offload.Client(f"unix:{path}") as client, \
                concurrent.futures.ProcessPoolExecutor(len(measure.CPUS)) as pool:
            ways = (lambda: client.run("double", {"array": array}), lambda: pool.submit(tasks_numpy.double, array).result(),
                    lambda: by_hand(pool, array))

            def one_round(number):
                times = [seconds_of(ways[(number + i) % 3]) for i in range(3)]
                return [times[(at - number) % 3] for at in range(3)]

            one_round(0)
            done = measure.rounds(one_round)
    middle = [statistics.median(done.column(at)) * 1000 for at in range(3)]
    yield Row("python_array", f"{what}: rate / ProcessPoolExecutor's", "ratio", [b / a for a, b, _ in done.results], ">= 5", done,
              f"{middle[0]:.0f} and {middle[1]:.0f} ms")
    yield Row("python_array_shared", f"{what}: rate / shared_memory by hand", "ratio", [c / a for a, _, c in done.results],
              ">= 0.9", done, f"{middle[0]:.0f} and {middle[2]:.0f} ms")


ROWS = (in_place, array_sum, python_array)
