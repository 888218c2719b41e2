#!/usr/bin/env bats
# limits.bats: every bound of the service: how a client is answered at the bound, and that the service goes on after it.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":600000}}'

retry_after_is_sane() {
    [[ $(header Retry-After) =~ ^[1-9][0-9]*$ ]] && [ "$(header Retry-After)" -le 3600 ]
}

# Writes a file of JSON for echo with so many bytes of text; prints its name for curl.
echo_of() { # BYTES
    python3 -c 'import json, sys; print(json.dumps({"type": "echo", "params": {"value": "x" * int(sys.argv[1])}}))' "$1" \
        >"$BATS_TEST_TMPDIR/echo-$1"
    echo "@$BATS_TEST_TMPDIR/echo-$1"
}

# Opens a connection, sends what printf makes of FORMAT, and prints all that comes back until it is closed.
exchange() { # FORMAT
    local answer
    exec 5<>"/dev/tcp/127.0.0.1/$PORT"
    # In one write, however many lines it has; the service can close before it has read them all.
    # shellcheck disable=SC2059
    printf "$1" | cat >&5 2>/dev/null || true
    answer=$(timeout 20 cat <&5)
    exec 5>&-
    echo "$answer"
}

@test "the queue is full: 429 queue_full with Retry-After, nothing is accepted; then the service goes on" {
    start_daemon --workers 1 --max-queue 2
    first=$(submit "$LONG")
    submit "$LONG"
    for prefer in respond-async wait=5; do
        call_job -H "Prefer: $prefer" "$LONG"
        expect_problem 429 queue_full
        retry_after_is_sane
    done
    call /v1/jobs
    holds '.jobs | length == 2'
    call -X POST "/v1/jobs/$first/cancel"
    call_job -H 'Prefer: respond-async' "$LONG"
    [ "$CODE" = 202 ]
}

# A job that waits an hour.
DELAYED='{"type":"echo","params":{"value":1},"options":{"delay_ms":3600000}}'

@test "delayed jobs do not count towards --max-queue until they are due, but towards --max-delayed, after a restart, too" {
    start_daemon --workers 1 --max-queue 1 --max-delayed 3 --data-dir "$BATS_TEST_TMPDIR/data"
    submit "$DELAYED"
    submit "$DELAYED"
    submit '{"type":"sleep","params":{"ms":60000},"options":{"delay_ms":100000}}'
    { head -c 40000 /dev/zero | tr '\0' ' '; echo "$DELAYED"; } >"$BATS_TEST_TMPDIR/large"
    expect_full() {
        local body prefer
        for body in "$DELAYED" "@$BATS_TEST_TMPDIR/large"; do
            for prefer in respond-async wait=5; do
                call_job -H "Prefer: $prefer" "$body"
                expect_problem 429 queue_full
                [ "$(header Retry-After)" -gt 10 ]
                [ "$(header Retry-After)" -le 100 ]
            done
        done
    }
    expect_full
    call_job '{"type":"echo","params":{"value":2}}'
    [ "$CODE" = 200 ]
    kill_daemon
    start_daemon --workers 1 --max-queue 1 --max-delayed 3 --data-dir "$BATS_TEST_TMPDIR/data"
    expect_full
    call_job '{"type":"echo","params":{"value":2}}'
    [ "$CODE" = 200 ]
    curl -sS "$URL/metrics" | grep -qx 'offload_jobs_delayed 3'
}

@test "a delayed job that is due counts towards --max-queue, and is not lost though that is full" {
    start_daemon --workers 1 --max-queue 1
    due=$(submit '{"type":"sleep","params":{"ms":60000},"options":{"delay_ms":2000}}')
    submit "$LONG"
    both_count() { curl -sS "$URL/metrics" | grep -qx 'offload_jobs_delayed 0'; }
    wait_for both_count
    call_job -H 'Prefer: respond-async' "$LONG"
    expect_problem 429 queue_full
    call "/v1/jobs/$due"
    holds '.status == "queued" or .status == "running"'
}

@test "the memory budget is spent: 429 over_memory with Retry-After, nothing is accepted; then the service goes on" {
    start_daemon --workers 1 --max-memory 1MiB
    call_job "$(echo_of 2000000)"
    expect_problem 429 over_memory
    retry_after_is_sane
    call /v1/jobs
    holds '.jobs == []'
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
}

