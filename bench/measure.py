"""What every benchmark here needs: a service of its own, the CPU time of processes, and rounds that are repeated if
something else disturbed them.

A measurement is a function that is called once a round and measures two things in turn (alternate). `rounds` calls it,
and looks at what else used the CPUs meanwhile: all of their time that was not idle, less what this program, the
processes that it has started, and the kernel's own threads took. That is the work of strangers, and time that the
hypervisor gave to others (steal).
"""

import collections
import contextlib
import ctypes
import dataclasses
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "contract"))
from service import Service  # noqa: E402 (the path is set just above)

BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
CPUS = sorted(os.sched_getaffinity(0))
TINY = {"type": "primes", "params": {"start": 0, "stop": 1000}}
TINY_PRIMES = 168
START_LIMIT_S = 30
END_LIMIT_S = 120
WRK_CONNECTIONS, WRK_SECONDS = 32, 2

DISTURBED_SHARE = 0.05
# /proc/stat counts in steps of 10 ms on each CPU, so less than this in a round says nothing.
DISTURBED_NS = 30_000_000
REPEATS = 3  # of one round at most


class Wrong(Exception):
    """An answer is not what it must be, so the time that it took means nothing."""


class settings:
    """What bench/run is asked for on its command line."""
    rounds = 6
    busy = False  # the machine is known to be busy: say so, and repeat no round


# ---- CPU time --------------------------------------------------------------------------------------------------------


def cpu_ns(pids):
    """The CPU time of those processes, in ns: of all their threads, those that have ended too. By the clock of a process
    (clock_getcpuclockid); the sum of /proc/PID/task/*/schedstat would miss the threads that have ended."""
    return sum(time.clock_gettime_ns(~pid << 3 | 2) for pid in pids)


def stat_fields(pid):
    """The fields of /proc/PID/stat behind the name: the state is the first, the number of the parent the second."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rsplit(")", 1)[1].split()


def user_and_system_ns(pids):
    """The same CPU time, as what the kernel counts for user mode and for itself. In steps of 10 ms a process."""
    step = 10**9 // os.sysconf("SC_CLK_TCK")
    fields = [stat_fields(pid) for pid in pids]
    return tuple(sum(int(f[at]) for f in fields) * step for at in (11, 12))


def descendants(root):
    """The processes that come from this one, children before grandchildren."""
    children = collections.defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                children[int(stat_fields(name)[1])].append(int(name))
    found = children[root][:]
    for pid in found:
        found += children[pid]
    return found


def family(s):
    """All processes of a service: the front end, the zygote, the workers."""
    return [s.process.pid, *descendants(s.process.pid)]


def kernel_threads_ns():
    """The CPU time of each of the kernel's own threads; they write to the disk for us, among other things."""
    times = {}
    with contextlib.suppress(OSError):
        with open("/proc/2/comm", encoding="ascii") as file:
            threads = descendants(2) if file.read() == "kthreadd\n" else []
        for pid in threads:
            with contextlib.suppress(OSError):  # it has just ended
                times[pid] = cpu_ns([pid])
    return times


def own_cpu_ns():
    """The CPU time of this program, and of all that it has ever started: what lives, and what has ended."""
    step = 10**9 // os.sysconf("SC_CLK_TCK")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time_ns() + int((ended.ru_utime + ended.ru_stime) * 1e9)
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            total += cpu_ns([pid]) + sum(int(t) for t in stat_fields(pid)[13:15]) * step  # 13, 14: its own children
    return total


def machine_times_ns():
    """How long the CPUs that this program may use have been idle, and how much time was stolen from them."""
    step = 10**9 // os.sysconf("SC_CLK_TCK")
    idle = stolen = 0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            name, *times = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in CPUS:
                idle += (int(times[3]) + int(times[4])) * step
                stolen += int(times[7]) * step
    return idle, stolen


