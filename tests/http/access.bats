#!/usr/bin/env bats
# access.bats: keys: who is let in, who sees what, quotas, the keys file and its reload.

bats_require_minimum_version 1.5.0
load helpers

# new_key NAME SCOPES [QUOTA...]: adds a key to the file; prints it.
new_key() {
    local key
    key=offload_$(head -c 32 /dev/urandom | basenc --base64url -w 0 | tr -d =)
    echo "$1 sha256:$(printf %s "$key" | sha256sum | cut -d' ' -f1) ${*:2}" >>"$KEYS"
    echo "$key"
}

setup() {
    KEYS=$BATS_TEST_TMPDIR/keys
    : >"$KEYS"
}

# as KEY COMMAND...: the curl options of `call` and its like.
bearer() {
    echo "Authorization: Bearer $1"
}

asked() { # KEY, then as for call
    call -H "$(bearer "$1")" "${@:2}"
}

job_as() { # KEY [curl options...] JSON: prints the id
    post -H "$(bearer "$1")" -H 'Prefer: respond-async' "${@:2}" | jq -er .id
}

reloaded() {
    grep -q '"event":"handlers_loaded"' "$LOG"
}

LONG='{"type":"sleep","params":{"ms":600000}}'
ECHO='{"type":"echo","params":{"value":1}}'

@test "every route: no key, a wrong key, each scope, another's job" {
    for name in submit read admin; do
        echo "$name $(new_key $name $name)"
    done >"$BATS_TEST_TMPDIR/list"
    for name in both other; do
        echo "$name $(new_key $name submit,read)"
    done >>"$BATS_TEST_TMPDIR/list"
    start_daemon --workers 1 --keys "$KEYS"
    timeout 100 python3 "$BATS_TEST_DIRNAME/access_routes.py" "$URL" "$BATS_TEST_TMPDIR/list"
}

@test "a list has the jobs of its key alone, live and ended, in memory and in the store; admin's has all" {
    a=$(new_key a submit,read)
    b=$(new_key b submit,read)
    admin=$(new_key root admin)
    start_daemon --workers 1 --keys "$KEYS"
    stored=$(job_as "$a" "$ECHO")
    asked "$a" -H 'Prefer: wait=30' "/v1/jobs/$stored"
    holds '.status == "succeeded" and .key == "a"'
    asked "$a" -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    inline=$(field .id)
    live=$(job_as "$a" "$LONG")
    other=$(job_as "$b" "$LONG")
    asked "$a" /v1/jobs
    [ "$(field '[.jobs[].id] | join(" ")')" = "$live $inline $stored" ]
    asked "$b" /v1/jobs
    [ "$(field '[.jobs[].id] | join(" ")')" = "$other" ]
    asked "$a" '/v1/jobs?type=echo&status=succeeded'
    [ "$(field '[.jobs[].id] | join(" ")')" = "$inline $stored" ]
    asked "$a" '/v1/jobs?limit=1'
    asked "$a" "/v1/jobs?limit=5&cursor=$(field .next_cursor)"
    [ "$(field '[.jobs[].id] | join(" ")')" = "$inline $stored" ]
    asked "$admin" /v1/jobs
    [ "$(field '[.jobs[].key] | join(" ")')" = "b a a a" ]
}

