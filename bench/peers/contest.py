"""One contestant (offloadd or a peer) in one round: its processes, the three jobs, and what they took. See bench/peers/run."""

import contextlib
import glob
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import measure
import peers

CONNECTIONS = 32
WARM_S, TINY_S, PACED_S = 2, 3, 5
SUM_STOP, CHUNKS, SUM_REPEATS = 20_000_000, 4, 3
SUM = {"type": "sum", "params": {"start": 0, "stop": SUM_STOP, "power": 2}, "options": {"chunks": CHUNKS}}
SUM_OF_SQUARES = str((SUM_STOP - 1) * SUM_STOP * (2 * SUM_STOP - 1) // 6)
GIANT = {"type": "primes", "params": {"start": 0, "stop": 10**12}}
PIECES, PRIMES_IN_PIECES = {"type": "primes", "params": {"start": 0, "stop": 10**8}}, 5761455
PACED_RATE = 50  # tiny jobs a second under the giant one
PACED_CONNECTIONS = 16  # a late answer then seldom delays the next request
HEALTH_RATE, HEALTH_CONNECTIONS = 100, 2
HELD_NS = 50_000_000
ANSWER_S = 60


class Served:
    """A contestant that speaks HTTP."""

    def __init__(self, port, health, ready, prefix=""):
        self.port, self.health, self.ready, self.prefix = port, health, ready, prefix

    def named(self, job):
        """The job, with the type by the name that it has here. Where the types have a prefix, those of large jobs are split
        by Python code, and tiny ones have a type that is not."""
        if job is None or self.prefix == "":
            return job
        return {**job, "type": self.prefix + ("tiny" if job == measure.TINY else job["type"])}

    def request(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def result(self, job, member, expected):
        status, body = self.request("POST", "/v1/jobs", self.named(job))
        if status != 200 or json.loads(body)["result"].get(member) != expected:
            raise measure.Wrong(f"{job} was answered {status}: {body[:300]}; expected {member} {expected}")

    def is_ready(self):
        try:
            return self.request("GET", self.ready)[0] == 200
        except OSError:
            return False

    def load(self, path, body, *options):
        command = [os.path.join(measure.BUILD, "bench", "load"), *map(str, options), str(self.port), path]
        body = self.named(body)
        return subprocess.Popen(command + ([] if body is None else [json.dumps(body)]), stdout=subprocess.PIPE, text=True)

    def tiny(self, seconds):
        figures = measure.finish_load(self.load("/v1/jobs", measure.TINY, "--connections", CONNECTIONS, "--seconds", seconds))
        self.result(measure.TINY, "count", measure.TINY_PRIMES)  # and the requests that were on their way are done
        return figures["rate"], figures["requests"]

    def warm_up(self):
        self.result(measure.TINY, "count", measure.TINY_PRIMES)  # and the workers behind the front end are there
        self.load("/v1/jobs", measure.TINY, "--connections", CONNECTIONS, "--seconds", WARM_S).wait()
        self.result(measure.TINY, "count", measure.TINY_PRIMES)

    def check_pieces(self):
        """A small giant job: its pieces are the whole range."""
        self.result(PIECES, "count", PRIMES_IN_PIECES)

    def sum_seconds(self):
        start = time.monotonic()
        self.result(SUM, "sum", SUM_OF_SQUARES)
        return time.monotonic() - start

    @contextlib.contextmanager
    def giant(self):
        body = json.dumps(self.named(GIANT))
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
                               f"{len(body)}\r\n\r\n{body}".encode())
            yield

    def paced(self):
        """The p50 and p99 of tiny jobs, and the p99 of what asks for its health meanwhile, in us."""
        tiny = self.load("/v1/jobs", measure.TINY, "--connections", PACED_CONNECTIONS, "--rate", PACED_RATE, "--seconds", PACED_S)
        health = self.load(self.health, None, "--connections", HEALTH_CONNECTIONS, "--rate", HEALTH_RATE, "--seconds", PACED_S)
        tiny, health = measure.finish_load(tiny), measure.finish_load(health)
        return tiny["p50_us"], tiny["p99_us"], health["p99_us"]


class Direct:
    """bench/peers/executor.py: it makes the calls and measures them itself."""

    def __init__(self, process):
        self.process = process

    def is_ready(self):
        return True

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if line == "":
            raise measure.Wrong(f"executor.py ended at: {words}")
        return json.loads(line)

    def tiny(self, seconds):
        figures = self.ask("tiny", CONNECTIONS, seconds)
        return figures["rate"], figures["requests"]

    def warm_up(self):
        self.tiny(WARM_S)

    def check_pieces(self):
        pass  # there is nobody who waits for its giant job

    def sum_seconds(self):
        figures = self.ask("sum", CHUNKS)
        if figures["sum"] != SUM_OF_SQUARES:
            raise measure.Wrong(f"executor.py: {figures}")
        return figures["seconds"]

    @contextlib.contextmanager
    def giant(self):
        self.ask("giant")
        yield

    def paced(self):
        figures = self.ask("paced", PACED_RATE, PACED_S)
        return figures["p50_us"], figures["p99_us"], None


# ---- processes -------------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end_all():
    """Kills all processes that come from this one, and those that their end leaves behind: they become children of this
    process (measure.adopt_orphans). Parents first, so that none starts another child in place of one that has ended."""
    while pids := measure.descendants(os.getpid()):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        time.sleep(0.01)


def offload_commands(port, _):
    return [peers.Command([os.path.join(measure.BUILD, "offloadd"), "--listen", f"127.0.0.1:{port}", "--data-dir", "none"])]


OFFLOAD = peers.Peer("offload", "offloadd", lambda: None, offload_commands)


@contextlib.contextmanager
def running(contestant):
    """Starts it, and waits until it answers. At the end nothing of it is left."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OFFLOAD_")}
    with tempfile.TemporaryDirectory(prefix="offload-peers-") as directory:
        log = os.path.join(directory, "log")
        processes = []
        try:
            with open(log, "ab") as output:
                for command in contestant.start(port, directory):
                    processes.append(subprocess.Popen(
                        command.arguments, executable=command.executable, text=True, start_new_session=True,
                        stdin=subprocess.DEVNULL if contestant.http else subprocess.PIPE,
                        stdout=output if contestant.http else subprocess.PIPE, stderr=output,
                        env={**environment, **command.environment, "TMPDIR": directory,
                             "PYTHONPYCACHEPREFIX": os.path.join(peers.SCRATCH, "pycache")}))
            if contestant is OFFLOAD:
                c = Served(port, "/livez", "/readyz")
            elif contestant.name == "python":
                c = Served(port, "/livez", "/readyz", "py_")
            else:
                c = Served(port, "/health", "/health") if contestant.http else Direct(processes[0])

            def is_ready():
                ended = [p.args for p in processes if p.poll() is not None]
                if ended:
                    raise measure.Wrong(f"this program ended: {ended[0]}")
                return c.is_ready()

            try:
                measure.wait_until(is_ready, f"{contestant.title} answers", measure.START_LIMIT_S)
                yield c
            except Exception as error:
                with open(log, encoding="utf-8", errors="replace") as file:
                    raise measure.Wrong(f"{contestant.title}: {error}\n{file.read()[-3000:]}") from error
        finally:
            end_all()


# ---- what is measured ------------------------------------------------------------------------------------------------


def threads_ns():
    """The CPU time of each thread that comes from this process."""
    found = {}
    for pid in measure.descendants(os.getpid()):
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                found[path] = int(file.read().split()[0])
    return found


def wait_until_held():
    """Waits until the giant job is seen to run everywhere: as many threads have worked as there are CPUs."""
    before = threads_ns()

    def held():
        used = (ns - before.get(path, 0) for path, ns in threads_ns().items())
        return sum(ns >= HELD_NS for ns in used) >= len(measure.CPUS)

    measure.wait_until(held, "the giant job has every worker")


def run_once(contestant):
    """The figures of one contestant in one round."""
    with running(contestant) as c:
        c.warm_up()
        family = measure.descendants(os.getpid())
        before = measure.cpu_ns(family)
        rate, requests = c.tiny(TINY_S)
        cpu_us = (measure.cpu_ns(family) - before) / requests / 1000
        sum_ms = statistics.median(c.sum_seconds() for _ in range(SUM_REPEATS)) * 1000
        with c.giant():
            wait_until_held()
            p50_us, p99_us, health_us = c.paced()
            wait_until_held()  # it is still there
    figures = {"tiny_per_s": rate, "tiny_cpu_us": cpu_us, "sum_ms": sum_ms, "giant_p50_ms": p50_us / 1000,
               "giant_p99_ms": p99_us / 1000}
    return figures if health_us is None else {**figures, "giant_health_p99_ms": health_us / 1000}


def try_it(contestant):
    """Starts it for the first time. Raises Unavailable if it does not start, and Wrong if what it answers is wrong."""
    started = False
    try:
        with running(contestant) as c:
            started = True
            c.warm_up()
            c.sum_seconds()
            c.check_pieces()
    except measure.Wrong as wrong:
        if started:
            raise
        raise peers.Unavailable("it did not start: " + str(wrong).strip().splitlines()[-1][:200]) from wrong
