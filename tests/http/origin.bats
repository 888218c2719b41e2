#!/usr/bin/env bats
# origin.bats: requests that browsers send for web pages: which may change something, and which can read the answer (CORS).
# browser.bats does some of it with a real browser.

bats_require_minimum_version 1.5.0
load helpers

JOB='{"type":"echo","params":{"value":1}}'
PAGE=https://page.example

cors_headers() { # those of the last answer, in small letters
    grep -i '^access-control-' "$HEAD" | cut -d: -f1 | tr '[:upper:]' '[:lower:]' | sort | xargs
}

nothing_was_submitted() {
    call /v1/jobs
    holds '.jobs == []'
}

@test "a request that can change something from a page of another origin: 403, and nothing is done" {
    start_daemon
    for origin in http://evil.example "http://127.0.0.1:1" "https://127.0.0.1" null '' x "http://localhost:$PORT" \
        "http://127.0.0.1:$PORT.evil.example" "http://127.0.0.1:$PORT/" "http://127.0.0.1:$PORT, http://evil.example"; do
        header="Origin: $origin"
        [ -n "$origin" ] || header='Origin;' # an empty field
        call_job -H "$header" "$JOB"
        expect_problem 403 forbidden
        for type in 'Content-Type: text/plain' 'Content-Type:' 'Content-Type: application/x-www-form-urlencoded'; do
            call -H "$header" -H "$type" --data-binary "$JOB" /v1/jobs
            expect_problem 403 forbidden
        done
        call -H "$header" -H 'Content-Type: text/plain' --data-binary x '/v1/jobs?type=bytes'
        expect_problem 403 forbidden
        call -H "$header" -F "job=$JOB" /v1/jobs
        expect_problem 403 forbidden
        call -H "$header" -X POST /v1/jobs/0192d0a0-0000-7000-8000-000000000000/cancel
        expect_problem 403 forbidden
        call -H "$header" -X DELETE /v1/jobs/0192d0a0-0000-7000-8000-000000000000
        expect_problem 403 forbidden
        call -H "$header" -X PUT /nowhere
        expect_problem 403 forbidden
        call -H "$header" -H 'Content-Type: application/json' -d '{"input":"x"}' /v1/embeddings
        [ "$CODE" = 403 ]
        holds '.error.code == "forbidden"'
        [ -z "$(cors_headers)" ]
    done
    nothing_was_submitted
}

@test "a request that the browser itself calls foreign: 403, whatever its Origin is" {
    start_daemon
    for site in cross-site same-site; do
        call_job -H "Sec-Fetch-Site: $site" "$JOB"
        expect_problem 403 forbidden
        call_job -H "Sec-Fetch-Site: $site" -H "Origin: $URL" "$JOB"
        expect_problem 403 forbidden
        call -X DELETE -H "Sec-Fetch-Site: $site" /v1/jobs/0192d0a0-0000-7000-8000-000000000000
        expect_problem 403 forbidden
        call -H "Sec-Fetch-Site: $site" /v1/jobs # it can be asked for, and no page can read the answer
        [ "$CODE" = 200 ]
    done
    nothing_was_submitted
}

@test "a page of the service itself can do all, and so can who is no browser" {
    start_daemon
    for headers in 'X: y' "Origin: $URL" "Origin: ${URL^^}" 'Sec-Fetch-Site: same-origin' 'Sec-Fetch-Site: none'; do
        call_job -H "$headers" "$JOB"
        [ "$CODE" = 200 ]
        id=$(field .id)
        call -X DELETE -H "$headers" "/v1/jobs/$id"
        [ "$CODE" = 204 ]
        [ -z "$(cors_headers)" ]
    done
    # Behind a proxy that speaks TLS and keeps Host.
    call_job -H 'Host: localhost' -H 'Origin: https://localhost' -H 'Sec-Fetch-Site: same-origin' "$JOB"
    [ "$CODE" = 200 ]
}

@test "a page of another origin is told before it sends its body" {
    start_daemon
    answer=$(printf 'POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n' |
        timeout 20 nc 127.0.0.1 "$PORT")
    [[ $answer == 'HTTP/1.1 403 '* ]]
}

@test "without --cors-origin no answer has a header of CORS" {
    start_daemon
    for origin in "$PAGE" "$URL" null; do
        for path in /livez /v1/jobs /v1/types /metrics /nowhere /openapi.json; do
            call -H "Origin: $origin" "$path"
            [ -z "$(cors_headers)" ]
            call -X OPTIONS -H "Origin: $origin" -H 'Access-Control-Request-Method: POST' "$path"
            [ -z "$(cors_headers)" ]
            [[ $CODE = 204 || $CODE = 404 ]]
        done
    done
}

