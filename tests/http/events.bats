#!/usr/bin/env bats
# events.bats: GET /v1/jobs/{id}/events: which events come, in which order, and how a client comes back.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":60000}}'
CHUNKED='{"type":"burn","params":{"cpu_ms":600,"chunks":6}}'

# events ID [curl options...]: the events, one JSON object a line, until the stream ends.
events() {
    curl -sSN --max-time 60 "${@:2}" "$URL/v1/jobs/$1/events" | python3 tests/http/sse.py parse
}

# The events of the job's history. Progress within a chunk is not among them: it has the id of the event before it.
logged() {
    jq -c -s '[foreach .[] as $e ({}; {last: .new.id, new: $e}; select(.last != .new.id) | .new)][]' "$@"
}

# subscribe ID [curl options...]: in the background; SUBSCRIBER is its pid, STREAM what it got as it came
subscribe() {
    STREAM=$BATS_TEST_TMPDIR/stream-$RANDOM
    curl -sSN --max-time 60 "${@:2}" "$URL/v1/jobs/$1/events" >"$STREAM" 3>&- &
    SUBSCRIBER=$!
}

has_event() {
    grep -q "^event: $1\$" "$STREAM"
}

@test "events come in order, each with an id, and the last one is the whole Job" {
    start_daemon --workers 2
    id=$(submit "$CHUNKED")
    events "$id" >"$BATS_TEST_TMPDIR/events"
    run -0 jq -c -s '[.[] | if .event == "status" then .data.status else .event end] | [.[0], .[1], .[-1]]' "$BATS_TEST_TMPDIR/events"
    [ "$output" = '["queued","running","end"]' ]
    run -0 logged "$BATS_TEST_TMPDIR/events"
    run -0 jq -c -s '[.[] | select(.event == "progress") | .data.done]' <<<"$output"
    [ "$output" = '[1,2,3,4,5,6]' ]
    # Numbers of one run of the service, then the end.
    run -0 jq -s '[.[].id] | .[-1] == "end" and (.[:-1] | map(split("-")[1] | tonumber)) as $n |
        $n == ($n | sort) and $n[0] == 1 and $n[-1] == 8 and ([.[:-1][] | split("-")[0]] | unique | length == 1)' "$BATS_TEST_TMPDIR/events"
    [ "$output" = true ]
    # The fraction never goes back.
    run -0 jq -s '[.[] | select(.event == "progress") | .data.fraction] | . == sort and .[-1] == 1' "$BATS_TEST_TMPDIR/events"
    [ "$output" = true ]
    run -0 jq -s --arg id "$id" '.[-1].data | .id == $id and .status == "succeeded" and .result.chunks == 6' "$BATS_TEST_TMPDIR/events"
    [ "$output" = true ]
}

@test "the head: an event stream that must not be cached or buffered, and the time after which to come back" {
    start_daemon
    id=$(submit '{"type":"sleep","params":{"ms":100}}')
    call "/v1/jobs/$id/events"
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = text/event-stream ]
    [ "$(header Cache-Control)" = no-cache ]
    [ "$(header X-Accel-Buffering)" = no ]
    [ "$(head -n 1 "$BODY")" = 'retry: 1000' ]
    [ "$(curl -sS "$URL/v1/jobs/$id" | jq -r .links.events)" = "/v1/jobs/$id/events" ]
}

@test "HEAD, and other methods" {
    start_daemon
    id=$(submit "$LONG")
    call --head "/v1/jobs/$id/events"
    [ "$CODE" = 200 ]
    run ! grep -q '^retry' "$BODY" # what curl shows of a HEAD is the head
    call -X POST "/v1/jobs/$id/events"
    [ "$CODE" = 405 ]
    [ "$(header Allow)" = "GET, HEAD, OPTIONS" ]
}

@test "a client that comes late gets all events from the start" {
    start_daemon --workers 2
    id=$(submit '{"type":"burn","params":{"cpu_ms":800,"chunks":8}}')
    subscribe "$id"
    early=$STREAM
    first=$SUBSCRIBER
    wait_for has_event progress
    events "$id" >"$BATS_TEST_TMPDIR/late"
    wait "$first"
    python3 tests/http/sse.py parse <"$early" >"$BATS_TEST_TMPDIR/early"
    diff <(logged "$BATS_TEST_TMPDIR/early" | jq -c '[.id, .event, .data.done]') \
        <(logged "$BATS_TEST_TMPDIR/late" | jq -c '[.id, .event, .data.done]')
}

