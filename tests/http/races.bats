#!/usr/bin/env bats
# races.bats: if two clients do something to one job at the same time, there is one outcome, and all see the same one:
# the client that waits, the client that cancels or deletes, the next GET, and the service that starts after kill -9.

bats_require_minimum_version 1.5.0
load helpers

ROUNDS=${ROUNDS:-40}

setup() {
    DATA=$BATS_TEST_TMPDIR/data
}

restart() {
    start_daemon --data-dir "$DATA" "$@"
}

newest() { # the id of the job that was made last
    curl -sS "$URL/v1/jobs?limit=1" | jq -r '.jobs[0].id'
}

gone() { # ID
    [ "$(status "$URL/v1/jobs/$1")" = 410 ]
}

# A client that waits for the job of $1, whose answer goes to $2; the id of the job in ID.
wait_in_background() {
    local before
    before=$(newest)
    curl -sS --max-time 60 -o "$2" -w '%{http_code}' -H 'Content-Type: application/json' "${@:3}" "$URL/v1/jobs" -d "$1" >"$2.code" &
    WAITER=$!
    appeared() { ID=$(newest); [ "$ID" != "$before" ]; }
    for _ in $(seq 2000); do
        appeared && return 0
    done
    return 1
}

@test "cancel and the job's end: one outcome, the same for all, and the same after kill -9" {
    restart
    for ((i = 0; i < ROUNDS; i++)); do
        id=$(submit "{\"type\":\"sleep\",\"params\":{\"ms\":$((i % 21))}}")
        curl -sS -o "$BATS_TEST_TMPDIR/poll" -H 'Prefer: wait=20' "$URL/v1/jobs/$id" &
        first=$!
        curl -sS -o "$BATS_TEST_TMPDIR/cancel" -X POST "$URL/v1/jobs/$id/cancel" &
        second=$!
        wait "$first" "$second"
        outcome=$(jq -r .status "$BATS_TEST_TMPDIR/cancel")
        [[ $outcome == succeeded || $outcome == cancelled ]]
        [ "$(jq -r .status "$BATS_TEST_TMPDIR/poll")" = "$outcome" ]
        has_status "$id" "$outcome"
        echo "$id $outcome" >>"$BATS_TEST_TMPDIR/outcomes"
    done
    kill_daemon
    restart
    while read -r id outcome; do
        has_status "$id" "$outcome"
    done <"$BATS_TEST_TMPDIR/outcomes"
}

@test "DELETE and the job's end: gone for all, even after kill -9" {
    restart
    ids=()
    for ((i = 0; i < ROUNDS; i++)); do
        id=$(submit "{\"type\":\"sleep\",\"params\":{\"ms\":$((i % 21))}}")
        curl -sS -o "$BATS_TEST_TMPDIR/poll" -w '%{http_code}' -H 'Prefer: wait=20' "$URL/v1/jobs/$id" >"$BATS_TEST_TMPDIR/poll.code" &
        first=$!
        [ "$(status -X DELETE "$URL/v1/jobs/$id")" = 204 ]
        wait "$first"
        [[ $(<"$BATS_TEST_TMPDIR/poll.code") == 410 ||
            $(jq -r .status "$BATS_TEST_TMPDIR/poll") =~ ^(succeeded|cancelled)$ ]]
        gone "$id"
        ids+=("$id")
    done
    kill_daemon
    restart
    for id in "${ids[@]}"; do
        gone "$id"
    done
    [ "$(curl -sS "$URL/v1/jobs" | jq '.jobs | length')" = 0 ]
}

@test "two clients delete: one has done it, the other finds the job gone" {
    restart
    for ((i = 0; i < ROUNDS; i++)); do
        id=$(submit "{\"type\":\"sleep\",\"params\":{\"ms\":$((i % 21))}}")
        status -X DELETE "$URL/v1/jobs/$id" >"$BATS_TEST_TMPDIR/a" &
        other=$!
        status -X DELETE "$URL/v1/jobs/$id" >"$BATS_TEST_TMPDIR/b"
        wait "$other"
        [[ "$(cat "$BATS_TEST_TMPDIR/a") $(cat "$BATS_TEST_TMPDIR/b")" =~ ^(204\ 410|410\ 204)$ ]]
    done
}

