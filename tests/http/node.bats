#!/usr/bin/env bats
# node.bats: job types in JavaScript (sdk/node) under the real service.

load helpers

setup() {
    command -v node >/dev/null || skip "node is not installed"
    [ "$(node -p 'parseInt(process.versions.node)')" -ge 18 ] || skip "node is older than 18"
}

# The processes of the program below the service.
programs() {
    local pid
    for pid in $(children_of "$DAEMON"); do
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q '\.mjs' && echo "$pid"
    done
    return 0
}

start() { # FILE
    start_daemon --workers 2 --program "node $1" --load-timeout 60s
}

@test "the example: types, calls, items, chunks, integers of any size" {
    start examples/tasks.mjs
    call /v1/types/squares
    holds '.summary == "The sum of the squares of [start, stop)" and .params.properties.start.type == "integer"'
    call_job '{"type": "is_prime", "params": {"n": 1000003}}'
    holds '.result == true'
    call_job '{"type": "is_prime", "items": [{"n": 2}, {"n": 9}, {"n": "text"}, {"n": 13}]}'
    holds '[.result.items[].result] == [true, false, null, true] and .result.items[2].error.code == "invalid_params"'
    call_job '{"type": "squares", "params": {"start": 0, "stop": 3000000}, "options": {"chunks": 3}}'
    holds '.result == "8999995500000500000" and .progress.total == 3'
    call_job '{"type": "squares", "params": {"start": "9007199254740993", "stop": "9007199254740995"}}'
    holds '.result == "162259276829213417434773538734085"'
    call_job '{"type": "is_prime", "params": {}}'
    expect_problem 422 invalid_params
}

@test "errors, values and output" {
    start sdk/node/test/programs/all.mjs
    call_job '{"type": "fail", "params": {"how": "now"}}'
    expect_problem 500 handler_failed
    holds '.exception == "Broken" and .detail == "at once"'
    call "/v1/jobs/$(field .job)"
    holds '.error.traceback | startswith("Error: at once\n") and contains("all.mjs")'
    call_job '{"type": "fail", "params": {"how": "invalid"}}'
    expect_problem 422 invalid_params
    holds '.errors == [{pointer: "/params/how", detail: "is not good"}]'
    call_job '{"type": "double", "params": {"n": "9223372036854775807"}}'
    holds '.result == "18446744073709551614"'
    call_job '{"type": "octets", "params": {"data": "aGk="}}'
    holds '.result == "aGkh"'
    call_job '{"type": "wait", "params": {"ms": 1}}'
    holds '.result == "waited"'
    call "/v1/jobs/$(field .id)/log"
    [ "$(<"$BODY")" = "it waits" ]
}

@test "cancel: what listens ends by itself, and what does not is killed" {
    local type id
    start sdk/node/test/programs/all.mjs
    for type in wait spin deaf steps; do
        case $type in steps) id='{"n": 60000}' ;; *) id='{"ms": 60000}' ;; esac
        id=$(submit "{\"type\": \"$type\", \"params\": $id}")
        wait_for is_running "$id"
        call -X POST "/v1/jobs/$id/cancel"
        holds '.status == "cancelled"'
    done
    call_job '{"type": "double", "params": {"n": 4}}'
    holds '.result == 8'
}

@test "a process that is killed in mid-call loses this attempt alone" {
    local id
    start sdk/node/test/programs/all.mjs
    id=$(submit '{"type": "wait", "params": {"ms": 1500}, "options": {"max_attempts": 20}}')
    wait_for is_running "$id"
    is_lost() { # the first that is killed can be the one that has told its types, and is about to exit
        # shellcheck disable=SC2046
        kill -KILL $(programs)
        sleep 0.2
        [ "$(job_field "$id" .attempts)" -gt 1 ]
    }
    wait_for is_lost
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '.attempts > 1 and .lost[0].cause == "signal" and .lost[0].signal == "SIGKILL" and .result == "waited"'
}

@test "no process of the program is left when the service is killed" {
    local left
    start sdk/node/test/programs/all.mjs
    call_job '{"type": "double", "params": {"n": 4}}'
    submit '{"type": "steps", "params": {"n": 60000}}'
    left=$(programs)
    [ -n "$left" ]
    kill_daemon
    gone() {
        # shellcheck disable=SC2086
        ! kill -0 $left 2>/dev/null
    }
    wait_for gone
}
