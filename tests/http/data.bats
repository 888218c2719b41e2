#!/usr/bin/env bats
# data.bats: the ways in which binary data come with a job: as the body, in a form, as base64, as the result of another
# job. What comes out of the test type "bytes" shows what has gone in.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    printf 'hello' >"$BATS_TEST_TMPDIR/small"
    head -c 300000 /dev/urandom >"$BATS_TEST_TMPDIR/large"
    SMALL=$BATS_TEST_TMPDIR/small
    LARGE=$BATS_TEST_TMPDIR/large
}

# call_data [curl options...] QUERY FILE: the bytes of the file are the body
call_data() {
    call -X POST "${@:1:$#-2}" -T "${@: -1}" "/v1/jobs?${*: -2:1}"
}

call_form() { # [curl options...]
    call "$@" /v1/jobs
}

# expect_error POINTER: the last call was answered 422, and the first error is there
expect_error() {
    expect_problem 422 invalid_params && holds '.errors[0].pointer == $at' --arg at "$1"
}

base64_of() {
    base64 -w0 "$1"
}

result_is() { # FILE: the result of the job of the last call has these bytes
    curl -sS --max-time 60 "$URL$(field .links.result)" | cmp - "$1"
}

@test "the body is the data, and the query is the job" {
    start_daemon
    for file in "$SMALL" "$LARGE"; do
        call_data 'type=bytes&op=echo' "$file"
        [ "$CODE" = 200 ]
        holds '.status == "succeeded" and .type == "bytes" and .result_media_type == "application/octet-stream" and
               .result_size == $size and (has("result") | not)' --argjson size "$(stat -c %s "$file")"
        result_is "$file"
    done
    call_data 'type=bytes&op=sum&options.priority=1&options.chunks=3' "$SMALL"
    holds '.result == {"sum": 532} and .priority == 1 and .progress.total == 3'
    call_data -H 'Transfer-Encoding: chunked' 'type=bytes&op=reverse' "$LARGE"
    [ "$CODE" = 200 ]
    result_is <(python3 -c 'import sys; sys.stdout.buffer.write(open(sys.argv[1], "rb").read()[::-1])' "$LARGE")
}

@test "a type that works in place, for jobs that are to be stored, however they come" {
    python3 -c 'import sys; sys.stdout.buffer.write(bytes((b + 1) % 256 for b in open(sys.argv[1], "rb").read()))' "$LARGE" >"$BATS_TEST_TMPDIR/out"
    for options in '--data-dir none' ''; do
        # shellcheck disable=SC2086
        start_daemon $options
        for kind in key async; do
            for way in query form padded; do
                more=(-H "Idempotency-Key: \"$way\"")
                [ "$kind" = key ] || more=(-H 'Prefer: respond-async, wait=20')
                case $way in
                query) call_data "${more[@]}" 'type=bytes&op=add' "$LARGE" ;;
                form) call "${more[@]}" -F 'job={"type":"bytes","params":{"op":"add"}}' -F "data=@$LARGE" /v1/jobs ;;
                # A worker parses it.
                padded)
                    printf '{"type":"bytes","params":{"op":"add"}}%50000s' '' >"$BATS_TEST_TMPDIR/job"
                    call "${more[@]}" -F "job=<$BATS_TEST_TMPDIR/job" -F "data=@$LARGE" /v1/jobs
                    ;;
                esac
                [ "$CODE" = 200 ]
                holds '.status == "succeeded"'
                [ "$kind" = async ] || holds '.result.in_place == false'
                result_is "$BATS_TEST_TMPDIR/out"
            done
        done
        stop_daemon
    done
}

@test "the query: what it lacks, what it has twice, and what is no parameter" {
    start_daemon
    call_data 'type=bytes&op=sum&op=echo' "$SMALL"
    expect_problem 400 invalid_query
    holds '.detail | contains("\"op\"")'
    call_data 'op=sum' "$SMALL"
    expect_problem 415 unsupported_media_type
    [ "$(header Accept)" = 'application/json, multipart/form-data' ]
    call_data 'type=nothing' "$SMALL"
    expect_problem 422 unknown_type
    call_data 'type=bytes&opp=sum' "$SMALL"
    expect_error /params/opp
    call_data 'type=bytes&op=all' "$SMALL"
    expect_error /params/op
    call_data 'type=bytes&hold_ms=60001' "$SMALL"
    expect_error /params/hold_ms
    call_data 'type=bytes&options.priority=9' "$SMALL"
    expect_error /options/priority
    call_data "type=bytes$(printf '&p%s=1' {1..70})" "$SMALL"
    expect_problem 400 invalid_query
    call_job '{"type":"bytes","params":{}}'
    expect_error /params
    call -H 'Content-Type: application/json' -d '{"type":"primes","params":{"nth":1}}' '/v1/jobs?type=primes'
    expect_problem 400 invalid_query
    call -F 'job={"type":"bytes"}' -F "data=@$SMALL" '/v1/jobs?op=sum'
    expect_problem 400 invalid_query
}

