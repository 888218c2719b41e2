# chaos.bash: what the chaos tests share, on top of ../http/helpers.
#
# run_clients CLIENTS JOBS    so many clients at once, so many jobs each; answers in $BATS_TEST_TMPDIR/answers-*
# run_backlog JOBS            that many jobs waiting at a time
# expect_all_right JOBS       all answers of the last run are there, and right
# mixed_jobs JOBS             jobs that succeed, crash, lose their client or have large results; answers do not matter
# kill_workers_until FILE     kills a random worker every 30 ms until the file is there
# zygote_pid, worker_pid LANE, busy_worker_pid TYPE
# expect_no_zombies           among the descendants of the daemon
# ROUNDS                      default 1: how often, or how long

ROUNDS=${ROUNDS:-1}

# Curl's configuration for one client: NAME JOBS. The jobs and their results are those of expected_results.
client_config() {
    local i bodies=(
        '{"type":"primes","params":{"start":100000,"stop":200000},"options":{"chunks":4,"max_attempts":100}}'
        '{"type":"sum","params":{"start":0,"stop":20000000,"power":2},"options":{"chunks":4,"max_attempts":100}}'
        '{"type":"primes","params":{"start":0,"stop":100000000},"options":{"chunks":8,"max_attempts":100}}'
        '{"type":"primes","params":{"nth":1000},"options":{"max_attempts":100}}'
    )
    for i in $(seq "$2"); do
        [ "$i" = 1 ] || echo next
        echo "url = \"$URL/v1/jobs\""
        echo 'silent'
        echo 'show-error'
        echo 'max-time = 60'
        echo 'header = "Content-Type: application/json"'
        echo 'header = "Prefer: wait=50"'
        echo 'write-out = "\n"'
        echo "data = \"${bodies[i % 4]//\"/\\\"}\""
    done >"$BATS_TEST_TMPDIR/client-$1"
}

# The results of every four jobs, as expect_all_right writes them.
expected_results() {
    echo '{"count":5761455}'
    echo '{"count":8392}'
    echo '{"count":20000000,"sum":"2666666466666670000000"}'
    echo '{"prime":7919}'
}

run_clients() {
    local c pids=()
    rm -f "$BATS_TEST_TMPDIR"/answers-*
    for c in $(seq "$1"); do
        client_config "$c" "$2"
        curl -K "$BATS_TEST_TMPDIR/client-$c" >"$BATS_TEST_TMPDIR/answers-$c" 3>&- &
        pids+=($!)
    done
    wait "${pids[@]}"
}

run_backlog() {
    rm -f "$BATS_TEST_TMPDIR"/answers-*
    local i
    for i in $(seq "$1"); do
        [ "$i" = 1 ] || echo next
        echo "url = \"$URL/v1/jobs\""
        echo 'max-time = 60'
        echo 'header = "Content-Type: application/json"'
        echo 'write-out = "\n"'
        echo 'data = "{\"type\":\"primes\",\"params\":{\"nth\":1000}}"'
    done >"$BATS_TEST_TMPDIR/backlog"
    curl -sS --parallel --parallel-immediate --parallel-max 200 -K "$BATS_TEST_TMPDIR/backlog" \
        >"$BATS_TEST_TMPDIR/answers-1"
}

# Every answer is a job that succeeded; the results are the expected ones, and no others.
expect_all_right() {
    local wrong
    jq -c 'select(.status != "succeeded")' "$BATS_TEST_TMPDIR"/answers-* >"$BATS_TEST_TMPDIR/failed"
    head -c 4000 "$BATS_TEST_TMPDIR/failed" >&2
    [ ! -s "$BATS_TEST_TMPDIR/failed" ]
    jq -c '.result | if has("sum") then {count, sum} else . end' "$BATS_TEST_TMPDIR"/answers-* >"$BATS_TEST_TMPDIR/results"
    wrong=$(grep -vxFf <(expected_results) "$BATS_TEST_TMPDIR/results" | head -5)
    [ -z "$wrong" ] || { echo "wrong: $wrong" >&2; return 1; }
    [ "$(wc -l <"$BATS_TEST_TMPDIR/results")" = "$1" ] || { echo "$(wc -l <"$BATS_TEST_TMPDIR/results") answers" >&2; return 1; }
}

