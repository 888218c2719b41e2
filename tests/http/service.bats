#!/usr/bin/env bats
# service.bats: what the service says about itself: types, workers, health, metrics, openapi.yaml, ids and traces.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":600000}}'

@test "/v1/types lists the types, each with a summary and the JSON Schema of its params" {
    start_daemon
    call /v1/types
    [ "$CODE" = 200 ]
    holds '[.types[].name] | contains(["primes", "sum", "embeddings", "sleep", "burn", "echo", "crash"])'
    holds '.types | all((.summary | length > 0) and (.flags | type == "array"))'
    holds '[.types[] | [.params | .. | objects | select(.type == "object")] | length > 0 and all(.additionalProperties == false)] | all'
    holds '[.types[] | select(.name == "primes") | .params | .. | .properties? // {} | keys[]] | contains(["start", "stop", "op", "nth"])'
}

@test "/v1/types says which media types a result can have, and which parameter chooses one" {
    start_daemon
    call /v1/types/bytes
    holds '.results == ["application/octet-stream", "text/plain"] and .result_param == "format"'
    call /v1/types/primes
    holds '(has("results") or has("result_param")) | not'
}

@test "/v1/types/{name} shows one of them, the same" {
    start_daemon
    call /v1/types
    cp "$BODY" "$BATS_TEST_TMPDIR/types"
    for name in primes sum embeddings echo; do
        call "/v1/types/$name"
        [ "$CODE" = 200 ]
        # shellcheck disable=SC2016
        holds '. as $one | $all[0].types | any(. == $one)' --slurpfile all "$BATS_TEST_TMPDIR/types"
        holds '.name == $name' --arg name "$name"
    done
    call /v1/types/prime
    expect_problem 404 not_found
}

@test "/v1/workers shows each process, by lane and state" {
    start_daemon --workers 2 --express-workers 1
    call /v1/workers
    [ "$CODE" = 200 ]
    holds '[.workers[].lane] | sort == ["express", "main", "main"]'
    holds '.workers | all((.state == "idle") and (.jobs | type == "number") and (.rss_bytes > 0)
           and (.started_at | test("^20.*Z$")))'
    for pid in $(field '.workers[].pid'); do
        kill -0 "$pid"
        [[ " $(children_of "$DAEMON" | xargs) " == *" $pid "* ]]
    done
    wait_for is_running "$(submit "$LONG")"
    call /v1/workers
    holds '[.workers[] | select(.state == "busy")] | length == 1 and .[0].lane == "main" and .[0].type == "sleep"'
}

@test "the title of each process says what it does" {
    start_daemon --workers 1
    wait_for is_running "$(submit "$LONG")"
    titles=$(for pid in $(children_of "$DAEMON"); do ps -o args= -p "$pid"; done)
    grep -q 'offloadd: zygote' <<<"$titles"
    grep -q 'offloadd: worker .*sleep' <<<"$titles"
}

# The nice values of the workers of a lane, over that of the service.
niceness() {
    local own pid
    own=$(ps -o ni= -p "$DAEMON")
    call /v1/workers
    for pid in $(field ".workers[] | select(.lane == \"$1\") | .pid"); do
        echo $(($(ps -o ni= -p "$pid") - own))
    done | xargs
}

@test "workers leave the CPU to the service and to express workers: --worker-nice" {
    echo 'workers = 2' >"$BATS_TEST_TMPDIR/config"
    start_daemon --config "$BATS_TEST_TMPDIR/config"
    [ "$(niceness main)" = "5 5" ]
    [ "$(niceness express)" = 0 ]
    echo 'worker-nice = 0' >>"$BATS_TEST_TMPDIR/config"
    kill -HUP "$DAEMON"
    are_not_nice() { [ "$(niceness main)" = "0 0" ]; }
    wait_for are_not_nice
}

@test "/livez and /healthz are 200, even with every worker busy" {
    start_daemon --workers 1
    submit '{"type":"burn","params":{"cpu_ms":60000}}'
    submit '{"type":"crash","params":{"how":"hang"}}'
    for path in /livez /healthz; do
        call --max-time 5 "$path"
        [ "$CODE" = 200 ]
    done
}

