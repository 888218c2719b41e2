#!/usr/bin/env bats
# ndjson.bats: POST /v1/jobs with items and Accept: application/x-ndjson: a line for each item as it is finished.

bats_require_minimum_version 1.5.0
load helpers

# stream [curl options...] JSON: submits it in the background; the answer goes to the file STREAM, CLIENT is the pid
stream() {
    STREAM=$BATS_TEST_TMPDIR/stream-$RANDOM
    HEAD=$STREAM.head
    : >"$HEAD"
    curl -sSN --max-time 60 -D "$HEAD" -H 'Content-Type: application/json' -H 'Accept: application/x-ndjson' \
        "${@:1:$#-1}" --data-binary "${@: -1}" "$URL/v1/jobs" >"$STREAM" 3>&- &
    CLIENT=$!
}

# ask [curl options...] JSON: like call_job, and asks for lines
ask() {
    call_job -H 'Accept: application/x-ndjson' "$@"
}

has_lines() {
    [ "$(wc -l <"$STREAM")" -ge "$1" ]
}

id_of_stream() {
    basename "$(header Location)"
}

@test "each item is a line when it is finished, and the last line is the summary" {
    start_daemon --workers 3
    stream '{"type":"sleep","items":[{"ms":2000},{"ms":10},{"ms":"x"},{"ms":20}],"options":{"chunks":4}}'
    wait_for has_lines 3
    run ! grep -q '"index":0,' "$STREAM"
    run ! grep -q summary "$STREAM"
    wait "$CLIENT"
    [ "$(header Content-Type)" = application/x-ndjson ]
    run -0 jq -c -s '[.[:-1][] | [.index, .status, .result.ms, .error.code]] | sort' "$STREAM"
    [ "$output" = '[[0,"succeeded",2000,null],[1,"succeeded",10,null],[2,"failed",null,"invalid_params"],[3,"succeeded",20,null]]' ]
    [ "$(tail -n 1 "$STREAM")" = '{"summary":{"total":4,"succeeded":3,"failed":1}}' ]
    [ "$(sed -n 4p "$STREAM" | jq .index)" = 0 ]
    # It is a job like any other.
    run -0 job_field "$(id_of_stream)" '[.status, (.result.items | length)] | @json'
    [ "$output" = '["succeeded",4]' ]
}

@test "the lines are the items of the result" {
    start_daemon --workers 2
    items=$(jq -nc '[range(500) | {start: 0, stop: .}]')
    for chunks in 0 1 7; do
        ask "{\"type\":\"primes\",\"items\":$items,\"options\":{\"chunks\":$chunks}}"
        [ "$CODE" = 200 ]
        jq -c -s '.[:-1] | sort_by(.index) | map(del(.index))' "$BODY" >"$BATS_TEST_TMPDIR/lines"
        curl -sS "$URL$(header Location)/result" | jq -c .items | diff - "$BATS_TEST_TMPDIR/lines"
    done
}

@test "one item, and none" {
    start_daemon
    ask '{"type":"echo","items":[{"value":{"a":"\n\r\u2028 \" \\ ]}"}}]}'
    [ "$(wc -l <"$BODY")" = 2 ]
    [ "$(head -n 1 "$BODY" | jq -c .result.value)" = '{"a":"\n\r'$'\u2028'' \" \\ ]}"}' ]
    ask '{"type":"echo","items":[]}'
    [ "$CODE" = 200 ]
    [ "$(<"$BODY")" = '{"summary":{"total":0,"succeeded":0,"failed":0}}' ]
}

@test "a submission that is wrong is answered with a problem, as always" {
    start_daemon
    ask '{"type":"primes","items":{}}'
    expect_problem 422 invalid_params
    ask '{"type":"nonsense","items":[]}'
    expect_problem 422 unknown_type
    ask '{"type":"primes","items":[}'
    expect_problem 400 invalid_json
    { printf '{"type":"primes","items":['; head -c 200000 /dev/zero | tr '\0' ' '; printf '7]}'; } >"$BATS_TEST_TMPDIR/large"
    ask "@$BATS_TEST_TMPDIR/large"
    [ "$CODE" = 422 ] || [ "$(tail -n 1 "$BODY" | jq .summary.failed)" = 1 ]
}

