#!/usr/bin/env bats
# wait.bats: how long a client waits: the limits of the service, Prefer, long polls, and conditional requests.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":60000}}'

@test "without Prefer the wait is --sync-wait: then 202, and the job goes on" {
    start_daemon --sync-wait 200ms
    call_job '{"type":"sleep","params":{"ms":700}}'
    [ "$CODE" = 202 ]
    [ -n "$(header Retry-After)" ]
    id=$(field .id)
    [ "$(header Location)" = "/v1/jobs/$id" ]
    holds '.status == "running"'
    [ "$(ended "$id")" = succeeded ]
}

@test "Prefer: wait=N waits longer than --sync-wait" {
    start_daemon --sync-wait 100ms
    call_job -H 'Prefer: wait=20' '{"type":"sleep","params":{"ms":400}}'
    [ "$CODE" = 200 ]
    [ "$(header Preference-Applied)" = wait=20 ]
    holds '.status == "succeeded"'
}

@test "Prefer: wait=N that expires: 202, and the job goes on" {
    start_daemon
    call_job -H 'Prefer: wait=1' '{"type":"sleep","params":{"ms":1500}}'
    [ "$CODE" = 202 ]
    [ "$(header Preference-Applied)" = wait=1 ]
    [ "$(ended "$(field .id)")" = succeeded ]
}

@test "Prefer: wait=0 does not wait" {
    start_daemon
    call_job -H 'Prefer: wait=0' "$LONG"
    [ "$CODE" = 202 ]
    [ "$(header Preference-Applied)" = wait=0 ]
}

@test "a wait is no longer than --max-wait, and the answer says so" {
    start_daemon --max-wait 1s
    call_job -H 'Prefer: wait=50' "$LONG"
    [ "$CODE" = 202 ]
    [ "$(header Preference-Applied)" = wait=1 ]
    call_job -H 'Prefer: wait=99999999999999999999999' '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
}

@test "respond-async, wait=N: inline if the job ends in time, else 202" {
    start_daemon
    call_job -H 'Prefer: respond-async, wait=20' '{"type":"sleep","params":{"ms":50}}'
    [ "$CODE" = 200 ]
    [ "$(header Preference-Applied)" = "respond-async, wait=20" ]
    holds '.result.ms == 50'
    call_job -H 'Prefer: respond-async, wait=1' "$LONG"
    [ "$CODE" = 202 ]
    [ "$(header Preference-Applied)" = "respond-async, wait=1" ]
}

@test "Prefer can be in any case, on several lines, and among unknown and malformed preferences" {
    start_daemon --workers 4
    call_job -H 'PREFER: Respond-Async' "$LONG"
    [ "$CODE" = 202 ]
    call_job -H 'Prefer: handling=lenient, foo="a;b"; c=d' -H 'Prefer: respond-async' -H 'Prefer: WAIT=5' \
        '{"type":"sleep","params":{"ms":20}}'
    [ "$CODE" = 200 ]
    [ "$(header Preference-Applied)" = "respond-async, wait=5" ]
    for wrong in wait=soon wait=-1 wait= wait wait=1.5 respond-asynchronously ',,'; do
        call_job -H "Prefer: $wrong" '{"type":"sleep","params":{"ms":20}}'
        [ "$CODE" = 200 ]
        [ -z "$(header Preference-Applied)" ]
    done
}

@test "a long poll answers when the job ends" {
    start_daemon
    id=$(submit '{"type":"sleep","params":{"ms":500}}')
    call -H 'Prefer: wait=30' "/v1/jobs/$id"
    [ "$CODE" = 200 ]
    [ "$(header Preference-Applied)" = wait=30 ]
    holds '.status == "succeeded" and .result.ms == 500'
}

@test "a long poll of an ended job answers at once, and one that expires shows the job as it is" {
    start_daemon --max-wait 1s
    id=$(submit '{"type":"echo","params":{"value":1}}')
    wait_for has_status "$id" succeeded
    call -H 'Prefer: wait=1' "/v1/jobs/$id"
    holds '.status == "succeeded"'
    id=$(submit "$LONG")
    call -H 'Prefer: wait=50' "/v1/jobs/$id"
    [ "$CODE" = 200 ]
    [ "$(header Preference-Applied)" = wait=1 ]
    holds '.status == "running"'
}