def adopt_orphans():
    """What a killed service leaves behind becomes our child, so that its CPU time is not taken for a stranger's."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


# ---- rounds ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Rounds:
    """What the rounds of a measurement gave."""
    results: list = dataclasses.field(default_factory=list)
    others: list = dataclasses.field(default_factory=list)  # the share of the CPUs that others used, for each round
    repeated: int = 0  # how many rounds were thrown away and measured again
    disturbed: int = 0  # how many rounds are in the results although others used too much

    def column(self, at):
        return [r[at] for r in self.results]


def watched(work):
    """Calls work(); its result, the share of the CPUs that others used meanwhile, and whether that was too much."""
    kernel, own, start, (idle, stolen) = kernel_threads_ns(), own_cpu_ns(), time.monotonic_ns(), machine_times_ns()
    result = work()
    (idle_end, stolen_end), end, own_end, kernel_end = machine_times_ns(), time.monotonic_ns(), own_cpu_ns(), kernel_threads_ns()
    all_ns = (end - start) * len(CPUS)
    used_ns = all_ns - (idle_end - idle) - (own_end - own) - sum(ns - kernel.get(pid, 0) for pid, ns in kernel_end.items())
    # Where the kernel takes stolen time for the time of whoever ran, the first of these does not have it.
    others_ns = max(used_ns, stolen_end - stolen, 0)
    return result, others_ns / all_ns, others_ns > max(DISTURBED_SHARE * all_ns, DISTURBED_NS)


def rounds(measure, count=None):
    """Calls measure(number) for each round. A round in which others used more than 5 % of the CPUs is measured again, a
    few times at most; of these the least disturbed one counts."""
    done = Rounds()
    for number in range(settings.rounds if count is None else count):
        tries = []
        while len(tries) == 0 or tries[-1][2] and not settings.busy and len(tries) <= REPEATS:
            tries.append(watched(lambda: measure(number)))
        result, others, disturbed = min(tries, key=lambda t: t[1])
        done.results.append(result)
        done.others.append(others)
        done.repeated += len(tries) - 1
        done.disturbed += disturbed
    return done


def alternate(number, a, b):
    """Calls both: a first in rounds of an even number, b first in the others. The results, that of a first."""
    if number % 2 == 0:
        first = a()
        return first, b()
    second = b()
    return a(), second


def spread(values, digits=2):
    """The median, and the range if there are several values."""
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle}  ({min(values):.{digits}f} .. {max(values):.{digits}f})"


# ---- a service -------------------------------------------------------------------------------------------------------


def workers(s):
    return json.loads(s.send("GET", "/v1/workers").body)["workers"]


def lanes(s):
    """The lane of each worker that can take a task."""
    return [w["lane"] for w in workers(s) if w["state"] in ("idle", "busy")]


def wait_until(holds, what, limit_s=END_LIMIT_S, pause_s=0.01):
    end = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > end:
            raise Wrong(f"after {limit_s} s it still does not hold that {what}")
        time.sleep(pause_s)


def wait_for_workers(s):
    """The service says that it is ready when its handlers are loaded: then the workers are still to be forked."""
    ready = s.ready_line()
    wanted = {"main": ready["workers"], "express": ready["express_workers"]}
    wait_until(lambda: {lane: lanes(s).count(lane) for lane in wanted} == wanted, f"the workers are {wanted}", START_LIMIT_S)


def scratch(where=None):
    """A new directory on the disk of the build, or elsewhere."""
    return tempfile.TemporaryDirectory(dir=where or BUILD, prefix="bench-")


@contextlib.contextmanager
def service(*options, headers=None):
    """A service in memory (unless the options name a --data-dir) on a port that the kernel picks."""
    s = Service(os.path.join(BUILD, "offloadd"), "--drain-timeout", "1ms", *options, headers=headers)
    try:
        wait_for_workers(s)
        yield s
        s.check_alive()
    finally:
        s.stop()


def metrics(s):
    """The samples of /metrics by their names with labels, as they are written there."""
    lines = s.send("GET", "/metrics").body.decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def ended_jobs(s):
    """How many jobs have ended, by their status."""
    found = collections.Counter()
    for name, value in metrics(s).items():
        if name.startswith("offload_jobs_total{"):
            found[name.split('status="')[1].split('"')[0]] += int(value)
    return found


def wait_until_quiet(s):
    """Until no job is queued or running, and nothing of any job waits for the store: the ends are on disk, too."""
    def is_quiet():
        m = metrics(s)
        queued = sum(value for name, value in m.items() if name.startswith("offload_jobs_queued{"))
        return queued + m["offload_jobs_running"] + sum(m[f'offload_held_bytes{{what="{what}"}}'] for what in ("jobs", "store")) == 0

    wait_until(is_quiet, "every job has ended")


def check_all_succeeded(s, at_least, clients_left=False):
    """Waits until every job has ended, and fails unless all have succeeded, at least so many. Only where clients have
    left without an answer, as those of wrk do at its end, other jobs can have been cancelled."""
    wait_until_quiet(s)
    found = ended_jobs(s)
    if found["succeeded"] < at_least or found["failed"] > 0 or found["cancelled"] > 0 and not clients_left:
        raise Wrong(f"of at least {at_least} jobs these ended: {dict(found)}")


def submit(s, job, **headers):
    """Sends one job and returns the Job and the seconds it took, seen from here."""
    start = time.monotonic()
    answer = s.send("POST", "/v1/jobs", {"Content-Type": "application/json", **headers}, json.dumps(job))
    seconds = time.monotonic() - start
    if answer.status not in (200, 202):
        raise Wrong(f"{str(job)[:300]} was answered {answer.status}: {answer.body.decode()}")
    return json.loads(answer.body), seconds


def result(s, job, member, expected):
    """The same; and the member of the result must be what is expected."""
    done, seconds = submit(s, job, Prefer="wait=300")
    if done.get("result", {}).get(member) != expected:
        raise Wrong(f"{str(job)[:300]} gave {str(done)[:300]}; expected {member} {expected}")
    return done, seconds


def result_is(s, job, expected):
    """The same, for a result that is one value."""
    done, _ = submit(s, job, Prefer="wait=300")
    if done.get("result") != expected:
        raise Wrong(f"{str(job)[:300]} gave {str(done)[:300]}; expected {expected}")


# ---- load generators -------------------------------------------------------------------------------------------------


def have(program, package):
    """True if the program is there; tries to install it first."""
    if shutil.which(program) is None:
        subprocess.run([os.path.join(ROOT, "deps.sh"), package], check=False)
    return shutil.which(program) is not None


def wrk_command(port, *headers, seconds=WRK_SECONDS, connections=WRK_CONNECTIONS, script="tiny.lua"):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", os.path.join(ROOT, "bench", script)]
    for header in headers:
        command += ["-H", header]
    return [*command, f"http://127.0.0.1:{port}/v1/jobs"]


def wrk_figures(out):
    """What wrk has printed: the requests per second, and how many were answered."""
    rate, answers, errors = out.splitlines()[-1].split()
    if int(errors) > 0 or int(answers) == 0:
        raise Wrong(f"wrk had errors:\n{out}")
    return float(rate), int(answers)


def wrk(port, *headers, **options):
    """Sends tiny jobs as fast as they are answered. The requests per second, and how many were answered."""
    return wrk_figures(subprocess.run(wrk_command(port, *headers, **options), check=True, capture_output=True, text=True).stdout)


def load_command(s, path, body, *options):
    command = [os.path.join(BUILD, "bench", "load"), *options, str(s.port), path]
    return command + ([] if body is None else [json.dumps(body)])


def start_load(s, path, body, *options):
    """Starts bench/load, which goes on by itself; see finish_load."""
    return subprocess.Popen(load_command(s, path, body, *options), stdout=subprocess.PIPE, text=True)


def finish_load(process):
    """Waits for bench/load and returns its figures."""
    out, _ = process.communicate()
    if process.returncode != 0:
        raise Wrong(f"{process.args[:-1]} ended with {process.returncode}")
    figures = json.loads(out)
    if figures["failed"] > 0 or figures["requests"] == 0:
        raise Wrong(f"{process.args[:-1]}: {out}")
    return figures


@contextlib.contextmanager
def hello(answer_bytes):
    """The bare libmicrohttpd server; its process and port."""
    process = subprocess.Popen([os.path.join(BUILD, "bench", "hello"), str(answer_bytes)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()
