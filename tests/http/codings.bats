#!/usr/bin/env bats
# codings.bats: bodies of requests that are compressed (Content-Encoding), and results (Accept-Encoding). A worker does
# it.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    IN=$BATS_TEST_TMPDIR/in
}

compress() { # CODING: stdin to stdout
    case $1 in
    gzip | x-gzip) gzip -c ;;
    deflate) python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read()))' ;;
    zstd) zstd -q -c ;;
    esac
}

# post_coded CODING TYPE PATH [curl options...]: the body is $IN
post_coded() {
    call -X POST -H "Content-Encoding: $1" -H "Content-Type: $2" --data-binary "@$IN" "${@:4}" "$3"
}

post_json() { # CODING [curl options...]
    post_coded "$1" application/json /v1/jobs "${@:2}"
}

@test "a job of each coding, small and large" {
    start_daemon
    for coding in gzip x-gzip GZIP deflate zstd 'identity, gzip'; do
        name=${coding#identity, }
        printf '{"type":"echo","params":{"value":"%s"}}' "$coding" | compress "${name,,}" >"$IN"
        post_json "$coding"
        [ "$CODE" = 200 ]
        holds '.result.value == $value' --arg value "$coding"
        python3 -c 'print("{\"type\": \"sum\", \"params\": {\"numbers\": ", list(range(100000)), "}}")' |
            compress "${name,,}" >"$IN"
        post_json "$coding" -H 'Transfer-Encoding: chunked'
        [ "$CODE" = 200 ]
        holds '.result.sum == "4999950000"'
    done
    call /v1/jobs
    holds '[.jobs[].type] | unique == ["echo", "sum"]' # those that inflate are not among them
}

@test "data of each coding, for the query and as the data of a 202" {
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/plain"
    for coding in gzip deflate zstd; do
        compress "$coding" <"$BATS_TEST_TMPDIR/plain" >"$IN"
        post_coded "$coding" text/plain '/v1/jobs?type=bytes&op=echo' -H 'Accept: application/octet-stream'
        [ "$CODE" = 200 ]
        cmp "$BODY" "$BATS_TEST_TMPDIR/plain"
        post_coded "$coding" text/plain '/v1/jobs?type=bytes&op=echo' -H 'Prefer: respond-async'
        [ "$CODE" = 202 ]
        ids+=("$(field .id)")
        [ "$(ended "$(field .id)")" = succeeded ]
    done
    kill_daemon
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    for id in "${ids[@]}"; do
        curl -sS "$URL/v1/jobs/$id/result" | cmp - "$BATS_TEST_TMPDIR/plain"
    done
    printf '' | gzip -c >"$IN"
    post_coded gzip text/plain '/v1/jobs?type=primes&nth=10'
    [ "$CODE" = 200 ] # an empty body is no data
    holds '.result.prime == 29'
}

@test "gzip of several members, and zstd of several frames" {
    start_daemon
    for coding in gzip zstd; do
        { printf '{"type":"echo",' | compress "$coding"; printf '"params":{"value":1}}' | compress "$coding"; } >"$IN"
        post_json "$coding"
        [ "$CODE" = 200 ]
        holds '.result.value == 1'
    done
}

@test "a body that is damaged, cut off, or followed by something else: 400" {
    start_daemon
    for coding in gzip deflate zstd; do
        printf '{"type":"echo","params":{"value":"%s"}}' "$(head -c 3000 /dev/urandom | base64 -w0)" | compress "$coding" >"$BATS_TEST_TMPDIR/good"
        size=$(stat -c %s "$BATS_TEST_TMPDIR/good")
        for wrong in "head -c $((size - 1))" 'head -c 1' 'head -c 0' 'tail -c +2' 'tr a-c b' 'cat - /etc/hostname'; do
            $wrong <"$BATS_TEST_TMPDIR/good" >"$IN"
            post_json "$coding"
            expect_problem 400 bad_request
            holds '.detail | contains("Content-Encoding")'
        done
    done
    post_coded gzip a/b '/v1/jobs?type=bytes'
    expect_problem 400 bad_request
    call /v1/jobs
    holds '.jobs == []'
    [ "$(post '{"type":"primes","params":{"nth":1}}' | jq .result.prime)" = 2 ]
}

@test "what is inflated is checked as if it had come so" {
    start_daemon
    wrong() { # JSON STATUS CODE
        printf '%s' "$1" | compress zstd >"$IN"
        post_json zstd
        expect_problem "$2" "$3"
    }
    wrong '' 400 invalid_json
    wrong '{"type":"echo"' 400 invalid_json
    wrong '{"type":"echo","params":{"valu":1}}' 422 invalid_params
    wrong '{"type":"body-inflate","params":{}}' 422 unknown_type
    wrong '{"type":"sum","params":{"numbers":['"$(yes 1, | head -20000 | tr -d '\n')"'x]}}' 400 invalid_json
    printf x | compress gzip >"$IN"
    post_coded gzip a/b '/v1/jobs?type=bytes&op=all'
    expect_problem 422 invalid_params
}

@test "bombs: a body can become neither larger than --max-body nor too many times as large" {
    start_daemon --max-body 4MiB --max-inflate-ratio 50
    for coding in gzip deflate zstd; do
        head -c 100000000 /dev/zero | compress "$coding" >"$IN"
        post_coded "$coding" a/b '/v1/jobs?type=bytes'
        expect_problem 413 body_too_large
        holds '.limit_bytes == 4194304'
        head -c 4000000 /dev/zero | compress "$coding" >"$IN"
        post_coded "$coding" a/b '/v1/jobs?type=bytes'
        expect_problem 413 body_too_large
        holds '.detail | contains("--max-inflate-ratio")'
        head -c 1000000 /dev/zero | compress "$coding" >"$IN" # so little is never too much
        post_coded "$coding" a/b '/v1/jobs?type=bytes'
        [ "$CODE" = 200 ]
    done
    head -c 10000000 /dev/urandom | zstd -q -c --ultra -22 --long=27 >"$IN"
    stop_daemon
    start_daemon
    post_coded zstd a/b '/v1/jobs?type=bytes'
    expect_problem 400 bad_request
    holds '.detail | contains("8 MiB")'
}

@test "codings that are not taken: 415 with those that are, and a form is not inflated" {
    start_daemon
    printf '{"type":"echo","params":{"value":1}}' | gzip -c >"$IN"
    for coding in br x-unknown 'gzip, gzip' 'gzip, br'; do
        post_json "$coding"
        expect_problem 415 unsupported_media_type
        [ "$(header Accept-Encoding)" = 'gzip, deflate, zstd' ]
    done
    call -H 'Content-Encoding: gzip' -F 'job={"type":"bytes"}' -F data=x /v1/jobs
    expect_problem 415 unsupported_media_type
    [ "$(header Accept-Encoding)" = identity ]
}

@test "an Idempotency-Key with a body that is compressed" {
    start_daemon
    printf '{"type":"echo","params":{"value":1}}' | gzip -c >"$IN"
    post_json gzip -H 'Idempotency-Key: a'
    [ "$CODE" = 200 ]
    id=$(field .id)
    printf '{"type":"echo", "params":{"value":1}}' | zstd -q -c >"$IN"
    post_json zstd -H 'Idempotency-Key: a' # the same text is the same request
    [ "$(field .id)" = "$id" ]
    [ "$(header Idempotency-Replayed)" = true ]
    printf '{"type":"echo","params":{"value":2}}' | gzip -c >"$IN"
    post_json gzip -H 'Idempotency-Key: a'
    expect_problem 422 idempotency_mismatch
    head -c 100000 /dev/urandom | gzip -c >"$IN"
    for replayed in '' true; do
        post_coded gzip a/b '/v1/jobs?type=bytes' -H 'Idempotency-Key: b'
        [ "$CODE" = 200 ]
        [ "$(header Idempotency-Replayed)" = "$replayed" ]
    done
}

@test "the types that inflate cannot be seen or submitted" {
    start_daemon
    call /v1/types
    holds '[.types[].name] | index("body-inflate") == null and index("result-deflate") == null'
    for type in body-inflate result-deflate; do
        call "/v1/types/$type"
        expect_problem 404 not_found
    done
    call_job '{"type":"body-inflate","params":{"data":"eA==","coding":"gzip","limit":1,"ratio":1}}'
    expect_problem 422 unknown_type
    holds '.detail + (.errors | tostring) | contains("there are") and (contains("there are body") or contains(", body-") | not)'
    call -X POST -H 'Content-Type: a/b' -d x '/v1/jobs?type=body-inflate&coding=gzip&limit=1&ratio=1'
    expect_problem 422 unknown_type
}

@test "a client that leaves while its body waits to be inflated leaves nothing behind" {
    start_daemon --workers 1 --express-workers 1
    head -c 2000000 /dev/urandom | gzip -c >"$IN"
    for _ in 1 2 3; do
        curl -sS --max-time 300 -o /dev/null "$URL/v1/jobs" -d '{"type":"burn","params":{"cpu_ms":60000}}' -H 'Content-Type: application/json' 3>&- &
        pids+=($!)
    done
    three_live() { [ "$(curl -sS "$URL/v1/jobs?type=burn" | jq '.jobs | length')" = 3 ]; }
    wait_for three_live
    curl -sS --max-time 2 -o /dev/null "$URL/v1/jobs?type=bytes" -H 'Content-Encoding: gzip' -H 'Content-Type: a/b' --data-binary "@$IN" || true
    kill "${pids[@]}"
    wait "${pids[@]}" || true
    none_held() { [ "$(curl -sS "$URL/metrics" | awk '/^offload_held_bytes\{what="(bodies|payloads|jobs)"\}/ {sum += $2} END {print sum < 100000}')" = 1 ]; }
    wait_for none_held
    call '/v1/jobs?type=bytes'
    holds '.jobs == []'
}

large_json() { # the path of a result of some 650 KB
    call_job '{"type":"primes","params":{"start":0,"stop":1200000,"op":"list"}}'
    field .links.result
}

@test "a result that is compressed: its tag, its conditions, and its head" {
    start_daemon
    path=$(large_json)
    for coding in gzip zstd; do
        call -H "Accept-Encoding: $coding" "$path"
        tag=$(header ETag)
        [[ $tag == *-$coding\" ]]
        call -H "Accept-Encoding: $coding" -H "If-None-Match: $tag" "$path"
        [ "$CODE" = 304 ]
        call -H "If-None-Match: $tag" "$path" # the bytes as they are are others
        [ "$CODE" = 200 ]
        call -I -H "Accept-Encoding: $coding" "$path"
        [ "$CODE" = 200 ]
        [ "$(header ETag)" = "$tag" ]
        [ "$(header Content-Encoding)" = "$coding" ]
        call -H "Accept-Encoding: $coding" -r 5-9 "$path"
        [ "$CODE" = 206 ]
        [ "$(wc -c <"$BODY")" = 5 ]
        [ -z "$(header Content-Encoding)" ]
    done
    call /v1/jobs
    holds '.jobs | length == 1'
}

@test "a result is sent as it is while the workers have no time" {
    start_daemon --workers 1 --express-workers 1
    path=$(large_json)
    for _ in 1 2 3; do
        curl -sS --max-time 300 -o /dev/null "$URL/v1/jobs" -d '{"type":"burn","params":{"cpu_ms":60000}}' -H 'Content-Type: application/json' 3>&- &
        pids+=($!)
    done
    three_live() { [ "$(curl -sS "$URL/v1/jobs?type=burn" | jq '.jobs | length')" = 3 ]; }
    wait_for three_live
    call "$path"
    cp "$BODY" "$BATS_TEST_TMPDIR/whole"
    sent_as_it_is() {
        call -H 'Accept-Encoding: gzip' "$path"
        [ -z "$(header Content-Encoding)" ] && [[ $(header ETag) != *-gzip* ]] && cmp "$BODY" "$BATS_TEST_TMPDIR/whole"
    }
    wait_for sent_as_it_is
    kill "${pids[@]}"
    wait "${pids[@]}" || true
    compressed() { [ "$(curl -sS -o /dev/null -w '%header{content-encoding}' -H 'Accept-Encoding: gzip' "$URL$path")" = gzip ]; }
    wait_for compressed
}

@test "clients that want the same result compressed, and leave, leave nothing behind" {
    start_daemon
    path=$(large_json)
    python3 - "$PORT" "$path" <<'PYTHON'
import socket, sys
for i in range(20):
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    s.sendall(("GET %s HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n" % sys.argv[2]).encode())
    if i % 2:
        s.recv(1)
    s.close()
PYTHON
    none_held() { [ "$(curl -sS "$URL/metrics" | grep '^offload_held_bytes{what="answers"}' | cut -d' ' -f2)" = 0 ]; }
    wait_for none_held
    call -H 'Accept-Encoding: gzip' "$path"
    [ "$CODE" = 200 ]
    gzip -t <"$BODY"
}