@test "/readyz is 200 when the workers answer, and names each check when asked" {
    start_daemon
    call /readyz
    [ "$CODE" = 200 ]
    call '/readyz?verbose'
    [ "$CODE" = 200 ]
    [ "$(grep -c '^\[+\].* ok' "$BODY")" -ge 3 ]
    grep -q '^\[+\].*worker' "$BODY"
    grep -q '^\[+\].*store' "$BODY"
    grep -q '^\[+\].*drain' "$BODY"
    run ! grep '^\[-\]' "$BODY"
}

@test "/readyz stays 200 with every worker busy" {
    start_daemon --workers 1
    wait_for is_running "$(submit '{"type":"burn","params":{"cpu_ms":60000}}')"
    call /readyz
    [ "$CODE" = 200 ]
}

@test "/readyz is 503 and names a worker that is stopped, idle or busy; then it is 200 again" {
    start_daemon --workers 2
    wait_for is_running "$(submit "$LONG")"
    for state in idle busy; do
        pid=$(curl -sS "$URL/v1/workers" |
            jq --arg state $state '[.workers[] | select(.lane == "main" and .state == $state)][0].pid')
        kill -STOP "$pid"
        unready() {
            call '/readyz?verbose'
            [ "$CODE" = 503 ]
        }
        wait_for unready
        grep -q "^\[-\].*$pid" "$BODY"
        [ -n "$(header Retry-After)" ]
        [ "$(status "$URL/livez")" = 200 ]
        kill -CONT "$pid"
        ready() { [ "$(status "$URL/readyz")" = 200 ]; }
        wait_for ready
    done
}

@test "/metrics is Prometheus text with every promised name" {
    start_daemon --workers 1
    call_job '{"type":"primes","params":{"start":0,"stop":1000}}'
    call_job '{"type":"crash","params":{"how":"SIGKILL"},"options":{"max_attempts":2}}'
    call_job '{"type":"crash","params":{"how":"exit","times":1}}'
    call -X POST "/v1/jobs/$(submit "$LONG")/cancel"
    wait_for is_running "$(submit "$LONG")"
    submit '{"type":"sleep","params":{"ms":600000},"options":{"priority":6}}'
    call /nowhere
    call /metrics
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = "text/plain; version=0.0.4; charset=utf-8" ]
    while read -r line; do
        grep -qE "^$line( |$)" "$BODY" || { echo "missing: $line"; false; }
    done <<'END'
offload_jobs_total\{type="primes",status="succeeded"\} 1
offload_jobs_total\{type="crash",status="failed"\} 1
offload_jobs_total\{type="crash",status="succeeded"\} 1
offload_jobs_total\{type="sleep",status="cancelled"\} 1
offload_jobs_queued\{priority="6"\} 1
offload_jobs_queued\{priority="3"\} 0
offload_job_wait_seconds_bucket\{le="\+Inf"\} [0-9]+
offload_job_wait_seconds_sum [0-9.e+-]+
offload_job_wait_seconds_count [0-9]+
offload_job_run_seconds_bucket\{type="primes",le="\+Inf"\} 1
offload_job_run_seconds_sum\{type="primes"\} [0-9.e+-]+
offload_job_run_seconds_count\{type="primes"\} 1
offload_chunks_total\{type="primes"\} 1
offload_chunk_retries_total\{cause="signal"\} 1
offload_chunk_retries_total\{cause="exit"\} 1
offload_workers\{lane="main",state="busy"\} 1
offload_workers\{lane="express",state="idle"\} 1
offload_worker_restarts_total\{cause="signal"\} 2
offload_worker_restarts_total\{cause="exit"\} 1
offload_held_bytes\{what="[a-z]+"\} [0-9]+
offload_http_requests_total\{route="/v1/jobs",code="200"\} [0-9]+
offload_http_requests_total\{route="[^"]*",code="404"\} 1
offload_http_request_seconds_bucket\{route="/v1/jobs",le="\+Inf"\} [0-9]+
offload_http_request_seconds_sum\{route="/v1/jobs"\} [0-9.e+-]+
offload_http_request_seconds_count\{route="/v1/jobs"\} [0-9]+
offload_http_connections 1
process_cpu_seconds_total [0-9.e+-]+
process_resident_memory_bytes [1-9][0-9.e+]*
process_virtual_memory_bytes [1-9][0-9.e+]*
process_open_fds [1-9][0-9]*
process_max_fds [1-9][0-9.e+]*
process_start_time_seconds [1-9][0-9.e+]*
offload_build_info\{.*version="[0-9]+\.[0-9]+.*"\} 1
END
}

