#!/usr/bin/env bats
# heads.bats: the strict check of what clients send. heads.py has the requests, byte by byte.

bats_require_minimum_version 1.5.0
load helpers

HERE=$BATS_TEST_DIRNAME

# All requests of a group are answered as they should be, nobody's job is started by bytes of another, and the service
# lives.
check_group() { # GROUP
    run python3 "$HERE/heads.py" "$PORT" "$1"
    echo "$output"
    [ "$status" -eq 0 ]
    call /livez
    [ "$CODE" = 200 ]
}

@test "requests that are odd and good are served" {
    start_daemon
    check_group good
}

@test "a body whose end two readers can see at different places: one answer, and the connection is closed" {
    start_daemon
    check_group framing
}

@test "a fault behind good requests: they are served, then one answer, and the connection is closed" {
    start_daemon
    check_group "behind a good request"
}

@test "a first line that is none: one answer, and the connection is closed" {
    start_daemon
    check_group "first line"
}

@test "a NUL names nothing" {
    start_daemon
    check_group nul
}

@test "Host: once, well-formed, and ours (RFC 9112 section 3.2; DNS rebinding)" {
    start_daemon --allowed-host offload.example
    check_group hosts
    # A page of a foreign site would come by this name. A Unix socket is out of its reach.
    stop_daemon
    start_daemon --listen "unix:$BATS_TEST_TMPDIR/sock"
    [ "$(status --unix-socket "$BATS_TEST_TMPDIR/sock" http://anything.example/livez)" = 200 ]
}

@test "SIGHUP takes a new --allowed-host" {
    echo 'allowed-host = one.example' >"$BATS_TEST_TMPDIR/config"
    start_daemon --config "$BATS_TEST_TMPDIR/config"
    [ "$(status -H 'Host: one.example' "$URL/livez")" = 200 ]
    [ "$(status -H 'Host: two.example' "$URL/livez")" = 421 ]
    echo 'allowed-host = two.example' >"$BATS_TEST_TMPDIR/config"
    kill -HUP "$DAEMON"
    two() { [ "$(status -H 'Host: two.example' "$URL/livez")" = 200 ]; }
    wait_for two
    call -H 'Host: one.example' /livez
    expect_problem 421 misdirected_request
}

@test "a field that may stand once stands twice: 400 that names it" {
    start_daemon
    check_group twice
    call -H 'Idempotency-Key: a' -H 'Idempotency-Key: b' /v1/jobs
    expect_problem 400 bad_request
    holds '.field == "Idempotency-Key"'
}

@test "heads that are too large are answered at once" {
    start_daemon --max-header 32KiB
    check_group large
    stop_daemon
    start_daemon
    check_group "large by default"
}

@test "a client that closes its side behind a whole request gets its answer; one that leaves before is let go" {
    start_daemon
    check_group half
    gone() { [ "$(curl -sS "$URL/metrics" | sed -n 's/^offload_http_connections //p')" = 1 ]; }
    wait_for gone
}

@test "a client that closes its side and waits for a job gets its result, if it has a key" {
    start_daemon
    body='{"type":"sleep","params":{"ms":300}}'
    send() { # HEADERS
        printf 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%s' \
            "$1" ${#body} "$body" | timeout 20 nc -N 127.0.0.1 "$PORT"
    }
    [[ $(send 'Idempotency-Key: k\r\n') == 'HTTP/1.1 200 '* ]]
    [[ $(send 'Prefer: respond-async, wait=5\r\n') == 'HTTP/1.1 200 '* ]]
    [ -z "$(send '')" ] # nobody else could get this one, so it was cancelled
}

@test "a stream of events goes on after the client has closed its side" {
    start_daemon
    id=$(submit '{"type":"sleep","params":{"ms":1000}}')
    answer=$(printf 'GET /v1/jobs/%s/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$id" |
        timeout 20 nc -N 127.0.0.1 "$PORT")
    [[ $answer == *'event: end'* ]]
}

@test "a second head on a kept connection has its time, too" {
    start_daemon --header-timeout 300ms
    exec 6<>"/dev/tcp/127.0.0.1/$PORT"
    printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n' >&6
    sleep 0.5 # idle between two requests: that is allowed
    printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /li' >&6
    answer=$(timeout 20 cat <&6)
    exec 6>&-
    [ "$(grep -c '^HTTP/1.1 200' <<<"$answer")" = 2 ]
    [[ $answer == *'HTTP/1.1 408 '* ]]
}

@test "the 413 arrives, however the body is sent and however large it is" {
    start_daemon --max-body 128KiB
    for size in 200000 1300000 3000000 20000000; do
        head -c $size /dev/zero | tr '\0' x >"$BATS_TEST_TMPDIR/large"
        for how in 'Expect:' 'Expect: 100-continue' 'Transfer-Encoding: chunked'; do
            call -H "$how" -H 'Expect:' -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/large" /v1/jobs
            expect_problem 413 body_too_large
        done
    done
}

@test "probes are answered beyond --max-connections, and idle clients beyond it make room" {
    start_daemon --max-connections 5
    # More than the limit and its spare connections: they all say nothing.
    python3 -c '
import socket, sys, time
kept = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(300)]
sys.stdout.write("ready\n"); sys.stdout.flush()
time.sleep(60)' "$PORT" >"$BATS_TEST_TMPDIR/crowd" 3>&- &
    crowd=$!
    wait_for grep -q ready "$BATS_TEST_TMPDIR/crowd"
    for path in /livez /healthz /readyz /metrics; do
        call "$path"
        [ "$CODE" = 200 ]
    done
    call /v1/types
    expect_problem 503 too_many_connections
    kill "$crowd"
    wait "$crowd" || true
}

@test "a probe behind a burst of idle clients is answered: those that make room for it are not closed yet" {
    start_daemon --max-connections 5
    run -0 python3 -c '
import os, signal, socket, sys
daemon, address = int(sys.argv[1]), ("127.0.0.1", int(sys.argv[2]))
os.kill(daemon, signal.SIGSTOP)
try:
    kept = [socket.create_connection(address) for _ in range(300)]
    probe = socket.create_connection(address, timeout=60)
    probe.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
finally:
    os.kill(daemon, signal.SIGCONT)
print(probe.recv(12).decode())' "$DAEMON" "$PORT"
    [ "$output" = 'HTTP/1.1 200' ]
}