@test "results make room for new jobs, the oldest first" {
    start_daemon --max-memory 1MiB
    body=$(echo_of 300000)
    call_job "$body"
    [ "$CODE" = 200 ]
    first=$(field .links.self)
    for _ in 1 2 3 4 5 6; do
        call_job "$body"
        [ "$CODE" = 200 ]
    done
    last=$(field .links.self)
    [[ $(status "$URL$first") = 4?? ]]
    call "$last"
    [ "$CODE" = 200 ]
    call /metrics
    held=$(sed -n 's/^offload_held_bytes{what="payloads"} //p' "$BODY")
    [ "$held" -le 1048576 ]
}

@test "more clients wait than --max-sync allows: the next gets 202 at once" {
    start_daemon --workers 1 --max-sync 1
    curl -sS -o /dev/null -H 'Content-Type: application/json' -d "$LONG" "$URL/v1/jobs" 3>&- &
    client=$!
    waiting() { curl -sS "$URL/v1/jobs" | jq -e '.jobs | length == 1' >/dev/null; }
    wait_for waiting
    call_job '{"type":"sleep","params":{"ms":500}}'
    [ "$CODE" = 202 ]
    [ -n "$(header Location)" ]
    kill "$client"
    wait "$client" || true
    [ "$(ended "$(field .id)")" = succeeded ]
    call_job '{"type":"sleep","params":{"ms":30}}'
    [ "$CODE" = 200 ]
}

@test "a body beyond --max-body: 413 with limit_bytes, by Content-Length and by count" {
    start_daemon --max-body 100KiB
    body=$(echo_of 102300)
    call_job "$body"
    [ "$CODE" = 200 ]
    for size in 102400 500000 3000000; do
        body=$(echo_of $size)
        call_job "$body"
        expect_problem 413 body_too_large
        holds '.limit_bytes == 102400'
    done
    body=$(echo_of 102400)
    call_job -H 'Transfer-Encoding: chunked' "$body"
    expect_problem 413 body_too_large
    holds '.limit_bytes == 102400'
    call /v1/jobs
    holds '.jobs | length == 1'
}

@test "Expect: 100-continue: a good request gets its 100" {
    start_daemon
    call_job -H 'Expect: 100-continue' "$(echo_of 2000000)"
    [ "$CODE" = 200 ]
    grep -q '^HTTP/1.1 100' "$HEAD"
}