@test "whose a job is, and its key's end, survive kill -9 and a restart" {
    a=$(new_key a submit,read)
    b=$(new_key b submit,read)
    start_daemon --workers 1 --keys "$KEYS" --data-dir "$BATS_TEST_TMPDIR/data"
    ended=$(job_as "$a" "$ECHO")
    asked "$a" -H 'Prefer: wait=30' "/v1/jobs/$ended"
    gone=$(job_as "$a" "$ECHO")
    asked "$a" -H 'Prefer: wait=30' "/v1/jobs/$gone"
    asked "$a" -X DELETE "/v1/jobs/$gone"
    [ "$CODE" = 204 ]
    live=$(job_as "$a" "$LONG")
    kill_daemon
    start_daemon --workers 1 --keys "$KEYS" --data-dir "$BATS_TEST_TMPDIR/data"
    for id in "$ended" "$live"; do
        asked "$a" "/v1/jobs/$id"
        [ "$CODE" = 200 ]
        asked "$b" "/v1/jobs/$id"
        expect_problem 404 not_found
        asked "$b" -X DELETE "/v1/jobs/$id"
        expect_problem 404 not_found
        asked "$b" -X POST "/v1/jobs/$id/cancel"
        expect_problem 404 not_found
    done
    asked "$a" "/v1/jobs/$gone"
    expect_problem 410 gone
    asked "$b" "/v1/jobs/$gone"
    expect_problem 404 not_found
    asked "$b" /v1/jobs
    holds '.jobs == []'
    asked "$a" /v1/jobs
    [ "$(field '[.jobs[].id] | join(" ")')" = "$live $ended" ]
}

@test "an Idempotency-Key belongs to its key, small and large bodies alike" {
    a=$(new_key a submit,read)
    b=$(new_key b submit,read)
    start_daemon --workers 1 --keys "$KEYS"
    large=$(jq -nc '{type: "sum", params: {numbers: [range(40000)]}}')
    for body in "$ECHO" "$large"; do
        echo "$body" >"$BATS_TEST_TMPDIR/body.json"
        for name in a b; do
            asked "${!name}" -H 'Content-Type: application/json' -H "Idempotency-Key: k-${#body}" --data-binary @"$BATS_TEST_TMPDIR/body.json" /v1/jobs
            [ "$CODE" = 200 ]
            [ -z "$(header Idempotency-Replayed)" ]
            declare "$name"_id="$(field .id)"
        done
        [ "$a_id" != "$b_id" ]
        asked "$a" -H 'Content-Type: application/json' -H "Idempotency-Key: k-${#body}" --data-binary @"$BATS_TEST_TMPDIR/body.json" /v1/jobs
        [ "$(header Idempotency-Replayed)" = true ]
        [ "$(field .id)" = "$a_id" ]
    done
}

@test "the result of another's job cannot be the data of one's own" {
    a=$(new_key a submit,read)
    b=$(new_key b submit,read)
    start_daemon --workers 1 --keys "$KEYS"
    python3 -c 'import struct, sys; h = b"{\"descr\": \"<f8\", \"fortran_order\": False, \"shape\": (2,), }"; h += b" " * ((64 - (10 + len(h) + 1) % 64) % 64) + b"\n"; sys.stdout.buffer.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(h)) + h + struct.pack("<2d", 1, 2))' >"$BATS_TEST_TMPDIR/a.npy"
    asked "$a" -H 'Content-Type: application/x-npy' -H 'Accept: application/json' --data-binary @"$BATS_TEST_TMPDIR/a.npy" '/v1/jobs?type=array&op=scale&factor=2'
    [ "$CODE" = 200 ]
    job='{"type":"array","params":{"array":{"job":"'$(field .id)'"},"op":"sum"}}'
    asked "$a" -H 'Content-Type: application/json' --data-binary "$job" /v1/jobs
    [ "$CODE" = 200 ]
    asked "$b" -H 'Content-Type: application/json' --data-binary "$job" /v1/jobs
    expect_problem 422 invalid_params
    asked "$b" -H 'Content-Type: application/json' --data-binary "${job/$(jq -r .params.array.job <<<"$job")/01970000-0000-7000-8000-000000000000}" /v1/jobs
    expect_problem 422 invalid_params
}

@test "requests: so many a second, announced, then 429 with a Retry-After that is true" {
    a=$(new_key a submit,read rate=3/m)
    b=$(new_key b submit,read)
    start_daemon --workers 1 --keys "$KEYS"
    for left in 2 1 0; do
        asked "$a" /v1/types
        [ "$CODE" = 200 ]
        [ "$(header RateLimit-Policy)" = '"requests";q=3;w=60' ]
        [[ "$(header RateLimit)" == '"requests";r='$left';t='* ]]
    done
    asked "$a" /v1/types
    expect_problem 429 over_quota
    holds '."violated-policies" == ["requests"]'
    after=$(header Retry-After)
    [ "$after" -ge 15 ] && [ "$after" -le 20 ]
    asked "$b" /v1/types
    [ "$CODE" = 200 ]
    [ -z "$(header RateLimit-Policy)" ]
    call /metrics -H "$(bearer "$b")" || true
    asked "$b" /metrics
    grep -q 'offload_key_refused_total{key="a",quota="requests"} 1' "$BODY"
    grep -q 'offload_key_requests_total{key="a"} 4' "$BODY"
}

