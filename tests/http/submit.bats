#!/usr/bin/env bats
# submit.bats: jobs that are accepted: how they can be written, and what comes back.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    start_daemon
}

@test "a short job is answered 200 with its result" {
    call_job '{"type":"primes","params":{"start":100000,"stop":200000}}'
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/json ]
    holds '.status == "succeeded" and .result == {"count": 8392} and .type == "primes"'
}

@test "Prefer: respond-async is answered 202 with Location, Retry-After and the job, which goes on" {
    call_job -H 'Prefer: respond-async' '{"type":"sleep","params":{"ms":300}}'
    [ "$CODE" = 202 ]
    [ "$(header Preference-Applied)" = respond-async ]
    [[ $(header Retry-After) =~ ^[1-9][0-9]*$ ]]
    holds '.status == "queued" or .status == "running"'
    id=$(field .id)
    [ "$(header Location)" = "/v1/jobs/$id" ]
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" .result.ms)" = 300 ]
}

@test "a job that has ended before its 202 is sent can still be fetched" {
    id=$(submit '{"type":"echo","params":{"value":1}}')
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" .result.value)" = 1 ]
}

@test "return=minimal leaves the job out of a 202, return=representation takes it back" {
    call_job -H 'Prefer: respond-async, return=minimal' '{"type":"sleep","params":{"ms":10}}'
    [ "$CODE" = 202 ]
    [ ! -s "$BODY" ]
    [ "$(header Preference-Applied)" = "respond-async, return=minimal" ]
    location=$(header Location)
    call "$location"
    [ "$CODE" = 200 ]
    call_job -H 'Prefer: respond-async, return=minimal, return=representation' '{"type":"sleep","params":{"ms":10}}'
    [ "$CODE" = 202 ]
    holds '.type == "sleep"'
}

@test "return=minimal does not take the result out of a 200" {
    call_job -H 'Prefer: return=minimal' '{"type":"echo","params":{"value":7}}'
    [ "$CODE" = 200 ]
    holds '.result.value == 7'
}

@test "the media type can have parameters and any case" {
    for type in 'application/json; charset=utf-8' 'Application/JSON' 'application/json ;charset="utf-8"'; do
        call -H "Content-Type: $type" --data-binary '{"type":"echo","params":{"value":1}}' /v1/jobs
        [ "$CODE" = 200 ]
    done
}

@test "every option is accepted, and integers in each of their forms" {
    call_job '{"type":"echo","params":{"value":1},"options":{"priority":5,"timeout_ms":1000,"queue_timeout_ms":0,
               "max_attempts":1,"ttl_s":60,"chunks":1}}'
    [ "$CODE" = 200 ]
    holds '.priority == 5'
    call_job '{"type":"echo","params":{"value":1},"options":{"priority":"6","timeout_ms":1e3,"ttl_s":60.0}}'
    [ "$CODE" = 200 ]
    holds '.priority == 6'
    for stop in 10 10.0 1e1 '"10"'; do
        call_job '{"type":"primes","params":{"start":0,"stop":'"$stop"'}}'
        holds '.result.count == 4'
    done
}

@test "options.ttl_s sets how long the job is kept" {
    call_job '{"type":"echo","params":{"value":1},"options":{"ttl_s":120}}'
    holds '(.expires_at[0:19] + "Z" | fromdate) - (.finished_at[0:19] + "Z" | fromdate) == 120'
}

@test "a Priority header is the default for options.priority; a wrong one is ignored" {
    call_job -H 'Priority: u=1' '{"type":"echo","params":{"value":1}}'
    holds '.priority == 1'
    call_job -H 'Priority: u=6, i' '{"type":"echo","params":{"value":1}}'
    holds '.priority == 6'
    call_job -H 'Priority: u=1' '{"type":"echo","params":{"value":1},"options":{"priority":7}}'
    holds '.priority == 7'
    for wrong in 'u=9' 'u=-1' 'urgent' 'i'; do
        call_job -H "Priority: $wrong" '{"type":"echo","params":{"value":1}}'
        [ "$CODE" = 200 ]
        holds '.priority == 3'
    done
    python3 -c 'import json; print(json.dumps({"type": "echo", "params": {"value": "x" * 50000}}))' >"$BATS_TEST_TMPDIR/large"
    call_job -H 'Priority: u=2' "@$BATS_TEST_TMPDIR/large"
    holds '.priority == 2'
}

@test "the more urgent job of two that wait goes first" {
    stop_daemon
    start_daemon --workers 1
    blocker=$(submit '{"type":"sleep","params":{"ms":600000}}') # holds the only worker until both others wait
    wait_for is_running "$blocker"
    patient=$(submit '{"type":"sleep","params":{"ms":100},"options":{"priority":6}}')
    urgent=$(submit '{"type":"sleep","params":{"ms":100},"options":{"priority":0}}')
    has_status "$patient" queued
    has_status "$urgent" queued
    call -X POST "/v1/jobs/$blocker/cancel"
    [ "$CODE" = 200 ]
    [ "$(ended "$patient")" = succeeded ]
    [ "$(ended "$urgent")" = succeeded ]
    [[ $(job_field "$urgent" .started_at) < $(job_field "$patient" .started_at) ]]
}

