#!/usr/bin/env bats
# openai.bats: OpenAI's API for embeddings: POST /v1/embeddings, GET /v1/models.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    IN=$BATS_TEST_TMPDIR/in
}

# embed [curl options...] JSON
embed() {
    call -H 'Content-Type: application/json' "${@:1:$#-1}" --data-binary "${@: -1}" /v1/embeddings
}

# embed_file [curl options...]: the body is $IN
embed_file() {
    embed "$@" "@$IN"
}

# write_body EXPRESSION: the Python expression, as JSON, to $IN
write_body() {
    python3 -c "import json; print(json.dumps($1))" >"$IN"
}

# expect_error STATUS TYPE PARAM CODE: the last call was answered with OpenAI's error; PARAM is JSON
expect_error() {
    [ "$CODE" = "$1" ] && [ "$(header Content-Type)" = application/json ] && [ -n "$(header X-Request-Id)" ] &&
        holds '(keys == ["error"]) and (.error | keys == ["code", "message", "param", "type"]) and
            .error.type == $type and .error.param == $param and .error.code == $code and
            (.error.message | length > 0)' --arg type "$2" --argjson param "$3" --arg code "$4" && return 0
    echo "HTTP $1 $4 expected, got:" >&2
    cat "$HEAD" "$BODY" >&2
    return 1
}

# expect_invalid PARAM [CODE]
expect_invalid() {
    expect_error 400 invalid_request_error "$1" "${2:-invalid_params}"
}

message() {
    field .error.message
}

@test "a text, and texts, in the exact shape" {
    start_daemon
    embed '{"model":"hash-384","input":"hi there","dimensions":3}'
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/json ]
    [[ $(header Server-Timing) == queue* ]]
    [ "$(cat "$BODY")" = '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.4472136,0.8944272,0.0]}],"model":"hash-384","usage":{"prompt_tokens":2,"total_tokens":2}}' ]
    embed '{"input":["a","b c"],"model":"hash-384","user":"me"}'
    [ "$CODE" = 200 ]
    holds '[.data[] | .index, .object] == [0, "embedding", 1, "embedding"]'
    holds '[.data[].embedding | length] == [384, 384] and .usage == {"prompt_tokens": 3, "total_tokens": 3}'
}

@test "the vectors are those of the job type, in both forms, with little-endian floats in base64" {
    start_daemon
    texts='["one text","zwei Texte","три текста"]'
    embed '{"model":"hash-384","dimensions":100,"input":'"$texts"'}'
    cp "$BODY" "$BATS_TEST_TMPDIR/floats"
    embed '{"model":"hash-384","dimensions":100,"encoding_format":"base64","input":'"$texts"'}'
    [ "$CODE" = 200 ]
    cp "$BODY" "$BATS_TEST_TMPDIR/base64"
    call_job '{"type":"embeddings","params":{"dimensions":100,"input":'"$texts"'}}'
    python3 - "$BATS_TEST_TMPDIR/floats" "$BATS_TEST_TMPDIR/base64" "$BODY" <<'PYTHON'
import base64, json, math, struct, sys
floats, coded, job = (json.load(open(name)) for name in sys.argv[1:])
for i in range(3):
    vector = floats["data"][i]["embedding"]
    packed = base64.b64decode(coded["data"][i]["embedding"], validate=True)
    assert struct.pack("<100f", *vector) == packed, i
    assert vector == job["result"]["embeddings"][i], i
    assert abs(math.fsum(x * x for x in vector) - 1) < 1e-6, i
assert floats["usage"] == coded["usage"] == job["result"]["usage"]
PYTHON
}

