#!/usr/bin/env bats
# job.bats: the Job: its members through its life, how it fails, and what it says of workers that were lost.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":600000}}'
TIME='^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$'

idle() {
    curl -sS "$URL/v1/workers" | jq -e '.workers | all(.state == "idle")' >/dev/null
}

# Submits `crash` with more params and options, waits, and fetches the job.
crash() { # PARAMS [OPTIONS]
    ID=$(submit '{"type":"crash","params":{'"$1"'},"options":{'"${2:-}"'}}')
    ended "$ID"
    call "/v1/jobs/$ID"
}

@test "a job that succeeded has all its members, and none is null" {
    start_daemon
    call_job '{"type":"primes","params":{"start":0,"stop":1000}}'
    holds '.id | test("^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")'
    # shellcheck disable=SC2016
    holds '[.created_at, .started_at, .finished_at, .expires_at] | all(test($time))' --arg time "$TIME"
    holds '.created_at <= .started_at and .started_at <= .finished_at and .finished_at < .expires_at'
    holds '.progress.done == 1 and .progress.total == 1 and .attempts == 1 and .priority == 3'
    holds '.timings | (.queued_ms >= 0) and (.run_ms >= 0) and (.cpu_ms >= 0)'
    holds '.links == {"self": ("/v1/jobs/" + .id), "result": ("/v1/jobs/" + .id + "/result"), "events": ("/v1/jobs/" + .id + "/events")}'
    holds '(has("lost") or has("error") or has("waiting_for") or has("estimated_start")) | not'
    holds '[.. | nulls] == []'
}

