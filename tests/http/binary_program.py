#!/usr/bin/env python3
"""binary_program.py [MEMBERS OF HELLO AS JSON]: a program for the tests of binary data (docs/programs.md).

    give   {data, how}   answers with the data, in the way of WAYS; with "die", the first attempt dies after it has read them
    both   {a, b}        where each came from, and its first bytes
"""
import json
import mmap
import os
import socket
import struct
import sys

FLAGS = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {"binary": True, "fds": True}
host = socket.socket(fileno=int(os.environ["OFFLOAD_FD"]))
pending, held = b"", []


def send(message, binary=b"", fds=()):
    text = json.dumps(message).encode()
    data = struct.pack("<II", len(text), len(binary)) + text + binary
    host.sendall(data[socket.send_fds(host, [data], fds) :] if fds else data)


def receive():
    """(message, binary part, descriptors)"""
    global pending, held
    while True:
        if len(pending) >= 8:
            size, more = struct.unpack("<II", pending[:8])
            if len(pending) >= 8 + size + more:
                text, binary = pending[8 : 8 + size], pending[8 + size : 8 + size + more]
                pending = pending[8 + size + more :]
                message = json.loads(text)
                count = len({one["fd"] for one in message.get("attachments", []) if "fd" in one})
                fds, held = held[:count], held[count:]
                return message, binary, fds
        data, fds, _, _ = socket.recv_fds(host, 1 << 20, 64)
        held += fds
        if not data:
            sys.exit(0)
        pending += data


def memory(data, flags=os.MFD_ALLOW_SEALING):
    fd = os.memfd_create("result", flags)
    os.write(fd, data)
    return fd


def inline(call, data):
    send({"kind": "result", "call": call, "binary": {"media_type": "text/plain"}}, data)


def fd(call, data, size=None, flags=os.MFD_ALLOW_SEALING, media_type="text/plain", change=None):
    made = memory(data, flags)
    kept = change(made) if change else None
    about = {"media_type": media_type, "fd": True, "size": len(data) if size is None else size}
    send({"kind": "result", "call": call, "binary": about}, fds=[made])
    os.close(made)
    return kept


def seal(made, seals=0x1 | 0x2 | 0x4 | 0x8):
    import fcntl

    fcntl.fcntl(made, 1033, seals)


def pipe(call, data):
    ends = os.pipe()
    send({"kind": "result", "call": call, "binary": {"media_type": "text/plain", "fd": True, "size": 0}}, fds=[ends[0]])


def flood(call, data):
    made = memory(data)
    for _ in range(20):
        send({"kind": "progress", "call": call, "done": 1, "total": 2}, fds=[made])


KEPT = []
WAYS = {
    "inline": inline,
    "fd": fd,
    "empty": lambda call, data: inline(call, b""),
    "mapped": lambda call, data: KEPT.append(fd(call, data, change=lambda made: mmap.mmap(made, len(data)))),
    "sealed": lambda call, data: fd(call, data, change=seal),
    "never": lambda call, data: fd(call, data, flags=0),
    "long": lambda call, data: fd(call, data, size=len(data) + 1),
    "short": lambda call, data: fd(call, data, size=len(data) - 1),
    "huge": lambda call, data: fd(call, data, size=1 << 53),
    "type": lambda call, data: fd(call, data, media_type="text/plain\r\nX-Evil: 1"),
    "pipe": pipe,
    "flood": flood,
    "missing": lambda call, data: send(
        {"kind": "result", "call": call, "binary": {"media_type": "text/plain", "fd": True, "size": 3}}
    ),
    "value": lambda call, data: send({"kind": "result", "call": call, "value": 1}, b"more"),
}


def read(one, binary, fds):
    if "fd" in one:
        return os.pread(fds[one["fd"]], one["size"], one["offset"])
    return binary[one["offset"] : one["offset"] + one["size"]]


BYTES = {"type": "string", "contentEncoding": "base64"}
TYPES = [
    {"name": "give", "params": {"properties": {"data": BYTES, "how": {"type": "string"}, "die": {"type": "boolean"}},
                                "required": ["data"]}},
    {"name": "both", "params": {"properties": {"a": BYTES, "b": {"anyOf": [BYTES, {"type": "null"}]}}, "required": ["a"]}},
]
send({"kind": "hello", "protocol": 1, "types": TYPES, **FLAGS})
while True:
    message, binary, fds = receive()
    if message["kind"] == "exit":
        break
    if message["kind"] != "run":
        continue
    listed = message.get("attachments", [])
    for i, params in enumerate(message["calls"]):
        call = message["call"] + i
        found = {}
        for name, value in params.items():
            if isinstance(value, dict):
                one = listed[value["attachment"]]
                where = "fd" if "fd" in one else "frame"
                found[name] = {"where": where, "type": one["media_type"], "size": one["size"], "bytes": read(one, binary, fds)}
        if message["type"] == "both":
            for one in found.values():
                one["bytes"] = one["bytes"][:3].decode()
            send({"kind": "result", "call": call, "value": {**params, **found}})
        elif "data" not in found:
            send({"kind": "result", "call": call, "value": params["data"]})
        elif params.get("die") and message["attempt"] == 0:
            os._exit(3)
        else:
            how = params.get("how", "inline")
            WAYS["fd" if message["attempt"] > 0 and not params.get("die") else how](call, found["data"]["bytes"])
    for one in fds:
        os.close(one)