@test "what is wrong with a request is a 400 that names it" {
    start_daemon
    embed '{"model":"hash-384"}'
    expect_invalid null
    [ "$(message)" = "input is required" ]
    embed '{"input":"a"}'
    expect_invalid null
    [ "$(message)" = "model is required" ]
    embed '{"model":"hash-384","input":[]}'
    expect_invalid '"input"'
    embed '{"model":"hash-384","input":""}'
    expect_invalid '"input"'
    embed '{"model":"hash-384","input":["a","b",""]}'
    expect_invalid '"input[2]"'
    [ "$(message)" = "input[2]: is empty" ]
    embed '{"model":"hash-384","input":["a",5]}'
    expect_invalid '"input[1]"'
    embed '{"model":"hash-384","input":{"text":"a"}}'
    expect_invalid '"input"'
    embed '{"model":"hash-384","input":null}'
    expect_invalid '"input"'
    embed '{"model":5,"input":"a"}'
    expect_invalid '"model"'
    embed '{"model":"hash-384","input":"a","encoding_format":"int8"}'
    expect_invalid '"encoding_format"'
    for dimensions in 0 -1 385 1.5 99999999999999999999 '"many"' null; do
        embed '{"model":"hash-384","input":"a","dimensions":'"$dimensions"'}'
        expect_invalid '"dimensions"'
    done
    embed '{"model":"hash-384","input":"a","user":5}'
    expect_invalid '"user"'
    for name in truncate normalize type params prompt; do
        embed '{"model":"hash-384","input":"a","'$name'":true}'
        expect_invalid "\"$name\""
        [ "$(message)" = "$name: \"$name\" is not taken here; what is taken: input, model, encoding_format, dimensions, user" ]
    done
    embed '{"model":"hash-384","input":"a","a/b~\"\\c":1}'
    expect_invalid '"a/b~\"\\c"'
    embed '["a"]'
    expect_invalid null
    call -X POST -H 'Content-Type: application/json' --data-binary '{}' '/v1/embeddings?api-version=1'
    expect_invalid null invalid_query
}

@test "a text beyond the model's length is a 400 that names it: nothing is cut off in silence" {
    start_daemon
    write_body '{"model": "hash-384", "input": ["a", "word " * 9000]}'
    embed_file
    expect_invalid '"input[1]"'
    [[ $(message) == *8192* ]]
}

@test "an unknown model is a 404, however large the request is" {
    start_daemon
    embed '{"model":"text-embedding-3-small","input":"a"}'
    expect_error 404 invalid_request_error '"model"' model_not_found
    [[ $(message) == *text-embedding-3-small*hash-384* ]]
    write_body '{"model": "nope", "input": ["some text or other"] * 2000}'
    [ "$(wc -c <"$IN")" -gt 40000 ]
    embed_file
    expect_error 404 invalid_request_error '"model"' model_not_found
    call_job '{"type":"embeddings","params":{"model":"nope","input":"a"}}' # where no such name is a wrong parameter
    expect_problem 422 invalid_params
}

@test "token ids: hash-384 has none, and says so; wrong ones are named" {
    start_daemon
    for input in '[1,2,3]' '[[1,2],[3]]' '[0]' '[2147483647]' '[1e2]'; do
        embed '{"model":"hash-384","input":'"$input"'}'
        expect_invalid '"input"'
        [[ $(message) == *"hash-384 has no token ids"* ]]
    done
    embed '{"model":"hash-384","input":[1,-1]}'
    expect_invalid '"input[1]"'
    embed '{"model":"hash-384","input":[1,2147483648]}'
    expect_invalid '"input[1]"'
    embed '{"model":"hash-384","input":[[1],[1,0.5]]}'
    expect_invalid '"input[1][1]"'
    embed '{"model":"hash-384","input":[1,"a"]}'
    expect_invalid '"input[1]"'
    embed '{"model":"hash-384","input":[[1],"a"]}'
    expect_invalid '"input[1]"'
    embed '{"model":"hash-384","input":[[1],[[2]]]}'
    expect_invalid '"input[1][0]"'
    write_body '{"model": "hash-384", "input": [list(range(100))] * 2000}'
    embed_file
    expect_invalid '"input"'
}

@test "2048 texts are taken, 2049 are not; 300,000 tokens are taken, more are not" {
    start_daemon
    write_body '{"model": "hash-384", "input": ["text number %d" % i for i in range(2048)], "dimensions": 4}'
    embed_file
    [ "$CODE" = 200 ]
    holds '(.data | length) == 2048 and [.data[].index] == [range(2048)]'
    write_body '{"model": "hash-384", "input": ["a"] * 2049}'
    embed_file
    expect_invalid '"input"'
    [[ $(message) == *2048* ]]
    write_body '{"model": "hash-384", "input": ["word " * 6000] * 50, "dimensions": 4}'
    embed_file
    [ "$CODE" = 200 ]
    holds '.usage.total_tokens == 300000'
    write_body '{"model": "hash-384", "input": ["word " * 6000] * 50 + ["word"], "dimensions": 4}'
    embed_file
    expect_invalid '"input"'
    [[ $(message) == *300000* ]]
}