@test "/metrics is well-formed: each sample has its type once, histograms add up" {
    start_daemon
    for i in 1 2 3; do
        call_job '{"type":"echo","params":{"value":'$i'}}'
    done
    call /metrics
    python3 - "$BODY" <<'END'
import re, sys

types, helps, seen, buckets = {}, set(), set(), {}
for line in open(sys.argv[1]):
    line = line.rstrip("\n")
    if line.startswith("# HELP "):
        name = line.split(" ")[2]
        assert name not in helps, line
        helps.add(name)
    elif line.startswith("# TYPE "):
        _, _, name, kind = line.split(" ")
        assert name not in types, line
        types[name] = kind
    else:
        sample = re.fullmatch(r'([a-z_]+)((?:\{(?:[a-z_]+="[^"\\\n]*",?)+\})?) (\S+)', line)
        assert sample, line
        name, labels, value = sample.groups()
        base = re.sub("_(bucket|sum|count)$", "", name)
        kind = types.get(name) or types.get(base)
        assert kind, f"no TYPE for {line}"
        assert (name, labels) not in seen, f"twice: {line}"
        seen.add((name, labels))
        assert float(value) >= 0, line
        if kind == "counter":
            assert name.endswith("_total"), line
        if kind == "histogram" and name.endswith("_bucket"):
            key = (base, re.sub(r',?le="[^"]*"', "", labels))
            assert float(value) >= buckets.get(key, 0), line
            buckets[key] = float(value)
        if kind == "histogram" and name.endswith("_count"):
            assert float(value) == buckets[(base, labels or "{}")], line
assert helps == set(types)
assert types["offload_job_wait_seconds"] == "histogram" and types["offload_jobs_total"] == "counter"
END
}

@test "/openapi.yaml and /openapi.json are the same OpenAPI 3.1 document" {
    start_daemon
    call /openapi.yaml
    [ "$CODE" = 200 ]
    grep -q '^openapi: .\?3\.1' "$BODY"
    cmp "$BODY" "$BATS_TEST_DIRNAME/../../openapi.yaml"
    call /openapi.json
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/json ]
    holds '.openapi | startswith("3.1")'
    for path in /v1/jobs '/v1/jobs/{id}' '/v1/jobs/{id}/result' '/v1/jobs/{id}/cancel' /v1/types '/v1/types/{name}' /v1/workers \
        /livez /healthz /readyz /metrics /openapi.yaml /openapi.json; do
        # shellcheck disable=SC2016
        holds '.paths | has($path)' --arg path "$path"
    done
}

@test "a trace goes on with its tracestate, whatever the form in which it comes; if it is invalid a new one begins" {
    start_daemon --log-level debug
    ids=0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331
    logged() { # ID FIELD: of the line that the job has ended
        jq -r -s --arg id "$1" --arg field "$2" 'map(select(.event == "job_ended" and .job == $id))[0][$field]' "$LOG"
    }
    traced() { # HEADERS...
        call_job "$@" '{"type":"echo","params":{"value":1}}'
        [ "$CODE" = 200 ]
        id=$(field .id)
        TRACE=$(logged "$id" trace)
        STATE=$(logged "$id" tracestate)
    }
    traced -H "traceparent: 00-$ids-01" -H 'tracestate: a=1 , b=2,' -H 'tracestate: c=3'
    [ "$TRACE" = "00-$ids-01" ]
    [ "$STATE" = a=1,b=2,c=3 ]
    for later in "cc-$ids-01" "cc-$ids-01-more" "cc-$ids-01-" $'\t'"00-$ids-01"$'\t '; do
        traced -H "traceparent: $later"
        [ "$TRACE" = "00-$ids-01" ]
        [ "$STATE" = null ]
    done
    for bad in "ff-$ids-01" "00-$ids-01-more" "cc-$ids-01more" "00-00000000000000000000000000000000-b7ad6b7169203331-01" \
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"; do
        traced -H "traceparent: $bad" -H 'tracestate: a=1'
        [ "$TRACE" = null ]
        [ "$STATE" = null ]
    done
    traced -H "traceparent: 00-$ids-01" -H "traceparent: 00-$ids-01" -H 'tracestate: a=1'
    [ "$TRACE$STATE" = nullnull ]
    traced -H 'tracestate: a=1'
    [ "$TRACE$STATE" = nullnull ]
    traced -H "traceparent: 00-$ids-01" -H 'tracestate: A=1'
    [ "$TRACE" = "00-$ids-01" ]
    [ "$STATE" = null ]
}