@test "a compressed body counts as one job: the quota jobs=1 lets it in, and only one" {
    a=$(new_key a submit,read jobs=1)
    start_daemon --keys "$KEYS"
    gzip -c <<<"$ECHO" >"$BATS_TEST_TMPDIR/body.gz"
    coded=(-H 'Content-Type: application/json' -H 'Content-Encoding: gzip' --data-binary @"$BATS_TEST_TMPDIR/body.gz" /v1/jobs)
    for _ in 1 2 3; do
        asked "$a" "${coded[@]}"
        [ "$CODE" = 200 ]
    done
    job_as "$a" "$LONG"
    asked "$a" "${coded[@]}"
    expect_problem 429 over_quota
}

@test "jobs: so many are queued or run; then 429, but a replay is answered" {
    a=$(new_key a submit,read jobs=2)
    start_daemon --workers 1 --keys "$KEYS"
    one=$(job_as "$a" -H 'Idempotency-Key: one' "$LONG")
    two=$(job_as "$a" "$LONG")
    asked "$a" -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    expect_problem 429 over_quota
    holds '."violated-policies" == ["jobs"]'
    [ "$(header Retry-After)" -ge 1 ]
    [ "$(header RateLimit)" = '"jobs";r=0' ]
    asked "$a" -H 'Content-Type: application/json' -H 'Idempotency-Key: new' --data-binary "$ECHO" /v1/jobs
    expect_problem 429 over_quota
    asked "$a" -H 'Content-Type: application/json' -H 'Idempotency-Key: one' -H 'Prefer: respond-async' --data-binary "$LONG" /v1/jobs
    [ "$CODE" = 202 ]
    [ "$(field .id)" = "$one" ]
    asked "$a" -H 'Content-Type: application/json' --data-binary '{"model":"hash-384","input":"a"}' /v1/embeddings
    [ "$CODE" = 429 ]
    holds '.error.type == "rate_limit_error" and .error.code == "over_quota"'
    asked "$a" -X POST "/v1/jobs/$two/cancel"
    asked "$a" -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    [ "$CODE" = 200 ]
}

@test "jobs: a large body is the replay of a job, or is one too many, when its Idempotency-Key is known" {
    a=$(new_key a submit,read jobs=1)
    start_daemon --workers 1 --keys "$KEYS"
    jq -nc '{type: "sleep", items: [range(400) | {ms: 600000}]}' >"$BATS_TEST_TMPDIR/large"
    large=(-H 'Content-Type: application/json' -H 'Prefer: respond-async' --data-binary @"$BATS_TEST_TMPDIR/large" /v1/jobs)
    asked "$a" -H 'Idempotency-Key: one' "${large[@]}"
    [ "$CODE" = 202 ]
    one=$(field .id)
    asked "$a" -H 'Idempotency-Key: one' "${large[@]}"
    [ "$CODE" = 202 ]
    [ "$(header Idempotency-Replayed)" = true ]
    [ "$(field .id)" = "$one" ]
    asked "$a" -H 'Idempotency-Key: two' "${large[@]}"
    expect_problem 429 over_quota
    holds '."violated-policies" == ["jobs"]'
    asked "$a" /v1/jobs
    holds '.jobs | length == 1'
    asked "$a" -X POST "/v1/jobs/$one/cancel"
    asked "$a" -H 'Idempotency-Key: two' "${large[@]}"
    [ "$CODE" = 202 ]
    [ "$(field .id)" != "$one" ]
    [ -z "$(header Idempotency-Replayed)" ]
    asked "$a" -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    expect_problem 429 over_quota
}

