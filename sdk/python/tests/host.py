"""A small host for the tests: it starts `python3 -m offload`, and speaks docs/programs.md with it."""

import compileall
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(PACKAGE))
PATIENCE_S = 60

# The package is copied, and compiled once: the source tree stays as it is.
SCRATCH = tempfile.TemporaryDirectory()
INSTALLED = os.path.join(SCRATCH.name, "installed")
shutil.copytree(os.path.join(PACKAGE, "offload"), os.path.join(INSTALLED, "offload"))
compileall.compile_dir(INSTALLED, quiet=2)


def interpreter_with(module):
    """A Python that can import the module: this one, or that of the system. None: there is none."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0:
                return python
        except OSError:
            pass
    return None


class Conversation:
    """One end of a socket to a program."""

    def __init__(self, sock):
        self.sock = sock
        self.received = b""
        self.descriptors = []  # that came along and are not used
        self.frames = 0
        self.next_call = 0

    def send(self, message, descriptors=(), binary=b""):
        text = json.dumps(message).encode()
        data = struct.pack("<II", len(text), len(binary)) + text + binary
        if descriptors:
            socket.send_fds(self.sock, [data], descriptors)
        else:
            self.sock.sendall(data)

    def receive(self, timeout=PATIENCE_S):
        """The next message. None: the program has hung up."""
        end = time.monotonic() + timeout
        while True:
            if len(self.received) >= 8:
                size, binary = struct.unpack_from("<II", self.received)
                if len(self.received) >= 8 + size + binary:
                    text = self.received[8 : 8 + size]
                    data = self.received[8 + size : 8 + size + binary]
                    self.received = self.received[8 + size + binary :]
                    self.frames += 1
                    return self.with_bytes(strict_json(text.decode()), data)
            ready, _, _ = select.select([self.sock], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("the program has sent nothing")
            try:
                data, descriptors, _, _ = socket.recv_fds(self.sock, 1 << 20, 8)
                self.descriptors += descriptors
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self.received, "the program has sent half a frame"
                return None
            self.received += data

    def with_bytes(self, message, data):
        """The same with its bytes as "value", if it has some."""
        about = message.get("binary") if message["kind"] == "result" else None
        assert about is not None or not data, message
        if about is None:
            return message
        if about.get("fd"):
            descriptor = self.descriptors.pop(0)
            assert os.fstat(descriptor).st_size == about["size"] and not data, message
            os.lseek(descriptor, 0, os.SEEK_SET)
            with open(descriptor, "rb") as memory:
                data = memory.read()
        return {**message, "value": data}

    def begin(self, job_type, *calls, **members):
        """Sends calls. Returns the number of the first."""
        first = self.next_call
        self.next_call += len(calls)
        self.send({"kind": "run", "type": job_type, "call": first, "calls": list(calls), "attempt": 0, **members})
        return first

    def answers(self, first, count, progress=None):
        """The answers to the calls, in their order: {"value"} or {"error"}."""
        found = []
        while len(found) < count:
            message = self.receive()
            assert message is not None, f"the program has gone: {len(found)} of {count} calls were answered"
            if message["kind"] == "progress":
                assert progress is not None, message
                progress.append(message)
                continue
            assert message["kind"] in ("result", "planned"), message
            assert message["call"] == first + len(found), (message, first, len(found))
            if "values" in message:
                found += [{"value": value} for value in message["values"]]
            else:
                found.append(message)
        assert len(found) == count, (found, count)
        return found

    def run(self, job_type, *calls, **members):
        return self.answers(self.begin(job_type, *calls, **members), len(calls))

    def value(self, job_type, **params):
        (answer,) = self.run(job_type, params)
        assert "value" in answer, answer
        return answer["value"]

    def error(self, job_type, **params):
        (answer,) = self.run(job_type, params)
        assert "error" in answer, answer
        return answer["error"]

    def ask(self, kind, job_type, **members):
        """plan and merge"""
        call = self.next_call
        self.next_call += 1
        self.send({"kind": kind, "type": job_type, "call": call, **members})
        return self.answers(call, 1)[0]


def strict_json(text):
    """JSON as the host reads it: no NaN, no member twice, no half of a character."""

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    def members(pairs):
        assert len(pairs) == len(dict(pairs)), pairs
        return dict(pairs)

    value = json.loads(text, parse_constant=refuse, object_pairs_hook=members)
    json.dumps(value, ensure_ascii=False).encode()
    return value


class Program(Conversation):
    """A program process that was started from a command."""

    def __init__(self, spec, *, cwd, python=sys.executable, start="spawn", site=False, **env):
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        self.output = tempfile.TemporaryFile("a+")  # appended to, so that reading moves nothing
        environment = {**os.environ, "PYTHONPATH": INSTALLED, "PYTHONDONTWRITEBYTECODE": "1", **env}
        environment["OFFLOAD_FD"] = str(theirs.fileno())
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment.setdefault(name, "1")
        if start:
            environment["OFFLOAD_START"] = start
        self.process = subprocess.Popen(
            # Without site, which takes as long as all the rest.
            [python, *(["-S"] if python == sys.executable and not site else []), "-m", "offload", spec],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self.hello = self.receive()
        self.types = {t["name"]: t for t in self.hello["types"]} if self.hello else {}

    def printed(self):
        self.output.seek(0)
        return self.output.read()

    def signal(self, number=signal.SIGUSR1):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def close(self):
        self.sock.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()


class ProgramTest(unittest.TestCase):
    """Tests with a folder of their own."""

    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def write(self, text, name="tasks.py"):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(textwrap.dedent(text))
        return path

    def start(self, text, names="", spec=None, **options):
        """Starts a program with a task file of this text."""
        self.write(text)
        program = Program(spec or "tasks.py" + names, cwd=self.folder, **options)
        self.addCleanup(program.close)
        if program.hello is None:
            self.fail("the program has not said hello:\n" + program.printed())
        return program

    def refused(self, text, names="", spec=None, name="tasks.py", **options):
        """Starts a program that cannot be loaded. Returns the last line."""
        self.write(text, name)
        program = Program(spec or name + names, cwd=self.folder, **options)
        self.addCleanup(program.close)
        self.assertIsNone(program.hello)
        self.assertEqual(program.wait(), 1)
        self.printed = program.printed()
        return self.printed.rstrip("\n").rpartition("\n")[2]


def become_subreaper():
    """Orphans below this process become its children, as they do with the zygote."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def until(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.005)
