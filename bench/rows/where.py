"""The row where_time_goes: what the CPU time of a tiny request is spent on, in the front end, in the workers and in the
bare libmicrohttpd server. Its figures are what bench/page draws.

All is seen from outside: the CPU time of the processes by their clocks, in rounds that alternate; then, once for each,
the shares of it by library and room, from samples (perf record, cpu-clock), and the system calls, from the kernel's tracepoints
(perf stat). Where perf is missing, or may not be used, that part is missing."""

import collections
import glob
import json
import os
import re
import statistics
import subprocess

import measure
from measure import TINY
from report import Row, gives
from rows.tiny import WARM_UP_SECONDS, answer_bytes, check_tiny

PROFILE_SECONDS = 3
SAMPLES_PER_S = 1999  # no multiple of the timer tick
ONE_BY_ONE = 300
TRACEPOINTS = "/sys/kernel/tracing/events"
SYSTEM_CALLS = ("accept4", "clock_gettime", "close", "epoll_ctl", "epoll_pwait2", "epoll_wait", "futex", "getrandom", "getrusage",
                "poll", "read", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "write", "writev")
OWN = "own code"
LIBRARIES = (("kernel", r"\[(?!vdso)"), ("libmicrohttpd", "libmicrohttpd"), ("jansson", "libjansson"),
             ("C library", r"libc\.|libc-|ld-linux|\[vdso\]"), ("primesieve", "libprimesieve"), (OWN, "offloadd|hello"))


def costs(port, processes):
    """For each group of processes its CPU time per request in us: all, in user mode, in the kernel."""
    def now():
        return {name: (measure.cpu_ns(pids), *measure.user_and_system_ns(pids)) for name, pids in processes.items()}

    before = now()
    _, answers = measure.wrk(port)
    after = now()
    found = {"answers": answers}
    for name in processes:
        total, user, system = (b - a for a, b in zip(before[name], after[name]))
        # The kernel counts the two in ticks; the sum is known better.
        share = user / (user + system) if user + system else 0
        found[name] = {"all": total / answers / 1000, "user": total * share / answers / 1000,
                       "system": total * (1 - share) / answers / 1000}
    return found


def under_perf(port, pids, *command):
    """Loads the server with wrk while perf watches those processes. How many requests were answered, and what perf
    printed; None instead if it failed."""
    done = subprocess.run(["perf", *command, "-p", ",".join(map(str, pids)), "--",
                           *measure.wrk_command(port, seconds=PROFILE_SECONDS)], capture_output=True, text=True, check=False)
    return (measure.wrk_figures(done.stdout)[1], done.stderr) if done.returncode == 0 else (0, None)


def rooms_of_functions():
    """The room of each function of the program, from the objects of the build; without those whose name two rooms have."""
    objects = [path for path in glob.glob(os.path.join(measure.BUILD, "**", "*.o"), recursive=True) if "/tests/" not in path]
    out = subprocess.run(["nm", "-A", "-P", "--defined-only", *objects], capture_output=True, text=True, check=False).stdout
    rooms = collections.defaultdict(set)
    for path, name in re.findall(r"^(\S+): (\w+)\S* [tT] ", out, re.MULTILINE):
        folder = os.path.relpath(os.path.dirname(path), measure.BUILD)
        rooms[name].add(folder.removeprefix("server/").removeprefix("handlers/").split("/")[0])
    return {name: next(iter(found)) for name, found in rooms.items() if len(found) == 1}


def profile(port, pids, rooms):
    """The share of each library in the CPU time of these processes, and of each room of the own code; None: perf cannot
    tell."""
    with measure.scratch() as directory:
        data = os.path.join(directory, "data")
        if under_perf(port, pids, "record", "-q", "-F", str(SAMPLES_PER_S), "-e", "cpu-clock", "-o", data)[1] is None:
            return None
        report = subprocess.run(["perf", "report", "-i", data, "--stdio", "--sort", "dso,symbol", "-t", ";"], capture_output=True,
                                text=True, check=False, stdin=subprocess.DEVNULL).stdout
    libraries, own = collections.Counter(), collections.Counter()
    for percent, library, function in re.findall(r"^\s*([\d.]+)%\s*;\s*(\S+)\s*;\s*\[.\] (\w*)", report, re.MULTILINE):
        name = next((name for name, form in LIBRARIES if re.match(form, library)), "others")
        libraries[name] += float(percent)
        if name == OWN:
            own[rooms.get(function, "others")] += float(percent)
    total = sum(libraries.values())
    if total == 0:
        return None
    return {"libraries": {name: share / total for name, share in libraries.items()},
            "rooms": {name: share / total for name, share in own.items()}}


def system_calls(port, pids):
    """System calls per request, by name; None: perf cannot tell. What is rarer than one in a hundred requests is left
    out."""
    events = ["-e", "raw_syscalls:sys_enter"]
    for name in SYSTEM_CALLS:
        if os.path.isdir(f"{TRACEPOINTS}/syscalls/sys_enter_{name}"):
            events += ["-e", f"syscalls:sys_enter_{name}"]
    answers, out = under_perf(port, pids, "stat", "-x", ";", *events)
    if out is None:
        return None
    found = {name or "all": int(count) / answers
             for count, name in re.findall(r"^(\d+);[^;]*;\w+:sys_enter_?(\w*);", out, re.MULTILINE)}
    found["others"] = 2 * found["all"] - sum(found.values())
    return {name: calls for name, calls in found.items() if calls >= 0.01}


def server_timing(s):
    """What the service itself says of a tiny job, one request at a time at rest: the medians, in us."""
    found = {}
    for _ in range(ONE_BY_ONE):
        answer = s.send("POST", "/v1/jobs", {"Content-Type": "application/json"}, json.dumps(TINY))
        for name, ms in re.findall(r"(\w+);dur=([\d.]+)", answer.headers["Server-Timing"]):
            found.setdefault(name, []).append(float(ms) * 1000)
    return {name: statistics.median(values) for name, values in found.items()}


@gives("where_time_goes")
def where_time_goes():
    what = f"CPU time of the front end per tiny request, {measure.WRK_CONNECTIONS} connections"
    if not measure.have("wrk", "wrk"):
        yield Row("where_time_goes", what, "us", [], skipped="wrk is missing")
        return
    with measure.service() as s, measure.hello(answer_bytes(s)) as (bare, bare_port):
        front, *others = measure.family(s)
        measure.wrk(s.port, seconds=WARM_UP_SECONDS)
        measure.wrk(bare_port, seconds=WARM_UP_SECONDS)
        done = measure.rounds(lambda number: measure.alternate(
            number, lambda: costs(s.port, {"front": [front], "workers": others}), lambda: costs(bare_port, {"hello": [bare.pid]})))
        check_tiny(s, sum(a["answers"] for a, _ in done.results))
        figures = {"server_timing_us": server_timing(s)}
        rooms = rooms_of_functions() if measure.have("perf", "linux-perf") else None
        for name, port, pids in (("front", s.port, [front]), ("workers", s.port, others), ("hello", bare_port, [bare.pid])):
            rounds = [r[1] if name == "hello" else r[0] for r in done.results]
            figures[name] = {key: statistics.median(r[name][key] for r in rounds) for key in ("all", "user", "system")}
            if rooms is not None:
                figures[name] |= {"system_calls": system_calls(port, pids), **(profile(port, pids, rooms) or {})}
    yield Row("where_time_goes", what, "us", [a["front"]["all"] for a, _ in done.results], "", done,
              f"workers {figures['workers']['all']:.1f} us, hello {figures['hello']['all']:.1f} us", figures)


ROWS = (where_time_goes,)