@test "Last-Event-ID: a stream that is cut again and again loses nothing and repeats nothing" {
    start_daemon --workers 2
    items=$(jq -nc '[range(40) | {ms: 40}] + [{ms: 600000}]')
    id=$(submit "{\"type\":\"sleep\",\"items\":$items,\"options\":{\"chunks\":20}}")
    all=$BATS_TEST_TMPDIR/all
    : >"$all"
    for ((cut = 0; cut < 6; cut++)); do
        last=$(jq -r .id "$all" | tail -n 1)
        curl -sSN --max-time 0.2 ${last:+-H "Last-Event-ID: $last"} "$URL/v1/jobs/$id/events" 2>/dev/null |
            python3 tests/http/sse.py parse >>"$all"
    done
    subscribe "$id" -H "Last-Event-ID: $(jq -r .id "$all" | tail -n 1)"
    short_ones() { [ "$(job_field "$id" .progress.done)" -ge 19 ]; } # chunks; the last one never ends
    wait_for short_ones
    wait_for test -s "$STREAM"
    curl -sS -X POST "$URL/v1/jobs/$id/cancel" >/dev/null
    wait "$SUBSCRIBER"
    python3 tests/http/sse.py parse <"$STREAM" >>"$all"
    run -0 jq -c -s '[.[] | select(.event == "item" and .data.status == "succeeded") | .data.index] | sort' "$all"
    [ "$output" = "$(jq -nc '[range(40)]')" ]
    run -0 jq -c '.id | split("-")[1] // "end"' <(logged "$all")
    [ "$output" = "$(seq -f '"%g"' $((${#lines[@]} - 1)); echo '"end"')" ]
}

@test "Last-Event-ID of a running job, of every number" {
    start_daemon --workers 1
    id=$(submit '{"type":"burn","params":{"cpu_ms":30000,"chunks":300}}')
    wait_for progressed "$id" 3
    subscribe "$id"
    wait_for has_event progress
    epoch=$(sed -n 's/^id: \([0-9a-f]*\)-1$/\1/p' "$STREAM")
    for seen in 1 2 3 4; do
        first=$(curl -sSN --max-time 1 -H "Last-Event-ID: $epoch-$seen" "$URL/v1/jobs/$id/events" 2>/dev/null |
            sed -n 's/^id: //p' | head -n 1)
        [ "$first" = "$epoch-$((seen + 1))" ]
    done
    curl -sS -X POST "$URL/v1/jobs/$id/cancel" >/dev/null
    wait "$SUBSCRIBER"
}

progressed() {
    [ "$(job_field "$1" '.progress.done // 0')" -ge "$2" ]
}

@test "an id of another run or another job, or not an id at all: a snapshot, then the events that follow" {
    start_daemon
    id=$(submit "$LONG")
    wait_for is_running "$id"
    subscribe "$id"
    wait_for has_event status
    other=$(sed -n 's/^id: \([0-9a-f]*\)-1$/\1/p' "$STREAM")
    second=$(submit "$LONG")
    for wrong in 0123456789abcdef-1 "$other-99" "$other-0" "$other-" "$other" "$other-1x" "$other--1" end 7 \
        "$other-99999999999999999999999999"; do
        kind=$(curl -sSN --max-time 1 -H "Last-Event-ID: $wrong" "$URL/v1/jobs/$id/events" 2>/dev/null |
            python3 tests/http/sse.py parse | head -n 1 | jq -c '[.event, .data.status, .id]')
        [ "$kind" = "[\"snapshot\",\"running\",\"$other-2\"]" ]
    done
    kind=$(curl -sSN --max-time 1 -H "Last-Event-ID: $other-1" "$URL/v1/jobs/$second/events" 2>/dev/null |
        python3 tests/http/sse.py parse | head -n 1 | jq -r .event)
    [ "$kind" = snapshot ]
    kill "$SUBSCRIBER"
}