@test "a job can be deleted whatever state it is in, in memory as on disk" {
    for data in "$DATA" none; do
        start_daemon --data-dir "$data" --workers 1 --express-cost 0s
        running=$(submit '{"type":"burn","params":{"cpu_ms":60000}}')
        wait_for is_running "$running"
        queued=$(submit '{"type":"burn","params":{"cpu_ms":60000}}')
        delayed=$(submit '{"type":"echo","params":{"value":1},"options":{"delay_ms":60000}}')
        for id in "$queued" "$delayed" "$running"; do
            [ "$(status -X DELETE "$URL/v1/jobs/$id")" = 204 ]
            gone "$id"
        done
        ended=$(submit '{"type":"echo","params":{"value":1}}')
        [ "$(ended "$ended")" = succeeded ]
        call_job '{"type":"echo","params":{"value":1}}'
        remembered=$(jq -r .id "$BODY")
        for id in "$ended" "$remembered"; do
            [ "$(status -X DELETE "$URL/v1/jobs/$id")" = 204 ]
            gone "$id"
        done
        curl -sS "$URL/metrics" >"$BATS_TEST_TMPDIR/metrics"
        grep -q '^offload_jobs_running 0$' "$BATS_TEST_TMPDIR/metrics"
        ! grep '^offload_jobs_queued{.*} [1-9]' "$BATS_TEST_TMPDIR/metrics"
        stop_daemon
    done
}

@test "to delete an inline job while it runs is a 204, even if none are remembered" {
    start_daemon --keep-sync 0
    wait_in_background '{"type":"sleep","params":{"ms":30000}}' "$BATS_TEST_TMPDIR/answer"
    [ "$(status -X DELETE "$URL/v1/jobs/$ID")" = 204 ]
    wait "$WAITER"
    [ "$(cat "$BATS_TEST_TMPDIR/answer.code")" = 409 ]
    [ "$(status "$URL/v1/jobs/$ID")" = 404 ]
}

@test "a replay that joined a job gets its 409 when the job is cancelled, and so does the next replay" {
    for data in "$DATA" none; do
        start_daemon --data-dir "$data"
        for ((i = 0; i < 8; i++)); do
            body="{\"type\":\"sleep\",\"params\":{\"ms\":$((30000 + i))}}"
            key="Idempotency-Key: k$i"
            wait_in_background "$body" "$BATS_TEST_TMPDIR/first" -H "$key"
            id=$ID
            curl -sS -o "$BATS_TEST_TMPDIR/second" -w '%{http_code}' -H 'Content-Type: application/json' -H "$key" "$URL/v1/jobs" -d "$body" >"$BATS_TEST_TMPDIR/second.code" &
            second=$!
            sleep 0.0$((i % 4))
            [ "$(curl -sS -X POST "$URL/v1/jobs/$id/cancel" | jq -r .status)" = cancelled ]
            wait "$WAITER" "$second"
            [ "$(cat "$BATS_TEST_TMPDIR/first.code")" = 409 ]
            [ "$(cat "$BATS_TEST_TMPDIR/second.code")" = 409 ]
            [ "$(jq -r .job "$BATS_TEST_TMPDIR/second")" = "$id" ]
            call_job -H "$key" "$body"
            expect_problem 409 cancelled
            [ "$(field .job)" = "$id" ]
        done
        stop_daemon
    done
}

