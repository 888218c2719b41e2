#!/usr/bin/env bats
# binary.bats: results that are not JSON: in the Job, as the answer to the POST, and at /result, whole or in parts.

bats_require_minimum_version 1.5.0
load helpers

bytes() { # OP BASE64 [MORE MEMBERS]
    echo '{"type":"bytes","params":{"op":"'"$1"'","data":"'"$2"'"'"${3:-}"'}}'
}

HELLO=aGVsbG8= # hello

@test "the Job has the media type and the size of the result, and never its bytes" {
    start_daemon
    call_job "$(bytes echo $HELLO)"
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/json ]
    holds '.result_media_type == "application/octet-stream" and .result_size == 5 and (has("result") | not)'
    id=$(field .id)
    call_job "$(bytes add $HELLO)"
    holds '.result == {"in_place": false} and .result_size == 5'
    call "/v1/jobs/$id"
    holds '.result_media_type == "application/octet-stream" and .result_size == 5'
    call /v1/jobs
    [ "$(field '.jobs | length')" = 2 ]
    holds 'all(.jobs[]; has("result") | not)'
    call "/v1/jobs/$id/events"
    grep -A2 '^event: end' "$BODY" | grep -q '"result_size":5'
}

@test "Accept that names the media type of the result: the answer is the bytes" {
    start_daemon
    for accept in application/octet-stream 'application/*' 'text/html, application/octet-stream;q=0.5, */*;q=0.1'; do
        call_job -H "Accept: $accept" "$(bytes reverse $HELLO)"
        [ "$CODE" = 200 ]
        [ "$(header Content-Type)" = application/octet-stream ]
        [ "$(<"$BODY")" = olleh ]
        [[ $(header Content-Location) =~ ^/v1/jobs/[0-9a-f-]{36}/result$ ]]
        [ -n "$(header Server-Timing)" ]
        tag=$(header ETag)
        call "$(header Content-Location)"
        [ "$(<"$BODY")" = olleh ]
        [ "$(header ETag)" = "$tag" ]
    done
    for accept in '*/*' application/json 'application/json, application/octet-stream' image/png 'application/octet-stream;q=0'; do
        call_job -H "Accept: $accept" "$(bytes reverse $HELLO)"
        [ "$CODE" = 200 ]
        [ "$(header Content-Type)" = application/json ]
    done
    call_job -H 'Accept: application/octet-stream' -r 1-2 "$(bytes reverse $HELLO)" # a POST has no ranges
    [ "$CODE" = 200 ]
    [ "$(<"$BODY")" = olleh ]
    call_job -H 'Accept: application/octet-stream' -H 'Prefer: respond-async, wait=30' "$(bytes reverse $HELLO)"
    [ "$(<"$BODY")" = olleh ]
    call_job -H 'Accept: application/octet-stream' -H 'Prefer: wait=0' "$(bytes reverse $HELLO ',"hold_ms":60000')"
    [ "$CODE" = 202 ]
    [ "$(header Content-Type)" = application/json ]
    call -X POST "/v1/jobs/$(field .id)/cancel"
    call_job -H 'Accept: application/octet-stream' '{"type":"bytes","params":{}}'
    expect_problem 422 invalid_params
}

@test "Accept chooses the format that the job leaves open" {
    start_daemon
    call_job -H 'Accept: text/plain' "$(bytes copy $HELLO)"
    [ "$(header Content-Type)" = text/plain ]
    [ "$(<"$BODY")" = hello ]
    call_job -H 'Accept: text/plain;q=0.5, application/octet-stream' "$(bytes copy $HELLO)"
    [ "$(header Content-Type)" = application/octet-stream ]
    call_job -H 'Accept: text/plain' "$(bytes copy $HELLO ',"format":"binary"')"
    [ "$(header Content-Type)" = application/json ]
    holds '.result_media_type == "application/octet-stream"'
    call_job -H 'Accept: image/png' "$(bytes copy $HELLO)"
    holds '.result_media_type == "application/octet-stream"'
    call_job -H 'Accept: text/plain' '{"type":"bytes","params":'
    expect_problem 400 invalid_json
}