@test "the number of chunks does not change the result" {
    for chunks in 0 1 7 64; do
        call_job '{"type":"sum","params":{"start":0,"stop":2000000,"power":2},"options":{"chunks":'$chunks'}}'
        [ "$CODE" = 200 ]
        holds '.result.sum == "2666664666667000000" and .result.count == 2000000'
        [ "$chunks" = 0 ] || holds '.progress.total == $n and .progress.done == $n' --argjson n $chunks
    done
}

@test "bodies of every size, also those that a worker parses" {
    for size in 1 32700 32768 32800 70000 3000000; do
        python3 -c 'import json, sys; print(json.dumps({"type": "echo", "params": {"value": "é" * (int(sys.argv[1]) // 2)}}, ensure_ascii=False))' \
            $size >"$BATS_TEST_TMPDIR/in"
        call_job "@$BATS_TEST_TMPDIR/in"
        [ "$CODE" = 200 ]
        call "$(field .links.result)"
        [ "$CODE" = 200 ]
        cmp <(jq -c '.params' "$BATS_TEST_TMPDIR/in") <(jq -c . "$BODY")
    done
}

@test "a large body is rejected for the same reasons as a small one, sync and async" {
    printf '{"type":"echo","params":{"value":"%070000d"},"colour":1}' 0 >"$BATS_TEST_TMPDIR/unknown"
    printf '{"type":"echo","params":{"value":"%070000d"},\n"params":{}}' 0 >"$BATS_TEST_TMPDIR/twice"
    printf '{"type":"ecco","params":{"value":"%070000d"}}' 0 >"$BATS_TEST_TMPDIR/type"
    for prefer in wait=20 respond-async; do
        call_job -H "Prefer: $prefer" "@$BATS_TEST_TMPDIR/unknown"
        expect_problem 422 invalid_params
        holds '.errors[0].pointer == "/colour"'
        call_job -H "Prefer: $prefer" "@$BATS_TEST_TMPDIR/twice"
        expect_problem 400 duplicate_key
        holds '.line == 2'
        call_job -H "Prefer: $prefer" "@$BATS_TEST_TMPDIR/type"
        expect_problem 422 unknown_type
    done
    call /v1/jobs
    holds '.jobs == []'
}

@test "the options of a large body count" {
    python3 -c 'import json; print(json.dumps({"options": {"priority": 1, "chunks": 5}, "type": "sum", "params": {"numbers": list(range(20000))}}))' \
        >"$BATS_TEST_TMPDIR/in"
    call_job -H 'Prefer: respond-async' "@$BATS_TEST_TMPDIR/in"
    [ "$CODE" = 202 ]
    id=$(field .id)
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '.priority == 1 and .result.sum == "199990000" and .type == "sum"'
}

@test "a body in chunked transfer coding" {
    call_job -H 'Transfer-Encoding: chunked' '{"type":"primes","params":{"start":0,"stop":100}}'
    [ "$CODE" = 200 ]
    holds '.result.count == 25'
}

@test "JSON comes back as it went in" {
    value='{"text":"\u00e9\ud83d\ude00 \"q\" \\\\ \n","list":[1,-2.5,1e-3,true,false,null,[],{}],"":{"a/b~c":0}}'
    call_job '{"type":"echo","params":{"value":'"$value"'}}'
    [ "$CODE" = 200 ]
    holds '.result.value == $sent' --argjson sent "$value"
}

@test "a NUL character and numbers beyond int64 and double are JSON: exact, or rejected, never rounded" {
    call_job '{"type":"echo","params":{"value":["\u0000", 18446744073709551616, 1e400, 0.1234567890123456789012345]}}'
    if [ "$CODE" = 200 ]; then
        grep -q '"\\u0000" *, *18446744073709551616 *, *1[eE]+\?400 *, *0.1234567890123456789012345' "$BODY"
    else
        expect_problem 422 invalid_params
    fi
    call_job '{"type":"primes","params":{"start":0,"stop":1e400}}'
    expect_problem 422 invalid_params
    holds '[.errors[].pointer] == ["/params/stop"]'
    call_job '{"type":"primes","params":{"start":0,"stop":18446744073709551616}}'
    expect_problem 422 invalid_params
    call_job '{"type":"primes","params":{"start":0,"stop":10,"op":"count\u0000"}}'
    expect_problem 422 invalid_params
    call_job '{"type":"primes\u0000","params":{"start":0,"stop":10}}'
    expect_problem 422 unknown_type
}

@test "each test type does what it says" {
    call_job '{"type":"burn","params":{"cpu_ms":40,"chunks":4}}'
    holds '.progress.total == 4 and .timings.cpu_ms >= 40'
    call_job '{"type":"sleep","params":{"ms":30}}'
    holds '.timings.run_ms >= 30'
    call_job '{"type":"echo","params":{"value":null}}'
    holds '.result == {"value": null}'
}

@test "test types are there only if they are enabled" {
    stop_daemon
    start_daemon --enable-test-types=false
    for type in sleep burn echo crash; do
        call_job '{"type":"'$type'","params":{}}'
        expect_problem 422 unknown_type
    done
}