@test "CPU seconds: what was used counts, then no further job" {
    a=$(new_key a submit,read cpu=1/h)
    start_daemon --workers 1 --keys "$KEYS"
    asked "$a" -H 'Content-Type: application/json' --data-binary '{"type":"burn","params":{"cpu_ms":1300}}' /v1/jobs
    [ "$CODE" = 200 ]
    asked "$a" -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    expect_problem 429 over_quota
    holds '."violated-policies" == ["cpu"]'
    [ "$(header Retry-After)" -ge 900 ] && [ "$(header Retry-After)" -le 2000 ]
    asked "$a" /v1/jobs
    [ "$CODE" = 200 ]
    [[ "$(header RateLimit)" == '"cpu";r=0;t='* ]]
}

@test "bytes of bodies: announced ones before they come, others while they come" {
    a=$(new_key a submit,read bytes=100KiB/h)
    start_daemon --workers 1 --keys "$KEYS"
    head -c 60000 /dev/zero | tr '\0' ' ' >"$BATS_TEST_TMPDIR/spaces"
    printf %s "$ECHO" >>"$BATS_TEST_TMPDIR/spaces"
    asked "$a" -H 'Content-Type: application/json' --data-binary @"$BATS_TEST_TMPDIR/spaces" /v1/jobs
    [ "$CODE" = 200 ]
    asked "$a" -H 'Content-Type: application/json' --data-binary @"$BATS_TEST_TMPDIR/spaces" /v1/jobs
    expect_problem 429 over_quota
    holds '."violated-policies" == ["bytes"]'
    head -c 110000 /dev/zero | tr '\0' ' ' >"$BATS_TEST_TMPDIR/large"
    asked "$a" -H 'Content-Type: application/json' --data-binary @"$BATS_TEST_TMPDIR/large" /v1/jobs
    expect_problem 413 body_too_large
    holds '.limit_bytes == 102400'
    asked "$a" -H 'Content-Type: application/json' -H 'Transfer-Encoding: chunked' --data-binary @"$BATS_TEST_TMPDIR/spaces" /v1/jobs
    expect_problem 429 over_quota
    holds '."violated-policies" == ["bytes"]'
    [ "$(header Retry-After)" -gt 1 ]
    [[ "$(header RateLimit)" == '"bytes";r='* ]]
    asked "$a" -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    expect_problem 429 over_quota
    asked "$a" /v1/jobs # what has no body uses none of it
    [ "$CODE" = 200 ]
    id=$(field '.jobs[0].id')
    asked "$a" -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    asked "$a" -X DELETE "/v1/jobs/$id"
    [ "$CODE" = 204 ]
}

@test "bytes: bodies without Content-Length that come side by side share what is left" {
    a=$(new_key a submit,read bytes=100KiB/h)
    start_daemon --workers 1 --keys "$KEYS"
    head -c 110000 /dev/zero | tr '\0' ' ' >"$BATS_TEST_TMPDIR/large"
    asked "$a" -H 'Content-Type: application/json' -H 'Transfer-Encoding: chunked' --data-binary @"$BATS_TEST_TMPDIR/large" /v1/jobs
    expect_problem 413 body_too_large
    holds '.limit_bytes == 102400'
    b=$(new_key b submit,read bytes=100KiB/h)
    kill -HUP "$DAEMON"
    known() { asked "$b" /v1/jobs; [ "$CODE" = 200 ]; }
    wait_for known
    mkfifo "$BATS_TEST_TMPDIR"/fifo-{1,2}
    chunked() { # N
        curl -sS -T "$BATS_TEST_TMPDIR/fifo-$1" -X POST -o /dev/null -w '%{http_code}' -H "$(bearer "$b")" -H 'Content-Type: application/json' \
            "$URL/v1/jobs" >"$BATS_TEST_TMPDIR/code-$1"
    }
    chunked 1 &
    pids=$!
    chunked 2 &
    pids+=" $!"
    exec {one}>"$BATS_TEST_TMPDIR/fifo-1" {two}>"$BATS_TEST_TMPDIR/fifo-2"
    head -c 60000 "$BATS_TEST_TMPDIR/large" >&"$one"
    came() { asked "$b" /v1/jobs; [[ "$(header RateLimit)" == '"bytes";r=42'???';'* ]]; }
    wait_for came
    head -c 60000 "$BATS_TEST_TMPDIR/large" >&"$two" 2>"$BATS_TEST_TMPDIR/pipe" || true # nobody reads it to its end
    exec {one}>&- {two}>&-
    wait $pids
    [ "$(cat "$BATS_TEST_TMPDIR/code-1") $(cat "$BATS_TEST_TMPDIR/code-2")" = "400 429" ]
}