@test "a job that has ended: its end at once, and 204 if the client has it" {
    start_daemon
    id=$(submit '{"type":"echo","params":{"value":[1,2]}}')
    [ "$(ended "$id")" = succeeded ]
    run -0 events "$id"
    [ "${#lines[@]}" = 1 ]
    [ "$(jq -c '[.id, .event, .data.result]' <<<"${lines[0]}")" = '["end","end",{"value":[1,2]}]' ]
    run -0 events "$id" -H 'Last-Event-ID: 0123456789abcdef-3'
    [ "$(jq -r .event <<<"${lines[0]}")" = end ]
    call -H 'Last-Event-ID: end' "/v1/jobs/$id/events"
    [ "$CODE" = 204 ]
    [ ! -s "$BODY" ]
}

@test "unknown and deleted jobs" {
    start_daemon
    call /v1/jobs/0192d3c4-0000-7000-8000-000000000000/events
    expect_problem 404 not_found
    call /v1/jobs/nonsense/events
    expect_problem 404 not_found
    id=$(submit '{"type":"echo","params":{"value":1}}')
    ended "$id"
    curl -sS -X DELETE "$URL/v1/jobs/$id"
    call "/v1/jobs/$id/events"
    expect_problem 410 gone
}

@test "a job that is cancelled while it is queued: never running, and the end says cancelled" {
    start_daemon --workers 1
    submit "$LONG"
    id=$(submit "$LONG")
    subscribe "$id"
    wait_for has_event status
    curl -sS -X POST "$URL/v1/jobs/$id/cancel" >/dev/null
    wait "$SUBSCRIBER"
    run -0 python3 tests/http/sse.py parse <"$STREAM"
    [ "$(jq -c -s '[.[] | [.event, .data.status]]' <<<"$output")" = '[["status","queued"],["end","cancelled"]]' ]
}

@test "a job that fails: the end has its error" {
    start_daemon
    id=$(submit '{"type":"crash","params":{"how":"exit"},"options":{"max_attempts":1}}')
    run -0 events "$id"
    [ "$(jq -r 'select(.event == "end") | .data.error.code' <<<"$output")" = worker_crashed ]
}

@test "the items of a map come as they are finished, each once" {
    start_daemon --workers 2
    blockers=("$(submit "$LONG")" "$(submit "$LONG")") # so the job does not end before somebody reads its events
    wait_for is_running "${blockers[0]}"
    wait_for is_running "${blockers[1]}"
    id=$(submit '{"type":"sleep","items":[{"ms":300},{"ms":20},{"ms":"x"},{"ms":10}],"options":{"chunks":4}}')
    subscribe "$id"
    wait_for has_event status
    for blocker in "${blockers[@]}"; do
        call -X POST "/v1/jobs/$blocker/cancel"
    done
    wait "$SUBSCRIBER"
    python3 tests/http/sse.py parse <"$STREAM" >"$BATS_TEST_TMPDIR/events"
    run -0 jq -c -s '[.[] | select(.event == "item") | .data | [.index, .status]] | sort' "$BATS_TEST_TMPDIR/events"
    [ "$output" = '[[0,"succeeded"],[1,"succeeded"],[2,"failed"],[3,"succeeded"]]' ]
    run -0 jq -c -s '([.[] | select(.event == "item") | .data] | sort_by(.index) | map(del(.index))) ==
        (.[-1].data.result.items)' "$BATS_TEST_TMPDIR/events"
    [ "$output" = true ]
    # A client can go on from each of them.
    [ "$(jq -r .id "$BATS_TEST_TMPDIR/events" | sort -u | wc -l)" = "$(logged "$BATS_TEST_TMPDIR/events" | wc -l)" ]
}

@test "300 subscribers of one job all get the same" {
    start_daemon --workers 2
    id=$(submit '{"type":"burn","params":{"cpu_ms":3000,"chunks":30}}')
    [ "$(timeout 60 python3 tests/http/sse.py crowd "$PORT" "$id" 300)" = 300 ]
}

@test "clients that leave: their streams are closed, and the job goes on" {
    start_daemon
    id=$(submit '{"type":"sleep","params":{"ms":2000}}')
    for i in 1 2 3 4 5; do
        subscribe "$id"
        wait_for has_event status
        kill "$SUBSCRIBER"
        wait "$SUBSCRIBER" || true
    done
    wait_for no_connections
    [ "$(ended "$id")" = succeeded ]
}

