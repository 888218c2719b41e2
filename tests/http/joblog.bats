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
    run ! grep -q '^offload_worker_restarts_total{' "$BODY"
    run ! grep -q '"event":"worker_' "$LOG"
}

@test "every cause is told: signal, exit, oom, timeout, protocol" {
    for cause in signal exit oom timeout protocol; do
        call_job "$(report '{"lost":"'$cause'","times":1}')"
        [ "$CODE" = 200 ]
        holds '.lost[0].cause == $c' --arg c $cause
    done
    holds '.lost[0] | has("signal") or has("exit_code") | not' # protocol: it has neither
    run ! grep -q '"event":"worker_' "$LOG"
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
    run ! grep -q '"event":"worker_' "$LOG"
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

@test "an exception: its class and message in the answer, the traceback in the Job" {
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

# ---- the log -----------------------------------------------------------------------------------------------------------

log_of() { # ID [curl options...]
    call "${@:2}" "/v1/jobs/$1/log"
}

@test "the log is what was printed, and links.log names it" {
    call_job "$(report '{"print":"one\ntwo\n","lines":2}')"
    id=$(field .id)
    [ "$(field .links.log)" = "/v1/jobs/$id/log" ]
    log_of "$id"
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = "text/plain; charset=utf-8" ]
    [ "$(<"$BODY")" = $'one\ntwo\nline 0\nline 1' ]
}

@test "a job that printed nothing has an empty log and no link; an unknown one is 404, a deleted one 410" {
    call_job "$(report '{}')"
    id=$(field .id)
    holds '.links | has("log") | not'
    log_of "$id"
    [ "$CODE" = 200 ]
    [ ! -s "$BODY" ]
    log_of 01a21b3a-b2cb-758b-8316-ca8e76be38e5
    expect_problem 404 not_found
    log_of nonsense
    expect_problem 404 not_found
    id=$(submit "$(report '{"lines":1}')")
    [ "$(ended "$id")" = succeeded ]
    call -X DELETE "/v1/jobs/$id"
    log_of "$id"
    expect_problem 410 gone
    call -X POST "/v1/jobs/$id/log"
    expect_problem 405 method_not_allowed
    [ "$(header Allow)" = "GET, HEAD, OPTIONS" ]
}

@test "HEAD, ETag, If-None-Match and Range" {
    id=$(submit "$(report '{"print":"0123456789\n"}')")
    [ "$(ended "$id")" = succeeded ]
    log_of "$id" --head
    [ "$CODE" = 200 ]
    [ "$(header Content-Length)" = 11 ]
    etag=$(header ETag)
    log_of "$id" -H "If-None-Match: $etag"
    [ "$CODE" = 304 ]
    log_of "$id" -H 'Range: bytes=2-4'
    [ "$CODE" = 206 ]
    [ "$(header Content-Range)" = "bytes 2-4/11" ]
    [ "$(<"$BODY")" = 234 ]
    log_of "$id" -H 'Range: bytes=100-'
    expect_problem 416 range_not_satisfiable
}

@test "of many lines the last 64 KiB are kept, in whole lines" {
    call_job "$(report '{"lines":10000}')"
    id=$(field .id)
    log_of "$id"
    seq 0 9999 | sed 's/^/line /' >"$BATS_TEST_TMPDIR/all"
    size=$(stat -c %s "$BODY")
    ((size <= 65536 && size > 65536 - 10))
    cmp "$BODY" <(tail -c "$size" "$BATS_TEST_TMPDIR/all")
    grep -q '^line ' <(head -n 1 "$BODY")
    [ "$(tail -n 1 "$BODY")" = "line 9999" ]
}

@test "bytes that are no UTF-8 are replaced" {
    call_job "$(report '{"hex":"61ff62c30a"}')"
    log_of "$(field .id)"
    [ "$(xxd -p "$BODY")" = 61efbfbd62efbfbd0a ]
}

@test "each attempt and each item of a map adds to the log" {
    call_job "$(report '{"print":"try\n","lost":"exit","times":2}')"
    log_of "$(field .id)"
    [ "$(<"$BODY")" = $'try\ntry\ntry' ]
    call_job '{"type":"report","items":[{"print":"a\n"},{"print":"b\n"},{"print":"c\n"}],"options":{"chunks":3}}'
    log_of "$(field .id)"
    [ "$(sort "$BODY")" = $'a\nb\nc' ]
}

@test "the log of a running job grows, and its ETag with it" {
    id=$(submit "$(report '{"print":"working\n","wait_ms":600000}')")
    has_log() {
        log_of "$id"
        [ "$(<"$BODY")" = working ]
    }
    wait_for has_log
    [ "$(job_field "$id" .links.log)" = "/v1/jobs/$id/log" ]
    call -X POST "/v1/jobs/$id/cancel"
    holds '.status == "cancelled"'
    log_of "$id"
    [ "$(<"$BODY")" = working ]
}

@test "a log survives a restart together with its job" {
    id=$(submit "$(report '{"print":"kept\n"}')")
    [ "$(ended "$id")" = succeeded ]
    data=${LOG%.log}.data
    kill_daemon
    start_daemon --data-dir "$data"
    log_of "$id"
    [ "$(<"$BODY")" = kept ]
    [ "$(job_field "$id" .links.log)" = "/v1/jobs/$id/log" ]
    call /v1/jobs
    holds '.jobs[0].links.log == "/v1/jobs/" + .jobs[0].id + "/log"'
}

@test "what a job has printed before a crash of the service is gone; its new run prints again" {
    id=$(submit "$(report '{"print":"run\n","wait_ms":1500}')")
    printed() {
        log_of "$id"
        [ -s "$BODY" ]
    }
    wait_for printed
    data=${LOG%.log}.data
    kill_daemon
    start_daemon --data-dir "$data"
    [ "$(ended "$id")" = succeeded ]
    log_of "$id"
    [ "$(<"$BODY")" = run ]
}

@test "without a data directory the log is kept in memory" {
    stop_daemon
    start_daemon --data-dir none
    id=$(submit "$(report '{"print":"kept\n"}')")
    [ "$(ended "$id")" = succeeded ]
    log_of "$id"
    [ "$(<"$BODY")" = kept ]
}

@test "each line is an event in the log of offloadd" {
    call_job "$(report '{"print":"one\ntwo\n"}')"
    id=$(field .id)
    run jq -c --arg id "$id" 'select(.event == "program_output" and .job == $id) | [.level, .type, .line]' "$LOG"
    [ "$output" = $'["info","report","one"]\n["info","report","two"]' ]
}

# ---- events ------------------------------------------------------------------------------------------------------------

events() { # ID [curl options...]
    curl -sSN --max-time 60 "${@:2}" "$URL/v1/jobs/$1/events" | python3 tests/http/sse.py parse
}

@test "the events have the lines, and the end comes after them" {
    id=$(submit "$(report '{"print":"one\ntwo\n","lines":3,"wait_ms":300}')")
    events "$id" >"$BATS_TEST_TMPDIR/events"
    run jq -rs '[.[] | select(.event == "log") | .data.text] | add' "$BATS_TEST_TMPDIR/events"
    [ "$output" = $'one\ntwo\nline 0\nline 1\nline 2' ]
    run jq -rs '.[-1] | .event + " " + .data.links.log' "$BATS_TEST_TMPDIR/events"
    [ "$output" = "end /v1/jobs/$id/log" ]
}

@test "a client that comes back gets the lines after those that it has" {
    id=$(submit "$(report '{"lines":5,"wait_ms":600000}')")
    shown() {
        curl -sSN --max-time 2 "$URL/v1/jobs/$id/events" >"$BATS_TEST_TMPDIR/first" || true
        grep -q 'line 4' "$BATS_TEST_TMPDIR/first"
    }
    wait_for shown
    python3 tests/http/sse.py parse <"$BATS_TEST_TMPDIR/first" >"$BATS_TEST_TMPDIR/events"
    # Whatever event it has seen last, the lines that follow it come once.
    for last in $(jq -r .id "$BATS_TEST_TMPDIR/events"); do
        seen=$(jq -rs --arg last "$last" '(map(.id) | rindex($last)) as $i | [.[:$i + 1][] | select(.event == "log") | .data.text] | add // ""' "$BATS_TEST_TMPDIR/events")
        curl -sSN --max-time 1 -H "Last-Event-ID: $last" "$URL/v1/jobs/$id/events" >"$BATS_TEST_TMPDIR/again" || true
        run ! grep -q 'event: snapshot' "$BATS_TEST_TMPDIR/again"
        rest=$(python3 tests/http/sse.py parse <"$BATS_TEST_TMPDIR/again" | jq -rs '[.[] | select(.event == "log") | .data.text] | add // ""')
        [ "$(printf '%s\n%s' "$seen" "$rest" | sed '/^$/d')" = $'line 0\nline 1\nline 2\nline 3\nline 4' ]
    done
    # A place in the log that there is not: a snapshot, and all lines.
    epoch=$(jq -rs '.[0].id | split("-")[0]' "$BATS_TEST_TMPDIR/events")
    for last in "$epoch-1-1000" "$epoch-1-0" "$epoch-1-" "$epoch-1-1x" "$epoch-1-1-1" 0123456789abcdef-1-2; do
        curl -sSN --max-time 1 -H "Last-Event-ID: $last" "$URL/v1/jobs/$id/events" >"$BATS_TEST_TMPDIR/again" || true
        [ "$(python3 tests/http/sse.py parse <"$BATS_TEST_TMPDIR/again" | jq -rs '[.[].event] | join(" ")' | cut -c 1-12)" = "snapshot log" ]
    done
}

@test "items and lines come in one stream" {
    id=$(submit '{"type":"report","items":[{"print":"a\n"},{"print":"b\n"},{"print":"c\n","wait_ms":200}],"options":{"chunks":3,"delay_ms":2000}}')
    events "$id" >"$BATS_TEST_TMPDIR/events"
    run jq -rs '[.[] | select(.event == "log") | .data.text | split("\n")[] | select(. != "")] | sort | join("")' "$BATS_TEST_TMPDIR/events"
    [ "$output" = abc ]
    run jq -s '[.[] | select(.event == "item")] | length' "$BATS_TEST_TMPDIR/events"
    [ "$output" = 3 ]
}

@test "a log of a hundred thousand lines passes through the events of a reader" {
    id=$(submit "$(report '{"lines":100000}')")
    events "$id" >"$BATS_TEST_TMPDIR/events"
    [ "$(ended "$id")" = succeeded ]
    run jq -rs '[.[] | select(.event == "log") | .data.text] | add | split("\n") | .[-2]' "$BATS_TEST_TMPDIR/events"
    [ "$output" = "line 99999" ]
    log_of "$id"
    [ "$(tail -n 1 "$BODY")" = "line 99999" ]
}

# ---- the client --------------------------------------------------------------------------------------------------------

@test "offload log prints the log, and with --follow goes on until the job ends" {
    export OFFLOAD_URL=$URL
    offload() { "$BUILD/offload" "$@"; }
    id=$(submit "$(report '{"print":"one\ntwo\n","wait_ms":700}')")
    [ "$(offload log "$id" --follow)" = $'one\ntwo' ]
    [ "$(job_field "$id" .status)" = succeeded ]
    [ "$(offload log "$id")" = $'one\ntwo' ]
    [ "$(offload log "$id" --follow)" = $'one\ntwo' ]
    run --separate-stderr offload log 01890000-0000-7000-8000-000000000000
    [ "$status" -ne 0 ]
    [[ $stderr == *not_found* ]]
}

@test "offload run --log prints lines on stderr, and the result on stdout, however the job ends" {
    export OFFLOAD_URL=$URL
    offload() { "$BUILD/offload" "$@"; }
    run --separate-stderr offload run report print=$'one\ntwo\n' --log
    [ "$status" -eq 0 ]
    [ "$stderr" = $'one\ntwo' ]
    [[ $output == '{"survived_attempts":0,'* ]]
    run --separate-stderr offload run report print=$'slow\n' wait_ms=1500 --log
    [ "$status" -eq 0 ]
    [ "$stderr" = slow ]
    run --separate-stderr offload run report print=$'failing\n' exception=E detail=why --log
    [ "$status" -eq 1 ]
    [[ $stderr == *why* && $stderr == *failing* ]]
    run --separate-stderr offload run report print=$'no\n'
    [ "$stderr" = "" ]
    id=$(submit "$(report '{"print":"one\n","wait_ms":300}')")
    run --separate-stderr offload wait "$id" --log
    [ "$stderr" = one ]
}
