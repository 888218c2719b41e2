#!/usr/bin/env bats
# --max-memory: whatever clients make the service hold, it holds no more than that, says what it is, answers others
# meanwhile, and gives it back.

load helpers

LIMIT=$((32 * 1024 * 1024))
CLIENTS=200

# unread REQUEST [BODY_BYTES]: see unread.py. Its answer is in BODY.
unread() {
    BODY=$BATS_TEST_TMPDIR/unread
    CODE='(unread.py)'
    python3 tests/http/unread.py "$PORT" "$DAEMON" "$CLIENTS" "$@" >"$BODY" 3>&-
}

# What holds in each case. The resident memory has a generous bound, because it has much that is not counted: the
# program itself, and what malloc keeps. A sanitizer keeps what is freed.
is_bounded() {
    holds '.total <= $limit and .left == 0 and (.livez | keys == ["200"])' --argjson limit "$LIMIT" &&
        { [[ $BUILD == *-* ]] || holds '.rss <= 2 * $limit' --argjson limit "$LIMIT"; }
}

start() {
    start_daemon --workers 1 --max-memory "$LIMIT" "$@"
}

many_jobs() {
    python3 - "$PORT" "$1" 3>&- <<'PYTHON'
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
for _ in range(int(sys.argv[2])):
    c.request("POST", "/v1/jobs", b'{"type":"echo","params":{"value":1}}',
              {"Content-Type": "application/json", "Prefer": "respond-async"})
    answer = c.getresponse()
    answer.read()
    assert answer.status == 202, answer.status
PYTHON
}

big_job() { # prints its id; its result has so many bytes, which gzip cannot make much smaller
    { printf '{"type":"echo","params":{"value":"' && head -c "$1" /dev/urandom | base64 -w 0 | head -c "$1" && printf '"}}'; } >"$BATS_TEST_TMPDIR/big"
    post @"$BATS_TEST_TMPDIR/big" | jq -er .id
}

@test "unfinished uploads count as they grow, and hold no more than --max-memory; then they are given back" {
    start
    CLIENTS=40
    unread 'POST /v1/jobs' $((10 * 1024 * 1024))
    is_bounded
    holds '.held.bodies >= 9000000'
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
}

@test "small unfinished uploads count, too" {
    start
    unread 'POST /v1/jobs' 30000
    is_bounded
    holds '.held.bodies >= 200 * 29999'
}

@test "an upload that does not fit is 429 over_memory with Retry-After, and results make room for it" {
    start
    first=$(big_job 9000000)
    for _ in 1 2 3 4; do
        big_job 9000000
    done
    [[ $(status "$URL/v1/jobs/$first") = 4?? ]]
    head -c 30000000 /dev/zero >"$BATS_TEST_TMPDIR/zeros"
    call -H 'Content-Type: application/json' -H 'Transfer-Encoding: chunked' --data-binary @"$BATS_TEST_TMPDIR/zeros" /v1/jobs
    expect_problem 429 over_memory
    [ -n "$(header Retry-After)" ]
    call /metrics
    grep -q '^offload_held_bytes{what="bodies"} 0$' "$BODY"
}

@test "lists that nobody reads: the slowest are closed, and the log and the metrics say so" {
    start
    many_jobs 1000
    unread 'GET /v1/jobs?limit=1000'
    is_bounded
    holds '.held.answers >= 5000000 and .closed >= 1 and .read == 200'
    grep -q '"event":"unread_closed".*"path":"/v1/jobs"' "$LOG"
    call '/v1/jobs?limit=1000'
    [ "$CODE" = 200 ]
    holds '.jobs | length == 1000'
}

@test "Jobs that nobody reads, and results, plain and compressed" {
    start
    id=$(big_job 250000)
    unread "GET /v1/jobs/$id"
    is_bounded
    holds '.held.answers >= 5000000 and .closed >= 1 and .read == 200'
    unread "GET /v1/jobs/$id/result"
    is_bounded
    holds '.held.answers == 0 and .closed == 0 and .read == 200'
    unread $'GET /v1/jobs/'"$id"$'/result\nAccept-Encoding: gzip'
    is_bounded
    # It is there once for all of them; while it is compressed it counts as {"value":"..."} does.
    holds '.held.answers <= 250012 and .closed == 0 and .read == 200'
    call "/v1/jobs/$id/result"
    [ "$CODE" = 200 ]
}

@test "documents that nobody reads" {
    start
    for target in /openapi.json /metrics /v1/types; do
        unread "GET $target"
        is_bounded
    done
}

@test "events that nobody reads, of a job with a large result" {
    start --stream-buffer 1MiB
    post -H 'Prefer: respond-async' '{"type":"sleep","params":{"ms":1500}}'
    python3 -c 'import json; print(json.dumps({"type": "echo", "items": [{"value": "y" * 1000}] * 2000}))' \
        >"$BATS_TEST_TMPDIR/map"
    id=$(submit @"$BATS_TEST_TMPDIR/map")
    unread "GET /v1/jobs/$id/events"
    is_bounded
    [ "$(ended "$id")" = succeeded ]
}

@test "lines of a map that nobody reads" {
    start --stream-buffer 1MiB
    python3 -c 'import json; print(json.dumps({"type": "echo", "items": [{"value": "y" * 1000}] * 2000}))' \
        >"$BATS_TEST_TMPDIR/map"
    CLIENTS=20
    unread $'POST /v1/jobs\nAccept: application/x-ndjson' @"$BATS_TEST_TMPDIR/map"
    is_bounded
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
}

@test "queued jobs count; those beyond --max-memory are 429 over_memory, long before --max-queue" {
    start_daemon --workers 1 --max-memory 2MiB --data-dir none
    post -H 'Prefer: respond-async' '{"type":"sleep","params":{"ms":60000}}'
    run python3 - "$PORT" 3>&- <<'PYTHON'
import collections, http.client, sys
codes = collections.Counter()
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
for _ in range(3000):
    c.request("POST", "/v1/jobs", b'{"type":"sleep","params":{"ms":60000}}',
              {"Content-Type": "application/json", "Prefer": "respond-async, wait=0"})
    answer = c.getresponse()
    answer.read()
    codes[answer.status] += 1
    if answer.status == 429:
        break
print(*codes)
PYTHON
    [[ $output = *429* ]]
    call /metrics
    jobs=$(sed -n 's/^offload_held_bytes{what="jobs"} //p' "$BODY")
    [[ $jobs -gt 500000 && $jobs -le 1572864 ]]
    [ "$(status "$URL/livez")" = 200 ]
}

@test "connections count, and as many are let in as --max-memory has room for" {
    start_daemon --workers 1 --max-memory 2MiB
    grep '"event":"connections_limited"' "$LOG" | jq -e '.max_connections == 76'
    call /metrics
    grep -q '^offload_held_bytes{what="connections"} 20480$' "$BODY"
    grep -Eq '^offload_held_bytes\{what="workers"\} [1-9][0-9]{6,}$' "$BODY"
}