@test "what is not JSON is a 400 that says where, in small and in large bodies" {
    start_daemon
    embed '{"model":"hash-384","input":'
    expect_invalid null invalid_json
    [[ $(message) == *"(line 1, column "* ]]
    embed $'{"model":"hash-384",\n"input":x}'
    expect_invalid null invalid_json
    [[ $(message) == *"(line 2, column 9)"* ]]
    embed ''
    expect_invalid null invalid_json
    embed '{"model":"hash-384","model":"hash-384","input":"a"}'
    expect_invalid null duplicate_key
    embed "{\"model\":\"hash-384\",\"input\":$(printf '[%.0s' {1..100})"
    expect_invalid null too_deep
    printf '{"model":"hash-384","input":"\xff"}' >"$IN"
    embed_file
    expect_invalid null not_utf8
    python3 -c 'print("{\"model\":\"hash-384\",\"input\":[\n" + "\"some text\",\n" * 5000 + "?")' >"$IN"
    embed_file
    expect_invalid null invalid_json
    [[ $(message) == *"(line 5002, column 1)"* ]]
}

@test "a large body is checked as a small one is" {
    start_daemon
    write_body '{"model": "hash-384", "input": ["some text or other"] * 2000, "truncate": True}'
    embed_file
    expect_invalid '"truncate"'
    write_body '{"model": "hash-384", "input": ["some text or other"] * 2000 + [""]}'
    embed_file
    expect_invalid '"input[2000]"'
    write_body '["some text or other"] * 3000'
    embed_file
    expect_invalid null
    [ "$(message)" = "the body must be an object" ]
}

@test "bodies with a coding, large and small; and answers with one" {
    start_daemon
    for texts in 1 2000; do
        write_body '{"model": "hash-384", "input": ["some text or other"] * '$texts'}'
        embed_file
        cp "$BODY" "$BATS_TEST_TMPDIR/plain"
        gzip -f "$IN"
        mv "$IN.gz" "$IN"
        embed_file -H 'Content-Encoding: gzip' -H 'Accept-Encoding: gzip' --compressed
        [ "$CODE" = 200 ]
        [ "$texts" = 1 ] || [ "$(header Content-Encoding)" = gzip ]
        cmp "$BODY" "$BATS_TEST_TMPDIR/plain"
    done
    embed_file -H 'Content-Encoding: deflate'
    expect_error 400 invalid_request_error null bad_request
    embed_file -H 'Content-Encoding: br'
    expect_error 415 invalid_request_error null unsupported_media_type
    [[ $(header Accept-Encoding) == *gzip* ]]
    gzip -c <<<'{"model":"hash-384","input":""}' >"$IN"
    embed_file -H 'Content-Encoding: gzip'
    expect_invalid '"input"'
}

@test "a text of 1 MiB is refused for its length, and does not hold up the service" {
    start_daemon
    write_body '{"model": "hash-384", "input": "word " * 210000}'
    embed_file
    expect_invalid '"input"'
    embed '{"model":"hash-384","input":"a"}'
    [ "$CODE" = 200 ]
}

@test "limits of the service are errors of the same shape" {
    start_daemon --max-body 100KiB --idle-timeout 1s
    write_body '{"model": "hash-384", "input": "word " * 30000}'
    embed_file
    expect_error 413 invalid_request_error null body_too_large
    embed_file -H 'Transfer-Encoding: chunked'
    expect_error 413 invalid_request_error null body_too_large
    call -X POST -H 'Content-Type: text/plain' --data-binary '{}' /v1/embeddings
    expect_error 415 invalid_request_error null unsupported_media_type
    [ "$(header Accept)" = application/json ]
    {
        printf 'POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{'
        sleep 3
    } | timeout 10 nc -N 127.0.0.1 "$PORT" >"$IN" || true
    grep -q '^HTTP/1.1 408 ' "$IN"
    grep -q '^{"error":{"message":".*","type":"invalid_request_error","param":null,"code":"request_timeout"}}' "$IN"
    grep -qi '^Content-Type: application/json' "$IN"
}

