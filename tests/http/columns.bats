#!/usr/bin/env bats
# columns.bats: maps by "columns": a list of values for each parameter, in place of a list of items.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    start_daemon
}

# The columns are wrong: is_rejected COLUMNS POINTER [WORDS OF THE DETAIL]
is_rejected() {
    call_job "{\"type\":\"primes\",\"columns\":$1}"
    expect_problem 422 invalid_params
    holds ".errors[0] | .pointer == \"$2\" and (.detail | contains(\"${3:-}\"))"
}

@test "call i has the value i of each list; what is no list is the same for all" {
    call_job '{"type":"primes","columns":{"start":0,"stop":[100,10,"20"],"op":["count","list","sum"]}}'
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and .result ==
           {"results":[{"count":25},{"count":4,"primes":[2,3,5,7]},{"count":8,"sum":"77"}],"errors":[]}'
    call_job '{"type":"sum","columns":{"stop":10,"start":[1,2]}}'
    holds '.result.results | map(.sum) == ["45","44"]'
    call_job '{"type":"echo","columns":{"value":[null,"x",{"a":[1]},[2],1.5]}}'
    holds '.result.results | map(.value) == [null,"x",{"a":[1]},[2],1.5]'
}

@test "a parameter that is itself an array is an element of a list of arrays" {
    call_job '{"type":"primes","columns":{"numbers":[[2,4],[],["7"]]}}'
    holds '.result == {"errors":[],"results":[{"is_prime":[true,false],"count":1,"certainty":"proven"},
           {"is_prime":[],"count":0,"certainty":"proven"},{"is_prime":[true],"count":1,"certainty":"proven"}]}'
    call_job '{"type":"embeddings","columns":{"input":[["a","b"],"c"],"dimensions":2}}'
    holds '.result.results | map(.embeddings | map(length)) == [[2,2],[2]]'
    call_job '{"type":"primes","columns":{"numbers":[1,[2,"x"]]}}'
    holds '[.result.errors[].error.errors[0].pointer] == ["/columns/numbers/0","/columns/numbers/1/1"]'
}

@test "no calls give empty lists" {
    call_job '{"type":"primes","columns":{"start":0,"stop":[]}}'
    [ "$CODE" = 200 ]
    holds '.result == {"results":[],"errors":[]}'
}

@test "a bad value fails its call alone, and the pointer ends with its index" {
    call_job '{"type":"primes","columns":{"start":0,"stop":[10,"x",true,20,99999999999999],"op":["count","count","x","count","list"]}}'
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and (.result.results | map(.count)) == [4,null,null,8,null]'
    holds '[.result.errors[].index] == [1,2,4]'
    holds '[.result.errors[].error.errors[].pointer] == ["/columns/stop/1","/columns/stop/2","/columns/op/2","/columns/stop/4"]'
    holds 'all(.result.errors[].error; .code == "invalid_params" and .type == "/problems/invalid_params" and .status == 422
           and (.title | length) > 0 and (.detail | length) > 0)'
}

@test "what is wrong with the columns themselves is the fault of the submission" {
    is_rejected 7 /columns 'an object'
    is_rejected '[[1]]' /columns 'an object'
    is_rejected '{"start":0,"stop":10}' /columns 'needs a list'
    is_rejected '{"start":0,"stop":[10],"stap":[1]}' /columns/stap 'not a parameter of primes'
    is_rejected '{"stop":[10]}' /columns 'start is required'
    is_rejected '{"nth":[10],"numbers":[[1]]}' /columns/numbers 'cannot be combined'
    is_rejected '{"start":"x","stop":[10]}' /columns/start 'must be an integer'
    is_rejected '{"start":[0,1,2],"stop":[10,20]}' /columns/stop 'is a list of 2, but \"start\" is one of 3'
    is_rejected '{"op":[],"start":[0,1],"stop":[10,20]}' /columns/op 'is a list of 0, but \"stop\" is one of 2'
    call_job '{"type":"primes","columns":{"nth":[1],"nth":[2]}}'
    expect_problem 400 duplicate_key
}

@test "params, items and columns exclude one another" {
    call_job '{"type":"primes","params":{"nth":1},"columns":{"nth":[1]}}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/columns"'
    call_job '{"type":"primes","items":[],"columns":{"nth":[1]}}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/columns"'
    # However long the body is.
    body_file '{type: "primes", items: [], columns: {nth: [range(20000)]}}'
    call_file
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/columns"'
}