@test "an empty body is no data" {
    start_daemon
    call -X POST -H 'Content-Type:' '/v1/jobs?type=primes&nth=10'
    [ "$CODE" = 200 ]
    holds '.result == {"prime": 29}'
    call -X POST -H 'Content-Type:' '/v1/jobs?type=bytes'
    expect_error /params
    call_data 'type=primes&nth=10' "$SMALL"
    expect_error /data/0
}

@test "a form: the part job is the JSON, the parts data are the data" {
    start_daemon
    for file in "$SMALL" "$LARGE"; do
        call_form -F 'job={"type":"bytes","params":{"op":"echo"}}' -F "data=@$file"
        [ "$CODE" = 200 ]
        result_is "$file"
    done
    call_form -F "data=@$SMALL" -F 'job={"type":"bytes","params":{"op":"echo","data":{"part":0}}};type=application/json'
    [ "$CODE" = 200 ]
    result_is "$SMALL"
    python3 -c 'print("{\"type\": \"bytes\"," + " " * 40000 + "\"params\": {\"op\": \"echo\"}}")' >"$BATS_TEST_TMPDIR/job"
    call_form -F "job=<$BATS_TEST_TMPDIR/job" -F "data=@$LARGE"
    [ "$CODE" = 200 ]
    result_is "$LARGE"
}

@test "a form: parts that nothing uses or that are not there, and JSON that is wrong" {
    start_daemon
    call_form -F 'job={"type":"bytes"}' -F "data=@$SMALL" -F "data=@$LARGE"
    expect_error /data/1
    call_form -F 'job={"type":"bytes","params":{"data":{"part":1}}}' -F "data=@$SMALL"
    expect_error /data/0
    call_form -F 'job={"type":"bytes","params":{"data":{"part":0}}}'
    expect_error /params/data
    call_form -F 'job={"type":"bytes"' -F "data=@$SMALL"
    expect_problem 400 invalid_json
    call_form -F 'job={"type":"bytes","params":{"data":1}}'
    expect_error /params/data
    call_form -F 'job={"type":"primes","params":{"nth":1}}'
    [ "$CODE" = 200 ]
}

@test "a map: each call takes its parts, or all share them" {
    start_daemon
    call_form -F 'job={"type":"bytes","items":[{},{"op":"sum"}]}' -F data=a -F data=b
    [ "$CODE" = 200 ]
    holds '[.result.items[].result.sum] == [97, 98]'
    call_form -F 'job={"type":"bytes","items":[{},{"op":"sum"},{"data":"YmI="}]}' -F data=a
    holds '[.result.items[].result.sum] == [97, 97, 196]'
    call_form -F 'job={"type":"bytes","columns":{"op":["sum","sum"]}}' -F data=a -F data=b
    holds '[.result.results[].sum] == [97, 98]'
    call_form -F 'job={"type":"bytes","items":[{},{}]}' -F data=a -F data=b -F data=c
    expect_error /data/2
}

@test "base64 in the JSON, small and large" {
    start_daemon
    for file in "$SMALL" "$LARGE"; do
        printf '{"type":"bytes","params":{"op":"echo","data":"%s"}}' "$(base64_of "$file")" >"$BATS_TEST_TMPDIR/in"
        call_job "@$BATS_TEST_TMPDIR/in"
        [ "$CODE" = 200 ]
        result_is "$file"
    done
    call_job '{"type":"bytes","params":{"data":"a b"}}'
    expect_error /params/data
}

