#!/usr/bin/env bats
# durable.bats: what a job survives that was answered 202: kill -9, SIGTERM, a corrupt database, a second daemon.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    DATA=$BATS_TEST_TMPDIR/data
}

running() {
    has_status "$1" running
}

# The worker of the main lane that is busy.
busy_pid() {
    curl -sS "$URL/v1/workers" | jq -e 'first(.workers[] | select(.state == "busy" and .lane == "main")) | .pid'
}

# Starts the daemon, again on the same directory.
restart() {
    start_daemon --data-dir "$DATA" "$@"
}

@test "queued, running and ended jobs survive kill -9" {
    restart --workers 1
    ended=$(submit '{"type":"echo","params":{"value":{"a":[1,2.5,"x"]}}}')
    [ "$(ended "$ended")" = succeeded ]
    failed=$(submit '{"type":"crash","params":{"how":"abort"},"options":{"max_attempts":1}}')
    [ "$(ended "$failed")" = failed ]
    cancelled=$(submit '{"type":"sleep","params":{"ms":60000}}')
    call -X POST "/v1/jobs/$cancelled/cancel"
    running=$(submit '{"type":"burn","params":{"cpu_ms":400}}')
    wait_for running "$running"
    queued=$(submit '{"type":"primes","params":{"start":100000,"stop":200000},"options":{"priority":6}}')
    call "/v1/jobs/$ended"
    cp "$BODY" "$BATS_TEST_TMPDIR/before"
    call "/v1/jobs/$failed"
    cp "$BODY" "$BATS_TEST_TMPDIR/failed-before"
    kill_daemon
    restart --workers 1
    call "/v1/jobs/$ended"
    diff <(jq . "$BATS_TEST_TMPDIR/before") <(jq . "$BODY")
    call "/v1/jobs/$failed"
    diff <(jq . "$BATS_TEST_TMPDIR/failed-before") <(jq . "$BODY")
    [ "$(job_field "$cancelled" .status)" = cancelled ]
    [ "$(ended "$running")" = succeeded ]
    call "/v1/jobs/$running"
    holds '.attempts == 2 and .lost == [{"cause":"restart"}]'
    [ "$(ended "$queued")" = succeeded ]
    call "/v1/jobs/$queued"
    holds '.attempts == 1 and .priority == 6 and .result.count == 8392 and (has("lost") | not)'
}

@test "jobs are queued again in their order" {
    restart --workers 1 --express-cost 0s
    blocker=$(submit '{"type":"sleep","params":{"ms":60000}}')
    wait_for running "$blocker"
    ids=()
    planned() { [ "$(job_field "$1" .progress.total)" = 1 ]; } # one that is not is planned first after the restart
    for i in 1 2 3 4 5 6; do
        id=$(submit '{"type":"burn","params":{"cpu_ms":20}}')
        wait_for planned "$id"
        ids+=("$id")
    done
    kill_daemon
    restart --workers 1 --express-cost 0s
    call -X DELETE "/v1/jobs/$blocker"
    for id in "${ids[@]}"; do
        [ "$(ended "$id")" = succeeded ]
    done
    for id in "${ids[@]}"; do
        job_field "$id" .started_at
    done >"$BATS_TEST_TMPDIR/starts"
    cat "$BATS_TEST_TMPDIR/starts"
    sort -c "$BATS_TEST_TMPDIR/starts"
}

@test "finished chunks are not run again" {
    restart --workers 1
    id=$(submit '{"type":"burn","params":{"cpu_ms":2000,"chunks":20}}')
    several_done() { [ "$(job_field "$id" .progress.done)" -ge 8 ]; }
    wait_for several_done
    kill_daemon
    restart --workers 1
    [ "$(job_field "$id" .progress.done)" -ge 7 ]
    [ "$(ended "$id")" = succeeded ]
    holds_chunks() { [ "$(job_field "$id" .result.chunks)" = 20 ]; }
    holds_chunks
    [ "$(curl -sS "$URL/metrics" | sed -n 's/^offload_chunks_total{type="burn"} //p')" -le 13 ]
}

@test "SIGTERM leaves a job that does not end in time to the next process, queued" {
    restart --workers 1 --drain-timeout 300ms
    long=$(submit '{"type":"burn","params":{"cpu_ms":1000}}')
    wait_for running "$long"
    kill -STOP "$(busy_pid)" # it cannot end in time, however slow this test is
    waiting=$(submit '{"type":"burn","params":{"cpu_ms":30}}')
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    restart --workers 1
    [ "$(ended "$long")" = succeeded ]
    [ "$(job_field "$long" .attempts)" = 2 ]
    [ "$(ended "$waiting")" = succeeded ]
    [ "$(job_field "$waiting" .attempts)" = 1 ]
}

