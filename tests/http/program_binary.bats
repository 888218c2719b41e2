#!/usr/bin/env bats
# program_binary.bats: binary data of programs (docs/programs.md), which is binary_program.py, beside this file: how data
# reach it, how its results leave, and each way in which it can lie about them.

bats_require_minimum_version 1.5.0
load helpers

serve() { # [HELLO AS JSON] [OPTIONS OF THE SERVICE]
    BODY=$BATS_TEST_TMPDIR/body
    local hello=${1:-'{"binary":true,"fds":true}'}
    start_daemon --workers 1 --retry-delay 1ms --max-retry-delay 1ms \
        --program "python3 $BATS_TEST_DIRNAME/binary_program.py '$hello'" "${@:2}"
}

give() { # HOW FILE [QUERY]; the answer is in $BODY, its status in $CODE
    CODE=$(curl -sS -o "$BODY" -w '%{http_code}' -H 'Content-Type: image/png' -H 'Accept: text/plain' --data-binary "@$2" \
        "$URL/v1/jobs?type=give&how=$1${3:-}")
}

data() { # BYTES; prints the name of a file of so many, none of which is the next one
    head -c "$1" /dev/zero | openssl enc -aes-128-ctr -nosalt -pass pass:offload -pbkdf2 2>/dev/null >"$BATS_TEST_TMPDIR/$1"
    echo "$BATS_TEST_TMPDIR/$1"
}

@test "data go there and back: in the frame, by descriptor, and both again after a loss" {
    serve
    for size in 1 65536 65537 3000000; do
        file=$(data $size)
        for how in inline fd; do
            give $how "$file"
            [ "$CODE" = 200 ]
            cmp "$BODY" "$file"
        done
    done
    give empty "$file"
    [ "$CODE" = 200 ] && [ ! -s "$BODY" ]
    give fd "$file" '&die=true'
    [ "$CODE" = 200 ]
    cmp "$BODY" "$file"
}

@test "parameters say where their data are: parts of a form, base64, null, or nothing" {
    serve
    small=$(data 100) large=$(data 100000)
    printf abc >"$BATS_TEST_TMPDIR/abc"
    curl -sS -o "$BODY" -F 'job={"type":"both","params":{"b":{"part":0}}}' -F "data=@$BATS_TEST_TMPDIR/abc;type=text/x-abc" \
        -F "data=@$BATS_TEST_TMPDIR/abc;type=image/png" "$URL/v1/jobs"
    holds '.result == {b: {where: "frame", type: "text/x-abc", size: 3, bytes: "abc"},
                       a: {where: "frame", type: "image/png", size: 3, bytes: "abc"}}'
    call_job '{"type":"both","params":{"a":"YWJj","b":null}}'
    holds '.result == {a: {where: "frame", type: "", size: 3, bytes: "abc"}, b: null}'
    call_job '{"type":"both","params":{"a":"YWJj"}}'
    holds '.result | has("b") | not'
    call_job '{"type":"both","params":{"a":"?"}}'
    [ "$CODE" = 422 ]
    holds '.errors[0].pointer == "/params/a"'
    call_job '{"type":"both","params":{"a":{"attachment":0}}}'
    [ "$CODE" = 422 ]
}

@test "a map takes its items' data in one frame, and shares what they share" {
    serve
    printf abc >"$BATS_TEST_TMPDIR/abc"
    curl -sS -o "$BODY" -F 'job={"type":"both","items":[{"b":{"part":0}},{},{}]}' -F "data=@$BATS_TEST_TMPDIR/abc" "$URL/v1/jobs"
    holds '[.result.items[].result.a.bytes] == ["abc", "abc", "abc"]'
    curl -sS -o "$BODY" -F 'job={"type":"give","items":[{},{"how":"fd"},{"how":"empty"}]}' -F "data=@$BATS_TEST_TMPDIR/abc" \
        "$URL/v1/jobs"
    holds '[.result.items[].result_size] == [3, 3, 0]'
}

@test "a program that lies about a result loses its attempt, and the next process does it right" {
    serve
    file=$(data 70000)
    for how in sealed never long short huge type pipe flood missing value; do
        call_job "$(jq -nc --arg how "$how" --arg data "$(base64 -w 0 "$file" | head -c 400)" \
            '{type: "give", params: {data: $data, how: $how}}')"
        [ "$CODE" = 200 ] || { echo "$how"; cat "$BODY"; return 1; }
        holds '.attempts == 2 and .lost[0].cause == "protocol" and .result_media_type == "text/plain" and .result_size == 300' ||
            { echo "$how"; cat "$BODY"; return 1; }
    done
    ! grep -q '"event":"worker_lost"' "$LOG"
}

@test "memory that can still be changed is no result" {
    serve
    give mapped "$(data 70000)"
    [ "$CODE" = 500 ]
    holds '.detail | test("can still be changed")'
    give fd "$(data 70000)"
    [ "$CODE" = 200 ]
}

@test "without fds data come in the frame; without binary they are text, and bytes break the rules" {
    serve '{"binary":true}'
    file=$(data 3000000)
    give inline "$file"
    [ "$CODE" = 200 ]
    cmp "$BODY" "$file"
    stop_daemon
    serve '{}'
    call_job '{"type":"give","params":{"data":"YWJj"}}'
    holds '.result == "YWJj"'
    call_job '{"type":"give","params":{"data":{"part":0}}}'
    [ "$CODE" = 422 ]
}