@test "the result at its link: whole, in parts, by conditions, and its head" {
    start_daemon
    call_job "$(bytes reverse $HELLO)"
    result=$(field .links.result)
    call "$result"
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/octet-stream ]
    [ "$(header Accept-Ranges)" = bytes ]
    tag=$(header ETag)
    call -r 1-2 "$result"
    [ "$CODE" = 206 ]
    [ "$(header Content-Type)" = application/octet-stream ]
    [ "$(header Content-Range)" = 'bytes 1-2/5' ]
    [ "$(<"$BODY")" = ll ]
    call -r -2 "$result"
    [ "$(<"$BODY")" = eh ]
    call -r 5- "$result"
    expect_problem 416 range_not_satisfiable
    call -r 1-2 -H "If-Range: $tag" "$result"
    [ "$CODE" = 206 ]
    call -r 1-2 -H 'If-Range: "other"' "$result"
    [ "$CODE" = 200 ]
    [ "$(<"$BODY")" = olleh ]
    call -H "If-None-Match: $tag" "$result"
    [ "$CODE" = 304 ]
    call -I "$result"
    [ "$CODE" = 200 ]
    [ "$(header Content-Length)" = 5 ]
    [ "$(header Content-Type)" = application/octet-stream ]
}

@test "a large binary result is not compressed, and its bytes are the same" {
    start_daemon
    head -c 300000 /dev/zero >"$BATS_TEST_TMPDIR/large"
    printf '{"type":"bytes","params":{"op":"copy","data":"%s"}}' "$(base64 -w0 "$BATS_TEST_TMPDIR/large")" >"$BATS_TEST_TMPDIR/in"
    call_job -H 'Accept: application/octet-stream' -H 'Accept-Encoding: gzip' -H 'If-None-Match: *' "@$BATS_TEST_TMPDIR/in"
    [ "$CODE" = 200 ]
    [ -z "$(header Content-Encoding)" ]
    cmp "$BODY" "$BATS_TEST_TMPDIR/large"
    call -H 'Accept-Encoding: gzip' "$(header Content-Location)"
    [ -z "$(header Content-Encoding)" ]
    cmp "$BODY" "$BATS_TEST_TMPDIR/large"
}

@test "an empty result has a media type, too" {
    start_daemon
    for op in echo copy reverse; do
        call_job "$(bytes $op '')"
        [ "$CODE" = 200 ]
        holds '.status == "succeeded" and .result_size == 0'
        call "$(field .links.result)"
        [ "$CODE" = 200 ]
        [ "$(header Content-Type)" = application/octet-stream ]
        [ ! -s "$BODY" ]
    done
}

@test "a map with binary results is multipart/mixed, and each item has its number" {
    start_daemon
    call_job '{"type":"bytes","items":[{"op":"reverse","data":"'$HELLO'"},{"data":"'$HELLO'"},{"data":5},
              {"op":"copy","format":"text","data":"'$HELLO'"}]}'
    [ "$CODE" = 200 ]
    holds '.result_media_type | startswith("multipart/mixed; boundary=")'
    holds '.result.items == [{"status":"succeeded","result_media_type":"application/octet-stream","result_size":5},
                             {"status":"succeeded","result":{"sum":532}},
                             {"status":"failed","error":.result.items[2].error},
                             {"status":"succeeded","result_media_type":"text/plain","result_size":5}]'
    size=$(field .result_size)
    result=$(field .links.result)
    call "$result"
    [ "$CODE" = 200 ]
    [ "$(stat -c %s "$BODY")" = "$size" ]
    { printf 'Content-Type: %s\r\n\r\n' "$(header Content-Type)"; cat "$BODY"; } >"$BATS_TEST_TMPDIR/whole"
    python3 -c '
import email, email.policy, json, sys
whole = email.message_from_bytes(open(sys.argv[1], "rb").read(), policy=email.policy.HTTP)
parts = [(p.get_content_type(), p.get_payload(decode=True)) for p in whole.iter_parts()]
assert not whole.defects, whole.defects
assert [t for t, _ in parts] == ["application/octet-stream", "application/json", "application/problem+json", "text/plain"], parts
assert [parts[0][1], parts[1][1], parts[3][1]] == [b"olleh", b"{\"sum\":532}", b"hello"], parts
assert json.loads(parts[2][1])["code"] == "invalid_params"' "$BATS_TEST_TMPDIR/whole"
    call "$result/0"
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/octet-stream ]
    [ "$(<"$BODY")" = olleh ]
    tag=$(header ETag)
    call -r 1-2 -H "If-Range: $tag" "$result/0"
    [ "$CODE" = 206 ]
    [ "$(<"$BODY")" = ll ]
    call "$result/1"
    [ "$(header Content-Type)" = application/json ]
    [ "$(<"$BODY")" = '{"sum":532}' ]
    call "$result/2"
    expect_problem 422 invalid_params
    call "$result/3"
    [ "$(header Content-Type)" = text/plain ]
    [ "$(<"$BODY")" = hello ]
    call "$result/4"
    expect_problem 404 not_found
    call -I "$result/3"
    [ "$(header Content-Length)" = 5 ]
}

