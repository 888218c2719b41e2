#!/usr/bin/env bats
# durable.bats: the service is killed, the disk is full, the clock is stepped: each job that was answered 202 ends
# once, with the right result. ROUNDS=5 runs the first tests with 2,000 jobs and 60 kills; ROUNDS=10 with twice that,
# and so on.

bats_require_minimum_version 1.5.0
load ../http/helpers
load chaos

setup() {
    DATA=$BATS_TEST_TMPDIR/data
}

restarts() { # OPTIONS...
    run timeout -k 5 900 python3 "$BATS_TEST_DIRNAME/restart.py" "$OFFLOADD" "$BATS_TEST_TMPDIR" --jobs $((400 * ROUNDS)) "$@"
    echo "$output"
    [ "$status" = 0 ]
}

# Limits the size of every file of the service. Beyond it a write fails with EFBIG, as it fails with ENOSPC on a full
# disk.
limit_files() { # BYTES|unlimited
    prlimit --pid "$DAEMON" --fsize="$1:unlimited"
}

store_fails() {
    curl -sS "$URL/readyz?verbose" | grep -q '^\[-\]store failed: '
}

store_works() {
    curl -sS "$URL/readyz?verbose" | grep -q '^\[+\]store ok'
}

@test "kill -9 of the service at random: every acknowledged job ends once, with the right result" {
    restarts --clients 16 --kills $((12 * ROUNDS))
}

@test "kill -9 of the service at random: with an Idempotency-Key each request runs once, however often it is sent" {
    restarts --clients 16 --kills $((6 * ROUNDS)) --keys
}

@test "SIGTERM at random: every acknowledged job ends once, and the service always exits with 0" {
    restarts --clients 16 --kills $((4 * ROUNDS)) --signal SIGTERM
}

@test "workers are killed at random: no part of a stored job is lost or counted twice" {
    start_daemon --data-dir "$DATA" --workers 2 --retry-delay 5ms --max-retry-delay 20ms
    stop_file=$BATS_TEST_TMPDIR/stop
    kill_workers_until "$stop_file" 3>&- &
    killer=$!
    ids=()
    for _ in $(seq $((10 * ROUNDS))); do
        ids+=("$(submit '{"type":"sum","params":{"start":0,"stop":20000000,"power":2},"options":{"chunks":8,"max_attempts":100}}')")
    done
    for id in "${ids[@]}"; do
        [ "$(ended "$id")" = succeeded ]
        [ "$(job_field "$id" .result.sum)" = 2666666466666670000000 ]
    done
    touch "$stop_file"
    wait "$killer"
    kill_daemon
    start_daemon --data-dir "$DATA"
    for id in "${ids[@]}"; do
        [ "$(job_field "$id" .result.sum)" = 2666666466666670000000 ]
    done
}

@test "a full disk: asynchronous jobs get 503, synchronous ones go on, nothing is lost, and it recovers by itself" {
    start_daemon --data-dir "$DATA" --workers 2
    [ "$(ended "$(submit '{"type":"echo","params":{"value":1}}')")" = succeeded ]
    before=$(submit '{"type":"burn","params":{"cpu_ms":1000}}')
    waiting=$(submit '{"type":"echo","params":{"value":2},"options":{"delay_ms":60000}}')
    limit_files 16384 # the log cannot grow beyond this, too
    refused() {
        call_job -H 'Prefer: respond-async' '{"type":"echo","params":{"value":3}}'
        [ "$CODE" = 503 ]
    }
    wait_for refused
    expect_problem 503 store_unavailable
    [ -n "$(header Retry-After)" ]
    wait_for store_fails
    [ "$(status "$URL/readyz")" = 503 ]
    [ "$(status "$URL/livez")" = 200 ]
    call_job '{"type":"primes","params":{"start":100000,"stop":200000}}'
    holds '.result.count == 8392'
    [ "$(ended "$before")" = succeeded ] # its end is held in memory
    [ "$(job_field "$waiting" .status)" = queued ]
    limit_files unlimited
    wait_for store_works
    after=$(submit '{"type":"echo","params":{"value":4}}')
    [ "$(ended "$after")" = succeeded ]
    grep -q '"event":"store_unavailable"' "$LOG"
    grep -q '"event":"store_recovered"' "$LOG"
    kill_daemon
    start_daemon --data-dir "$DATA"
    [ "$(job_field "$before" .status)" = succeeded ]
    [ "$(job_field "$before" .attempts)" = 1 ]
    [ "$(job_field "$waiting" .status)" = queued ]
    [ "$(job_field "$after" .result.value)" = 4 ]
    [ "$(curl -sS "$URL/v1/jobs" | jq '.jobs | length')" = 4 ] # none of those that got 503
}

# Uploads data with a 202: call_upload FILE
call_upload() {
    call -H 'Prefer: respond-async' -H 'Content-Type: application/octet-stream' --data-binary "@$1" \
        '/v1/jobs?type=bytes&op=copy'
}

stored_files() {
    ls "$DATA/files"
}

@test "a disk that cannot take an upload: 503, nothing is accepted and no file is left; then it goes on" {
    start_daemon --data-dir "$DATA" --workers 2
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/upload"
    limit_files 2000000
    call_upload "$BATS_TEST_TMPDIR/upload"
    expect_problem 503 store_unavailable
    [ -n "$(header Retry-After)" ]
    [ -z "$(stored_files)" ]
    [ "$(curl -sS "$URL/v1/jobs" | jq '.jobs | length')" = 0 ]
    limit_files unlimited
    call_upload "$BATS_TEST_TMPDIR/upload"
    [ "$CODE" = 202 ]
    id=$(field .id)
    [ "$(ended "$id")" = succeeded ]
    curl -sS "$URL/v1/jobs/$id/result" | cmp - "$BATS_TEST_TMPDIR/upload"
    [ "$(stored_files | wc -l)" = 1 ] # the result
}