@test "a hundred thousand calls come back in order" {
    body_file '{type: "sum", columns: {start: 0, stop: [range(100000)]}}'
    call_file -H 'Prefer: wait=60'
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and has("result") == false'
    call "$(field .links.result)"
    [ "$CODE" = 200 ]
    holds '.errors == [] and [.results[].count] == [range(100000)] and .results[99999].sum == "4999850001"'
}

@test "more than a million calls are rejected" {
    { printf '{"type":"primes","columns":{"nth":[1'; head -c 2000000 /dev/zero | tr '\0' x | sed 's/xx/,1/g'; printf ']}}'; } \
        >"$BATS_TEST_TMPDIR/body.json"
    call_file
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/columns" and (.errors[0].detail | contains("1000001 calls"))'
}

@test "a long list is read like a short one: bad values, bad JSON, options" {
    body_file '{type: "primes", columns: {start: 0, stop: ([range(9000)] + ["x", {}, 10])}, options: {chunks: 5, priority: 6}}'
    call_file
    [ "$CODE" = 200 ]
    holds '.progress == {done: 5, total: 5} and .priority == 6'
    call "$(field .links.result)"
    holds '(.results | length) == 9003 and .results[8999].count == 1116 and .results[9002].count == 4'
    holds '[.errors[].error.errors[0].pointer] == ["/columns/stop/9000","/columns/stop/9001"]'
    sed -i 's/8999/8999,/' "$BATS_TEST_TMPDIR/body.json"
    call_file
    expect_problem 400 invalid_json
}

@test "an asynchronous map by columns shows how far it is, and is cancelled in its middle" {
    id=$(submit '{"type":"sleep","columns":{"ms":[100,200,300,400]},"options":{"chunks":4}}')
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" '[.result.results[].ms] | tostring')" = '[100,200,300,400]' ]
    [ "$(job_field "$id" .progress.done)" = 4 ]
    id=$(submit '{"type":"sleep","columns":{"ms":[1,60000,1]},"options":{"chunks":1}}')
    wait_for is_running "$id"
    call -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled"'
}

@test "a call that kills its worker every time, or takes too much memory, fails alone" {
    stop_daemon
    start_daemon --workers 2 --retry-delay 1ms --max-job-memory 200MiB
    call_job '{"type":"crash","columns":{"how":["abort","SIGSEGV","memory","exit","abort"],"times":[1,0,0,2,1]},"options":{"chunks":1}}'
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and (.result.results | map(. != null)) == [true,false,false,true,true]'
    holds '[.result.errors[] | [.index, .error.code, .error.status]] == [[1,"worker_crashed",500],[2,"memory_limit",507]]'
}

@test "a long value that is the same for very many calls fails the job, and not the service" {
    stop_daemon
    start_daemon --workers 2 --retry-delay 1ms --max-job-memory 200MiB
    body_file '{type: "sum", columns: {start: 0, stop: ("9" * 4000), method: "closed_form", power: [range(200000) | 1]}}'
    call_file -H 'Prefer: wait=60'
    expect_problem 507 memory_limit
    call_job '{"type":"primes","columns":{"nth":[1,2]}}'
    holds '.result.results == [{"prime":2},{"prime":3}]'
}

@test "the lines of a stream are those of items" {
    columns='{"type":"primes","columns":{"start":0,"stop":[100,"x",10,{},20]},"options":{"chunks":3}}'
    items='{"type":"primes","items":[{"start":0,"stop":100},{"start":0,"stop":"x"},{"start":0,"stop":10},{"start":0,"stop":{}},
            {"start":0,"stop":20}],"options":{"chunks":3}}'
    call_job -H 'Accept: application/x-ndjson' "$items"
    jq -cs 'map(select(.index)) | sort_by(.index) | map([.index, .status, .result, .error.code])' "$BODY" >"$BATS_TEST_TMPDIR/items"
    call_job -H 'Accept: application/x-ndjson' -H 'Idempotency-Key: "lines"' "$columns"
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/x-ndjson ]
    [ "$(tail -n 1 "$BODY")" = '{"summary":{"total":5,"succeeded":3,"failed":2}}' ]
    jq -cs 'map(select(.index)) | sort_by(.index) | map([.index, .status, .result, .error.code])' "$BODY" |
        diff "$BATS_TEST_TMPDIR/items" -
    sort "$BODY" >"$BATS_TEST_TMPDIR/live"
    # The same from the result of a job that has ended.
    call_job -H 'Accept: application/x-ndjson' -H 'Idempotency-Key: "lines"' "$columns"
    [ "$(header Idempotency-Replayed)" = true ]
    sort "$BODY" | diff "$BATS_TEST_TMPDIR/live" -
}

