#!/usr/bin/env bats
# daemon.bats: the program offloadd: its options and where they come from, its exit codes, its signals.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":600000}}'

# Runs offloadd, which has to end by itself; sets what `run` of bats sets.
daemon() {
    run --separate-stderr timeout 20 "$OFFLOADD" "$@"
}

# There is one line on stderr, with the word in it.
one_line_with() { # WORD
    echo "status $status, stdout: $output, stderr: $stderr"
    [ "${#stderr_lines[@]}" = 1 ] && [[ $stderr == *"$1"* ]]
}

all_gone() { # PID...
    local pid
    for pid in "$@"; do
        if kill -0 "$pid" 2>/dev/null; then return 1; fi
    done
}

limit_is() { # BYTES: the --max-body that is in effect
    head -c $(($1 + 1)) /dev/zero >"$BATS_TEST_TMPDIR/zeros"
    call_job "@$BATS_TEST_TMPDIR/zeros"
    expect_problem 413 body_too_large
    holds '.limit_bytes == $n' --argjson n "$1"
}

@test "--version and --help" {
    daemon --version
    [ "$status" = 0 ]
    [[ $output =~ ^offloadd\ [0-9]+\.[0-9]+ ]]
    daemon --help
    [ "$status" = 0 ]
    for option in listen workers express-workers express-cost data-dir sync-wait max-wait max-sync keep-sync max-body \
        max-queue max-memory max-connections max-json-depth max-header header-timeout idle-timeout result-ttl job-timeout \
        cancel-grace drain-timeout max-jobs-per-worker max-worker-rss max-job-memory insecure-no-auth log-level log-format \
        enable-test-types check-config version help config webhook-allow webhook-retry webhook-secret-file webhook-timeout \
        max-webhooks max-webhook-bytes exit-with-parent private-dir tls-cert tls-key tls-client-ca; do
        grep -q -- "--$option " <<<"$output"
    done
}

@test "--check-config: 0 for a good one, 2 for a bad one, and nothing is started" {
    daemon --check-config --max-body 1MiB
    [ "$status" = 0 ]
    daemon --check-config --max-body lots
    [ "$status" = 2 ]
    one_line_with --max-body
    [ -z "$output" ]
}

@test "an unknown option, a missing value or a stray word: exit 2 and one line that names it" {
    daemon --colour red
    [ "$status" = 2 ]
    one_line_with --colour
    daemon --max-body
    [ "$status" = 2 ]
    one_line_with --max-body
    daemon --check-config please
    [ "$status" = 2 ]
    one_line_with please
    for later in --keys --tls-cert --model-dir; do
        daemon --check-config $later x
        [ "$status" = 2 ]
        one_line_with $later
    done
}

@test "a wrong value: exit 2 and one line that names the option" {
    while read -r option value; do
        daemon --check-config "--$option=$value"
        [ "$status" = 2 ]
        one_line_with "--$option"
    done <<'END'
workers 0
workers two
workers -1
workers 1.5
express-workers 0
max-body 10MB
max-body -1
max-body 64
max-body 1e400
max-queue 0
max-header 12
max-json-depth 0
sync-wait 10
sync-wait 10d
sync-wait -5s
result-ttl soon
cancel-grace
log-level loud
log-format xml
enable-test-types maybe
webhook-allow https://hooks.internal/
webhook-secret-file /nowhere
END
}

@test "units of sizes and times" {
    for good in max-body=2KiB max-body=3MiB max-body=1GiB max-body=4096 sync-wait=100ms sync-wait=2s sync-wait=3m sync-wait=1h \
        sync-wait=1.5s sync-wait=0 enable-test-types=true enable-test-types=false; do
        daemon --check-config "--$good"
        [ "$status" = 0 ]
    done
}

@test "the environment sets an option" {
    OFFLOAD_MAX_BODY=2KiB start_daemon
    limit_is 2048
    OFFLOAD_MAX_BODY=lots daemon --check-config
    [ "$status" = 2 ]
    one_line_with max-body
}

@test "the config file sets options, with comments, spaces and empty lines" {
    printf '# limits\n\n  max-body =  3KiB  \nkeep-sync=0\nsync-wait = 20s\n' >"$BATS_TEST_TMPDIR/conf"
    start_daemon --config "$BATS_TEST_TMPDIR/conf"
    limit_is 3072
    call_job '{"type":"echo","params":{"value":1}}'
    call "$(field .links.self)"
    [ "$CODE" = 404 ]
}

