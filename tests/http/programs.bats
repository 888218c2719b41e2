#!/usr/bin/env bats
# programs.bats: job types of programs (docs/programs.md), which are program.py, beside this file: their types, calls, the
# many ways to die and to start badly, cancelling, forking, and that no process is left.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    PROGRAM="python3 $BATS_TEST_DIRNAME/program.py"
}

serve() { # [OPTIONS OF THE PROGRAM] -- [OPTIONS OF THE SERVICE]
    local words=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    start_daemon --workers 1 --retry-delay 1ms --max-retry-delay 1ms --program "$PROGRAM ${words[*]}" "${@:2}"
}

run_job() { # TYPE PARAMS [MEMBERS]
    call_job "{\"type\":\"$1\",\"params\":$2${3:+,$3}}"
}

# The result of a job that succeeds.
result_of() { # TYPE PARAMS [MEMBERS]
    run_job "$@"
    [ "$CODE" = 200 ] || { cat "$BODY" >&2; return 1; }
    field .result
}

begin() { # TYPE PARAMS [MEMBERS]; prints the id
    submit "{\"type\":\"$1\",\"params\":$2${3:+,$3}}"
}

none_alive() { # PID...; a zombie is none
    local pid
    for pid in "$@"; do
        [ ! -d "/proc/$pid" ] || grep -qs '^State:.*Z' "/proc/$pid/status" || return 1
    done
}

worker_pids() {
    curl -sS "$URL/v1/workers" | jq -c '[.workers[].pid]'
}

program_pid() {
    result_of who '{}' | jq .pid
}

template_pid() { # of the only program
    local pid
    for pid in $(pgrep -P "$(pgrep -P "$DAEMON" | head -n 1)"); do
        grep -qz -- program.py "/proc/$pid/cmdline" && echo "$pid" && return
    done
}

# offloadd does not start, with 2 and one line, in which all these texts are.
refuses() { # TEXT... -- OPTIONS...
    local texts=()
    while [ "$1" != -- ]; do
        texts+=("$1")
        shift
    done
    shift
    run --separate-stderr timeout 40 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir "$BATS_TEST_TMPDIR/refused" "$@" 3>&-
    local line said
    said=$(grep -v '^{' <<<"$stderr") || true
    for line in "${texts[@]}"; do
        [[ $said == *"$line"* ]] || { echo "no \"$line\" in: $stderr" >&2; return 1; }
    done
    [ "$status" = 2 ] || { echo "exit status $status: $stderr" >&2; return 1; }
    [ "$(wc -l <<<"$said")" = 1 ] || { echo "more than one line: $said" >&2; return 1; }
}

# ---- types and params --------------------------------------------------------------------------------------------------

@test "types: the list shows the schema, and what the table can say is checked before any program is woken" {
    serve
    call /v1/types
    holds '.types[] | select(.name == "check") | .summary == "For tests: check" and .params.properties.n.maximum == 10'
    run_job check '{"n":11}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params/n"'
    for params in '{}' '{"n":"x"}' '{"n":1,"kind":"c"}' '{"n":1,"list":{}}' '{"n":1,"other":1}' '[]'; do
        run_job check "$params"
        [ "$CODE" = 422 ]
    done
    [ -z "$(pgrep -f "$BATS_TEST_DIRNAME/program.py" -P "$(pgrep -P "$DAEMON" | head -n 1)")" ]
    run_job check '{"n":10,"kind":"b","list":[1,{"x":null}],"any":1.5}'
    holds '.result == {n: 10, kind: "b", list: [1, {x: null}], any: 1.5}'
}

@test "results are shown as the program writes them" {
    serve --fork
    [ "$(result_of double '{"n":21}')" = 42 ]
    run_job double '{"n":"9007199254740993"}'
    grep -q '"result":18014398509481986,' "$BODY"
    run_job check '{"n":1,"any":{"a":["\u00e4\u0000",-0.0]}}'
    grep -q '"result":{"n": 1, "any": {"a": \["\\u00e4\\u0000", -0.0\]}}' "$BODY" || { cat "$BODY" >&2; return 1; }
}

