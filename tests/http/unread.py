"""unread.py PORT PID COUNT REQUEST [BODY_BYTES]: so many clients send a request and read nothing of its answer.

REQUEST is "METHOD TARGET" and, after that, lines of headers. With BODY_BYTES each client announces so many bytes of a
body, and sends all but the last. BODY_BYTES can be @FILE: then each sends the whole file.

They stay for some seconds; meanwhile the service is watched. Then, if the request is a GET, one more client asks for
the same and reads it, again and again until it gets it ("read": the status). Then they all leave, until it holds no more than before. Prints
a JSON object: what was the most that it held, by part and in total without the workers ("held", "total"); how far its
resident memory grew ("rss"); the statuses of /livez ("livez"); how many connections it closed ("closed"); and how much
it still held of bodies and answers after they had left ("left").
"""

import collections
import http.client
import json
import os
import re
import resource
import socket
import sys
import threading
import time

WATCH_S = 3.5
PATIENCE_S = 30


def get(port, target):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", target)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def held_now(port):
    status, text = get(port, "/metrics")
    parts = {what: int(n) for what, n in re.findall(r'^offload_held_bytes\{what="(\w+)"\} (\d+)$', text, re.M)}
    parts.pop("workers", None)
    closed = re.search(r"^offload_http_unread_closed_total (\d+)$", text, re.M)
    return (parts, int(closed.group(1)) if closed else 0) if status == 200 else None


def rss_of(pid):
    """Resident memory, and the memfds, which are not counted there."""
    with open(f"/proc/{pid}/statm") as f:
        pages = int(f.read().split()[1])
    memfds = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if "memfd:" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                s = os.stat(f"/proc/{pid}/fd/{fd}")
                memfds[s.st_ino] = s.st_blocks * 512
        except OSError:
            pass
    return pages * os.sysconf("SC_PAGESIZE") + sum(memfds.values())


def client(port, request, sockets):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.settimeout(PATIENCE_S)
    s.connect(("127.0.0.1", port))
    sockets.append(s)
    try:
        s.sendall(request)
    except OSError:
        pass  # it was rejected, and closed


def request_of(text, body):
    lines = text.split("\n")
    head = [f"{lines[0]} HTTP/1.1", "Host: localhost"] + lines[1:]
    content = b""
    if body is not None:
        content = open(body[1:], "rb").read() if body.startswith("@") else b" " * (int(body) - 1)
        size = len(content) if body.startswith("@") else int(body)
        head += ["Content-Type: application/json", f"Content-Length: {size}"]
    return "\r\n".join(head + ["", ""]).encode() + content


def main(port, pid, count, text, body=None):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = request_of(text, body)
    before, closed_before = held_now(port)
    most, total, rss_before, rss, closed, sockets = dict(before), 0, rss_of(pid), 0, 0, []
    livez = collections.Counter()
    threads = [threading.Thread(target=client, args=(port, request, sockets), daemon=True) for _ in range(count)]
    for t in threads:
        t.start()
    end = time.monotonic() + WATCH_S
    while time.monotonic() < end:
        livez[get(port, "/livez")[0]] += 1
        now = held_now(port)
        rss = max(rss, rss_of(pid) - rss_before)
        if now is not None:
            total = max(total, sum(now[0].values()))
            closed = now[1]
            most = {what: max(n, now[0][what]) for what, n in most.items()}
        time.sleep(0.05)
    read = None
    end = time.monotonic() + PATIENCE_S
    while text.startswith("GET") and "events" not in text and read != 200 and time.monotonic() < end:
        read, _ = get(port, text.split()[1])
        time.sleep(0.1)
    closed = (held_now(port) or (None, closed))[1]
    for s in sockets:
        s.close()
    for t in threads:
        t.join()
    end = time.monotonic() + PATIENCE_S
    left = None
    while left != 0 and time.monotonic() < end:
        now = held_now(port)
        # The one connection is that which asks.
        left = now and sum(max(0, now[0][what] - before[what]) for what in ("bodies", "answers", "connections"))
        time.sleep(0.05)
    print(json.dumps({"held": most, "total": total, "rss": rss, "livez": livez, "closed": closed - closed_before, "left": left, "read": read}))


main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
