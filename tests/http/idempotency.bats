#!/usr/bin/env bats
# idempotency.bats: Idempotency-Key: one key, one job, however often and however fast it is sent.

bats_require_minimum_version 1.5.0
load helpers

BURN='{"type":"burn","params":{"cpu_ms":300}}'

keyed() { # KEY [curl options...] JSON
    call_job -H "Idempotency-Key: $1" "${@:2}"
}

jobs_made() {
    curl -sS "$URL/v1/jobs?limit=1000" | jq '.jobs | length'
}

@test "a repeat gets the same job, and the answer says that it is a replay" {
    start_daemon
    keyed '"a"' '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    [ -z "$(header Idempotency-Replayed)" ]
    id=$(jq -r .id "$BODY")
    keyed '"a"' '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    [ "$(header Idempotency-Replayed)" = true ]
    holds '.id == $id and .result.value == 1' --arg id "$id"
    [ "$(jobs_made)" = 1 ]
}

@test "a key is the same quoted and bare; another key is another job" {
    start_daemon
    keyed '"k-1"' '{"type":"echo","params":{"value":1}}'
    id=$(jq -r .id "$BODY")
    keyed k-1 '{"type":"echo","params":{"value":1}}'
    holds '.id == $id' --arg id "$id"
    keyed k-2 '{"type":"echo","params":{"value":1}}'
    holds '.id != $id' --arg id "$id"
}

@test "requests are compared as JSON: order, white space and the form of numbers do not matter" {
    start_daemon
    keyed k '{"type":"primes","params":{"start":1000,"stop":2000}}'
    id=$(jq -r .id "$BODY")
    for body in '{ "params" : {"stop":2000, "start":1000}, "type":"primes" }' \
        '{"type":"primes","params":{"start":1e3,"stop":2000.0}}' \
        '{"type":"pr\u0069mes","params":{"start":1000,"stop":20e2}}'; do
        keyed k "$body"
        [ "$CODE" = 200 ]
        holds '.id == $id' --arg id "$id"
    done
    for body in '{"type":"primes","params":{"start":1000,"stop":2001}}' \
        '{"type":"primes","params":{"start":"1000","stop":2000}}' \
        '{"type":"sum","params":{"start":1000,"stop":2000}}' \
        '{"type":"primes","params":{"start":1000,"stop":2000},"options":{"priority":3}}'; do
        keyed k "$body"
        expect_problem 422 idempotency_mismatch
    done
}

@test "a bad key is rejected; a bad request does not use up its key" {
    start_daemon
    for key in '""' '"open' 'a"b\"' "$(printf 'x%.0s' {1..256})"; do
        if [ "$key" = 'a"b\"' ]; then continue; fi # bare: any printable text
        keyed "$key" '{"type":"echo","params":{"value":1}}'
        expect_problem 400 invalid_idempotency_key
    done
    keyed k '{"type":"echo"'
    expect_problem 400 invalid_json
    keyed k '{"type":"primes","params":{"stop":"x"}}'
    expect_problem 422 invalid_params
    keyed k '{"type":"sum","params":{"start":0,"stop":"99999999999999999999"}}'
    [ "$CODE" = 422 ]
    keyed k '{"type":"echo","params":{"value":7}}'
    [ "$CODE" = 200 ]
    [ -z "$(header Idempotency-Replayed)" ]
}

@test "a replay joins the running job, and waits as its own Prefer says" {
    start_daemon
    keyed k -H 'Prefer: respond-async' "$BURN"
    [ "$CODE" = 202 ]
    id=$(jq -r .id "$BODY")
    keyed k -H 'Prefer: respond-async' "$BURN"
    [ "$CODE" = 202 ]
    [ "$(header Location)" = "/v1/jobs/$id" ]
    keyed k "$BURN"
    [ "$CODE" = 200 ]
    holds '.id == $id and .status == "succeeded"' --arg id "$id"
    [ "$(jobs_made)" = 1 ]
}

@test "a client that leaves does not cancel a job with a key" {
    start_daemon
    curl -sS --max-time 0.1 -H 'Content-Type: application/json' -H 'Idempotency-Key: k' "$URL/v1/jobs" -d "$BURN" || true
    keyed k "$BURN"
    [ "$CODE" = 200 ]
    [ "$(header Idempotency-Replayed)" = true ]
    holds '.status == "succeeded" and .attempts == 1'
}

@test "1,000 duplicates at the same time run once" {
    start_daemon --max-sync 2000
    for i in $(seq 1000); do
        [ "$i" = 1 ] || echo next
        echo "url = \"$URL/v1/jobs\""
        echo 'max-time = 60'
        echo 'header = "Content-Type: application/json"'
        echo 'header = "Idempotency-Key: \"once\""'
        echo 'write-out = "\n"'
        echo 'data = "{\"type\":\"burn\",\"params\":{\"cpu_ms\":200}}"'
    done >"$BATS_TEST_TMPDIR/requests"
    curl -sS --parallel --parallel-immediate --parallel-max 300 -K "$BATS_TEST_TMPDIR/requests" >"$BATS_TEST_TMPDIR/answers"
    [ "$(jq -r .status "$BATS_TEST_TMPDIR/answers" | sort | uniq -c | tr -s ' ')" = " 1000 succeeded" ]
    [ "$(jq -r .id "$BATS_TEST_TMPDIR/answers" | sort -u | wc -l)" = 1 ]
    [ "$(jobs_made)" = 1 ]
}

