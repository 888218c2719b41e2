"""hold_start.py OFFLOADD SOCKET LOG: starts offloadd on a Unix socket, stops its zygote before it has loaded the
handlers, and prints the pids of both. The daemon goes on running."""

import os
import signal
import subprocess
import sys
import time

START_S = 20


def find_zygote(parent):
    """The pid of the child that is a zygote already, not still a copy of its parent."""
    with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as children:
        for child in children.read().split():
            with open(f"/proc/{child}/cmdline", "rb") as words:
                if b"zygote" in words.read():
                    return int(child)
    return None


def main(program, socket, log_path):
    end = time.monotonic() + START_S
    with open(log_path, "wb") as log:
        command = [program, "--listen", f"unix:{socket}"]
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
    zygote = None
    while zygote is None and time.monotonic() < end:
        try:
            zygote = find_zygote(daemon.pid)
        except OSError:
            pass
    if zygote is None:
        daemon.kill()
        sys.exit("no zygote appeared")
    os.kill(zygote, signal.SIGSTOP)
    print(daemon.pid, zygote)


main(*sys.argv[1:])
