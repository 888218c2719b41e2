"""Bodies that are not JSON alone: forms with binary parts (RFC 7578), and results that are bytes."""

from __future__ import annotations

import base64
import io
import mmap
import os
import secrets
from typing import Any, Optional

from ._annotations import Shape
from ._binary import NPY, OCTETS, Attachment, array_of, parts_of
from ._errors import Unfit
from ._http import MAX_HEAD, Body, Broken
from ._shared import Memory

SMALL = 4096  # bytes; what has fewer is base64 in the JSON, which every type takes


def file_part(file: Any) -> Any:
    """What an open file has from its position on: mapped, if it is one on disk."""
    try:
        fd, at = file.fileno(), file.tell()
        size = os.fstat(fd).st_size
        if size > at:
            return memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ))[at:]
    except (AttributeError, OSError, ValueError):
        pass
    return file.read()


def binary_part(value: Any, name: str) -> Optional[tuple[str, list[Any]]]:
    """(media type, buffers) of a parameter that is binary: bytes, an array, an image, a file that is open for reading
    bytes. None: it is something else."""
    found = parts_of(value, None, name)
    if found is None and callable(getattr(value, "read", None)):
        data = None if isinstance(value, io.TextIOBase) else file_part(value)
        if not isinstance(data, (bytes, memoryview)):
            raise TypeError(f"{name} is a file that is not open for reading bytes (mode 'rb')")
        return OCTETS, [data]
    return found


class Part:
    """A data part. `slot` is what stands for it in the JSON: {"part": N}, or {"shm": …} if it is shared."""

    __slots__ = ("media_type", "buffers", "size", "slot", "memory")

    def __init__(self, media_type: str, buffers: list[Any], size: int) -> None:
        self.media_type, self.buffers, self.size = media_type, buffers, size
        self.slot: dict[str, Any] = {}
        self.memory: Optional[Memory] = None

    def share(self) -> None:
        self.memory = Memory(self.buffers)

    def unshare(self) -> None:
        if self.memory is not None:
            self.memory.close()
            self.memory = None


class Form:
    """The data parts of a submission. A value that is there several times is sent once."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.known: dict[int, tuple[Any, Part]] = {}  # by id; the values are kept so that their ids stay theirs

    def add(self, value: Any, media_type: str, buffers: list[Any]) -> Any:
        """What stands for the value in the JSON."""
        if id(value) in self.known:
            return self.known[id(value)][1].slot
        size = sum(memoryview(buffer).nbytes for buffer in buffers)
        if size < SMALL:
            return base64.b64encode(b"".join(buffers)).decode("ascii")
        part = Part(media_type, buffers, size)
        self.parts.append(part)
        self.known[id(value)] = (value, part)
        return part.slot

    def fill_slots(self) -> list[Part]:
        """Says in the JSON where each part is. Returns those that are sent."""
        sent = []
        for part in self.parts:
            part.slot.clear()
            if part.memory is not None:
                part.slot["shm"] = {"name": part.memory.name}
            else:
                part.slot["part"] = len(sent)
                sent.append(part)
        return sent

    def finish(self, text: bytes, sent: list[Part]) -> tuple[str, Body]:
        """(Content-Type, body) of the submission with that JSON and these parts."""
        if not sent:
            return "application/json", text
        boundary = f"offload-{secrets.token_hex(16)}"
        line = f"\r\n--{boundary}\r\nContent-Disposition: form-data; name="
        body: list[Any] = [f'{line[2:]}"job"\r\nContent-Type: application/json\r\n\r\n'.encode() + text]
        for part in sent:
            body.append(f'{line}"data"\r\nContent-Type: {part.media_type}\r\n\r\n'.encode())
            body += part.buffers
        body.append(f"\r\n--{boundary}--\r\n".encode())
        return f"multipart/form-data; boundary={boundary}", body


def read_binary(body: Any, media_type: str, shape: Optional[Shape]) -> Any:
    """The value of a result that is not JSON: as the return annotation says, else an array if it is one (and numpy is
    there), else bytes."""
    view = memoryview(body)
    if shape is not None:
        try:
            return shape.read(Attachment(view, -1, 0, len(view), media_type))
        except Unfit:
            pass
    if media_type == NPY:
        try:
            return array_of(view)
        except (ImportError, Unfit):
            pass
    return body if isinstance(body, bytes) else bytes(body)


def mixed_parts(content_type: str, body: bytes) -> list[tuple[str, memoryview]]:
    """(media type, bytes) of each part of a multipart/mixed document, as the service writes it: each part has a
    Content-Length. Raises Broken."""
    _, found, boundary = content_type.partition("boundary=")
    mark = b"--" + boundary.strip('"').encode("latin-1")
    if not found or not boundary:
        raise Broken("it has no boundary")
    view, at, parts = memoryview(body), 0, []
    while not body.startswith(mark + b"--", at):
        end = body.find(b"\r\n\r\n", at, at + MAX_HEAD)
        if not body.startswith(mark + b"\r\n", at) or end < 0:
            raise Broken("a part has no head")
        fields = {}
        for line in body[at + len(mark) + 2 : end].decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        length = fields.get("content-length", "")
        begin = end + 4
        if not (length.isascii() and length.isdigit()) or len(length) > 18 or begin + int(length) > len(body):
            raise Broken("a part has no length, or too much of it")
        at = begin + int(length)
        parts.append((fields.get("content-type", "").partition(";")[0].strip().lower(), view[begin:at]))
        if not body.startswith(b"\r\n", at):
            raise Broken("a part is longer than it says")
        at += 2
    return parts