@test "a flag wins over the environment, and the environment over the file" {
    echo 'max-body = 3KiB' >"$BATS_TEST_TMPDIR/conf"
    OFFLOAD_MAX_BODY=2KiB start_daemon --config "$BATS_TEST_TMPDIR/conf"
    limit_is 2048
    stop_daemon
    OFFLOAD_MAX_BODY=2KiB start_daemon --config "$BATS_TEST_TMPDIR/conf" --max-body 5KiB
    limit_is 5120
    stop_daemon
    OFFLOAD_CONFIG=$BATS_TEST_TMPDIR/conf start_daemon
    limit_is 3072
}

@test "a wrong config file: exit 2 and one line that says where" {
    echo 'max_body = 3KiB' >"$BATS_TEST_TMPDIR/conf"
    daemon --check-config --config "$BATS_TEST_TMPDIR/conf"
    [ "$status" = 2 ]
    one_line_with max_body
    printf 'max-queue = 1\nmax-body = lots\n' >"$BATS_TEST_TMPDIR/conf"
    daemon --check-config --config "$BATS_TEST_TMPDIR/conf"
    [ "$status" = 2 ]
    one_line_with max-body
    [[ $stderr == *2* ]]
    echo 'max-body' >"$BATS_TEST_TMPDIR/conf"
    daemon --check-config --config "$BATS_TEST_TMPDIR/conf"
    [ "$status" = 2 ]
    daemon --check-config --config "$BATS_TEST_TMPDIR/missing"
    [ "$status" = 2 ]
    one_line_with missing
}

@test "a port that is taken: exit 1 and one line that names it" {
    start_daemon
    daemon --listen "127.0.0.1:$PORT"
    [ "$status" = 1 ]
    one_line_with "127.0.0.1:$PORT"
    call /livez
    [ "$CODE" = 200 ]
}

@test "an address that others can reach is rejected while there are no keys: exit 2" {
    for address in 0.0.0.0:0 '[::]:0'; do
        daemon --listen "$address"
        [ "$status" = 2 ]
        one_line_with "$address"
    done
    [[ $stderr == *'offload keygen'*--keys*--insecure-no-auth* ]]
}

@test "a malformed address: exit 2, by --check-config too" {
    while IFS='|' read -r address; do
        for check in --check-config --log-level=info; do
            daemon --data-dir "$BATS_TEST_TMPDIR/data" --listen "$address" "$check"
            [ "$status" = 2 ]
            one_line_with "--listen $address: "
        done
    done <<'END'
127.0.0.1:http
127.0.0.1: 80
127.0.0.1:80x
:+80
:8080
127.0.0.1:65536
127.0.0.1:-1
127.0.0.1:080
127.0.0.1:
127.0.0.1
[::1
[::1]x:80
[::1:80
::1:80
[127.0.0.1]:80
unix:relative.sock
unix:/tmp/sock,mode=0888
unix:/tmp/sock,mode=
unix:/tmp/sock,owner=root
unix:/tmp/sock,group=no-such-group
unix:/tmp/sock,
unix:/012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345
0.0.0.0:0
END
}

@test "--check-config finds what a start would find, and makes, opens and removes nothing" {
    dir=$BATS_TEST_TMPDIR/place
    mkdir "$dir"
    touch "$dir/file"
    mkdir -p "$dir/data/lock"
    while IFS='|' read -r word options; do
        # shellcheck disable=SC2086
        daemon --check-config $options
        [ "$status" = 2 ]
        [ -z "$output" ]
        one_line_with "$word"
    done <<END
no.such.host.invalid|--listen no.such.host.invalid:80
the same address|--listen 127.0.0.1:7001 --listen 127.0.0.1:7001
/nonexistent/|--listen unix:/nonexistent/sock
no socket|--listen unix:$dir/file
Not a directory|--data-dir $dir/file
Not a directory|--data-dir $dir/file/below
directory|--data-dir $dir/data
--webhook-secret-file $dir: Is a directory|--webhook-secret-file $dir
--config $dir: Is a directory|--config $dir
--config /dev/zero|--config /dev/zero
--listen: at most 16|$(printf -- '--listen=127.0.0.1:%d ' {7001..7017})
END
    [ "$(ls "$dir")" = "$(printf 'data\nfile')" ]
    python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])' "$dir/sock"
    daemon --check-config --listen "unix:$dir/sock" --listen "unix:$dir/new" --data-dir "$dir/new/data"
    [ "$status" = 0 ]
    [ -S "$dir/sock" ]
    [ ! -e "$dir/new" ]
}

