#!/usr/bin/env bats
# cancel.bats: jobs that are cancelled or deleted, or whose client hangs up.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":600000}}'
DEAF='{"type":"crash","params":{"how":"hang"}}'

main_pids() {
    curl -sS "$URL/v1/workers" | jq -c '[.workers[] | select(.lane == "main") | .pid]'
}

# True if a worker is busy.
any_busy() {
    curl -sS "$URL/v1/workers" | jq -e '.workers | any(.state == "busy")'
}

# The only job there is.
only_job() {
    curl -sS "$URL/v1/jobs" | jq -r '.jobs | if length == 1 then .[0].id else error("not one job") end'
}

only_job_has_status() {
    [ "$(curl -sS "$URL/v1/jobs" | jq -r '[.jobs[].status] | join(" ")')" = "$1" ]
}

@test "cancel a running job: 200 when it has stopped; a worker that gives up in time lives on" {
    start_daemon --workers 1 --cancel-grace 20s
    pids=$(main_pids)
    id=$(submit "$LONG")
    wait_for is_running "$id"
    call -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled" and .id == $id and has("started_at") and has("finished_at") and (has("result") | not)' \
        --arg id "$id"
    [ "$(main_pids)" = "$pids" ]
    run ! any_busy
    call_job '{"type":"sleep","params":{"ms":30}}'
    [ "$CODE" = 200 ]
}

@test "cancel a running job whose code does not listen: its process is dead when the answer comes" {
    start_daemon --workers 1 --cancel-grace 100ms
    pid=$(main_pids | jq '.[0]')
    id=$(submit "$DEAF")
    wait_for is_running "$id"
    sleep 0.1
    call -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled"'
    run ! kill -0 "$pid"
    call_job '{"type":"sleep","params":{"ms":30}}'
    [ "$CODE" = 200 ]
}

@test "cancel a queued job: it never starts" {
    start_daemon --workers 1
    running=$(submit "$LONG")
    wait_for is_running "$running"
    queued=$(submit "$LONG")
    call -X POST "/v1/jobs/$queued/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled" and (has("started_at") | not) and has("finished_at") and (has("waiting_for") | not)'
    is_running "$running"
}

@test "cancel a job three times at once, and again later: the answer is the same" {
    start_daemon --workers 1 --cancel-grace 300ms
    id=$(submit "$DEAF")
    wait_for is_running "$id"
    for i in 1 2 3; do
        curl -sS -X POST -o "$BATS_TEST_TMPDIR/cancel$i" "$URL/v1/jobs/$id/cancel" 3>&- &
        cancels[i]=$!
    done
    for i in 1 2 3; do
        wait "${cancels[i]}"
        [ "$(jq -r .status "$BATS_TEST_TMPDIR/cancel$i")" = cancelled ]
    done
    call -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled"'
}

@test "cancel a job that has ended: 200, and the job is as it was" {
    start_daemon
    call_job '{"type":"echo","params":{"value":5}}'
    call -X POST "$(field .links.self)/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "succeeded" and .result.value == 5'
}

@test "cancel takes a body and ignores it" {
    start_daemon
    id=$(submit "$LONG")
    call -X POST -H 'Content-Type: application/json' -d '{}' "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled"'
}

@test "a client waits for a job, and another client cancels it: 409 cancelled with the job's id" {
    start_daemon
    curl -sS -o "$BATS_TEST_TMPDIR/answer" -w '%{http_code}' -H 'Content-Type: application/json' -d "$LONG" \
        "$URL/v1/jobs" >"$BATS_TEST_TMPDIR/code" 3>&- &
    client=$!
    wait_for only_job_has_status running
    id=$(only_job)
    call -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    wait "$client"
    [ "$(cat "$BATS_TEST_TMPDIR/code")" = 409 ]
    [ "$(jq -r '.code + " " + .job' "$BATS_TEST_TMPDIR/answer")" = "cancelled $id" ]
    call "/v1/jobs/$id/result"
    expect_problem 409 cancelled
    holds '.job == $id' --arg id "$id"
}

@test "a long poll is answered when the job is cancelled" {
    start_daemon
    id=$(submit "$LONG")
    curl -sS -o "$BATS_TEST_TMPDIR/poll" -H 'Prefer: wait=50' "$URL/v1/jobs/$id" 3>&- &
    poll=$!
    wait_for is_running "$id"
    call -X POST "/v1/jobs/$id/cancel"
    wait "$poll"
    [ "$(jq -r .status "$BATS_TEST_TMPDIR/poll")" = cancelled ]
}

@test "cancel and delete an unknown job: 404" {
    start_daemon
    for id in 01890000-0000-7000-8000-000000000000 x 01890000-0000-7000-8000-00000000000g; do
        call -X POST "/v1/jobs/$id/cancel"
        expect_problem 404 not_found
        call -X DELETE "/v1/jobs/$id"
        expect_problem 404 not_found
    done
}

