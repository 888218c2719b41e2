#!/usr/bin/env python3
"""program.py [--fork] [--prefix TEXT] [--version N] [--at-start WHAT] [--on-fork WHAT] [--hello OBJECT]: a
program for the tests of docs/programs.md, without any package. It serves these types, whose names begin with the prefix:

    double   {n}                    2 * n; with `version`, that number instead
    check    {n, kind, list, any}   for the checks of the host; the value is the params
    who                             what this process is: pid, environment and so on
    say      {text, hold_ms}        prints the text, and waits so long
    fail     {code, ...}            answers with this error, whose members are the params
    die      {how, times}           dies so often, and then answers; see DEATHS
    hold     {how, ms}              runs for so long; how it takes a cancel: asks, signal, ignores; or it shows progress
    squares  {start, stop, step}    the sum of squares, with split and merge
    parts    {count, bad}           split, and no merge
    hog      {bytes}                takes memory, and holds it
    leave    {session, socket}      leaves a process behind, whose pid is the value, in a session of its own, with our socket

--at-start: something goes wrong before or with hello, see starts_badly; --on-fork: or instead of a fork, see forks_badly.
"""
import argparse
import array
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

options = argparse.ArgumentParser()
options.add_argument("--fork", action="store_true")
options.add_argument("--prefix", default="")
options.add_argument("--at-start", default="")
options.add_argument("--on-fork", default="")
options.add_argument("--hello", default="{}", help="members that hello has, too")
options.add_argument("--version", type=int, default=0)
options = options.parse_args()

PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


class Cancelled(Exception):
    pass


class Host:
    """The conversation."""

    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)
        self.bytes = b""
        self.messages = []
        self.fds = []

    def send(self, message):
        text = json.dumps(message).encode()
        self.raw(struct.pack("<II", len(text), 0) + text)

    def raw(self, data):
        self.socket.sendall(data)

    def receive(self):
        """Reads once. False: the end."""
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(8))
        for _, _, fds in ancillary:
            self.fds += array.array("i", fds)
        self.bytes += data
        while len(self.bytes) >= 8 and len(self.bytes) >= 8 + (size := struct.unpack("<I", self.bytes[:4])[0]):
            self.messages.append(json.loads(self.bytes[8 : 8 + size]))
            self.bytes = self.bytes[8 + size :]
        return len(data) > 0

    def next(self):
        while not self.messages:
            if not self.receive():
                os._exit(0)
        return self.messages.pop(0)

    def cancelled(self, call, wait_s):
        """Has a cancel of this call come within that time? Other messages stay for later."""
        if select.select([self.socket], [], [], wait_s)[0]:
            if not self.receive():
                os._exit(0)
        return {"kind": "cancel", "call": call} in self.messages


def type_of(name, properties, required=(), flags=(), **more):
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"name": options.prefix + name, "summary": f"For tests: {name}", "params": schema, "flags": list(flags), **more}


ANY, INTEGER, TEXT = {}, {"type": "integer"}, {"type": "string"}
TYPES = [
    type_of("double", {"n": INTEGER}, ["n"]),
    type_of("check", {"n": {"type": "integer", "minimum": -5, "maximum": 10}, "kind": {"enum": ["a", "b"]},
                      "list": {"type": "array"}, "any": ANY}, ["n"], timeout=7, max_attempts=2),
    type_of("who", {}),
    type_of("say", {"text": TEXT, "hold_ms": INTEGER}, ["text"]),
    type_of("fail", {"code": ANY, "detail": TEXT, "pointer": TEXT, "exception": TEXT, "traceback": TEXT}),
    type_of("die", {"how": TEXT, "times": INTEGER}, ["how"]),
    type_of("hold", {"how": TEXT, "ms": INTEGER}, ["how", "ms"]),
    type_of("squares", {"start": INTEGER, "stop": INTEGER, "step": INTEGER}, ["start", "stop"], ["split", "merge"]),
    type_of("parts", {"count": INTEGER, "bad": TEXT, "i": INTEGER}, [], ["split"]),
    type_of("hog", {"bytes": INTEGER}, ["bytes"]),
    type_of("leave", {"session": {"type": "boolean"}, "socket": {"type": "boolean"}}),
]


# ---- calls ----------------------------------------------------------------------------------------------------------


def do_double(host, call, params, message):
    return options.version or 2 * int(params["n"])


