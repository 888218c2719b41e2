"""heads.py PORT GROUP [CA]: sends the raw requests of a group, each on a connection of its own, and checks the answers.

A case is a name, the bytes, and the statuses that are wanted, in their order. The connection must end within PATIENCE_S,
an answer above 399 must be a problem document with an X-Request-Id, and nothing else must come. "half" in a group's name:
the client closes its side behind the request. With CA it speaks TLS. Prints what is wrong, and exits with 1 then."""
import json
import re
import socket
import ssl
import sys

PATIENCE_S = 8
ECHO = b'{"type":"echo","params":{"value":1}}'
SIZE = b"%d" % len(ECHO)
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
LAST = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HIDDEN = b"DELETE /v1/jobs/0192d0a0-0000-7000-8000-000000000000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED = b"%x\r\n" % len(ECHO) + ECHO + b"\r\n0\r\n\r\n"


def headed(*fields, body=ECHO):
    return POST + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body + LAST


def target(text, fields=b"Host: localhost\r\n"):
    return b"GET " + text + b" HTTP/1.1\r\n" + fields + b"Connection: close\r\n\r\n"


GROUPS = {
    "good": [
        ("a length", headed(b"Content-Length: " + SIZE), [200, 404]),
        ("zeros before the length", headed(b"Content-Length: 000" + SIZE), [200, 404]),
        ("chunks", headed(b"Transfer-Encoding: CHUNKED", body=CHUNKED), [200, 404]),
        ("an extension", headed(b"Transfer-Encoding: chunked", body=CHUNKED.replace(b"\r\n", b";a=b\r\n", 1)), [200, 404]),
        ("a trailer", headed(b"Transfer-Encoding: chunked", body=CHUNKED[:-2] + b"X: y\r\nPrefer: respond-async\r\n\r\n"), [200, 404]),
        ("empty lines before the request", b"\r\n\r\n" + GET + b"\r\n" + LAST, [200, 404]),
        ("GET with a body", GET + b"Content-Length: 5\r\n\r\nhello" + LAST, [200, 404]),
        ("GET with chunks", GET + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + LAST, [200, 404]),
        ("a body that looks like a request", GET + b"Content-Length: %d\r\n\r\n" % len(HIDDEN) + HIDDEN + LAST, [200, 404]),
        ("chunks that look like a request", GET + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n0\r\n\r\n" + LAST, [200, 404]),
        ("an extension that looks like a request", headed(b"Transfer-Encoding: chunked", body=CHUNKED.replace(b"\r\n", b";GET /smuggled HTTP/1.1\r\n", 1)), [200, 404]),
        ("a trailer that has a length", headed(b"Transfer-Encoding: chunked", body=CHUNKED[:-2] + b"Content-Length: 100\r\nTransfer-Encoding: gzip\r\n\r\n"), [200, 404]),
        ("extensions in more than one read", headed(b"Transfer-Encoding: chunked", body=(b"1;" + b"a" * 100 + b"\r\n \r\n") * 150 + CHUNKED), [200, 404]),
        ("many requests with extensions", headed(b"Transfer-Encoding: chunked", body=(b"1;" + b"a" * 100 + b"\r\n \r\n") * 50 + CHUNKED)[:-len(LAST)] * 8 + LAST, [200] * 8 + [404]),
        ("a tab before the coding", headed(b"Transfer-Encoding:\tchunked", body=CHUNKED), [200, 404]),
        ("a tab before the length", headed(b"Content-Length:\t" + SIZE), [200, 404]),
        ("zeros before the size of a chunk", headed(b"Transfer-Encoding: chunked", body=b"000" + CHUNKED), [200, 404]),
        ("HTTP/1.0 without Host", b"GET /livez HTTP/1.0\r\n\r\n", [200]),
        ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", [204]),
        ("the absolute form", target(b"http://127.0.0.1/livez"), [200]),
        ("the absolute form with a query", target(b"HTTP://localhost:80/v1/jobs?limit=1"), [200]),
        ("the absolute form of https", target(b"https://localhost/livez", b"Host: elsewhere.example\r\n"), [200]),
        ("an escape", target(b"/%6Civez"), [200]),
    ],
    "framing": [
        (name, headed(*fields, body=body), [status]) for name, status, fields, body in [
            ("length and chunks", 400, (b"Content-Length: " + SIZE, b"Transfer-Encoding: chunked"), CHUNKED),
            ("chunks and length", 400, (b"Transfer-Encoding: chunked", b"Content-Length: 4"), CHUNKED),
            ("two lengths", 400, (b"Content-Length: " + SIZE, b"Content-Length: 0"), ECHO),
            ("two equal lengths", 400, (b"Content-Length: " + SIZE, b"Content-Length: " + SIZE), ECHO),
            ("a list of lengths", 400, (b"Content-Length: " + SIZE + b", " + SIZE,), ECHO),
            ("a space behind the length", 400, (b"Content-Length: " + SIZE + b" ",), ECHO),
            ("a sign", 400, (b"Content-Length: +" + SIZE,), ECHO),
            ("minus nothing", 400, (b"Content-Length: -0",), b""),
            ("no digits", 400, (b"Content-Length: x",), ECHO),
            ("no length", 400, (b"Content-Length:",), ECHO),
            ("a huge length", 400, (b"Content-Length: 18446744073709551652",), ECHO),
            ("a folded length", 400, (b"Content-Length: 3\r\n 6",), ECHO),
            ("an unknown coding", 501, (b"Transfer-Encoding: xchunked",), CHUNKED),
            ("gzip, chunked", 501, (b"Transfer-Encoding: gzip, chunked",), CHUNKED),
            ("a space behind the coding", 400, (b"Transfer-Encoding: chunked ",), CHUNKED),
            ("a tab behind the coding", 400, (b"Transfer-Encoding: chunked\t",), CHUNKED),
            ("a comma behind the coding", 501, (b"Transfer-Encoding: chunked,",), CHUNKED),
            ("a comma before the coding", 501, (b"Transfer-Encoding: ,chunked",), CHUNKED),
            ("chunked twice", 400, (b"Transfer-Encoding: chunked, chunked",), CHUNKED),
            ("two lines with chunked", 400, (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), CHUNKED),
            ("chunked before another", 400, (b"Transfer-Encoding: chunked, identity",), CHUNKED),
            ("a space before the colon", 400, (b"Transfer-Encoding : chunked", b"Content-Length: 4"), CHUNKED),
            ("a folded coding", 400, (b"Transfer-Encoding:\r\n chunked", b"Content-Length: 4"), CHUNKED),
            ("a NUL in a value", 400, (b"X: a\0b", b"Content-Length: " + SIZE), ECHO),
            ("a NUL in a name", 400, (b"X\0Y: a", b"Content-Length: " + SIZE), ECHO),
            ("a bare CR", 400, (b"X: a\rTransfer-Encoding: chunked", b"Content-Length: " + SIZE), ECHO),
            ("a bare LF", 400, (b"X: a\nTransfer-Encoding: chunked", b"Content-Length: " + SIZE), ECHO),
            ("no colon", 400, (b"foo", b"Content-Length: " + SIZE), ECHO),
            ("no name", 400, (b": foo", b"Content-Length: " + SIZE), ECHO),
            ("a size that is no number", 400, (b"Transfer-Encoding: chunked",), b"0x24\r\n" + ECHO + b"\r\n0\r\n\r\n"),
            ("a huge chunk", 400, (b"Transfer-Encoding: chunked",), b"10000000000000024\r\n" + ECHO + b"\r\n0\r\n\r\n"),
            ("a chunk that is too long", 400, (b"Transfer-Encoding: chunked",), b"20\r\n" + ECHO + b"\r\n0\r\n\r\n"),
            ("a space behind the size", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b" \r\n", 1)),
            ("chunks by LF", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b"\n")),
            ("two different lengths, one in small letters", 400, (b"Content-Length: " + SIZE, b"content-length: 3"), ECHO),
            ("a list of different lengths", 400, (b"Content-Length: 0, " + SIZE,), ECHO),
            ("a length in hexadecimal digits", 400, (b"Content-Length: 0x24",), ECHO),
            ("a length with an underscore", 400, (b"Content-Length: 3_6",), ECHO),
            ("a quoted length", 400, (b'Content-Length: "36"',), ECHO),
            ("a tab behind the length", 400, (b"Content-Length: " + SIZE + b"\t",), ECHO),
            ("a NUL behind the length", 400, (b"Content-Length: " + SIZE + b"\0",), ECHO),
            ("a minus", 400, (b"Content-Length: -36",), ECHO),
            ("a space before the colon of the length", 400, (b"Content-Length : " + SIZE,), ECHO),
            ("a tab before the colon", 400, (b"Transfer-Encoding\t: chunked", b"Content-Length: " + SIZE), CHUNKED),
            ("a space before the name", 400, (b"X: y", b" Transfer-Encoding: chunked", b"Content-Length: " + SIZE), CHUNKED),
            ("a space before the first name", 400, (b" Transfer-Encoding: chunked",), CHUNKED),
            ("a name with a space", 400, (b"Transfer Encoding: chunked", b"Content-Length: " + SIZE), CHUNKED),
            ("a name beyond ASCII", 400, (b"Transfer-Encoding\xa0: chunked", b"Content-Length: " + SIZE), CHUNKED),
            ("a vertical tab before the coding", 400, (b"Transfer-Encoding: \x0bchunked",), CHUNKED),
            ("a vertical tab behind the coding", 400, (b"Transfer-Encoding: chunked\x0b",), CHUNKED),
            ("a NUL behind the coding", 400, (b"Transfer-Encoding: chunked\0",), CHUNKED),
            ("a coding folded behind its name", 400, (b"Transfer-Encoding: chunked\r\n , identity",), CHUNKED),
            ("a coding folded by a tab", 400, (b"Transfer-Encoding:\r\n\tchunked",), CHUNKED),
            ("another field folded", 400, (b"X: a\r\n b", b"Content-Length: " + SIZE), ECHO),
            ("a line of a space", 400, (b" ", b"Content-Length: " + SIZE), ECHO),
            ("identity", 501, (b"Transfer-Encoding: identity",), ECHO),
            ("identity and a length", 400, (b"Transfer-Encoding: identity", b"Content-Length: " + SIZE), ECHO),
            ("chunked in quotes", 501, (b'Transfer-Encoding: "chunked"',), CHUNKED),
            ("chunked with a parameter", 501, (b"Transfer-Encoding: chunked;q=1",), CHUNKED),
            ("no coding", 400, (b"Transfer-Encoding:",), CHUNKED),
            ("a coding in two fields", 501, (b"Transfer-Encoding: gzip", b"X: y"), CHUNKED),
            ("two lines with codings", 400, (b"Transfer-Encoding: chunked", b"transfer-encoding: identity"), CHUNKED),
            ("CR CR LF", 400, (b"X: a\r", b"Content-Length: " + SIZE), ECHO),
            ("a bare CR in a name", 400, (b"X\rY: a", b"Content-Length: " + SIZE), ECHO),
            ("a head that ends with LF LF", 400, (b"Content-Length: " + SIZE + b"\n\nGET /smuggled HTTP/1.1",), ECHO),
            ("an empty size", 400, (b"Transfer-Encoding: chunked",), b"\r\n" + ECHO + b"\r\n0\r\n\r\n"),
            ("a negative size", 400, (b"Transfer-Encoding: chunked",), b"-" + CHUNKED),
            ("a size with a sign", 400, (b"Transfer-Encoding: chunked",), b"+" + CHUNKED),
            ("a space before the size", 400, (b"Transfer-Encoding: chunked",), b" " + CHUNKED),
            ("a tab behind the size", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b"\t\r\n", 1)),
            ("a space before the extension", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b" ;a\r\n", 1)),
            ("a size with an underscore", 400, (b"Transfer-Encoding: chunked",), b"0_" + CHUNKED),
            ("a size that wraps around 64 bits", 400, (b"Transfer-Encoding: chunked",), b"1" + b"0" * 16 + CHUNKED),
            ("a size of 16 digits", 400, (b"Transfer-Encoding: chunked",), b"ffffffffffffffff" + CHUNKED[2:]),
            ("a NUL in a size", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b"\0\r\n", 1)),
            ("a bare CR behind the size", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b"\rX\r\n", 1)),
            ("a bare LF behind the size", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b"\n", 1)),
            ("a bare LF behind a chunk", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"}}\r\n", b"}}\n", 1)),
            ("nothing behind a chunk", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"}}\r\n", b"}}", 1)),
            ("a bare LF in an extension", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b";a\nb\r\n", 1)),
            ("a bare CR in an extension", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b";a\rb\r\n", 1)),
            ("a NUL in an extension", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b";a\0\r\n", 1)),
            ("a long extension", 400, (b"Transfer-Encoding: chunked",), CHUNKED.replace(b"\r\n", b";" + b"a" * 2000 + b"\r\n", 1)),
            ("many extensions", 400, (b"Transfer-Encoding: chunked",), b"".join(b"1;" + b"a" * 900 + b"\r\n \r\n" for _ in range(40)) + CHUNKED),
            ("many zeros before sizes", 400, (b"Transfer-Encoding: chunked",), b"".join(b"0" * 900 + b"1\r\n \r\n" for _ in range(40)) + CHUNKED),
            ("a bare LF in the trailer", 400, (b"Transfer-Encoding: chunked",), CHUNKED[:-2] + b"X: y\nZ: z\r\n\r\n"),
            ("a bare LF as the end of the trailer", 400, (b"Transfer-Encoding: chunked",), CHUNKED[:-2] + b"\n"),
            ("a NUL in the trailer", 400, (b"Transfer-Encoding: chunked",), CHUNKED[:-2] + b"X: \0\r\n\r\n"),
            ("a long trailer", 431, (b"Transfer-Encoding: chunked",), CHUNKED[:-2] + b"X: y\r\n" * 5000 + b"\r\n"),
        ]
    ],
    "behind a good request": [
        (name, GET + b"\r\n" + GET + b"\r\n" + headed(b"Transfer-Encoding: chunked", body=body), [200, 200, 400]) for name, body in [
            ("a size that is no number", b"0x24\r\n" + ECHO + b"\r\n0\r\n\r\n"),
            ("many extensions", (b"1;" + b"a" * 900 + b"\r\n \r\n") * 40 + CHUNKED),
            ("a fault in the first chunks of many", (b"1;" + b"a" * 100 + b"\r\n \r\n") * 100 + b"x" + CHUNKED),
            ("a fault far behind the head", (b"1000\r\n" + b" " * 4096 + b"\r\n") * 5 + b"x" + CHUNKED),
        ]
    ],
    "first line": [
        ("chunks by HTTP/1.0", headed(b"Transfer-Encoding: chunked", body=CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0", 1), [400]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + LAST, [505]),
        ("HTTP/1.2", b"GET /livez HTTP/1.2\r\nHost: localhost\r\n\r\n" + LAST, [505]),
        ("HTTP/0.9", b"GET /livez\r\n", [400]),
        ("a version in small letters", b"GET /livez http/1.1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("CONNECT", b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST, [501]),
        ("two spaces", b"GET  /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("a space in the target", target(b"/li vez"), [400]),
        ("three spaces before the version", b"GET /livez   HTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("a space behind the version", b"GET /livez HTTP/1.1 \r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("a space before the method", b" GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("a space in the version", b"GET /livez HTTP/1. 1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("two versions", b"GET /livez HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("a version of three digits", b"GET /livez HTTP/1.10\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("a bare LF behind the first line", b"GET /livez HTTP/1.1\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("a bare CR behind the first line", b"GET /livez HTTP/1.1\rHost: localhost\r\n\r\n" + LAST, [400]),
        ("a bare LF before the request", b"\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("a request in the first line", b"GET /livez HTTP/1.1\r\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("tabs", b"GET\t/livez\tHTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST, [400]),
        ("bytes beyond ASCII", target(b"/\xff"), [400]),
        ("a fragment", target(b"/livez#x"), [400]),
        ("no slash", target(b"livez"), [400]),
        ("a NUL", target(b"/livez\0/x"), [400]),
        ("a TLS handshake", bytes.fromhex("16030102000100fc0303") + bytes(100), []),
    ],
    "nul": [
        (path.decode(), target(path), [status]) for path, status in [
            (b"/livez%00", 404), (b"/livez%00/foo", 404), (b"/v1/jobs%00", 404), (b"/v1/types/primes%00x", 404),
            (b"/metrics%00.html", 404), (b"/problems/gone%00", 404), (b"/livez?a=%00", 400), (b"/v1/jobs?type=primes%00", 400),
            (b"/v1/jobs?limit=1%00", 400), (b"/v1/jobs?lim%00it=1", 400),
        ]
    ] + [
        ("DELETE", b"DELETE /v1/jobs/0192d0a0-0000-7000-8000-000000000000%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", [404]),
        ("POST", b"POST /v1/jobs%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", [404]),
    ],
    "hosts": [
        (name, target(b"/livez", fields), [status]) for name, fields, status in [
            ("none", b"", 400), ("two", b"Host: localhost\r\nHost: localhost\r\n", 400), ("a b/c", b"Host: a b/c\r\n", 400),
            ("a, b", b"Host: a, b\r\n", 400), ("a@b", b"Host: a@localhost\r\n", 400), ("/x", b"Host: /x\r\n", 400),
            ("a bad port", b"Host: localhost:x\r\n", 400), ("empty", b"Host:\r\n", 400),
            ("a foreign name", b"Host: evil.example\r\n", 421), ("with a port", b"Host: evil.example:8080\r\n", 421),
            ("a longer name", b"Host: localhost.evil.example\r\n", 421), ("localhost", b"Host: LocalHost:1\r\n", 200),
            ("IPv4", b"Host: 192.168.7.8\r\n", 200), ("IPv6", b"Host: [::1]:80\r\n", 200),
            ("a name of --allowed-host", b"Host: Offload.Example:443\r\n", 200),
        ]
    ] + [
        ("a foreign name in the target", target(b"http://evil.example/livez"), [421]),
        ("a foreign name in the target, and ours as a user", target(b"http://localhost@evil.example/livez"), [400]),
        ("our name in the target, a foreign Host", target(b"http://localhost/livez", b"Host: evil.example\r\n"), [200]),
        ("no Host beside the absolute form", target(b"http://localhost/livez", b""), [400]),
        ("two Hosts beside the absolute form", target(b"http://localhost/livez", b"Host: localhost\r\nHost: evil.example\r\n"), [400]),
        ("a space before the colon of Host", target(b"/livez", b"Host : localhost\r\n"), [400]),
        ("a Host that is continued", target(b"/livez", b"Host: localhost\r\n .evil.example\r\n"), [400]),
    ],
    "twice": [
        (field.decode(), target(b"/v1/jobs", b"Host: localhost\r\n" + field + b": a\r\n" + field.lower() + b": a\r\n"), [400])
        for field in (b"Idempotency-Key", b"Content-Type", b"Last-Event-ID", b"Origin", b"Range", b"If-Range", b"Authorization", b"X-Request-Id")
    ] + [("a list can", target(b"/livez", b"Host: localhost\r\nPrefer: a\r\nPrefer: b\r\nAccept: c\r\nAccept: d\r\n"), [200])],
    "large": [
        (f"{n} parameters", target(b"/livez?" + b"a&" * n), [414]) for n in (700, 1000, 4000, 16000)
    ] + [
        (f"{n} fields", target(b"/livez", b"Host: localhost\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(n))), [431]) for n in (600, 1000, 2000)
    ] + [
        ("300 fields", target(b"/livez", b"Host: localhost\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(300))), [200]),
        ("cookies", target(b"/livez", b"Host: localhost\r\nCookie: " + b"a=b; " * 300 + b"\r\n"), [200]),
        ("many cookies", target(b"/livez", b"Host: localhost\r\nCookie: " + b"a=b; " * 4000 + b"\r\n"), [431]),
        ("a long target", target(b"/" + b"a" * 60000), [414]),
        ("a long field", target(b"/livez", b"Host: localhost\r\nX: " + b"a" * 60000 + b"\r\n"), [431]),
        ("a field of a mebibyte", target(b"/livez", b"Host: localhost\r\nX: " + b"a" * (1 << 20) + b"\r\n"), [431]),
        ("a field of 30,000 bytes", target(b"/livez", b"Host: localhost\r\nX: " + b"a" * 30000 + b"\r\n"), [200]),
    ],
    "large by default": [
        (f"{n} parameters", target(b"/livez?" + b"a&" * n), [414]) for n in (300, 1000, 16000)
    ] + [
        (f"{n} fields", target(b"/livez", b"Host: localhost\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(n))), [431]) for n in (300, 1000, 4000)
    ] + [
        ("100 fields", target(b"/livez", b"Host: localhost\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(99))), [200]),
        ("parameters and fields", target(b"/livez?" + b"a&" * 130, b"Host: localhost\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(90))), [414]),
        ("cookies", target(b"/livez", b"Host: localhost\r\nCookie: " + b"a=b; " * 300 + b"\r\n"), [431]),
        ("a field of 7,500 bytes", target(b"/livez", b"Host: localhost\r\nX: " + b"a" * 7500 + b"\r\n"), [200]),
        ("a field of 9,000 bytes", target(b"/livez", b"Host: localhost\r\nX: " + b"a" * 9000 + b"\r\n"), [431]),
    ],
    "half": [
        ("GET", target(b"/v1/jobs"), [200]),
        ("GET that is kept", GET + b"\r\n", [200]),
        ("two requests", GET + b"\r\n" + GET + b"\r\n", [200, 200]),
        ("/readyz", target(b"/readyz"), [200]),
        ("respond-async", POST + b"Prefer: respond-async\r\nContent-Length: " + SIZE + b"\r\n\r\n" + ECHO, [202]),
        ("a key", POST + b'Idempotency-Key: "half"\r\nContent-Length: ' + SIZE + b"\r\n\r\n" + ECHO, [200]),
        ("DELETE", b"DELETE /v1/jobs/0192d0a0-0000-7000-8000-000000000000 HTTP/1.1\r\nHost: localhost\r\n\r\n", [404]),
        ("nothing", b"", []), ("half a line", b"GET /li", []), ("half a head", GET, []), ("an empty line", b"\r\n", []),
        ("no body", POST + b"Content-Length: 100\r\n\r\n", []),
        ("some of a body", POST + b"Content-Length: 100\r\n\r\n{", []),
        ("some chunks", POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", []),
        ("a request and a half", GET + b"\r\n" + GET, [200]),
    ],
}


def connect(port, authority):
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    if authority is None:
        return plain
    return ssl.create_default_context(cafile=authority).wrap_socket(plain, server_hostname="localhost")


def exchange(port, authority, data, half):
    with connect(port, authority) as s:
        s.sendall(data)
        if half:
            s.shutdown(socket.SHUT_WR)
        got = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                return got
            got += piece


def check_answers(data, wanted):
    """What is wrong with the answers, or ""."""
    got = []
    while data:
        head, blank, rest = data.partition(b"\r\n\r\n")
        m = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
        if not m or not blank:
            return f"no answer: {data[:100]!r}"
        got.append(int(m.group(1)))
        length = re.search(rb"\r\nContent-Length: *(\d+)", head, re.I)
        size = int(length.group(1)) if length else 0
        body, data = rest[:size], rest[size:]
        if not re.search(rb"\r\nX-Request-Id: *[\w.-]+", head, re.I):
            return f"no X-Request-Id: {head!r}"
        if not re.search(rb"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", head):
            return f"no Date: {head!r}"
        if got[-1] >= 400 and (b"application/problem+json" not in head or json.loads(body)["status"] != got[-1]):
            return f"no problem document: {head!r} {body!r}"
    return "" if got == wanted else f"{got}, not {wanted}"


def main():
    port, group = int(sys.argv[1]), sys.argv[2]
    authority = sys.argv[3] if len(sys.argv) > 3 else None
    failed = 0
    for name, data, wanted in GROUPS[group]:
        try:
            wrong = check_answers(exchange(port, authority, data, group == "half"), wanted)
        except OSError as e:
            wrong = f"the connection failed: {e}"
        if wrong:
            failed += 1
            print(f"{name}: {wrong}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
