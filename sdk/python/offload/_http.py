"""HTTP/1.1 (RFC 9112) without input and output, and the addresses of services. The clients and the executor share it.

The service's bytes are as hostile as anybody's: each length is bounded, and what is not clear is Broken.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any, Optional, Union

DEFAULT_URL = "http://127.0.0.1:8080"
MAX_HEAD = 64 << 10
MAX_BODY = 1 << 30  # of what was not yet taken
MAX_LINE = 64 << 20  # of a stream of lines
MAX_CHUNK_LINE = 1024
MAX_INTERIM = 16  # answers 1xx before the answer

SMALL = 4096  # pieces of a body that are smaller are put together

STATUS = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: .*)?")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\0\r\n]*)?")
URL = re.compile(r"[!-~]+")
TARGET = re.compile(r"/[!-~]*")
KEY = re.compile(r"[!-~]{1,4096}")
HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")


class Broken(Exception):
    """What came is no HTTP, or more than we take."""


class Closed(Broken):
    """The connection ended before the answer was whole."""


def find_key(key: Optional[str] = None) -> Optional[str]:
    """The API key: None: that of $OFFLOAD_API_KEY, if it is there and not empty. Raises a ValueError, which does not
    show it."""
    if key is None:
        key = os.environ.get("OFFLOAD_API_KEY") or None
    if key is not None and not KEY.fullmatch(key):
        raise ValueError("the API key is none: it has 1 to 4096 printable ASCII characters without spaces")
    return key


def make_tls(ca: Optional[str], cert: Optional[str], cert_key: Optional[str]) -> ssl.SSLContext:
    """Settings of https. ca: a file of the certificates to trust, and no others; None: that of $OFFLOAD_CA, else those of
    the system. cert: a file with our certificate; cert_key: one with its private key; None: the same one. Raises an
    OSError, or a ValueError if a file is no such PEM."""
    ca = ca or os.environ.get("OFFLOAD_CA") or None
    file: Any = ca
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            file = cert
            context.load_cert_chain(cert, cert_key)
    except ssl.SSLError as error:
        raise ValueError(f"{file}: no certificate in PEM, or not with its key: {error.reason}") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, file) from None
    return context


class Address:
    """Where a service is. `url` is how it was given.

    host: of the Host field ("localhost" for a Unix socket). prefix: what comes before "/v1", with no slash at its end.
    path: of a Unix socket, else "". name, port: where to connect otherwise. tls: the settings of https, else None.
    """

    def __init__(self, url: str, host: str, prefix: str, path: str, name: str, port: int) -> None:
        self.url, self.host, self.prefix = url, host, prefix
        self.path, self.name, self.port = path, name, port
        self.tls: Optional[ssl.SSLContext] = None

    @classmethod
    def parse(
        cls,
        url: Optional[str] = None,
        ca: Optional[str] = None,
        cert: Optional[str] = None,
        cert_key: Optional[str] = None,
    ) -> Address:
        """http://HOST[:PORT][/PREFIX], https://…, unix:/PATH. None: $OFFLOAD_URL, else http://127.0.0.1:8080. An empty
        $OFFLOAD_URL is as if unset. The files are for https: see make_tls. Raises a ValueError, or an OSError."""
        if url is None:
            url = os.environ.get("OFFLOAD_URL") or DEFAULT_URL
        if url.startswith("unix:"):
            path = url[len("unix:") :]
            if not path.startswith("/") or "\0" in path:
                raise ValueError(f"not a URL that can be used: {url!r} (unix:/PATH)")
            return cls(url, "localhost", "", path, "", 0)
        try:  # urlsplit leaves out characters that cannot be in a URL
            parts = urllib.parse.urlsplit(url if URL.fullmatch(url) else "")
            port = parts.port
        except ValueError:
            parts, port = urllib.parse.urlsplit(""), None
        name = parts.hostname or ""
        prefix = parts.path.rstrip("/")
        usable = parts.scheme in ("http", "https") and HOST.fullmatch(name) and not parts.query and not parts.fragment
        if not usable or port == 0 or parts.username is not None or (prefix and not TARGET.fullmatch(prefix)):
            raise ValueError(f"not a URL that can be used: {url!r} (http://HOST:PORT, https://HOST or unix:/PATH)")
        usual = 443 if parts.scheme == "https" else 80
        host = f"[{name}]" if ":" in name else name
        address = cls(url, host if port in (None, usual) else f"{host}:{port}", prefix, "", name, port or usual)
        if parts.scheme == "https":
            address.tls = make_tls(ca, cert, cert_key)
        return address

    def connect(self, timeout: Optional[float] = None) -> socket.socket:
        """A connected socket that has this timeout, in seconds. Raises an OSError."""
        if self.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(timeout)
                sock.connect(self.path)
            except BaseException:
                sock.close()
                raise
            return sock
        sock = socket.create_connection((self.name, self.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return sock
        try:
            return self.tls.wrap_socket(sock, server_hostname=self.name)
        except BaseException:
            sock.close()
            raise

    def __str__(self) -> str:
        return self.url


Body = Union[bytes, list[Any]]
"""Bytes, or buffers whose bytes follow each other."""


def request(address: Address, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A whole request, in one piece."""
    return request_head(address, method, target, headers, len(body)) + body


