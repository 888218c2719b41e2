#!/usr/bin/python3
"""reaper.py COMMAND...: runs the command, and then looks for processes that it has left behind.

It adopts them: as a subreaper it becomes the parent of every orphan below it, whatever its name, and of no other
process. A process that has not ended some seconds after the command is killed, and named as a failed test in TAP.
Exits with the command's status, or with 1 if something was left behind.
"""
import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 10


def reap():
    """Reaps the children that have ended. False: no child is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return False
    return True


def run(command):
    """Runs it, and reaps the orphans that end meanwhile: kill -0 succeeds for a process that was not reaped. Returns
    the status, or minus the signal that ended the command."""
    command = subprocess.Popen(command)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == command.pid:
            command.returncode = os.waitstatus_to_exitcode(status)
            return command.returncode


def children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as f:
        return [int(pid) for pid in f.read().split()]


def name_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            words = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return words or f.read().strip()
    except OSError:
        return ""  # it has ended since


def main():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("reaper.py: prctl: " + os.strerror(ctypes.get_errno()))
    # A shell starts what it puts in the background with SIGINT ignored, and the tests of ctrl-C would wait for ever.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    status = run(sys.argv[1:])
    end = time.monotonic() + GRACE_S
    while reap() and time.monotonic() < end:
        time.sleep(0.02)
    sys.stdout.flush()
    left = set()
    while reap():  # the children of a killed process become ours, too
        for pid in set(children()) - left:
            print(f"not ok - left behind: process {pid}: {name_of(pid)}", flush=True)
            os.kill(pid, signal.SIGKILL)
            left.add(pid)
        time.sleep(0.02)
    sys.exit(1 if left else status if status >= 0 else 128 - status)


main()