@test "a long map by columns streams, too" {
    body_file '{type: "echo", columns: {value: [range(20000) | if . % 7 == 0 then {a: [., null]} else "v\(.)" end]}}'
    call_file -H 'Accept: application/x-ndjson'
    [ "$CODE" = 200 ]
    [ "$(tail -n 1 "$BODY")" = '{"summary":{"total":20000,"succeeded":20000,"failed":0}}' ]
    [ "$(jq -cs '[.[:-1] | sort_by(.index)[].result.value] ==
        [range(20000) | if . % 7 == 0 then {a: [., null]} else "v\(.)" end]' "$BODY")" = true ]
}

@test "events have an item for each call" {
    stop_daemon
    start_daemon --workers 1
    blocker=$(submit '{"type":"sleep","params":{"ms":60000}}') # so the job does not end before somebody reads its events
    wait_for is_running "$blocker"
    id=$(submit '{"type":"sleep","columns":{"ms":[20,"x",10]},"options":{"chunks":3}}')
    curl -sSN --max-time 60 "$URL/v1/jobs/$id/events" >"$BATS_TEST_TMPDIR/stream" 3>&- &
    subscriber=$!
    wait_for grep -q queued "$BATS_TEST_TMPDIR/stream"
    call -X POST "/v1/jobs/$blocker/cancel"
    wait "$subscriber"
    python3 tests/http/sse.py parse <"$BATS_TEST_TMPDIR/stream" >"$BATS_TEST_TMPDIR/events"
    run -0 jq -c -s '[.[] | select(.event == "item") | .data | [.index, .status, .result.ms, .error.code]] | sort' \
        "$BATS_TEST_TMPDIR/events"
    [ "$output" = '[[0,"succeeded",20,null],[1,"failed",null,"invalid_params"],[2,"succeeded",10,null]]' ]
}

@test "a map by columns survives kill -9, with the calls that it has given up" {
    stop_daemon
    start_daemon --workers 1 --retry-delay 1ms --data-dir "$BATS_TEST_TMPDIR/data"
    ended=$(submit '{"type":"primes","columns":{"start":0,"stop":[10,"x",20]}}')
    [ "$(ended "$ended")" = succeeded ]
    result=$(job_field "$ended" '.result | tojson')
    id=$(submit '{"type":"crash","columns":{"how":["SIGSEGV","abort","abort"],"times":[0,1,2]},"options":{"chunks":1,"max_attempts":2}}')
    blocked=$(submit '{"type":"burn","columns":{"cpu_ms":[1,300,"x",1]},"options":{"chunks":4}}')
    wait_for has_lost "$id"
    kill_daemon
    start_daemon --workers 1 --retry-delay 1ms --data-dir "$BATS_TEST_TMPDIR/data"
    [ "$(job_field "$ended" '.result | tojson')" = "$result" ]
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" '[.result.results[] | . != null] | tojson')" = '[false,true,true]' ]
    [ "$(job_field "$id" '[.result.errors[] | .index, .error.code] | tojson')" = '[0,"worker_crashed"]' ]
    [ "$(ended "$blocked")" = succeeded ]
    [ "$(job_field "$blocked" '[.result.errors[].index] | tojson')" = '[2]' ]
}

has_lost() {
    [ "$(job_field "$1" '.lost | length')" -ge 1 ]
}

@test "a key names one request, however its columns are written" {
    call_job -H 'Idempotency-Key: "one"' '{"type":"primes","columns":{"start":0,"stop":[10,20]}}'
    id=$(field .id)
    call_job -H 'Idempotency-Key: "one"' '{ "columns" : {"stop": [ 10, 20 ], "start": 0}, "type":"primes"}'
    [ "$(field .id)" = "$id" ]
    call_job -H 'Idempotency-Key: "one"' '{"type":"primes","columns":{"start":0,"stop":[10,21]}}'
    expect_problem 422 idempotency_mismatch
}