@test "errors: each code, a traceback in the Job, and an error without any member" {
    serve --fork
    run_job fail '{"code":"handler_failed","detail":"division by zero","exception":"ZeroDivisionError","traceback":"File x\n"}'
    expect_problem 500 handler_failed
    holds '.exception == "ZeroDivisionError" and .detail == "division by zero"'
    call "$(field .instance)"
    holds '.error.traceback == "File x\n"'
    run_job fail '{"code":"invalid_params","pointer":"/detail","detail":"why"}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params/detail" and .errors[0].detail == "why"'
    run_job fail '{"code":"memory_limit","detail":"no"}'
    expect_problem 507 memory_limit
    run_job fail '{"exception":"KeyError","detail":""}'
    expect_problem 500 handler_failed
    holds '.detail == "KeyError"'
    for params in '{"code":"cancelled"}' '{"code":"?"}' '{"code":7,"detail":"x"}' '{}'; do
        run_job fail "$params"
        expect_problem 500 handler_failed
    done
    [ "$(result_of double '{"n":1}')" = 2 ]
    ! grep -q '"event":"task_lost"' "$LOG"
}

@test "maps: in order, with the error of each item" {
    serve --fork
    call_job '{"type":"double","items":[{"n":1},{"n":2},{"n":3}]}'
    holds '[.result.items[].result] == [2,4,6]'
    call_job '{"type":"fail","items":[{"code":"memory_limit"},{"exception":"E"}]}'
    holds '[.result.items[].error.code] == ["memory_limit","handler_failed"]'
    call_job '{"type":"die","items":[{"how":"exit","times":1},{"how":"exit","times":0}],"options":{"max_attempts":3}}'
    holds '[.result.items[].status] == ["succeeded","succeeded"] and .attempts == 2'
}

@test "maps: an item at which the process dies each time fails alone, wherever it is" {
    serve --fork
    for place in 0 1 2; do
        items=$(jq -nc --argjson place $place '[range(3) | {how: "exit", times: (if . == $place then 0 else 1 end)}]' | sed 's/,"times":0//')
        call_job "{\"type\":\"die\",\"items\":$items,\"options\":{\"max_attempts\":2}}"
        holds '[.result.items[].status] == ([range(3) | if . == $p then "failed" else "succeeded" end])' --argjson p $place
        holds '.result.items[$p].error.code == "worker_crashed"' --argjson p $place
    done
    call_job '{"type":"die","items":[{"how":"exit"}],"options":{"max_attempts":2}}'
    holds '[.result.items[].error.code] == ["worker_crashed"]'
    call_job '{"type":"die","columns":{"how":"segv","times":[0,99,0]},"options":{"max_attempts":2}}'
    holds '[.result.results[] | type] == ["number","null","number"] and [.result.errors[].index] == [1]'
}

@test "split and merge; without merge the result is the array of the values; a bad split fails" {
    serve --fork
    [ "$(result_of squares '{"start":0,"stop":1000}')" = 332833500 ]
    call "/v1/jobs?limit=1"
    [ "$(result_of squares '{"start":0,"stop":1000,"step":1000}')" = 332833500 ]
    [ "$(result_of parts '{"count":5}' | jq -c .)" = '[0,1,2,3,4]' ]
    [ "$(result_of parts '{"count":1}' | jq -c .)" = '[0]' ]
    run_job parts '{"bad":"none"}'
    expect_problem 500 handler_failed
    holds '.detail | test("no chunks")'
    run_job parts '{"bad":"fail"}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params/bad"'
    run_job parts '{"bad":"many"}'
    [ "$CODE" = 500 ]
    for bad in list value die; do
        run_job parts '{"bad":"'$bad'"}' '"options":{"max_attempts":2}'
        expect_problem 500 worker_crashed
        holds '.detail | test("attempt 2 of 2")'
    done
    [ "$(result_of double '{"n":1}')" = 2 ]
}

@test "progress is shown while the call runs" {
    serve --fork
    id=$(begin hold '{"how":"progress","ms":60000}')
    shows() { [ "$(job_field "$1" .progress.fraction)" = 0.3 ] || [ "$(job_field "$1" .progress.fraction)" = 0.300 ]; }
    wait_for shows "$id"
    call -X POST "/v1/jobs/$id/cancel"
}

