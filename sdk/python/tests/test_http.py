"""HTTP/1.1 without a network: addresses, requests, and answers whole, in pieces, in a row, and hostile."""

import os
import random
import socket
import sys
import tempfile
import threading
import unittest
from unittest import mock

from host import PACKAGE

sys.path.insert(0, PACKAGE)
from offload._http import (  # noqa: E402 (the path is set just above)
    Address,
    Broken,
    Closed,
    Lines,
    Parser,
    Response,
    request,
    retry_after,
)

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n[1,2,3]"
CHUNKED = (
    b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\nX-A: 1\r\nX-A:\t2 \r\n\r\n"
    b"3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n"
)
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: x\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200\r\n\r\nto the end"


def parse(data, size=None):
    """All answers in the data, fed in pieces of this size."""
    parser, found = Parser(), []
    for i in range(0, len(data), size or max(1, len(data))):
        parser.feed(data[i : i + (size or len(data))])
        while parser.done:
            found.append(parser.whole())
            if not parser.keep_alive:
                return found, parser
            parser.next()
    return found, parser


class Addresses(unittest.TestCase):
    def test_urls(self):
        for url, host, prefix, name, port in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", "", "127.0.0.1", 8080),
            ("http://localhost", "localhost", "", "localhost", 80),
            ("http://localhost:80/", "localhost", "", "localhost", 80),
            ("HTTP://Example.org:81/jobs/", "example.org:81", "/jobs", "example.org", 81),
            ("http://[::1]:9", "[::1]:9", "", "::1", 9),
            ("https://example.org/a/b", "example.org", "/a/b", "example.org", 443),
        ]:
            address = Address.parse(url)
            self.assertEqual((address.host, address.prefix, address.name, address.port), (host, prefix, name, port))
            self.assertEqual((address.path, str(address)), ("", url))
            self.assertEqual(address.tls is not None, url.startswith("https"))
        address = Address.parse("unix:/run/a b.sock")
        self.assertEqual((address.path, address.host, address.prefix), ("/run/a b.sock", "localhost", ""))

    def test_environment(self):
        with mock.patch.dict(os.environ, {"OFFLOAD_URL": "http://localhost:99"}):
            self.assertEqual(Address.parse().port, 99)
            self.assertEqual(Address.parse("http://localhost:98").port, 98)
        with mock.patch.dict(os.environ, {"OFFLOAD_URL": ""}):
            self.assertEqual(Address.parse().url, "http://127.0.0.1:8080")

    def test_what_is_no_url(self):
        for url in (
            "",
            "localhost:8080",
            "ftp://localhost",
            "http://",
            "http://:80",
            "http://localhost:port",
            "http://localhost:0",
            "http://localhost:70000",
            "http://localhost/?a=1",
            "http://localhost/#a",
            "http://localhost/a b",
            "http://user:secret@localhost",
            "http://a\r\nb",
            "http://[::1",
            "unix:relative",
            "unix:",
            "unix:/a\0b",
        ):
            with self.assertRaises(ValueError, msg=url) as caught:
                Address.parse(url)
            self.assertIn("not a URL", str(caught.exception))

    def test_connect(self):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
            path = os.path.join(folder, "sock")
            with self.assertRaises(FileNotFoundError):
                Address.parse("unix:" + path).connect(5)
            server.bind(path)
            server.listen()
            with Address.parse("unix:" + path).connect(5) as sock:
                self.assertEqual(sock.gettimeout(), 5)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with Address.parse(f"http://127.0.0.1:{port}").connect() as sock:
                self.assertIsNone(sock.gettimeout())
                self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        with self.assertRaises(ConnectionRefusedError):
            Address.parse(f"http://127.0.0.1:{port}").connect(5)

    def test_tls_to_what_has_none(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=lambda: server.accept()[0].close())
            thread.start()
            with self.assertRaises(OSError):
                Address.parse(f"https://127.0.0.1:{server.getsockname()[1]}").connect(5)
            thread.join()


class Requests(unittest.TestCase):
    def test_request(self):
        address = Address.parse("http://localhost:81/x")
        self.assertEqual(
            request(address, "POST", "/v1/jobs", {"Accept": "a/b"}, b"{}"),
            b"POST /x/v1/jobs HTTP/1.1\r\nHost: localhost:81\r\nAccept: a/b\r\nContent-Length: 2\r\n\r\n{}",
        )
        self.assertEqual(request(address, "GET", "/", {}), b"GET /x/ HTTP/1.1\r\nHost: localhost:81\r\n\r\n")
        self.assertIn(b"\r\nContent-Length: 0\r\n", request(address, "POST", "/", {}))

    def test_injection(self):
        address = Address.parse("unix:/s")
        for target, headers in [
            ("/a b", {}),
            ("/a\r\nX: 1", {}),
            ("a", {}),
            ("/", {"A": "b\r\nC: d"}),
            ("/", {"A\n": "b"}),
            ("/", {"A": "b\0"}),
            ("/", {"A": "ü"}),
        ]:
            with self.assertRaises(ValueError):
                request(address, "GET", target, headers)


