#!/usr/bin/env python3
"""checked.py [FAULT]: a program of job types (docs/programs.md) for check_program.bats, without any package. With the
name of a fault it does one thing wrong; every `fault(...)` below is one of them."""
import ctypes
import json
import os
import signal
import socket
import struct
import sys
import threading
import time

FAULT = sys.argv[1] if len(sys.argv) > 1 else ""
FORKED = ["", "cannot-fork", "child-keeps-socket", "child-types", "no-pdeathsig", "output", "pid", "single-fork",
          "template-keeps-socket", "template-stays", "thread"]
WITH_WAIT = ["", "not-forked", "cancel-is-not-answered", "dies-of-cancel", "progress"]
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


def fault(name):
    return name == FAULT


class Cancelled(BaseException):
    pass


current = None  # the number of the call that a signal may interrupt
pending = []  # the messages that are not handled
cancelled = set()


def on_signal(*_):
    if current is not None and current in cancelled | {m["call"] for m in peek() if m["kind"] == "cancel"}:
        raise Cancelled


def peek():
    """What has come meanwhile is handled later."""
    host.setblocking(False)
    try:
        receive_some()
    except BlockingIOError:
        pass
    host.setblocking(True)
    return pending


def send(message, to=None):
    text = json.dumps(message, ensure_ascii=False).encode()
    (to or host).sendall(struct.pack("<II", len(text), 0) + text)


buffered = b""
descriptors = []


def receive_some():
    global buffered
    data, fds, _, _ = socket.recv_fds(host, 65536, 8)
    descriptors.extend(fds)
    if not data:
        pending.append({"kind": "exit" if not fault("end-is-ignored") else "wait"})
        return
    if fault("pieces") and len(data) < 8:
        sys.exit("half a frame")
    buffered += data
    while len(buffered) >= 8:
        size = struct.unpack_from("<I", buffered)[0]
        if len(buffered) < 8 + size:
            return
        pending.append(json.loads(buffered[8:8 + size]))
        buffered = b"" if fault("one-piece") else buffered[8 + size:]
        if fault("large") and size > 100000:
            sys.exit("too large")


def hello(child=False):
    types = [
        {"name": "sum", "summary": "The sum of a range", "flags": ["split", "merge"], "timeout": 5, "max_attempts": 2,
         "params": {"type": "object", "required": ["start", "kind"], "properties": {
             "start": {"type": "integer", "minimum": 5}, "stop": {"type": "integer", "default": 10},
             "kind": {"type": "string", "enum": ["fast", "slow"]}}}},
        {"name": "wait", "params": {"type": "object", "required": ["s"], "properties": {
            "s": {"type": "number", "default": 0.1}}}},
    ]
    if fault("no-types"):
        types = []
    for name, change in {
        "name": {"name": "Sum"},
        "long-name": {"name": "s" * 65},
        "two-of-a-name": {"name": "wait"},
        "summary": {"summary": "two\nlines"},
        "timeout": {"timeout": 0},
        "max-attempts": {"max_attempts": 1.5},
        "no-schema": {"params": None},
        "schema": {"params": {"type": "array"}},
        "property": {"params": {"type": "object", "properties": {"n": {"type": "int"}}}},
        "bounds": {"params": {"type": "object", "properties": {"n": {"minimum": 2, "maximum": 1}}}},
        "required": {"params": {"type": "object", "required": ["n"], "properties": {}}},
        "flags": {"flags": ["merge", "fast"]},
    }.items():
        if fault(name):
            types = [dict(types[0], **change)] + (types[1:] if fault("two-of-a-name") else [])
    if FAULT not in WITH_WAIT and types and not fault("two-of-a-name"):
        del types[1:]
    message = {"kind": "hello", "protocol": 1, "fork": FAULT in FORKED, "cancel_signal": signal.SIGUSR1, "sources": [__file__],
               "types": types}
    if child and not fault("child-types"):
        del message["types"]
    if fault("protocol"):
        message["protocol"] = "1"
    if fault("fork-text"):
        message["fork"] = "yes"
    if fault("sources"):
        message["sources"] = __file__
    if fault("cancel-signal"):
        message["cancel_signal"] = 9
    return message