@test "one key cannot fill the queue: another's first job is accepted" {
    a=$(new_key a submit,read)
    b=$(new_key b submit,read)
    start_daemon --workers 1 --max-queue 20 --keys "$KEYS"
    full() { asked "$a" -H 'Content-Type: application/json' -H 'Prefer: respond-async' --data-binary "$LONG" /v1/jobs; [ "$CODE" = 429 ]; }
    wait_for full
    expect_problem 429 queue_full
    job_as "$b" "$LONG"
}

@test "one key's long queue does not hold up another's first job" {
    a=$(new_key a submit,read)
    b=$(new_key b submit,read)
    start_daemon --workers 1 --keys "$KEYS"
    for _ in $(seq 60); do
        echo "next"
        echo "url = $URL/v1/jobs"
        echo 'header = "Content-Type: application/json"'
        echo 'header = "Prefer: respond-async"'
        echo "header = \"$(bearer "$a")\""
        echo 'data = "{\"type\":\"burn\",\"params\":{\"cpu_ms\":100}}"'
        echo 'output = /dev/null'
    done >"$BATS_TEST_TMPDIR/many"
    curl -sS -K "$BATS_TEST_TMPDIR/many"
    asked "$b" -H 'Content-Type: application/json' -H 'Prefer: wait=30' --data-binary '{"type":"burn","params":{"cpu_ms":50}}' /v1/jobs
    holds '.status == "succeeded"'
    asked "$a" '/v1/jobs?status=succeeded&limit=1000'
    holds '.jobs | length < 20'
}

@test "SIGHUP takes a new file: a key goes, another comes; a bad file changes nothing and its line is said" {
    old=$(new_key a submit,read)
    start_daemon --workers 1 --keys "$KEYS"
    id=$(job_as "$old" "$LONG")
    echo "b oops read" >>"$KEYS"
    kill -HUP "$DAEMON"
    wait_for grep -q "reload_failed.*line 2: the credential is" "$LOG"
    asked "$old" /v1/jobs
    [ "$CODE" = 200 ]
    : >"$KEYS"
    new=$(new_key a submit,read)
    timeout 60 python3 - "$PORT" "$old" "$DAEMON" <<'END' # a connection that was open before loses it, too
import http.client, os, signal, sys, time
port, key, daemon = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)