@test "what a job prints is its log: whole lines, and a last one without newline; the next job has its own" {
    serve --fork
    for _ in 1 2 3; do
        id=$(begin say '{"text":"one\ntwo"}')
        [ "$(ended "$id")" = succeeded ]
        [ "$(curl -sS "$URL/v1/jobs/$id/log")" = $'one\ntwo' ]
        other=$(begin double '{"n":1}')
        [ "$(ended "$other")" = succeeded ]
        [ -z "$(curl -sS "$URL/v1/jobs/$other/log")" ]
    done
    grep -q '"event":"program_output","job":"'"$id"'",.*"line":"two"' "$LOG"
    text=$(printf 'x%.0s' {1..30000})
    id=$(begin say "{\"text\":\"$text\"}")
    [ "$(ended "$id")" = succeeded ]
    [ "$(curl -sS "$URL/v1/jobs/$id/log" | tr -d '\n')" = "$text" ]
}

# ---- the process -------------------------------------------------------------------------------------------------------

@test "the environment: one thread, stdin null, no descriptor of ours, no signal blocked; variables of the service's" {
    OMP_NUM_THREADS=3 serve
    result_of who '{}' >"$BATS_TEST_TMPDIR/who"
    jq -e --arg pwd "$PWD" '.threads == ["3","1","1"] and .stdin == "/dev/null" and .directory == $pwd and
        .fds == [0,1,2,3] and .fd == "3" and .mask[0] == "0000000000000000" and .attempt == 0' "$BATS_TEST_TMPDIR/who"
    [ "$(pgrep -P "$DAEMON" | head -n 1)" = "$(jq .parent "$BATS_TEST_TMPDIR/who")" ]
    [ "$(program_pid)" = "$(jq .pid "$BATS_TEST_TMPDIR/who")" ] # it is kept
}

@test "the deadline is told; isolation: fresh is a new program process" {
    serve --fork
    run_job who '{}' '"options":{"timeout_ms":100000}'
    started=$(date -d "$(field .started_at)" +%s)
    [ "$(field "(.result.deadline - $started - 100) | fabs < 5")" = true ]
    pid=$(field .result.pid)
    run_job who '{}' '"options":{"isolation":"fresh"}'
    [ "$(field .result.pid)" != "$pid" ]
    first=$(field .result.pid)
    wait_for none_alive "$first"
    run_job who '{}' '"options":{"isolation":"fresh"}'
    [ "$(field .result.pid)" != "$first" ]
}

@test "two programs at once: each has its types, and its processes" {
    start_daemon --workers 1 --program "$PROGRAM --fork --prefix a-" --program "$PROGRAM --prefix b-"
    [ "$(result_of a-double '{"n":1}')" = 2 ]
    [ "$(result_of b-double '{"n":2}')" = 4 ]
    [ "$(result_of a-who '{}' | jq .pid)" != "$(result_of b-who '{}' | jq .pid)" ]
    run_job a-die '{"how":"exit","times":1}'
    [ "$(field .attempts)" = 2 ]
    [ "$(result_of b-double '{"n":2}')" = 4 ]
}

# ---- the ways to die ---------------------------------------------------------------------------------------------------

deaths='segv:signal:SIGSEGV kill:signal:SIGKILL exit:exit:3 half:exit:0 close:protocol: garbage:protocol: text:protocol:
    binary:protocol: huge:protocol: tiny:protocol: call:protocol: hello:protocol: kind:protocol: planned:protocol:
    forked:protocol: both:protocol: deep:protocol:'

@test "each way to die is one lost attempt with its certificate; the worker and the other jobs go on" {
    for fork in '' --fork; do
        serve $fork --
        workers=$(worker_pids)
        for death in $deaths; do
            IFS=: read -r how cause detail <<<"$death"
            [ -z "$fork" ] || [ "$how" != close ] || continue # it takes half a second
            [ -n "$fork" ] || [[ " segv close " == *" $how "* ]] || continue
            run_job die '{"how":"'"$how"'","times":1}'
            [ "$CODE" = 200 ] || { cat "$BODY"; return 1; }
            holds '.attempts == 2 and .result == 1 and (.lost | length) == 1 and .lost[0].cause == $c' --arg c "$cause"
            holds '.lost[0].stderr_tail | startswith("last words of ")'
            holds '.lost[0].max_rss_bytes > 1000000'
            [ -z "$detail" ] || holds '.lost[0] | (.signal // (.exit_code | tostring)) == $d' --arg d "$detail"
            [ "$cause" != protocol ] || holds '.lost[0].stderr_tail | test("\noffload: ")'
        done
        [ "$(result_of double '{"n":4}')" = 8 ]
        [ "$(worker_pids)" = "$workers" ]
        ! grep -q '"event":"worker_lost"' "$LOG"
        stop_daemon
    done
}

