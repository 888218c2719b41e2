#!/usr/bin/env bats
# tls.bats: TLS on the listeners of TCP: what is served by it, certificates and their reload, clients' certificates, and
# what is not TLS or not allowed.

bats_require_minimum_version 1.5.0
load helpers

HERE=$BATS_TEST_DIRNAME

# make_authority NAME: its certificate is NAME.pem
make_authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 100 -subj "/CN=$1" \
        -keyout "$TLS/$1.key" -out "$TLS/$1.pem" 2>/dev/null
}

# make_certificate NAME AUTHORITY SUBJECT EXTENSION [openssl options...]: NAME.pem and NAME.key
make_certificate() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -utf8 -subj "$3" \
        -keyout "$TLS/$1.key" -out "$TLS/$1.csr" 2>/dev/null
    openssl x509 -req -in "$TLS/$1.csr" -CA "$TLS/$2.pem" -CAkey "$TLS/$2.key" -set_serial "$RANDOM" -days 100 \
        -extfile <(printf '%s\n' "$4") "${@:5}" -out "$TLS/$1.pem" 2>/dev/null
}

SERVER_NAMES=subjectAltName=IP:127.0.0.1,DNS:localhost

setup_file() {
    export TLS=$BATS_FILE_TMPDIR
    make_authority authority
    make_authority foreign
    make_certificate server authority /CN=server "$SERVER_NAMES"
    make_certificate renewed authority /CN=renewed "$SERVER_NAMES"
    make_certificate short authority /CN=short "$SERVER_NAMES" -days 3
    make_certificate alice authority /CN=alice extendedKeyUsage=clientAuth
    make_certificate bob authority /CN=bob extendedKeyUsage=clientAuth
    make_certificate stranger foreign /CN=stranger extendedKeyUsage=clientAuth
    make_certificate other authority /CN=other extendedKeyUsage=serverAuth
}

# With TLS; a client that is given what it needs follows.
start_tls() {
    start_daemon --tls-cert "$TLS/server.pem" --tls-key "$TLS/server.key" "$@"
    URL=https://127.0.0.1:$PORT
    echo "cacert=$TLS/authority.pem" >"$BATS_TEST_TMPDIR/.curlrc"
    export CURL_HOME=$BATS_TEST_TMPDIR
}

client() {
    timeout 60 python3 "$HERE/tls_client.py" "$PORT" "$TLS/authority.pem" "$@" 3>&-
}

# The handshake alone, by openssl; its exit status says whether it was done.
shake() {
    timeout 30 openssl s_client -connect "127.0.0.1:$PORT" -CAfile "$TLS/authority.pem" -verify_return_error "$@" \
        </dev/null 2>&1 3>&-
}

# The subject of the certificate that a new connection gets.
served() {
    shake -showcerts | sed -n 's/^subject=CN = //p'
}

is_served() { [ "$(served)" = "$1" ]; }

logged() { grep -q "\"event\":\"$1\"" "$LOG"; }

# refused REGEX OPTIONS...: neither a start nor a check takes them: one line, and exit 2
refused() {
    local line=$1
    shift
    run --separate-stderr timeout 30 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none "$@" --check-config
    echo "$stderr"
    [ "$status" -eq 2 ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr =~ $line ]]
    run --separate-stderr timeout 30 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --log-level error "$@"
    echo "$stderr"
    [ "$status" -eq 2 ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ $stderr =~ $line ]]
}

# ---- what is served --------------------------------------------------------------------------------------------------

@test "a job, waited for and not; the log and Host are as without TLS" {
    start_tls
    call_job '{"type":"primes","params":{"start":0,"stop":100}}'
    [ "$CODE" = 200 ]
    holds '.result.count == 25'
    id=$(submit '{"type":"echo","params":{"value":"by TLS"}}')
    [ "$(ended "$id")" = succeeded ]
    run curl -sS -o /dev/null -o /dev/null -w '%{http_code} %{num_connects}\n' "https://localhost:$PORT/livez" \
        "https://localhost:$PORT/nowhere"
    [ "$output" = $'200 1\n404 0' ]
    [ "$(status -H 'Host: elsewhere.example' "$URL/livez")" = 421 ]
}