@test "an empty variable is as if it were not set" {
    OFFLOAD_WORKERS='' OFFLOAD_MAX_BODY='' OFFLOAD_LISTEN='' OFFLOAD_CONFIG='' OFFLOAD_LOG_LEVEL='' OFFLOAD_ENABLE_TEST_TYPES='' \
        daemon --check-config
    [ "$status" = 0 ]
}

@test "a mistake is one line, whatever was typed" {
    daemon --workers $'1\n2'
    [ "$status" = 2 ]
    one_line_with "1?2"
}

@test "a listener that cannot be: exit 1 or 2 and one line that names it" {
    for address in 127.0.0.1 8080 127.0.0.1:99999 127.0.0.1:65536 127.0.0.1:-1 127.0.0.1:http unix:relative unix: '[::1]' '[::1:80'; do
        daemon --listen "$address"
        [[ $status = 1 || $status = 2 ]]
        one_line_with "$address"
    done
}

@test "a Unix socket that was left behind is taken over; one that is in use is not" {
    path=$BATS_TEST_TMPDIR/sock
    python3 -c 'import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])' "$path"
    start_daemon --listen "unix:$path"
    [ "$(status --unix-socket "$path" http://offload/livez)" = 200 ]
    daemon --listen "unix:$path"
    [ "$status" = 1 ]
    one_line_with "$path"
    [ "$(status --unix-socket "$path" http://offload/livez)" = 200 ]
}

@test "the ready line has the addresses, the number of workers, and the reason for that number" {
    start_daemon
    [ "$(grep -c '"event":"ready"' "$LOG")" = 1 ]
    jq -e 'select(.event == "ready") | (.listen | length == 1) and .workers >= 1 and (.workers_why | length > 0)' "$LOG"
    stop_daemon
    start_daemon --workers 3
    jq -e 'select(.event == "ready") | .workers == 3' "$LOG"
}

@test "the number of workers is the number of CPUs that it can use" {
    OFFLOADD_WAS=$OFFLOADD
    taskset -c "$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')" true || skip "no taskset"
    printf '#!/bin/sh\nexec taskset -c %s "%s" "$@"\n' "$(taskset -cp $$ | sed 's/.*: //; s/[,-].*//')" "$(realpath "$OFFLOADD_WAS")" \
        >"$BATS_TEST_TMPDIR/pinned"
    chmod +x "$BATS_TEST_TMPDIR/pinned"
    OFFLOADD=$BATS_TEST_TMPDIR/pinned
    start_daemon
    call /v1/workers
    holds '[.workers[] | select(.lane == "main")] | length == 1'
}

@test "--log-format text" {
    "$OFFLOADD" --listen 127.0.0.1:0 --log-format text 2>"$BATS_TEST_TMPDIR/daemon-text.log" 3>&- &
    DAEMON=$!
    wait_for grep -q ' ready ' "$BATS_TEST_TMPDIR/daemon-text.log"
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    run ! grep '^{' "$BATS_TEST_TMPDIR/daemon-text.log"
}

# ---- descriptors and the log ------------------------------------------------------------------------------------------

dropped() { # LEVEL
    curl -sS --max-time 60 "$URL/metrics" | sed -n "s/^offload_log_dropped_total{level=\"$1\"} //p"
}

# A daemon whose log is a pipe with a reader that can be stopped. LOG gets what the reader has read.
start_with_reader() { # OPTIONS...
    LOG=$BATS_TEST_TMPDIR/daemon-read.log
    mkfifo "$BATS_TEST_TMPDIR/fifo"
    cat "$BATS_TEST_TMPDIR/fifo" >"$LOG" 3>&- &
    READER=$!
    "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --enable-test-types --log-format json --log-level debug "$@" \
        2>"$BATS_TEST_TMPDIR/fifo" 3>&- &
    DAEMON=$!
    wait_for grep -q '"event":"ready"' "$LOG"
    PORT=$(sed -n 's/.*"event":"ready".*"listen":\["127\.0\.0\.1:\([0-9]*\)".*/\1/p' "$LOG")
    URL=http://127.0.0.1:$PORT
}

