#!/usr/bin/env bats
# errors.bats: submissions that are rejected: with which problem, and where it says the fault is.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    start_daemon
}

# Sends the body as it is given to printf.
call_raw() { # FORMAT
    # shellcheck disable=SC2059
    printf "$1" >"$BATS_TEST_TMPDIR/raw"
    call_job "@$BATS_TEST_TMPDIR/raw"
}

@test "not JSON: 400 invalid_json with line, column and position" {
    call_raw '{"type":"echo",\n "params":{"value": tru}}'
    expect_problem 400 invalid_json
    holds '.line == 2 and .column > 10 and .position > 25'
    for body in '' ' ' '{' '{"type":"echo"' '{"type":"echo","params":{"value":01}}' '{"type":"echo","params":{"value":NaN}}' \
        '{"type":"echo","params":{"value":-Infinity}}' '{"type":"echo","params":{"value":1}} x' \
        '{"type":"echo","params":{"value":1}}{}' "{'type':'echo'}" '{"type":"echo","params":{"value":1},}' \
        '// no\n{"type":"echo","params":{"value":1}}' '{"type":"echo","params":{"value":"\\ud800"}}' \
        '{"type":"echo","params":{"value":"a\tb"}}' '{"type":"echo","params":{"value":.5}}' 'hello'; do
        call_raw "$body"
        expect_problem 400 invalid_json
        holds '.line >= 1 and .column >= 0 and .position >= 0'
    done
}

@test "a byte order mark is rejected" {
    call_raw '\xef\xbb\xbf{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 400 ]
    holds '.code == "invalid_json" or .code == "not_utf8"'
}

@test "the same key twice: 400 duplicate_key, at any level" {
    call_raw '{"type":"echo",\n"type":"echo","params":{"value":1}}'
    expect_problem 400 duplicate_key
    holds '.line == 2 and .column >= 1 and .position >= 15'
    call_raw '{"type":"echo","params":{"value":{"a":[{"b":1,"b":2}]}}}'
    expect_problem 400 duplicate_key
    call_raw '{"type":"echo","params":{"value":{"a":1,"\\u0061":2}}}'
    expect_problem 400 duplicate_key
}

@test "bytes that are not UTF-8: 400 not_utf8" {
    for bytes in '\xff' '\xc3' '\xc0\xaf' '\xed\xa0\x80' '\xf4\x90\x80\x80' '\xe9'; do
        call_raw '{"type":"echo","params":{"value":"'"$bytes"'"}}'
        expect_problem 400 not_utf8
        holds '.line == 1 and .column >= 1 and .position >= 30'
    done
}

@test "nested too deeply: 400 too_deep; as deep as allowed: accepted" {
    nested() { # DEPTH: the whole body, the outer two objects included
        printf '{"type":"echo","params":{"value":%s}}' \
            "$(printf '[%.0s' $(seq $(($1 - 2))))$(printf ']%.0s' $(seq $(($1 - 2))))"
    }
    call_job "$(nested 64)"
    [ "$CODE" = 200 ]
    call_job "$(nested 65)"
    expect_problem 400 too_deep
    printf '[%.0s' $(seq 100000) >"$BATS_TEST_TMPDIR/deep"
    call_job "@$BATS_TEST_TMPDIR/deep"
    expect_problem 400 too_deep
    stop_daemon
    start_daemon --max-json-depth 5
    call_job "$(nested 5)"
    [ "$CODE" = 200 ]
    call_job "$(nested 6)"
    expect_problem 400 too_deep
}

@test "an unknown type: 422 unknown_type at /type" {
    call_job '{"type":"prime","params":{}}'
    expect_problem 422 unknown_type
    holds '[.errors[].pointer] == ["/type"]'
}

@test "a type that is missing or not a string" {
    call_job '{"params":{}}'
    expect_problem 422 invalid_params
    holds '[.errors[].pointer] == [""]'
    call_job '{"type":7,"params":{}}'
    [ "$CODE" = 422 ]
    holds '[.errors[].pointer] == ["/type"]'
}

@test "a body that is JSON but not an object" {
    for body in '[]' '1' '"x"' 'null' 'true'; do
        call_job "$body"
        expect_problem 422 invalid_params
        holds '.errors[0].pointer == ""'
    done
}

@test "params or options that are not an object" {
    call_job '{"type":"echo","params":[]}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params"'
    call_job '{"type":"echo","params":{"value":1},"options":3}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/options"'
}

@test "unknown members are rejected and named, at every level" {
    call_job '{"type":"echo","params":{"value":1},"parms":{}}'
    expect_problem 422 invalid_params
    holds '[.errors[].pointer] == ["/parms"]'
    call_job '{"type":"primes","params":{"start":0,"stop":1,"stopp":2}}'
    expect_problem 422 invalid_params
    holds '[.errors[].pointer] == ["/params/stopp"]'
    call_job '{"type":"echo","params":{"value":1},"options":{"timeout":1}}'
    expect_problem 422 invalid_params
    holds '[.errors[].pointer] == ["/options/timeout"] and (.errors[0].detail | contains("timeout"))'
}

