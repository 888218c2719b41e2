#!/usr/bin/env bats
# pool.bats: processes that are killed, stopped or recycled while jobs run: every job ends, with the right result, and
# nothing is left behind. ROUNDS=10 makes each test ten times as long.

bats_require_minimum_version 1.5.0
load ../http/helpers
load chaos

teardown() {
    stop_daemon
    check_log
}

@test "kill -9 of random workers: every job ends with the right result" {
    start_daemon --workers 2 --retry-delay 1ms
    stop_file=$BATS_TEST_TMPDIR/stop
    kill_workers_until "$stop_file" 3>&- &
    killer=$!
    run_clients 4 $((50 * ROUNDS))
    touch "$stop_file"
    wait "$killer"
    expect_all_right $((200 * ROUNDS))
    grep -q '"event":"worker_lost".*"signal":"SIGKILL"' "$LOG"
    expect_no_zombies
}

@test "kill -9 of the zygote: jobs go on" {
    start_daemon --workers 2 --retry-delay 1ms
    for _ in $(seq "$ROUNDS"); do
        old=$(zygote_pid)
        id=$(submit '{"type":"burn","params":{"cpu_ms":600},"options":{"chunks":30,"max_attempts":10}}')
        wait_for is_running "$id"
        kill -KILL "$old"
        [ "$(ended "$id")" = succeeded ]
        [ "$(job_field "$id" .result.chunks)" = 30 ]
        call_job '{"type":"primes","params":{"start":100000,"stop":200000}}'
        holds '.result.count == 8392'
        [ "$(zygote_pid)" != "$old" ]
    done
    wait_for all_workers_idle 3
    expect_no_zombies
}

@test "kill -9 of a zygote whose workers are idle or starting: the next job is served" {
    start_daemon --workers 2 --retry-delay 1ms
    for _ in $(seq $((5 * ROUNDS))); do
        kill -KILL "$(zygote_pid)"
        call_job '{"type":"echo","params":{"value":1}}'
        [ "$CODE" = 200 ]
    done
    wait_for all_workers_idle 3
    expect_no_zombies
}

# Only the old zygote was asked for the process that the slot waits for, and that process never comes.
@test "the zygote dies that was asked for a worker, after a reload: the new zygote starts the worker" {
    start_daemon --workers 1
    old=$(zygote_pid)
    killed_often() { # it dies at once again and again: the next one comes after a delay
        kill -KILL "$(worker_pid main)" 2>/dev/null
        grep -q '"event":"worker_backoff".*"deaths":8' "$LOG"
    }
    wait_for killed_often
    kill -STOP "$old"
    sleep 1.5 # now it has been asked
    kill -HUP "$DAEMON"
    wait_for grep -q '"event":"handlers_loaded"' "$LOG"
    kill -KILL "$old"
    wait_for all_workers_idle 2
    [ "$(zygote_pid)" != "$old" ]
}

@test "kill -9 of the front end leaves no process" {
    for _ in $(seq "$ROUNDS"); do
        start_daemon --workers 2
        submit '{"type":"crash","params":{"how":"hang"}}'
        submit '{"type":"sleep","params":{"ms":60000}}'
        submit '{"type":"burn","params":{"cpu_ms":60000,"chunks":100}}'
        mapfile -t pids < <(children_of "$DAEMON")
        [ "${#pids[@]}" -eq 4 ]
        kill -KILL "$DAEMON"
        wait_daemon
        wait_for none_alive "${pids[@]}"
    done
}

@test "a stopped worker keeps its job and goes on after SIGCONT; other jobs go on meanwhile" {
    start_daemon --workers 2
    id=$(submit '{"type":"burn","params":{"cpu_ms":300}}')
    wait_for is_running "$id"
    pid=$(busy_worker_pid burn)
    kill -STOP "$pid"
    for _ in 1 2 3 4 5; do
        call_job '{"type":"primes","params":{"start":100000,"stop":200000}}'
        holds '.result.count == 8392'
    done
    call_job '{"type":"burn","params":{"cpu_ms":50}}'
    [ "$CODE" = 200 ]
    is_running "$id"
    kill -CONT "$pid"
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" .attempts)" = 1 ]
}

@test "a job on a stopped worker can be cancelled" {
    start_daemon --workers 2
    id=$(submit '{"type":"burn","params":{"cpu_ms":60000}}')
    wait_for is_running "$id"
    pid=$(busy_worker_pid burn)
    kill -STOP "$pid"
    call -X POST "/v1/jobs/$id/cancel"
    holds '.status == "cancelled"'
    wait_for none_alive "$pid"
}

# The parts are more than the socket of a stopped worker holds, and probes must not come between them. The first job
# keeps the main worker busy, so that the merge goes to the express worker.
@test "/readyz does not disturb a merge whose parts cannot be sent at once" {
    start_daemon --workers 1 --express-cost 0s
    express=$(worker_pid express)
    submit '{"type":"burn","params":{"cpu_ms":1500,"chunks":1500}}'
    id=$(submit '{"type":"primes","params":{"start":0,"stop":40000000,"op":"list"},"options":{"chunks":400,"max_attempts":1}}')
    kill -STOP "$express" # planned, and its chunks alternate with those of the other
    wait_for merging "$id"
    status "$URL/readyz" >/dev/null
    kill -CONT "$express"
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" .attempts)" = 1 ]
}

@test "SIGTERM to the whole process group: the running job finishes, and then the service" {
    in_group start_daemon --workers 2 --drain-timeout 30s
    result=$BATS_TEST_TMPDIR/result
    post '{"type":"burn","params":{"cpu_ms":500},"options":{"chunks":8}}' >"$result" 3>&- &
    client=$!
    wait_for busy_worker_pid burn
    mapfile -t pids < <(children_of "$DAEMON")
    kill -TERM -- "-$DAEMON"
    wait "$client"
    wait_daemon
    [ "$DAEMON_STATUS" -eq 0 ]
    [ "$(jq -r .status "$result")" = succeeded ]
    [ "$(jq -r .result.chunks "$result")" = 8 ]
    run ! grep '"event":"worker_lost"' "$LOG"
    wait_for none_alive "${pids[@]}"
}

@test "a second SIGTERM stops at once: clients that wait get an answer, and no process is left" {
    start_daemon --workers 2 --drain-timeout 60s
    answer=$BATS_TEST_TMPDIR/answer
    post '{"type":"crash","params":{"how":"hang"}}' >"$answer" 3>&- &
    client=$!
    wait_for busy_worker_pid crash
    mapfile -t pids < <(children_of "$DAEMON")
    kill -TERM "$DAEMON"
    wait_for draining
    kill -TERM "$DAEMON"
    wait "$client"
    wait_daemon
    [ "$DAEMON_STATUS" -eq $((128 + 15)) ]
    [ "$(jq -r .code "$answer")" = draining ]
    wait_for none_alive "${pids[@]}"
}

@test "workers are recycled after 1, 2 and 3 tasks, with a backlog" {
    for limit in 1 2 3; do
        start_daemon --workers 2 --max-jobs-per-worker "$limit" --max-sync 1000000
        jobs=$((2000 * ROUNDS / (limit == 1 ? 1 : 4)))
        run_backlog "$jobs"
        expect_all_right "$jobs"
        recycled=$(metric 'offload_worker_restarts_total{cause="recycled"}')
        [ "$recycled" -ge $((jobs / limit - 3)) ]
        run ! grep '"event":"worker_lost"' "$LOG"
        [ "$(curl -sS "$URL/v1/workers" | jq "[.workers[].jobs] | max <= $limit")" = true ]
        expect_no_zombies
        stop_daemon
    done
}
