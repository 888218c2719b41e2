"""sse.py: a client of event streams for the tests.

sse.py parse                reads a text/event-stream; prints one JSON object a line: {"id", "event", "data"}
sse.py crowd PORT ID COUNT  subscribes so often to one job, at the same time; prints how many got the same events
sse.py sip PORT HEADS HOLD  sends the request in the file HEADS, reads nothing until the file HOLD is gone, then prints
                            the whole answer
"""

import json
import os
import resource
import selectors
import socket
import sys
import time

TIMEOUT_S = 60


def parse(lines):
    """The events of a stream, as the WHATWG standard reads them; comments and unknown fields are left out."""
    event = {}
    for line in lines:
        line = line.rstrip("\r\n")
        if line == "":
            if "data" in event:
                yield {"id": event.get("id"), "event": event.get("event"), "data": json.loads(event["data"])}
            event = {}
            continue
        name, _, value = line.partition(":")
        if name in ("id", "event", "data"):
            event[name] = event.get(name, "") + value.removeprefix(" ")


def unchunk(body):
    """The bytes of a chunked body; None if its end is missing."""
    text = b""
    while True:
        size, found, rest = body.partition(b"\r\n")
        if not found:
            return None
        count = int(size, 16)
        if count == 0:
            return text
        text += rest[:count]
        body = rest[count + 2 :]


def logged(answer):
    """The ids of the events, each once, and the status of the last one: the same for every subscriber."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        return None
    text = unchunk(body)
    events = [] if text is None else list(parse(text.decode().split("\n")))
    if not events:
        return None
    ids = []
    for event in events:
        if event["id"] not in ids:
            ids.append(event["id"])
    return ids, events[-1]["data"]["status"]


def crowd(port, job, count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    answers = [b""] * int(count)
    for number in range(int(count)):
        connection = socket.create_connection(("127.0.0.1", int(port)), TIMEOUT_S)
        connection.sendall(request)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, number)
    end = time.monotonic() + TIMEOUT_S
    while selector.get_map() and time.monotonic() < end:
        for key, _ in selector.select(1):
            piece = key.fileobj.recv(1 << 16)
            answers[key.data] += piece
            if not piece:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    got = [logged(answer) for answer in answers]
    print(sum(one is not None and one == got[0] for one in got))


def sip(port, heads, hold):
    with open(heads, "rb") as file:
        request = file.read()
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(TIMEOUT_S)
    connection.connect(("127.0.0.1", int(port)))
    connection.sendall(request)
    while os.path.exists(hold):
        time.sleep(0.05)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    answer = b""
    try:
        while piece := connection.recv(1 << 20):
            answer += piece
    except ConnectionResetError:
        pass
    head, _, body = answer.partition(b"\r\n\r\n")
    text = unchunk(body) if b"chunked" in head else body
    sys.stdout.buffer.write(b"CUT\n" if text is None else text)


def main(mode, *arguments):
    if mode == "parse":
        for event in parse(sys.stdin):
            print(json.dumps(event), flush=True)
    elif mode == "crowd":
        crowd(*arguments)
    else:
        sip(*arguments)


main(*sys.argv[1:])