@test "isolation, webhook and delay_ms of a wrong kind are rejected and named" {
    for option in '"delay_ms":-1' '"isolation":"process"' '"webhook":""' '"webhook":7'; do
        call_job '{"type":"echo","params":{"value":1},"options":{'"$option"'}}'
        expect_problem 422 invalid_params
        name=${option#\"}
        holds '[.errors[].pointer] == ["/options/'"${name%%\"*}"'"]'
    done
}

@test "unknown paths, and the events of an unknown job: 404" {
    for path in /v1/nothing /docs /v1/jobs/01890000-0000-7000-8000-000000000000/events; do
        call "$path"
        expect_problem 404 not_found
    done
}

@test "a missing param is named at its parent" {
    call_job '{"type":"echo","params":{}}'
    expect_problem 422 invalid_params
    holds '[.errors[].pointer] == ["/params"] and (.errors[0].detail | contains("value"))'
}

@test "pointers are escaped as RFC 6901 says" {
    call_job '{"type":"echo","params":{"value":1,"a/b~c":2,"":3}}'
    expect_problem 422 invalid_params
    holds '[.errors[].pointer] | sort == ["/params/", "/params/a~1b~0c"]'
}

@test "all faults are reported at once, each with its pointer and detail" {
    call_job '{"type":"primes","params":{"start":true,"stop":1.5,"op":"sums","x":1},"options":{"priority":8,"ttl_s":-1}}'
    expect_problem 422 invalid_params
    holds '[.errors[].pointer] | sort == ["/options/priority", "/options/ttl_s", "/params/op", "/params/start",
           "/params/stop", "/params/x"]'
    holds '.errors | all(.detail | length > 0)'
}

@test "options out of range or of the wrong kind" {
    for option in '"priority":-1' '"priority":8' '"priority":null' '"priority":"high"' '"priority":2.5' '"timeout_ms":-1' \
        '"max_attempts":0' '"ttl_s":1e99' '"chunks":-1' '"queue_timeout_ms":[]' '"max_attempts":true'; do
        call_job '{"type":"echo","params":{"value":1},"options":{'"$option"'}}'
        expect_problem 422 invalid_params
        holds '.errors | length == 1 and (.[0].pointer | startswith("/options/"))'
    done
}

@test "params that the type itself cannot use" {
    call_job '{"type":"primes","params":{}}'
    expect_problem 422 invalid_params
    call_job '{"type":"primes","params":{"start":0,"stop":10,"nth":3}}'
    expect_problem 422 invalid_params
    call_job '{"type":"sum","params":{"numbers":[1,"x"]}}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params/numbers/1"'
    call_job '{"type":"crash","params":{"how":"gently"}}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params/how"'
}

@test "another media type: 415 unsupported_media_type" {
    for type in text/plain application/x-www-form-urlencoded application/jsonp application/problem+json; do
        call -H "Content-Type: $type" --data-binary '{"type":"echo","params":{"value":1}}' /v1/jobs
        expect_problem 415 unsupported_media_type
    done
    call -H 'Content-Type:' --data-binary '{"type":"echo","params":{"value":1}}' /v1/jobs
    expect_problem 415 unsupported_media_type
}

@test "a body with a content coding that is not taken: 415 with Accept-Encoding, before the body is read" {
    printf '{"type":"echo","params":{"value":1}}' | gzip >"$BATS_TEST_TMPDIR/body"
    for coding in br 'identity, br' x-unknown 'gzip, gzip'; do
        call -H 'Content-Type: application/json' -H "Content-Encoding: $coding" --data-binary "@$BATS_TEST_TMPDIR/body" /v1/jobs
        expect_problem 415 unsupported_media_type
        [ "$(header Accept-Encoding)" = 'gzip, deflate, zstd' ]
    done
    exec 5<>"/dev/tcp/127.0.0.1/$PORT"
    printf '%s\r\n' 'POST /v1/jobs HTTP/1.1' 'Host: localhost' 'Content-Type: application/json' 'Content-Encoding: br' \
        'Content-Length: 10' 'Expect: 100-continue' 'Connection: close' '' >&5
    answer=$(timeout 20 cat <&5)
    exec 5>&-
    [[ $answer == 'HTTP/1.1 415 '*'Accept-Encoding: gzip, deflate, zstd'* ]]
    call_job -H 'Content-Encoding: identity' '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    call_job -H 'Content-Encoding;' '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    call -H 'Content-Type: text/plain' --data-binary x /v1/jobs
    expect_problem 415 unsupported_media_type
    [ -z "$(header Accept-Encoding)" ] # RFC 9110, section 12.5.3
    call /v1/jobs
    holds '.jobs | length == 2'
}

@test "a rejected submission leaves no job behind" {
    call_job '{"type":"sum","params":{"numbers":[1,"x"]}}'
    [ "$CODE" = 422 ]
    call_job '{"type":"echo"'
    [ "$CODE" = 400 ]
    call /v1/jobs
    holds '.jobs == []'
}

@test "a problem has the members of RFC 9457, a code, and the path of the request" {
    call_job '{'
    expect_problem 400 invalid_json
    holds '.type == "/problems/invalid_json" and .status == 400 and .code == "invalid_json" and .instance == "/v1/jobs"
           and (.title | length > 0) and (.detail | length > 0)'
}