@test "the result of a job is the data of the next" {
    start_daemon
    call_data 'type=bytes&op=reverse' "$LARGE"
    first=$(field .id)
    call_job '{"type":"bytes","params":{"op":"reverse","data":{"job":"'"$first"'"}}}'
    [ "$CODE" = 200 ]
    result_is "$LARGE"
    call_job '{"type":"echo","params":{"value":1}}'
    json=$(field .id)
    call_job '{"type":"bytes","params":{"op":"echo","data":{"job":"'"$json"'"}}}'
    [ "$CODE" = 200 ]
    result_is <(printf '{"value":1}')
    # Many of them in one request, in a text that is too long for the front end to parse if it had none.
    items=$(printf ',{"data":{"job":"%s"}}' $(yes "$json" | head -60))
    call_job '{"type":"bytes","items":['"${items:1}"']}'
    [ "$CODE" = 200 ]
    holds '.result.items | length == 60 and all(.[]; .result.sum == 964)'
}

@test "a job that has no result cannot be named" {
    start_daemon
    running=$(submit '{"type":"sleep","params":{"ms":600000}}')
    of() { call_job '{"type":"bytes","params":{"data":{"job":"'"$1"'"}}}'; }
    of "$running"
    expect_error /params/data
    holds '.detail | contains("not ended")'
    call -X POST "/v1/jobs/$running/cancel"
    of "$running"
    expect_error /params/data
    for id in 01890000-0000-7000-8000-000000000000 nothing ''; do
        of "$id"
        expect_error /params/data
        holds '.detail | contains("no such job")'
    done
    call -X DELETE "/v1/jobs/$running"
    of "$running"
    expect_error /params/data
    printf '{"type":"bytes",%40000s"params":{"data":{"job":"%s"}}}' '' "$running" >"$BATS_TEST_TMPDIR/in"
    call_job "@$BATS_TEST_TMPDIR/in"
    expect_error /params/data
    holds '.detail | contains("32 KiB")'
}

@test "an Idempotency-Key counts the data as a part of the request" {
    start_daemon
    for file in "$SMALL" "$LARGE"; do
        key="key-$(stat -c %s "$file")"
        call_data -H "Idempotency-Key: $key" 'type=bytes&op=echo' "$file"
        [ "$CODE" = 200 ]
        id=$(field .id)
        call_data -H "Idempotency-Key: $key" 'op=echo&type=bytes' "$file"
        [ "$CODE" = 200 ]
        [ "$(header Idempotency-Replayed)" = true ]
        [ "$(field .id)" = "$id" ]
        cp "$file" "$BATS_TEST_TMPDIR/other"
        printf '!' | dd of="$BATS_TEST_TMPDIR/other" bs=1 seek=3 conv=notrunc status=none
        call_data -H "Idempotency-Key: $key" 'type=bytes&op=echo' "$BATS_TEST_TMPDIR/other"
        expect_problem 422 idempotency_mismatch
        call_data -H "Idempotency-Key: $key" 'type=bytes&op=sum' "$file"
        expect_problem 422 idempotency_mismatch
        # A form with the same text and the same bytes is the same request.
        call_form -H "Idempotency-Key: $key" -F 'job={"type":"bytes","params":{"op":"echo"}}' -F "data=@$file;type=text/x"
        expect_problem 422 idempotency_mismatch
    done
    # A text that a worker parses has its key claimed when it is planned.
    python3 -c 'print("{\"type\": \"bytes\"," + " " * 40000 + "\"params\": {}}")' >"$BATS_TEST_TMPDIR/job"
    for replayed in '' true; do
        call_form -H 'Idempotency-Key: large' -F "job=<$BATS_TEST_TMPDIR/job" -F "data=@$SMALL"
        [ "$CODE" = 200 ]
        [ "$(header Idempotency-Replayed)" = "$replayed" ]
    done
    call_form -H 'Idempotency-Key: large' -F "job=<$BATS_TEST_TMPDIR/job" -F "data=@$LARGE"
    expect_problem 422 idempotency_mismatch
}

@test "data of a 202 are there after kill -9" {
    start_daemon --workers 1 --data-dir "$BATS_TEST_TMPDIR/data"
    ids=()
    for file in "$SMALL" "$LARGE"; do
        call_data -H 'Prefer: respond-async' 'type=bytes&op=reverse&hold_ms=60000' "$file"
        [ "$CODE" = 202 ]
        call -X POST "/v1/jobs/$(field .id)/cancel"
        call_data -H 'Prefer: respond-async' 'type=bytes&op=reverse&options.delay_ms=1000' "$file"
        [ "$CODE" = 202 ]
        ids+=("$(field .id)")
        call_job -H 'Prefer: respond-async' \
            '{"type":"bytes","params":{"op":"reverse","data":"aGVsbG8="},"options":{"delay_ms":1000}}'
        [ "$CODE" = 202 ]
        ids+=("$(field .id)")
    done
    kill_daemon
    start_daemon --workers 1 --data-dir "$BATS_TEST_TMPDIR/data"
    for i in 0 1 2 3; do
        [ "$(ended "${ids[i]}")" = succeeded ]
        file=$SMALL
        [ "$i" != 2 ] || file=$LARGE
        python3 -c 'import sys; sys.stdout.buffer.write(open(sys.argv[1], "rb").read()[::-1])' "$file" >"$BATS_TEST_TMPDIR/out"
        curl -sS "$URL/v1/jobs/${ids[i]}/result" | cmp - "$BATS_TEST_TMPDIR/out"
    done
}