@test "SIGTERM: a job that runs ends; one that is queued is not started" {
    restart --workers 1 --drain-timeout 60s
    long=$(submit '{"type":"burn","params":{"cpu_ms":500}}')
    wait_for running "$long"
    pid=$(busy_pid)
    kill -STOP "$pid" # it still runs when the drain begins, however slow this test is
    waiting=$(submit '{"type":"sleep","params":{"ms":60000}}')
    kill -TERM "$DAEMON"
    wait_for grep -q '"event":"drain"' "$LOG"
    kill -CONT "$pid"
    wait_daemon
    [ "$DAEMON_STATUS" = 0 ]
    restart --workers 1
    [ "$(job_field "$long" .status)" = succeeded ]
    [ "$(job_field "$long" .attempts)" = 1 ]
    [ "$(job_field "$waiting" .status)" = running ] || [ "$(job_field "$waiting" .status)" = queued ]
    [ "$(job_field "$waiting" .attempts)" = 1 ]
}

@test "large params and results survive, byte by byte; a deleted job leaves no files" {
    restart
    { printf '{"type":"echo","params":{"value":"'; head -c 1500000 /dev/urandom | base64 -w0; printf '"}}'; } >"$BATS_TEST_TMPDIR/large"
    id=$(submit "@$BATS_TEST_TMPDIR/large")
    [ "$(ended "$id")" = succeeded ]
    blocked=$(submit '{"type":"sleep","params":{"ms":1000}}')
    curl -sS "$URL/v1/jobs/$id/result" | jq -c . | sha256sum >"$BATS_TEST_TMPDIR/before"
    kill_daemon
    restart
    curl -sS "$URL/v1/jobs/$id/result" | jq -c . | sha256sum | diff "$BATS_TEST_TMPDIR/before" -
    [ "$(curl -sS -r 0-9 "$URL/v1/jobs/$id/result")" = '{"value":"' ]
    [ "$(find "$DATA" -size +1000k -name '*' -path '*files*' | wc -l)" -ge 1 ]
    status -X DELETE "$URL/v1/jobs/$id"
    no_files() { [ "$(find "$DATA" -type f -size +1000k -path '*files*' | wc -l)" = 0 ]; }
    wait_for no_files
    [ "$(ended "$blocked")" = succeeded ]
}

@test "a large body whose job has not run survives" {
    restart --workers 1
    submit '{"type":"sleep","params":{"ms":800}}'
    { printf '{"type":"echo","params":{"value":"'; head -c 300000 /dev/zero | tr '\0' y; printf '"},"options":{"delay_ms":1500,"priority":5}}'; } >"$BATS_TEST_TMPDIR/large"
    id=$(submit "@$BATS_TEST_TMPDIR/large")
    kill_daemon
    restart --workers 1
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '.priority == 5'
    [ "$(curl -sS "$URL/v1/jobs/$id/result" | jq -r '.value | length')" = 300000 ]
}

@test "a delayed job starts when it is due, even after a restart" {
    restart
    call_job -H 'Prefer: respond-async' '{"type":"echo","params":{"value":1},"options":{"delay_ms":1500}}'
    holds '.status == "queued" and .waiting_for == "delay" and .estimated_start != null'
    id=$(jq -r .id "$BODY")
    kill_daemon
    restart
    call "/v1/jobs/$id"
    holds '.status == "queued" and .waiting_for == "delay"'
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '(.started_at | sub("\\.[0-9]+Z"; "Z") | fromdate) - (.created_at | sub("\\.[0-9]+Z"; "Z") | fromdate) >= 1'
    holds '.attempts == 1'
}

@test "deleted jobs stay gone after a restart" {
    restart
    id=$(submit '{"type":"echo","params":{"value":1}}')
    [ "$(ended "$id")" = succeeded ]
    [ "$(status -X DELETE "$URL/v1/jobs/$id")" = 204 ]
    kill_daemon
    restart
    call "/v1/jobs/$id"
    expect_problem 410 gone
}

@test "a second daemon on the same directory does not start" {
    restart
    run --separate-stderr timeout 20 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir "$DATA"
    [ "$status" = 1 ]
    [[ $stderr == *"$DATA"*"in use"* ]]
    [ "${#stderr_lines[@]}" = 1 ]
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
}

@test "a directory that cannot be made: exit 1 and one line that names it" {
    touch "$BATS_TEST_TMPDIR/file"
    run --separate-stderr timeout 20 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir "$BATS_TEST_TMPDIR/file/data"
    [ "$status" = 1 ]
    [[ $stderr == *"$BATS_TEST_TMPDIR/file/data"* ]]
    [ "${#stderr_lines[@]}" = 1 ]
}

@test "a corrupt database is set aside and named, and the service starts" {
    restart
    submit '{"type":"echo","params":{"value":1}}'
    stop_daemon
    head -c 65536 /dev/urandom | dd of="$DATA/jobs.db" conv=notrunc status=none
    restart
    grep -q '"event":"store_set_aside"' "$LOG"
    [ "$(find "$DATA" -name 'jobs.db.corrupt-*' | wc -l)" -ge 1 ]
    id=$(submit '{"type":"echo","params":{"value":1}}')
    [ "$(ended "$id")" = succeeded ]
}