@test "delete an ended job: 204, then 410 gone" {
    start_daemon
    call_job '{"type":"echo","params":{"value":5}}'
    path=$(field .links.self)
    call -X DELETE "$path"
    [ "$CODE" = 204 ]
    [ ! -s "$BODY" ]
    for again in "$path" "$path/result"; do
        call "$again"
        expect_problem 410 gone
    done
    call -X DELETE "$path"
    expect_problem 410 gone
    call -X POST "$path/cancel"
    expect_problem 410 gone
    call /v1/jobs
    holds '.jobs == []'
}

@test "delete a running and a queued job: they are stopped and forgotten" {
    start_daemon --workers 1 --cancel-grace 100ms
    pid=$(main_pids | jq '.[0]')
    running=$(submit "$DEAF")
    wait_for is_running "$running"
    queued=$(submit "$LONG")
    call -X DELETE "/v1/jobs/$queued"
    [ "$CODE" = 204 ]
    sleep 0.1
    call -X DELETE "/v1/jobs/$running"
    [ "$CODE" = 204 ]
    run ! kill -0 "$pid"
    for id in $running $queued; do
        call "/v1/jobs/$id"
        expect_problem 410 gone
    done
}

@test "a synchronous client that is killed cancels its running job" {
    start_daemon --workers 1
    curl -sS -o /dev/null -H 'Content-Type: application/json' -d "$LONG" "$URL/v1/jobs" 3>&- &
    client=$!
    wait_for only_job_has_status running
    kill -KILL "$client"
    wait "$client" || true
    wait_for only_job_has_status cancelled
    run ! any_busy
}

@test "a synchronous client that is killed cancels its queued job" {
    start_daemon --workers 1
    wait_for is_running "$(submit "$LONG")"
    curl -sS -o /dev/null -H 'Content-Type: application/json' -d "$LONG" "$URL/v1/jobs" 3>&- &
    client=$!
    wait_for only_job_has_status 'queued running'
    kill -KILL "$client"
    wait "$client" || true
    wait_for only_job_has_status 'cancelled running'
}

@test "a synchronous client is killed, and its job does not listen: the process is killed" {
    start_daemon --workers 1 --cancel-grace 100ms
    pid=$(main_pids | jq '.[0]')
    curl -sS -o /dev/null -H 'Content-Type: application/json' -d "$DEAF" "$URL/v1/jobs" 3>&- &
    client=$!
    wait_for only_job_has_status running
    sleep 0.1 # it has begun: before that it listens
    kill -KILL "$client"
    wait "$client" || true
    wait_for only_job_has_status cancelled
    run ! kill -0 "$pid"
}

@test "a FIN counts as hanging up, even of one half of the connection" {
    start_daemon --workers 1
    printf 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
        ${#LONG} "$LONG" >"$BATS_TEST_TMPDIR/request"
    # -N shuts down the sending half when the request is out; the receiving half stays open.
    timeout 20 nc -N 127.0.0.1 "$PORT" <"$BATS_TEST_TMPDIR/request" >"$BATS_TEST_TMPDIR/answer" 3>&-
    wait_for only_job_has_status cancelled
    [ ! -s "$BATS_TEST_TMPDIR/answer" ]
}

@test "a client that leaves cancels its job with Prefer: wait, too" {
    start_daemon
    run -28 curl -sS --max-time 0.5 -o /dev/null -H 'Prefer: wait=50' -H 'Content-Type: application/json' -d "$LONG" "$URL/v1/jobs"
    wait_for only_job_has_status cancelled
}

@test "a client that sent respond-async and leaves does not cancel its job" {
    start_daemon
    run -28 curl -sS --max-time 0.4 -o /dev/null -H 'Prefer: respond-async, wait=50' -H 'Content-Type: application/json' \
        -d '{"type":"sleep","params":{"ms":1000}}' "$URL/v1/jobs"
    only_job_has_status running
    [ "$(ended "$(only_job)")" = succeeded ]
}

@test "a client that was answered 202 and leaves does not cancel its job" {
    start_daemon
    id=$(submit '{"type":"sleep","params":{"ms":400}}')
    [ "$(ended "$id")" = succeeded ]
}

@test "to cancel one job leaves the others alone" {
    start_daemon --workers 2
    long=$(submit '{"type":"burn","params":{"cpu_ms":60000,"chunks":1000}}')
    wait_for is_running "$long"
    other=$(submit '{"type":"burn","params":{"cpu_ms":300,"chunks":6}}')
    call -X POST "/v1/jobs/$long/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled"'
    [ "$(ended "$other")" = succeeded ]
    [ "$(job_field "$other" .attempts)" = 1 ]
}