@test "instance is a URI reference" {
    start_daemon
    while read -r path instance; do
        call "$path"
        [ "$CODE" = 404 ]
        [ "$(field .instance)" = "$instance" ]
    done <<END
/v1/jobs/a%20b /v1/jobs/a%20b
/v1/jobs/a%25b /v1/jobs/a%25b
/%c3%a4%22%3f /%C3%A4%22%3F
/a:b;c=d@e!$&'()*+,~ /a:b;c=d@e!$&'()*+,~
END
}

@test "every problem's type leads to a page about it" {
    start_daemon
    for code in invalid_json duplicate_key too_deep not_utf8 unknown_type invalid_params body_too_large unsupported_media_type \
        queue_full over_memory over_quota draining starting store_unavailable too_many_connections handler_failed worker_crashed \
        job_timeout memory_limit queue_timeout cancelled not_found gone method_not_allowed header_too_large request_timeout \
        range_not_satisfiable invalid_query bad_request uri_too_long misdirected_request not_implemented version_not_supported \
        expectation_failed precondition_failed; do
        call "/problems/$code"
        [ "$CODE" = 200 ]
        grep -q "$code" "$BODY"
    done
}

@test "every answer has an X-Request-Id: the client's if it is valid, else a new one each time" {
    start_daemon --header-timeout 300ms
    for path in /livez /readyz /v1/jobs /v1/types /metrics /nowhere /problems/gone /openapi.json; do
        call "$path"
        [ -n "$(header X-Request-Id)" ]
        call -X PUT "$path"
        [ -n "$(header X-Request-Id)" ]
        call -X OPTIONS "$path"
        [ -n "$(header X-Request-Id)" ]
    done
    call_job '{'
    first=$(header X-Request-Id)
    call_job '{'
    [ -n "$first" ]
    [ "$(header X-Request-Id)" != "$first" ]
    call -H 'X-Request-Id: abc-123.X_y' /livez
    [ "$(header X-Request-Id)" = abc-123.X_y ]
    call -H 'X-Request-Id: "><script>' /livez
    [[ $(header X-Request-Id) =~ ^[0-9A-Za-z._-]+$ ]]
    exec 5<>"/dev/tcp/127.0.0.1/$PORT"
    printf 'GET /liv' >&5
    answer=$(timeout 20 cat <&5)
    exec 5>&-
    grep -qi '^X-Request-Id: [0-9A-Za-z]' <<<"$answer"
}

@test "a traceparent is in the log lines of its job, unless it is invalid" {
    start_daemon --log-level debug
    good=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    call_job -H "traceparent: $good" '{"type":"crash","params":{"how":"exit","times":1}}'
    [ "$CODE" = 200 ]
    id=$(field .id)
    for event in job_accepted job_started task_lost job_ended; do
        # shellcheck disable=SC2016
        jq -e -s --arg id "$id" --arg event $event --arg trace "$good" \
            'map(select(.event == $event and .job == $id)) | length == 1 and .[0].trace == $trace' "$LOG"
    done
    for bad in "${good^^}" 00-00000000000000000000000000000000-b7ad6b7169203331-01 ff-${good#00-} hello; do
        call_job -H "traceparent: $bad" '{"type":"echo","params":{"value":1}}'
        [ "$CODE" = 200 ]
    done
    [ "$(grep -c '"trace"' "$LOG")" = "$(grep -c "$good" "$LOG")" ]
}

@test "the log is one JSON object a line, each with time, level and event" {
    start_daemon --log-level debug
    call_job '{"type":"echo","params":{"value":1}}'
    call '/v1/jobs/"><\n'
    stop_daemon
    jq -e -s 'length > 4 and all((.time | test("^20.*Z$")) and (.level | test("^(debug|info|warn|error)$")) and has("event"))' "$LOG"
}

@test "a 503 of /readyz is not remembered" {
    start_daemon --workers 1
    pid=$(curl -sS "$URL/v1/workers" | jq '[.workers[] | select(.lane == "main")][0].pid')
    kill -STOP "$pid"
    unready() { [ "$(status "$URL/readyz")" = 503 ]; }
    wait_for unready
    kill -CONT "$pid"
    [ "$(status "$URL/readyz")" = 200 ]
}