def status():
    connection.request("GET", "/v1/jobs", headers={"Authorization": f"Bearer {key}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


assert status() == 200
socket = connection.sock
os.kill(int(daemon), signal.SIGHUP)
while status() == 200:
    time.sleep(0.02)
assert status() == 401
assert connection.sock is socket
END
    asked "$new" "/v1/jobs/$id"
    [ "$CODE" = 200 ]
}

@test "faults of the file keep the service from starting, with the line; --check-config finds them" {
    new_key a submit,read >/dev/null
    echo "a b" >>"$KEYS"
    for more in "" --check-config; do
        run ! timeout 20 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --keys "$KEYS" $more
        [ "$status" = 2 ]
        [[ "$output" == "offloadd: --keys $KEYS: line 2: a name, a credential and scopes are wanted" ]]
    done
    run ! timeout 20 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --keys "$BATS_TEST_TMPDIR/none"
    [ "$status" = 2 ]
    [[ "$output" == *"No such file or directory"* ]]
    run ! timeout 20 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --keys "$KEYS" --insecure-no-auth
    [[ "$output" == *"exclude each other"* ]]
}

@test "without keys it refuses to listen where others could reach it, and says what to do; with keys it listens" {
    run ! timeout 20 "$OFFLOADD" --listen 0.0.0.0:0 --data-dir none
    [ "$status" = 2 ]
    [[ "$output" == *"--keys"* && "$output" == *"offload keygen"* && "$output" == *"--insecure-no-auth"* ]]
    key=$(new_key a submit,read)
    LOG=$BATS_TEST_TMPDIR/daemon-any.log
    "$OFFLOADD" --listen 0.0.0.0:0 --data-dir none --keys "$KEYS" --drain-timeout 0s 2>"$LOG" 3>&- &
    DAEMON=$!
    wait_for grep -q '"event":"ready"' "$LOG"
    PORT=$(sed -n 's/.*"listen":\["0\.0\.0\.0:\([0-9]*\)".*/\1/p' "$LOG")
    URL=http://127.0.0.1:$PORT
    asked "$key" -H 'Host: offload.example' /v1/types
    [ "$CODE" = 200 ]
    call /v1/types
    expect_problem 401 unauthorized
}

@test "a user at a Unix socket that has no line is nobody" {
    echo "other uid:$(($(id -u) + 1)) submit,read" >>"$KEYS"
    start_daemon --workers 1 --keys "$KEYS" --listen "unix:$BATS_TEST_TMPDIR/socket"
    call --unix-socket "$BATS_TEST_TMPDIR/socket" /v1/jobs
    expect_problem 401 unauthorized
}

@test "a user at a Unix socket is known by his number" {
    new_key a submit,read >/dev/null
    echo "me uid:$(id -u) submit,read" >>"$KEYS"
    start_daemon --workers 1 --keys "$KEYS" --listen "unix:$BATS_TEST_TMPDIR/socket"
    call /v1/jobs
    expect_problem 401 unauthorized
    call --unix-socket "$BATS_TEST_TMPDIR/socket" -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    [ "$CODE" = 200 ]
    call --unix-socket "$BATS_TEST_TMPDIR/socket" /v1/jobs
    holds '.jobs | length == 1'
    call --unix-socket "$BATS_TEST_TMPDIR/socket" -H 'Authorization: Bearer wrong' /v1/jobs
    expect_problem 401 unauthorized
}

@test "no secret is ever logged or shown: not the keys, nor their hashes" {
    key=$(new_key a submit,read rate=2/m)
    admin=$(new_key root admin)
    start_daemon --workers 1 --keys "$KEYS" --log-level debug
    secret=offload_$(head -c 32 /dev/urandom | basenc --base64url -w 0 | tr -d =)
    for header in "Authorization: Bearer $key" "Authorization: Bearer $secret" "Authorization: Bearer  $secret x" "Authorization: Basic $secret"; do
        for path in /v1/jobs /v1/types /nowhere; do
            call -H "$header" "$path"
            cat "$BODY" "$HEAD" >>"$BATS_TEST_TMPDIR/all"
        done
    done
    printf 'GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAuthorization: Bearer %s\r\n\r\n' "$secret" "$key" | nc -N 127.0.0.1 "$PORT" >>"$BATS_TEST_TMPDIR/all"
    printf 'GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\001\r\n\r\n' "$key" | nc -N 127.0.0.1 "$PORT" >>"$BATS_TEST_TMPDIR/all"
    echo "b sha256:00 read" >>"$KEYS"
    kill -HUP "$DAEMON"
    wait_for grep -q reload_failed "$LOG"
    asked "$admin" /metrics
    cat "$BODY" "$LOG" >>"$BATS_TEST_TMPDIR/all"
    for text in "${key#offload_}" "${admin#offload_}" "${secret#offload_}" $(grep -oE 'sha256:[0-9a-f]{64}' "$KEYS" | cut -d: -f2); do
        run ! grep -F -- "$text" "$BATS_TEST_TMPDIR/all"
    done
}