def do_check(host, call, params, message):
    return params


def do_who(host, call, params, message):
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "fd": os.environ["OFFLOAD_FD"],
        "threads": [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")],
        "stdin": os.readlink("/proc/self/fd/0"),
        "directory": os.getcwd(),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
        "mask": [line.split()[1] for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn"))],
        "attempt": message["attempt"],
        "deadline": message.get("deadline"),
    }


def do_say(host, call, params, message):
    print(params["text"], end="", flush=True)
    time.sleep(params.get("hold_ms", 0) / 1000)
    return len(params["text"])


class Failure(Exception):
    def __init__(self, error):
        self.error = error


def do_fail(host, call, params, message):
    raise Failure(params)


def do_die(host, call, params, message):
    if message["attempt"] < params.get("times", 1 << 30):
        print(f"last words of {os.getpid()}", flush=True)
        DEATHS[params["how"]](host, call)
        time.sleep(60)
    return message["attempt"]


DEATHS = {
    "segv": lambda host, call: os.kill(os.getpid(), signal.SIGSEGV),
    "kill": lambda host, call: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda host, call: os._exit(3),
    "close": lambda host, call: host.socket.close(),
    "garbage": lambda host, call: host.raw(b"\xff" * 64),
    "text": lambda host, call: host.raw(b"\x05\0\0\0\0\0\0\0hello"),
    "binary": lambda host, call: host.raw(struct.pack("<II", 2, 1) + b"{}."),
    "huge": lambda host, call: host.raw(struct.pack("<II", (256 << 20) + 1, 0)),
    "tiny": lambda host, call: host.raw(struct.pack("<II", 1, 0) + b"1"),
    "half": lambda host, call: (host.raw(b"\x10\0\0\0\0\0\0\0{"), os._exit(0)),
    "call": lambda host, call: host.send({"kind": "result", "call": call + 7, "value": 1}),
    "more": lambda host, call: host.send({"kind": "result", "call": call, "values": [1] * 70}),
    "hello": lambda host, call: host.send({"kind": "hello", "protocol": 1}),
    "kind": lambda host, call: host.send({"kind": "surprise", "call": call}),
    "planned": lambda host, call: host.send({"kind": "planned", "call": call, "chunks": [{}]}),
    "forked": lambda host, call: host.send({"kind": "forked", "pid": 2}),
    "both": lambda host, call: host.send({"kind": "result", "call": call, "value": 1, "error": {}}),
    "deep": lambda host, call: host.raw(struct.pack("<II", 2000, 0) + b"[" * 1000 + b"]" * 1000),
}


def do_hold(host, call, params, message):
    until = time.monotonic() + params["ms"] / 1000
    how = params["how"]
    if how == "ignores":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if how == "progress":
        host.send({"kind": "progress", "call": call, "done": 3, "total": 10})
    try:
        while time.monotonic() < until:
            if how == "asks" and host.cancelled(call, 0.01):
                raise Failure({"code": "cancelled"})
            if how != "asks":
                time.sleep(0.01)
    except Cancelled:
        raise Failure({"code": "cancelled"}) from None
    return how


def plan_squares(host, call, params, message):
    step = params.get("step", 100)
    return [{"start": i, "stop": min(i + step, params["stop"])} for i in range(params["start"], params["stop"], step)]


def do_squares(host, call, params, message):
    host.send({"kind": "progress", "call": call, "done": 1, "total": 2})
    return str(sum(n * n for n in range(params["start"], params["stop"])))


def merge_squares(host, call, parts, message):
    return str(sum(int(part) for part in parts))


def plan_parts(host, call, params, message):
    bad = {"none": [], "list": [[1]], "many": [{}] * 4097, "value": None}
    if "bad" not in params:
        return [{"i": i} for i in range(params["count"])]
    if params["bad"] == "fail":
        raise Failure({"code": "invalid_params", "pointer": "/bad", "detail": "it cannot be split"})
    if params["bad"] == "die":
        os._exit(5)
    return bad[params["bad"]]


def do_parts(host, call, params, message):
    return params["i"]


held = []


def do_hog(host, call, params, message):
    held.append(b"x" * params["bytes"])
    time.sleep(0.05)
    return os.getpid()


def do_leave(host, call, params, message):
    inherits = [host.socket.fileno()] if params.get("socket") else []
    left = subprocess.Popen(["sleep", "600"], start_new_session=params.get("session", False), pass_fds=inherits)
    return left.pid


def answer(host, message):
    name = message["type"][len(options.prefix) :]
    kind = message["kind"]
    calls = message["calls"] if kind == "run" else [message["params"] if kind == "plan" else message["parts"]]
    do = globals()[{"run": "do_", "plan": "plan_", "merge": "merge_"}[kind] + name]
    for i, params in enumerate(calls):
        call = message["call"] + i
        try:
            value = do(host, call, params, message)
            if kind == "plan" and value is not None:
                host.send({"kind": "planned", "call": call, "chunks": value})
            else:
                host.send({"kind": "result", "call": call, "value": value})
        except Failure as failure:
            host.send({"kind": "result", "call": call, "error": failure.error})


# ---- the process ----------------------------------------------------------------------------------------------------


def on_signal(*_):
    raise Cancelled


def serve(host):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    while True:
        message = host.next()
        if message["kind"] == "exit":
            os._exit(0)
        if message["kind"] == "fork":
            fork(host, message)
        if message["kind"] in ("run", "plan", "merge"):
            if message["kind"] == "run" and message["type"].endswith("hold"):
                signal.signal(signal.SIGUSR1, on_signal)
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            answer(host, message)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def fork(host, message):
    fds, host.fds = host.fds[:2], host.fds[2:]
    if options.on_fork:
        forks_badly(host, fds)
        return
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if os.fork() > 0:
            os._exit(0)
        os.write(writing, struct.pack("<i", os.getpid()))
        become_process(host, fds, message["parent"])
    os.close(writing)
    pid = struct.unpack("<i", os.read(reading, 4))[0]
    os.close(reading)
    os.waitpid(child, 0)
    for fd in fds:
        os.close(fd)
    host.send({"kind": "forked", "pid": pid})


def become_process(host, fds, parent):
    # Without setpgid(0, 0): the zygote does that for a program which forgets it.
    while os.getppid() != parent:
        time.sleep(0.0005)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    host.socket.close()
    os.dup2(fds[1], 1)
    os.dup2(fds[1], 2)
    os.close(fds[1])
    host = Host(fds[0])
    host.send({"kind": "hello", "protocol": 1})
    serve(host)


def forks_badly(host, fds):
    if options.on_fork == "error":
        host.send({"kind": "forked", "error": "no more processes today"})
    elif options.on_fork == "self":
        host.send({"kind": "forked", "pid": os.getpid()})
    elif options.on_fork == "parent":
        host.send({"kind": "forked", "pid": os.getppid()})
    elif options.on_fork == "init":
        host.send({"kind": "forked", "pid": 2})
    elif options.on_fork == "worker":  # another child of the zygote
        with open(f"/proc/{os.getppid()}/task/{os.getppid()}/children") as children:
            others = [int(pid) for pid in children.read().split() if int(pid) != os.getpid()]
        host.send({"kind": "forked", "pid": others[0]})
    elif options.on_fork == "single":  # a child of the template
        child = os.fork()
        if child == 0:
            time.sleep(60)
        host.send({"kind": "forked", "pid": child})
    elif options.on_fork == "die":
        os._exit(4)
    elif options.on_fork == "twice":
        host.send({"kind": "forked", "error": "one"})
        host.send({"kind": "forked", "error": "two"})
    for fd in fds:
        os.close(fd)


def starts_badly(host, what):
    if what == "raise":
        raise ImportError("no module named offload_is_not_here")
    if what == "exit":
        os._exit(9)
    if what == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(600)
    if what == "close":
        host.socket.close()
        time.sleep(600)
    if what == "garbage":
        host.raw(b"\xff" * 100)
    if what == "result":
        host.send({"kind": "result", "call": 1, "value": 1})
    while what.startswith("gate=") and os.path.exists(what[5:]):
        time.sleep(0.01)
    if what == "thread":
        import threading

        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


def main():
    host = Host(int(os.environ["OFFLOAD_FD"]))
    starts_badly(host, options.at_start)
    hello = {"kind": "hello", "protocol": 1, "fork": options.fork, "cancel_signal": int(signal.SIGUSR1), "types": TYPES}
    hello.update(json.loads(options.hello))
    host.send(hello)
    serve(host)


main()