no_connections() { # but the one that asks
    [ "$(curl -sS "$URL/metrics" | sed -n 's/^offload_http_connections \([0-9]*\)$/\1/p')" = 1 ]
}

@test "a subscriber that takes nothing does not hold up others, and is cut after the idle timeout" {
    start_daemon --workers 2 --idle-timeout 1s
    items=$(jq -nc '[range(400) | {value: ("x" * 20000)}]')
    echo "{\"type\":\"echo\",\"items\":$items,\"options\":{\"chunks\":40}}" >"$BATS_TEST_TMPDIR/job"
    busy=$(submit "$LONG")
    id=$(submit "@$BATS_TEST_TMPDIR/job")
    printf 'GET /v1/jobs/%s/events HTTP/1.1\r\nHost: localhost\r\n\r\n' "$id" >"$BATS_TEST_TMPDIR/head"
    touch "$BATS_TEST_TMPDIR/hold"
    python3 tests/http/sse.py sip "$PORT" "$BATS_TEST_TMPDIR/head" "$BATS_TEST_TMPDIR/hold" >"$BATS_TEST_TMPDIR/out" 3>&- &
    sipper=$!
    [ "$(ended "$id")" = succeeded ]
    wait_for no_connections
    rm "$BATS_TEST_TMPDIR/hold"
    wait "$sipper"
    [ -s "$BATS_TEST_TMPDIR/out" ]
}

@test "a stream without events wakes the service for a comment every 15 s, and for nothing else" {
    start_daemon --workers 1 --max-job-memory 0 # else the worker is looked at, because it works
    submit "$LONG"
    id=$(submit "$LONG")
    subscribe "$id"
    wait_for has_event status
    switches() { sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "/proc/$DAEMON/status"; }
    before=$(switches)
    sleep 5
    [ $(($(switches) - before)) -le 5 ]
    wait_for_comment() { local i; for ((i = 0; i < 3; i++)); do wait_for grep -q '^: keep-alive$' "$STREAM" && return; done; }
    wait_for_comment
    kill -0 "$SUBSCRIBER"
    kill "$SUBSCRIBER"
}

@test "a drain ends streams of events, so that their clients come back, and does not wait for them" {
    start_daemon --drain-timeout 20s
    id=$(submit '{"type":"sleep","params":{"ms":1500}}')
    subscribe "$id"
    wait_for has_event status
    kill -TERM "$DAEMON"
    wait "$SUBSCRIBER" # with 0: it ended as a stream should
    run ! has_event end
    wait_daemon
    [ "$DAEMON_STATUS" = 0 ]
}

@test "at a stop streams that wait are closed" {
    start_daemon
    id=$(submit "$LONG")
    subscribe "$id"
    wait_for has_event status
    stop_daemon # with --drain-timeout 0s
    [ "$DAEMON_STATUS" = 0 ]
    wait "$SUBSCRIBER" || [ $? = 18 ] # cut, or ended
}

@test "after a crash a client goes on with a snapshot, and a new one is told of the chunks that were finished before" {
    data=$BATS_TEST_TMPDIR/data
    start_daemon --workers 1 --data-dir "$data"
    id=$(submit '{"type":"sleep","items":[{"ms":10},{"ms":10},{"ms":6000}],"options":{"chunks":3}}')
    subscribe "$id"
    wait_for two_items
    last=$(sed -n 's/^id: //p' "$STREAM" | tail -n 1)
    kill -KILL "$DAEMON"
    wait "$SUBSCRIBER" || true
    wait_daemon
    start_daemon --workers 1 --data-dir "$data"
    run -0 events "$id"
    new=$output
    [ "$(jq -c -s '[.[] | select(.event == "item") | .data.index] | sort' <<<"$new")" = '[0,1,2]' ]
    [ "$(jq -r -s '.[-1] | .event + " " + .data.status' <<<"$new")" = "end succeeded" ]
    id=$(submit "$LONG")
    kind=$(curl -sSN --max-time 1 -H "Last-Event-ID: $last" "$URL/v1/jobs/$id/events" 2>/dev/null |
        python3 tests/http/sse.py parse | head -n 1 | jq -r .event)
    [ "$kind" = snapshot ]
}

two_items() {
    [ "$(grep -c '^event: item$' "$STREAM")" = 2 ]
}
