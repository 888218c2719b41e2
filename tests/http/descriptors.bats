#!/usr/bin/env bats
# Few descriptors (RLIMIT_NOFILE): jobs and results leave some to connections.

load helpers

setup() {
    ulimit -n 400
    LARGE=$BATS_TEST_TMPDIR/large
    head -c 50000 /dev/zero >"$LARGE"
    BODY=$BATS_TEST_TMPDIR/counts
}

teardown() { stop_daemon; }

# One connection posts so many jobs with data, and waits for each if WAIT is set. Prints how often each status came, and
# the codes of problems. It ends at the first one.
jobs_with_data() { # COUNT QUERY PREFER
    python3 - "$PORT" "$LARGE" "$@" 3>&- <<'PYTHON'
import collections, http.client, json, os, sys
port, file, count, query, prefer = sys.argv[1:]
c = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
data, statuses, codes = open(file, "rb").read(), collections.Counter(), set()
for _ in range(int(count)):
    c.request("POST", "/v1/jobs?" + query, data,
              {"Content-Type": "application/octet-stream", "Prefer": prefer})
    answer = c.getresponse()
    body = answer.read()
    statuses[answer.status] += 1
    if answer.status >= 300:
        codes.add((json.loads(body)["code"], answer.getheader("Retry-After") is not None))
        break
    if answer.status == 202 and os.environ.get("WAIT"):
        c.request("GET", answer.getheader("Location"), headers={"Prefer": "wait=30"})
        answer = c.getresponse()
        assert json.loads(answer.read())["status"] == "succeeded"
print(json.dumps({"statuses": statuses, "codes": sorted(codes)}))
PYTHON
}

@test "the data of jobs that wait leave descriptors to connections" {
    start_daemon --workers 1
    post '{"type":"sleep","params":{"ms":60000}}' >/dev/null
    jobs_with_data 500 'type=bytes&hold_ms=30000' respond-async >"$BODY"
    cat "$BODY" >&2
    holds '.statuses["202"] > 100 and .statuses["429"] == 1 and .codes == [["over_memory", true]]'
    [ "$(status "$URL/livez")" = 200 ]
    call_job '{"type":"echo","params":{"value":1}}' # it needs none
    [ "$CODE" = 200 ]
    ! grep accept_failed "$LOG"
    # Parts of a form go to files. (There are as many as the connections above had.)
    call -F 'job={"type":"bytes"};type=application/json' -F"data=@$LARGE"{,,,} /v1/jobs
    expect_problem 429 over_memory
    holds '.detail | contains("RLIMIT_NOFILE")'
}

# All of the last results are there; the oldest were forgotten.
results_are_kept() { # PREFER STATUS
    jobs_with_data 600 'type=bytes&op=echo' "$1" >"$BODY"
    cat "$BODY" >&2
    holds '.statuses == {($status): 600}' --arg status "$2"
    [ "$(status "$URL/livez")" = 200 ]
    call '/v1/jobs?limit=1000'
    holds '.jobs | length > 200 and length < 400'
    [ "$(status "$URL$(field '.jobs[200].links.result')")" = 200 ]
    ! grep accept_failed "$LOG"
}

@test "results that are kept in memory leave descriptors to connections" {
    start_daemon --data-dir none
    WAIT=1 results_are_kept respond-async 202
    head -c 100000 /dev/zero >"$LARGE" # these are closed by another thread
    WAIT=1 results_are_kept respond-async 202
}

@test "results of jobs that were answered at once leave descriptors to connections" {
    start_daemon
    results_are_kept wait=30 200
}
