#!/usr/bin/env bats
# browser.bats: the form of a web page in a real browser: what it uploads is the data of a job, if the page is of the
# site that passes the form on. The form of a page from elsewhere is not taken.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    start_daemon
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