@test "the id holds the time of creation, and ids are in the order of submission" {
    start_daemon
    call_job '{"type":"echo","params":{"value":1}}'
    first=$(field .id)
    call_job '{"type":"echo","params":{"value":1}}'
    [[ $first < $(field .id) ]]
    ms=$((16#$(field '.id[0:8] + .id[9:13]')))
    holds '(.created_at[0:19] + "Z" | fromdate) == $s' --argjson s $((ms / 1000))
}

@test "a job that waits says for what, and when it can start" {
    start_daemon --workers 1
    call_job '{"type":"sleep","params":{"ms":30}}'
    first=$(submit "$LONG")
    wait_for is_running "$first"
    id=$(submit '{"type":"sleep","params":{"ms":20}}')
    call "/v1/jobs/$id"
    holds '.status == "queued" and .waiting_for == "worker"'
    # shellcheck disable=SC2016
    holds '.estimated_start | test($time)' --arg time "$TIME"
    holds '.estimated_start >= .created_at'
    holds '(has("started_at") or has("finished_at") or has("expires_at") or has("result") or has("error")) | not'
    call -X POST "/v1/jobs/$first/cancel"
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '(has("waiting_for") or has("estimated_start")) | not'
    holds '.timings.queued_ms > 20 and .timings.run_ms >= 20'
}

@test "a job that runs shows its progress" {
    start_daemon --workers 1
    id=$(submit '{"type":"burn","params":{"cpu_ms":700,"chunks":7}}')
    halfway() { [ "$(job_field "$id" '.status == "running" and .progress.done >= 1 and .progress.done < 7')" = true ]; }
    wait_for halfway
    call "/v1/jobs/$id"
    holds '.progress.total == 7 and .progress.fraction > 0 and .progress.fraction <= 1 and has("started_at")'
    holds '(has("finished_at") or has("expires_at") or has("result") or has("waiting_for")) | not'
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '.progress.done == 7 and .progress.total == 7'
}

@test "a chunk reports how far it is" {
    start_daemon
    id=$(submit '{"type":"sleep","params":{"ms":600000}}')
    moves() { [ "$(job_field "$id" '.progress.done == 0 and .progress.total == 1 and .status == "running"')" = true ]; }
    wait_for moves
    id=$(submit '{"type":"sleep","params":{"ms":1500}}')
    partly() { [ "$(job_field "$id" '.progress.fraction > 0 and .progress.fraction < 1')" = true ]; }
    wait_for partly
}

@test "progress does not fall when a worker dies, by GET, in the list and in events" {
    start_daemon --workers 1 --retry-delay 400ms --max-retry-delay 400ms
    id=$(submit '{"type":"sleep","params":{"ms":3000}}')
    fraction() { curl -sS "$URL/v1/jobs/$id" | jq .progress.fraction; }
    partly() { jq -ne "$(fraction) > 0.1" >/dev/null; }
    wait_for partly
    before=$(fraction)
    kill -KILL "$(curl -sS "$URL/v1/workers" | jq 'first(.workers[] | select(.state == "busy")) | .pid')"
    lost() { [ "$(job_field "$id" .attempts)" = 2 ]; }
    wait_for lost
    call "/v1/jobs/$id"
    holds '.status == "running" and .progress.fraction >= $before' --argjson before "$before"
    call /v1/jobs
    holds '.jobs[0].progress.fraction >= $before' --argjson before "$before"
    curl -sS -N --max-time 1 -H 'Last-Event-ID: x' "$URL/v1/jobs/$id/events" |
        sed -n '/^event: snapshot/{n;s/^data: //p}' >"$BATS_TEST_TMPDIR/snapshot" || true
    jq -e --argjson before "$before" '.progress.fraction >= $before' "$BATS_TEST_TMPDIR/snapshot"
}

@test "timings and Server-Timing say where the time went" {
    start_daemon
    call_job '{"type":"burn","params":{"cpu_ms":100,"chunks":2}}'
    holds '.timings.cpu_ms >= 100 and .timings.run_ms >= 30'
    for part in queue plan run merge; do
        [[ $(header Server-Timing) =~ (^|, )$part\;dur=[0-9]+(\.[0-9]+)?(,|$) ]]
    done
    call_job '{"type":"sleep","params":{"ms":150}}'
    holds '.timings.run_ms >= 150 and .timings.cpu_ms < .timings.run_ms'
    call "$(field .links.self)"
    [ -n "$(header Server-Timing)" ]
}

# ---- failures --------------------------------------------------------------------------------------------------------

@test "a synchronous job that fails is answered with its problem and its id; the Job has the same as its error" {
    start_daemon
    call_job '{"type":"crash","params":{"how":"exit"},"options":{"max_attempts":1}}'
    expect_problem 500 worker_crashed
    cp "$BODY" "$BATS_TEST_TMPDIR/problem"
    call "/v1/jobs/$(field .job)"
    [ "$CODE" = 200 ]
    # shellcheck disable=SC2016
    holds '.status == "failed" and .error == $problem[0] and (has("result") | not)' \
        --slurpfile problem "$BATS_TEST_TMPDIR/problem"
}

@test "longer than timeout_ms: 504 job_timeout, with one lost entry" {
    start_daemon --cancel-grace 100ms
    for type in '"sleep","params":{"ms":60000}' '"burn","params":{"cpu_ms":60000}'; do
        call_job '{"type":'"$type"',"options":{"timeout_ms":200}}'
        expect_problem 504 job_timeout
        call "/v1/jobs/$(field .job)"
        holds '.status == "failed" and .error.code == "job_timeout" and (.lost | length == 1) and .lost[0].cause == "timeout"'
        holds '.timings.run_ms >= 200'
    done
    wait_for idle
}

@test "--job-timeout is the default for timeout_ms" {
    start_daemon --job-timeout 200ms
    call_job "$LONG"
    expect_problem 504 job_timeout
    call_job '{"type":"sleep","params":{"ms":400},"options":{"timeout_ms":30000}}'
    [ "$CODE" = 200 ]
}

@test "the time in the queue does not count for timeout_ms" {
    start_daemon --workers 1
    first=$(submit '{"type":"sleep","params":{"ms":700}}')
    wait_for is_running "$first"
    call_job '{"type":"sleep","params":{"ms":100},"options":{"timeout_ms":500}}'
    [ "$CODE" = 200 ]
}

@test "not started within queue_timeout_ms: 503 queue_timeout with Retry-After" {
    start_daemon --workers 1
    wait_for is_running "$(submit "$LONG")"
    call_job '{"type":"sleep","params":{"ms":100},"options":{"queue_timeout_ms":200}}'
    expect_problem 503 queue_timeout
    [[ $(header Retry-After) =~ ^[1-9][0-9]*$ ]]
    call "/v1/jobs/$(field .job)"
    holds '.status == "failed" and .error.code == "queue_timeout" and (has("started_at") or has("lost") | not)'
    holds '.timings.queued_ms >= 200'
}

@test "a job that cannot start within queue_timeout_ms is refused at once, with when it could: 503, nothing accepted" {
    start_daemon --workers 1
    for _ in 1 2 3; do # what this type takes is measured
        call_job '{"type":"sleep","params":{"ms":20}}'
        [ "$CODE" = 200 ]
    done
    wait_for is_running "$(submit '{"type":"sleep","params":{"ms":60000}}')"
    for header in 'Prefer: respond-async' 'Prefer: wait=60' 'Accept: application/x-ndjson'; do
        call_job -H "$header" '{"type":"sleep","params":{"ms":100},"options":{"queue_timeout_ms":20000}}'
        expect_problem 503 queue_timeout
        [[ $(header Retry-After) =~ ^[1-4][0-9]$ ]]
        [ "$(field .job)" = null ]
    done
    [ "$(curl -sS "$URL/v1/jobs" | jq '[.jobs[] | select(.status != "succeeded")] | length')" = 1 ]
    curl -sS "$URL/metrics" | grep -q '^offload_rejected_total{reason="queue_timeout"} 3$'
    [ "$(submit '{"type":"sleep","params":{"ms":100},"options":{"queue_timeout_ms":90000}}')" != null ]
    call_job -H 'Prefer: wait=1' '{"type":"echo","params":{"value":1},"options":{"queue_timeout_ms":1}}' # an express worker
    [ "$CODE" = 200 ]
}

@test "a job that starts in time is not touched by queue_timeout_ms" {
    start_daemon --workers 1
    call_job '{"type":"sleep","params":{"ms":500},"options":{"queue_timeout_ms":200}}'
    [ "$CODE" = 200 ]
}

@test "more memory than --max-job-memory: 507 memory_limit, with its lost entry; the worker is replaced" {
    start_daemon --workers 1 --max-job-memory 200MiB
    call_job '{"type":"crash","params":{"how":"memory"}}'
    expect_problem 507 memory_limit
    call "/v1/jobs/$(field .job)"
    holds '.status == "failed" and .error.code == "memory_limit" and .attempts == 2 and (.lost | length == 1)'
    holds '.lost[0].cause == "memory" and .lost[0].max_rss_bytes >= 200 * 1024 * 1024'
    call_job '{"type":"sleep","params":{"ms":30}}'
    [ "$CODE" = 200 ]
}

# ---- lost workers ----------------------------------------------------------------------------------------------------

@test "a worker that dies of a signal: lost says how (SIGSEGV, SIGKILL, abort)" {
    start_daemon
    for pair in SIGSEGV:SIGSEGV SIGKILL:SIGKILL abort:SIGABRT; do
        crash '"how":"'"${pair%:*}"'"' '"max_attempts":1'
        holds '.status == "failed" and .error.code == "worker_crashed" and .attempts == 2 and (.lost | length == 1)'
        holds '.lost[0] | .cause == "signal" and .signal == $signal and .chunk == 0 and (has("exit_code") | not)' \
            --arg signal "${pair#*:}"
        holds '.lost[0] | .max_rss_bytes > 100000 and .cpu_ms >= 0'
        holds '.lost[0].stderr_tail | contains("about to fail: " + $how)' --arg how "${pair%:*}"
        holds '.error.detail | contains($signal)' --arg signal "${pair#*:}"
    done
}

@test "a worker that exits: lost has the exit code" {
    start_daemon
    crash '"how":"exit"' '"max_attempts":1'
    holds '.lost[0] | .cause == "exit" and .exit_code == 3 and (has("signal") | not) and .chunk == 0'
    holds '.lost[0] | .max_rss_bytes > 100000 and .cpu_ms >= 0 and (.stderr_tail | contains("about to fail: exit"))'
}

@test "a worker that hangs is killed when its time is over: 504, and lost says so" {
    start_daemon --cancel-grace 100ms
    crash '"how":"hang"' '"timeout_ms":300'
    holds '.status == "failed" and .error.code == "job_timeout" and (.lost | length == 1)'
    holds '.lost[0] | .cause == "timeout" and .signal == "SIGKILL" and .cpu_ms > 0 and .chunk == 0'
    wait_for idle
}

@test "a job is tried max_attempts times, 3 by default, and lost has each loss" {
    start_daemon
    crash '"how":"SIGKILL"'
    holds '.status == "failed" and .attempts == 4 and (.lost | length == 3) and (.lost | all(.signal == "SIGKILL"))'
    crash '"how":"exit"' '"max_attempts":5'
    holds '.status == "failed" and .attempts == 6 and (.lost | length == 5) and (.lost | all(.exit_code == 3))'
}

@test "a job that crashes only in its first attempts succeeds, with attempts and lost" {
    start_daemon
    for how in SIGSEGV SIGKILL abort exit; do
        call_job '{"type":"crash","params":{"how":"'$how'","times":2}}'
        [ "$CODE" = 200 ]
        holds '.status == "succeeded" and .attempts == 3 and (.lost | length == 2) and .result.survived_attempts == 2'
    done
}

@test "a worker killed from outside: only its chunk runs again" {
    start_daemon --workers 2
    id=$(submit '{"type":"burn","params":{"cpu_ms":1000,"chunks":10}}')
    wait_for is_running "$id"
    pid=$(curl -sS "$URL/v1/workers" | jq -r '[.workers[] | select(.lane == "main" and .state == "busy")][0].pid')
    kill -KILL "$pid"
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '.attempts == 2 and (.lost | length == 1) and .lost[0].signal == "SIGKILL" and .result.chunks == 10'
    call /metrics
    grep -q '^offload_chunk_retries_total{cause="signal"} 1$' "$BODY"
    grep -q '^offload_chunks_total{type="burn"} 10$' "$BODY"
}

@test "the crashes of one job do not touch another job" {
    start_daemon --workers 2
    calm=$(submit '{"type":"sleep","params":{"ms":600}}')
    wait_for is_running "$calm"
    for how in SIGSEGV exit abort; do
        crash '"how":"'$how'"' '"max_attempts":2'
        holds '.status == "failed"'
    done
    [ "$(ended "$calm")" = succeeded ]
    [ "$(job_field "$calm" .attempts)" = 1 ]
}