# Jobs, each with lines in the log, until lines are dropped.
fill_log() {
    local i
    for ((i = 0; i < 100; i++)); do
        [ "$(dropped debug)/$(dropped info)" = 0/0 ] || return 0
        curl -sS --max-time 60 -o /dev/null -H 'Content-Type: application/json' -d '{"type":"echo","params":{"value":1}}' \
            "$URL/v1/jobs#[1-20]" # the same URL 20 times
    done
    return 1
}

@test "nobody waits for a reader of the log that stalls: lines are dropped, counted and reported" {
    start_with_reader --log-buffer 16KiB
    [ "$(dropped debug)/$(dropped info)" = 0/0 ]
    kill -STOP "$READER"
    fill_log
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    [ "$(dropped error)" = 0 ]
    kill -CONT "$READER"
    wait_for grep -q '"level":"warn","event":"log_dropped","debug":[0-9]*,"info":[0-9]*,"warn":0,"error":0}$' "$LOG"
    jq -e . "$LOG" >/dev/null # no line is torn
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    wait "$READER"
    grep -q '"event":"drained"' "$LOG"
}

@test "SIGTERM ends the service while the reader of the log stalls" {
    start_with_reader --log-buffer 16KiB
    kill -STOP "$READER"
    fill_log
    stop_daemon
    kill -CONT "$READER"
    [ "$DAEMON_STATUS" = 0 ]
    wait "$READER"
}

@test "a reader of the log that stalls stops no worker and no zygote: both write to the front end" {
    start_with_reader --log-buffer 16KiB
    kill -STOP "$READER"
    for pid in $(children_of "$DAEMON"); do
        for fd in 1 2; do [[ $(readlink "/proc/$pid/fd/$fd") == pipe:* ]]; done
        [ "$(readlink "/proc/$pid/fd/2")" != "$(readlink "/proc/$DAEMON/fd/2")" ]
    done
    for _ in 1 2 3; do
        call_job '{"type":"crash","params":{"how":"exit"},"options":{"max_attempts":3}}' # it writes a line, and is replaced
        expect_problem 500 worker_crashed
    done
    kill -CONT "$READER"
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    wait "$READER"
}

@test "it works without stdin, stdout and stderr, and its files are not written over" {
    socket=$BATS_TEST_TMPDIR/sock
    "$OFFLOADD" --listen "unix:$socket" --data-dir "$BATS_TEST_TMPDIR/data" 0<&- 1>&- 2>&- 3>&- &
    DAEMON=$!
    ready() { [ "$(status --unix-socket "$socket" http://localhost/readyz 2>/dev/null)" = 200 ]; }
    wait_for ready
    for fd in 0 1 2; do [ "$(readlink "/proc/$DAEMON/fd/$fd")" = /dev/null ]; done
    [ "$(curl -sS --unix-socket "$socket" -H 'Content-Type: application/json' -d '{"type":"primes","params":{"nth":3}}' \
        http://localhost/v1/jobs | jq .result.prime)" = 5 ]
    [ "$(cat "$BATS_TEST_TMPDIR/data/lock")" = "$DAEMON" ]
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
}

@test "descriptors that were left open for the service do not reach the zygote and the workers" {
    exec 7<"$BATS_TEST_FILENAME" 150<"$BATS_TEST_FILENAME"
    start_daemon --workers 1
    call_job '{"type":"spawned","params":{},"options":{"isolation":"fresh"}}'
    [ "$CODE" = 200 ]
    for pid in $(children_of "$DAEMON"); do
        [ -z "$(readlink /proc/"$pid"/fd/* | grep daemon.bats)" ]
    done
    exec 7<&- 150<&-
}

# ---- signals ---------------------------------------------------------------------------------------------------------

@test "before the workers are ready: livez 200, readyz 503, new jobs 503 starting" {
    socket=$BATS_TEST_TMPDIR/sock
    python3 "$BATS_TEST_DIRNAME/hold_start.py" "$OFFLOADD" "$socket" "$BATS_TEST_TMPDIR/daemon-held.log" \
        >"$BATS_TEST_TMPDIR/pids" 3>&-
    read -r DAEMON zygote <"$BATS_TEST_TMPDIR/pids"
    URL=http://offload
    alive() { [ "$(status --unix-socket "$socket" http://offload/livez 2>/dev/null)" = 200 ]; } # the zygote is older than the socket
    wait_for alive
    call --unix-socket "$socket" /readyz
    readyz=$CODE
    call --unix-socket "$socket" -H 'Content-Type: application/json' -d '{"type":"primes","params":{"nth":1}}' /v1/jobs
    cp "$BODY" "$BATS_TEST_TMPDIR/answer"
    kill -CONT "$zygote"
    ready() { [ "$(status --unix-socket "$socket" http://offload/readyz)" = 200 ]; }
    wait_for ready
    kill -TERM "$DAEMON"
    DAEMON=
    [ "$readyz" = 503 ]
    expect_problem 503 starting
    [ -n "$(header Retry-After)" ]
}