def request_pieces(address: Address, method: str, target: str, headers: Mapping[str, str], body: Body) -> list[Any]:
    """A whole request, in buffers: the large ones are those of the body."""
    if isinstance(body, bytes):
        return [request(address, method, target, headers, body)]
    size = sum(memoryview(piece).nbytes for piece in body)
    head = request_head(address, method, target, headers, size)
    return [head + body[0], *body[1:]]


def request_head(address: Address, method: str, target: str, headers: Mapping[str, str], size: int) -> bytes:
    """The head of a request with a body of that size. `target` begins with a slash; the address's prefix is put before it. A Content-Length is added.
    Raises a ValueError if a name or a value cannot stand in a head."""
    lines = [f"{method} {address.prefix}{target} HTTP/1.1", f"Host: {address.host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if size or method == "POST":
        lines.append(f"Content-Length: {size}")
    head = "\r\n".join(lines)
    breaks = len(lines) - 1
    if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head or not TARGET.fullmatch(target):
        raise ValueError("a target or a header field has a character that cannot stand there")
    return (head + "\r\n\r\n").encode("ascii")


class Response:
    """An answer. The names of `headers` are in lower case; fields that stand twice are joined by a comma."""

    __slots__ = ("status", "headers", "body")

    def __init__(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.status, self.headers, self.body = status, headers, body

    def media_type(self) -> str:
        """Without parameters, in lower case; "" if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Parser:
    """Makes answers of the bytes of one connection.

    done: the answer is whole. keep_alive: the connection can be used again then. idle: nothing of another answer has
    come. `feed` raises Broken (Closed if the connection has just ended); then the connection is of no use.
    """

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self.max_body = max_body
        self.buffer = bytearray()
        self.interim = 0
        self.begin()

    def begin(self) -> None:
        self.response: Optional[Response] = None
        self.pieces: list[Union[bytes, bytearray]] = []
        self.size = 0  # of the pieces
        self.left = 0  # of the body, or of the chunk
        self.step = self.read_head
        self.searched = 0
        self.done = False
        self.keep_alive = False

    @property
    def idle(self) -> bool:
        return not self.buffer

    @property
    def begun(self) -> bool:
        """Something of this answer has come."""
        return self.response is not None or bool(self.buffer) or self.interim > 0

    def next(self) -> None:
        """Goes on to the answer after the one that is done. It can be whole at once, if requests were pipelined."""
        assert self.done
        self.interim = 0
        self.begin()
        self.advance()

    def feed(self, data: bytes) -> None:
        """What was received; b"": the end of the stream."""
        if self.step == self.read_sized and SMALL <= len(data) <= self.left and not self.buffer:
            self.count(len(data))  # it is not copied through the buffer
            self.pieces.append(data)
            self.left -= len(data)
            self.done = self.left == 0
        elif data:
            self.buffer += data
            self.advance()
        elif self.step == self.read_rest and not self.done:
            self.done = True
        elif not self.done:
            what = "before the answer was whole" if self.begun else "without an answer"
            raise Closed(f"the service closed the connection {what}")

    def head(self) -> Optional[Response]:
        """The status and the fields, as soon as they are there. The body is left to take()."""
        return self.response

    def take(self) -> bytes:
        """What has come of the body since the last call."""
        data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces, self.size = [], 0
        return bytes(data)

    def whole(self) -> Optional[Response]:
        """The answer with its body, once it is done."""
        if not self.done or self.response is None:
            return None
        if self.pieces:
            self.response.body += self.take()
        return self.response

    # ---- the steps: each returns True if it has got on ----

    def advance(self) -> None:
        while not self.done and self.step():
            pass

    def line(self, most: int, what: str) -> Optional[bytes]:
        """A line without its end. None: it is not whole."""
        end = self.buffer.find(b"\n", 0, most)
        if end < 0:
            if len(self.buffer) >= most:
                raise Broken(f"{what} is too long")
            return None
        line = bytes(self.buffer[: end + 1])
        if line[-2:] != b"\r\n":
            raise Broken(f"{what} does not end with CR LF")
        del self.buffer[: end + 1]
        return line[:-2]

    def read_head(self) -> bool:
        buffer = self.buffer
        end = buffer.find(b"\r\n\r\n", max(0, self.searched - 3), MAX_HEAD)
        if end < 0:
            self.searched = len(buffer)
            if buffer and not buffer.startswith(b"HTTP/1."[: len(buffer)]):
                raise Broken("what answers does not speak HTTP/1.1")
            if len(buffer) >= MAX_HEAD:
                raise Broken(f"the head of the answer has more than {MAX_HEAD} bytes")
            return False
        head = buffer[:end].decode("latin-1")
        del buffer[: end + 4]
        self.searched = 0
        lines = head.split("\r\n")
        status = STATUS.fullmatch(lines[0])
        if status is None:
            raise Broken("what answers does not speak HTTP/1.1")
        breaks = len(lines) - 1
        if head.count("\r") != breaks or head.count("\n") != breaks or "\0" in head:
            raise Broken("the head of the answer has a character that cannot stand there")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not TOKEN.fullmatch(name):
                raise Broken("the head of the answer has a line that is no field")
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        code = int(status[2])
        if code < 200:
            self.interim += 1
            if code == 101 or self.interim > MAX_INTERIM:
                raise Broken(f"the answer begins with {code}")
            return True
        self.response = Response(code, headers)
        self.frame(code, headers, status[1] == "1")
        return True

    def frame(self, code: int, headers: dict[str, str], recent: bool) -> None:
        """Decides how long the body is (RFC 9112, section 6.3)."""
        options = [word.strip().lower() for word in headers.get("connection", "").split(",")]
        self.keep_alive = "close" not in options if recent else "keep-alive" in options
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if code in (204, 304):
            self.done = True
        elif coding is not None:
            if coding.lower() != "chunked" or length is not None or not recent:
                raise Broken("the answer has an unclear length")
            self.step = self.read_chunk_size
        elif length is not None:
            digits = set(part.strip() for part in length.split(","))
            text = digits.pop()
            if digits or not (text.isascii() and text.isdigit()) or len(text) > 18:
                raise Broken("the answer has an unclear length")
            self.left = int(text)
            self.step = self.read_sized
            self.done = self.left == 0
        else:
            self.keep_alive = False
            self.step = self.read_rest

    def count(self, count: int) -> None:
        self.size += count
        if self.size > self.max_body:
            raise Broken(f"the answer has more than {self.max_body} bytes")

    def keep(self, count: int) -> None:
        """Moves so many bytes from the buffer to the body."""
        self.count(count)
        piece: Union[bytes, bytearray] = self.buffer[:count]
        del self.buffer[:count]
        if count >= SMALL:
            self.pieces.append(bytes(piece))
        elif self.pieces and isinstance(self.pieces[-1], bytearray):
            self.pieces[-1] += piece
        else:
            self.pieces.append(piece)

    def read_sized(self) -> bool:
        count = min(self.left, len(self.buffer))
        if count:
            self.keep(count)
            self.left -= count
        self.done = self.left == 0
        return False

    def read_rest(self) -> bool:
        if self.buffer:
            self.keep(len(self.buffer))
        return False

    def read_chunk_size(self) -> bool:
        line = self.line(MAX_CHUNK_LINE, "the size of a chunk")
        if line is None:
            return False
        size = CHUNK_SIZE.fullmatch(line)
        if size is None:
            raise Broken("a chunk has no size")
        self.left = int(size[1], 16)
        self.interim = 0  # counts the lines of the trailer
        self.step = self.read_chunk if self.left else self.read_trailer
        return True

    def read_chunk(self) -> bool:
        count = min(self.left, len(self.buffer))
        if count:
            self.keep(count)
            self.left -= count
        if self.left:
            return False
        self.step = self.read_chunk_end
        return True

    def read_chunk_end(self) -> bool:
        line = self.line(2, "the end of a chunk")
        if line is None:
            return False
        self.step = self.read_chunk_size
        return True

    def read_trailer(self) -> bool:
        line = self.line(MAX_HEAD, "a trailer")
        if line is None:
            return False
        self.interim += 1
        if self.interim > 100:
            raise Broken("the trailer is too long")
        self.done = not line
        return True


class Lines:
    """Cuts a stream into lines (without their ends). A line has a bounded length."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self.max_line = max_line
        self.rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        lines = data.split(b"\n")
        last = lines.pop()
        if lines and self.rest:
            lines[0] = bytes(self.rest) + lines[0]
            self.rest.clear()
        self.rest += last
        if len(self.rest) > self.max_line:
            raise Broken(f"a line of the answer has more than {self.max_line} bytes")
        return lines


def retry_after(headers: Mapping[str, str]) -> Optional[float]:
    """The seconds of Retry-After. None: there is none, or it is a date, which offload does not send."""
    text: Any = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