@test "TLS 1.3 and 1.2 with a fresh key and AEAD, and nothing older or weaker" {
    start_tls
    run -0 shake -tls1_3
    [[ $output == *'New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256'* ]]
    run -0 shake -tls1_2
    [[ $output == *'Cipher is ECDHE-ECDSA-AES128-GCM-SHA256'* ]]
    [[ $output != *'TLS session ticket'* ]]
    for old in -tls1 -tls1_1; do
        run ! shake "$old" -cipher 'ALL:@SECLEVEL=0'
        [[ $output == *'alert protocol version'* || $output == *'no protocols available'* ]]
    done
    run ! shake -tls1_2 -cipher 'AES128-SHA256:AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA256'
    [[ $output == *'alert handshake failure'* ]]
}

@test "ALPN: http/1.1, and a client that speaks only something else is told so" {
    start_tls
    run -0 shake -alpn h2,http/1.1
    [[ $output == *'ALPN protocol: http/1.1'* ]]
    run ! shake -alpn h2
    [[ $output == *'no application protocol'* ]]
}

@test "a body of 50 MiB, with Expect and in chunks, and a result as large" {
    start_tls
    head -c $((50 << 20)) /dev/urandom >"$BATS_TEST_TMPDIR/upload"
    sum=$(sha256sum <"$BATS_TEST_TMPDIR/upload")
    for how in '' 'Transfer-Encoding: chunked'; do
        call -X POST -H 'Expect: 100-continue' -H "$how" -H 'Content-Type: application/octet-stream' \
            -T "$BATS_TEST_TMPDIR/upload" '/v1/jobs?type=array&dtype=u1&op=scale&factor=1'
        [ "$CODE" = 200 ]
        curl -sS --max-time 60 "$URL$(field .links.result)" | tail -c $((50 << 20)) >"$BATS_TEST_TMPDIR/result"
        [ "$(sha256sum <"$BATS_TEST_TMPDIR/result")" = "$sum" ]
    done
    call -X POST -H 'Content-Type: application/octet-stream' -H 'Expect: 100-continue' -H 'Content-Length: 99999999' \
        --data-binary @"$BATS_TEST_TMPDIR/upload" '/v1/jobs?type=array&dtype=u1&op=sum'
    expect_problem 413 body_too_large
}

@test "a body that is too large in the middle is answered" {
    start_tls --max-body 1MiB
    head -c $((8 << 20)) /dev/zero >"$BATS_TEST_TMPDIR/upload"
    call -X POST -H 'Transfer-Encoding: chunked' -H 'Expect:' -H 'Content-Type: application/octet-stream' \
        -T "$BATS_TEST_TMPDIR/upload" '/v1/jobs?type=array&dtype=u1&op=sum'
    expect_problem 413 body_too_large
}

@test "events and items as they come, a long poll, HEAD, ranges" {
    start_tls
    id=$(submit '{"type":"sleep","params":{"ms":400}}')
    curl -sSN --max-time 60 "$URL/v1/jobs/$id/events" >"$BATS_TEST_TMPDIR/events" &
    events=$!
    call -H 'Prefer: wait=50' "/v1/jobs/$id"
    holds '.status == "succeeded"'
    wait "$events"
    grep -q '^event: end' "$BATS_TEST_TMPDIR/events"
    call_job -H 'Accept: application/x-ndjson' '{"type":"sleep","items":[{"ms":1},{"ms":200},{"ms":1}]}'
    [ "$(wc -l <"$BODY")" -eq 4 ]
    [ "$(status -I "$URL/v1/jobs/$id")" = 200 ]
    call -H 'Range: bytes=0-4' "/v1/jobs/$id/result"
    [ "$CODE" = 206 ]
}