# Drains with a running job. The job does not sleep but burns CPU time: on a busy machine it takes longer, like the
# requests that have to be answered before it ends.
for_signal() { # SIGNAL
    start_daemon --workers 1 --drain-timeout 60s
    curl -sS -o "$BATS_TEST_TMPDIR/sync" -H 'Content-Type: application/json' -d '{"type":"burn","params":{"cpu_ms":2000}}' \
        "$URL/v1/jobs" 3>&- &
    client=$!
    running() { [ "$(curl -sS "$URL/v1/jobs?status=running" | jq '.jobs | length')" = 1 ]; }
    wait_for running
    id=$(curl -sS "$URL/v1/jobs" | jq -r '.jobs[0].id')
    kill "-$1" "$DAEMON"
    unready() { [ "$(status "$URL/readyz")" = 503 ]; }
    wait_for unready
    [ "$(status "$URL/livez")" = 200 ]
    call_job '{"type":"echo","params":{"value":1}}'
    expect_problem 503 draining
    [[ $(header Retry-After) =~ ^[1-9][0-9]*$ ]]
    call "/v1/jobs/$id"
    [ "$CODE" = 200 ]
    call '/readyz?verbose'
    grep -q '^\[-\].*drain' "$BODY"
    wait "$client"
    [ "$(jq -r .status "$BATS_TEST_TMPDIR/sync")" = succeeded ]
    wait_daemon
    [ "$DAEMON_STATUS" = 0 ]
}

@test "SIGTERM drains: the running job ends and is answered, new jobs get 503, exit 0" {
    for_signal TERM
}

@test "SIGINT does the same" {
    # A shell starts background commands with SIGINT ignored; env undoes that.
    printf '#!/bin/sh\nexec env --default-signal=INT "%s" "$@"\n' "$(realpath "$OFFLOADD")" >"$BATS_TEST_TMPDIR/offloadd"
    chmod +x "$BATS_TEST_TMPDIR/offloadd"
    OFFLOADD=$BATS_TEST_TMPDIR/offloadd
    for_signal INT
}

@test "an idle service stops at once, and leaves no process" {
    start_daemon --drain-timeout 60s
    pids=$(children_of "$DAEMON")
    [ -n "$pids" ]
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    wait_for all_gone $pids
}

@test "jobs do not hold up the end beyond --drain-timeout: clients that wait get an answer, exit 0, no process left" {
    start_daemon --workers 1 --drain-timeout 300ms
    id=$(submit '{"type":"crash","params":{"how":"hang"}}')
    wait_for is_running "$id"
    curl -sS -o "$BATS_TEST_TMPDIR/sync" -H 'Content-Type: application/json' -d "$LONG" "$URL/v1/jobs" 3>&- &
    client=$!
    waits() { [ "$(curl -sS "$URL/v1/jobs" | jq '.jobs | length')" = 2 ]; }
    wait_for waits
    pids=$(children_of "$DAEMON")
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    wait "$client"
    [ "$(jq -r .code "$BATS_TEST_TMPDIR/sync")" = draining ]
    wait_for all_gone $pids
}

@test "a second signal stops at once: exit 128 + signal" {
    start_daemon --workers 1 --drain-timeout 60s
    wait_for is_running "$(submit "$LONG")"
    kill -TERM "$DAEMON"
    unready() { [ "$(status "$URL/readyz")" = 503 ]; }
    wait_for unready
    kill -TERM "$DAEMON"
    wait_daemon
    [ "$DAEMON_STATUS" = 143 ]
}

