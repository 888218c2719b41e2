#!/usr/bin/env bats
# embeddings.bats: the type "embeddings" with real models: small random ones, and all-MiniLM-L6-v2 if `make model` can
# fetch it (otherwise its tests are skipped, which is seen).

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
    unset MAKEFLAGS MAKELEVEL MFLAGS # of the make that runs the tests
    export SMALL=$BATS_FILE_TMPDIR/small MODELS
    MODELS=$(make --no-print-directory print-model-dir)
    tests/embed/make_model.py "$SMALL/mean" --hidden 64 --heads 4 --layers 2 --intermediate 128 --normalize
    tests/embed/make_model.py "$SMALL/tokens-cls" --hidden 96 --heads 3 --layers 3 --intermediate 200 --pooling cls --seed 5
    tests/embed/make_model.py "$SMALL/half" --hidden 32 --heads 2 --layers 1 --intermediate 64 --dtype F16 --seed 9
    make --no-print-directory model >"$BATS_FILE_TMPDIR/fetched" 2>&1 || export WHY_NO_MODEL="all-MiniLM-L6-v2 is not here: make model"
}

# A sanitizer makes the encoder ten times as slow; the small models go through the same code.
with_minilm() {
    [ -z "${WHY_NO_MODEL:-}" ] || skip "$WHY_NO_MODEL"
    ! sanitized || skip "it takes too long with a sanitizer"
    start_daemon --model-dir "$MODELS" --data-dir none "$@"
}

sanitized() {
    [[ $BUILD == *address* || $BUILD == *thread* ]]
}

has_avx2() {
    grep -qw avx2 /proc/cpuinfo || skip "this CPU has no AVX2"
}

# The CPU and the library that bf16 needs.
has_bf16() {
    grep -qw avx512_bf16 /proc/cpuinfo || skip "this CPU has no AVX512_BF16"
    ldconfig -p | grep -q 'libdnnl\.so\.[23] ' || skip "oneDNN is not installed here"
}

has_amx() {
    grep -qw amx_bf16 /proc/cpuinfo
}

embeddings() {
    run tests/http/embeddings.py "$@"
    echo "$output"
    [ "$status" = 0 ]
}

count_of() {
    curl -sS "$URL/metrics" | sed -n "s/^offload_embeddings_$1_total //p"
}

@test "small models have the vectors of a plain encoder" {
    start_daemon --model-dir "$SMALL" --data-dir none --embeddings-precision fp32
    for model in mean tokens-cls half; do
        embeddings reference "$URL" "$model" "$SMALL/$model"
    done
}

@test "the models are listed, and one of them is the default" {
    start_daemon --model-dir "$SMALL" --data-dir none
    call /v1/models
    holds '[.data[].id] == ["half", "mean", "tokens-cls", "hash-384"] and all(.data[]; .created > 1500000000)'
    call_job '{"type":"embeddings","params":{"input":"a"}}'
    holds '.result.model == "half" and .result.dimensions == 32 and (.result.embeddings[0] | length) == 32'
    call_job '{"type":"embeddings","params":{"input":"a","model":"hash-384"}}'
    holds '.result.model == "hash-384" and .result.dimensions == 384'
    call_job '{"type":"embeddings","params":{"input":"a","model":"other"}}'
    expect_problem 422 invalid_params
    holds '.errors[0] == {"pointer":"/params/model","detail":"there is no model \"other\"; there is half, mean, tokens-cls, hash-384"}'
    call_job '{"type":"embeddings","params":{"input":"a","dimensions":33}}'
    holds '.errors[0].pointer == "/params/dimensions"'
    call_job '{"type":"embeddings","params":{"input":["a","bc"],"dimensions":5,"encoding_format":"base64"}}'
    holds '(.result.embeddings | map(length)) == [28, 28] and .result.dimensions == 5'
}

