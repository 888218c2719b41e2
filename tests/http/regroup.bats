#!/usr/bin/env bats
# regroup.bats: the groups of a map are cut anew when it is known how long its items take (server/jobs/regroup.h). The
# type "say" of program.py was never run before, so that its map is planned with a guess which is far too low.

bats_require_minimum_version 1.5.0
load helpers

serve() {
    start_daemon --workers 2 --retry-delay 1ms --program "python3 $BATS_TEST_DIRNAME/program.py" "$@"
}

# 300 items of 10 ms: the guess makes some ten groups of them.
slow_map() { # MEMBERS
    jq -nc "{type: \"say\", items: [range(300) | {text: (\"x\" * (. % 7) // \"\"), hold_ms: 10}]} + $1"
}

in_order() { # the lengths of the texts
    holds '[.result.items[].result] == [range(300) | . % 7]'
}

@test "items that take longer than was guessed are sent in small groups" {
    serve
    call_job "$(slow_map '{}')"
    [ "$CODE" = 200 ]
    in_order
    holds '.progress.done == .progress.total and .progress.total >= 50'
}

@test "as many chunks as the client wishes stay as many" {
    serve
    call_job "$(slow_map '{options: {chunks: 4}}')"
    [ "$CODE" = 200 ]
    in_order
    holds '.progress.total == 4'
}

@test "a map that was cut anew survives kill -9" {
    serve --data-dir "$BATS_TEST_TMPDIR/data"
    id=$(submit "$(slow_map '{}')")
    wait_for eval '[ "$(job_field "$id" .progress.done)" -ge 30 ]'
    kill_daemon
    serve --data-dir "$BATS_TEST_TMPDIR/data"
    call -H 'Prefer: wait=50' "/v1/jobs/$id"
    in_order
    holds '.status == "succeeded" and .attempts == 2 and .progress.total >= 50'
}

@test "a map that a client no longer waits for keeps its groups, and its place in the store" {
    serve --data-dir "$BATS_TEST_TMPDIR/data"
    call_job -H 'Prefer: wait=1' "$(slow_map '{}')"
    [ "$CODE" = 202 ]
    id=$(field .id)
    holds '.progress.total >= 50'
    kill_daemon
    serve --data-dir "$BATS_TEST_TMPDIR/data"
    call -H 'Prefer: wait=50' "/v1/jobs/$id"
    in_order
    holds '.status == "succeeded" and .progress.total >= 50'
}
