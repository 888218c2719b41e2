#!/usr/bin/env python3
"""receiver.py LOG [--tls DIRECTORY]: receives webhooks for the tests, on a free port of 127.0.0.1 and [::1].

Prints the port, then serves until its standard input ends. Each request becomes one line of JSON in LOG: path, headers
(names in lower case), body, the time (Unix s) and `status`, which is how it was answered. It verifies nothing.

The path of a request says how it is answered: /STEP,STEP.../anything. The first request for a path takes the first
step, the next one the second; the last step is for all that follow. A step is one of

    200       a status, with a short body
    302       a status 3xx: Location points to /200/redirected on this server
    503r2     a status with Retry-After: 2; 503rdate: with the date 90 s from now
    hang      no answer until the client leaves
    huge      200, and a body of 100 MiB; one more line in LOG, of path /taken, if the client takes them all
    heads     200, and headers without end
    reset     closes at once

With --tls it speaks TLS by a self-signed certificate for localhost and 127.0.0.1, cert.pem in the directory.
"""
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
seen = {}


def next_step(path):
    steps = path.split("/")[1].split(",")
    with lock:
        n = seen.get(path, 0)
        seen[path] = n + 1
    return steps[min(n, len(steps) - 1)]


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def note(self, step):
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        line = {"method": self.command, "path": self.path, "at": time.time(), "status": step, "body": body.decode(),
                "headers": {name.lower(): value for name, value in self.headers.items()}}
        with lock, open(self.server.log, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def write_much(self, start, piece, times):
        self.wfile.write(start)
        for _ in range(times):
            self.wfile.write(piece)

    def do_POST(self):
        step = next_step(self.path)
        self.note(step)
        self.close_connection = True
        if step == "hang":
            self.rfile.read(1)
        elif step == "huge":
            self.write_much(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536, 1600)
            self.path = "/taken"
            self.headers.replace_header("content-length", "0")
            self.note(step)
        elif step == "heads":
            self.write_much(b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"x" * 4096 + b"\r\n", 1000000)
        elif step != "reset":
            self.answer(re.fullmatch(r"(\d{3})(?:r(.+))?", step))

    do_GET = do_POST

    def answer(self, step):
        status = int(step[1])
        self.send_response(status)
        if step[2]:
            self.send_header("Retry-After", formatdate(time.time() + 90, usegmt=True) if step[2] == "date" else step[2])
        if 300 <= status < 400:
            self.send_header("Location", "/200/redirected")
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests


class Server6(Server):
    address_family = socket.AF_INET6


def certificate(directory):
    cert, key = os.path.join(directory, "cert.pem"), os.path.join(directory, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, stderr=subprocess.DEVNULL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def main():
    server = Server(("127.0.0.1", 0), Receiver)
    servers = [server]
    try:
        servers.append(Server6(("::1", server.server_port), Receiver))
    except OSError:
        pass  # no IPv6 here
    if "--tls" in sys.argv:
        context = certificate(sys.argv[sys.argv.index("--tls") + 1])
        for one in servers:
            one.socket = context.wrap_socket(one.socket, server_side=True, do_handshake_on_connect=False)
    for one in servers:
        one.log = sys.argv[1]
        threading.Thread(target=one.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


main()
