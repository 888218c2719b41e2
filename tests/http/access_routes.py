#!/usr/bin/env python3
"""access_routes.py URL KEYS: asks a service with keys for every route, with every kind of key. access.bats runs it.

KEYS is a file of lines "NAME KEY" with the names submit, read, both, other and admin. The routes are those of
/openapi.json, so a route that is new and is not in ROUTES fails the test. Prints a line for each fault; exits with 1 if
there is one.
"""
import http.client
import json
import sys
import urllib.parse

OPEN, READ, SUBMIT = "open", "read", "submit"
HOLDERS = {READ: {"read", "both", "other", "admin"}, SUBMIT: {"submit", "both", "other", "admin"}}
JSON = {"Content-Type": "application/json"}
ECHO = json.dumps({"type": "echo", "params": {"value": 1}})

# What a route needs; its body; what it is answered with when it may, for the owner and for anybody who sees all jobs.
ROUTES = {
    ("GET", "/v1/jobs"): (READ, None, 200),
    ("POST", "/v1/jobs"): (SUBMIT, ECHO, 200),
    ("GET", "/v1/jobs/{id}"): (READ, None, 200),
    ("DELETE", "/v1/jobs/{id}"): (SUBMIT, None, 204),
    ("GET", "/v1/jobs/{id}/result"): (READ, None, 200),
    ("GET", "/v1/jobs/{id}/result/{index}"): (READ, None, 404),  # the job is no map
    ("GET", "/v1/jobs/{id}/log"): (READ, None, 200),
    ("GET", "/v1/jobs/{id}/events"): (READ, None, 200),
    ("POST", "/v1/jobs/{id}/cancel"): (SUBMIT, "", 200),
    ("POST", "/v1/embeddings"): (SUBMIT, json.dumps({"model": "hash-384", "input": "a"}), 200),
    ("GET", "/v1/models"): (READ, None, 200),
    ("GET", "/v1/models/{id}"): (READ, None, 404),
    ("GET", "/v1/types"): (READ, None, 200),
    ("GET", "/v1/types/{name}"): (READ, None, 200),
    ("GET", "/v1/workers"): (READ, None, 200),
    ("GET", "/livez"): (OPEN, None, 200),
    ("GET", "/healthz"): (OPEN, None, 200),
    ("GET", "/readyz"): (OPEN, None, 200),
    ("GET", "/metrics"): (READ, None, 200),
    ("GET", "/openapi.yaml"): (OPEN, None, 200),
    ("GET", "/openapi.json"): (OPEN, None, 200),
    ("GET", "/problems/{code}"): (OPEN, None, 200),
}
WRONG = ["offload_" + "x" * 43, "x", "offload_"]

faults = []


class Service:
    def __init__(self, url):
        self.address = urllib.parse.urlsplit(url).netloc

    def ask(self, method, path, key=None, body=None, headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        sent = dict(headers or {}, **(JSON if body else {}))
        if key is not None:
            sent["Authorization"] = key if " " in key else f"Bearer {key}"
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content


def expect(what, condition, answer, content):
    if not condition:
        faults.append(f"{what}: {answer.status} {content[:200]!r}")


def code_of(content):
    document = json.loads(content)
    return document["error"]["code"] if "error" in document and "code" not in document else document["code"]


def new_job(service, key):
    answer, content = service.ask("POST", "/v1/jobs", key, ECHO)
    assert answer.status == 200, content
    return json.loads(content)["id"]


def fill(path, job):
    if path.startswith("/v1/jobs"):
        path = path.replace("{id}", job)
    return path.replace("{id}", "no-model").replace("{index}", "0").replace("{name}", "echo").replace("{code}", "gone")


def check_unknown(service, what, method, path, body):
    for key in [None, *WRONG, "Basic YTpi", "Bearer ", "Bearer a b"]:
        answer, content = service.ask(method, path, key, body)
        challenge = answer.headers.get("WWW-Authenticate", "")
        expect(f"{what} with {key}", answer.status == 401 and challenge.startswith("Bearer realm="), answer, content)
        expect(f"{what} with {key}: the challenge is {challenge}", ("invalid_token" in challenge) == (key is not None), answer, content)
        if answer.status == 401:
            code = "invalid_api_key" if path.startswith(("/v1/embeddings", "/v1/models")) else "unauthorized"
            expect(f"{what} with {key}", code_of(content) == code, answer, content)


def check_route(service, keys, method, path):
    need, body, good = ROUTES[method, path]
    what = f"{method} {path}"
    if need == OPEN:
        for key in (None, WRONG[0], keys["submit"]):
            answer, content = service.ask(method, fill(path, ""), key, body)
            expect(f"{what} with {key}", answer.status == good, answer, content)
        return
    check_unknown(service, what, method, fill(path, "01970000-0000-7000-8000-000000000000"), body)
    of_a_job = "/v1/jobs/{id}" in path
    for name, key in keys.items():
        job = new_job(service, keys["both"]) if of_a_job else ""
        answer, content = service.ask(method, fill(path, job), key, body)
        if name not in HOLDERS[need]:
            expect(f"{what} by {name}", answer.status == 403 and code_of(content) == "forbidden", answer, content)
            expect(f"{what} by {name}", f'scope="{need}"' in answer.headers.get("WWW-Authenticate", ""), answer, content)
        elif of_a_job and name not in ("both", "admin"):
            expect(f"{what} by {name}, of another", answer.status == 404 and code_of(content) == "not_found", answer, content)
        else:
            expect(f"{what} by {name}", answer.status == good, answer, content)
        if of_a_job and name not in ("both", "admin"):  # nothing has happened to it
            answer, content = service.ask("GET", f"/v1/jobs/{job}", keys["both"])
            expect(f"{what} by {name}: the job", answer.status == 200, answer, content)


def check_deleted(service, keys):
    """A job that is gone is gone for its owner, and was never there for others."""
    for prefer in ({}, {"Prefer": "respond-async"}):
        answer, content = service.ask("POST", "/v1/jobs", keys["both"], ECHO, prefer)
        job = json.loads(content)["id"]
        service.ask("GET", f"/v1/jobs/{job}", keys["both"], headers={"Prefer": "wait=30"})
        assert service.ask("DELETE", f"/v1/jobs/{job}", keys["both"])[0].status == 204
        for name, status in {"both": 410, "admin": 410, "other": 404, "read": 404}.items():
            for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/result", f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/log"):
                answer, content = service.ask("GET", path, keys[name])
                expect(f"{path} of a deleted job by {name}", answer.status == status, answer, content)
        answer, content = service.ask("DELETE", f"/v1/jobs/{job}", keys["other"])
        expect("DELETE of another's deleted job", answer.status == 404, answer, content)


def main():
    service = Service(sys.argv[1])
    with open(sys.argv[2], encoding="ascii") as file:
        keys = dict(line.split() for line in file)
    _, content = service.ask("GET", "/openapi.json")
    known = {(method.upper(), path) for path, item in json.loads(content)["paths"].items()
             for method in item if method in ("get", "post", "delete", "put", "patch")}
    for route in sorted(known ^ set(ROUTES)):
        faults.append(f"{route} is not in both, /openapi.json and ROUTES")
    for method, path in ROUTES:
        check_route(service, keys, method, path)
    check_deleted(service, keys)
    for method, path in (("OPTIONS", "/v1/jobs"), ("GET", "/nowhere"), ("PUT", "/v1/jobs")):
        answer, content = service.ask(method, path)
        expect(f"{method} {path} without a key", answer.status in (204, 404, 405), answer, content)
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