# One job of the mixture. The client of the third leaves while the job runs.
mixed_job() {
    case $(($1 % 5)) in
        0) post '{"type":"primes","params":{"start":0,"stop":3000000,"op":"list"},"options":{"chunks":5}}' ;;
        1) post '{"type":"crash","params":{"how":"SIGKILL","times":1}}' ;;
        2) curl -sS --max-time 0.05 -H 'Content-Type: application/json' "$URL/v1/jobs" \
            -d '{"type":"sleep","params":{"ms":5000}}' ;;
        3) head -c 100000 /dev/zero | tr '\0' ' ' | cat - <(echo '{"type":"echo","params":{"value":1}}') |
            post @- ;;
        4) post '{"type":"crash","params":{"how":"abort"},"options":{"max_attempts":1}}' ;;
    esac
}

mixed_jobs() {
    local c i pids=()
    for c in 0 1 2 3; do
        for i in $(seq "$c" 4 $(($1 - 1))); do
            mixed_job "$i"
        done >/dev/null 2>&1 3>&- &
        pids+=($!)
    done
    wait "${pids[@]}" || true
}

kill_workers_until() {
    local pids
    until [ -e "$1" ]; do
        mapfile -t pids < <(pgrep -P "$(zygote_pid)")
        if [ "${#pids[@]}" -gt 0 ]; then
            kill -KILL "${pids[RANDOM % ${#pids[@]}]}" 2>/dev/null
        fi
        sleep 0.03
    done
}

zygote_pid() {
    pgrep -P "$DAEMON" | head -n 1
}

worker_pid() {
    curl -sS "$URL/v1/workers" | jq -er "first(.workers[] | select(.lane == \"$1\")) | .pid"
}

busy_worker_pid() {
    curl -sS "$URL/v1/workers" | jq -er "first(.workers[] | select(.state == \"busy\" and .type == \"$1\")) | .pid"
}

all_workers_idle() {
    [ "$(curl -sS "$URL/v1/workers" | jq '[.workers[] | select(.state == "idle")] | length')" = "$1" ]
}

merging() {
    [ "$(job_field "$1" '.progress.done == .progress.total')" = true ]
}

draining() {
    [ "$(status "$URL/readyz")" = 503 ]
}

none_alive() {
    local pid
    for pid in "$@"; do
        ! kill -0 "$pid" 2>/dev/null || return 1
    done
}

# The daemon leads a process group of its own.
in_group() {
    set -m
    "$@"
    set +m
}

metric() {
    curl -sS "$URL/metrics" | awk -v name="$1" '$1 == name { print $2; found = 1 } END { if (!found) print 0 }'
}

# No job is live, and every client's connection is closed.
quiet() {
    [ "$(metric offload_jobs_running)" = 0 ] && all_workers_idle 3 && [ "$(metric offload_http_connections)" = 1 ]
}

descriptors() {
    find "/proc/$1/fd" -mindepth 1 | wc -l
}

same_descriptors() {
    [ "$(descriptors "$1")" = "$2" ]
}

expect_no_zombies() {
    wait_for no_zombies
}

no_zombies() {
    local pid
    for pid in $(children_of "$DAEMON"); do
        ! grep -qs '^State:.*Z' "/proc/$pid/status" || return 1
    done
}

all_ended() {
    [ "$(metric offload_jobs_running)" = 0 ] && all_workers_idle 3
}

# lost_of WHICH INDEX FIELD: of the crash whose answer is in the file crash-WHICH.
lost_of() {
    job_field "$(jq -r .job "$BATS_TEST_TMPDIR/crash-$1")" ".lost[$2]$3"
}

# A limit that is more than an idle worker of this build has (a sanitizer needs a lot), and far less than a hog takes.
hog_limit() {
    if grep -qs __asan_init "$OFFLOADD"; then
        echo 1500MiB
    else
        echo 300MiB
    fi
}
