"""python3 -m offload FILE|MODULE[:NAME,...]: the program that offers functions to offload. offloadd starts it."""

from __future__ import annotations

import sys

from ._errors import LoadError
from ._frames import Broken
from ._load import load, sources
from ._program import host_socket, leave, set_up_signals, set_up_streams, start

USAGE = """usage: python3 -m offload FILE|MODULE[:NAME,...]

Offers the functions of a file or a module to offload: those decorated with @offload.task, or those named.
It is started by the service, which it talks to on the socket $OFFLOAD_FD:

    offloadd --python FILE|MODULE[:NAME,...]
"""


def main() -> int:
    arguments = sys.argv[1:]
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        asked = arguments[:1] in (["-h"], ["--help"])
        print(USAGE, end="", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    spec = arguments[0]
    set_up_streams()
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
