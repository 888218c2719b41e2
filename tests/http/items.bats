#!/usr/bin/env bats
# items.bats: maps, which call their type once for each of "items".

bats_require_minimum_version 1.5.0
load helpers

setup() {
    start_daemon
}

@test "each item has its result, in the order given" {
    call_job '{"type":"primes","items":[{"start":0,"stop":100},{"nth":4},{"start":0,"stop":10,"op":"list"}]}'
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and .result == {"items":[
             {"status":"succeeded","result":{"count":25}}, {"status":"succeeded","result":{"prime":7}},
             {"status":"succeeded","result":{"count":4,"primes":[2,3,5,7]}}]}'
}

@test "a bad item fails alone, whatever is wrong with it" {
    call_job '{"type":"primes","items":[{"start":0,"stop":10},5,{"start":0},{"start":0,"stop":"x"},{"start":0,"stop":1,"x":1},
               null,[],{"start":0,"stop":99999999999999,"op":"list"},{"start":0,"stop":20}]}'
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and (.result.items | length) == 9'
    holds '[.result.items[].status] == ["succeeded","failed","failed","failed","failed","failed","failed","failed","succeeded"]'
    holds '[.result.items[1:8][].error.errors[0].pointer] ==
           ["/items/1","/items/2","/items/3/stop","/items/4/x","/items/5","/items/6","/items/7/stop"]'
    holds 'all(.result.items[1:8][].error; .code == "invalid_params" and .type == "/problems/invalid_params" and .status == 422
           and (.title | length) > 0 and (.detail | length) > 0)'
}

@test "no items give an empty list" {
    call_job '{"type":"primes","items":[]}'
    [ "$CODE" = 200 ]
    holds '.result == {"items":[]}'
}

@test "a single item is a list of one" {
    call_job '{"type":"echo","items":[{"value":[1,{"a":"]}\""}]}]}'
    [ "$CODE" = 200 ]
    holds '.result == {"items":[{"status":"succeeded","result":{"value":[1,{"a":"]}\""}]}}]} and .progress.total == 1'
}

@test "params and items cannot be together, and items must be a list" {
    call_job '{"type":"primes","params":{"start":0,"stop":1},"items":[]}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/items"'
    call_job '{"type":"primes","items":{"start":0,"stop":1}}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/items"'
}

@test "options.chunks divides the items" {
    for chunks in 1 3 10; do
        call_job '{"type":"echo","items":[{"value":0},{"value":1},{"value":2},{"value":3},{"value":4},{"value":5},{"value":6}],
                   "options":{"chunks":'"$chunks"'}}'
        [ "$CODE" = 200 ]
        holds '[.result.items[].result.value] == [range(7)]'
        [ "$(field .progress.total)" = $((chunks < 7 ? chunks : 7)) ]
    done
}

@test "ten thousand items come back in order, by links.result if they are too large for the Job" {
    body_file '{type: "sum", items: [range(10000) | {start: 0, stop: .}]}'
    call_file
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and has("result") == false'
    call "$(field .links.result)"
    [ "$CODE" = 200 ]
    holds '(.items | length) == 10000 and all(.items[]; .status == "succeeded")'
    holds '[.items[].result.count] == [range(10000)] and .items[9999].result.sum == "49985001"'
}

@test "a long list is read like a short one: bad items, bad lists, bad JSON" {
    body_file '{type: "primes", items: ([range(3000) | {start: 0, stop: .}] + [7, {start: 0}, {start: 0, stop: 10, x: 1}])}'
    [ "$(wc -c <"$BATS_TEST_TMPDIR/body.json")" -gt 40000 ]
    call_file
    [ "$CODE" = 200 ]
    holds '.result.items | length == 3003 and .[2999].result.count == 429'
    holds '[.result.items[3000:][].error.errors[0].pointer] == ["/items/3000","/items/3001","/items/3002/x"]'
    body_file '{type: "primes", params: {}, items: [range(9000)]}'
    call_file
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/items"'
    body_file '{type: "primes", items: [range(9000)]}'
    sed -i 's/8999/8999,/' "$BATS_TEST_TMPDIR/body.json"
    call_file
    expect_problem 400 invalid_json
    holds '.line == 1 and .position > 40000'
}

@test "a long list takes all options" {
    body_file '{type: "echo", items: [range(9000) | {value: .}], options: {chunks: 5, priority: 6, ttl_s: 60, isolation: "pool"}}'
    call_file
    [ "$CODE" = 200 ]
    holds '.progress == {done: 5, total: 5} and .priority == 6'
    body_file '{type: "echo", items: [range(9000) | {value: .}], options: {webhook: ""}}'
    call_file
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/options/webhook"'
}

@test "an asynchronous map shows how far it is" {
    id=$(submit '{"type":"sleep","items":[{"ms":100},{"ms":200},{"ms":300},{"ms":400}],"options":{"chunks":4}}')
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" '[.result.items[].result.ms] | tostring')" = '[100,200,300,400]' ]
    [ "$(job_field "$id" .progress.done)" = 4 ]
}

