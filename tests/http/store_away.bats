#!/usr/bin/env bats
# store_away.bats: somebody takes the files of the store away while the service runs. It notices before it acknowledges
# anything more. What the store itself does is tested by tests/unit/store_sqlite_test.c, file by file.

bats_require_minimum_version 1.5.0
load helpers

LARGE_VALUE=$(head -c 50000 /dev/zero | tr '\0' y)

setup() {
    DATA=$BATS_TEST_TMPDIR/data
    start_daemon --data-dir "$DATA" --workers 1
    STORED=$(submit '{"type":"echo","params":{"value":1}}')
    [ "$(ended "$STORED")" = succeeded ]
    LIVE=$(submit '{"type":"echo","params":{"value":1},"options":{"delay_ms":3600000}}')
}

# Nothing is acknowledged, nothing is denied, and what needs no store goes on.
expect_away() { # WORDS
    call_job -H 'Prefer: respond-async' '{"type":"echo","params":{"value":2}}'
    expect_problem 503 store_unavailable
    [ -n "$(header Retry-After)" ]
    echo "{\"type\":\"echo\",\"params\":{\"value\":\"$LARGE_VALUE\"}}" >"$BATS_TEST_TMPDIR/large"
    call_job -H 'Prefer: respond-async' "@$BATS_TEST_TMPDIR/large"
    expect_problem 503 store_unavailable
    call -H 'Prefer: respond-async' -H 'Content-Type: application/octet-stream' \
        --data-binary "@$BATS_TEST_TMPDIR/large" '/v1/jobs?type=bytes&op=sum'
    expect_problem 503 store_unavailable
    call_job -H 'Idempotency-Key: k' '{"type":"echo","params":{"value":2}}'
    expect_problem 503 store_unavailable
    for path in "/v1/jobs/$STORED" "/v1/jobs/$STORED/result" "/v1/jobs/$STORED/events" /v1/jobs \
        /v1/jobs/01900000-0000-7000-8000-000000000000; do
        call "$path"
        expect_problem 503 store_unavailable
    done
    [ "$(job_field "$LIVE" .status)" = queued ]
    call_job '{"type":"echo","params":{"value":3}}'
    [ "$CODE" = 200 ]
    [ "$(status "$URL/readyz")" = 503 ]
    curl -sS "$URL/readyz?verbose" | grep -q "^\[-\]store failed: .*$1"
    [ "$(status "$URL/livez")" = 200 ]
    [ "$(grep -c '"level":"error","event":"store_unavailable"' "$LOG")" = 1 ]
}

@test "the database is removed: 503 before the next 202, and after the restart there are only jobs that were acknowledged" {
    rm "$DATA"/jobs.db*
    expect_away 'jobs\.db is gone'
    kill_daemon
    start_daemon --data-dir "$DATA"
    [ "$(curl -sS "$URL/v1/jobs" | jq '.jobs | length')" = 0 ]
    id=$(submit '{"type":"echo","params":{"value":4}}')
    [ "$(ended "$id")" = succeeded ]
}

@test "the directory is moved, and another one is in its place; when it is back, the service goes on" {
    mv "$DATA" "$DATA-away"
    mkdir "$DATA"
    expect_away 'the lock file is gone'
    rmdir "$DATA"
    mv "$DATA-away" "$DATA"
    works() { [ "$(status "$URL/readyz")" = 200 ]; }
    wait_for works
    grep -q '"event":"store_recovered"' "$LOG"
    [ "$(job_field "$STORED" .status)" = succeeded ]
    id=$(submit '{"type":"echo","params":{"value":4}}')
    kill_daemon
    start_daemon --data-dir "$DATA"
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$LIVE" .status)" = queued ]
    call /v1/jobs # none of those that got 503
    holds '.jobs | length == 3'
}

@test "the directory of large bodies is removed" {
    rm -r "$DATA/files"
    expect_away 'the directory files is gone'
}

@test "another service has taken the directory over: the first one acknowledges nothing more, and leaves it alone" {
    first=$DAEMON first_url=$URL first_port=$PORT first_log=$LOG
    rm "$DATA/lock"
    start_daemon --data-dir "$DATA" --workers 1
    second=$DAEMON second_url=$URL second_port=$PORT second_log=$LOG
    DAEMON=$first URL=$first_url PORT=$first_port LOG=$first_log
    expect_away 'the lock file is gone'
    stop_daemon
    DAEMON=$second URL=$second_url PORT=$second_port LOG=$second_log
    [ "$(status "$URL/readyz")" = 200 ]
    [ "$(job_field "$STORED" .status)" = succeeded ]
    id=$(submit '{"type":"echo","params":{"value":4}}')
    kill_daemon
    start_daemon --data-dir "$DATA"
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$STORED" .status)" = succeeded ]
}

@test "an idle service notices it when /readyz is asked" {
    rm "$DATA"/jobs.db*
    noticed() { [ "$(status "$URL/readyz")" = 503 ]; }
    wait_for noticed
}
