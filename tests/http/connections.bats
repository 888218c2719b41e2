#!/usr/bin/env bats
# connections.bats: HTTP itself: many connections, persistent ones, listeners, methods, paths.

bats_require_minimum_version 1.5.0
load helpers

HERE=$BATS_TEST_DIRNAME

# Sends a file on one connection and prints the answers, until the service closes it.
converse() { # FILE
    timeout 30 nc 127.0.0.1 "$PORT" <"$1" 3>&-
}

request() { # METHOD PATH ID [BODY]
    printf '%s %s HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
        "$1" "$2" "$3" ${#4} "$4"
}

@test "1,000 clients at the same time, each waiting for a job" {
    start_daemon --max-sync 2000
    run python3 "$HERE/crowd.py" "$PORT" 1000
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$output" = "1000 answers, 1000 right" ]
    call /metrics
    grep -q '^offload_http_connections [1-9]$' "$BODY"
}

@test "a connection is kept for the next request" {
    start_daemon
    run curl -sS -o /dev/null -o /dev/null -w '%{num_connects}\n' "$URL/livez" "$URL/v1/types"
    [ "$output" = $'1\n0' ]
}

@test "a connection is kept after a rejected request, too" {
    start_daemon
    run curl -sS -o /dev/null -o /dev/null -o /dev/null -w '%{http_code} %{num_connects}\n' -H 'Content-Type: application/json' \
        -d '{"type":' "$URL/v1/jobs" "$URL/nowhere" "$URL/v1/jobs"
    [ "$output" = $'400 1\n404 0\n400 0' ]
}

@test "HEAD: the head of GET, and no byte behind it, on every route" {
    start_daemon
    call_job '{"type":"echo","params":{"value":"'"$(head -c 100000 /dev/zero | tr '\0' x)"'"}}'
    ended=$(field .id)
    running=$(submit '{"type":"sleep","params":{"ms":600000}}')
    wait_for is_running "$running"
    run python3 "$HERE/head_requests.py" "$PORT" /livez /readyz /metrics /openapi.yaml /nowhere /problems/gone /v1/types /v1/workers /v1/jobs \
        "/v1/jobs/$ended" "/v1/jobs/$ended/events" "/v1/jobs/$ended/result" "/v1/jobs/$running" "/v1/jobs/$running/events" \
        "/v1/jobs/$running/result" "/v1/jobs/$running/cancel"
    echo "$output"
    [ "$status" -eq 0 ]
    has_status "$running" running
}

@test "during a drain an answer ends its connection" {
    start_daemon --drain-timeout 60s
    call_job -H 'Prefer: respond-async' '{"type":"sleep","params":{"ms":600000}}'
    id=$(field .id)
    wait_for is_running "$id"
    exec 5<>"/dev/tcp/127.0.0.1/$PORT"
    printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n' >&5
    while read -r -t 20 line <&5 && [ "$line" != ok ]; do
        [[ $line != Connection:* ]]
    done
    kill -TERM "$DAEMON"
    draining() { [ "$(status "$URL/readyz")" = 503 ]; }
    wait_for draining
    printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n' >&5
    answer=$(timeout 20 cat <&5) # until it is closed
    exec 5>&-
    [[ $answer == 'HTTP/1.1 200 '*'Connection: close'*ok ]]
    call -X DELETE "/v1/jobs/$id"
    [ "$CODE" = 204 ]
    [ "$(header Connection)" = close ]
}

@test "Connection: close and HTTP/1.0 close the connection" {
    start_daemon
    printf 'GET /livez HTTP/1.0\r\n\r\n' >"$BATS_TEST_TMPDIR/old"
    run converse "$BATS_TEST_TMPDIR/old"
    [[ $output == HTTP/1.?' 200 '*ok* ]]
    printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >"$BATS_TEST_TMPDIR/close"
    run converse "$BATS_TEST_TMPDIR/close"
    [[ $output == 'HTTP/1.1 200 '*ok* ]]
}

@test "pipelined requests are answered in their order, even if one has to wait" {
    start_daemon
    {
        request GET /livez one
        request POST /v1/jobs two '{"type":"sleep","params":{"ms":200}}'
        request GET /nowhere three
        request POST /v1/jobs four '{"type":"echo","params":{"value":"4th"}}'
        printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: five\r\nConnection: close\r\n\r\n'
    } >"$BATS_TEST_TMPDIR/requests"
    converse "$BATS_TEST_TMPDIR/requests" >"$BATS_TEST_TMPDIR/answers"
    order=$(tr -d '\r' <"$BATS_TEST_TMPDIR/answers" | sed -n 's/^X-Request-Id: //Ip' | xargs)
    [ "$order" = "one two three four five" ]
    codes=$(grep -ao 'HTTP/1.1 [0-9]*' "$BATS_TEST_TMPDIR/answers" | cut -d' ' -f2 | xargs)
    [ "$codes" = "200 200 404 200 200" ]
    grep -q '"ms": *200' "$BATS_TEST_TMPDIR/answers"
    grep -q 4th "$BATS_TEST_TMPDIR/answers"
}

@test "a request that comes a few bytes at a time" {
    start_daemon
    request POST /v1/jobs slow '{"type":"echo","params":{"value":"pieces"}}' >"$BATS_TEST_TMPDIR/request"
    exec 5<>"/dev/tcp/127.0.0.1/$PORT"
    python3 -c '
import sys, time
for byte in open(sys.argv[1], "rb").read():
    sys.stdout.buffer.write(bytes([byte]))
    sys.stdout.buffer.flush()
    time.sleep(0.001)' "$BATS_TEST_TMPDIR/request" >&5
    read -r -t 20 line <&5
    exec 5>&-
    [[ $line == 'HTTP/1.1 200 '* ]]
}

@test "a Unix socket" {
    start_daemon --listen "unix:$BATS_TEST_TMPDIR/sock"
    [ -S "$BATS_TEST_TMPDIR/sock" ]
    run curl -sS --unix-socket "$BATS_TEST_TMPDIR/sock" -H 'Content-Type: application/json' \
        -d '{"type":"primes","params":{"start":0,"stop":100}}' http://offload/v1/jobs
    [ "$(jq .result.count <<<"$output")" = 25 ]
    stop_daemon
    [ ! -e "$BATS_TEST_TMPDIR/sock" ]
}

@test "a Unix socket has the mode and the group that it is given" {
    umask 077
    start_daemon --listen "unix:$BATS_TEST_TMPDIR/sock,mode=0660,group=$(id -g)" --listen "unix:$BATS_TEST_TMPDIR/other,group=$(id -gn)"
    [ "$(stat -c '%a %g' "$BATS_TEST_TMPDIR/sock")" = "660 $(id -g)" ]
    [ "$(stat -c '%a %g' "$BATS_TEST_TMPDIR/other")" = "700 $(id -g)" ]
    jq -e --arg path "unix:$BATS_TEST_TMPDIR/sock" 'select(.event == "ready") | .listen | index($path)' "$LOG"
    [ "$(status --unix-socket "$BATS_TEST_TMPDIR/sock" http://offload/livez)" = 200 ]
    stop_daemon
    [ ! -e "$BATS_TEST_TMPDIR/sock" ]
}

@test "several listeners at once, IPv6 too" {
    python3 -c 'import socket; socket.create_server(("::1", 0), family=socket.AF_INET6)' || skip "no IPv6 here"
    start_daemon --listen 127.0.0.1:0 --listen '[::1]:0' --listen "unix:$BATS_TEST_TMPDIR/sock"
    jq -r 'select(.event == "ready") | .listen[]' "$LOG" >"$BATS_TEST_TMPDIR/listen"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/listen")" = 4 ]
    while read -r address; do
        case $address in
        unix:*) code=$(status --unix-socket "${address#unix:}" http://offload/livez) ;;
        *) code=$(status -g "http://$address/livez") ;;
        esac
        [ "$code" = 200 ]
    done <"$BATS_TEST_TMPDIR/listen"
    # A job that comes by one listener can be fetched by all.
    id=$(submit '{"type":"echo","params":{"value":1}}')
    [ "$(status --unix-socket "$BATS_TEST_TMPDIR/sock" "http://offload/v1/jobs/$id")" = 200 ]
}