@test "a key survives kill -9, for an ended job and for one that was running" {
    data=$BATS_TEST_TMPDIR/data
    start_daemon --data-dir "$data"
    keyed ended '{"type":"echo","params":{"value":5}}'
    first=$(jq -r .id "$BODY")
    keyed running -H 'Prefer: respond-async' "$BURN"
    second=$(jq -r .id "$BODY")
    kill_daemon
    start_daemon --data-dir "$data"
    keyed ended '{"type":"echo","params":{"value":5}}'
    holds '.id == $id and .result.value == 5' --arg id "$first"
    keyed ended '{"type":"echo","params":{"value":6}}'
    expect_problem 422 idempotency_mismatch
    keyed running "$BURN"
    holds '.id == $id and .status == "succeeded"' --arg id "$second"
    [ "$(jobs_made)" = 2 ]
}

@test "a key outlives its job, which is gone and does not run again; then the key ends, too" {
    start_daemon --key-ttl 3s
    keyed k '{"type":"echo","params":{"value":1}}'
    call -X DELETE "/v1/jobs/$(jq -r .id "$BODY")"
    keyed k '{"type":"echo","params":{"value":1}}'
    expect_problem 410 gone
    free() {
        keyed k '{"type":"echo","params":{"value":1}}'
        [ "$CODE" = 200 ] && [ -z "$(header Idempotency-Replayed)" ]
    }
    wait_for free
}

@test "with --data-dir none keys work as long as the process" {
    start_daemon --data-dir none
    keyed k '{"type":"echo","params":{"value":1}}'
    id=$(jq -r .id "$BODY")
    keyed k '{"type":"echo","params":{"value":1}}'
    holds '.id == $id' --arg id "$id"
    keyed k '{"type":"echo","params":{"value":2}}'
    expect_problem 422 idempotency_mismatch
}

@test "a body that a worker parses has a key, too" {
    start_daemon
    { echo '{"type":"echo","params":{"value":"'; head -c 200000 /dev/zero | tr '\0' x; echo '"}}'; } | tr -d '\n' >"$BATS_TEST_TMPDIR/large"
    jq . "$BATS_TEST_TMPDIR/large" >"$BATS_TEST_TMPDIR/same" # written differently
    sed 's/xx"/xy"/' "$BATS_TEST_TMPDIR/large" >"$BATS_TEST_TMPDIR/other"
    keyed k "@$BATS_TEST_TMPDIR/large"
    [ "$CODE" = 200 ]
    id=$(jq -r .id "$BODY")
    keyed k "@$BATS_TEST_TMPDIR/same"
    [ "$CODE" = 200 ]
    [ "$(header Idempotency-Replayed)" = true ]
    holds '.id == $id' --arg id "$id"
    keyed k "@$BATS_TEST_TMPDIR/other"
    expect_problem 422 idempotency_mismatch
    [ "$(jobs_made)" = 1 ]
}

# Whether the job of a client who has left goes on, though no worker could look at it while the client was there.
goes_on_without_its_client() { # BODY [curl options...]
    local body=$1 worker workers
    shift
    workers=$(curl -sS "$URL/v1/workers" | jq '.workers[].pid')
    for worker in $workers; do kill -STOP "$worker"; done
    curl -sS --max-time 0.5 -H 'Content-Type: application/json' -H 'Idempotency-Key: left' "$@" \
        "$URL/v1/jobs" --data-binary "$body" >/dev/null || true
    for worker in $workers; do kill -CONT "$worker"; done
    is_stored() { [ "$(curl -sS "$URL/v1/jobs" | jq '[.jobs[] | select(.status == "succeeded")] | length')" = 1 ]; }
    wait_for is_stored
    kill_daemon
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    call -H 'Content-Type: application/json' -H 'Idempotency-Key: left' --data-binary "$body" /v1/jobs
    [ "$CODE" = 200 ]
    [ "$(header Idempotency-Replayed)" = true ]
    call_job -H 'Idempotency-Key: left' '{"type":"echo","params":{"value":2}}'
    expect_problem 422 idempotency_mismatch
}

@test "a client with a key and a large body leaves before a worker has looked at it: the job goes on, as a small one does" {
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    { head -c 40000 /dev/zero | tr '\0' ' '; echo '{"type":"echo","params":{"value":1}}'; } >"$BATS_TEST_TMPDIR/large"
    goes_on_without_its_client "@$BATS_TEST_TMPDIR/large"
}

@test "the same with a long list of items, and with respond-async" {
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    jq -nc '{type: "echo", items: [range(200) | {value: .}]}' >"$BATS_TEST_TMPDIR/list"
    goes_on_without_its_client "@$BATS_TEST_TMPDIR/list" -H 'Prefer: respond-async'
}
