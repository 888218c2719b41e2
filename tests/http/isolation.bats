#!/usr/bin/env bats
# isolation.bats: jobs with processes of their own (isolation "fresh", and types that must not be forked after load),
# workers that are recycled, and the backoff between attempts. The result of the types process and spawned names the
# processes that did the job.

bats_require_minimum_version 1.5.0
load helpers

FRESH='{"type":"process","params":{},"options":{"isolation":"fresh"}}'
ORDINARY='{"type":"process","params":{}}'
SPAWNED='{"type":"spawned","params":{}}'

workers_up() {
    [ "$(curl -sS "$URL/v1/workers" | jq '[.workers[] | select(.state == "idle")] | length')" = "$1" ]
}

worker_pids() {
    curl -sS "$URL/v1/workers" | jq '.workers[].pid'
}

busy_pid() {
    curl -sS "$URL/v1/workers" | jq -e 'first(.workers[] | select(.state == "busy" and .lane == "main")) | .pid'
}

gone() {
    ! kill -0 "$1" 2>/dev/null
}

# The processes in which a job ran; the Job is on stdin. Each is listed once.
processes_of() {
    jq '.result | .merge.run_in, .chunks[].run_in' | sort -u
}

# many JOBS BODY: submits so many jobs at once; the answers go to one new file $BATS_TEST_TMPDIR/answers-*.
many() {
    local i
    for i in $(seq "$1"); do
        [ "$i" = 1 ] || echo next
        echo "url = \"$URL/v1/jobs\""
        echo 'max-time = 60'
        echo 'header = "Content-Type: application/json"'
        echo 'write-out = "\n"'
        echo "data = \"${2//\"/\\\"}\""
    done >"$BATS_TEST_TMPDIR/many-$BASHPID"
    curl -sS --no-progress-meter --parallel --parallel-immediate --parallel-max 100 -K "$BATS_TEST_TMPDIR/many-$BASHPID" \
        >"$BATS_TEST_TMPDIR/answers-$BASHPID-$RANDOM"
}

# all_succeeded COUNT: there are so many answers, and all are jobs that succeeded.
all_succeeded() {
    [ "$(jq -s 'length' "$BATS_TEST_TMPDIR"/answers-*)" = "$1" ]
    jq -es 'all(.status == "succeeded")' "$BATS_TEST_TMPDIR"/answers-* >/dev/null
}

has_attempts() {
    [ "$(job_field "$1" .attempts)" -ge "$2" ]
}

@test "each job with isolation fresh has a process that no other job had or gets, and the pool keeps its size" {
    start_daemon --workers 2
    for _ in 1 2 3 4 5 6 7 8; do
        post "$FRESH" | processes_of >>"$BATS_TEST_TMPDIR/fresh"
        post "$ORDINARY" | processes_of >>"$BATS_TEST_TMPDIR/ordinary"
    done
    [ "$(wc -l <"$BATS_TEST_TMPDIR/fresh")" = 8 ]
    [ "$(sort -u "$BATS_TEST_TMPDIR/fresh" | wc -l)" = 8 ]
    run ! grep -xFf "$BATS_TEST_TMPDIR/fresh" "$BATS_TEST_TMPDIR/ordinary"
    wait_for workers_up 3
    worker_pids >"$BATS_TEST_TMPDIR/left"
    run ! grep -xFf "$BATS_TEST_TMPDIR/fresh" "$BATS_TEST_TMPDIR/left"
    run ! grep '"event":"worker_lost"' "$LOG"
}

@test "the processes of a job with isolation fresh and several chunks do no other job" {
    start_daemon --workers 2
    post '{"type":"process","params":{},"options":{"isolation":"fresh","chunks":40}}' >"$BATS_TEST_TMPDIR/first"
    post '{"type":"process","params":{},"options":{"isolation":"fresh","chunks":40}}' >"$BATS_TEST_TMPDIR/second"
    post '{"type":"process","params":{},"options":{"isolation":"pool","chunks":40}}' >"$BATS_TEST_TMPDIR/ordinary"
    for job in first second ordinary; do
        [ "$(jq '.result.chunks | length' "$BATS_TEST_TMPDIR/$job")" = 40 ]
        processes_of <"$BATS_TEST_TMPDIR/$job" >"$BATS_TEST_TMPDIR/$job-in"
    done
    run ! grep -xFf "$BATS_TEST_TMPDIR/first-in" "$BATS_TEST_TMPDIR/second-in" "$BATS_TEST_TMPDIR/ordinary-in"
    run ! grep -xFf "$BATS_TEST_TMPDIR/second-in" "$BATS_TEST_TMPDIR/ordinary-in"
    wait_for workers_up 3
}

