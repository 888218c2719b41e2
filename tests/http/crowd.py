"""crowd.py PORT CLIENTS: connects so many clients; each submits a job and waits. Prints how many answers are right.

All are connected before the first request is sent, and all requests are sent before the first answer is read."""

import json
import resource
import selectors
import socket
import sys

TIMEOUT_S = 40


def request(number):
    body = json.dumps({"type": "echo", "params": {"value": number}}).encode()
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def is_right(answer, number):
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.startswith(b"HTTP/1.1 200 ") and json.loads(body)["result"] == {"value": number}


def main(port, clients):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    connections = [socket.create_connection(("127.0.0.1", port), TIMEOUT_S) for _ in range(clients)]
    for number, connection in enumerate(connections):
        connection.sendall(request(number))
    selector = selectors.DefaultSelector()
    answers = [b""] * clients
    for number, connection in enumerate(connections):
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, number)
    while selector.get_map():
        ready = selector.select(TIMEOUT_S)
        if not ready:
            break
        for key, _ in ready:
            try:
                piece = key.fileobj.recv(65536)
            except ConnectionError:
                piece = b""
            answers[key.data] += piece
            if not piece:
                selector.unregister(key.fileobj)
                key.fileobj.close()
    answered = sum(1 for answer in answers if answer)
    right = sum(1 for number, answer in enumerate(answers) if answer and is_right(answer, number))
    print(f"{answered} answers, {right} right")


main(int(sys.argv[1]), int(sys.argv[2]))