@test "a service that is full says 429, one that drains 503, both with Retry-After" {
    start_daemon --workers 1 --max-queue 1
    submit '{"type":"sleep","params":{"ms":20000}}'
    embed '{"model":"hash-384","input":"a"}'
    expect_error 429 rate_limit_error null queue_full
    [[ $(header Retry-After) =~ ^[1-9][0-9]*$ ]]
    stop_daemon
    start_daemon --max-sync 1
    curl -sS -H 'Content-Type: application/json' -d '{"type":"sleep","params":{"ms":20000}}' -o /dev/null "$URL/v1/jobs" 3>&- &
    wait_for is_busy
    embed '{"model":"hash-384","input":"a"}'
    expect_error 429 rate_limit_error null queue_full
    [[ $(message) == *max-sync* ]]
    stop_daemon
    start_daemon --drain-timeout 10s
    curl -sS -H 'Content-Type: application/json' -d '{"type":"sleep","params":{"ms":2000}}' -o /dev/null "$URL/v1/jobs" 3>&- &
    wait_for is_busy
    coproc NC { nc 127.0.0.1 "$PORT" 3>&-; } # it is connected before the drain
    printf 'GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n' >&"${NC[1]}"
    read -r -t 5 line <&"${NC[0]}"
    kill -TERM "$DAEMON"
    wait_for grep -q '"event":"drain' "$LOG"
    body='{"model":"hash-384","input":"a"}'
    printf 'POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
        ${#body} "$body" >&"${NC[1]}"
    timeout 5 cat <&"${NC[0]}" >"$IN" || true
    grep -q '^HTTP/1.1 503 ' "$IN"
    grep -qi '^Retry-After: [1-9]' "$IN"
    grep -q '"type":"server_error","param":null,"code":"draining"}}' "$IN"
}

is_busy() {
    curl -sS "$URL/v1/workers" | jq -e 'any(.workers[]; .state == "busy")' >/dev/null
}

@test "a request that takes too long is a 504, and its client is told not to send it again" {
    start_daemon --job-timeout 1ms
    write_body '{"model": "hash-384", "input": ["some words of text " * 200] * 300}'
    embed_file
    expect_error 504 server_error null job_timeout
    [ "$(header x-should-retry)" = false ]
}

@test "a client that hangs up cancels its job" {
    start_daemon --workers 1
    write_body '{"model": "hash-384", "input": ["word " * 145] * 2000}'
    id=$(submit '{"type":"sleep","params":{"ms":1500}}')
    is_running "$id"
    curl -sS --max-time 0.5 -o /dev/null -H 'Content-Type: application/json' --data-binary "@$IN" "$URL/v1/embeddings" || true
    wait_for counts_cancelled
    call_job '{"type":"echo","params":{"value":1}}' # the worker is free again
    [ "$CODE" = 200 ]
}

counts_cancelled() {
    curl -sS "$URL/metrics" | grep -q '^offload_jobs_total{type="openai-embeddings",status="cancelled"} 1$'
}

@test "its jobs are in no list, and the type has no name for clients" {
    start_daemon
    embed '{"model":"hash-384","input":"a"}'
    call /v1/jobs
    holds '.jobs == []'
    call /v1/types
    holds '[.types[].name] | index("openai-embeddings") == null'
    call_job '{"type":"openai-embeddings","params":{"model":"hash-384","input":"a"}}'
    expect_problem 422 unknown_type
}

@test "Prefer and Idempotency-Key change nothing: the answer is the vectors" {
    start_daemon
    embed -H 'Prefer: respond-async' -H 'Idempotency-Key: k' '{"model":"hash-384","input":"a","dimensions":2}'
    [ "$CODE" = 200 ]
    holds '.object == "list"'
    embed -H 'Idempotency-Key: k' '{"model":"hash-384","input":"b","dimensions":2}'
    [ "$CODE" = 200 ]
}

@test "other methods, and the models" {
    start_daemon
    call /v1/embeddings
    expect_error 405 invalid_request_error null method_not_allowed
    [ "$(header Allow)" = "OPTIONS, POST" ]
    call -X OPTIONS /v1/embeddings
    [ "$CODE" = 204 ]
    [ "$(header Allow)" = "OPTIONS, POST" ]
    call /v1/models
    [ "$CODE" = 200 ]
    holds '(keys == ["data", "object"]) and .object == "list" and (.data | length) == 1'
    holds '.data[0] | (keys == ["created", "id", "object", "owned_by"]) and .id == "hash-384" and .object == "model" and
        .created > 1700000000 and .owned_by == "offload"'
    field '.data[0]' >"$IN"
    call /v1/models/hash-384
    [ "$CODE" = 200 ]
    [ "$(jq -S . "$IN")" = "$(jq -S . "$BODY")" ]
    call -I /v1/models/hash-384
    [ "$CODE" = 200 ]
    call /v1/models/gpt-4
    expect_error 404 invalid_request_error '"model"' model_not_found
    call -X DELETE /v1/models/hash-384
    expect_error 405 invalid_request_error null method_not_allowed
    call '/v1/models?limit=1'
    expect_error 400 invalid_request_error null invalid_query
    call /metrics
    grep -q '^offload_http_requests_total{route="/v1/embeddings",code="405"} 1$' "$BODY"
    grep -q '^offload_http_requests_total{route="/v1/models/{id}",code="404"} 1$' "$BODY"
}