# Two requests with one key; the second is answered 202 before the job of the first is planned. The key is kept.
@test "the key is kept, whichever of two requests makes the job durable" {
    restart --workers 1 --express-workers 1
    for ((i = 0; i < 10; i++)); do
        body="{\"type\":\"sleep\",\"params\":{\"ms\":$((1000 + i))}}"
        key="Idempotency-Key: k$i"
        curl -sS -o /dev/null -H 'Content-Type: application/json' -H "$key" "$URL/v1/jobs" -d "$body" &
        first=$!
        id=$(curl -sS -H 'Content-Type: application/json' -H "$key" -H 'Prefer: respond-async' "$URL/v1/jobs" -d "$body" | jq -r .id)
        kill "$first" 2>/dev/null || true
        wait "$first" || true
        echo "$id $body" >>"$BATS_TEST_TMPDIR/made"
    done
    kill_daemon
    restart
    i=0
    while read -r id body; do
        [ "$(curl -sS -H 'Content-Type: application/json' -H "Idempotency-Key: k$i" -H 'Prefer: respond-async' "$URL/v1/jobs" -d "$body" | jq -r .id)" = "$id" ]
        i=$((i + 1))
    done <"$BATS_TEST_TMPDIR/made"
}

# A file that must not grow is like a full disk.
@test "while the disk is full, jobs that must be stored get 503 and leave nothing; jobs that are stored already go on" {
    ulimit -S -f 400 # KiB
    restart
    running=$(submit -H 'Idempotency-Key: kept' '{"type":"sleep","params":{"ms":3000}}')
    wait_for is_running "$running"
    full() {
        local filler
        filler=$(head -c 60000 /dev/zero | tr '\0' x)
        [ "$(post_status -H 'Prefer: respond-async' "{\"type\":\"echo\",\"params\":{\"value\":\"$filler\"}}")" = 503 ]
    }
    wait_for full
    before=$(curl -sS "$URL/v1/jobs?limit=1000" | jq -c '[.jobs[].id]')
    for i in 1 2 3 4 5; do
        call_job -H 'Prefer: respond-async' '{"type":"echo","params":{"value":1}}'
        expect_problem 503 store_unavailable
        [ "$(header Retry-After)" != "" ]
        call_job -H "Idempotency-Key: refused$i" '{"type":"echo","params":{"value":1}}'
        expect_problem 503 store_unavailable
    done
    [ "$(curl -sS "$URL/v1/jobs?limit=1000" | jq -c '[.jobs[].id]')" = "$before" ]
    call_job -H 'Idempotency-Key: kept' -H 'Prefer: respond-async' '{"type":"sleep","params":{"ms":3000}}'
    [ "$CODE" = 202 ]
    [ "$(field .id)" = "$running" ]
    call_job '{"type":"echo","params":{"value":1}}' # what is not kept is not hindered
    [ "$CODE" = 200 ]
    [ "$(ended "$running")" = succeeded ]
    kill_daemon
    ulimit -S -f unlimited
    restart
    [ "$(ended "$running")" = succeeded ]
    for i in 1 2 3 4 5; do
        call_job -H "Idempotency-Key: refused$i" '{"type":"echo","params":{"value":1}}'
        [ "$CODE" = 200 ]
        [ -z "$(header Idempotency-Replayed)" ]
    done
}

@test "a drain answers a client at once whose job it leaves to the next process" {
    restart --drain-timeout 60s
    delayed=$(submit '{"type":"echo","params":{"value":1},"options":{"delay_ms":2000}}')
    curl -sS -o "$BATS_TEST_TMPDIR/poll" -H 'Prefer: wait=50' "$URL/v1/jobs/$delayed" &
    poll=$!
    wait_in_background '{"type":"echo","params":{"value":2},"options":{"delay_ms":2000}}' "$BATS_TEST_TMPDIR/post" -H 'Idempotency-Key: k'
    keyed=$ID
    sleep 0.3
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    wait "$poll" "$WAITER"
    [ "$(jq -r .status "$BATS_TEST_TMPDIR/poll")" = queued ]
    [ "$(cat "$BATS_TEST_TMPDIR/post.code")" = 202 ]
    grep -q '"event":"drained"' "$LOG"
    restart
    [ "$(ended "$delayed")" = succeeded ]
    [ "$(ended "$keyed")" = succeeded ]
}
