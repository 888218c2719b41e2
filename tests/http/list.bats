#!/usr/bin/env bats
# list.bats: GET /v1/jobs: what it lists, its filters, its pages.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    start_daemon --workers 1
}

LONG='{"type":"sleep","params":{"ms":600000}}'

@test "no jobs: an empty list without a cursor" {
    call /v1/jobs
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/json ]
    holds '. == {"jobs": []}'
}

@test "the newest first, whether running, queued, ended, inline or stored; without results; each once" {
    ids=()
    for i in 1 2 3; do
        call_job '{"type":"echo","params":{"value":'$i'}}'
        ids=("$(field .id)" "${ids[@]}")
    done
    id=$(submit '{"type":"echo","params":{"value":4}}')
    [ "$(ended "$id")" = succeeded ]
    running=$(submit "$LONG")
    wait_for is_running "$running"
    queued=$(submit "$LONG")
    call /v1/jobs
    [ "$(field '[.jobs[].id] | join(" ")')" = "$queued $running $id ${ids[*]}" ]
    [ "$(field '[.jobs[].status] | join(" ")')" = "queued running succeeded succeeded succeeded succeeded" ]
    holds '.jobs | all(has("result") | not)'
    holds '.jobs | all(has("links") and has("created_at"))'
}

@test "filters by status and type" {
    call_job '{"type":"echo","params":{"value":1}}'
    call_job '{"type":"primes","params":{"start":0,"stop":10}}'
    call_job '{"type":"crash","params":{"how":"exit"},"options":{"max_attempts":1}}'
    running=$(submit "$LONG")
    wait_for is_running "$running"
    queued=$(submit "$LONG")
    call -X POST "/v1/jobs/$(submit "$LONG")/cancel"
    for pair in queued:sleep running:sleep succeeded:primes,echo failed:crash cancelled:sleep; do
        call "/v1/jobs?status=${pair%:*}"
        [ "$(field '[.jobs[].type] | join(",")')" = "${pair#*:}" ]
    done
    call '/v1/jobs?type=sleep'
    [ "$(field '[.jobs[].status] | join(" ")')" = "cancelled queued running" ]
    call '/v1/jobs?type=primes&status=succeeded'
    holds '.jobs | length == 1'
    call '/v1/jobs?type=primes&status=failed'
    holds '.jobs == []'
}

@test "pages: every job once, in order, until there is no cursor" {
    for i in $(seq 7); do
        call_job '{"type":"echo","params":{"value":'"$i"'}}'
    done
    submit '{"type":"echo","params":{"value":8}}'
    call /v1/jobs
    all=$(field '[.jobs[].id] | join(" ")')
    holds '(.jobs | length == 8) and (has("next_cursor") | not)'
    for limit in 3 7 8; do
        seen=() cursor='' pages=0
        while :; do
            call "/v1/jobs?limit=$limit${cursor:+&cursor=$cursor}"
            holds '.jobs | length <= $limit' --argjson limit "$limit"
            mapfile -t -O ${#seen[@]} seen < <(field '.jobs[].id')
            pages=$((pages + 1))
            cursor=$(field '.next_cursor // empty')
            [ -n "$cursor" ] || break
        done
        [ "${seen[*]}" = "$all" ]
        [ "$pages" = $(((8 + limit - 1) / limit)) ]
    done
}

@test "a page with filters; jobs that come meanwhile do not move the pages" {
    for i in 1 2 3; do
        call_job '{"type":"echo","params":{"value":'$i'}}'
        call_job '{"type":"primes","params":{"start":0,"stop":10}}'
    done
    call '/v1/jobs?type=echo&limit=2'
    first=$(field '[.jobs[].id] | join(" ")')
    cursor=$(field .next_cursor)
    call_job '{"type":"echo","params":{"value":4}}'
    call "/v1/jobs?type=echo&limit=2&cursor=$cursor"
    holds '(.jobs | length == 1) and .jobs[0].type == "echo" and (has("next_cursor") | not)'
    [[ $first != *$(field '.jobs[0].id')* ]]
}

@test "a wrong query is rejected, and the problem names the parameter" {
    for query in limit=0 limit=-1 limit=x limit= limit=1000000000 limit=3x status=done status= type=nothing cursor=x cursor= colour=red statuss=queued; do
        call "/v1/jobs?$query"
        expect_problem 400 invalid_query
        holds '.detail | contains($name)' --arg name "${query%%=*}"
    done
}
