"""tls_client.py PORT CA WHAT...: a client that decides itself which bytes of TLS are sent when.

  half-close fin|notify        one request, and then a FIN or a close_notify; prints the answer
  records                      requests in records of one byte, all of them sent at once; prints the statuses
  blanks                       empty lines, a record each, and then a request; prints the status
  slow                         one request, byte after byte of what TLS makes of it; prints the status
  hello N                      the first N bytes of a hello, and nothing more; prints what comes, until the end
  certificate CERT KEY         a handshake with a certificate, and a request; prints the status, or why there is none
"""
import re
import socket
import ssl
import sys
import time


class Client:
    def __init__(self, port, authority):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.context = ssl.create_default_context(cafile=authority)
        self.come, self.going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = None

    def begin(self):
        self.tls = self.context.wrap_bio(self.come, self.going, server_hostname="localhost")

    def flush(self):
        if self.going.pending > 0:
            self.socket.sendall(self.going.read())

    def fill(self):
        bytes_ = self.socket.recv(65536)
        if bytes_ == b"":
            self.come.write_eof()
        else:
            self.come.write(bytes_)

    def until(self, step):
        """Calls it until it neither wants to read nor fails."""
        while True:
            try:
                result = step()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()

    def handshake(self):
        self.begin()
        self.until(self.tls.do_handshake)

    def write(self, text):
        self.tls.write(text)

    def read(self):
        """b"" at the end, be it a close_notify or a FIN."""
        try:
            return self.until(lambda: self.tls.read(65536))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def read_all(self):
        answer = b""
        while True:
            more = self.read()
            if more == b"":
                return answer.decode()
            answer += more

    def notify(self):
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()


def request(path="/livez", last=True):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{'Connection: close' if last else 'X: y'}\r\n\r\n".encode()


def statuses(answer):
    return " ".join(re.findall(r"HTTP/1\.1 (\d+)", answer))


def half_close(client, how):
    client.handshake()
    client.write(request("/readyz", last=False))
    if how == "notify":
        client.notify()
    else:
        client.flush()
        client.socket.shutdown(socket.SHUT_WR)
    print(client.read_all())


def records(client):
    client.handshake()
    for text in (request(last=False), request("/nowhere", last=False), request()):
        for byte in text:
            client.write(bytes([byte]))
    client.flush()
    print(statuses(client.read_all()))


def blanks(client):
    client.handshake()
    for text in (b"\r\n", b"\r\n", b"\r\n", request()):
        client.write(text)
    client.flush()
    print(statuses(client.read_all()))


def slow(client):
    client.handshake()
    client.write(request())
    for byte in client.going.read():
        client.socket.sendall(bytes([byte]))
        time.sleep(0.001)
    print(statuses(client.read_all()))


def hello(client, count):
    client.begin()
    try:
        client.tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    client.socket.sendall(client.going.read()[:int(count)])
    print(client.socket.recv(65536))


def certificate(client, path, key):
    client.context.load_cert_chain(path, key)
    try:
        client.handshake()
        client.write(request())
        client.flush()
        print(statuses(client.read_all()))
    except ssl.SSLError as error:
        print(error.reason)


def main():
    port, authority, what = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    ways = {"half-close": half_close, "records": records, "blanks": blanks, "slow": slow, "hello": hello,
            "certificate": certificate}
    ways[what](Client(port, authority), *sys.argv[4:])


main()
