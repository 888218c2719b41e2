#!/usr/bin/env bats
# conditions.bats: conditional requests (RFC 9110, section 13): entity tags of jobs and of results.

bats_require_minimum_version 1.5.0
load helpers

LONG='{"type":"sleep","params":{"ms":600000}}'

tag_of() { # PATH
    call "$1"
    header ETag
}

@test "DELETE with If-Match: 412 if the job is not what the client has seen, and nothing is done" {
    start_daemon --workers 1
    running=$(submit "$LONG")
    wait_for is_running "$running"
    queued=$(submit "$LONG")
    call_job '{"type":"echo","params":{"value":1}}'
    ended=$(field .id)
    stored=$(submit '{"type":"echo","params":{"value":1},"options":{"priority":0}}')
    for id in "$running" "$queued" "$ended"; do
        path=/v1/jobs/$id
        tag=$(tag_of "$path")
        [[ $tag =~ ^\"[^\"]+\"$ ]] # a strong one: If-Match takes no other
        for stale in '"stale"' "W/$tag" "\"x${tag#\"}" "${tag%\"}x\"" '""' stale; do
            [[ $stale == "${tag%\"}x\"" && $id == "$running" ]] && continue # another progress
            call -X DELETE -H "If-Match: $stale" "$path"
            expect_problem 412 precondition_failed
            [ "$(header ETag)" = "$tag" ] || [ "$id" = "$running" ]
            call -X POST -H "If-Match: $stale" "$path/cancel"
            expect_problem 412 precondition_failed
        done
        call -X DELETE -H "If-None-Match: $tag" "$path"
        expect_problem 412 precondition_failed
        call -X DELETE -H 'If-None-Match: *' "$path"
        expect_problem 412 precondition_failed
    done
    has_status "$running" running
    has_status "$queued" queued
    has_status "$ended" succeeded
    for id in "$running" "$queued" "$ended"; do
        call -X DELETE -H "If-Match: \"a\", $(tag_of "/v1/jobs/$id")" "/v1/jobs/$id"
        [ "$CODE" = 204 ]
        call "/v1/jobs/$id"
        expect_problem 410 gone
    done
    [ "$(ended "$stored")" = succeeded ]
    call -X DELETE -H 'If-Match: "stale"' "/v1/jobs/$stored"
    expect_problem 412 precondition_failed
    call -X DELETE -H "If-Match: $(tag_of "/v1/jobs/$stored")" "/v1/jobs/$stored"
    [ "$CODE" = 204 ]
}

@test "If-Match: * goes through if there is a job; without one 404 and 410 win" {
    start_daemon
    id=$(submit "$LONG")
    call -X POST -H 'If-Match: *' "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    holds '.status == "cancelled"'
    call -X POST -H 'If-Match: *' "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    call -X DELETE -H 'If-Match: *' "/v1/jobs/$id"
    [ "$CODE" = 204 ]
    call -X DELETE -H 'If-Match: "stale"' "/v1/jobs/$id"
    expect_problem 410 gone
    for method in DELETE GET; do
        call -X $method -H 'If-Match: *' /v1/jobs/01890000-0000-7000-8000-000000000000
        expect_problem 404 not_found
    done
}

@test "a tag of before the end does not cancel or delete what has ended meanwhile" {
    start_daemon
    id=$(submit "$LONG")
    wait_for is_running "$id"
    tag=$(tag_of "/v1/jobs/$id")
    call -X POST -H "If-Match: $tag" "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    call -X POST -H "If-Match: $tag" "/v1/jobs/$id/cancel"
    expect_problem 412 precondition_failed
    call -X DELETE -H "If-Match: $tag" "/v1/jobs/$id"
    expect_problem 412 precondition_failed
}

@test "a running job can be cancelled with the tag of an earlier progress" {
    start_daemon
    id=$(submit '{"type":"sleep","params":{"ms":60000}}')
    wait_for is_running "$id"
    tag=$(tag_of "/v1/jobs/$id")
    progressed() { [ "$(tag_of "/v1/jobs/$id")" != "$tag" ]; }
    wait_for progressed
    call -X DELETE -H "If-Match: $tag" "/v1/jobs/$id"
    [ "$CODE" = 204 ]
}

@test "GET with If-Match: 412 if it is another job state" {
    start_daemon
    call_job '{"type":"echo","params":{"value":1}}'
    for path in $(field '.links.self, .links.result'); do
        call -H 'If-Match: "stale"' "$path"
        expect_problem 412 precondition_failed
        call -H "If-Match: $(tag_of "$path")" "$path"
        [ "$CODE" = 200 ]
    done
}

@test "If-None-Match is compared tag by tag, over all its lines" {
    start_daemon
    call_job '{"type":"echo","params":{"value":1}}'
    for path in $(field '.links.self, .links.result'); do
        tag=$(tag_of "$path")
        inner=${tag//\"/}
        for other in "\"a${inner}b\"" "\"${inner}0\"" "\"x, $inner\"" "$inner" "\"*\"" "'$inner'" '"a' "\"a\" $tag"; do
            call -H "If-None-Match: $other" "$path"
            [ "$CODE" = 200 ]
        done
        for known in "W/$tag" "\"a,b\" , $tag" " * "; do
            call -H "If-None-Match: $known" "$path"
            [ "$CODE" = 304 ]
        done
        call -H 'If-None-Match: "a"' -H "If-None-Match: $tag" "$path"
        [ "$CODE" = 304 ]
        [ "$(header ETag)" = "$tag" ]
        call -I -H "If-None-Match: $tag" "$path"
        [ "$CODE" = 304 ]
    done
}

@test "a Range with If-Range: a part of the same result, else the whole" {
    start_daemon
    call_job '{"type":"echo","params":{"value":"0123456789"}}'
    path=$(field .links.result)
    tag=$(tag_of "$path")
    [[ $tag =~ ^\"[^\"]+\"$ ]]
    call -H 'Range: bytes=0-3' -H "If-Range: $tag" "$path"
    [ "$CODE" = 206 ]
    [ "$(header ETag)" = "$tag" ]
    for other in '"nosuch"' "W/$tag" "$(date -u '+%a, %d %b %Y %H:%M:%S GMT')" nonsense; do
        call -H 'Range: bytes=0-3' -H "If-Range: $other" "$path"
        [ "$CODE" = 200 ]
        [ "$(wc -c <"$BODY")" = 22 ]
        [ "$(header ETag)" = "$tag" ]
    done
    call -H "If-Range: $tag" "$path"
    [ "$CODE" = 200 ]
}
