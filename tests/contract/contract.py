#!/usr/bin/python3
"""Compares a running service with openapi.yaml: sends every example in it and checks the answers.

    contract.py OFFLOADD [OPENAPI_YAML]     TAP on stdout; exit code 1 if anything differs

It fails on a status, a media type or a member that is not documented, on a header that is missing, on a body that its
schema rejects, and where GET /v1/types and the schemas of the params differ. It needs Debian's python3-yaml and
python3-jsonschema. It talks only to the service that it starts, on the loopback."""

import http.client
import os
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is

from document import Document, parse_json
from examples import Examples, job_id
from params import differences
from responses import response_faults
from service import Died, Service

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
OPTIONS = ["--max-job-memory", "512MiB", "--drain-timeout", "2s"]


class Tap:
    """Test results in the Test Anything Protocol."""

    def __init__(self):
        self.passed = self.failed = 0

    def result(self, name, faults):
        number = self.passed + self.failed + 1
        print(f"{'not ok' if faults else 'ok'} {number} - {name}", flush=True)
        for fault in faults:
            print("#   " + str(fault).replace("\n", "\n#   "), flush=True)
        self.failed += bool(faults)
        self.passed += not faults

    def finish(self):
        print(f"1..{self.passed + self.failed}")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0


# ---- the document by itself ------------------------------------------------------------------------------------------


def check_response_examples(document, tap, operation):
    for status, response in operation.responses.items():
        for content in response.get("content", {}).values():
            for name, example in content.get("examples", {}).items():
                faults = document.faults(content["schema"], document.follow(example)["value"])
                tap.result(f"{operation.id} {status}: the example {name} is valid", faults)


def check_request_examples(document, tap):
    """The schema rejects the examples that the service answers 422 or, in OpenAI's API, 400; except those that only a
    handler can reject."""
    for operation_id, wrong in (("submitJob", 422), ("createEmbedding", 400)):
        operation = document.by_id[operation_id]
        for name, example in operation.examples().items():
            if isinstance(example["value"], str) or example["expect"].get("by_handler"):
                continue
            faults = document.faults(operation.body["schema"], example["value"])
            if example["expect"].get("status") == wrong:
                tap.result(f"{operation.id}: the schema rejects {name}", [] if faults else ["it accepts it"])
            else:
                tap.result(f"{operation.id}: the schema accepts {name}", faults)


def check_document(document, tap):
    for operation in document.operations:
        tap.result(f"{operation.id} has an example", [] if operation.examples() else ["it has none"])
        check_response_examples(document, tap, operation)
    check_request_examples(document, tap)
    kinds = document.root["components"].items()
    components = {f"#/components/{kind}/{name}" for kind, named in kinds for name in named}
    schemes = {f"#/components/securitySchemes/{name}" for needed in document.root["security"] for name in needed}
    tap.result("every component is used", sorted(components - document.references() - schemes))


# ---- beyond the examples ---------------------------------------------------------------------------------------------


def default_faults(document, response, status, code, path=None):
    """Compares an error that any request can get with the `default` response, of that path."""
    spec = document.root["components"]["responses"]["Error"]
    for operation in document.operations:
        spec = operation.responses.get("default", spec) if operation.path == path else spec
    if response.status != status:
        yield f"answered {response.status}, not {status}"
    yield from response_faults(document, spec, response)
    if f'"{code}"'.encode() not in response.body:
        yield f"the code is not {code}: {response.body[:500]!r}"


def allow_faults(response, methods):
    allowed = {method.strip() for method in response.headers.get("Allow", "").split(",")}
    return [] if allowed == methods else [f"Allow is {response.headers.get('Allow')!r}, not {sorted(methods)}"]


def check_methods(examples, tap):
    """OPTIONS names the documented methods, PATCH is rejected with the same names, HEAD is GET without a body."""
    document, service = examples.document, examples.service
    some = {"{id}": "01941f29-7c00-7000-8000-0242ac120002", "{index}": "0", "{name}": "primes", "{code}": "gone"}
    for path in document.root["paths"]:
        methods = {o.method for o in document.operations if o.path == path} | {"OPTIONS"}
        methods |= {"HEAD"} if "GET" in methods else set()
        documented = path
        for name, value in some.items():
            path = path.replace(name, value)
        options = service.send("OPTIONS", path)
        faults = [] if options.status == 204 else [f"answered {options.status}"]
        tap.result(f"OPTIONS {path} names its methods", faults + allow_faults(options, methods))
        rejected = service.send("PATCH", path)
        faults = list(default_faults(document, rejected, 405, "method_not_allowed", documented))
        tap.result(f"PATCH {path} is rejected", faults + allow_faults(rejected, methods))
        if "HEAD" in methods:
            get, head = service.send("GET", path), service.send("HEAD", path)
            same = (get.status, get.media_type()) == (head.status, head.media_type()) and not head.body
            tap.result(f"HEAD {path} is GET without a body", [] if same else [f"{get.status} and {head.status}"])


def check_unknown_path(examples, tap):
    document, service = examples.document, examples.service
    response = service.send("GET", "/v1/nothing")
    tap.result("an unknown path is 404", list(default_faults(document, response, 404, "not_found")))


def check_problem_pages(examples, tap):
    """The type of every problem resolves."""
    document, service = examples.document, examples.service
    for code in document.root["components"]["schemas"]["ProblemCode"]["enum"]:
        status = service.send("GET", f"/problems/{code}").status
        tap.result(f"/problems/{code} resolves", [] if status == 200 else [f"answered {status}"])