@test "a large body streams, too" {
    start_daemon --workers 2
    items=$(jq -nc '[range(3000) | {value: ("v" * 100)}]')
    echo "{\"type\":\"echo\",\"items\":$items}" >"$BATS_TEST_TMPDIR/large"
    ask "@$BATS_TEST_TMPDIR/large"
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/x-ndjson ]
    [ "$(tail -n 1 "$BODY")" = '{"summary":{"total":3000,"succeeded":3000,"failed":0}}' ]
    [ "$(jq -c -s '[.[:-1][].index] | sort == [range(3000)]' "$BODY")" = true ]
}

@test "Accept decides: JSON if the job is not a map, or if the client prefers JSON" {
    start_daemon
    ask '{"type":"echo","params":{"value":1}}'
    [ "$(header Content-Type)" = application/json ]
    holds '.result.value == 1'
    map='{"type":"echo","items":[{"value":1}]}'
    for accept in '*/*' application/json 'application/*' 'application/json, application/x-ndjson' \
        'application/x-ndjson;q=0.5, application/json' 'application/x-ndjson;q=0' 'application/x-ndjson-seq'; do
        call_job -H "Accept: $accept" "$map"
        [ "$(header Content-Type)" = application/json ]
        holds '.result.items[0].result.value == 1'
    done
    for accept in 'application/x-ndjson' 'Application/X-NDJSON ; charset=utf-8' 'application/x-ndjson, */*' \
        'application/json;q=0.9,application/x-ndjson' 'text/html, application/x-ndjson;q=0.1'; do
        call_job -H "Accept: $accept" "$map"
        [ "$(header Content-Type)" = application/x-ndjson ]
    done
    call_job -H 'Accept: application/json;q=0.1' -H 'Accept: application/x-ndjson' "$map"
    [ "$(header Content-Type)" = application/x-ndjson ]
}

@test "respond-async, and too many clients that wait: 202" {
    start_daemon --max-sync 1
    map='{"type":"sleep","items":[{"ms":3000}]}'
    ask -H 'Prefer: respond-async' "$map"
    [ "$CODE" = 202 ]
    stream "$map"
    wait_for test -s "$HEAD"
    first=$(id_of_stream)
    ask "$map"
    [ "$CODE" = 202 ]
    kill "$CLIENT"
    wait_for has_status "$first" cancelled
}

@test "a client that leaves cancels the job, unless it sent respond-async or a key" {
    start_daemon --workers 4
    map='{"type":"sleep","items":[{"ms":10},{"ms":60000}],"options":{"chunks":2}}'
    stream "$map"
    wait_for has_lines 1
    kill "$CLIENT"
    wait_for has_status "$(id_of_stream)" cancelled
    stream -H 'Idempotency-Key: "leaver"' "$map"
    wait_for has_lines 1
    kill "$CLIENT"
    kept=$(id_of_stream)
    stream -H 'Prefer: respond-async, wait=20' "$map"
    wait_for has_lines 1
    kill "$CLIENT"
    sleep 0.5
    is_running "$kept"
    is_running "$(id_of_stream)"
}

@test "a job that fails or is cancelled ends its stream with the error, and without a summary" {
    start_daemon --workers 2
    stream '{"type":"sleep","items":[{"ms":10},{"ms":60000}],"options":{"chunks":2,"timeout_ms":1000}}'
    wait "$CLIENT" # with 0: the stream ends as it should
    [ "$(wc -l <"$STREAM")" = 2 ]
    [ "$(tail -n 1 "$STREAM" | jq -r '.error | [.code, .job] | @json')" = "[\"job_timeout\",\"$(id_of_stream)\"]" ]
    stream '{"type":"sleep","items":[{"ms":60000},{"ms":10}],"options":{"chunks":2}}'
    wait_for has_lines 1
    curl -sS -X POST "$URL/v1/jobs/$(id_of_stream)/cancel" >/dev/null
    wait "$CLIENT"
    [ "$(tail -n 1 "$STREAM" | jq -r .error.code)" = cancelled ]
}

@test "the same request again gets the stream from the start, even when the job has ended" {
    start_daemon --workers 2
    map='{"type":"sleep","items":[{"ms":10},{"ms":2000}],"options":{"chunks":2}}'
    stream -H 'Idempotency-Key: "again"' "$map"
    wait_for has_lines 1
    first=$STREAM
    second=$CLIENT
    id=$(id_of_stream)
    stream -H 'Idempotency-Key: "again"' "$map"
    wait "$CLIENT" "$second"
    [ "$(id_of_stream)" = "$id" ]
    [ "$(header Idempotency-Replayed)" = true ]
    diff "$first" "$STREAM"
    [ "$(tail -n 1 "$first")" = '{"summary":{"total":2,"succeeded":2,"failed":0}}' ]
    ask -H 'Idempotency-Key: "again"' "$map"
    [ "$(basename "$(header Location)")" = "$id" ]
    diff <(sort "$first") <(sort "$BODY")
}