@test "HEAD answers as GET does, without a body" {
    start_daemon
    call_job '{"type":"echo","params":{"value":1}}'
    job=$(field .links.self)
    for path in /livez /readyz /v1/jobs "$job" "$job/result" /v1/types /v1/workers /openapi.yaml /openapi.json \
        /problems/not_found /nowhere; do
        call "$path"
        code=$CODE length=$(header Content-Length) type=$(header Content-Type)
        call -I "$path"
        [ "$CODE" = "$code" ]
        [ "$(header Content-Length)" = "$length" ]
        [ "$(header Content-Type)" = "$type" ]
    done
    call -I /metrics
    [ "$CODE" = 200 ]
}

@test "OPTIONS and 405 name the methods that are allowed" {
    start_daemon
    call_job '{"type":"echo","params":{"value":1}}'
    job=$(field .links.self)
    while read -r path allow; do
        call -X OPTIONS "$path"
        [ "$CODE" = 204 ]
        [ "$(header Allow | tr -d ' ')" = "$allow" ]
        for method in GET POST DELETE PATCH; do
            [[ ,$allow, == *,$method,* ]] && continue
            [[ $path != /v1/jobs* && $method != PATCH ]] && continue
            call -X "$method" -H 'Content-Type: application/json' "$path"
            expect_problem 405 method_not_allowed
            [ "$(header Allow | tr -d ' ')" = "$allow" ]
        done
    done <<END
/v1/jobs GET,HEAD,OPTIONS,POST
$job DELETE,GET,HEAD,OPTIONS
$job/result GET,HEAD,OPTIONS
$job/cancel OPTIONS,POST
/v1/types GET,HEAD,OPTIONS
/v1/types/primes GET,HEAD,OPTIONS
/v1/workers GET,HEAD,OPTIONS
/livez GET,HEAD,OPTIONS
/healthz GET,HEAD,OPTIONS
/readyz GET,HEAD,OPTIONS
/metrics GET,HEAD,OPTIONS
/openapi.yaml GET,HEAD,OPTIONS
/openapi.json GET,HEAD,OPTIONS
/problems/not_found GET,HEAD,OPTIONS
END
    call -X OPTIONS --request-target '*' /
    [ "$CODE" = 204 ]
    [[ $(header Allow) == *GET* ]]
}