@test "data of maps, and data that are results, are there after kill -9, each for its call" {
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    call_data -H 'Prefer: respond-async' 'type=bytes&op=reverse' "$LARGE"
    first=$(field .id)
    [ "$(ended "$first")" = succeeded ]
    kill_daemon
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    next=$(submit '{"type":"bytes","params":{"op":"reverse","data":{"job":"'"$first"'"}},"options":{"delay_ms":1000}}')
    call_form -H 'Prefer: respond-async' -F "data=@$SMALL" -F "data=@$LARGE" -F data=b -F \
        'job={"type":"bytes","items":[{"op":"echo"},{"op":"reverse"},{},{"data":"YQ=="},{"data":{"job":"'"$first"'"},"op":"echo"}],
              "options":{"delay_ms":1000}};type=application/json'
    [ "$CODE" = 202 ]
    map=$(field .id)
    call -X DELETE "/v1/jobs/$first"
    kill_daemon
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    [ "$(ended "$next")" = succeeded ]
    [ "$(ended "$map")" = succeeded ]
    curl -sS "$URL/v1/jobs/$next/result" | cmp - "$LARGE"
    curl -sS "$URL/v1/jobs/$map/result/0" | cmp - "$SMALL"
    curl -sS "$URL/v1/jobs/$map/result/1" >"$BATS_TEST_TMPDIR/reversed"
    curl -sS "$URL/v1/jobs/$map/result/4" | cmp - "$BATS_TEST_TMPDIR/reversed"
    [ "$(curl -sS "$URL/v1/jobs/$map/result/2")" = '{"sum":98}' ]
    [ "$(curl -sS "$URL/v1/jobs/$map/result/3")" = '{"sum":97}' ]
}

@test "a form that is broken is 400, which says what is wrong" {
    start_daemon
    wrong() { # WORDS curl options...
        call_form "${@:2}"
        expect_problem 400 bad_request && holds '.detail | contains($words)' --arg words "$1"
    }
    wrong 'no field "job"' -F "data=@$SMALL"
    wrong '"job" twice' -F 'job={"type":"bytes"}' -F 'job={}' -F "data=@$SMALL"
    wrong 'another name' -F 'job={"type":"bytes"}' -F "file=@$SMALL"
    wrong 'Transfer-Encoding' -F 'job={"type":"bytes"}' -F "data=@$SMALL;encoder=base64"
    for type in multipart/form-data 'multipart/form-data; boundary=B' 'multipart/form-data; boundary='; do
        wrong 'no boundary' -H "Content-Type: $type" -d x
    done
    form() { # the form with boundary BB in stdin
        printf -- "$1" >"$BATS_TEST_TMPDIR/form"
        wrong "$2" -H 'Content-Type: multipart/form-data; boundary=BB' --data-binary "@$BATS_TEST_TMPDIR/form"
    }
    form '' 'empty'
    form '--BB\r\nContent-Disposition: form-data; name="job"\r\n\r\n{"type":"bytes"}' 'no end'
    form '--BB\r\nContent-Disposition: form-data; name="job"\r\n\r\n{"type":"primes","params":{"nth":1}}\r\n--BB' 'no end'
    form '--BB--\r\n' '"job"'
    form '--BB\r\nContent-Disposition: form-data; name="job"\r\n\r\n{}\r\n--BBx' 'broken'
    [ "$(post '{"type":"primes","params":{"nth":1}}' | jq .result.prime)" = 2 ]
}