def greet(child=False):
    if fault("silent"):
        time.sleep(100)
    if fault("dies"):
        sys.exit(3)
    if fault("killed"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault("first"):
        send({"kind": "progress", "call": 0, "done": 0, "total": 0})
    if fault("binary"):
        host.sendall(struct.pack("<II", 2, 4) + b"{}more")
    if fault("size"):
        host.sendall(struct.pack(">II", 2, 0) + b"{}")
    if fault("no-json"):
        host.sendall(struct.pack("<II", 4, 0) + b"{no}")
    if fault("no-utf8"):
        host.sendall(struct.pack("<II", 14, 0) + b'{"kind":"\xff\xfe2"}')
    if fault("no-object"):
        send([1])
    if fault("no-kind"):
        send({})
    if fault("half"):
        host.sendall(struct.pack("<II", 40, 0) + b"{")
        sys.exit()
    if fault("descriptor"):
        socket.send_fds(host, [struct.pack("<II", 2, 0)], [0])
    send(hello(child))


def run(type_name, params):
    if type_name == "wait":
        time.sleep(params["s"])
        return params["s"]
    return sum(range(params["start"], params.get("stop", 10)))


def answer(number, type_name, params, last):
    """One call of a `run`."""
    global current
    if number in cancelled and not fault("cancel-is-ignored"):
        send({"kind": "result", "call": number, "error": {"code": "cancelled"}})
        return
    try:
        current = number
        if type_name == "wait" and not fault("progress"):
            send({"kind": "progress", "call": number, "done": 1, "total": 2})
        if fault("progress"):
            send({"kind": "progress", "call": number, "done": 0.5})
        value = run(type_name, params)
        current = None
    except Cancelled:
        current = None
        if fault("dies-of-cancel"):
            sys.exit(4)
        if not fault("cancel-is-not-answered"):
            send({"kind": "result", "call": number, "error": {"code": "cancelled"}})
        return
    except KeyError as error:
        current = None
        send({"kind": "result", "call": number, "error": {
            "code": "invalid_params", "pointer": "", "detail": f"{error} is missing"}})
        return
    message = {"kind": "result", "call": number, "value": value}
    for name, change in {
        "number": {"call": number + 1, "value": 1},
        "values-of-nobody": {"values": [1, 2, 3, 4, 5]},
        "no-values": {"values": []},
        "two-outcomes": {"value": 1, "error": {"code": "handler_failed"}},
        "no-code": {"error": {"detail": "it failed"}},
        "code": {"error": {"code": "failed"}},
        "pointer": {"error": {"code": "invalid_params", "pointer": "n"}},
        "detail": {"error": {"code": "handler_failed", "detail": 5}},
        "cancelled": {"error": {"code": "cancelled"}},
        "integer": {"value": 2 ** 53},
        "large-integer": {"value": [2 ** 70]},
        "kind": {"kind": "answer"},
    }.items():
        if fault(name):
            message = {"kind": "result", "call": number, **change}
    if not (fault("last-is-not-answered") and last > 0 and last == number):
        send(message)
    if fault("twice"):
        send(message)


def take_run(message):
    calls = list(enumerate(message["calls"], message["call"]))
    if fault("unknown-member") and "of_a_later_version" in message:
        sys.exit("what is of_a_later_version?")
    if fault("order"):
        calls.reverse()
    if fault("values"):
        send({"kind": "result", "call": calls[0][0], "values": [0] * len(calls)})
        return
    for number, params in calls:
        peek()
        for m in pending:
            if m["kind"] == "cancel":
                cancelled.add(m["call"])
        answer(number, message["type"], params, calls[-1][0] if len(calls) > 1 else 0)


def take_plan(message):
    start, stop = message["params"]["start"], message["params"].get("stop", 10)
    chunks = [{"start": n, "stop": n + 1, "kind": "fast"} for n in range(start, stop)] or [message["params"]]
    for name, wrong in {"no-chunks": [], "chunks": [1], "many-chunks": chunks * 5000, "no-array": 5}.items():
        if fault(name):
            chunks = wrong
    send({"kind": "planned" if not fault("planned") else "plan", "call": message["call"], "chunks": chunks})


def take_fork(message):
    fds = descriptors[:2]
    del descriptors[:2]
    if fault("cannot-fork"):
        send({"kind": "forked", "error": "there is no fork"})
        return
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.getpid() if fault("single-fork") else os.fork()
        if pid == 0 or fault("single-fork"):
            os.close(read)
            if fault("single-fork"):
                os.write(write, struct.pack("i", pid))
            os.close(write)
            be_child(message["parent"], fds)
        os.write(write, struct.pack("i", pid))
        os._exit(0)
    os.close(write)
    pid = struct.unpack("i", os.read(read, 4))[0]
    os.close(read)
    if not fault("single-fork"):
        os.waitpid(between, 0)
    for fd in fds:
        if not fault("template-keeps-socket"):
            os.close(fd)
    send({"kind": "forked", "pid": between if fault("pid") else pid})


def be_child(parent, fds):
    global host, buffered
    for _ in range(1000):
        if os.getppid() == parent or fault("single-fork"):
            break
        time.sleep(0.001)
    if not fault("no-pdeathsig"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent and not fault("single-fork"):
        os._exit(1)
    if fault("child-keeps-socket"):
        os.dup(host.fileno())
    host.close()
    host, buffered = socket.socket(fileno=fds[0]), b""
    pending.clear()
    if not fault("output"):
        os.dup2(fds[1], 1)
        os.dup2(fds[1], 2)
    os.close(fds[1])
    greet(child=True)
    serve(child=True)


def serve(child=False):
    while True:
        while not pending:
            receive_some()
        message = pending.pop(0)
        kind = message["kind"]
        if kind == "run":
            take_run(message)
        elif kind == "plan":
            take_plan(message)
        elif kind == "merge" and not fault("no-merge"):
            send({"kind": "result", "call": message["call"], "value": sum(message["parts"])})
        elif kind == "fork":
            take_fork(message)
        elif kind == "wait" or (kind == "exit" and fault("exit-is-ignored")) or \
                (kind == "exit" and fault("template-stays") and not child):
            time.sleep(100)
        elif kind == "exit":
            sys.stdout.flush()
            os._exit(5 if fault("exit-code") else 0)
        elif kind == "cancel" and fault("late-cancel"):
            sys.exit("there is no such call")
        elif kind == "of-a-later-version" and fault("unknown-kind"):
            sys.exit("what is of-a-later-version?")


host = socket.socket(fileno=int(os.environ["OFFLOAD_FD"]))
signal.signal(signal.SIGUSR1, on_signal)
if fault("thread"):
    threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
print("loaded")
greet()
serve()