@test "--cors-origin: pages of these origins can send all requests and read the answers" {
    start_daemon --cors-origin "$PAGE" --cors-origin http://other.example:8000 --max-body 1KiB
    for origin in "$PAGE" http://other.example:8000; do
        call_job -H "Origin: $origin" -H 'Sec-Fetch-Site: cross-site' "$JOB"
        [ "$CODE" = 200 ]
        [ "$(header Access-Control-Allow-Origin)" = "$origin" ]
        [ "$(header Vary)" = Origin ]
        for name in Location ETag X-Request-Id Retry-After RateLimit RateLimit-Policy Preference-Applied Idempotency-Replayed \
            Server-Timing; do
            [[ ", $(header Access-Control-Expose-Headers)," == *", $name,"* ]]
        done
        [ -z "$(header Access-Control-Allow-Credentials)" ]
        job=$(field .links.self)
        # Errors, too, can be read; and streams, and what is sent in pieces.
        for path in "$job" "$job/result" "$job/events" /nowhere /metrics '/v1/jobs?x=1' /v1/types/nosuch; do
            call -H "Origin: $origin" "$path"
            [ "$(header Access-Control-Allow-Origin)" = "$origin" ]
        done
        call_job -H "Origin: $origin" "$(printf '%2000s' "$JOB")"
        expect_problem 413 body_too_large
        [ "$(header Access-Control-Allow-Origin)" = "$origin" ]
        # The answer to what is wrong in the middle of a body goes another way.
        call -H "Origin: $origin" -F "job=$JOB" -F 'nosuch=x' -F 'data=y' /v1/jobs
        expect_problem 400 bad_request
        [ "$(header Access-Control-Allow-Origin)" = "$origin" ]
        call -X DELETE -H "Origin: $origin" "$job"
        [ "$CODE" = 204 ]
        [ "$(header Access-Control-Allow-Origin)" = "$origin" ]
    done
    for origin in https://page.example.evil.example http://page.example https://page.example:8443 null; do
        call_job -H "Origin: $origin" "$JOB"
        expect_problem 403 forbidden
        [ -z "$(cors_headers)" ]
        call -H "Origin: $origin" /v1/jobs
        [ "$CODE" = 200 ]
        [ -z "$(cors_headers)" ]
        [ "$(header Vary)" = Origin ]
    done
    call /v1/jobs # a cache must not give it to a page
    [ "$(header Vary)" = Origin ]
    [ -z "$(cors_headers)" ]
}

@test "--cors-origin: a preflight says what can be sent" {
    start_daemon --cors-origin "$PAGE"
    call -X OPTIONS -H "Origin: $PAGE" -H 'Access-Control-Request-Method: POST' -H 'Access-Control-Request-Headers: prefer' /v1/jobs
    [ "$CODE" = 204 ]
    [ "$(header Access-Control-Allow-Origin)" = "$PAGE" ]
    [ "$(header Access-Control-Allow-Methods)" = "GET, HEAD, OPTIONS, POST" ]
    [ "$(header Vary)" = Origin ]
    [[ $(header Access-Control-Max-Age) =~ ^[0-9]+$ ]]
    for name in Authorization Content-Type Prefer Idempotency-Key Priority If-Match If-None-Match Last-Event-ID Range traceparent; do
        [[ ", $(header Access-Control-Allow-Headers)," == *", $name,"* ]]
    done
    call -X OPTIONS -H "Origin: $PAGE" -H 'Access-Control-Request-Method: DELETE' /v1/jobs/0192d0a0-0000-7000-8000-000000000000
    [ "$(header Access-Control-Allow-Methods)" = "DELETE, GET, HEAD, OPTIONS" ]
    call -X OPTIONS -H 'Origin: https://evil.example' -H 'Access-Control-Request-Method: POST' /v1/jobs
    [ "$CODE" = 204 ]
    [ -z "$(cors_headers)" ]
    call -X OPTIONS -H "Origin: $PAGE" /v1/jobs # no preflight
    [ "$(cors_headers)" = "access-control-allow-origin access-control-expose-headers" ]
}

@test "--cors-origin '*': pages of all origins, but no malformed one" {
    start_daemon --cors-origin '*'
    for origin in "$PAGE" http://127.0.0.1:1 null; do
        call_job -H "Origin: $origin" "$JOB"
        [ "$CODE" = 200 ]
        [ "$(header Access-Control-Allow-Origin)" = "$origin" ]
    done
    call_job -H 'Origin: http://a b' "$JOB"
    expect_problem 403 forbidden
}

@test "SIGHUP takes a new --cors-origin" {
    echo "cors-origin = https://one.example" >"$BATS_TEST_TMPDIR/config"
    start_daemon --config "$BATS_TEST_TMPDIR/config"
    call_job -H 'Origin: https://two.example' "$JOB"
    expect_problem 403 forbidden
    echo "cors-origin = $PAGE" >"$BATS_TEST_TMPDIR/config"
    kill -HUP "$DAEMON"
    admitted() { call_job -H "Origin: $PAGE" "$JOB" && [ "$CODE" = 200 ]; }
    wait_for admitted
    call_job -H 'Origin: https://one.example' "$JOB"
    expect_problem 403 forbidden
}

@test "an answer that takes the place of another can be read, too" {
    start_daemon --cors-origin "$PAGE" --max-requests-per-address 1
    refused() { call_job -H "Origin: $PAGE" "$JOB" && [ "$CODE" = 429 ]; }
    wait_for refused
    [ "$(header Access-Control-Allow-Origin)" = "$PAGE" ]
    [[ $(header Access-Control-Expose-Headers) == *Retry-After* ]]
}

@test "a malformed --cors-origin: exit 2 and one line" {
    for origin in page.example https://page.example/ 'https://*.example' null '' 'https://a b'; do
        run --separate-stderr "$OFFLOADD" --check-config --data-dir none --cors-origin "$origin"
        [ "$status" = 2 ]
        [[ $stderr == "offloadd: --cors-origin $origin: "* ]]
    done
}