def check_params(examples, tap):
    """The params of each type mean the same in openapi.yaml as in the handler's table."""
    document, service = examples.document, examples.service
    listed = {t["name"]: t["params"] for t in parse_json(service.send("GET", "/v1/types").body)["types"]}
    documented = {
        branch["properties"]["type"]["const"]: branch["properties"]["params"]
        for branch in document.root["components"]["schemas"]["Submission"]["oneOf"]
    }
    missing = [f"only one of them has {name}" for name in sorted(set(listed) ^ set(documented))]
    tap.result("the types are those of GET /v1/types", missing)
    for name in sorted(set(listed) & set(documented)):
        faults = differences(document, documented[name], listed[name])
        tap.result(f"the params of {name} are those of its table", faults)


def check_option_bounds(examples, tap):
    """Each bound of an option is accepted, and a value beyond it is rejected."""
    for name, option in examples.document.root["components"]["schemas"]["Options"]["properties"].items():
        if not option.get("$ref", "").endswith("/Natural"):
            continue
        least, most = option.get("minimum", 0), option.get("maximum", 2**53 - 1)
        for value, status in ((least, 200), (least - 1, 422), (most, 200), (most + 1, 422)):
            job = {"type": "echo", "params": {"value": 1}, "options": {"timeout_ms": 60000, name: value}}
            delayed = name == "delay_ms" and value > 0
            response = examples.submit({"value": job, "headers": {"Prefer": "respond-async"} if delayed else {}})
            answers = {202} if delayed else {200, 504} if name == "timeout_ms" else {200}
            fine = response.status in (answers if status == 200 else {status})
            if delayed and fine and status == 200:
                examples.forget_job(job_id(response))
            faults = [] if fine else [f"answered {response.status}, not {status}: {response.body[:300]!r}"]
            tap.result(f"options.{name} = {value} is {'accepted' if status == 200 else 'rejected'}", faults)


def check_pages(examples, tap):
    """next_cursor leads to older jobs, and the last page has none."""
    service = examples.service
    for _ in range(3):
        service.send("POST", "/v1/jobs", {"Content-Type": "application/json"}, b'{"type":"echo","params":{"value":1}}')
    everything = [job["id"] for job in parse_json(service.send("GET", "/v1/jobs?type=echo&limit=1000").body)["jobs"]]
    paged, cursor = [], ""
    while cursor is not None and len(paged) <= len(everything):
        page = parse_json(service.send("GET", f"/v1/jobs?type=echo&limit=2{cursor}").body)
        paged += [job["id"] for job in page["jobs"]]
        cursor = "&cursor=" + page["next_cursor"] if "next_cursor" in page else None
    same = paged == everything and everything == sorted(everything, reverse=True) and len(everything) >= 3
    tap.result("pages of jobs add up to the whole list", [] if same else [f"{paged} is not {everything}"])


def check_served_document(examples, tap):
    document, service = examples.document, examples.service
    served = service.send("GET", "/openapi.yaml").body.decode()
    tap.result("/openapi.yaml is this document", [] if served == document.text else ["it differs"])
    same = parse_json(service.send("GET", "/openapi.json").body) == document.root
    tap.result("/openapi.json is the same document", [] if same else ["it differs"])


def wait_until_draining(service):
    """The signal and the next request come by different ways, so it is not known which is first."""
    end = time.monotonic() + 5
    while service.send("GET", "/readyz").status == 200 and time.monotonic() < end:
        time.sleep(0.01)


def check_drain(examples, tap):
    """While the service drains, new jobs get 503; it is alive, but not ready."""
    document, service = examples.document, examples.service
    submit, live, ready = (document.by_id[name] for name in ("submitJob", "live", "ready"))
    jobs = submit.examples()
    examples.submit(jobs["async"])
    service.terminate()
    wait_until_draining(service)
    for operation, response, expect in (
        (submit, examples.submit(jobs["echo"]), {"status": 503, "code": "draining"}),
        (live, examples.call(live, {}), {}),
        (ready, examples.call(ready, {}), {"status": 503}),
    ):
        tap.result(f"{operation.id} while draining", list(examples.faults(operation, {"expect": expect}, response)))
    code = service.wait()
    faults = [] if code == 0 else [f"exit code {code}", service.log_text()[-2000:]]
    tap.result("the service drains and exits with 0", faults)


def report_unseen(document, seen):
    """For the reader: the documented answers that no example has caused."""
    for operation in document.operations:
        unseen = [s for s in operation.responses if s != "default" and (operation.id, int(s)) not in seen]
        if unseen:
            print(f"# not seen: {operation.id} {' '.join(unseen)}")


CHECKS = [
    check_unknown_path,
    check_methods,
    check_problem_pages,
    check_params,
    check_option_bounds,
    check_pages,
    check_served_document,
]


def run_check(check, examples, tap):
    try:
        check(examples, tap)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        tap.result(f"{check.__name__} runs to its end", [f"{type(error).__name__}: {error}"])


def check_service(document, service, tap):
    examples = Examples(document, service, tap)
    try:
        examples.run_all()
        for check in CHECKS:
            run_check(check, examples, tap)
            service.check_alive()
        run_check(check_drain, examples, tap)
    except Died as died:
        tap.result("the service does not end before it is stopped", [died])
    report_unseen(document, examples.seen)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    document = Document(sys.argv[2] if len(sys.argv) == 3 else os.path.join(ROOT, "openapi.yaml"))
    tap = Tap()
    check_document(document, tap)
    service = Service(sys.argv[1], *OPTIONS)
    try:
        check_service(document, service, tap)
    finally:
        service.stop()
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