@test "a slow reader slows its job down, and misses nothing" {
    start_daemon --workers 2 --stream-buffer 1MiB
    items=$(jq -nc '[range(420) | {value: ("x" * 50000)}]')
    echo "{\"type\":\"echo\",\"items\":$items,\"options\":{\"chunks\":210}}" >"$BATS_TEST_TMPDIR/job"
    {
        printf 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/x-ndjson\r\n'
        printf 'Connection: close\r\nContent-Length: %s\r\n\r\n' "$(wc -c <"$BATS_TEST_TMPDIR/job")"
        cat "$BATS_TEST_TMPDIR/job"
    } >"$BATS_TEST_TMPDIR/request"
    touch "$BATS_TEST_TMPDIR/hold"
    python3 tests/http/sse.py sip "$PORT" "$BATS_TEST_TMPDIR/request" "$BATS_TEST_TMPDIR/hold" >"$BATS_TEST_TMPDIR/out" 3>&- &
    sipper=$!
    wait_for some_done
    wait_for stands_still
    [ "$(done_of_it)" -lt 210 ]
    # Other clients are served meanwhile.
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    rm "$BATS_TEST_TMPDIR/hold"
    wait "$sipper"
    [ "$(tail -n 1 "$BATS_TEST_TMPDIR/out")" = '{"summary":{"total":420,"succeeded":420,"failed":0}}' ]
    [ "$(jq -c -s '[.[:-1][] | select((.result.value | length) == 50000) | .index] | sort == [range(420)]' "$BATS_TEST_TMPDIR/out")" = true ]
}

done_of_it() {
    curl -sS "$URL/v1/jobs" | jq '[.jobs[] | select(.progress.total == 210)][0].progress.done // 0'
}

some_done() {
    [ "$(done_of_it)" -gt 0 ]
}

stands_still() {
    local before
    before=$(done_of_it)
    sleep 1
    [ "$(done_of_it)" = "$before" ]
}

@test "a reader that takes nothing for the idle timeout is cut, and its job is cancelled" {
    start_daemon --workers 2 --stream-buffer 64KiB --idle-timeout 1s
    items=$(jq -nc '[range(400) | {value: ("x" * 50000)}]')
    echo "{\"type\":\"echo\",\"items\":$items,\"options\":{\"chunks\":200}}" >"$BATS_TEST_TMPDIR/job"
    {
        printf 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/x-ndjson\r\n'
        printf 'Content-Length: %s\r\n\r\n' "$(wc -c <"$BATS_TEST_TMPDIR/job")"
        cat "$BATS_TEST_TMPDIR/job"
    } >"$BATS_TEST_TMPDIR/request"
    touch "$BATS_TEST_TMPDIR/hold"
    python3 tests/http/sse.py sip "$PORT" "$BATS_TEST_TMPDIR/request" "$BATS_TEST_TMPDIR/hold" >"$BATS_TEST_TMPDIR/out" 3>&- &
    sipper=$!
    wait_for one_cancelled
    rm "$BATS_TEST_TMPDIR/hold"
    wait "$sipper"
    run ! grep -q '"summary"' "$BATS_TEST_TMPDIR/out"
}

one_cancelled() {
    [ "$(curl -sS "$URL/v1/jobs?status=cancelled" | jq '.jobs | length')" = 1 ]
}

@test "a stream goes on to its end during a drain" {
    start_daemon --workers 2 --drain-timeout 20s
    stream '{"type":"sleep","items":[{"ms":10},{"ms":1500}],"options":{"chunks":2}}'
    wait_for has_lines 1
    kill -TERM "$DAEMON"
    wait "$CLIENT"
    [ "$(tail -n 1 "$STREAM")" = '{"summary":{"total":2,"succeeded":2,"failed":0}}' ]
    wait_daemon
    [ "$DAEMON_STATUS" = 0 ]
}

@test "if the service stops before the job ends, the last line says so" {
    start_daemon --workers 2
    stream '{"type":"sleep","items":[{"ms":10},{"ms":60000}],"options":{"chunks":2}}'
    wait_for has_lines 1
    stop_daemon # with --drain-timeout 0s
    [ "$DAEMON_STATUS" = 0 ]
    wait "$CLIENT"
    [ "$(tail -n 1 "$STREAM" | jq -r .error.code)" = draining ]
}