@test "SIGHUP reloads limits and handlers: new workers, and the running job goes on" {
    echo 'max-body = 3KiB' >"$BATS_TEST_TMPDIR/conf"
    start_daemon --workers 1 --config "$BATS_TEST_TMPDIR/conf"
    limit_is 3072
    old=$(curl -sS "$URL/v1/workers" | jq -r '.workers[].pid' | sort | xargs)
    id=$(submit '{"type":"sleep","params":{"ms":3000}}')
    wait_for is_running "$id"
    echo 'max-body = 5KiB' >"$BATS_TEST_TMPDIR/conf"
    kill -HUP "$DAEMON"
    wait_for grep -q '"event":"reload"' "$LOG"
    limit_is 5120
    is_running "$id"
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" .attempts)" = 1 ]
    renewed() {
        local pid
        for pid in $(curl -sS "$URL/v1/workers" | jq -r '.workers[].pid'); do
            [[ " $old " == *" $pid "* ]] && return 1
        done
        return 0
    }
    wait_for renewed
    call_job '{"type":"sleep","params":{"ms":20}}'
    [ "$CODE" = 200 ]
}

@test "SIGHUP logs once which changed options need a restart" {
    echo 'max-body = 3KiB' >"$BATS_TEST_TMPDIR/conf"
    start_daemon --workers 1 --config "$BATS_TEST_TMPDIR/conf"
    printf '%s\n' 'max-body = 5KiB' 'express-workers = 2' 'max-connections = 7' >"$BATS_TEST_TMPDIR/conf"
    kill -HUP "$DAEMON"
    wait_for grep -q '"event":"reload"' "$LOG"
    [ "$(grep -c '"event":"reload_ignored"' "$LOG")" = 1 ]
    grep -q '"event":"reload_ignored".*"options":"--express-workers, --max-connections"' "$LOG"
    limit_is 5120
}

@test "SIGHUP with a wrong config file changes nothing" {
    echo 'max-body = 3KiB' >"$BATS_TEST_TMPDIR/conf"
    start_daemon --config "$BATS_TEST_TMPDIR/conf"
    echo 'max-body = lots' >"$BATS_TEST_TMPDIR/conf"
    kill -HUP "$DAEMON"
    wait_for grep -q '"event":"reload_failed"' "$LOG"
    limit_is 3072
}

@test "workers are renewed after --max-jobs-per-worker" {
    start_daemon --workers 1 --max-jobs-per-worker 2
    first=$(curl -sS "$URL/v1/workers" | jq '.workers[] | select(.lane == "main") | .pid')
    for _ in 1 2 3 4; do
        call_job '{"type":"sleep","params":{"ms":20}}'
        [ "$CODE" = 200 ]
        holds '.attempts == 1'
    done
    [ "$(curl -sS "$URL/v1/workers" | jq '.workers[] | select(.lane == "main") | .pid')" != "$first" ]
}

# The control socket of the zygote holds some 280 requests at a time.
@test "--workers 400: all of them come, and are replaced when they are killed together" {
    [ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 4096 ] || skip "there are not enough descriptors"
    start_daemon --workers 400
    all_idle() { [ "$(curl -sS "$URL/v1/workers" | jq '[.workers[] | select(.state == "idle")] | length')" = 401 ]; }
    wait_for all_idle
    [ "$(status "$URL/readyz")" = 200 ]
    curl -sS "$URL/v1/workers" | jq '.workers[].pid' | xargs kill -KILL
    wait_for all_idle
}

@test "a supervisor's NOTIFY_SOCKET is told when the service is ready and when it stops" {
    export NOTIFY_SOCKET=$BATS_TEST_TMPDIR/notify
    python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
for _ in range(2):
    print(s.recv(100).decode(), flush=True)
' "$NOTIFY_SOCKET" >"$BATS_TEST_TMPDIR/told" 3>&- &
    local supervisor=$!
    wait_for test -S "$NOTIFY_SOCKET"
    start_daemon
    wait_for grep -qx READY=1 "$BATS_TEST_TMPDIR/told"
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    wait "$supervisor"
    [ "$(cat "$BATS_TEST_TMPDIR/told")" = $'READY=1\nSTOPPING=1' ]
}

# Starts offloadd as the child of a process, PARENT, that has another child, too, which outlives it.
start_as_child() { # OPTION...
    LOG=$BATS_TEST_TMPDIR/daemon-child.log
    python3 -c '
import os, subprocess, sys
if os.fork() == 0:
    os.execvp("sleep", ["sleep", "600"])
subprocess.Popen([*sys.argv[1:], "--exit-with-parent", str(os.getpid())]).wait()
' "$OFFLOADD" --listen "unix:$BATS_TEST_TMPDIR/private/sock" --private-dir "$BATS_TEST_TMPDIR/private" \
        --data-dir none --enable-test-types "$@" 2>"$LOG" 3>&- &
    PARENT=$!
    wait_for grep -q '"event":"ready"' "$LOG"
    FAMILY=$(children_of "$PARENT")
    SLEEPER=$(pgrep -P "$PARENT" -x sleep)
}