@test "a map with binary results: by columns, at once, and as a stream" {
    start_daemon
    call_job '{"type":"bytes","columns":{"op":["reverse","sum","none"],"data":"'$HELLO'"}}'
    [ "$CODE" = 200 ]
    result=$(field .links.result)
    call "$result/0"
    [ "$(<"$BODY")" = olleh ]
    call "$result/1"
    [ "$(<"$BODY")" = '{"sum":532}' ]
    call "$result/2"
    expect_problem 422 invalid_params
    call_job -H 'Accept: multipart/mixed' '{"type":"bytes","items":[{"op":"reverse","data":"'$HELLO'"}]}'
    [ "$CODE" = 200 ]
    [[ $(header Content-Type) == "multipart/mixed; boundary="* ]]
    grep -q olleh "$BODY"
    call_job -H 'Accept: application/x-ndjson' '{"type":"bytes","items":[{"op":"reverse","data":"'$HELLO'"},{"data":"'$HELLO'"}]}'
    [ "$CODE" = 200 ]
    run ! grep -q olleh "$BODY"
    jq -s -e 'sort_by(.index) | map(select(has("index"))) ==
        [{"index":0,"status":"succeeded","result_media_type":"application/octet-stream","result_size":5},
         {"index":1,"status":"succeeded","result":{"sum":532}}]' "$BODY"
}

@test "the items of a map that has ended, as a stream: with and without a summary" {
    start_daemon
    for count in 3 700; do
        items=$(printf ',{"op":"%s","data":"aGVsbG8="}' $(yes 'reverse sum none' | head -"$count"))
        printf '{"type":"bytes","items":[%s]}' "${items:1}" >"$BATS_TEST_TMPDIR/in"
        call_job -H "Idempotency-Key: $count" "@$BATS_TEST_TMPDIR/in"
        [ "$CODE" = 200 ]
        holds 'has("result") == $has' --argjson has "$([ "$count" = 3 ] && echo true || echo false)"
        call_job -H "Idempotency-Key: $count" -H 'Accept: application/x-ndjson' "@$BATS_TEST_TMPDIR/in"
        [ "$(header Content-Type)" = application/x-ndjson ]
        run ! grep -q olleh "$BODY"
        jq -s -e --argjson n "$count" 'length == 3 * $n + 1 and .[-1].summary == {"total": (3 * $n), "succeeded": (2 * $n), "failed": $n} and
            .[-4] == {"index": (3 * $n - 3), "status": "succeeded", "result_media_type": "application/octet-stream", "result_size": 5} and
            .[-3] == {"index": (3 * $n - 2), "status": "succeeded", "result": {"sum": 532}} and
            .[-2].error.code == "invalid_params"' "$BODY"
    done
}

@test "binary results are there after a restart" {
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    head -c 300000 /dev/urandom >"$BATS_TEST_TMPDIR/large"
    printf '{"type":"bytes","params":{"op":"add","data":"%s"}}' "$(base64 -w0 "$BATS_TEST_TMPDIR/large")" >"$BATS_TEST_TMPDIR/in"
    id=$(submit "@$BATS_TEST_TMPDIR/in")
    map=$(submit '{"type":"bytes","items":[{"op":"reverse","data":"'$HELLO'"},{"data":"'$HELLO'"}]}')
    [ "$(ended "$id")" = succeeded ]
    [ "$(ended "$map")" = succeeded ]
    curl -sS "$URL/v1/jobs/$id/result" >"$BATS_TEST_TMPDIR/before"
    curl -sS "$URL/v1/jobs/$map/result" >"$BATS_TEST_TMPDIR/map"
    kill_daemon
    start_daemon --data-dir "$BATS_TEST_TMPDIR/data"
    call "/v1/jobs/$id"
    holds '(.result | has("in_place")) and .result_size == 300000'
    call "/v1/jobs/$id/result"
    cmp "$BODY" "$BATS_TEST_TMPDIR/before"
    call -r 299999- "/v1/jobs/$id/result"
    [ "$CODE" = 206 ]
    call "/v1/jobs/$map/result"
    cmp "$BODY" "$BATS_TEST_TMPDIR/map"
    call "/v1/jobs/$map/result/0"
    [ "$(<"$BODY")" = olleh ]
}
