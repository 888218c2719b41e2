#!/usr/bin/env python3
"""browser.py SERVICE FILE: a web site in front of the service, for browser.bats. It prints its port, and then a line of JSON
for each form that it gets.

    GET /here   a page whose form goes to the site, which passes it on as it is, as a proxy or an application would
    GET /there  the same page, but its form goes straight to the service, which is another site for the browser
    GET /sly    a page whose script sends jobs to the service in all ways for which a browser asks nobody
    GET /asks   a page whose script submits a job to the service as it should be, and shows the answer

The form has the file with the bytes of FILE, as if a visitor had chosen it, and is submitted at once."""

import http.client
import http.server
import json
import sys

SERVICE, FILE = sys.argv[1:]
PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>form</title>
<form action="%s" method="post" enctype="multipart/form-data">
<input type="hidden" name="job" value='{"type": "bytes", "params": {"op": "echo"}}'><input type="file" name="data"></form>
<script>
fetch("/file").then(r => r.blob()).then(blob => {
    const chosen = new DataTransfer();
    chosen.items.add(new File([blob], "näme \\"1\\".bin", {type: "application/x-test"}));
    document.querySelector("[type=file]").files = chosen.files;
    document.forms[0].submit();
});
</script>"""


# Each of these is sent without a preflight: "simple" requests, as the Fetch standard has them.
SLY = """<!DOCTYPE html><meta charset="utf-8"><title>sly</title><body><script>
const job = '{"type": "echo", "params": {"value": 1}}', url = "%s/v1/jobs";
const send = (target, body, headers) => fetch(target, {method: "POST", mode: "no-cors", body, headers});
Promise.all([
    send(url, job), send(url, job, {"Content-Type": "text/plain"}), send(url, new Blob([job])),
    send(url, new TextEncoder().encode(job)), send(url + "?type=bytes", new Blob(["x"])), send(url + "?type=bytes", "x"),
    send(url + "?type=echo&value=1", new URLSearchParams("a=b")),
]).then(() => {
    navigator.sendBeacon(url + "?type=bytes", new Blob(["x"]));
    return Promise.allSettled([
        fetch(url, {method: "POST", body: job, headers: {"Content-Type": "application/json"}}),
        fetch(url + "/0192d0a0-0000-7000-8000-000000000000", {method: "DELETE"}),
    ]);
}).then(asked => document.body.append("sent, and " + asked.map(a => a.status)), e => document.body.append("failed: " + e));
</script>"""
ASKS = """<!DOCTYPE html><meta charset="utf-8"><title>asks</title><body><script>
fetch("%s/v1/jobs", {method: "POST", body: '{"type": "echo", "params": {"value": "from the page"}}',
    headers: {"Content-Type": "application/json", "Prefer": "wait=30", "Idempotency-Key": "browser", "X-Request-Id": "page-1"}})
.then(async r => document.body.append(r.status, " ", r.headers.get("X-Request-Id"), " ", r.headers.get("Preference-Applied"), " ",
    (await r.json()).result.value), e => document.body.append("failed: " + e));
</script>"""


class Site(http.server.BaseHTTPRequestHandler):
    def answer(self, status, media_type, body):
        self.send_response_only(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/file":
            with open(FILE, "rb") as file:
                self.answer(200, "application/octet-stream", file.read())
        elif self.path in ("/here", "/there"):
            action = "/jobs" if self.path == "/here" else f"http://{SERVICE}/v1/jobs"
            self.answer(200, "text/html", (PAGE % action).encode())
        elif self.path in ("/sly", "/asks"):
            page = SLY if self.path == "/sly" else ASKS
            self.answer(200, "text/html", (page % f"http://{SERVICE}").encode())
        else:
            self.answer(404, "text/plain", b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        service = http.client.HTTPConnection(SERVICE, timeout=60)
        service.request("POST", "/v1/jobs", body, {name: self.headers[name] for name in ("Content-Type", "Accept")})
        answer = service.getresponse()
        text = answer.read()
        self.answer(answer.status, answer.headers["Content-Type"], text)
        print(json.dumps({"status": answer.status, "origin": self.headers["Origin"], "job": json.loads(text)}), flush=True)

    def log_message(self, *_):
        pass


site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
print(site.server_port, flush=True)
site.serve_forever()