@test "pipelined requests are answered in their order, even if one has to wait" {
    start_tls
    {
        printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: one\r\n\r\n'
        body='{"type":"sleep","params":{"ms":200}}'
        printf 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: two\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' ${#body} "$body"
        printf 'GET /nowhere HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: three\r\nConnection: close\r\n\r\n'
    } | timeout 30 openssl s_client -connect "127.0.0.1:$PORT" -CAfile "$TLS/authority.pem" -quiet -ign_eof \
        >"$BATS_TEST_TMPDIR/answers" 2>/dev/null 3>&-
    [ "$(tr -d '\r' <"$BATS_TEST_TMPDIR/answers" | sed -n 's/^X-Request-Id: //Ip' | xargs)" = 'one two three' ]
    [ "$(grep -ao 'HTTP/1.1 [0-9]*' "$BATS_TEST_TMPDIR/answers" | cut -d' ' -f2 | xargs)" = '200 200 404' ]
}

@test "records of one byte, empty lines in records, and a request byte after byte" {
    start_tls
    [ "$(client records)" = '200 404 200' ]
    [ "$(client blanks)" = 200 ]
    [ "$(client slow)" = 200 ]
}

@test "a client that closes its side after a whole request gets its answer" {
    start_tls
    [[ $(client half-close notify) == 'HTTP/1.1 200 '* ]]
    [[ $(client half-close fin) == 'HTTP/1.1 200 '* ]]
}

@test "a client that leaves cancels the job that it waits for" {
    start_tls
    curl -sS --max-time 1 -H 'Content-Type: application/json' -d '{"type":"sleep","params":{"ms":600000}}' \
        "$URL/v1/jobs" || true
    is_cancelled() { curl -sS "$URL/v1/jobs?status=cancelled" | jq -e '.jobs | length == 1' >/dev/null; }
    wait_for is_cancelled
}

@test "new keys within a connection are taken, and a new handshake is not" {
    start_tls
    # s_client reads a line as a command if it begins with K (new keys) or R (a new handshake), and sends others.
    { echo K; sleep 0.3; printf 'GET /livez HTTP/1.0\r\n\r\n'; sleep 2; } |
        timeout 30 openssl s_client -connect "127.0.0.1:$PORT" -CAfile "$TLS/authority.pem" -tls1_3 \
            >"$BATS_TEST_TMPDIR/answer" 2>&1 3>&-
    grep -q KEYUPDATE "$BATS_TEST_TMPDIR/answer"
    grep -q '^HTTP/1.1 200' "$BATS_TEST_TMPDIR/answer"
    { echo R; sleep 0.3; printf 'GET /livez HTTP/1.0\r\n\r\n'; sleep 2; } |
        timeout 30 openssl s_client -connect "127.0.0.1:$PORT" -CAfile "$TLS/authority.pem" -tls1_2 \
            >"$BATS_TEST_TMPDIR/answer" 2>&1 3>&- || true
    grep -q RENEGOTIATING "$BATS_TEST_TMPDIR/answer"
    ! grep -q '^HTTP/1.1' "$BATS_TEST_TMPDIR/answer"
}

@test "a Unix socket stays plain" {
    start_tls --listen "unix:$BATS_TEST_TMPDIR/sock"
    [ "$(status --unix-socket "$BATS_TEST_TMPDIR/sock" http://offload/livez)" = 200 ]
    [ "$(status "$URL/livez")" = 200 ]
}

# ---- what is not allowed ---------------------------------------------------------------------------------------------

@test "what two readers could understand differently gets one answer, and a close" {
    start_tls
    printf 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n' |
        timeout 30 openssl s_client -connect "127.0.0.1:$PORT" -CAfile "$TLS/authority.pem" -quiet -ign_eof \
            >"$BATS_TEST_TMPDIR/answers" 2>/dev/null 3>&-
    [ "$(grep -ao 'HTTP/1.1 [0-9]*' "$BATS_TEST_TMPDIR/answers" | xargs)" = 'HTTP/1.1 400' ]
    grep -q '"code":"bad_request"' "$BATS_TEST_TMPDIR/answers"
}