@test "a token id that the model has not is named with its place" {
    start_daemon --model-dir "$SMALL" --data-dir none
    ids() { # INPUT PLACE ID
        call -H 'Content-Type: application/json' -d '{"model":"mean","input":'"$1"'}' /v1/embeddings
        [ "$CODE" = 400 ]
        holds ".error.param == \"$2\" and .error.message == \"$2: is the token id $3, and those of mean are below 1000\""
    }
    ids '[1000]' 'input[0]' 1000
    ids '[2,5,7000,3]' 'input[2]' 7000
    ids '[[2,5,3],[2,2147483647]]' 'input[1][1]' 2147483647
}

@test "vectors are normalised as the files of the model have it, or as is asked" {
    start_daemon --model-dir "$SMALL" --data-dir none
    norm() { # MODEL PARAMS
        call_job "$(jq -nc --arg model "$1" --argjson more "${2:-{\}}" '{type: "embeddings", params: ({input: "a b c", model: $model} + $more)}')"
        jq '.result.embeddings[0] | map(. * .) | add | sqrt' "$BODY"
    }
    is_1() {
        jq -e '. - 1 | fabs < 1e-5' <<<"$1"
    }
    is_1 "$(norm mean)"       # has a Normalize
    is_1 "$(norm hash-384)"
    run ! is_1 "$(norm half)"     # has none
    is_1 "$(norm half '{"normalize": true}')"
    is_1 "$(norm half '{"normalize": true, "dimensions": 7}')"
    run ! is_1 "$(norm half '{"dimensions": 7}')"
    run ! is_1 "$(norm mean '{"normalize": false}')"
    plain=$(norm half)
    [ "$(norm half '{"normalize": false}')" = "$plain" ]
    call -H 'Content-Type: application/json' -d '{"model":"half","input":"a b c"}' /v1/embeddings
    [ "$(jq '.data[0].embedding | map(. * .) | add | sqrt' "$BODY")" = "$plain" ]
}

@test "dimensions are cut and normalised again, or not normalised" {
    start_daemon --model-dir "$SMALL" --data-dir none
    call_job '{"type":"embeddings","params":{"input":"a b c","model":"mean","dimensions":7}}'
    holds '.result.embeddings[0] | length == 7 and (map(. * .) | add - 1 | fabs < 1e-5)'
    call_job '{"type":"embeddings","params":{"input":"a b c","model":"mean","normalize":false}}'
    holds '.result.embeddings[0] | length == 64 and (map(. * .) | add - 1 | fabs > 1e-3)'
}

@test "no bit depends on the batch, its order, its chunks or on other clients" {
    start_daemon --model-dir "$SMALL" --data-dir none
    embeddings same "$URL" mean
    embeddings same "$URL" tokens-cls
}

@test "a text that is too long is named with its tokens, or cut" {
    start_daemon --model-dir "$SMALL" --data-dir none
    long=$(printf 'a %.0s' {1..700})
    call_job "{\"type\":\"embeddings\",\"params\":{\"model\":\"mean\",\"input\":[\"a\",\"$long\"]}}"
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params/input/1" and (.errors[0].detail | startswith("has 702 tokens, and mean takes "))'
    holds '.errors[0].detail | endswith("with \"truncate\": true its beginning is embedded")'
    call -H 'Content-Type: application/json' -d "{\"model\":\"mean\",\"input\":[\"a\",\"$long\"]}" /v1/embeddings
    [ "$CODE" = 400 ]
    holds '.error.message | contains("has 702 tokens") and (contains("truncate") | not)' # there is no such parameter
    call_job "{\"type\":\"embeddings\",\"params\":{\"model\":\"mean\",\"truncate\":true,\"input\":[\"a\",\"$long\"]}}"
    holds '.status == "succeeded"'
    [ "$(count_of truncated)" = 1 ]
    call_job '{"type":"embeddings","params":{"model":"mean","input":["a",""]}}'
    holds '.errors == [{"pointer":"/params/input/1","detail":"is empty"}]'
}