@test "limits of data: bytes and parts of a request" {
    start_daemon --max-body 100KiB --max-parts 3
    call_data 'type=bytes' "$LARGE"
    expect_problem 413 body_too_large
    holds '.limit_bytes == 102400'
    call_form -F 'job={"type":"bytes","items":[{},{},{},{}]}' -F data=a -F data=b -F data=c -F data=d
    expect_problem 413 body_too_large
    holds '.detail | contains("--max-parts")'
    call_form -F 'job={"type":"bytes","items":[{},{},{}]}' -F data=a -F data=b -F data=c
    [ "$CODE" = 200 ]
}

@test "a form or data from a page of another site are 403" {
    start_daemon
    for origin in http://example.org "http://127.0.0.1:1" null "https://example.org:$PORT"; do
        call_form -H "Origin: $origin" -F 'job={"type":"bytes"}' -F "data=@$SMALL"
        expect_problem 403 forbidden
        call_data -H "Origin: $origin" -H 'Content-Type: text/plain' 'type=bytes' "$SMALL"
        expect_problem 403 forbidden
        call_data -H "Origin: $origin" -H 'Content-Type:' 'type=bytes' "$SMALL"
        expect_problem 403 forbidden
    done
    call /v1/jobs
    holds '.jobs == []'
    call_form -H "Origin: $URL" -F 'job={"type":"bytes"}' -F "data=@$SMALL"
    [ "$CODE" = 200 ]
}

@test "a client that stops in the middle of its data leaves nothing behind" {
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    for prefer in wait=5 respond-async; do
        python3 - "$PORT" "$prefer" <<'EOF'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(("POST /v1/jobs?type=bytes HTTP/1.1\r\nHost: localhost\r\nContent-Type: a/b\r\nPrefer: %s\r\n"
           "Content-Length: 1000000\r\n\r\n" % sys.argv[2]).encode() + b"x" * 500000)
s.close()
EOF
    done
    none_held() { [ "$(curl -sS "$URL/metrics" | grep '^offload_held_bytes{what="bodies"}' | cut -d' ' -f2)" = 0 ]; }
    wait_for none_held
    [ -z "$(ls -A "$BATS_TEST_TMPDIR/data/files")" ]
    call /v1/jobs
    holds '.jobs == []'
}

@test "kill -9 of the worker: the data are there for the next attempt, in place, too" {
    start_daemon --workers 1
    kill_first() { # QUERY: submits it, and kills the worker that holds its first chunk
        curl -sS --max-time 60 -X POST -H 'Expect:' -T "$LARGE" "$URL/v1/jobs?$1" -o "$BATS_TEST_TMPDIR/job" &
        local client=$!
        runs() { [ "$(curl -sS "$URL/v1/jobs?status=running" | jq '.jobs | length')" = 1 ]; }
        wait_for runs
        busy() { PID=$(curl -sS "$URL/v1/workers" | jq '[.workers[] | select(.state == "busy")][0].pid'); [ "$PID" != null ]; }
        wait_for busy
        kill -KILL "$PID"
        wait "$client"
    }
    kill_first 'type=bytes&op=add&hold_ms=1500&options.chunks=1'
    jq -e '.status == "succeeded" and .attempts == 2 and .result.in_place' "$BATS_TEST_TMPDIR/job"
    python3 -c 'import sys; sys.stdout.buffer.write(bytes((b + 1) % 256 for b in open(sys.argv[1], "rb").read()))' "$LARGE" >"$BATS_TEST_TMPDIR/out"
    curl -sS "$URL$(jq -r .links.result "$BATS_TEST_TMPDIR/job")" | cmp - "$BATS_TEST_TMPDIR/out"
}

@test "thousands of short base64 texts in a large JSON need no descriptors" {
    ulimit -n 1024
    start_daemon
    local item='{"data":"Zm9v"}' items
    items=$(printf ",$item%.0s" $(seq 3000))
    printf '{"type":"bytes","items":[%s]}' "${items:1}" >"$BATS_TEST_TMPDIR/in"
    call_job "@$BATS_TEST_TMPDIR/in"
    [ "$CODE" = 200 ]
    holds '(.result.items | length) == 3000 and all(.result.items[]; .result.sum == 324)'
}

@test "a large JSON with one short base64 text gives its bytes back" {
    start_daemon
    printf '{"type":"bytes",%40000s"params":{"op":"echo","data":"aGVsbG8="}}' '' >"$BATS_TEST_TMPDIR/in"
    call_job -H 'Accept: application/octet-stream' "@$BATS_TEST_TMPDIR/in"
    [ "$CODE" = 200 ]
    [ "$(<"$BODY")" = hello ]
}
