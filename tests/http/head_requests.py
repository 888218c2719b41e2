#!/usr/bin/env python3
"""head_requests.py PORT PATH...: sends HEAD for each path on a connection of its own, with and without Accept-Encoding: gzip, and
GET /livez on the same connection behind it, unless the answer says that it is closed. Complains about every byte that
follows the head, and about a head that differs from that of GET."""
import http.client
import socket
import sys

PORT = int(sys.argv[1])
CHANGING = {"date", "x-request-id", "connection", "content-length", "transfer-encoding", "etag", "server-timing"}


def head_of(text):
    lines = text.decode("latin-1").split("\r\n")
    return lines[0].split()[1], {line.split(":")[0].lower(): line.split(":", 1)[1].strip() for line in lines[1:] if line}


def read_head(connection):
    text = b""
    while b"\r\n\r\n" not in text:
        some = connection.recv(65536)
        if not some:
            return text, b""
        text += some
    head, _, rest = text.partition(b"\r\n\r\n")
    return head, rest


def get(path, headers):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
    connection.request("GET", path, headers={"Accept-Encoding": "", **headers})
    response = connection.getresponse()
    found = str(response.status), {name.lower(): value for name, value in response.getheaders()}
    connection.close()
    return found


def faults(path, headers):
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", PORT), timeout=20) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode())
        head, rest = read_head(connection)
        status, found = head_of(head)
        if found.get("connection", "").lower() == "close":
            while some := connection.recv(65536):
                rest += some
        else:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while some := connection.recv(65536):
                rest += some
            if not rest.startswith(b"HTTP/1.1 200 ") or not rest.endswith(b"\r\n\r\nok\n"):
                yield f"behind the head is {rest[:80]!r}"
            rest = b""
        if rest:
            yield f"behind the head is {rest[:80]!r}"
    wanted_status, wanted = get(path, headers)
    if status != wanted_status:
        yield f"HEAD is {status}, GET is {wanted_status}"
    for name in sorted((set(wanted) | set(found)) - CHANGING):
        if wanted.get(name) != found.get(name):
            yield f"{name} is {found.get(name)!r}, with GET {wanted.get(name)!r}"
    if "content-length" in found and "transfer-encoding" in wanted:
        yield "it has a Content-Length that GET has not"


bad = 0
for path in sys.argv[2:]:
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        for fault in faults(path, headers):
            print(f"{path} {headers}: {fault}")
            bad += 1
sys.exit(bad > 0)
