"""Peers that behave badly, for the tests of the clients: what loses answers, and what sends anything at all."""

import contextlib
import socket
import threading
import time

from daemon import PATIENCE_S


class Peer:
    """with Peer(...) as peer: accepts connections, each in a thread of its own. `url` is where it is."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.sockets = [self.server]
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.lock = threading.Lock()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.server.accept()
                sock.settimeout(PATIENCE_S)
                thread = threading.Thread(target=self.guard, args=(sock,), daemon=True)
                self.sockets.append(sock)
                self.threads.append(thread)
                thread.start()

    def guard(self, sock):
        with contextlib.suppress(OSError), sock:
            self.serve(sock)

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *error):
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self.threads:
            thread.join(PATIENCE_S)


class Proxy(Peer):
    """Between a client and a service. It passes `passes` bytes of an answer and then cuts the connection, `times`
    times; 0 bytes: the service has got the request, and the client never hears of it."""

    def __init__(self, daemon, passes=0, times=1):
        super().__init__()
        self.port = int(daemon.url.rpartition(":")[2])
        self.passes, self.times = passes, times
        self.cuts = 0
        self.requests = []

    def serve(self, sock):
        with socket.create_connection(("127.0.0.1", self.port)) as service:
            service.settimeout(PATIENCE_S)
            self.sockets.append(service)
            upwards = threading.Thread(target=self.up, args=(sock, service), daemon=True)
            upwards.start()
            passed = 0
            while True:
                data = service.recv(65536)
                if not data:
                    break
                with self.lock:
                    cut = self.cuts < self.times and passed + len(data) > self.passes
                    self.cuts += cut
                if cut:
                    sock.sendall(data[: max(0, self.passes - passed)])
                    break
                passed += len(data)
                sock.sendall(data)
            for end in (sock, service):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            upwards.join(PATIENCE_S)

    def up(self, sock, service):
        with contextlib.suppress(OSError):
            while True:
                data = sock.recv(65536)
                if not data:
                    break
                with self.lock:
                    self.requests.append(data)
                service.sendall(data)


class Script(Peer):
    """Answers each request with the next of these texts; the last one stands for all further ones. After each it closes
    the connection. `requests`: what it has got, as (head, body, time). tls: an ssl.SSLContext, for https."""

    def __init__(self, *answers, tls=None):
        super().__init__()
        self.answers = list(answers)
        self.requests = []
        self.tls = tls
        if tls is not None:
            self.url = self.url.replace("http:", "https:")

    def serve(self, sock):
        if self.tls is not None:
            sock = self.tls.wrap_socket(sock, server_side=True)
        with sock:
            self.converse(sock)

    def converse(self, sock):
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        while len(body) < size:
            body += sock.recv(65536)
        with self.lock:
            self.requests.append((head.decode(), body, time.monotonic()))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        sock.sendall(answer)


def answer(status, body, media_type="application/json", **fields):
    lines = [f"HTTP/1.1 {status} x", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body.encode()


def problem(status, code, **fields):
    return answer(status, f'{{"status":{status},"code":"{code}","detail":"why"}}', "application/problem+json", **fields)