@test "kill -9 in the middle of an upload: nothing is left of it, and what was acknowledged is there" {
    start_daemon --data-dir "$DATA" --workers 1
    head -c 300000 /dev/urandom >"$BATS_TEST_TMPDIR/upload"
    call_job -H 'Prefer: respond-async' '{"type":"sleep","params":{"ms":60000}}'
    blocking=$(field .id)
    wait_for is_running "$blocking"
    # It waits for the only main worker.
    call -H 'Prefer: respond-async' -F 'job={"type":"bytes","params":{"op":"copy"},"options":{"isolation":"fresh"}}' \
        -F "data=@$BATS_TEST_TMPDIR/upload" /v1/jobs
    [ "$CODE" = 202 ]
    id=$(field .id)
    [[ $(stored_files) == *-attachment-* ]]
    exec 7<>"/dev/tcp/127.0.0.1/$PORT"
    printf '%s\r\n' 'POST /v1/jobs?type=bytes HTTP/1.1' 'Host: localhost' 'Prefer: respond-async' 'Content-Type: image/png' \
        'Content-Length: 900000' '' >&7
    cat "$BATS_TEST_TMPDIR/upload" >&7
    is_spooled() { find "/proc/$DAEMON/fd" -lname "$DATA/files/#*" | grep -q .; }
    wait_for is_spooled
    [ "$(stored_files | wc -l)" = 1 ] # it has no name before it is acknowledged
    kill_daemon
    exec 7>&-
    start_daemon --data-dir "$DATA" --workers 2
    [ "$(curl -sS "$URL/v1/jobs" | jq '.jobs | length')" = 2 ]
    [ "$(ended "$id")" = succeeded ]
    curl -sS "$URL/v1/jobs/$id/result" | cmp - "$BATS_TEST_TMPDIR/upload"
    [ "$(stored_files | wc -l)" = 1 ]
    [[ $(stored_files) == *-result-* ]]
    curl -sS -X DELETE "$URL/v1/jobs/$blocking" >/dev/null
}

# faked OPTIONS: starts the daemon under libfaketime, which reads its clock from the file `time`. A sanitizer complains
# if it is not loaded first, so it is asked not to look.
faked() {
    local library
    library=$(dpkg -L libfaketime | grep '/libfaketime\.so\.1$')
    echo "+0" >"$BATS_TEST_TMPDIR/time"
    export LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE=$BATS_TEST_TMPDIR/time FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
    export ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0
    start_daemon "$@"
    unset LD_PRELOAD
}

@test "the clock is stepped both ways: no timeout comes early, none hangs" {
    for step in +86400 -86400; do
        faked --data-dir "$DATA$step" --workers 2 --result-ttl 5s
        ended=$(submit '{"type":"echo","params":{"value":1},"options":{"ttl_s":3600}}')
        [ "$(ended "$ended")" = succeeded ]
        brief=$(submit '{"type":"echo","params":{"value":1}}')
        [ "$(ended "$brief")" = succeeded ]
        timed=$(submit '{"type":"crash","params":{"how":"hang"},"options":{"timeout_ms":4000,"ttl_s":3600}}')
        wait_for is_running "$timed"
        delayed=$(submit '{"type":"echo","params":{"value":2},"options":{"delay_ms":3000,"ttl_s":3600}}')
        long=$(submit '{"type":"sleep","params":{"ms":800},"options":{"timeout_ms":30000,"ttl_s":3600}}')
        echo "$step" >"$BATS_TEST_TMPDIR/time"
        [ "$(ended "$long")" = succeeded ]
        [ "$(job_field "$long" .attempts)" = 1 ]
        gone() { [[ "$(status "$URL/v1/jobs/$1")" = 4?? ]]; } # 410 for 5 s more; then it is a 404
        wait_for gone "$brief"
        [ "$(ended "$timed")" = failed ]
        [ "$(job_field "$timed" .error.code)" = job_timeout ]
        [ "$(ended "$delayed")" = succeeded ]
        # Neither came early. The service measures these by the monotonic clock, which is not stepped.
        [ "$(job_field "$timed" '.timings.run_ms >= 4000')" = true ]
        [ "$(job_field "$delayed" '.timings.queued_ms >= 3000')" = true ]
        call_job -H 'Prefer: wait=1' '{"type":"sleep","params":{"ms":60000}}'
        [ "$CODE" = 202 ]
        [ "$(status "$URL/v1/jobs/$ended")" = 200 ]
        grep -q '"event":"clock_stepped"' "$LOG"
        stop_daemon
    done
}

@test "a worker that was stopped, and goes on when its job has run elsewhere, changes nothing" {
    start_daemon --data-dir "$DATA" --workers 2
    id=$(submit '{"type":"burn","params":{"cpu_ms":600,"chunks":6},"options":{"timeout_ms":60000}}')
    wait_for is_running "$id"
    pid=$(busy_worker_pid burn)
    kill -STOP "$pid"
    kill_daemon # the stopped worker dies with it, or goes on and finds its socket closed
    start_daemon --data-dir "$DATA" --workers 2
    kill -CONT "$pid" 2>/dev/null || true
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" .result.chunks)" = 6 ]
    wait_for none_alive "$pid"
}