@test "a map is cancelled in the middle of its items" {
    id=$(submit '{"type":"sleep","items":[{"ms":1},{"ms":60000},{"ms":1}],"options":{"chunks":1}}')
    wait_for is_running "$id"
    call -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled"'
    call_job '{"type":"echo","items":[{"value":1}]}'
    [ "$CODE" = 200 ]
}

@test "a map that is out of time fails as a whole" {
    call_job '{"type":"sleep","items":[{"ms":1},{"ms":60000}],"options":{"timeout_ms":50}}'
    expect_problem 504 job_timeout
}

@test "items whose worker died run again" {
    call_job '{"type":"crash","items":[{"how":"SIGKILL","times":1},{"how":"abort","times":2},{"how":"SIGSEGV","times":1}],
               "options":{"chunks":2}}'
    [ "$CODE" = 200 ]
    holds '[.result.items[].status] == ["succeeded","succeeded","succeeded"] and .attempts >= 3 and (.lost | length) >= 2'
}

@test "an item that takes more memory than --max-job-memory fails alone" {
    stop_daemon
    start_daemon --workers 2 --retry-delay 1ms --max-job-memory 200MiB
    now='{"how":"exit","times":1}' # in the first attempt only
    call_job "{\"type\":\"crash\",\"items\":[{\"how\":\"memory\"},$now,$now],\"options\":{\"chunks\":1}}"
    [ "$CODE" = 200 ]
    holds '[.result.items[].status] == ["failed", "succeeded", "succeeded"]'
    holds '.result.items[0].error | .code == "memory_limit" and .status == 507'
    holds '[.lost[].cause] | contains(["memory"])'
}

@test "an item that kills its worker every time fails alone" {
    stop_daemon
    start_daemon --workers 2 --retry-delay 1ms
    now='{"how":"abort","times":1}' # in the first attempt only
    call_job "{\"type\":\"crash\",\"items\":[$now,{\"how\":\"SIGSEGV\"},$now,{\"how\":\"exit\"},$now],\"options\":{\"chunks\":1}}"
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and ([.result.items[].status] == ["succeeded", "failed", "succeeded", "failed", "succeeded"])'
    holds '[.result.items[1,3].error | .code == "worker_crashed" and .status == 500] | all'
    holds '.attempts == 7 and ([.lost[].chunk] | unique) == [0]'
    # A job that is not a map fails as always.
    call_job '{"type":"crash","params":{"how":"SIGSEGV"}}'
    expect_problem 500 worker_crashed
}

@test "an item that kills its worker fails alone in a stream, too, and among many" {
    stop_daemon
    start_daemon --workers 2 --retry-delay 1ms
    items=$(jq -nc '[range(400) | {how: "abort", times: 1}] | .[137] = {how: "SIGKILL"}')
    echo "{\"type\":\"crash\",\"items\":$items,\"options\":{\"max_attempts\":2,\"chunks\":4}}" >"$BATS_TEST_TMPDIR/job"
    call_job -H 'Accept: application/x-ndjson' "@$BATS_TEST_TMPDIR/job"
    [ "$(tail -n 1 "$BODY")" = '{"summary":{"total":400,"succeeded":399,"failed":1}}' ]
    [ "$(jq -c 'select(.status == "failed") | [.index, .error.code]' "$BODY")" = '[137,"worker_crashed"]' ]
}

@test "one item by its number: its result, or its problem with its status" {
    call_job '{"type":"primes","items":[{"start":0,"stop":100},{"start":0},{"nth":4}]}'
    result=$(field .links.result)
    call "$result/0"
    [ "$CODE" = 200 ]
    [ "$(<"$BODY")" = '{"count":25}' ]
    call "$result/1"
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/items/1"'
    for index in 3 4294967296 01 x -1 %32; do
        call "$result/$index"
        [ "$index" = %32 ] || expect_problem 404 not_found
    done
    [ "$CODE" = 200 ]
    call_job '{"type":"echo","params":{"value":1}}'
    call "$(field .links.result)/0"
    expect_problem 404 not_found
}

@test "the last item of a large map is found while the service goes on" {
    python3 -c '
import json
print(json.dumps({"type": "echo", "items": [{"value": "x" * 90000 + str(i)} for i in range(100)]}))' >"$BATS_TEST_TMPDIR/in"
    call_job "@$BATS_TEST_TMPDIR/in"
    result=$(field .links.result)
    call "$result/99"
    [ "$CODE" = 200 ]
    holds '.value | endswith("x99")'
    call -r 0-9 "$result/0"
    [ "$CODE" = 206 ]
    [ "$(<"$BODY")" = '{"value":"' ]
    tag=$(header ETag)
    call "$result/1"
    [ "$(header ETag)" != "$tag" ]
    call -I "$result/99"
    [ "$(header Content-Length)" = 90014 ]
}