@test "the check of what clients send is as strict as without TLS" {
    start_tls --allowed-host offload.example
    for group in good framing "first line" nul hosts twice; do
        run timeout 60 python3 "$HERE/heads.py" "$PORT" "$group" "$TLS/authority.pem"
        echo "$output"
        [ "$status" -eq 0 ]
    done
    [ "$(status "$URL/livez")" = 200 ]
}

@test "plain HTTP gets a 400 that says what is wrong, and garbage a close" {
    start_tls
    call_plain() { URL=http://127.0.0.1:$PORT call "$@"; }
    call_plain /livez
    expect_problem 400 bad_request
    holds '.detail | contains("https")'
    wait_for logged plain_http_on_tls_port
    for garbage in 'garbage' '\x16\x03\x01\xff\xff' '\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00' '\x00' '\x80\x2e\x01\x00\x02'; do
        printf "$garbage" | timeout 20 nc -N 127.0.0.1 "$PORT" 3>&- >/dev/null
    done
    head -c 100000 /dev/urandom | timeout 20 nc -N 127.0.0.1 "$PORT" 3>&- >/dev/null || true
    call /metrics
    [ "$(sed -n 's/^offload_tls_handshakes_failed_total //p' "$BODY")" -ge 5 ]
    grep -q '^offload_tls_certificate_expires_seconds [0-9]*$' "$BODY"
}

@test "a handshake that is not done within the timeout of a head is given up, and takes no time of others" {
    start_tls --header-timeout 1s
    [ "$(client hello 0)" = "b''" ]
    [ "$(client hello 1)" = "b''" ]
    [ "$(client hello 200)" = "b''" ]
    open() { [ "$(curl -sS "$URL/metrics" | sed -n 's/^offload_http_connections //p')" = 1 ]; }
    wait_for open
}

@test "half a handshake does not keep the service busy" {
    start_tls --header-timeout 60s
    for i in 1 2 3; do
        timeout 20 python3 "$HERE/tls_client.py" "$PORT" "$TLS/authority.pem" hello 200 3>&- >/dev/null 2>&1 &
    done
    three() { [ "$(curl -sS "$URL/metrics" | sed -n 's/^offload_http_connections //p')" = 4 ]; }
    wait_for three
    # One that spins is never seen asleep.
    is_asleep() { [ "$(awk '{print $3}' "/proc/$DAEMON/task/$DAEMON/stat")" = S ]; }
    wait_for is_asleep
}

@test "the client's health check says that the port speaks TLS" {
    start_daemon --tls-cert "$TLS/server.pem" --tls-key "$TLS/server.key"
    run --separate-stderr "$BUILD/offload" health --url "http://127.0.0.1:$PORT"
    [[ $status -eq 1 && $stderr == *"not live: it answered 400: "*TLS* ]]
}

@test "a key that wants a certificate, where none is taken, is warned of" {
    echo 'edge cert submit' >"$BATS_TEST_TMPDIR/keys"
    start_daemon --keys "$BATS_TEST_TMPDIR/keys"
    grep '"event":"key_without_use"' "$LOG" | jq -e '.level == "warn" and .name == "edge"'
}

# ---- certificates ----------------------------------------------------------------------------------------------------

@test "options and files with a fault" {
    : >"$TLS/empty"
    refused '^offloadd: --tls-cert: --tls-key is needed' --tls-cert "$TLS/server.pem"
    refused '^offloadd: --tls-key: --tls-cert is needed' --tls-key "$TLS/server.key"
    refused '^offloadd: --tls-client-ca: --tls-cert and --tls-key' --tls-client-ca "$TLS/authority.pem"
    refused '^offloadd: --tls-cert .*/missing: No such file' --tls-cert "$TLS/missing" --tls-key "$TLS/server.key"
    refused '^offloadd: --tls-key .*/missing: No such file' --tls-cert "$TLS/server.pem" --tls-key "$TLS/missing"
    refused '^offloadd: --tls-cert .*: there is no certificate' --tls-cert "$TLS/server.key" --tls-key "$TLS/server.key"
    refused '^offloadd: --tls-key .*: there is no private key' --tls-cert "$TLS/server.pem" --tls-key "$TLS/server.pem"
    refused '^offloadd: --tls-key .*: it is not the key of' --tls-cert "$TLS/server.pem" --tls-key "$TLS/renewed.key"
    refused '^offloadd: --tls-client-ca .*: there is no certificate' --tls-cert "$TLS/server.pem" \
        --tls-key "$TLS/server.key" --tls-client-ca "$TLS/empty"
    refused '^offloadd: --tls-cert /dev/null: it is not a regular file' --tls-cert /dev/null --tls-key "$TLS/server.key"
    openssl pkey -in "$TLS/server.key" -aes256 -passout pass:x -out "$TLS/encrypted.key"
    refused '^offloadd: --tls-key .*: it is encrypted' --tls-cert "$TLS/server.pem" --tls-key "$TLS/encrypted.key"
    run "$OFFLOADD" --data-dir none --tls-cert "$TLS/server.pem" --tls-key "$TLS/server.key" --check-config
    [ "$status" -eq 0 ]
}

@test "a reload brings another certificate, and what is open goes on" {
    cp "$TLS/server.pem" "$BATS_TEST_TMPDIR/cert"
    cp "$TLS/server.key" "$BATS_TEST_TMPDIR/key"
    start_tls --tls-cert "$BATS_TEST_TMPDIR/cert" --tls-key "$BATS_TEST_TMPDIR/key"
    is_served server
    id=$(submit '{"type":"sleep","params":{"ms":600000}}')
    curl -sSN --max-time 60 "$URL/v1/jobs/$id/events" >"$BATS_TEST_TMPDIR/events" &
    events=$!
    streams() { grep -q '^event: status' "$BATS_TEST_TMPDIR/events"; }
    wait_for streams
    cp "$TLS/renewed.pem" "$BATS_TEST_TMPDIR/cert"
    cp "$TLS/renewed.key" "$BATS_TEST_TMPDIR/key"
    kill -HUP "$DAEMON"
    wait_for is_served renewed
    call -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    wait "$events"
    grep -q '^event: end' "$BATS_TEST_TMPDIR/events"

    # A bad one changes nothing.
    cp "$TLS/server.key" "$BATS_TEST_TMPDIR/key"
    kill -HUP "$DAEMON"
    wait_for logged reload_failed
    jq -r 'select(.event == "reload_failed") | .error' "$LOG" | grep -q '^--tls-key .*: it is not the key'
    is_served renewed
}

@test "many reloads, each with a connection, leave nothing behind" {
    start_tls
    descriptors() { ls "/proc/$DAEMON/fd" | wc -l; }
    handlers() { [ "$(grep -c '"event":"handlers_loaded"' "$LOG")" -ge "$1" ]; }
    kill -HUP "$DAEMON"
    wait_for handlers 1
    wait_for is_served server
    before=$(descriptors)
    for i in $(seq 2 6); do
        kill -HUP "$DAEMON"
        wait_for handlers "$i"
        is_served server
    done
    as_before() { [ "$(descriptors)" -le "$before" ]; }
    wait_for as_before
}

@test "TLS is turned on and off by a restart only" {
    touch "$BATS_TEST_TMPDIR/config"
    start_daemon --config "$BATS_TEST_TMPDIR/config"
    printf 'tls-cert = %s\ntls-key = %s\n' "$TLS/server.pem" "$TLS/server.key" >"$BATS_TEST_TMPDIR/config"
    kill -HUP "$DAEMON"
    wait_for logged reload_failed
    grep -q 'TLS is turned on by a restart only' "$LOG"
    [ "$(status "$URL/livez")" = 200 ]
}

@test "a certificate that expires soon is warned of" {
    start_tls --tls-cert "$TLS/short.pem" --tls-key "$TLS/short.key"
    grep '"event":"tls_certificate_expires"' "$LOG" | jq -e '.level == "warn" and .days_left <= 3'
    call /metrics
    at=$(date -d "$(openssl x509 -in "$TLS/short.pem" -noout -enddate | cut -d= -f2)" +%s)
    grep -qx "offload_tls_certificate_expires_seconds $at" "$BODY"
}

@test "an expired certificate is a warning, and --check-config is content with it" {
    make_certificate old authority /CN=old "$SERVER_NAMES" -days -1
    run "$OFFLOADD" --data-dir none --tls-cert "$TLS/old.pem" --tls-key "$TLS/old.key" --check-config
    [ "$status" -eq 0 ]
    start_daemon --tls-cert "$TLS/old.pem" --tls-key "$TLS/old.key"
    logged tls_certificate_expired
    [ "$(status -k "https://127.0.0.1:$PORT/livez")" = 200 ]
}

@test "handshakes are a tenth of --max-requests-per-address; a connection that is open makes no more" {
    start_tls --max-requests-per-address 20
    run curl -sS -o /dev/null -w '%{http_code}\n' "$URL/v1/types?[1-15]" # one connection
    [ "$(grep -c 400 <<<"$output")" = 15 ] # there is no such parameter
    refused() { ! curl -sS -o /dev/null "$URL/livez" 2>/dev/null; }
    wait_for refused
    served() { [ "$(status "$URL/livez" 2>/dev/null)" = 200 ]; }
    wait_for served
    sleep 1.1
    call /metrics
    grep -q '^offload_http_refused_total{reason="address_handshakes"} [1-9]' "$BODY"
}

@test "an answer that is taken too slowly is cut, and counted" {
    start_tls --idle-timeout 1s --min-rate 100MiB
    call_job '{"type":"primes","params":{"start":0,"stop":20000000,"op":"list"}}'
    curl -sS --max-time 50 --limit-rate 1k -o "$BATS_TEST_TMPDIR/slow" "$URL$(field .links.result)" 3>&- &
    reader=$!
    counted() { curl -sS "$URL/metrics" | grep -q '^offload_http_slow_closed_total{what="answer"} 1$'; }
    wait_for counted
    kill "$reader"
    wait "$reader" || true
}

# ---- clients' certificates -------------------------------------------------------------------------------------------

@test "clients' certificates: one must be good, and none is let in" {
    start_tls --tls-client-ca "$TLS/authority.pem"
    for version in --tls-max\ 1.2 --tlsv1.3; do
        [ "$(status $version --cert "$TLS/alice.pem" --key "$TLS/alice.key" "$URL/livez")" = 200 ]
        [ "$(status $version "$URL/livez")" = 200 ]
        for bad in stranger other; do # of another authority; for servers only
            run curl -sS --max-time 20 $version --cert "$TLS/$bad.pem" --key "$TLS/$bad.key" "$URL/livez"
            [ "$status" -ne 0 ]
        done
    done
    [ "$(client certificate "$TLS/alice.pem" "$TLS/alice.key")" = 200 ]
    [[ $(client certificate "$TLS/stranger.pem" "$TLS/stranger.key") == *ALERT* ]]
    logged tls_client_refused
    run shake
    [[ $output == *'Acceptable client certificate CA names'*'CN = authority'* ]]
}

@test "without --tls-client-ca no client is asked, and a reload does not end the asking" {
    start_tls
    run shake
    [[ $output == *'No client certificate CA names sent'* ]]
    stop_daemon
    echo "tls-client-ca = $TLS/authority.pem" >"$BATS_TEST_TMPDIR/config"
    start_tls --config "$BATS_TEST_TMPDIR/config"
    echo "tls-client-ca = $TLS/foreign.pem" >"$BATS_TEST_TMPDIR/config"
    kill -HUP "$DAEMON"
    strangers() { [ "$(status --cert "$TLS/stranger.pem" --key "$TLS/stranger.key" "$URL/livez")" = 200 ]; }
    wait_for strangers
    : >"$BATS_TEST_TMPDIR/config"
    kill -HUP "$DAEMON"
    wait_for logged reload_failed
    strangers
}

@test "with --tls-client-ca addresses that others can reach are allowed" {
    refused '--insecure-no-auth' --listen 0.0.0.0:0 --tls-cert "$TLS/server.pem" --tls-key "$TLS/server.key"
    run "$OFFLOADD" --data-dir none --listen 0.0.0.0:0 --tls-cert "$TLS/server.pem" --tls-key "$TLS/server.key" \
        --tls-client-ca "$TLS/authority.pem" --check-config
    [ "$status" -eq 0 ]
}

by() { # NAME, then as for call: with that client's certificate
    call --cert "$TLS/$1.pem" --key "$TLS/$1.key" "${@:2}"
}

ECHO='{"type":"echo","params":{"value":1}}'

@test "with --tls-client-ca alone the name in the certificate is that of a key, which may submit and read" {
    start_tls --tls-client-ca "$TLS/authority.pem"
    call /v1/jobs
    expect_problem 401 unauthorized
    by alice -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    [ "$CODE" = 200 ]
    holds '.key == "alice"'
    id=$(field .id)
    by alice "/v1/jobs/$id"
    [ "$CODE" = 200 ]
    by bob "/v1/jobs/$id"
    expect_problem 404 not_found
    by bob /v1/jobs
    holds '.jobs == []'
    by alice -H 'Authorization: Bearer offload_wrong' /v1/jobs
    expect_problem 401 unauthorized
}

@test "a client's certificate that expires is good no longer, on a connection that is open, too" {
    local folder=$BATS_TEST_TMPDIR
    start_tls --tls-client-ca "$TLS/authority.pem"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=brief -keyout "$folder/brief.key" \
        -out "$folder/brief.csr" 2>/dev/null
    : >"$folder/index"
    echo 01 >"$folder/serial"
    printf '[ca]\ndefault_ca=a\n[a]\ndatabase=%s/index\nserial=%s/serial\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n' \
        "$folder" "$folder" "$folder" >"$folder/ca.conf"
    end=$(($(date +%s) + 8))
    openssl ca -batch -config "$folder/ca.conf" -cert "$TLS/authority.pem" -keyfile "$TLS/authority.key" -in "$folder/brief.csr" \
        -out "$folder/brief.pem" -notext -startdate "$(date -u -d '-1 day' +%Y%m%d%H%M%SZ)" \
        -enddate "$(date -u -d "@$end" +%Y%m%d%H%M%SZ)" -extfile <(echo extendedKeyUsage=clientAuth) 2>/dev/null
    python3 - "$PORT" "$TLS/authority.pem" "$folder/brief.pem" "$folder/brief.key" "$end" <<'END'
import http.client, ssl, sys, time
port, authority, certificate, key, end = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.load_cert_chain(certificate, key)
connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context, timeout=20)


def status():
    connection.request("GET", "/v1/jobs")
    answer = connection.getresponse()
    answer.read()
    return answer.status


assert status() == 200
socket = connection.sock
time.sleep(max(0, int(end) + 1.1 - time.time()))
assert status() == 401
assert connection.sock is socket
END
}

@test "with a keys file, too, a certificate needs a line, which has its scopes and quotas" {
    make_certificate mail authority /CN=jörg@example.com extendedKeyUsage=clientAuth
    printf '%s\n' "alice cert read rate=2/m" "jörg@example.com cert read" >"$BATS_TEST_TMPDIR/keys"
    start_tls --tls-client-ca "$TLS/authority.pem" --keys "$BATS_TEST_TMPDIR/keys"
    by mail /v1/jobs
    [ "$CODE" = 200 ]
    by bob /v1/jobs
    expect_problem 401 unauthorized
    holds '.detail | test("no key has the name in the client.s certificate")'
    by alice -H 'Content-Type: application/json' --data-binary "$ECHO" /v1/jobs
    expect_problem 403 forbidden
    by alice /v1/jobs
    [ "$CODE" = 200 ]
    by alice /v1/jobs
    [ "$CODE" = 200 ]
    by alice /v1/jobs
    expect_problem 429 over_quota
    run "$OFFLOADD" --data-dir none --insecure-no-auth --tls-cert "$TLS/server.pem" --tls-key "$TLS/server.key" \
        --tls-client-ca "$TLS/authority.pem" --check-config
    [ "$status" -eq 2 ]
}