@test "isolation does not change the result" {
    start_daemon --workers 2
    call_job '{"type":"primes","params":{"start":0,"stop":30000000},"options":{"isolation":"fresh","chunks":8}}'
    holds '.result == {"count": 1857859} and .progress.done == 8'
    call_job '{"type":"primes","params":{"start":0,"stop":3000000,"op":"list"},"options":{"isolation":"fresh","chunks":3}}'
    [ "$CODE" = 200 ]
    call "$(field .links.result)"
    holds '.count == 216816 and (.primes | length) == 216816'
}

@test "an unknown isolation is rejected and named" {
    start_daemon --workers 1
    for word in '"new"' true '["fresh"]'; do
        call_job '{"type":"process","params":{},"options":{"isolation":'"$word"'}}'
        expect_problem 422 invalid_params
        holds '.errors[0].pointer == "/options/isolation"'
    done
}

@test "an isolated worker ends when its job is cancelled or times out" {
    start_daemon --workers 1 --cancel-grace 100ms
    id=$(submit '{"type":"sleep","params":{"ms":600000},"options":{"isolation":"fresh"}}')
    wait_for is_running "$id"
    pid=$(busy_pid)
    call -X POST "/v1/jobs/$id/cancel"
    holds '.status == "cancelled"'
    wait_for gone "$pid"
    id=$(submit '{"type":"crash","params":{"how":"hang"},"options":{"isolation":"fresh","timeout_ms":300}}')
    [ "$(ended "$id")" = failed ]
    [ "$(job_field "$id" .error.code)" = job_timeout ]
    # The log names the process. To ask for it while it runs could be too late on a slow machine.
    wait_for grep -q '"event":"worker_lost".*"cause":"timeout"' "$LOG"
    pid=$(grep '"event":"worker_lost".*"cause":"timeout"' "$LOG" | jq .pid)
    wait_for gone "$pid"
    wait_for workers_up 2
    [ "$(post "$ORDINARY" | jq -r .status)" = succeeded ]
}

@test "to cancel a job that waits for its isolated worker leaves a pool that works" {
    start_daemon --workers 1
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        call_job '{"type":"sleep","params":{"ms":6}}' # so that the worker is a used one
        id=$(submit "$FRESH")
        call -X DELETE "/v1/jobs/$id"
        [ "$CODE" = 204 ]
    done
    wait_for workers_up 2
    [ "$(post "$FRESH" | jq -r .status)" = succeeded ]
}

@test "each attempt of a job with isolation fresh has a process of its own" {
    start_daemon --workers 2 --retry-delay 1ms
    call_job '{"type":"crash","params":{"how":"SIGKILL","times":3},"options":{"isolation":"fresh","max_attempts":4}}'
    holds '.status == "succeeded" and .attempts == 4 and (.lost | length) == 3'
    call_job '{"type":"crash","params":{"how":"SIGSEGV"},"options":{"isolation":"fresh"}}'
    expect_problem 500 worker_crashed
    [ "$(grep '"event":"worker_lost"' "$LOG" | jq .pid | sort -u | wc -l)" = 6 ]
    wait_for workers_up 3
}

@test "50 jobs with isolation fresh beside 200 others, with one worker and with three: all end, and share no process" {
    for workers in 1 3; do
        start_daemon --workers "$workers"
        rm -f "$BATS_TEST_TMPDIR"/answers-*
        many 50 "$FRESH" 3>&- &
        fresh=$!
        many 150 "$ORDINARY" 3>&- &
        short=$!
        many 50 '{"type":"burn","params":{"cpu_ms":10},"options":{"chunks":1}}'
        wait "$fresh" "$short"
        all_succeeded 250
        jq -c 'select(.type == "process") | .result.merge.run_in' "$BATS_TEST_TMPDIR"/answers-* | sort | uniq -c |
            awk '$1 == 1 { alone++ } END { exit !(alone >= 50) }'
        run ! grep '"event":"worker_lost"' "$LOG"
        wait_for workers_up $((workers + 1))
        stop_daemon
    done
}

@test "a job of many chunks does not keep others from the only worker, isolated or not" {
    start_daemon --workers 1
    for long in fresh pool; do
        id=$(submit '{"type":"burn","params":{"cpu_ms":600000},"options":{"chunks":4000,"isolation":"'$long'"}}')
        wait_for is_running "$id"
        for short in fresh pool; do
            call_job '{"type":"burn","params":{"cpu_ms":60},"options":{"chunks":2,"isolation":"'$short'"}}'
            holds '.status == "succeeded"'
        done
        is_running "$id"
        call -X DELETE "/v1/jobs/$id"
    done
}