@test "several clients can poll one job; a client that hangs up does not cancel it" {
    start_daemon
    id=$(submit '{"type":"sleep","params":{"ms":800}}')
    for i in 1 2 3; do
        curl -sS -H 'Prefer: wait=30' -o "$BATS_TEST_TMPDIR/poll$i" "$URL/v1/jobs/$id" 3>&- &
        polls[i]=$!
    done
    curl -sS -H 'Prefer: wait=30' -o /dev/null "$URL/v1/jobs/$id" 3>&- &
    gone=$!
    sleep 0.3
    kill "$gone"
    wait "$gone" || true
    for i in 1 2 3; do
        wait "${polls[i]}"
        [ "$(jq -r .status "$BATS_TEST_TMPDIR/poll$i")" = succeeded ]
    done
}

@test "a wait that --max-sync denies is not said to be applied" {
    start_daemon --workers 2 --max-sync 1
    curl -sS -o /dev/null -H 'Content-Type: application/json' -d "$LONG" "$URL/v1/jobs" 3>&- &
    waiting() { curl -sS "$URL/metrics" | grep -q '^offload_http_waiting 1$'; }
    wait_for waiting
    call_job -H 'Prefer: wait=30' "$LONG"
    [ "$CODE" = 202 ]
    [ -z "$(header Preference-Applied)" ]
    id=$(field .id)
    call_job -H 'Prefer: respond-async, wait=30, return=minimal' "$LONG"
    [ "$CODE" = 202 ]
    [ "$(header Preference-Applied)" = "respond-async, return=minimal" ]
    call -H 'Prefer: wait=30' "/v1/jobs/$id"
    [ "$CODE" = 200 ]
    [ -z "$(header Preference-Applied)" ]
    call -X DELETE "/v1/jobs/$id"
    call_job -H 'Prefer: respond-async' '{"type":"echo","params":{"value":1}}'
    id=$(field .id)
    wait_for has_status "$id" succeeded
    call -H 'Prefer: wait=30' "/v1/jobs/$id" # nothing is to be waited for
    [ "$(header Preference-Applied)" = wait=30 ]
}

@test "a wait beyond all numbers is --max-wait" {
    start_daemon --max-wait 1s
    for wait in 99999999999999999999 9223372036854775808 1000000001; do
        call_job -H "Prefer: wait=$wait" '{"type":"echo","params":{"value":1}}'
        [ "$CODE" = 200 ]
        [ "$(header Preference-Applied)" = wait=1 ]
    done
}

@test "ETag and If-None-Match: 304 without a body as long as nothing changed" {
    start_daemon
    call_job '{"type":"echo","params":{"value":1}}'
    path=$(field .links.self)
    call "$path"
    [ "$CODE" = 200 ]
    tag=$(header ETag)
    [[ $tag =~ ^(W/)?\".+\"$ ]]
    for known in "$tag" '*' "\"other\", $tag" "\"x,y\",W/\"z\",$tag" "${tag#W/}"; do
        call -H "If-None-Match: $known" "$path"
        [ "$CODE" = 304 ]
        [ ! -s "$BODY" ]
        [ "$(header ETag)" = "$tag" ]
    done
    for other in '"other"' "W/\"x${tag#W/\"}" 'nonsense' '""'; do
        call -H "If-None-Match: $other" "$path"
        [ "$CODE" = 200 ]
    done
}

@test "the ETag changes when the job does, and a poll with the old one gets the new job" {
    start_daemon --workers 1
    first=$(submit '{"type":"sleep","params":{"ms":2500}}')
    second=$(submit '{"type":"sleep","params":{"ms":10}}')
    call "/v1/jobs/$second"
    holds '.status == "queued"'
    queued=$(header ETag)
    [ "$(ended "$first")" = succeeded ]
    [ "$(ended "$second")" = succeeded ]
    call -H "If-None-Match: $queued" "/v1/jobs/$second"
    [ "$CODE" = 200 ]
    [ "$(header ETag)" != "$queued" ]
    holds '.status == "succeeded"'
}

@test "a long poll with If-None-Match: 304 if nothing has changed when the wait ends" {
    start_daemon --workers 1
    submit "$LONG"
    id=$(submit "$LONG")
    call "/v1/jobs/$id"
    holds '.status == "queued"'
    call -H 'Prefer: wait=1' -H "If-None-Match: $(header ETag)" "/v1/jobs/$id"
    [ "$CODE" = 304 ]
}
