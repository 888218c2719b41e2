"""python3 -m offload FILE|MODULE[:NAME,...]: the program that offers functions to offload. offloadd starts it."""

from __future__ import annotations

import io
import os
import signal
import socket
import sys

from ._errors import LoadError
from ._frames import Broken
from ._load import load, sources
from ._program import leave, start

USAGE = """usage: python3 -m offload FILE|MODULE[:NAME,...]

Offers the functions of a file or a module to offload: those decorated with @offload.task, or those named.
It is started by the service, which it talks to on the socket $OFFLOAD_FD:

    offloadd --python FILE|MODULE[:NAME,...]
"""


def host_socket() -> socket.socket:
    text = os.environ.pop("OFFLOAD_FD", "")
    try:
        sock = socket.socket(fileno=int(text))
    except (ValueError, OSError):
        raise LoadError("OFFLOAD_FD is not a socket: offloadd starts this program (offloadd --python)") from None
    sock.setblocking(True)
    os.set_inheritable(sock.fileno(), False)  # what a task starts must not keep the conversation open
    return sock


def set_up_signals() -> None:
    """Those of a terminal are for the service, which lets jobs finish. Others can be ignored or blocked by whoever has
    started us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def main() -> int:
    arguments = sys.argv[1:]
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        asked = arguments[:1] in (["-h"], ["--help"])
        print(USAGE, end="", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    spec = arguments[0]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    try:
        sock = host_socket()
        set_up_signals()
        sys.argv[:] = [spec.partition(":")[0]]
        module, job_types = load(spec)
        start(sock, job_types, sources(module))
    except LoadError as error:
        print(f"offload: {spec}: {error}", file=sys.stderr)
        return 1
    except Broken as error:
        print(f"offload: the host has broken the protocol: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    leave(main())