@test "a raw body that asks for a process of its own gets one" {
    start_daemon --workers 2
    for size in 100000 3000000; do
        head -c $size /dev/zero | tr '\0' ' ' >"$BATS_TEST_TMPDIR/large"
        echo "$FRESH" >>"$BATS_TEST_TMPDIR/large"
        post "@$BATS_TEST_TMPDIR/large" | processes_of >>"$BATS_TEST_TMPDIR/fresh"
        post "@$BATS_TEST_TMPDIR/large" | processes_of >>"$BATS_TEST_TMPDIR/fresh"
        head -c $size /dev/zero | tr '\0' ' ' >"$BATS_TEST_TMPDIR/large"
        echo "$SPAWNED" >>"$BATS_TEST_TMPDIR/large"
        call_job "@$BATS_TEST_TMPDIR/large"
        holds '.result.merge | .loaded_in == .run_in'
    done
    [ "$(sort -u "$BATS_TEST_TMPDIR/fresh" | wc -l)" = 4 ]
    text=$(head -c 400000 /dev/zero | tr '\0' x)
    echo '{"type":"echo","params":{"value":"'"$text"'"},"options":{"isolation":"fresh"}}' >"$BATS_TEST_TMPDIR/large"
    call_job "@$BATS_TEST_TMPDIR/large"
    [ "$CODE" = 200 ]
    call "$(field .links.result)"
    holds '.value | length == 400000'
    echo '{"type":"echo","params":{"value":"'"$text"'"},"options":{"isolation":"sometimes"}}' >"$BATS_TEST_TMPDIR/large"
    call_job "@$BATS_TEST_TMPDIR/large"
    expect_problem 422 invalid_params
}

@test "a type that must not be forked after load is loaded by each of its processes, and by no other" {
    start_daemon --workers 2
    call /v1/types/spawned
    holds '.flags == ["test", "spawn"]'
    zygote=$(post "$ORDINARY" | jq .result.merge.loaded_in)
    for _ in 1 2 3; do
        worker_pids >>"$BATS_TEST_TMPDIR/pool"
        call_job '{"type":"spawned","params":{},"options":{"chunks":3}}'
        holds '.result | [.merge, .chunks[]] | length == 4 and all(.loaded_in == .run_in and .parent == $zygote)' \
            --argjson zygote "$zygote"
        processes_of <"$BODY" >>"$BATS_TEST_TMPDIR/spawned"
        wait_for workers_up 3
    done
    [ "$(sort -u "$BATS_TEST_TMPDIR/spawned" | wc -l)" = "$(wc -l <"$BATS_TEST_TMPDIR/spawned")" ]
    worker_pids >>"$BATS_TEST_TMPDIR/pool"
    run ! grep -xFf "$BATS_TEST_TMPDIR/spawned" "$BATS_TEST_TMPDIR/pool"
    post "$ORDINARY" | processes_of >"$BATS_TEST_TMPDIR/ordinary"
    run ! grep -xFf "$BATS_TEST_TMPDIR/spawned" "$BATS_TEST_TMPDIR/ordinary"
    rm -f "$BATS_TEST_TMPDIR"/answers-*
    many 20 "$SPAWNED" 3>&- &
    spawned=$!
    many 20 "$FRESH"
    wait "$spawned"
    all_succeeded 40
}

@test "a load that fails is a lost attempt, with its last words; other jobs go on" {
    export OFFLOAD_TEST_SPAWNED_NEEDS=$BATS_TEST_TMPDIR/model
    start_daemon --workers 1 --retry-delay 1ms
    call_job "$SPAWNED"
    expect_problem 500 worker_crashed
    call "$(field '"/v1/jobs/" + .job')"
    holds '(.lost | length) == 3 and all(.lost[]; .cause == "exit" and .exit_code == 1
           and (.stderr_tail | contains("No such file or directory")))'
    [ "$(post "$ORDINARY" | jq -r .status)" = succeeded ]
    stop_daemon
    start_daemon --workers 1 --retry-delay 200ms
    id=$(submit '{"type":"spawned","params":{},"options":{"max_attempts":100}}')
    wait_for has_attempts "$id" 3
    touch "$OFFLOAD_TEST_SPAWNED_NEEDS"
    [ "$(ended "$id")" = succeeded ]
    wait_for workers_up 2
}

@test "a job whose load hangs can be cancelled, and its process ends" {
    export OFFLOAD_TEST_SPAWNED_NEEDS=$BATS_TEST_TMPDIR/model
    mkfifo "$OFFLOAD_TEST_SPAWNED_NEEDS"
    start_daemon --workers 1
    id=$(submit "$SPAWNED")
    loading() { pid=$(curl -sS "$URL/v1/workers" | jq -e '.workers[] | select(.state == "starting") | .pid'); }
    wait_for loading
    [ "$(job_field "$id" .status)" = queued ]
    call -X POST "/v1/jobs/$id/cancel"
    holds '.status == "cancelled"'
    wait_for gone "$pid"
    wait_for workers_up 2
    [ "$(post "$FRESH" | jq -r .status)" = succeeded ]
    run ! grep '"event":"worker_lost"' "$LOG"
}

