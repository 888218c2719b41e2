#!/usr/bin/env bats
# handlers.bats: handlers that crash, hang or eat memory: their job fails, and only theirs; nothing leaks.

bats_require_minimum_version 1.5.0
load ../http/helpers
load chaos

teardown() {
    stop_daemon
    check_log
}

@test "a job that always crashes fails after max_attempts, and no other job fails" {
    start_daemon --workers 2 --retry-delay 1ms
    for how in SIGSEGV SIGKILL abort exit; do
        post '{"type":"crash","params":{"how":"'$how'"},"options":{"max_attempts":3}}' \
            >"$BATS_TEST_TMPDIR/crash-$how" 3>&- &
    done
    run_clients 2 $((30 * ROUNDS))
    wait_for all_ended
    expect_all_right $((60 * ROUNDS))
    for how in SIGSEGV SIGKILL abort exit; do
        jq -e '.code == "worker_crashed" and .status == 500' "$BATS_TEST_TMPDIR/crash-$how"
        id=$(jq -r .job "$BATS_TEST_TMPDIR/crash-$how")
        [ "$(job_field "$id" '.lost | length')" = 3 ]
        [ "$(job_field "$id" '.attempts')" = 4 ]
        [ "$(job_field "$id" '[.lost[].stderr_tail | contains("about to fail")] | all')" = true ]
    done
    [ "$(lost_of SIGSEGV 0 .signal)" = SIGSEGV ]
    [ "$(lost_of SIGKILL 1 .signal)" = SIGKILL ]
    [ "$(lost_of abort 2 .signal)" = SIGABRT ]
    [ "$(lost_of exit 0 .exit_code)" = 3 ]
    expect_no_zombies
}

@test "a job that crashes at first succeeds in a later attempt" {
    start_daemon --workers 2 --retry-delay 1ms
    for how in SIGSEGV SIGKILL abort exit; do
        call_job '{"type":"crash","params":{"how":"'$how'","times":2}}'
        holds '.status == "succeeded" and .result.survived_attempts == 2 and .attempts == 3 and (.lost | length) == 2'
    done
}

@test "a handler that hangs is killed at its timeout, and others go on" {
    start_daemon --workers 2 --retry-delay 1ms
    for i in 1 2; do
        post '{"type":"crash","params":{"how":"hang"},"options":{"timeout_ms":1000}}' \
            >"$BATS_TEST_TMPDIR/hang-$i" 3>&- &
    done
    wait_for busy_worker_pid crash
    run_clients 2 10
    wait_for all_ended
    expect_all_right 20
    for i in 1 2; do
        jq -e '.code == "job_timeout" and .status == 504' "$BATS_TEST_TMPDIR/hang-$i"
        [ "$(job_field "$(jq -r .job "$BATS_TEST_TMPDIR/hang-$i")" '.lost[0].cause')" = timeout ]
    done
    expect_no_zombies
}

@test "a memory hog is stopped by --max-job-memory, and others go on" {
    start_daemon --workers 2 --max-job-memory "$(hog_limit)"
    post '{"type":"crash","params":{"how":"memory"}}' >"$BATS_TEST_TMPDIR/hog" 3>&- &
    hog=$!
    run_clients 2 $((20 * ROUNDS))
    wait "$hog"
    expect_all_right $((40 * ROUNDS))
    jq -e '.code == "memory_limit" and .status == 507' "$BATS_TEST_TMPDIR/hog"
    id=$(jq -r .job "$BATS_TEST_TMPDIR/hog")
    [ "$(job_field "$id" '.lost[0].cause')" = memory ]
    [ "$(grep -c '"event":"worker_lost"' "$LOG")" = 1 ]
    expect_no_zombies
}

@test "descriptors do not leak through crashes, disconnects and large results" {
    start_daemon --workers 2 --keep-sync 0
    mixed_jobs 30
    wait_for quiet
    zygote=$(zygote_pid)
    front_before=$(descriptors "$DAEMON") zygote_before=$(descriptors "$zygote")
    mixed_jobs $((300 * ROUNDS))
    wait_for quiet
    wait_for same_descriptors "$DAEMON" "$front_before"
    wait_for same_descriptors "$zygote" "$zygote_before"
    [ "$(metric 'offload_held_bytes{what="payloads"}')" = 0 ]
    expect_no_zombies
}