@test "a process that answers more calls than it was sent is killed; the call that it did answer stands" {
    serve --fork
    [ "$(result_of die '{"how":"more"}')" = 1 ]
    [ "$(result_of double '{"n":4}')" = 8 ]
}

@test "a process that dies in each attempt fails its job, which says how it died" {
    serve --fork
    run_job die '{"how":"segv"}' '"options":{"max_attempts":2}'
    expect_problem 500 worker_crashed
    [ "$(field .detail)" = "the process that ran it was killed by SIGSEGV (cause: signal), attempt 2 of 2" ]
    [ "$(result_of double '{"n":4}')" = 8 ]
}

# The calls are sent together, because the type is known to be cheap by then.
@test "many short jobs, one of which crashes: the others succeed in their first attempt" {
    serve --fork -- --max-sync 1000
    for _ in 1 2 3 4 5; do
        result_of die '{"how":"none","times":0}' >/dev/null
    done
    for i in $(seq 60); do
        [ "$i" = 1 ] || echo next
        how='{"how":"exit","times":0}'
        [ "$i" != 30 ] || how='{"how":"exit"}'
        echo "url = \"$URL/v1/jobs\""
        echo 'header = "Content-Type: application/json"'
        echo 'write-out = "\n"'
        echo "data = \"{\\\"type\\\":\\\"die\\\",\\\"params\\\":${how//\"/\\\"},\\\"options\\\":{\\\"max_attempts\\\":2}}\""
    done >"$BATS_TEST_TMPDIR/many"
    curl -sS --max-time 60 --parallel --parallel-immediate --parallel-max 60 -K "$BATS_TEST_TMPDIR/many" >"$BATS_TEST_TMPDIR/answers"
    [ "$(jq -s '[.[] | select(.status == "succeeded" and .attempts == 1 and .result == 0)] | length' "$BATS_TEST_TMPDIR/answers")" = 59 ]
    [ "$(jq -s '[.[] | select(.code == "worker_crashed")] | length' "$BATS_TEST_TMPDIR/answers")" = 1 ]
}

# The items are sent together, so nobody knows which of them is to blame, until each is sent alone. On a busy machine the
# calls can seem too long to be sent together; then the map is done once more.
@test "a process that dies with several calls is logged and counted, and no attempt is lost by that" {
    serve --fork
    good='{"how":"exit","times":0}'
    lost=0
    for _ in {1..20}; do
        call_job "{\"type\":\"die\",\"items\":[$good$(printf ",$good%.0s" {1..50})]}"
        call_job "{\"type\":\"die\",\"items\":[$good,{\"how\":\"exit\"},$good,$good,$good],\"options\":{\"max_attempts\":2,\"chunks\":1}}"
        [ "$CODE" = 200 ]
        holds '[.result.items[].status] == ["succeeded", "failed", "succeeded", "succeeded", "succeeded"]'
        lost=$((lost + $(field '.lost | length')))
        ! grep -q '"event":"process_died"' "$LOG" || break
    done
    [ "$(grep -c '"event":"process_died".*"cause":"exit".*"exit_code":3' "$LOG")" -ge 1 ]
    deaths=$(curl -sS "$URL/metrics" | sed -n 's/^offload_process_deaths_total{cause="exit"} //p')
    [ "$deaths" = "$((lost + $(grep -c '"event":"process_died"' "$LOG")))" ]
}

# ---- cancel and timeout ------------------------------------------------------------------------------------------------

@test "cancel: asked, signalled or killed, and the worker lives on" {
    serve --fork -- --cancel-grace 2s
    workers=$(worker_pids)
    for how in asks signal ignores; do
        pid=$(program_pid)
        id=$(begin hold '{"how":"'$how'","ms":60000}')
        wait_for is_running "$id"
        busy() { grep -q '^State:.*[SR]' "/proc/$1/status" && [ "$(curl -sS "$URL/v1/workers" | jq -r '.workers[] | select(.state == "busy") | .type')" = hold ]; }
        wait_for busy "$pid"
        call -X POST "/v1/jobs/$id/cancel"
        holds '.status == "cancelled"'
        after=$(program_pid)
        if [ $how = ignores ]; then
            [ "$after" != "$pid" ]
            wait_for none_alive "$pid"
        else
            [ "$after" = "$pid" ]
        fi
    done
    [ "$(worker_pids)" = "$workers" ]
    ! grep -q '"event":"worker_lost"' "$LOG"
}

