# helpers.bash: starting and stopping the real service for a bats test. Load it with `load helpers`.
#
# start_daemon [options...]   on a free port; sets URL, PORT, DAEMON (its pid) and LOG
# stop_daemon                 ends it and waits; its exit status is in DAEMON_STATUS
# post [curl options...] JSON     POST /v1/jobs; prints the body
# status [curl options...]    prints the HTTP status alone
# jget PATH < JSON            jq -r
#
# A log line that names a sanitizer fails the test in teardown. BUILD is the build directory (default: build).

BUILD=${BUILD:-build}
OFFLOADD=$BUILD/offloadd

start_daemon() {
    LOG=$BATS_TEST_TMPDIR/daemon-$RANDOM.log
    "$OFFLOADD" --listen 127.0.0.1:0 --enable-test-types "$@" 2>"$LOG" 3>&- &
    DAEMON=$!
    local tries
    for tries in $(seq 200); do
        grep -q '"event":"ready"' "$LOG" && break
        kill -0 "$DAEMON" 2>/dev/null || break
        sleep 0.05
    done
    PORT=$(sed -n 's/.*"event":"ready".*"listen":\["127\.0\.0\.1:\([0-9]*\)".*/\1/p' "$LOG")
    URL=http://127.0.0.1:$PORT
    [ -n "$PORT" ] || { cat "$LOG" >&2; return 1; }
}

stop_daemon() {
    DAEMON_STATUS=
    [ -n "${DAEMON:-}" ] || return 0
    kill -TERM "$DAEMON" 2>/dev/null || true
    wait_daemon
}

wait_daemon() {
    DAEMON_STATUS=0
    wait "$DAEMON" || DAEMON_STATUS=$?
    DAEMON=
}

check_log() {
    local log
    for log in "$BATS_TEST_TMPDIR"/daemon-*.log; do
        [ -e "$log" ] || continue
        if grep -E 'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|worker_protocol_error|zygote_protocol_error' "$log"; then
            echo "the log above has errors" >&2
            return 1
        fi
    done
}

teardown() {
    stop_daemon
    check_log
}

post() {
    curl -sS --max-time 60 -H 'Content-Type: application/json' "${@:1:$#-1}" --data-binary "${@: -1}" "$URL/v1/jobs"
}

post_status() {
    curl -sS --max-time 60 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' "${@:1:$#-1}" --data-binary "${@: -1}" "$URL/v1/jobs"
}

status() {
    curl -sS --max-time 60 -o /dev/null -w '%{http_code}' "$@"
}

# wait_for COMMAND...: until it succeeds, 10 s at most.
wait_for() {
    local tries
    for tries in $(seq 200); do
        "$@" && return 0
        sleep 0.05
    done
    echo "never true: $*" >&2
    return 1
}

# job_field ID JQ: a field of the Job.
job_field() {
    curl -sS --max-time 60 "$URL/v1/jobs/$1" | jq -r "$2"
}
