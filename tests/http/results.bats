#!/usr/bin/env bats
# results.bats: GET /v1/jobs/{id}/result, and how long jobs and results are kept.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":600000}}'

is_code() { # CODE PATH
    [ "$(status "$URL$2")" = "$1" ]
}

@test "the result of a job that has not ended: 202 with Retry-After" {
    start_daemon --workers 1
    running=$(submit "$LONG")
    wait_for is_running "$running"
    queued=$(submit "$LONG")
    for id in $running $queued; do
        call "/v1/jobs/$id/result"
        [ "$CODE" = 202 ]
        [[ $(header Retry-After) =~ ^[1-9][0-9]*$ ]]
    done
}

@test "the result of a job that succeeded is the bare result" {
    start_daemon
    call_job '{"type":"echo","params":{"value":{"a":[1,2,3]}}}'
    call "$(field .links.result)"
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/json ]
    holds '. == {"value": {"a": [1, 2, 3]}}'
}

@test "the result of a job that failed is its problem, with its status" {
    start_daemon
    id=$(submit '{"type":"crash","params":{"how":"exit"},"options":{"max_attempts":1}}')
    [ "$(ended "$id")" = failed ]
    call "/v1/jobs/$id/result"
    expect_problem 500 worker_crashed
    holds '.job == $id' --arg id "$id"
}

@test "the result of a cancelled job: 409 cancelled" {
    start_daemon
    id=$(submit "$LONG")
    call -X POST "/v1/jobs/$id/cancel"
    call "/v1/jobs/$id/result"
    expect_problem 409 cancelled
}

@test "a result up to 256 KiB is in the Job; a larger one is only behind its link" {
    start_daemon
    echo_of() { # BYTES of the whole result, which is {"value":"..."}
        python3 -c 'import json, sys; print(json.dumps({"type": "echo", "params": {"value": "x" * (int(sys.argv[1]) - 12)}}))' "$1" \
            >"$BATS_TEST_TMPDIR/in"
        echo "@$BATS_TEST_TMPDIR/in"
    }
    call_job "$(echo_of 262144)"
    [ "$CODE" = 200 ]
    holds '.result.value | length == 262132'
    call_job "$(echo_of 262145)"
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and (has("result") | not)'
    call "$(field .links.result)"
    [ "$CODE" = 200 ]
    [ "$(wc -c <"$BODY")" = 262145 ]
}

@test "a Range of the result: 206 with Content-Range" {
    start_daemon
    call_job '{"type":"echo","params":{"value":"0123456789"}}'
    path=$(field .links.result)
    call "$path"
    [ "$(header Accept-Ranges)" = bytes ]
    cp "$BODY" "$BATS_TEST_TMPDIR/whole"
    size=$(wc -c <"$BATS_TEST_TMPDIR/whole")
    while read -r range first last; do
        call -H "Range: bytes=$range" "$path"
        [ "$CODE" = 206 ]
        [ "$(header Content-Range)" = "bytes $first-$last/$size" ]
        [ "$(header Content-Length)" = $((last - first + 1)) ]
        cmp "$BODY" <(tail -c +$((first + 1)) "$BATS_TEST_TMPDIR/whole" | head -c $((last - first + 1)))
    done <<END
0-0 0 0
0-9 0 9
5- 5 $((size - 1))
-4 $((size - 4)) $((size - 1))
3-1000000 3 $((size - 1))
-1000000 0 $((size - 1))
END
}

@test "a Range of a large result" {
    start_daemon
    call_job '{"type":"primes","params":{"start":0,"stop":2000000,"op":"list"}}'
    path=$(field .links.result)
    call "$path"
    cp "$BODY" "$BATS_TEST_TMPDIR/whole"
    size=$(wc -c <"$BATS_TEST_TMPDIR/whole")
    call -H 'Range: bytes=500000-599999' "$path"
    [ "$CODE" = 206 ]
    [ "$(header Content-Range)" = "bytes 500000-599999/$size" ]
    cmp "$BODY" <(tail -c +500001 "$BATS_TEST_TMPDIR/whole" | head -c 100000)
    curl -sS -C 700000 -o "$BATS_TEST_TMPDIR/rest" "$URL$path"
    cmp "$BATS_TEST_TMPDIR/rest" <(tail -c +700001 "$BATS_TEST_TMPDIR/whole")
}

