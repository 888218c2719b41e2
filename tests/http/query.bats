#!/usr/bin/env bats
# query.bats: the parameters of the query: each route names those that it takes; nothing else passes in silence.

bats_require_minimum_version 1.5.0
load helpers

ECHO='{"type":"echo","params":{"value":1}}'

setup() {
    start_daemon
}

expect_named() { # NAME
    expect_problem 400 invalid_query
    holds '.detail | contains("\"" + $name + "\"")' --arg name "$1"
}

@test "an unknown parameter is rejected on every route, before anything is done" {
    call_job "$ECHO"
    id=$(field .id)
    for path in /v1/jobs "/v1/jobs/$id" "/v1/jobs/$id/result" "/v1/jobs/$id/events" /v1/types /v1/types/primes /v1/workers \
        /livez /healthz /readyz /metrics /openapi.yaml /openapi.json /problems/gone; do
        call "$path?colour=red"
        expect_named colour
        call -I "$path?colour"
        [ "$CODE" = 400 ]
    done
    call -X DELETE "/v1/jobs/$id?wait=5"
    expect_named wait
    call -X POST "/v1/jobs/$id/cancel?limit=1"
    expect_named limit
    has_status "$id" succeeded
    call -H 'Content-Type: application/json' -d "$ECHO" '/v1/jobs?wait=5'
    expect_named wait
    call -H 'Content-Type: application/json' -d "$ECHO" '/v1/jobs?limit=5' # GET has it
    expect_named limit
    call -H 'Content-Type: application/json' -H 'Idempotency-Key: k' -d "$ECHO" '/v1/jobs?a=1'
    expect_named a
    call /v1/jobs
    holds '.jobs | length == 1'
}

@test "a parameter that is there twice is rejected, whatever its values" {
    for query in 'limit=1&limit=3' 'limit=1&limit=1' 'status=queued&limit=1&status=' 'type=echo&type'; do
        call "/v1/jobs?$query"
        name=${query%%=*}
        expect_named "$name"
    done
    call '/readyz?verbose&verbose'
    expect_named verbose
}

@test "empty pairs are ignored; a value without a name is not" {
    for query in '' '&' '&limit=1' 'limit=1&' 'limit=1&&' '&&limit=1&&status=queued&'; do
        call "/v1/jobs?$query"
        [ "$CODE" = 200 ]
    done
    for query in '' '&' '&&&'; do
        call -H 'Content-Type: application/json' -d "$ECHO" "/v1/jobs?$query"
        [ "$CODE" = 200 ]
    done
    for path in '/livez?' '/readyz?&verbose&' '/metrics?&&'; do
        call "$path"
        [ "$CODE" = 200 ]
    done
    call '/v1/jobs?=5'
    expect_problem 400 invalid_query
}

@test "names are compared as they are; an escaped name is the same name" {
    call '/v1/jobs?Limit=1'
    expect_named Limit
    call '/readyz?VERBOSE'
    expect_named VERBOSE
    call '/v1/jobs?%6cimit=1'
    [ "$CODE" = 200 ]
    call '/v1/jobs?%6cimit=1&limit=1'
    expect_named limit
}

@test "a NUL in the query is rejected" {
    for path in '/v1/jobs?limit=1%00' '/v1/jobs?limit=1%002' '/v1/jobs?type=echo%00x' '/v1/jobs?status=queued%00' \
        '/readyz?verbose=%00' '/livez?a%00b=1' '/v1/jobs?limit%00x=1'; do
        call "$path"
        expect_problem 400 invalid_query
    done
}

@test "an unknown path wins over the query, and so does a wrong method; OPTIONS has no parameters" {
    call '/v1/nothing?colour=red'
    expect_problem 404 not_found
    call -X PUT '/v1/jobs?colour=red'
    expect_problem 405 method_not_allowed
    call -X OPTIONS '/v1/jobs?colour=red'
    [ "$CODE" = 204 ]
}