@test "a timeout ends the call, and the worker lives on" {
    serve --fork -- --cancel-grace 2s
    workers=$(worker_pids)
    for how in signal ignores; do
        run_job hold '{"how":"'$how'","ms":60000}' '"options":{"timeout_ms":200}'
        expect_problem 504 job_timeout
    done
    [ "$(result_of double '{"n":4}')" = 8 ]
    [ "$(worker_pids)" = "$workers" ]
}

@test "a job whose process is still starting can be cancelled, and the process is used afterwards" {
    gate=$BATS_TEST_TMPDIR/gate
    serve --at-start "gate=$gate" --
    workers=$(worker_pids)
    touch "$gate"
    id=$(begin double '{"n":1}')
    starts() { pgrep -f "gate=$gate" -P "$(pgrep -P "$DAEMON" | head -n 1)" >"$BATS_TEST_TMPDIR/starting"; }
    wait_for starts
    call -X POST "/v1/jobs/$id/cancel"
    holds '.status == "cancelled"'
    rm "$gate"
    [ "$(program_pid)" = "$(cat "$BATS_TEST_TMPDIR/starting")" ]
    [ "$(worker_pids)" = "$workers" ]
}

@test "a program process is as nice as the worker that it works for" {
    for how in --fork ""; do
        # shellcheck disable=SC2086 # no word at all
        serve $how -- --worker-nice 7 --express-cost 0s
        pid=$(program_pid)
        [ "$(ps -o ni= -p "$pid")" -eq $(($(ps -o ni= -p "$DAEMON") + 7)) ]
        stop_daemon
    done
}

# ---- limits ------------------------------------------------------------------------------------------------------------

@test "--max-job-memory and --max-worker-rss count the program process" {
    limit=200 big=600
    ! grep -qs __asan_init "$OFFLOADD" || { limit=700 big=1200; }
    serve --fork -- --max-job-memory "${limit}MiB"
    run_job hog '{"bytes":'$((big << 20))'}' '"options":{"max_attempts":2}'
    expect_problem 507 memory_limit
    [ "$(result_of double '{"n":4}')" = 8 ]
    stop_daemon
    serve --fork -- --max-worker-rss "${limit}MiB"
    pid=$(program_pid)
    [ "$(result_of hog '{"bytes":'$((big << 20))'}')" = "$pid" ]
    wait_for none_alive "$pid"
    [ "$(program_pid)" != "$pid" ]
    grep -q '"event":"worker_exited"' "$LOG"
    ! grep -q '"event":"worker_lost"' "$LOG"
}