@test "Expect: 100-continue: a bad request is rejected before its body is sent" {
    start_daemon --max-body 100KiB
    # The client waits for the answer and never sends the body: it would hang if the service asked for the body.
    answer=$(exchange 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n')
    [[ $answer == 'HTTP/1.1 413 '*'"limit_bytes":102400'* ]]
    answer=$(exchange 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n')
    [[ $answer == 'HTTP/1.1 415 '* ]]
}

# The most resident memory that a worker has had, in KiB.
worker_peak() {
    call /v1/workers
    for pid in $(field '.workers[].pid'); do
        awk '/^VmHWM/ {print $2}' "/proc/$pid/status"
    done | sort -n | tail -1
}

@test "a large body takes a worker no more than three times its size, whatever is in it" {
    [[ $BUILD != *address* ]] || skip "a sanitizer needs memory of its own"
    start_daemon --workers 1 --data-dir none
    idle=$(worker_peak)
    python3 - "$BATS_TEST_TMPDIR" <<'EOF'
import sys
size = 16 << 20
for name, front, piece, end in [("arrays", '{"type":"echo","params":{"value":[', "[],", "1]}}"),
                                ("objects", '{"type":"echo","params":{"value":[', "{},", "1]}}"),
                                ("names", '{"type":"echo","params":{"value":[', '{"a":0,"b":1},', "1]}}"),
                                ("text", '{"type":"echo","params":{"value":"', "abcdefgh", '"}}'),
                                ("items", '{"type":"sum","items":[', "{},", "{}]}"),
                                ("open", '{"type":"sum","items":[', "{},", "{}")]:
    open(f"{sys.argv[1]}/{name}", "w").write(front + piece * (size // len(piece)) + end)
EOF
    for name in arrays objects names text; do
        call_job -H 'Prefer: wait=60' "@$BATS_TEST_TMPDIR/$name"
        [ "$CODE" = 200 ]
    done
    call_job -H 'Prefer: wait=60' "@$BATS_TEST_TMPDIR/items"
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/items"'
    call_job -H 'Prefer: wait=60' "@$BATS_TEST_TMPDIR/open"
    expect_problem 400 invalid_json
    peak=$(worker_peak)
    echo "idle $idle KiB, peak $peak KiB"
    ((peak - idle <= 3 * 16 * 1024 + 4096))
}

@test "numbers and short texts take a worker no more than three times their body" {
    [[ $BUILD != *address* ]] || skip "a sanitizer needs memory of its own"
    start_daemon --workers 1 --data-dir none
    idle=$(worker_peak)
    python3 - "$BATS_TEST_TMPDIR" <<'EOF'
import sys
size = 8 << 20
sums, primes = '{"type":"sum","params":{"numbers":[', '{"type":"primes","params":{"numbers":['
for name, front, piece, end in [("ones", sums, "1,", "1]}}"),
                                ("strings", sums, '"9",', "1]}}"),
                                ("halves", sums, "0.5,", "1]}}"),
                                ("tenths", sums, "0.1,", "1]}}"),
                                ("five", sums, "12345,", "1]}}"),
                                ("mixed", sums, "1,0.5,", "1]}}"),
                                ("far", sums, "1,", '1e99,"12345678901234567890"]}}'),
                                ("small", primes, "7,", "7]}}"),
                                ("large", primes, "-1e40,", "7]}}"),
                                ("texts", '{"type":"embeddings","params":{"input":[', '"a",', '"a"]}}')]:
    open(f"{sys.argv[1]}/{name}", "w").write(front + piece * (size // len(piece)) + end)
EOF
    for name in ones strings halves tenths five mixed far small large; do
        call_job -H 'Prefer: wait=60' "@$BATS_TEST_TMPDIR/$name"
        [ "$CODE" = 200 ]
    done
    call_job -H 'Prefer: wait=60' "@$BATS_TEST_TMPDIR/texts"
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params/input"'
    peak=$(worker_peak)
    echo "idle $idle KiB, peak $peak KiB"
    ((peak - idle <= 3 * 8 * 1024 + 4096))
}

@test "a head beyond --max-header: 431 with limit_bytes; one below passes" {
    start_daemon --max-header 8KiB
    call -H "X-Long: $(printf '%07000d' 0)" /livez
    [ "$CODE" = 200 ]
    call -H "X-Long: $(printf '%09000d' 0)" /livez
    expect_problem 431 header_too_large
    holds '.limit_bytes == 8192'
    [ -n "$(header X-Request-Id)" ]
    many=()
    for i in $(seq 600); do
        many+=(-H "X-$i: 0123456789")
    done
    call "${many[@]}" /livez
    [ "$CODE" = 431 ]
    call /livez
    [ "$CODE" = 200 ]
}

# The library answers these itself before we see them: the status is right, and the body is the library's.
@test "a head far beyond --max-header: 431 all the same, in fields or in the target" {
    start_daemon --max-header 8KiB
    for size in 20000 100000; do
        call "/livez?$(printf "%0${size}d" 0)"
        [[ $CODE = 431 || $CODE = 414 ]]
        call -H "X-Long: $(printf "%0${size}d" 0)" /livez
        [ "$CODE" = 431 ]
    done
    call /livez
    [ "$CODE" = 200 ]
}

@test "a head that does not come in time: 408, even if some of it comes now and then" {
    start_daemon --header-timeout 400ms
    answer=$(exchange 'GET /livez HT')
    [[ $answer == 'HTTP/1.1 408 '*request_timeout* ]]
    drip() {
        local i
        for i in $(seq 30); do
            printf 'X-%d: 1\r\n' "$i" 2>/dev/null || return 0
            sleep 0.1
        done
    }
    exec 6<>"/dev/tcp/127.0.0.1/$PORT"
    printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\n' >&6
    drip >&6 2>/dev/null 3>&- &
    dripper=$!
    answer=$(timeout 20 cat <&6 2>/dev/null || true)
    kill "$dripper" 2>/dev/null || true
    wait "$dripper" || true
    exec 6>&-
    [[ $answer == 'HTTP/1.1 408 '* ]]
}

@test "a silent connection is closed, perhaps with a 408, and others are served meanwhile" {
    start_daemon --header-timeout 400ms
    exec 7<>"/dev/tcp/127.0.0.1/$PORT"
    call /livez
    [ "$CODE" = 200 ]
    answer=$(timeout 20 cat <&7)
    exec 7>&-
    [[ $answer == '' || $answer == 'HTTP/1.1 408 '* ]]
}

@test "a body that stops coming: 408" {
    start_daemon --idle-timeout 1s
    answer=$(exchange 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"type"')
    [[ $answer == 'HTTP/1.1 408 '*request_timeout* ]]
    call /v1/jobs
    holds '.jobs == []'
}

@test "an idle connection is closed after --idle-timeout, one that waits for its job is not" {
    start_daemon --idle-timeout 1s
    exchange 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n' >"$BATS_TEST_TMPDIR/answer" 3>&- &
    idler=$!
    call_job '{"type":"sleep","params":{"ms":2500}}'
    [ "$CODE" = 200 ]
    wait "$idler"
    grep -q '^HTTP/1.1 200 ' "$BATS_TEST_TMPDIR/answer"
}

@test "more connections than --max-connections: 503 too_many_connections with Retry-After; then the service goes on" {
    start_daemon --max-connections 2
    exec 6<>"/dev/tcp/127.0.0.1/$PORT" 7<>"/dev/tcp/127.0.0.1/$PORT"
    both() { curl -sS "$URL/v1/types" | grep -q too_many_connections; }
    wait_for both
    call /v1/types
    expect_problem 503 too_many_connections
    retry_after_is_sane
    call_job '{"type":"echo","params":{"value":1}}'
    expect_problem 503 too_many_connections
    call /livez
    [ "$CODE" = 200 ]
    exec 6>&- 7>&-
    free() { [ "$(status "$URL/v1/types")" = 200 ]; }
    wait_for free
}

@test "at --max-connections probes are answered all the same, and nothing else" {
    start_daemon --max-connections 2
    exec 6<>"/dev/tcp/127.0.0.1/$PORT" 7<>"/dev/tcp/127.0.0.1/$PORT"
    both() { curl -sS "$URL/v1/types" | grep -q too_many_connections; }
    wait_for both
    for path in /livez /healthz /readyz '/readyz?verbose' /metrics; do
        call "$path"
        [ "$CODE" = 200 ]
        [ "$(header Connection)" = close ]
        call -I "$path"
        [ "$CODE" = 200 ]
    done
    for path in /v1/jobs /v1/workers /nowhere /livez/x; do
        call "$path"
        expect_problem 503 too_many_connections
    done
    exec 6>&- 7>&-
}

@test "more connections from one address than --max-connections-per-address: 503, but probes are answered" {
    start_daemon --max-connections-per-address 2 --listen "unix:$BATS_TEST_TMPDIR/sock"
    exec 6<>"/dev/tcp/127.0.0.1/$PORT" 7<>"/dev/tcp/127.0.0.1/$PORT"
    both() { curl -sS "$URL/v1/types" | grep -q too_many_connections; }
    wait_for both
    call /v1/types
    expect_problem 503 too_many_connections
    holds '.detail | contains("--max-connections-per-address")'
    retry_after_is_sane
    for path in /livez /healthz /readyz /metrics; do
        call "$path"
        [ "$CODE" = 200 ]
    done
    grep -q '^offload_http_refused_total{reason="address_connections"} [1-9]' "$BODY"
    [ "$(status --unix-socket "$BATS_TEST_TMPDIR/sock" http://offload/v1/types)" = 200 ]
    exec 6>&- 7>&-
    free() { [ "$(status "$URL/v1/types")" = 200 ]; }
    wait_for free
}

@test "more requests a second from one address than --max-requests-per-address: 429 over_quota, but probes are answered" {
    start_daemon --max-requests-per-address 1
    over() { [ "$(status "$URL/v1/types/{primes,sum,echo}")" = 200429429 ]; }
    wait_for over
    for path in /livez /readyz /metrics; do
        call "$path"
        [ "$CODE" = 200 ]
    done
    grep -q '^offload_http_refused_total{reason="address_requests"} [1-9]' "$BODY"
    refused() { call_job '{"type":"echo","params":{"value":1}}' && [ "$CODE" = 429 ]; }
    wait_for refused
    expect_problem 429 over_quota
    holds '.detail | contains("--max-requests-per-address")'
    [ "$(header Retry-After)" = 1 ]
    sleep 1.1
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    stop_daemon
    start_daemon # on a loopback address there is no such limit unless it is set
    run curl -sS -o /dev/null -w '%{http_code}\n' "$URL/v1/types?[1-12000]"
    [ "$(sort <<<"$output" | uniq -c | tr -d '\n ')" = 12000400 ]
}

@test "a body that comes more slowly than --min-rate: 408, and the metric counts it" {
    start_daemon --idle-timeout 1s --min-rate 1MiB
    run python3 - "$PORT" <<'P'
import socket, sys, time
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20) as s:
    s.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
    s.settimeout(0.01)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        s.sendall(b" ")
        try:
            answer = s.recv(65536)
            break
        except TimeoutError:
            pass
print(answer.decode())
P
    [[ $output == 'HTTP/1.1 408 '*request_timeout*--min-rate* ]]
    call /metrics
    grep -q '^offload_http_slow_closed_total{what="body"} 1$' "$BODY"
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
}

@test "an answer that is taken more slowly than --min-rate is cut, and the metric counts it; a stream that is quiet is not" {
    start_daemon --idle-timeout 1s --min-rate 100MiB
    call_job '{"type":"primes","params":{"start":0,"stop":20000000,"op":"list"}}'
    result=$(field .links.result)
    id=$(submit '{"type":"sleep","params":{"ms":6000}}')
    curl -sSN --max-time 60 "$URL/v1/jobs/$id/events" >"$BATS_TEST_TMPDIR/events" 3>&- &
    events=$!
    curl -sS --max-time 50 --limit-rate 1k -o /dev/null "$URL$result" 3>&- &
    reader=$!
    counted() { curl -sS "$URL/metrics" | grep -q '^offload_http_slow_closed_total{what="answer"} 1$'; }
    wait_for counted
    kill "$reader"
    wait "$reader" || true
    wait "$events"
    grep -q '^event: end$' "$BATS_TEST_TMPDIR/events"
    counted
}

@test "an answer that is taken slowly, but fast enough, is not cut, by TCP and by Unix; one that nobody takes is, and counted" {
    start_daemon --idle-timeout 4s --listen "unix:$BATS_TEST_TMPDIR/socket"
    call_job '{"type":"primes","params":{"start":0,"stop":60000000,"op":"list"}}'
    run timeout 100 python3 - "$PORT" "$BATS_TEST_TMPDIR/socket" "$(field .links.result)" <<'P'
import socket, sys, threading, time
port, path, result = sys.argv[1:]
REQUEST = f"GET {result} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def open_socket(by_unix):
    s = socket.socket(socket.AF_UNIX if by_unix else socket.AF_INET)
    s.settimeout(30)
    s.connect(path if by_unix else ("127.0.0.1", int(port)))
    s.sendall(REQUEST)
    return s


def read_slowly(name, by_unix):
    got, end = b"", time.monotonic() + 17
    with open_socket(by_unix) as s:
        while time.monotonic() < end:  # at most 40 KB a second
            got += s.recv(4000)
            time.sleep(0.1)
        while more := s.recv(1 << 20):
            got += more
    head, _, body = got.partition(b"\r\n\r\n")
    said[name] = f"Content-Length: {len(body)}".encode() in head


said = {}
readers = [threading.Thread(target=read_slowly, args=(name, name == "unix")) for name in ("tcp", "unix")]
idle = [open_socket(by_unix) for by_unix in (False, True)]
for reader in readers:
    reader.start()
for reader in readers:
    reader.join()
print(said)
P
    [ "$output" = "{'tcp': True, 'unix': True}" ] || [ "$output" = "{'unix': True, 'tcp': True}" ]
    call /metrics
    grep -q '^offload_http_slow_closed_total{what="answer"} 2$' "$BODY"
}

@test "malformed HTTP: 400, and the service goes on" {
    start_daemon
    for request in 'nonsense\r\n\r\n' 'GET /livez HTTP/1.1\r\nHost h\r\n\r\n' \
        'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n' \
        'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n'; do
        answer=$(exchange "${request/\\r\\n\\r\\n/\\r\\nConnection: close\\r\\n\\r\\n}")
        [[ $answer == '' || $answer == 'HTTP/1.'?' 4'* || $answer == 'HTTP/1.'?' 5'* ]] || { echo "$request: $answer"; false; }
    done
    call /livez
    [ "$CODE" = 200 ]
}

@test "HTTP/1.1 without Host: 400 (RFC 9112 section 3.2)" {
    start_daemon
    answer=$(exchange 'GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n')
    [[ $answer == 'HTTP/1.1 400 '* ]]
}

# The service is stopped while the requests come, so that it finds them all at once and sends them to one worker together.
# With --express-cost 1s it takes the sleep for a short task.
@test "short jobs that share a worker with a slow one are answered, not timed out" {
    start_daemon --workers 1 --express-cost 1s
    answers=$BATS_TEST_TMPDIR/answers
    kill -STOP "$DAEMON"
    clients=()
    for i in 1 2 3 4 5 6 7 8 9; do
        job='{"type":"echo","params":{"value":1},"options":{"timeout_ms":400}}'
        [ "$i" -ne 5 ] || job='{"type":"sleep","params":{"ms":990}}'
        post "$job" >"$answers.$i" 3>&- &
        clients+=($!)
        sleep 0.05
    done
    kill -CONT "$DAEMON"
    wait "${clients[@]}"
    for i in 1 2 3 4 5 6 7 8 9; do
        [ "$(jq -r .status "$answers.$i")" = succeeded ]
        [ "$(jq -r .attempts "$answers.$i")" = 1 ]
    done
}
