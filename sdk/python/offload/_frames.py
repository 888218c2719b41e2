"""Frames: how the conversation with the host is cut into messages (docs/programs.md)."""

from __future__ import annotations

import collections
import json
import os
import socket
import struct
from typing import Any, Optional

HEAD = struct.Struct("<II")
MAX_SIZE = 256 << 20  # of the JSON in a frame
ROOM = 1 << 16
KEEP = 1 << 22
MAX_BINARY = 256 << 20
DESCRIPTORS = 64  # that a frame of the host can bring
# As plain integers: the operators of the enum are functions in Python, in which a signal would find nobody of ours.
CLOSE_ON_EXEC, NO_WAIT = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_DONTWAIT)

_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


class Broken(Exception):
    """What came is no frame."""


class HangUp(Exception):
    """The host has closed the socket, or is gone."""


class Reader:
    """Reads frames, as many at a time as there are. It never reads from two places at once: the caller sees to that."""

    def __init__(self, sock: socket.socket, descriptors: bool) -> None:
        self.sock = sock
        self.room = bytearray(ROOM)
        self.view = memoryview(self.room)
        self.start = self.end = 0  # of what was received and is no message yet
        self.messages: collections.deque[Any] = collections.deque()
        self.descriptors: Optional[list[int]] = [] if descriptors else None  # that came along, in their order

    def next(self) -> Any:
        """The next message. Waits for it."""
        while not self.messages:
            self.receive(0)
            self.cut()
        return self.messages.popleft()

    def poll(self) -> None:
        """Takes what has come, without waiting. The messages wait for next()."""
        try:
            while self.receive(NO_WAIT):
                self.cut()
        except BlockingIOError:
            pass
        self.cut()

    def receive(self, flags: int) -> bool:
        """Receives once. True: the room was filled, so there may be more."""
        to = self.view
        if self.start == self.end:
            self.start = self.end = 0
            if len(to) > KEEP:
                self.resize(ROOM)
                to = self.view
        else:
            missing = HEAD.size
            if self.end - self.start >= HEAD.size:
                missing += sum(HEAD.unpack_from(self.room, self.start)) - (self.end - self.start)
            if self.end + missing > len(to):
                self.resize(max(ROOM, self.end - self.start + missing))
            to = self.view[self.end :]
        try:
            size = self.sock.recv_into(to, 0, flags) if self.descriptors is None else self.receive_more(to, flags)
        except ConnectionResetError:
            raise HangUp from None
        if size == 0:
            raise HangUp
        self.end += size
        return size == len(to)

    def receive_more(self, to: memoryview, flags: int) -> int:
        """The same with descriptors."""
        assert self.descriptors is not None
        space = socket.CMSG_SPACE(DESCRIPTORS * 4)
        size, extra, _, _ = self.sock.recvmsg_into([to], space, flags | CLOSE_ON_EXEC)
        for level, kind, data in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self.descriptors += struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])
        return size

    def resize(self, size: int) -> None:
        """Moves what is there to the front of another room."""
        room = bytearray(size)
        used = self.end - self.start
        room[:used] = self.view[self.start : self.end]
        self.room, self.view, self.start, self.end = room, memoryview(room), 0, used

    def cut(self) -> None:
        """Makes messages of all frames that are there as a whole."""
        while self.end - self.start >= HEAD.size:
            size, binary = HEAD.unpack_from(self.room, self.start)
            if size > MAX_SIZE or size < 2 or binary > MAX_BINARY:
                raise Broken(f"a frame of {size} + {binary} bytes")
            begin = self.start + HEAD.size
            if begin + size + binary > self.end:
                return
            message = parse(self.view[begin : begin + size])
            self.start = begin + size + binary
            if "attachments" in message:
                self.attach(message, bytes(self.view[begin + size : self.start]))
            elif binary > 0:
                raise Broken(f"a frame of {size} + {binary} bytes, whose binary part nothing names")
            self.messages.append(message)

    def attach(self, message: dict[str, Any], binary: bytes) -> None:
        """Makes the attachments of a message from what came with it."""
        from ._binary import read_attachments

        listed = message["attachments"]
        try:
            descriptors = self.take(len({one["fd"] for one in listed if "fd" in one}))
            try:
                message["attachments"] = read_attachments(listed, binary, descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            message["parts_of"] = [one.get("part") for one in listed]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise Broken(f"attachments that are not there: {error!r}") from None

    def take(self, count: int) -> list[int]:
        """So many descriptors that came along. The caller closes them."""
        found, rest = (self.descriptors or [])[:count], (self.descriptors or [])[count:]
        if self.descriptors is not None:
            self.descriptors = rest
        return found

    def close(self) -> None:
        for descriptor in self.descriptors or []:
            os.close(descriptor)
        self.sock.close()


def parse(data: memoryview) -> Any:
    try:
        text = str(data, "utf-8")
        try:
            message, end = _scan(text, 0)
        except StopIteration:
            end = -1
        if end != len(text):  # there is white space around it, or it is wrong
            message = json.loads(text)
    except ValueError as error:
        raise Broken(f"a frame that is no JSON: {error}") from None
    if type(message) is not dict:
        raise Broken("a frame that is no object")
    return message


def frame(text: bytes) -> bytes:
    return HEAD.pack(len(text), 0) + text