@test "a .npy is asked for by Accept or by name, and its Job has the rest" {
    start_daemon --model-dir "$SMALL" --data-dir none
    call -H 'Accept: application/x-npy' -H 'Content-Type: application/json' -d '{"type":"embeddings","params":{"input":["a","b"]}}' /v1/jobs
    [ "$CODE" = 200 ]
    [ "$(header Content-Type)" = application/x-npy ]
    [ "$(/usr/bin/python3 -c 'import numpy, sys; a = numpy.load(sys.argv[1]); print(a.dtype, a.shape)' "$BODY")" = 'float32 (2, 32)' ]
    call -H 'Accept: application/json, application/x-npy' -H 'Content-Type: application/json' \
        -d '{"type":"embeddings","params":{"input":["a","b"]}}' /v1/jobs
    holds '.result.embeddings | length == 2'
    jq -cn '{type:"embeddings",params:{input:[range(5000) | "text \(.)"]}}' >"$BATS_TEST_TMPDIR/large"
    call -H 'Accept: application/x-npy' -H 'Content-Type: application/json' --data-binary "@$BATS_TEST_TMPDIR/large" /v1/jobs
    [ "$(/usr/bin/python3 -c 'import numpy, sys; a = numpy.load(sys.argv[1]); print(a.dtype, a.shape)' "$BODY")" = 'float32 (5000, 32)' ]
    call_job '{"type":"embeddings","params":{"input":["a","b"],"format":"npy"}}'
    holds '.result == {"model":"half","dimensions":32,"usage":{"prompt_tokens":6,"total_tokens":6}} and .result_media_type == "application/x-npy"'
}

@test "items are embedded together, and a wrong one fails alone" {
    start_daemon --model-dir "$SMALL" --data-dir none
    call_job '{"type":"embeddings","items":[{"input":"a"},{"input":""},{"input":["b","c"]}]}'
    holds '[.result.items[].status] == ["succeeded", "failed", "succeeded"] and .result.items[1].error.errors[0].detail == "is empty"'
    holds '[.result.items[].result.embeddings | length] == [1, 0, 2]'
}

@test "items of two models are embedded together, each by its own" {
    start_daemon --model-dir "$SMALL" --data-dir none --workers 1
    call_job "$(jq -nc '{type: "embeddings", items: [range(100) | {input: "a b", model: (if . % 2 == 0 then "mean" else "tokens-cls" end)}]}')"
    holds '[.result.items[].status] | unique == ["succeeded"]'
    holds '[.result.items[].result.model] | .[:4] == ["mean", "tokens-cls", "mean", "tokens-cls"]'
    holds '[.result.items[].result.embeddings] | unique | length == 2'
    [ "$(count_of texts)" = 100 ]
    [ "$(count_of calls)" -le 20 ]
}

@test "texts of many clients, by both ways to ask, go through the encoder together" {
    with_minilm --workers 1
    embeddings crowd "$URL" all-MiniLM-L6-v2 320
    [ "$(count_of texts)" = 320 ]
    [ "$(count_of calls)" -lt 200 ]
}

