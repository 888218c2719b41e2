"""Pickles with their large parts beside them, and the memory in which those travel.

A large part (an array's data, PEP 574) or a large pickle is not copied through JSON and sockets. It is written into a
memfd (memfd_create(2)), which the other process maps. A memfd has no name, so nothing is left when its processes end,
in whatever way. And it does not count against the size of /dev/shm, which is 64 MiB in a container.

A packed object lies in a memfd like this; `sizes` are the bytes of each part:

    offset (a whole page)    the pickle, then each buffer; each begins at a multiple of 64 bytes
"""

from __future__ import annotations

import copyreg
import ctypes
import functools
import io
import mmap
import os
import pickle
import threading
import types
import weakref
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, Optional, Union

LARGE = 64 << 10  # what has fewer bytes stays in the pickle, and the pickle in the JSON
SLAB = 8 << 20  # calls with less than an eighth of it share a memfd, so that descriptors do not run out
ALIGN = 64  # of buffers: arrays want to begin at a cache line
PAGE = mmap.ALLOCATIONGRANULARITY

Part = Union[bytes, memoryview]
PLAIN = {bool, bytes, float, int, str, type(None)}  # what has no parts, and is pickled in one way only


def dumps_call(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Part]:
    """dumps((function, args, kwargs)), in half of the time for the usual short call."""
    if not kwargs and type(function) is types.FunctionType and PLAIN.issuperset(map(type, args)):
        return [pickle.dumps((function, args, kwargs), 5)]
    return dumps((function, args, kwargs))


def dumps(value: Any) -> list[Part]:
    """The pickle, and its large buffers. As multiprocessing pickles: connections and the like can be sent, too."""
    if type(value) in PLAIN:
        return [pickle.dumps(value, 5)]
    parts: list[Part] = [b""]

    def keep_within(buffer: pickle.PickleBuffer) -> bool:
        flat = buffer.raw()
        if flat.nbytes < LARGE:
            return True
        parts.append(flat)
        return False

    file = io.BytesIO()
    pickler = pickle.Pickler(file, 5, buffer_callback=keep_within)
    extra: dict[Any, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]
    pickler.dispatch_table = {**copyreg.dispatch_table, **extra}
    pickler.dump(value)
    parts[0] = file.getvalue()
    return parts


def is_large(parts: Sequence[Part]) -> bool:
    return len(parts) > 1 or len(parts[0]) >= LARGE


def round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def sizes_of(parts: Sequence[Part]) -> list[int]:
    return [part.nbytes if isinstance(part, memoryview) else len(part) for part in parts]


def span(sizes: Sequence[int]) -> int:
    """How many bytes parts of these sizes take together."""
    return sum(round_up(size, ALIGN) for size in sizes)


def write(fd: int, offset: int, parts: Sequence[Part]) -> None:
    """Writes the parts. An OSError if there is no memory, and no SIGBUS later: that is why it is not mapped here."""
    for part in parts:
        left = memoryview(part)
        at, offset = offset, offset + round_up(left.nbytes, ALIGN)
        while left.nbytes:
            done = os.pwrite(fd, left, at)
            left = left[done:]
            at += done


def new_memory() -> int:
    return os.memfd_create("offload", os.MFD_CLOEXEC)


def pack_alone(parts: Sequence[Part]) -> int:
    """The descriptor of a memfd with these parts alone. The caller closes it."""
    fd = new_memory()
    try:
        write(fd, 0, parts)
        os.ftruncate(fd, span(sizes_of(parts)))
    except BaseException:
        os.close(fd)
        raise
    return fd


@functools.lru_cache(maxsize=None)
def libc() -> Any:
    found = ctypes.CDLL(None, use_errno=True)
    found.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    found.mmap.restype = ctypes.c_void_p
    found.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return found


def map_private(fd: int, offset: int, size: int) -> memoryview:
    """What is written there nobody else sees, and it stays as long as something uses it. It needs no descriptor any
    more, while an mmap.mmap keeps one for itself (before Python 3.13), and there can be thousands of arrays."""
    at = libc().mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, fd, offset)
    if at == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    memory = (ctypes.c_ubyte * size).from_address(at)
    weakref.finalize(memory, libc().munmap, at, size).atexit = False
    return memoryview(memory).cast("B")


def loads(fd: int, offset: int, sizes: Sequence[int]) -> Any:
    """The object. Its arrays use the memory without copying it: see map_private."""
    view = map_private(fd, offset, span(sizes))
    parts = []
    at = 0
    for size in sizes:
        parts.append(view[at : at + size])
        at += round_up(size, ALIGN)
    return pickle.loads(parts[0], buffers=parts[1:])


class Slab:
    """A memfd that several calls share. It is closed when it is full and all of them have been freed."""

    __slots__ = ("serial", "fd", "used", "users")

    def __init__(self, serial: int, size: int) -> None:
        self.serial, self.fd, self.used, self.users = serial, new_memory(), 0, 0
        os.ftruncate(self.fd, size)


class Slabs:
    """The large parts of the calls that have not ended. Any thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.slabs: dict[int, Slab] = {}
        self.current: Optional[Slab] = None  # where the next small ones go
        self.serial = 0

    def put(self, parts: Sequence[Part]) -> tuple[int, int, list[int]]:
        """(serial, offset, sizes). The memory is kept until free(serial)."""
        sizes = sizes_of(parts)
        size = round_up(span(sizes), PAGE)
        with self.lock:
            slab = self.place(size)
            offset = slab.used
            slab.used += size
            slab.users += 1
        try:
            write(slab.fd, offset, parts)
        except BaseException:
            self.free(slab.serial)
            raise
        return slab.serial, offset, sizes

    def place(self, size: int) -> Slab:
        """A slab with so much room."""
        alone = size > SLAB // 8
        if not alone and self.current is not None and self.current.used + size <= SLAB:
            return self.current
        self.serial += 1
        slab = self.slabs[self.serial] = Slab(self.serial, size if alone else SLAB)
        if not alone:
            full, self.current = self.current, slab
            self.close_if_unused(full)
        return slab

    def descriptor(self, serial: int) -> Optional[int]:
        """A duplicate, which the caller closes. None: there is no such memory any more."""
        with self.lock:
            slab = self.slabs.get(serial)
            return None if slab is None else os.dup(slab.fd)

    def free(self, serial: int) -> None:
        with self.lock:
            slab = self.slabs.get(serial)
            if slab is not None:
                slab.users -= 1
                self.close_if_unused(slab)

    def close_if_unused(self, slab: Optional[Slab]) -> None:
        if slab is not None and slab.users == 0 and slab is not self.current:
            del self.slabs[slab.serial]
            os.close(slab.fd)

    def close(self) -> None:
        """Frees all."""
        with self.lock:
            for slab in self.slabs.values():
                os.close(slab.fd)
            self.slabs.clear()
            self.current = None