@test "the default directory: STATE_DIRECTORY, else XDG_STATE_HOME" {
    start() { # VARIABLE=VALUE...
        env -u STATE_DIRECTORY -u XDG_STATE_HOME "$@" "$OFFLOADD" --listen 127.0.0.1:0 2>"$BATS_TEST_TMPDIR/log" 3>&- &
        local pid=$!
        is_ready() { grep -q '"event":"ready"' "$BATS_TEST_TMPDIR/log"; }
        wait_for is_ready
        kill -TERM "$pid"
        wait "$pid"
    }
    start STATE_DIRECTORY="$BATS_TEST_TMPDIR/state:/other" XDG_STATE_HOME="$BATS_TEST_TMPDIR/xdg"
    [ -e "$BATS_TEST_TMPDIR/state/jobs.db" ]
    [ ! -e "$BATS_TEST_TMPDIR/xdg" ]
    start XDG_STATE_HOME="$BATS_TEST_TMPDIR/xdg"
    [ -e "$BATS_TEST_TMPDIR/xdg/offload/jobs.db" ]
    start HOME="$BATS_TEST_TMPDIR/home"
    [ -e "$BATS_TEST_TMPDIR/home/.local/state/offload/jobs.db" ]
}

@test "--max-ended: the oldest of the ended jobs go first, and a job that has not ended is kept" {
    restart --max-ended 3
    delayed=$(submit '{"type":"echo","params":{"value":0},"options":{"delay_ms":60000}}')
    ids=()
    for i in 1 2 3 4 5; do
        ids+=("$(submit '{"type":"echo","params":{"value":1}}')")
        ended "${ids[-1]}"
    done
    gone() { [ "$(status "$URL/v1/jobs/$1")" = 410 ]; }
    wait_for gone "${ids[0]}"
    wait_for gone "${ids[1]}"
    for i in 2 3 4; do
        [ "$(status "$URL/v1/jobs/${ids[i]}")" = 200 ]
    done
    [ "$(job_field "$delayed" .status)" = queued ]
}

@test "--max-ended-bytes: the oldest of the ended jobs go first" {
    restart --max-ended-bytes 120KiB
    ids=()
    for i in 1 2 3 4; do
        { printf '{"type":"echo","params":{"value":"%s' "$i"; head -c 50000 /dev/zero | tr '\0' x; printf '"}}'; } >"$BATS_TEST_TMPDIR/body"
        ids+=("$(submit "@$BATS_TEST_TMPDIR/body")") # 50 KB of result
        ended "${ids[-1]}"
    done
    gone() { [ "$(status "$URL/v1/jobs/$1")" = 410 ]; }
    wait_for gone "${ids[0]}"
    [ "$(status "$URL/v1/jobs/${ids[3]}")" = 200 ]
}

@test "a synchronous job is not stored, unless it turns into a 202" {
    restart
    call_job '{"type":"echo","params":{"value":1}}'
    sync=$(jq -r .id "$BODY")
    call_job -H 'Prefer: wait=1' '{"type":"sleep","params":{"ms":1500}}'
    [ "$CODE" = 202 ]
    turned=$(jq -r .id "$BODY")
    kill_daemon
    restart
    [ "$(status "$URL/v1/jobs/$sync")" = 404 ]
    [ "$(ended "$turned")" = succeeded ]
}

# The daemon drains at once, and the next one has the job as it was.
drains_at_once() { # ID
    kill -TERM "$DAEMON"
    wait_daemon
    [ "$DAEMON_STATUS" = 0 ]
    grep -q '"event":"drained"' "$LOG"
    ! grep -q '"event":"drain_timeout"' "$LOG"
}

@test "SIGTERM: jobs that back off or are delayed go back to the store at once, and nothing more is lost" {
    restart --workers 1 --drain-timeout 30s --retry-delay 1h --max-retry-delay 1h
    id=$(submit '{"type":"crash","params":{"how":"SIGKILL","times":1}}')
    has_lost() { [ "$(job_field "$id" '.lost | length')" = 1 ]; }
    wait_for has_lost
    delayed=$(submit '{"type":"echo","params":{"value":1},"options":{"delay_ms":3600000}}')
    drains_at_once
    restart --workers 1
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '.attempts == 2 and (.lost | map(.cause)) == ["signal"]'
    call "/v1/jobs/$delayed"
    holds '.status == "queued" and .waiting_for == "delay" and .attempts == 1'
}

@test "SIGTERM: a client who waits for a delayed job gets 202, and the next process has the job" {
    restart --workers 1 --drain-timeout 30s
    post -D "$BATS_TEST_TMPDIR/answer-head" '{"type":"echo","params":{"value":1},"options":{"delay_ms":3600000}}' \
        >"$BATS_TEST_TMPDIR/answer" 3>&- &
    client=$!
    is_there() { [ "$(curl -sS "$URL/v1/jobs" | jq '.jobs | length')" = 1 ]; }
    wait_for is_there
    drains_at_once
    wait "$client"
    head -1 "$BATS_TEST_TMPDIR/answer-head" | grep -q ' 202 '
    restart
    [ "$(job_field "$(jq -r .id "$BATS_TEST_TMPDIR/answer")" .status)" = queued ]
}