family_is_gone() { # all but the other child
    all_gone $(grep -vx "$SLEEPER" <<<"$FAMILY")
}

@test "--exit-with-parent: when the parent is killed all processes end, and the --private-dir goes" {
    start_as_child --workers 2
    curl -sS --unix-socket "$BATS_TEST_TMPDIR/private/sock" -H 'Content-Type: application/json' -d "$LONG" \
        http://localhost/v1/jobs >/dev/null 3>&- &
    is_busy() { curl -sS --unix-socket "$BATS_TEST_TMPDIR/private/sock" http://localhost/v1/workers | grep -q busy; }
    wait_for is_busy
    kill -KILL "$PARENT"
    wait_for family_is_gone
    [ ! -e "$BATS_TEST_TMPDIR/private" ]
    kill -0 "$SLEEPER"
    kill "$SLEEPER"
}

@test "--exit-with-parent: the parent is killed while a program loads" {
    printf 'import time\nopen("%s/loading", "w")\ntime.sleep(600)\n' "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/tasks.py"
    start_as_child --python "$BATS_TEST_TMPDIR/tasks.py" & # it never gets ready
    local starter=$!
    wait_for test -e "$BATS_TEST_TMPDIR/loading"
    local daemon
    daemon=$(pgrep -f -- "--private-dir $BATS_TEST_TMPDIR/private" | while read -r pid; do
        [ "$(cat "/proc/$pid/comm")" = offloadd ] && echo "$pid" && break
    done)
    FAMILY="$daemon $(children_of "$daemon")"
    local parent sleeper
    parent=$(ps -o ppid= -p "$daemon" | tr -d ' ')
    sleeper=$(pgrep -P "$parent" -x sleep)
    kill -KILL "$parent"
    family_is_gone_too() { all_gone $FAMILY; }
    wait_for family_is_gone_too
    [ ! -e "$BATS_TEST_TMPDIR/private" ]
    kill "$sleeper"
    kill "$starter" 2>/dev/null || true
}

@test "--private-dir: only sockets are removed from it, and it stays if there is something else" {
    start_as_child
    touch "$BATS_TEST_TMPDIR/private/file"
    kill -TERM "$(pgrep -P "$PARENT" -x offloadd)"
    wait_for family_is_gone
    [ "$(ls -A "$BATS_TEST_TMPDIR/private")" = file ]
    kill "$SLEEPER"
}

@test "--private-dir: a directory of others is refused, with exit 1 and one line" {
    mkdir -m 750 "$BATS_TEST_TMPDIR/open"
    for dir in "$BATS_TEST_TMPDIR/open" "$BATS_TEST_TMPDIR/none/such" /dev/null; do
        daemon --listen 127.0.0.1:0 --data-dir none --private-dir "$dir"
        [ "$status" = 1 ]
        one_line_with --private-dir
    done
    [ -d "$BATS_TEST_TMPDIR/open" ]
}

@test "--exit-with-parent: another process than the parent: exit 1 and one line" {
    daemon --listen 127.0.0.1:0 --data-dir none --exit-with-parent 1
    [ "$status" = 1 ]
    one_line_with --exit-with-parent
}

@test "a NOTIFY_SOCKET that is not there is logged, and the service starts all the same" {
    NOTIFY_SOCKET=$BATS_TEST_TMPDIR/nowhere start_daemon
    wait_for grep -q '"event":"supervisor_not_told","state":"READY=1"' "$LOG"
    [ "$(status "$URL/livez")" = 200 ]
}

@test "a worker maps its own page of the scoreboard, and the zygote none" {
    all_idle() { curl -sS "$URL/v1/workers" | jq -e '[.workers[] | select(.state == "idle")] | length == 4'; }
    start_daemon --workers 3
    wait_for all_idle
    local pid pages=()
    for pid in $(children_of "$DAEMON"); do
        pages+=("$(grep -c offload-scoreboard "/proc/$pid/maps" || true)")
    done
    [ "$(printf '%s\n' "${pages[@]}" | sort | xargs)" = "0 1 1 1 1" ]
}
