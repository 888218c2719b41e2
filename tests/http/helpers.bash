# helpers.bash: starting and stopping the real service for a bats test. Load it with `load helpers`.
#
# start_daemon [options...]   starts it on a free port; sets URL, PORT, DAEMON (its pid) and LOG. At its end it does not
#                             wait for jobs. Its jobs are in a directory of its own, unless --data-dir names one
# kill_daemon                 ends it by kill -9, and waits
# stop_daemon                 ends it by SIGTERM, and waits; its exit status is in DAEMON_STATUS
# wait_daemon                 waits for its end; its exit status is in DAEMON_STATUS
# post [curl options...] JSON     POST /v1/jobs; prints the body
# status [curl options...]    prints the HTTP status alone
# job_field ID JQ             prints a field of the Job, by jq
# wait_for COMMAND...         waits until the command succeeds, at least 10 s
#
# call [curl options...] PATH     one request; the answer is in CODE (status), HEAD and BODY (files)
# call_job [curl options...] JSON POST /v1/jobs as one call
# header NAME                 a header of the last call, "" if it had none
# field JQ                    a field of its body, by jq -r
# holds JQ [jq options...]    true of its body; shows the body if not
# expect_problem STATUS CODE  the last call was answered with that RFC 9457 document
# submit [curl options...] JSON   submits with respond-async; prints the id
# ended ID                    waits for the job's end and prints its status
# is_running ID, has_status ID STATUS
# children_of PID             its descendants, one pid a line
#
# A log line that names a sanitizer fails the test in teardown. BUILD is the build directory (default: build).

export XDG_STATE_HOME=${BATS_TEST_TMPDIR:-$BATS_RUN_TMPDIR}/state # for tests that start the service without --data-dir
BUILD=${BUILD:-build}
OFFLOADD=$BUILD/offloadd

start_daemon() {
    LOG=$BATS_TEST_TMPDIR/daemon-$RANDOM.log
    "$OFFLOADD" --listen 127.0.0.1:0 --enable-test-types --drain-timeout 0s --data-dir "${LOG%.log}.data" "$@" \
        2>"$LOG" 3>&- &
    DAEMON=$!
    local tries
    for ((tries = 0; tries < 1000; tries++)); do
        grep -q '"event":"ready"' "$LOG" && break
        kill -0 "$DAEMON" 2>/dev/null || break
        sleep 0.02
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

kill_daemon() {
    kill -KILL "$DAEMON"
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

# It gives up after 200 tries, which take 10 s or more.
wait_for() {
    local tries
    for ((tries = 0; tries < 200; tries++)); do
        "$@" && return 0
        sleep 0.05
    done
    echo "never true: $*" >&2
    return 1
}

job_field() {
    curl -sS --max-time 60 "$URL/v1/jobs/$1" | jq -r "$2"
}

call() {
    HEAD=$BATS_TEST_TMPDIR/head
    BODY=$BATS_TEST_TMPDIR/body
    : >"$HEAD"
    : >"$BODY"
    CODE=$(curl -sS --max-time 60 -D "$HEAD" -o "$BODY" -w '%{http_code}' "${@:1:$#-1}" "$URL${*: -1}")
}

call_job() {
    call -H 'Content-Type: application/json' "${@:1:$#-1}" --data-binary "${@: -1}" /v1/jobs
}

header() { # without other programs: it is called often
    local line value=
    while IFS= read -r line; do
        [[ ${line,,} == "${1,,}:"* ]] || continue
        value=${line#*:}
        value=${value%$'\r'}
    done <"$HEAD"
    echo "${value#"${value%%[! ]*}"}"
}

field() {
    jq -r "$1" "$BODY"
}

holds() {
    jq -e "${@:2}" "$1" "$BODY" >/dev/null && return 0
    echo "HTTP $CODE; not true: $1" >&2
    head -c 4000 "$BODY" >&2
    return 1
}

expect_problem() { # without jq, which takes long to start
    local body
    body=$(<"$BODY")
    [[ $CODE == "$1" && $(header Content-Type) == application/problem+json &&
        $body =~ \"type\":\ *\"/problems/"$2"\" && $body =~ \"code\":\ *\"$2\" && $body =~ \"status\":\ *$1, &&
        $body =~ \"title\":\ *\"[^\"] && $body =~ \"detail\":\ *\"[^\"] ]] && return 0
    echo "HTTP $1 $2 expected, got:" >&2
    cat "$HEAD" "$BODY" >&2
    return 1
}

submit() {
    post -H 'Prefer: respond-async' "$@" | jq -er .id
}

ended() {
    curl -sS --max-time 60 -H 'Prefer: wait=50' "$URL/v1/jobs/$1" | jq -r .status
}

has_status() {
    [ "$(job_field "$1" .status)" = "$2" ]
}

is_running() {
    has_status "$1" running
}

children_of() {
    local child
    for child in $(pgrep -P "$1"); do
        echo "$child"
        children_of "$child"
    done
}

# A body in a file, for those that are too long for an argument: body_file JQ-EXPRESSION, then call_file.
body_file() {
    jq -nc "$1" >"$BATS_TEST_TMPDIR/body.json"
}

call_file() {
    call -H 'Content-Type: application/json' "$@" --data-binary @"$BATS_TEST_TMPDIR/body.json" /v1/jobs
}