@test "a Range outside the result: 416; one that is no range is ignored" {
    start_daemon
    call_job '{"type":"echo","params":{"value":"0123456789"}}'
    path=$(field .links.result)
    for range in 100-200 1000000- -0 99999999999999999999-; do
        call -H "Range: bytes=$range" "$path"
        expect_problem 416 range_not_satisfiable
        [ "$(header Content-Range)" = 'bytes */22' ]
    done
    for range in 'bytes=5-2' 'bytes=a-b' 'bytes=' 'bytes=-' 'lines=1-2' 'bytes=0-1x' 'bytes=--3' 'bytes=1- 2'; do
        call -H "Range: $range" "$path"
        [ "$CODE" = 200 ]
        [ "$(wc -c <"$BODY")" = 22 ]
    done
}

@test "a large JSON result is compressed if the client accepts that" {
    start_daemon
    call_job '{"type":"primes","params":{"start":0,"stop":2000000,"op":"list"}}'
    path=$(field .links.result)
    call "$path"
    [ -z "$(header Content-Encoding)" ]
    cp "$BODY" "$BATS_TEST_TMPDIR/whole"
    for accept in gzip 'deflate, gzip;q=0.5' 'GZip' '*'; do
        call -H "Accept-Encoding: $accept" "$path"
        [ "$CODE" = 200 ]
        [ "$(header Content-Encoding)" = gzip ]
        [[ $(header Vary) == *Accept-Encoding* ]]
        [ "$(wc -c <"$BODY")" -lt "$(wc -c <"$BATS_TEST_TMPDIR/whole")" ]
        gzip -dc <"$BODY" | cmp - "$BATS_TEST_TMPDIR/whole"
    done
    for accept in zstd 'gzip, deflate, br, zstd'; do
        call -H "Accept-Encoding: $accept" "$path"
        [ "$(header Content-Encoding)" = zstd ]
        [ "$(header Content-Length)" = "$(wc -c <"$BODY")" ]
        [[ $(header ETag) == *-zstd\" ]]
        zstd -dc <"$BODY" | cmp - "$BATS_TEST_TMPDIR/whole"
    done
    for accept in identity 'gzip;q=0' 'gzip; q=0.0' br ''; do
        call -H "Accept-Encoding: $accept" "$path"
        [ -z "$(header Content-Encoding)" ]
        cmp "$BODY" "$BATS_TEST_TMPDIR/whole"
    done
}

@test "an ended job expires: 410 gone for one more time to live, then 404" {
    start_daemon --result-ttl 700ms
    id=$(submit '{"type":"echo","params":{"value":1}}')
    wait_for has_status "$id" succeeded
    wait_for is_code 410 "/v1/jobs/$id"
    call "/v1/jobs/$id/result"
    expect_problem 410 gone
    call /v1/jobs
    holds '.jobs == []'
    wait_for is_code 404 "/v1/jobs/$id"
    call "/v1/jobs/$id"
    expect_problem 404 not_found
}

@test "options.ttl_s wins over --result-ttl, and a failed job expires, too" {
    start_daemon
    id=$(submit '{"type":"crash","params":{"how":"exit"},"options":{"max_attempts":1,"ttl_s":1}}')
    [ "$(ended "$id")" = failed ]
    wait_for is_code 410 "/v1/jobs/$id"
    wait_for is_code 404 "/v1/jobs/$id"
}

@test "a deleted job is gone for one time to live" {
    start_daemon --result-ttl 700ms
    call_job '{"type":"echo","params":{"value":1}}'
    path=$(field .links.self)
    call -X DELETE "$path"
    is_code 410 "$path"
    wait_for is_code 404 "$path"
}

@test "the last --keep-sync jobs that were answered inline are remembered" {
    start_daemon --keep-sync 2
    stored=$(submit '{"type":"echo","params":{"value":0}}')
    for i in 1 2 3; do
        call_job '{"type":"echo","params":{"value":'$i'}}'
        paths[i]=$(field .links.self)
    done
    call "${paths[1]}"
    expect_problem 404 not_found
    call "${paths[2]}"
    holds '.result.value == 2'
    call "${paths[3]}/result"
    holds '.value == 3'
    call "/v1/jobs/$stored"
    [ "$CODE" = 200 ]
}

@test "--keep-sync 0 remembers none" {
    start_daemon --keep-sync 0
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    call "$(field .links.self)"
    expect_problem 404 not_found
    call /v1/jobs
    holds '.jobs == []'
}
