#!/usr/bin/env bats
# joblog.bats: what a job's own processes print, how their deaths are told though no worker dies, and exceptions.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    start_daemon
}

# A report with these params, and more members of the submission.
report() { # PARAMS [MEMBERS]
    printf '{"type":"report","params":%s%s}' "$1" "${2:+,$2}"
}

# ---- attempts ----------------------------------------------------------------------------------------------------------

@test "an attempt that is lost is tried again, and no worker is restarted" {
    call_job "$(report '{"lost":"exit","times":2}')"
    [ "$CODE" = 200 ]
    holds '.result.survived_attempts == 2 and .attempts == 3'
    holds '[.lost[] | [.chunk, .cause, .exit_code, .max_rss_bytes, .cpu_ms, .stderr_tail]] ==
        [[0, "exit", 3, 1048576, 12, "last words of attempt 0\n"], [0, "exit", 3, 1048576, 12, "last words of attempt 1\n"]]'
    call /metrics
    grep -q '^offload_chunk_retries_total{cause="exit"} 2$' "$BODY"
    ! grep -q '^offload_worker_restarts_total{' "$BODY"
    ! grep -q '"event":"worker_' "$LOG"
}

@test "every cause is told: signal, exit, oom, timeout, protocol" {
    for cause in signal exit oom timeout protocol; do
        call_job "$(report '{"lost":"'$cause'","times":1}')"
        [ "$CODE" = 200 ]
        holds '.lost[0].cause == $c' --arg c $cause
    done
    holds '.lost[0] | has("signal") or has("exit_code") | not' # protocol: it has neither
    ! grep -q '"event":"worker_' "$LOG"
}

@test "too much memory fails the job without another attempt" {
    call_job "$(report '{"lost":"memory"}')"
    expect_problem 507 memory_limit
    call "$(field .instance)"
    holds '.attempts == 2 and (.lost | length) == 1 and .lost[0].cause == "memory"'
}

@test "max_attempts holds for lost attempts, and the detail says how the last one ended" {
    call_job "$(report '{"lost":"signal"}' '"options":{"max_attempts":2}')"
    expect_problem 500 worker_crashed
    [ "$(field .detail)" = "the process that ran it was killed by SIGKILL (cause: signal), attempt 2 of 2" ]
    id=$(submit "$(report '{"lost":"exit"}' '"options":{"max_attempts":3}')")
    [ "$(ended "$id")" = failed ]
    [ "$(job_field "$id" '.lost | length')" = 3 ]
}

@test "an item of a map that loses each attempt fails alone" {
    call_job '{"type":"report","items":[{},{"lost":"exit"},{},{"lost":"memory"},{}],"options":{"max_attempts":2,"chunks":1}}'
    [ "$CODE" = 200 ]
    holds '[.result.items[] | .error.code // "ok"] == ["ok","worker_crashed","ok","memory_limit","ok"]'
    holds '[.lost[].cause] == ["exit","exit","memory"]'
    ! grep -q '"event":"worker_' "$LOG"
}

@test "a job of another type that shares the worker notices nothing" {
    ids=()
    for i in 1 2 3 4 5 6 7 8; do
        ids+=("$(submit "$(report '{"lost":"exit","times":1,"cost_us":0}')")" "$(submit '{"type":"echo","params":{"value":'$i'}}')")
    done
    for ((i = 0; i < 16; i += 2)); do
        [ "$(ended "${ids[i]}")" = succeeded ]
        [ "$(job_field "${ids[i]}" .attempts)" = 2 ]
        [ "$(ended "${ids[i + 1]}")" = succeeded ]
        [ "$(job_field "${ids[i + 1]}" .attempts)" = 1 ]
    done
}

@test "the deadline is the start and options.timeout_ms" {
    call_job "$(report '{}' '"options":{"timeout_ms":3600000}')"
    [ "$CODE" = 200 ]
    started=$(date -d "$(field .started_at)" +%s%3N)
    deadline=$(field .result.deadline_ms)
    ((deadline >= started + 3600000 - 10000 && deadline <= started + 3600000 + 10000))
}

# ---- exceptions --------------------------------------------------------------------------------------------------------

raise='{"exception":"ValueError","detail":"bad value: \"x\"","traceback":"Traceback:\n  File \"t.py\", line 3\n"}'

@test "an exception: its class and message in the answer, the traceback in the Job and the webhook's data" {
    call_job "$(report "$raise")"
    expect_problem 500 handler_failed
    holds '.exception == "ValueError" and .detail == "bad value: \"x\"" and (has("traceback") | not)'
    call "$(field .instance)"
    holds '.error.exception == "ValueError" and .error.traceback == "Traceback:\n  File \"t.py\", line 3\n"'
    id=$(submit "$(report "$raise")")
    [ "$(ended "$id")" = failed ]
    [ "$(job_field "$id" .error.exception)" = ValueError ]
    call "/v1/jobs/$id/result"
    expect_problem 500 handler_failed
    holds '.exception == "ValueError" and (has("traceback") | not)'
}

@test "the log says which exception a job has failed with" {
    call_job "$(report "$raise")"
    wait_for grep -q '"event":"job_ended"' "$LOG"
    grep '"event":"job_ended"' "$LOG" | jq -e '.exception == "ValueError" and .detail == "bad value: \"x\""'
}

@test "items of a map have the exception, too" {
    call_job '{"type":"report","items":[{},'"$raise"']}'
    holds '.result.items[1].error | .exception == "ValueError" and .traceback != null and .code == "handler_failed"'
}

@test "exceptions survive a restart" {
    id=$(submit "$(report "$raise")")
    [ "$(ended "$id")" = failed ]
    data=${LOG%.log}.data
    kill_daemon
    start_daemon --data-dir "$data"
    [ "$(job_field "$id" '.error.exception + .error.traceback')" = $'ValueErrorTraceback:\n  File "t.py", line 3' ]
}
