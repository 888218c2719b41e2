#!/usr/bin/env bats
# programs.bats: program processes, workers, templates and the service itself are killed while Python programs
# (../http/program.py) have work: each job that was accepted ends with the right answer, and no process is left. ROUNDS=10
# makes each test ten times as long.

bats_require_minimum_version 1.5.0
load ../http/helpers
load chaos

setup() {
    DATA=$BATS_TEST_TMPDIR/data
    PROGRAM="python3 $BATS_TEST_DIRNAME/../http/program.py"
    MARK=offload-chaos-$$-$RANDOM # in the environment of all programs
}

teardown() {
    touch "$BATS_TEST_TMPDIR/stop"
    stop_daemon
    check_log
}

serve() {
    OFFLOAD_TEST_MARK=$MARK start_daemon --workers 2 --data-dir "$DATA" --retry-delay 1ms --max-retry-delay 20ms \
        --program "$PROGRAM --fork" --program "$PROGRAM --prefix x-" "$@"
}

marked_pids() {
    grep -slz "^OFFLOAD_TEST_MARK=$MARK\$" /proc/[0-9]*/environ | cut -d/ -f3
}

none_marked() {
    [ -z "$(marked_pids)" ]
}

pids_of() { # KIND
    case $1 in
        worker) curl -sS --max-time 5 "$URL/v1/workers" | jq '.workers[].pid | select(. > 0)' ;;
        program) pgrep -P "$(zygote_pid)" -f program.py ;; # a process of a worker, mostly
        template) pgrep -o -P "$(zygote_pid)" -f 'program.py --fork' ;;
    esac
}

kill_until() { # FILE KIND...
    local file=$1 kinds=("${@:2}") pids
    until [ -e "$file" ]; do
        mapfile -t pids < <(pids_of "${kinds[RANDOM % ${#kinds[@]}]}" 2>/dev/null)
        [ "${#pids[@]}" -eq 0 ] || kill -KILL "${pids[RANDOM % ${#pids[@]}]}" 2>/dev/null
        sleep 0.03
    done
}

# The I-th job and its result.
job_of() { # I
    local options='"options":{"max_attempts":100}'
    case $(($1 % 4)) in
        0) echo '{"type":"double","params":{"n":'"$1"'},'"$options"'}' ;;
        1) echo '{"type":"squares","params":{"start":0,"stop":1000},'"$options"'}' ;;
        2) echo '{"type":"hold","params":{"how":"signal","ms":50},'"$options"'}' ;;
        3) echo '{"type":"x-double","params":{"n":'"$1"'},'"$options"'}' ;;
    esac
}

right_result() { # I
    case $(($1 % 4)) in
        0 | 3) echo $(($1 * 2)) ;;
        1) echo 332833500 ;;
        2) echo signal ;;
    esac
}

# Submits jobs FROM to TO; those that were acknowledged are in IDS.
submit_jobs() { # FROM TO
    local i id
    for ((i = $1; i < $2; i++)); do
        id=$(post -H 'Prefer: respond-async' "$(job_of "$i")" 2>/dev/null | jq -er 'select(.type != null) | .id // empty' 2>/dev/null) || continue
        IDS[i]=$id
    done
}

expect_right() {
    local i
    for i in "${!IDS[@]}"; do
        [ "$(ended "${IDS[i]}")" = succeeded ] || { curl -sS "$URL/v1/jobs/${IDS[i]}" >&2; return 1; }
        [ "$(job_field "${IDS[i]}" .result)" = "$(right_result "$i")" ]
    done
}

expect_nothing_left() {
    mapfile -t pids < <(children_of "$DAEMON")
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    wait_for none_alive "${pids[@]}"
    wait_for none_marked
}

@test "kill -9 of program processes, workers and templates: every job ends with the right result" {
    serve
    IDS=()
    stop_file=$BATS_TEST_TMPDIR/stop
    kill_until "$stop_file" program program worker template 3>&- &
    killer=$!
    submit_jobs 0 $((40 * ROUNDS))
    [ "${#IDS[@]}" = $((40 * ROUNDS)) ]
    expect_right
    touch "$stop_file"
    wait "$killer"
    expect_no_zombies
    expect_nothing_left
}

@test "kill -9 of the service: nothing that was accepted is lost, and no program outlives it" {
    IDS=()
    for ((round = 0; round < 3 * ROUNDS; round++)); do
        serve
        submit_jobs $((round * 12)) $((round * 12 + 12))
        mapfile -t pids < <(children_of "$DAEMON")
        kill_daemon
        wait_for none_alive "${pids[@]}"
        wait_for none_marked
    done
    [ "${#IDS[@]}" = $((36 * ROUNDS)) ]
    serve
    expect_right
    expect_nothing_left
}