@test "an unknown method is rejected" {
    start_daemon
    call -X BREW /livez
    [[ $CODE = 405 || $CODE = 501 ]]
}

@test "an unknown path: 404 not_found" {
    start_daemon
    for path in / /v1 /v1/ /v1/jobs/ /v1/jobs/x/y /livez/ /LIVEZ //livez /v1/jobs/01890000-0000-7000-8000-000000000000 \
        /v1/types/x /problems/x '/v1/jobs/%00' '/v1/jobs/%2e%2e' /v1/../../etc/passwd; do
        call --path-as-is "$path"
        expect_problem 404 not_found
        holds '.instance | startswith("/")'
    done
}

@test "a path can be percent-encoded" {
    start_daemon
    call '/v1/%74ypes/primes'
    [ "$CODE" = 200 ]
    holds '.name == "primes"'
}

@test "a client that reads a large result slowly does not hold up the others" {
    start_daemon
    call_job '{"type":"primes","params":{"start":0,"stop":20000000,"op":"list"}}'
    [ "$CODE" = 200 ]
    result=$(field .links.result)
    readers=()
    for _ in 1 2 3 4; do
        curl -sS --limit-rate 20k -o /dev/null "$URL$result" 3>&- &
        readers+=($!)
        curl -sS --limit-rate 20k -H 'Accept-Encoding: gzip' -o /dev/null "$URL$result" 3>&- &
        readers+=($!)
    done
    sleep 0.3
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ "$(status --max-time 2 "$URL/livez")" = 200 ]
    done
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    kill "${readers[@]}"
    wait "${readers[@]}" || true
}

@test "a client that leaves in the middle of a body or an answer does no harm" {
    start_daemon
    call_job '{"type":"primes","params":{"start":0,"stop":3000000,"op":"list"}}'
    result=$(field .links.result)
    for _ in 1 2 3; do
        exec 5<>"/dev/tcp/127.0.0.1/$PORT"
        printf 'GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n' "$result" >&5
        read -r -t 10 line <&5
        exec 5>&-
        [[ $line == 'HTTP/1.1 200 '* ]]
        exec 5<>"/dev/tcp/127.0.0.1/$PORT"
        printf 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"type":' >&5
        exec 5>&-
    done
    one() { curl -sS "$URL/metrics" | grep -q '^offload_http_connections 1$'; }
    wait_for one
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
}

# The library once closed such a connection while it was suspended, which corrupted memory.
@test "clients that leave with their request unanswered, by the thousand: the service goes on and stops in order" {
    start_daemon
    python3 - "$PORT" <<'P'
import socket, struct, sys
body = b'{"type":"primes","params":{"start":0,"stop":1000}}'
head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
for lap in range(40):
    crowd = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(100)]
    for n, client in enumerate(crowd):
        if n % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST instead of FIN
        client.sendall(head + body)
        client.close()
P
    [ "$(post '{"type":"echo","params":{"value":1}}' | jq .result.value)" = 1 ]
    stop_daemon
    [ "$DAEMON_STATUS" -eq 0 ]
}
