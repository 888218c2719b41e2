#!/usr/bin/env python3
"""keyed.py LOG [--tls DIRECTORY [--client-ca FILE]]: a service that wants keys, for the tests of clients, on free ports.

Prints its port, then serves until it is killed. There is another server, to which it can redirect. Each request becomes one line of
JSON in LOG: port, method, path, headers (names in lower case) and, with TLS, the common name of the client. The key says
how GET /v1/types is answered:

    good         200
    forbidden    403 forbidden
    spent        429 over_quota, with a Retry-After that no client waits for
    busy         429 over_quota with Retry-After: 1 the first time, then 200
    moved        302 to the other server
    (another)    401 unauthorized

With --tls it takes cert.pem and key.pem from the directory; with --client-ca clients need a certificate of that authority.
"""
import argparse
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROBLEMS = {401: ("unauthorized", "a key is needed"), 403: ("forbidden", "the scope submit is needed"),
            429: ("over_quota", "the quota is used up")}
lock = threading.Lock()
busy = set()


def decide(headers):
    """The status, and the fields that go with it."""
    key = headers.get("authorization", "").removeprefix("Bearer ")
    if key == "busy":
        with lock:
            first = key not in busy
            busy.add(key)
        return (429, {"Retry-After": "1"}) if first else (200, {})
    return {"good": (200, {}), "forbidden": (403, {}), "spent": (429, {"Retry-After": "4000"}), "moved": (302, {})}.get(
        key, (401, {"WWW-Authenticate": 'Bearer realm="offload"'}))


class Keyed(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def note(self):
        self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        line = {"port": self.server.server_port, "method": self.command, "path": self.path, "headers": headers}
        if isinstance(self.connection, ssl.SSLSocket):
            peer = self.connection.getpeercert() or {}
            line["client"] = dict(pair for part in peer.get("subject", ()) for pair in part).get("commonName")
        with lock, open(self.server.log, "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        return headers

    def answer(self):
        status, fields = decide(self.note())
        document = {"types": []}
        if status in PROBLEMS:
            code, detail = PROBLEMS[status]
            document = {"type": f"/problems/{code}", "title": code, "status": status, "detail": detail, "code": code}
        if status == 302:
            fields["Location"] = f"http://127.0.0.1:{self.server.other_port}/v1/types"
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("X-Request-Id", "1")
        self.send_header("Content-Type", "application/problem+json" if status in PROBLEMS else "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = answer


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that does not trust us


def context(folder, client_ca):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    if client_ca:
        tls.load_verify_locations(client_ca)
        tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("--tls")
    parser.add_argument("--client-ca")
    given = parser.parse_args()
    servers = [Server(("127.0.0.1", 0), Keyed), Server(("127.0.0.1", 0), Keyed)]
    for server in servers:
        server.log, server.other_port = given.log, servers[1].server_port
    if given.tls:
        tls = context(given.tls, given.client_ca)
        servers[0].socket = tls.wrap_socket(servers[0].socket, server_side=True, do_handshake_on_connect=False)
    print(servers[0].server_port, flush=True)
    threading.Thread(target=servers[1].serve_forever, daemon=True).start()
    servers[0].serve_forever()


main()