@test "a job that waits only for its next attempt says so" {
    export OFFLOAD_TEST_SPAWNED_NEEDS=$BATS_TEST_TMPDIR/model
    start_daemon --workers 1 --retry-delay 60s --max-retry-delay 60s
    id=$(submit "$SPAWNED")
    delayed() { [ "$(job_field "$id" .waiting_for)" = delay ]; }
    wait_for delayed
    call "/v1/jobs/$id"
    holds '.status == "queued" and .attempts == 2 and .estimated_start > .created_at'
    [ "$(post "$FRESH" | jq -r .status)" = succeeded ]
    call -X POST "/v1/jobs/$id/cancel"
    holds '.status == "cancelled"'
}

@test "a lost task is tried again after --retry-delay, half of it at least, and at once if that is 0" {
    start_daemon --workers 2 --retry-delay 400ms
    call_job '{"type":"crash","params":{"how":"exit","times":2}}'
    holds '.attempts == 3 and .timings.run_ms >= 200 + 400'
    stop_daemon
    start_daemon --workers 2 --retry-delay 60s --max-retry-delay 1ms
    call_job '{"type":"crash","params":{"how":"exit","times":2}}'
    holds '.attempts == 3'
    stop_daemon
    start_daemon --workers 2 --retry-delay 0s
    call_job '{"type":"crash","params":{"how":"exit","times":2}}'
    holds '.attempts == 3'
}

@test "a reload and the zygote's death while jobs have processes of their own: all end" {
    start_daemon --workers 2 --retry-delay 1ms
    rm -f "$BATS_TEST_TMPDIR"/answers-*
    jobs=()
    for job in '"type":"process","params":{}' '"type":"spawned","params":{}' '"type":"burn","params":{"cpu_ms":40}'; do
        many 30 "{$job,\"options\":{\"isolation\":\"fresh\",\"chunks\":4,\"max_attempts\":50}}" 3>&- &
        jobs+=($!)
    done
    for _ in 1 2 3; do
        sleep 0.1
        kill -HUP "$DAEMON"
        sleep 0.1
        kill -KILL "$(pgrep -P "$DAEMON" | head -n 1)" || true
    done
    wait "${jobs[@]}"
    jq -c 'select(.status != "succeeded")' "$BATS_TEST_TMPDIR"/answers-* | head -c 2000 >&2
    all_succeeded 90
    wait_for workers_up 3
}

@test "/readyz stays 200 while the only worker is replaced for each job" {
    start_daemon --workers 1
    rm -f "$BATS_TEST_TMPDIR"/answers-*
    many 60 "$FRESH" 3>&- &
    fresh=$!
    many 60 "$SPAWNED" 3>&- &
    spawned=$!
    for _ in $(seq 30); do
        call '/readyz?verbose'
        [ "$CODE" = 200 ] || { cat "$BODY" >&2; return 1; }
        sleep 0.1
    done
    wait "$fresh" "$spawned"
    all_succeeded 120
}

@test "--max-jobs-per-worker and isolation fresh with a backlog: all jobs end" {
    for limit in 1 2 3; do
        start_daemon --workers 2 --max-jobs-per-worker "$limit" --max-sync 1000000
        rm -f "$BATS_TEST_TMPDIR"/answers-*
        many 60 "$FRESH" 3>&- &
        fresh=$!
        many 700 "$ORDINARY"
        wait "$fresh"
        all_succeeded 760
        run ! grep '"event":"worker_lost"' "$LOG"
        stop_daemon
    done
}

@test "--max-worker-rss: a worker leaves after its task, and not in the middle of it" {
    start_daemon --workers 1 --max-worker-rss 1MiB
    call_job '{"type":"sleep","params":{"ms":700}}'
    holds '.status == "succeeded" and .attempts == 1'
    for _ in 1 2 3 4 5; do
        call_job '{"type":"burn","params":{"cpu_ms":40},"options":{"chunks":4}}'
        holds '.status == "succeeded" and .attempts == 1'
    done
    for _ in 1 2 3 4; do
        post "$ORDINARY" | processes_of >>"$BATS_TEST_TMPDIR/in"
    done
    [ "$(sort -u "$BATS_TEST_TMPDIR/in" | wc -l)" = 4 ]
    run ! grep '"event":"worker_lost"' "$LOG"
}