@test "--max-jobs-per-worker replaces the program process along with its worker" {
    serve --fork -- --max-jobs-per-worker 3
    for _ in {1..20}; do
        program_pid
    done >"$BATS_TEST_TMPDIR/pids"
    # All workers can have got some of them, and other tasks, too: the check of /readyz is one.
    [ -z "$(sort "$BATS_TEST_TMPDIR/pids" | uniq -c | awk '$1 > 3')" ]
    mapfile -t pids < <(sort -u "$BATS_TEST_TMPDIR/pids")
    [ ${#pids[@]} -ge 7 ]
    one_for_each_worker() {
        local pid alive=0
        for pid in "${pids[@]}"; do
            if kill -0 "$pid" 2>/dev/null; then alive=$((alive + 1)); fi
        done
        [ "$alive" -le 2 ]
    }
    wait_for one_for_each_worker
}

@test "max_calls: a process gets so many calls, of a map or one by one, and then the next process begins" {
    serve "--hello '{\"max_calls\":3}'" -- --express-cost 0
    for _ in {1..7}; do
        program_pid
    done >"$BATS_TEST_TMPDIR/pids"
    [ "$(uniq -c <"$BATS_TEST_TMPDIR/pids" | awk '{print $1}' | xargs)" = "3 3 1" ]
    call_job "{\"type\":\"who\",\"items\":[$(printf '{},%.0s' {1..99}){}]}"
    jq -c '.result.items[].result.pid' "$BODY" >>"$BATS_TEST_TMPDIR/pids"
    [ "$(uniq -c <"$BATS_TEST_TMPDIR/pids" | awk '$1 == 3' | wc -l)" = 35 ]
    holds '[.result.items[].status] == [range(100) | "succeeded"] and .attempts == 1'
    mapfile -t pids < <(uniq "$BATS_TEST_TMPDIR/pids")
    wait_for none_alive "${pids[@]:0:35}" # all but the last, which has answered two
}

# ---- processes of processes --------------------------------------------------------------------------------------------

@test "what a program process leaves behind is gone with it, and the rest with the service" {
    for fork in '' --fork; do
        serve $fork --
        mine=$(result_of leave '{}')
        away=$(result_of leave '{"session":true,"socket":true}')
        kill -0 "$mine" && kill -0 "$away"
        run_job die '{"how":"kill","times":1}' # the conversation has no end, because of that process
        [ "$CODE" = 200 ]
        holds '.lost[0].signal == "SIGKILL"'
        wait_for none_alive "$mine"
        kill -0 "$away"
        mine=$(result_of leave '{}')
        stop_daemon
        wait_for none_alive "$mine" "$away"
    done
}

@test "no descriptor and no zombie is left by many program processes" {
    serve --fork
    open_files() { # of the zygote, the worker and the front end
        local pid
        for pid in "$DAEMON" $(pgrep -P "$DAEMON") $(worker_pids | jq .[]) $(template_pid); do
            find "/proc/$pid/fd" -mindepth 1 | wc -l
        done | paste -sd ' '
    }
    no_zombies() {
        local pid
        for pid in $(children_of "$DAEMON"); do
            ! grep -qs '^State:.*Z' "/proc/$pid/status" || return 1
        done
    }
    as_before() { [ "$(open_files)" = "$1" ]; }
    run_job die '{"how":"exit","times":1}'
    before=$(open_files)
    run_job die '{"how":"exit","times":30}' '"options":{"max_attempts":40}'
    holds '.attempts == 31'
    run_job die '{"how":"garbage","times":10}' '"options":{"max_attempts":40}'
    holds '.attempts == 11'
    wait_for as_before "$before"
    wait_for no_zombies
}

# ---- templates ---------------------------------------------------------------------------------------------------------

@test "kill -9 of the template: its processes go on, and the next one is forked from a new template" {
    serve --fork
    pid=$(program_pid)
    old=$(template_pid)
    id=$(begin hold '{"how":"signal","ms":1000}')
    wait_for is_running "$id"
    kill -KILL "$old"
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" .attempts)" = 1 ]
    [ "$(program_pid)" = "$pid" ]
    kill -KILL "$pid"
    new=$(program_pid)
    [ "$new" != "$pid" ]
    [ "$(template_pid)" != "$old" ]
    grep -q 'template_lost.*SIGKILL' "$LOG"
    for _ in 1 2; do # without a rest
        kill -KILL "$(template_pid)" "$new"
        new=$(program_pid)
    done
    ! grep -q '"event":"worker_lost"' "$LOG"
}

@test "a template with threads is not forked, and the log says why" {
    serve --fork --at-start thread
    [ "$(result_of double '{"n":4}')" = 8 ]
    [ "$(program_pid)" = "$(program_pid)" ]
    [ "$(grep -c program_not_forked "$LOG")" = 1 ]
    grep -q 'program_not_forked.*2 threads' "$LOG"
}

@test "a template that cannot fork, or lies about it: attempts are lost, with the reason, and nobody else's process dies" {
    # of each: what the attempt's last words say
    while IFS=: read -r how words; do
        serve --fork --on-fork "$how" --
        zygote=$(pgrep -P "$DAEMON" | head -n 1)
        workers=$(worker_pids)
        run_job double '{"n":1}' '"options":{"max_attempts":2}'
        expect_problem 500 worker_crashed
        call "$(field .instance)"
        holds '.lost | length == 2 and (map(.stderr_tail | test($w)) | all)' --arg w "$words"
        [ "$(worker_pids)" = "$workers" ]
        [ "$(pgrep -P "$DAEMON" | head -n 1)" = "$zygote" ]
        call_job '{"type":"echo","params":{"value":1}}'
        [ "$CODE" = 200 ]
        stop_daemon
        check_log
    done <<'END'
error:no more processes today
self:not the child
parent:not the child
init:not the child
single:not the child
worker:not the child
die:has died
END
}

# Makes a program in sh, because Python takes long to start: it says hello with these members, which go before those of a
# good one, and waits.
says_hello() { # OBJECT
    local members=${1#\{} json size
    members=${members%\}}
    json='{'
    [[ $1 == *'"kind"'* ]] || json+='"kind":"hello",'
    [[ $1 == *'"protocol"'* ]] || json+='"protocol":1,'
    [[ $1 == *'"types"'* ]] || json+='"types":[{"name":"t","params":{"type":"object","properties":{}}}],'
    json+="$members}"
    size=${#json}
    SCRIPT=$BATS_TEST_TMPDIR/hello
    {
        printf '#!/bin/sh\nprintf '
        printf "'\\\\%03o\\\\%03o%s%%s' '%s' >&3\n" $((size % 256)) $((size / 256)) '\000\000\000\000\000\000' "$json"
        echo 'exec sleep 60'
    } >"$SCRIPT"
    chmod +x "$SCRIPT"
}

# ---- the start ---------------------------------------------------------------------------------------------------------

@test "a program that cannot be started refuses the start: exit code 2 and one line with the reason" {
    refuses "program:/no/such/file" "No such file" -- --program /no/such/file
    echo '#!/bin/sh' >"$BATS_TEST_TMPDIR/not-executable"
    refuses "not-executable" "Permission denied" -- --program "$BATS_TEST_TMPDIR/not-executable"
    refuses "program.py" "ImportError: no module named offload_is_not_here" -- --program "$PROGRAM --at-start raise"
    refuses "program.py" "exited with status 9" -- --program "$PROGRAM --at-start exit"
    refuses "program.py" "SIGSEGV" -- --program "$PROGRAM --at-start segv"
    refuses "program.py" "closed the conversation" -- --program "$PROGRAM --at-start close"
    refuses "program.py" "no frame" -- --program "$PROGRAM --at-start garbage"
    refuses "program.py" "its first message is not hello" -- --program "$PROGRAM --at-start result"
    refuses "program.py" "--load-timeout" -- --program "$PROGRAM --at-start hang" --load-timeout 300ms
}

@test "a bad hello refuses the start, and the line says what is wrong" {
    local good='{"name":"t","params":{"type":"object","properties":{}}}'
    says_hello '{"cancel_signal":10}'
    start_daemon --program "$SCRIPT"
    stop_daemon
    while IFS='|' read -r hello words; do
        says_hello "$hello"
        refuses "$words" -- --program "$SCRIPT"
    done <<END
{"protocol":2}|"protocol" is not 1
{"protocol":"1"}|"protocol" is not 1
{"kind":"result","call":1,"value":1}|its first message is not hello
{"kind":"hallo"}|"kind"
{"fork":1}|"fork" is not true or false
{"cancel_signal":0}|"cancel_signal"
{"cancel_signal":1000}|"cancel_signal"
{"max_calls":0}|"max_calls"
{"types":{}}|"types" is not an array
{"types":[]}|no job types
{"types":null}|"types" is not an array
{"sources":"x"}|"sources" is not an array
{"types":[1]}|a type has no "name"
{"types":[{"params":{}}]}|a type has no "name"
{"types":[{"name":"t"}]}|"params" is not an object
{"types":[{"name":"T","params":{"type":"object"}}]}|T
{"types":[{"name":"","params":{"type":"object"}}]}|name
{"types":[{"name":"primes","params":{"type":"object"}}]}|primes
{"types":[$good,$good]}|t
{"types":[{"name":"t","params":{"type":"array"}}]}|object
{"types":[{"name":"t","params":{"type":"object"},"summary":1}]}|"summary" is not a string
{"types":[{"name":"t","params":{"type":"object"},"flags":"split"}]}|"flags" is not an array of strings
{"types":[{"name":"t","params":{"type":"object"},"flags":[1]}]}|"flags" is not an array of strings
{"types":[{"name":"t","params":{"type":"object"},"timeout":0}]}|"timeout"
{"types":[{"name":"t","params":{"type":"object"},"timeout":"5"}]}|"timeout"
{"types":[{"name":"t","params":{"type":"object"},"max_attempts":0}]}|"max_attempts"
{"types":[{"name":"t","params":{"type":"object"},"max_attempts":1.5}]}|"max_attempts"
END
    long=$(printf 'a%.0s' {1..65})
    says_hello "{\"types\":[{\"name\":\"$long\",\"params\":{\"type\":\"object\"}}]}"
    refuses "$long" -- --program "$SCRIPT"
}

@test "two types of one name, and more than 16 programs, refuse the start" {
    refuses "double" -- --program "$PROGRAM" --program "$PROGRAM --fork"
    options=()
    for i in $(seq 17); do
        options+=(--program "$PROGRAM --prefix p$i-")
    done
    refuses "16" -- "${options[@]}"
}

# ---- the service -------------------------------------------------------------------------------------------------------

@test "SIGTERM drains: the call that runs ends, and no process is left" {
    serve --fork -- --drain-timeout 30s
    post '{"type":"hold","params":{"how":"signal","ms":700}}' >"$BATS_TEST_TMPDIR/answer" 3>&- &
    client=$!
    works() { [ "$(curl -sS "$URL/v1/workers" | jq -r '.workers[] | select(.state == "busy") | .type')" = hold ]; }
    wait_for works
    mapfile -t pids < <(children_of "$DAEMON")
    [ "${#pids[@]}" -ge 4 ]
    stop_daemon
    [ "$DAEMON_STATUS" = 0 ]
    wait "$client"
    [ "$(jq -r .result "$BATS_TEST_TMPDIR/answer")" = signal ]
    wait_for none_alive "${pids[@]}"
}

@test "SIGHUP: a changed program answers; old jobs finish; one that cannot be loaded changes nothing" {
    script=$BATS_TEST_TMPDIR/script
    write_script() {
        printf '#!/bin/sh\nexec %s --fork %s\n' "$PROGRAM" "$1" >"$script.new"
        chmod +x "$script.new"
        mv "$script.new" "$script"
    }
    write_script '--version 1'
    start_daemon --workers 2 --program "$script"
    [ "$(result_of double '{"n":4}')" = 1 ]
    id=$(begin hold '{"how":"signal","ms":700}')
    wait_for is_running "$id"
    write_script '--version 2'
    kill -HUP "$DAEMON"
    changed() { [ "$(result_of double '{"n":4}')" = "$1" ]; }
    wait_for changed 2
    [ "$(ended "$id")" = succeeded ]
    [ "$(job_field "$id" .attempts)" = 1 ]
    write_script '--at-start raise'
    kill -HUP "$DAEMON"
    failed() { curl -sS "$URL/readyz?verbose" | grep -q offload_is_not_here; }
    wait_for failed
    [ "$(result_of double '{"n":4}')" = 2 ]
    write_script '--version 3'
    kill -HUP "$DAEMON"
    wait_for changed 3
}

@test "without fork a changed program that is broken is a lost attempt with its last words" {
    script=$BATS_TEST_TMPDIR/script
    printf '#!/bin/sh\nexec %s $(cat %s.options)\n' "$PROGRAM" "$script" >"$script"
    chmod +x "$script"
    : >"$script.options"
    start_daemon --workers 1 --program "$script" --retry-delay 1ms
    echo '--at-start raise' >"$script.options"
    run_job double '{"n":1}' '"options":{"max_attempts":2}'
    expect_problem 500 worker_crashed
    call "$(field .instance)"
    holds '.lost | length == 2 and (.[1].stderr_tail | test("ImportError: no module named offload_is_not_here"))'
    : >"$script.options"
    [ "$(result_of double '{"n":4}')" = 8 ]
}

@test "kill -9 of the zygote leaves no process of its own, not even what programs have left behind" {
    serve --fork
    mine=$(result_of leave '{}')
    zygote=$(pgrep -P "$DAEMON")
    mapfile -t pids < <(children_of "$zygote")
    kill -KILL "$zygote"
    wait_for none_alive "${pids[@]}" "$mine"
    [ "$(result_of double '{"n":4}')" = 8 ]
}

@test "kill -9 of the service leaves no process, not even what programs have left behind" {
    serve --fork
    mine=$(result_of leave '{}')
    away=$(result_of leave '{"session":true}')
    begin hold '{"how":"ignores","ms":60000}'
    mapfile -t pids < <(children_of "$DAEMON")
    kill_daemon
    wait_for none_alive "${pids[@]}" "$mine" "$away"
}
