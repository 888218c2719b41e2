"""Sends each example of the document to the service and compares the answer with what the example expects and with
the schema of the response. Each job that an example makes is deleted after it, so that none keeps a worker busy."""

import http.client
import json

from document import parse_json
from responses import contains, response_faults
from service import target


def job_id(response):
    """The job that a response to submitJob is about, if there is one."""
    location = response.headers.get("Location") or response.headers.get("Content-Location")
    if location:
        return location.removeprefix("/v1/jobs/").split("/")[0]
    try:
        body = json.loads(response.body)
    except ValueError:
        return None
    return body.get("id") or body.get("job") if isinstance(body, dict) else None


def is_going(response):
    """A job that can change at any moment."""
    is_json = response.headers.get("Content-Type") == "application/json"
    return is_json and parse_json(response.body).get("status") in ("queued", "running")


class Examples:
    """Sends the examples of the document to the service and reports how they went."""

    def __init__(self, document, service, tap):
        self.document, self.service, self.tap = document, service, tap
        self.seen = set()  # (operation, status) that came up

    def call(self, operation, parameters, headers=None, body=None):
        path = target(operation.path, operation.places, parameters)
        return self.service.send(operation.method, path, headers, body)

    def post(self, operation, example):
        value = example["value"]
        body = value if isinstance(value, str) else json.dumps(value)
        headers = {"Content-Type": "application/json", **example["headers"]}
        return self.call(operation, {}, headers, body.encode())

    def submit(self, example):
        return self.post(self.document.by_id["submitJob"], example)

    def make_job(self, name, after):
        submit = self.document.by_id["submitJob"]
        response = self.submit(submit.examples()[name])
        made = job_id(response)
        if made is None:
            raise RuntimeError(f"submitting {name} made no job: {response.status} {response.body[:500]!r}")
        if after is not None:
            self.call(self.document.by_id[after], {"id": made})
        return made

    def forget_job(self, made):
        if made is not None:
            self.call(self.document.by_id["deleteJob"], {"id": made})

    def faults(self, operation, example, response):
        expect = example["expect"]
        status = expect.get("status", 200)
        self.seen.add((operation.id, response.status))
        if response.status != status:
            yield f"answered {response.status}, not {status}: {response.body[:500]!r}"
        spec = operation.responses.get(str(response.status))
        if spec is None:
            yield f"{response.status} is not documented"
            return
        bodiless = response.status == 202 and "return=minimal" in example.get("headers", {}).get("Prefer", "")
        yield from response_faults(self.document, spec, response, bodiless)
        for name, value in expect.get("headers", {}).items():
            if response.headers.get(name) != value:
                yield f"{name} is {response.headers.get(name)!r}, not {value!r}"
        part = {**expect.get("body", {}), **({"code": expect["code"]} if "code" in expect else {})}
        if part and not contains(json.loads(response.body), part):
            yield f"the body lacks {part}: {response.body[:1000]!r}"

    def unchanged_faults(self, operation, parameters, response):
        """An answer with an ETag is a 304 when the client sends that ETag."""
        if response.status != 200 or "304" not in operation.responses or is_going(response):
            return
        again = self.call(operation, parameters, {"If-None-Match": response.headers.get("ETag", "")})
        self.seen.add((operation.id, again.status))
        if again.status != 304:
            yield f"with If-None-Match it is answered {again.status}, not 304"
        else:
            yield from response_faults(self.document, operation.responses["304"], again)

    def run(self, operation, example):
        made, faults = None, []
        try:
            if "value" in example:
                response = self.post(operation, example)
                made = job_id(response)
                return list(self.faults(operation, example, response))
            parameters = dict(example.get("parameters", {}))
            if "job" in example:
                made = self.make_job(example["job"], example.get("after"))
                parameters.update({"id": made} if "id" in operation.places else {})
            response = self.call(operation, parameters, example.get("headers"))
            faults += self.faults(operation, example, response)
            return faults + list(self.unchanged_faults(operation, parameters, response))
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            return faults + [f"{type(error).__name__}: {error}"]
        finally:
            self.forget_job(made)

    def run_all(self):
        for operation in self.document.operations:
            for name, example in operation.examples().items():
                self.tap.result(f"{operation.id}: {name}", self.run(operation, example))
                self.service.check_alive()