@test "Server-Timing says what plan and run are, and the metrics count tokens" {
    start_daemon --model-dir "$SMALL" --data-dir none
    call_job '{"type":"embeddings","params":{"input":["a b","c"],"model":"mean"}}'
    [[ $(header Server-Timing) =~ ^queue\;dur=[0-9.]+,\ plan\;dur=[0-9.]+\;desc=\"tokenize\",\ run\;dur=[0-9.]+\;desc=\"encode\",\ merge\;dur=[0-9.]+$ ]]
    tokens=$(field .result.usage.total_tokens)
    [ "$(count_of tokens)" = "$tokens" ]
    [ "$(count_of texts)" = 2 ]
    call /metrics
    grep -q '^offload_joined_job_wait_seconds_count{type="embeddings"} 1$' "$BODY"
}

@test "Server-Timing has all of the time also if a large body was planned before" {
    start_daemon --model-dir "$SMALL" --data-dir none
    jq -nc '{type: "embeddings", params: {model: "mean", input: [range(3000) | "a b c d e f g h"]}}' >"$BATS_TEST_TMPDIR/large"
    call -H 'Content-Type: application/json' --data-binary @"$BATS_TEST_TMPDIR/large" /v1/jobs
    [ "$CODE" = 200 ]
    header Server-Timing | /usr/bin/python3 -c 'import re, sys
part = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([0-9.]+)", sys.stdin.read())}
assert part["run"] > 0 and part["plan"] > 0, part
assert abs(part["plan"] + part["run"] + part["merge"] - float(sys.argv[1])) < 0.01, (part, sys.argv[1])' "$(field .timings.run_ms)"
}

@test "a folder with its config.json one folder deeper is served" {
    mkdir -p "$BATS_TEST_TMPDIR/models/old/0_Transformer"
    cp -r "$SMALL/mean/." "$BATS_TEST_TMPDIR/models/old/"
    mv "$BATS_TEST_TMPDIR/models/old/config.json" "$BATS_TEST_TMPDIR/models/old/0_Transformer/"
    for file in "$BATS_TEST_TMPDIR"/models/old/{model.safetensors,vocab.txt,tokenizer.json,tokenizer_config.json,sentence_bert_config.json}; do
        [ ! -e "$file" ] || mv "$file" "$BATS_TEST_TMPDIR/models/old/0_Transformer/"
    done
    sed -i 's/"path": ""/"path": "0_Transformer"/' "$BATS_TEST_TMPDIR/models/old/modules.json"
    start_daemon --model-dir "$BATS_TEST_TMPDIR/models" --data-dir none
    call /v1/models
    holds '[.data[].id] | index("old") != null'
}

@test "a folder that is no model is in the log, and one with a link to nowhere is refused" {
    mkdir -p "$BATS_TEST_TMPDIR/models"/{snapshots,.cache}
    touch "$BATS_TEST_TMPDIR/models/README.md"
    start_daemon --model-dir "$BATS_TEST_TMPDIR/models" --data-dir none
    wait_for grep -q '"event":"model_folder_skipped"' "$LOG"
    run -0 jq -cs 'map(select(.event == "model_folder_skipped") | [.level, .folder, .why])' "$LOG"
    [ "$output" = '[["warn","snapshots","it has neither a config.json nor a modules.json"]]' ]
    ln -s nowhere "$BATS_TEST_TMPDIR/models/snapshots/config.json"
    run timeout 20 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --model-dir "$BATS_TEST_TMPDIR/models"
    [ "$status" = 1 ]
    [[ $output == *"snapshots/config.json: is a link to a file that is not there"* ]]
}

@test "a model whose weights make vectors that are not finite is refused in every precision" {
    tests/embed/make_model.py "$BATS_TEST_TMPDIR/models/huge" --hidden 32 --heads 2 --layers 1 --intermediate 64 --fill 1e20
    precisions=fp32
    ! grep -qw avx2 /proc/cpuinfo || precisions+=" fx16 int8"
    for precision in $precisions; do
        run timeout 60 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --model-dir "$BATS_TEST_TMPDIR/models" \
            --embeddings-precision "$precision"
        echo "$output"
        [ "$status" = 1 ]
        [[ $output == *"embeddings: vectors that are not finite come from the weights of the model huge"* ]]
    done
}

@test "a vector that is not finite is an error of its item, in every form of the result" {
    tests/embed/make_model.py "$BATS_TEST_TMPDIR/models/word" --hidden 32 --heads 2 --layers 1 --intermediate 64 --huge-word 5
    start_daemon --model-dir "$BATS_TEST_TMPDIR/models" --data-dir none
    word=$(jq -r '.model.vocab | to_entries[] | select(.value == 5).key' "$BATS_TEST_TMPDIR/models/word/tokenizer.json")
    why="the model word gives text 0 a vector that is not finite"
    call_job "$(jq -nc --arg word "$word" '{type: "embeddings", items: [{input: "a"}, {input: $word}, {input: "b"}]}')"
    holds '[.result.items[].status] == ["succeeded", "failed", "succeeded"]'
    holds ".result.items[1].error | .code == \"handler_failed\" and .detail == \"$why\""
    for form in '{}' '{"encoding_format": "base64"}' '{"format": "npy"}'; do
        call_job "$(jq -nc --arg word "$word" --argjson form "$form" '{type: "embeddings", params: ({input: $word} + $form)}')"
        expect_problem 500 handler_failed
        holds ".detail == \"$why\""
    done
}

@test "a worker that is killed while it encodes costs an attempt and no vector" {
    start_daemon --model-dir "$SMALL" --data-dir none --workers 1
    text=$(printf 'a %.0s' {1..60})
    texts=5000
    ! sanitized || texts=500
    jq -cn --arg text "$text" "{type:\"embeddings\",params:{model:\"tokens-cls\",input:[range($texts) | \$text]}}" >"$BATS_TEST_TMPDIR/job"
    id=$(submit "@$BATS_TEST_TMPDIR/job")
    wait_for is_running "$id"
    kill -KILL "$(curl -sS "$URL/v1/workers" | jq '.workers[] | select(.lane == "main").pid')"
    [ "$(ended "$id")" = succeeded ]
    call "/v1/jobs/$id"
    holds '.attempts >= 2 and (.lost | length) >= 1'
    call "/v1/jobs/$id/result"
    holds ".embeddings | length == $texts and (unique | length) == 1"
}

@test "what cannot be served is refused at the start, and says why" {
    cp -r "$SMALL" "$BATS_TEST_TMPDIR/models"
    truncate -s -1 "$BATS_TEST_TMPDIR/models/mean/model.safetensors"
    run timeout 20 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --model-dir "$BATS_TEST_TMPDIR/models"
    [ "$status" = 1 ]
    [[ $output == *"models/mean cannot be served: mean/model.safetensors"* ]]
    run timeout 20 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --model-dir "$BATS_TEST_TMPDIR/none"
    [ "$status" = 2 ]
    [[ $output == "offloadd: --model-dir: $BATS_TEST_TMPDIR/none: No such file or directory" ]]
}

@test "the log says which models are served, and how" {
    start_daemon --model-dir "$SMALL" --data-dir none --embeddings-precision fp32
    wait_for grep '"event":"model_loaded".*tokens-cls' "$LOG"
    run -0 jq -cs 'map(select(.event == "model_loaded") | [.level, .model, .precision, .kernel[0:5]])' "$LOG"
    [ "$output" = '[["info","half","fp32","fp32 "],["info","mean","fp32","fp32 "],["info","tokens-cls","fp32","fp32 "]]' ]
}

@test "SIGHUP finds a new model" {
    mkdir "$BATS_TEST_TMPDIR/models"
    start_daemon --model-dir "$BATS_TEST_TMPDIR/models" --data-dir none
    call /v1/models
    holds '[.data[].id] == ["hash-384"]'
    cp -r "$SMALL/mean" "$BATS_TEST_TMPDIR/models/"
    kill -HUP "$DAEMON"
    is_served() {
        call_job '{"type":"embeddings","params":{"input":"a"}}'
        [ "$(field .result.model)" = mean ]
    }
    wait_for is_served
    call /v1/models
    holds '[.data[].id] == ["mean", "hash-384"]'
}

@test "a worker has little memory of its own, also after a large job" {
    with_minilm --workers 1
    jq -nc '{type: "embeddings", params: {input: [range(8000) | "\(.) \(. * 7919)"], dimensions: 4}}' >"$BATS_TEST_TMPDIR/large"
    call -H 'Content-Type: application/json' -H 'Prefer: wait=60' --data-binary @"$BATS_TEST_TMPDIR/large" /v1/jobs
    [ "$CODE" = 200 ]
    pid=$(curl -sS "$URL/v1/workers" | jq '.workers[] | select(.lane == "main").pid')
    is_small() { # it gives memory back when it is idle
        awk '/^Private_/ { kib += $2 } END { print kib " KiB"; exit kib > 8192 }' "/proc/$pid/smaps_rollup"
    }
    wait_for is_small
}

@test "all-MiniLM-L6-v2 in fp32 has the vectors of sentence-transformers" {
    with_minilm --embeddings-precision fp32
    embeddings vectors "$URL" 0.999999
}

@test "all-MiniLM-L6-v2 in fx16 has nearly the same vectors, and the same neighbours but for near-ties" {
    has_avx2
    with_minilm --embeddings-precision fp32
    embeddings neighbours "$URL" "$BATS_TEST_TMPDIR/fp32.npy" 3e-4
    stop_daemon
    with_minilm --embeddings-precision fx16
    embeddings vectors "$URL" 0.99999
    embeddings neighbours "$URL" "$BATS_TEST_TMPDIR/fp32.npy" 3e-4
    embeddings same "$URL" all-MiniLM-L6-v2
}

@test "all-MiniLM-L6-v2 in bf16 has nearly the same vectors, and the same neighbours but for near-ties" {
    has_bf16
    with_minilm --embeddings-precision fp32
    embeddings neighbours "$URL" "$BATS_TEST_TMPDIR/fp32.npy" 2e-3
    stop_daemon
    with_minilm --embeddings-precision bf16
    embeddings vectors "$URL" 0.9999
    embeddings neighbours "$URL" "$BATS_TEST_TMPDIR/fp32.npy" 2e-3
    embeddings same "$URL" all-MiniLM-L6-v2
}

@test "small models in bf16 have the same bits in any company, and no process has a second thread" {
    has_bf16
    start_daemon --model-dir "$SMALL" --data-dir none --embeddings-precision bf16 --workers 2
    for model in mean tokens-cls half; do
        embeddings same "$URL" "$model"
    done
    processes=$(children_of "$DAEMON")
    [ "$(wc -w <<<"$processes")" -ge 4 ] # the zygote, and three workers
    for pid in $processes; do
        echo "$pid: $(cat "/proc/$pid/comm")"
        [ "$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)" = 1 ]
    done
}

@test "bf16 that cannot be had is refused at the start, and auto does without it" {
    if grep -qw avx512_bf16 /proc/cpuinfo; then
        touch "$BATS_TEST_TMPDIR/libdnnl.so.2" "$BATS_TEST_TMPDIR/libdnnl.so.3" # is no library
        why="oneDNN is not installed here (*libdnnl.so.*)"
    else
        why="this CPU has no AVX512_BF16"
    fi
    export LD_LIBRARY_PATH=$BATS_TEST_TMPDIR
    run timeout 60 "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --model-dir "$SMALL" --embeddings-precision bf16
    echo "$output"
    [ "$status" = 1 ]
    [[ $output == *"embeddings: $SMALL/half cannot be served: bf16 cannot be had: "$why* ]]
    start_daemon --model-dir "$SMALL" --data-dir none
    embeddings same "$URL" mean
    [ "$(grep -c "embeddings: mean: bf16 cannot be had: " "$LOG")" = "$(has_amx && echo 1 || echo 0)" ]
}

@test "int8 says in the log how far it is off" {
    has_avx2
    start_daemon --model-dir "$SMALL" --data-dir none --embeddings-precision int8
    grep -q 'embeddings: mean: int8 is not exact: of 64 texts of random tokens, short and long, the smallest cosine to fp32 is 0\.[0-9]*; real texts can be further off' "$LOG"
}