class Answers(unittest.TestCase):
    def check(self, found):
        self.assertEqual([r.status for r in found], [200, 202, 204, 200, 200])
        self.assertEqual([r.body for r in found], [b"[1,2,3]", b"abc0123456789", b"", b"[1,2,3]", b""])
        self.assertEqual(found[1].headers, {"transfer-encoding": "chunked", "x-a": "1, 2"})

    def test_in_a_row_and_in_pieces(self):
        data = PLAIN + CHUNKED + EMPTY + INTERIM + PLAIN + b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"
        for size in [None, 1, 2, 3, 7, 64]:
            found, parser = parse(data, size)
            self.check(found)
            self.assertTrue(parser.idle)
            self.assertFalse(parser.begun)
            with self.assertRaisesRegex(Closed, "without an answer"):
                parser.feed(b"")

    def test_as_it_comes(self):
        parser = Parser()
        end = CHUNKED.index(b"\r\n\r\n") + 4
        parser.feed(CHUNKED[: end - 1])
        self.assertIsNone(parser.head())
        self.assertTrue(parser.begun)
        parser.feed(CHUNKED[end - 1 : end])
        self.assertEqual((parser.head().status, parser.head().body, parser.take()), (202, b"", b""))
        parser.feed(CHUNKED[end : end + 5])
        self.assertEqual((parser.take(), parser.take(), parser.done, parser.whole()), (b"ab", b"", False, None))
        parser.feed(CHUNKED[end + 5 :] + b"HTTP/1.1")
        self.assertEqual((parser.take(), parser.done, parser.keep_alive), (b"c0123456789", True, True))
        self.assertFalse(parser.idle)

    def test_keep_alive(self):
        for head, expected in [
            (b"HTTP/1.1 200 OK\r\n", True),
            (b"HTTP/1.1 200 OK\r\nConnection: Close\r\n", False),
            (b"HTTP/1.1 200 OK\r\nConnection: x, close\r\n", False),
            (b"HTTP/1.0 200 OK\r\n", False),
            (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
        ]:
            parser = Parser()
            parser.feed(head + b"Content-Length: 1\r\n\r\nx")
            self.assertEqual((parser.done, parser.keep_alive), (True, expected), head)

    def test_until_the_end(self):
        parser = Parser()
        parser.feed(UNTIL_CLOSE)
        self.assertFalse(parser.done)
        parser.feed(b"")
        self.assertEqual((parser.done, parser.keep_alive, parser.whole().body), (True, False, b"to the end"))
        parser.feed(b"")  # the end can be seen twice

    def test_cut(self):
        for data in (PLAIN, CHUNKED):
            for size in range(len(data)):
                parser = Parser()
                if size:
                    parser.feed(data[:size])
                with self.assertRaises(Closed):
                    parser.feed(b"")

    def test_media_type(self):
        response = Response(200, {"content-type": "Application/JSON ; charset=utf-8"})
        self.assertEqual(response.media_type(), "application/json")
        self.assertEqual(Response(204, {}).media_type(), "")
        for text, seconds in [("3", 3.0), ("", None), ("-1", None), ("Wed, 21 Oct", None), ("9" * 10, None)]:
            self.assertEqual(retry_after({"retry-after": text}), seconds)
        self.assertIsNone(retry_after({}))


class Hostile(unittest.TestCase):
    def test_what_is_no_http(self):
        ok = b"HTTP/1.1 200 OK\r\n"
        chunked = ok + b"Transfer-Encoding: chunked\r\n\r\n"
        for data in [
            b"SSH-2.0-x\r\n",
            b"\x16\x03\x01",
            b"HTTP/2 200\r\n\r\n",
            b"HTTP/1.1 99\r\n\r\n",
            b"HTTP/1.1 2000\r\n\r\n",
            b"HTTP/1.1 600\r\n\r\n",
            b"HTTP/1.1 200\n\n\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\n\r\n",
            b"HTTP/1.1 100 x\r\n\r\n" * 17,
            ok + b"no field\r\n\r\n",
            ok + b"A : 1\r\n\r\n",
            ok + b": 1\r\n\r\n",
            ok + b"A: 1\r\n folded\r\n\r\n",
            ok + b"A: 1\0\r\n\r\n",
            ok + b"A: 1\rB: 2\r\n\r\n",
            ok + b"A: 1\nB: 2\r\n\r\n",
            ok + b"Content-Length: 1, 2\r\n\r\n",
            ok + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
            ok + b"Content-Length: -1\r\n\r\n",
            ok + b"Content-Length: +1\r\n\r\n",
            ok + b"Content-Length: 1_0\r\n\r\n",
            ok + b"Content-Length: \xb2\r\n\r\n",
            ok + b"Content-Length: \r\n\r\n",
            ok + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n",
            ok + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            ok + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            chunked + b"x\r\n",
            chunked + b"-1\r\n",
            chunked + b"0x1\r\n",
            chunked + b"123456789\r\n",
            chunked + b"1\n",
            chunked + b"1\r\naXY",
            chunked + b"1\r\na\n\n",
            chunked + b"1;" + b"x" * 2000,
            chunked + b"0\r\n" + b"A: 1\r\n" * 200,
            chunked + b"0\r\n" + b"A" * 70000,
            b"HTTP/1.1 200 " + b"x" * 70000,
            ok + b"A: 1\r\n" * 20000,
        ]:
            for size in (None, 1 if len(data) < 5000 else 4096):
                with self.assertRaises(Broken, msg=data[:100]):
                    parse(data, size)

    def test_much_white_space(self):
        """It takes no longer than other text."""
        blank = b" " * 60_000
        (response,), _ = parse(b"HTTP/1.1 200 OK\r\nA: x" + blank + b"y" + b"\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(len(response.headers["a"]), 60_002)
        with self.assertRaises(Broken):
            parse(b"HTTP/1.1 200 OK\r\nA: x" + blank + b"\0" + blank + b"\r\nContent-Length: 0\r\n\r\n")

    def test_length_twice_but_the_same(self):
        (response,), _ = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx")
        self.assertEqual(response.body, b"x")

    def test_too_large(self):
        endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        parser = Parser(max_body=1000)
        parser.feed(endless)
        with self.assertRaisesRegex(Broken, "more than 1000 bytes"):
            for _ in range(1001):
                parser.feed(b"1\r\nx\r\n")
        parser = Parser(max_body=1000)  # of a stream that is taken there can be any amount
        parser.feed(endless)
        for _ in range(5000):
            parser.feed(b"1\r\nx\r\n")
            self.assertEqual(parser.take(), b"x")
        parser = Parser(max_body=10)
        parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 10)
        with self.assertRaises(Broken):
            parser.feed(b"x")

    def test_lines(self):
        lines = Lines(max_line=10)
        self.assertEqual(lines.feed(b"ab"), [])
        self.assertEqual(lines.feed(b""), [])
        self.assertEqual(lines.feed(b"c\nde\n\nf"), [b"abc", b"de", b""])
        self.assertEqual(lines.feed(b"\n"), [b"f"])
        with self.assertRaises(Broken):
            for _ in range(11):
                self.assertEqual(lines.feed(b"x"), [])

    def test_random_bytes(self):
        """Whatever comes: an answer, or Broken, and never more memory than there were bytes."""
        seed = int.from_bytes(os.urandom(4), "big")
        chance = random.Random(seed)
        whole = PLAIN + CHUNKED + INTERIM + EMPTY + PLAIN
        words = [b"\r\n", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n", b"0\r\n\r\n", b":", b"\xff"]
        for _ in range(3000):
            data = bytearray(whole)
            for _ in range(chance.randrange(1, 6)):
                at = chance.randrange(len(data) + 1)
                kind = chance.randrange(3)
                if kind == 0:
                    data[at : at + chance.randrange(8)] = b""
                elif kind == 1:
                    data[at:at] = chance.choice(words)
                else:
                    data[at : at + 1] = bytes([chance.randrange(256)])
            parts = []
            for size in (None, chance.randrange(1, 40)):
                try:
                    found, parser = parse(bytes(data), size)
                    parts.append([(r.status, r.headers, r.body) for r in found])
                    self.assertLessEqual(len(parser.buffer) + parser.size, len(data))
                except Broken:
                    parts.append(None)
                except Exception:
                    self.fail(f"seed {seed}: {bytes(data)!r}")
            if None not in parts:
                self.assertEqual(parts[0], parts[1], f"seed {seed}: {bytes(data)!r}")


if __name__ == "__main__":
    unittest.main()
