#!/usr/bin/env bats
# browser.bats: web pages in a real browser. What the form of a page uploads is the data of a job, if the page is of the
# site that passes the form on. Nothing that a page from elsewhere sends is taken, unless --cors-origin names its origin.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    touch "$BATS_TEST_TMPDIR/config"
    start_daemon --config "$BATS_TEST_TMPDIR/config"
    head -c 300000 /dev/urandom >"$BATS_TEST_TMPDIR/file"
    tests/http/browser.py "127.0.0.1:$PORT" "$BATS_TEST_TMPDIR/file" >"$BATS_TEST_TMPDIR/site" 3>&- &
    SITE=$!
    wait_for test -s "$BATS_TEST_TMPDIR/site"
    SITE_PORT=$(head -1 "$BATS_TEST_TMPDIR/site")
}

teardown() {
    kill "$SITE"
    wait "$SITE" || true
    stop_daemon
    check_log
}

# What the page shows in the end. The time of the page goes on only while nothing is loaded. It talks to no other host.
visit() { # PATH
    timeout 120 chromium-headless-shell --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run \
        --host-resolver-rules='MAP * ~NOTFOUND, EXCLUDE 127.0.0.1' --user-data-dir="$BATS_TEST_TMPDIR/profile" \
        --virtual-time-budget=60000 --dump-dom "http://127.0.0.1:$SITE_PORT$1" 2>"$BATS_TEST_TMPDIR/browser.log" 3>&-
}

@test "a form of the site: the service gets the file byte by byte" {
    run visit /here
    [[ $output == *'"status":"succeeded"'* ]]
    sed -n 2p "$BATS_TEST_TMPDIR/site" >"$BATS_TEST_TMPDIR/got"
    jq -e --arg origin "http://127.0.0.1:$SITE_PORT" '.status == 200 and .origin == $origin and .job.result_size == 300000' \
        "$BATS_TEST_TMPDIR/got"
    curl -sS "$URL$(jq -r .job.links.result "$BATS_TEST_TMPDIR/got")" | cmp - "$BATS_TEST_TMPDIR/file"
}

@test "a form of another site, straight to the service: 403, and there is no job" {
    run visit /there
    [[ $output == *'"code":"forbidden"'* ]]
    curl -sS "$URL/metrics" | grep -q 'offload_http_requests_total{route="/v1/jobs",code="403"} 1'
    call /v1/jobs
    holds '.jobs == []'
}

@test "a page of another site that sends jobs in ways for which a browser asks nobody: 403, and there is no job" {
    run visit /sly
    [[ $output == *'sent, and rejected,rejected'* ]]
    refused() { curl -sS "$URL/metrics" | grep -q 'offload_http_requests_total{route="/v1/jobs",code="403"} 8'; }
    wait_for refused # the beacon comes when it likes
    call /v1/jobs
    holds '.jobs == []'
    curl -sS "$URL/metrics" >"$BODY"
    ! grep -q 'offload_jobs_total{[^}]*} [1-9]' "$BODY"
}

@test "a page of an origin that --cors-origin names submits a job and reads the answer" {
    echo "cors-origin = http://127.0.0.1:$SITE_PORT" >"$BATS_TEST_TMPDIR/config"
    kill -HUP "$DAEMON"
    named() { curl -sS -D - -o /dev/null -H "Origin: http://127.0.0.1:$SITE_PORT" "$URL/livez" | grep -qi '^access-control-allow-origin'; }
    wait_for named
    run visit /asks
    [[ $output == *'200 page-1 wait=30 from the page'* ]]
}
