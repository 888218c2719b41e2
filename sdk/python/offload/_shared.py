"""Large parameters in shared memory, for a service on the same machine (docs/binary.md).

A service that is reached by a Unix socket can read what lies in /dev/shm, so what is large is written there once, and
not sent. The object has a name, with the client's pid, only as long as it waits for the job. If the service does not take it, it is sent
as ever.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any

DIRECTORY = "/dev/shm"  # where shm_open(3) has its objects
FROM = 1 << 20  # bytes; what has fewer is sent
MAX_TEXT = 32 << 10  # bytes of JSON; in a longer one memory cannot be named
MAX_CALLS = 64  # of a map
PIECE = 1 << 28


class Memory:
    """An object of shm_open(3) with the bytes of these buffers. Raises an OSError if there is no room for it."""

    __slots__ = ("name", "path", "pid")

    def __init__(self, buffers: Sequence[Any]) -> None:
        self.pid = os.getpid()
        self.name = f"/offload-{self.pid}-{secrets.token_hex(16)}"
        self.path = DIRECTORY + self.name
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(self.path, flags, 0o600)
        try:
            os.posix_fallocate(fd, 0, sum(memoryview(buffer).nbytes for buffer in buffers))
            for buffer in buffers:
                left = memoryview(buffer).cast("B")
                while left.nbytes:
                    left = left[os.write(fd, left[:PIECE]) :]
        except BaseException:
            self.close()
            raise
        finally:
            os.close(fd)

    def close(self) -> None:
        """Takes its name away. A process that was forked meanwhile does not."""
        if self.pid == os.getpid():
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
