#!/usr/bin/env bats
# cli.bats: the command line client against a running service: what it prints, where, and its exit codes.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    start_daemon --enable-test-types
    export OFFLOAD_URL=$URL
}

teardown() {
    stop_daemon
}

offload() {
    "$BUILD/offload" "$@"
}

# The id in a job on stdin.
job_id() {
    sed -n 's/^{"id": *"\([^"]*\)".*/\1/p'
}

# Waits until a command succeeds; fails if it never does.
eventually() {
    for _ in $(seq 100); do
        "$@" > /dev/null 2>&1 && return
        sleep 0.1
    done
    "$@"
}

has_job() { # STATUS TYPE
    offload ls --status "$1" --type "$2" | grep -q .
}

@test "run prints the result and nothing else" {
    run --separate-stderr offload run primes start=100000 stop=200000
    [ "$status" -eq 0 ]
    [ "$output" = '{"count":8392}' ]
    [ -z "$stderr" ]
}

@test "run waits for a job that outlasts the submission" {
    run --separate-stderr offload run sleep ms=1500
    [ "$status" -eq 0 ]
    [ -n "$output" ]
    [ -z "$stderr" ]
}

@test "run --job prints the whole job" {
    run --separate-stderr offload run primes start=0 stop=1000000 --chunks 4 --job
    [ "$status" -eq 0 ]
    [[ $output == *'"status":"succeeded"'* && $output == *'"total":4'* && $output == *'"count":78498'* ]]
}

@test "-o writes the result to a file, whatever its size" {
    out=$BATS_TEST_TMPDIR/out
    run --separate-stderr offload run primes start=0 stop=100 -o "$out"
    [ "$status" -eq 0 ]
    [ -z "$output$stderr" ]
    [ "$(<"$out")" = '{"count":25}' ]
    run --separate-stderr offload run primes start=0 stop=1000000 op=list --output "$out" --job
    [ "$status" -eq 0 ]
    [[ $output == *'"status":"succeeded"'* ]]
    [ "$(wc -c <"$out")" -gt $((256 * 1024)) ]
    id=$(job_id <<<"$output")
    run --separate-stderr offload get "$id" -o "$out"
    [ "$status" -eq 0 ]
    [ "$(jq .count "$out")" = 78498 ]
    run --separate-stderr offload wait "$id" -o "$BATS_TEST_TMPDIR"
    [ "$status" -eq 4 ]
    [[ $stderr == *"cannot write $BATS_TEST_TMPDIR"* ]]
    run --separate-stderr offload run echo value=1 -o /dev/full
    [ "$status" -eq 4 ]
}

@test "--data sends files as they are, and a binary result comes out as it is" {
    head -c 300000 /dev/urandom >"$BATS_TEST_TMPDIR/in.png"
    offload run bytes op=echo --data "$BATS_TEST_TMPDIR/in.png" >"$BATS_TEST_TMPDIR/out"
    cmp "$BATS_TEST_TMPDIR/in.png" "$BATS_TEST_TMPDIR/out"
    offload run bytes op=reverse --data - -o "$BATS_TEST_TMPDIR/out" <"$BATS_TEST_TMPDIR/in.png"
    offload run bytes op=reverse --data <(cat "$BATS_TEST_TMPDIR/out") -o "$BATS_TEST_TMPDIR/again"
    cmp "$BATS_TEST_TMPDIR/in.png" "$BATS_TEST_TMPDIR/again"
    run --separate-stderr offload run bytes --data <(printf hello)
    [ "$output" = '{"sum":532}' ]
    run --separate-stderr offload submit bytes op=add --data <(printf hello) --key data
    [ "$status" -eq 0 ]
    id=$(job_id <<<"$output")
    run --separate-stderr offload submit bytes op=add --data <(printf hello) --key data
    [ "$(job_id <<<"$output")" = "$id" ]
    [ "$(offload wait "$id")" = ifmmp ]
    run --separate-stderr offload wait "$id" --job
    [[ $output == *'"result_size":5'* ]]
}

@test "--data: a file that cannot be read, stdin twice, and data that nothing uses" {
    for file in "$BATS_TEST_TMPDIR/none" "$BATS_TEST_TMPDIR"; do
        run --separate-stderr offload run bytes --data "$file"
        [ "$status" -eq 2 ]
        [[ $stderr == *"cannot read $file"* ]]
    done
    run --separate-stderr offload run bytes --data - --data - </dev/null
    [ "$status" -eq 2 ]
    run --separate-stderr offload run primes nth=1 --data /dev/null
    [ "$status" -eq 3 ]
    [[ $stderr == *"/data/0"* ]]
    run --separate-stderr offload map echo --data /dev/null </dev/null
    [ "$status" -eq 2 ]
}

@test "a binary result does not go to a terminal" {
    printf hello >"$BATS_TEST_TMPDIR/in"
    run script -qec "'$BUILD/offload' run bytes op=copy --data '$BATS_TEST_TMPDIR/in'" /dev/null </dev/null
    [[ $output == *"the result is application/octet-stream"* && $output != *hello* ]]
}

@test "run fetches a result that is too large for the Job" {
    offload run primes start=0 stop=1000000 op=list > "$BATS_TEST_TMPDIR/list"
    [ "$(wc -c < "$BATS_TEST_TMPDIR/list")" -gt $((256 * 1024)) ]
    [ "$(wc -l < "$BATS_TEST_TMPDIR/list")" -eq 1 ]
    [ "$(tr , '\n' < "$BATS_TEST_TMPDIR/list" | grep -c '^[0-9]*$\|\[2$\|^999983\]')" -eq 78498 ]
    run --separate-stderr offload run primes start=0 stop=1000000 op=list --job
    [[ $output == *'"status":"succeeded"'* && $output != *'"primes":['* ]]
}

@test "a value is JSON if it can be, else a string" {
    for value in 7 0.1 true null '[1, {"x": "]"}]' '"7"'; do
        run offload run echo value="$value"
        [ "$status" -eq 0 ]
        [ "$(tr -d ' ' <<< "$output")" = "{\"value\":$(tr -d ' ' <<< "$value")}" ]
    done
    run offload run echo value='say "7"'
    [ "$output" = '{"value":"say \"7\""}' ]
}

@test "a value or all parameters can come from a file or stdin" {
    printf '[1,2,3]' > "$BATS_TEST_TMPDIR/numbers"
    run offload run sum numbers=@"$BATS_TEST_TMPDIR/numbers"
    [ "$status" -eq 0 ]
    [[ $output == *'"sum":"6"'* ]]
    run offload run echo value=@- <<< 'two words'
    [ "$output" = '{"value":"two words\n"}' ]
    run offload run primes --params @- <<< '{"start": 0, "stop": 10}'
    [ "$output" = '{"count":4}' ]
    run --separate-stderr offload run echo value=@"$BATS_TEST_TMPDIR/missing"
    [ "$status" -eq 2 ]
    [[ $stderr == *missing* ]]
}

@test "run of a job that is rejected exits 3 and names what is wrong" {
    run --separate-stderr offload run no-such-type
    [ "$status" -eq 3 ]
    [ -z "$output" ]
    [[ $stderr == *unknown_type*/type:* ]]
    run --separate-stderr offload run primes start=0 stop=ten colour=red
    [ "$status" -eq 3 ]
    [[ $stderr == *invalid_params*/params/stop:* && $stderr == *"/params/colour:"* ]]
    run --separate-stderr offload run primes start=0 stop=10 --priority 9
    [ "$status" -eq 3 ]
    [[ $stderr == *"/options/priority:"* ]]
}

@test "run of a job that fails exits 1 and says why" {
    run --separate-stderr offload run crash how=SIGSEGV --max-attempts 1
    [ "$status" -eq 1 ]
    [ -z "$output" ]
    [[ $stderr == *worker_crashed* ]]
    run --separate-stderr offload run sleep ms=60000 --timeout 1500ms --job
    [ "$status" -eq 1 ]
    [[ $output == *'"status":"failed"'* ]]
    [[ $stderr == *job_timeout* ]]
}

@test "without a service the exit code is 4" {
    run --separate-stderr offload --url unix:"$BATS_TEST_TMPDIR/nobody" run primes start=0 stop=10
    [ "$status" -eq 4 ]
    [ -z "$output" ]
    [[ $stderr == *nobody* ]]
}

@test "a wrong command line exits 2 with one line" {
    for words in "" "fly" "run" "get" "run echo value" "run echo --wings" "ls --chunks 3" "run echo --timeout 5" \
        "submit echo value=1 --params {}" "get 1 --url ftp://h"; do
        # shellcheck disable=SC2086
        run --separate-stderr offload $words
        [ "$status" -eq 2 ]
        [ -z "$output" ]
        [ "${#stderr_lines[@]}" -eq 1 ]
    done
}

@test "submit, get, wait: a job by its id" {
    id=$(offload submit sleep ms=2500 | job_id)
    [ -n "$id" ]
    run offload get "$id" --result
    [ "$status" -eq 5 ]
    run offload wait "$id"
    [ "$status" -eq 0 ]
    result=$output
    run offload get "$id"
    [[ $output == *"$id"*'"status":"succeeded"'* ]]
    run offload get "$id" --result
    [ "$status" -eq 0 ]
    [ "$output" = "$result" ]
}

@test "submit with a key makes one job, however often it is called" {
    id=$(offload submit echo value=1 --key 'order 7' | job_id)
    [ -n "$id" ]
    [ "$(offload submit echo value=1 --key 'order 7' | job_id)" = "$id" ]
    run offload run echo value=1 --key 'order 7'
    [ "$output" = '{"value":1}' ]
    run --separate-stderr offload submit echo value=2 --key 'order 7'
    [ "$status" -eq 3 ]
    [[ $stderr == *idempotency_mismatch* ]]
    for key in '' $'a\nX-Other: b' "$(printf '%0256d' 0)"; do
        run --separate-stderr offload submit echo value=1 --key "$key"
        [ "$status" -eq 2 ]
        [[ $stderr == *--key* ]]
    done
}

@test "submit passes on --delay, --isolation and --webhook" {
    run offload submit echo value=1 --delay 1h --isolation fresh
    [ "$status" -eq 0 ]
    [[ $output == *'"waiting_for":"delay"'* ]]
    offload cancel "$(job_id <<< "$output")"
    run --separate-stderr offload submit echo value=1 --webhook 'http://"quoted"/'
    [ "$status" -eq 3 ]
    [[ $stderr == *"/options/webhook:"* ]]
    run --separate-stderr offload submit echo value=1 --isolation none
    [ "$status" -eq 3 ]
    [[ $stderr == *"/options/isolation:"* ]]
}

@test "events prints what happens to a job, a line each, until it ends" {
    id=$(offload submit sleep ms=600 | job_id)
    run --separate-stderr offload events "$id"
    [ "$status" -eq 0 ]
    [ -z "$stderr" ]
    [[ ${lines[0]} == 'status {"status":"queued"'* ]]
    [[ ${lines[1]} == 'status {"status":"running"'* ]]
    [[ ${lines[-1]} == "end {\"id\":\"$id\""*'"status":"succeeded"'* ]]
    [ "$(grep -c '^end ' <<< "$output")" -eq 1 ]
    id=$(offload submit crash how=abort --max-attempts 1 | job_id)
    run offload events "$id"
    [ "$status" -eq 1 ]
    [[ ${lines[-1]} == end*worker_crashed* ]]
    run --separate-stderr offload events 01890000-0000-7000-8000-000000000000
    [ "$status" -eq 3 ]
}

@test "events goes on where its stream was cut, when the service is back" {
    stop_daemon
    start_daemon --listen unix:"$BATS_TEST_TMPDIR/socket" --data-dir "$BATS_TEST_TMPDIR/data"
    id=$(offload submit sleep ms=2500 --url unix:"$BATS_TEST_TMPDIR/socket" | job_id)
    offload events "$id" --url unix:"$BATS_TEST_TMPDIR/socket" > "$BATS_TEST_TMPDIR/out" 2> "$BATS_TEST_TMPDIR/err" 3>&- &
    client=$!
    eventually grep -q running "$BATS_TEST_TMPDIR/out"
    kill_daemon
    rm -f "$BATS_TEST_TMPDIR/socket"
    start_daemon --listen unix:"$BATS_TEST_TMPDIR/socket" --data-dir "$BATS_TEST_TMPDIR/data"
    wait "$client"
    grep -q '^snapshot ' "$BATS_TEST_TMPDIR/out"
    [ "$(tail -n 1 "$BATS_TEST_TMPDIR/out" | grep -c '^end .*"cause":"restart"')" -eq 1 ]
}

@test "map calls a type for each line, and prints a line for each" {
    seq 2000 | sed 's/.*/{"value": &}/' > "$BATS_TEST_TMPDIR/items"
    run --separate-stderr offload map echo "$BATS_TEST_TMPDIR/items" --chunks 4
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 2000 ]
    [[ $stderr == *"2000 items, 0 of them failed" ]]
    [ "$(sed 's/^{"index":\([0-9]*\),"status":"succeeded","result":{"value":\([0-9]*\)}}$/\1 \2/' <<< "$output" |
        awk '$2 == $1 + 1' | sort -u | wc -l)" -eq 2000 ]
    run --separate-stderr offload map primes <<< $'{"nth": 4}\n\n{"start": 0}'
    [ "$status" -eq 1 ]
    [[ ${lines[0]} == '{"index":0,"status":"succeeded","result":{"prime":7}}' && ${lines[1]} == *invalid_params* ]]
    [[ $stderr == *"2 items, 1 of them failed" ]]
    run --separate-stderr offload map echo < /dev/null
    [ "$status" -eq 0 ]
    [ -z "$output" ]
}

@test "map takes columns in place of lines" {
    run --separate-stderr offload map primes --columns '{"start": 0, "stop": [10, "x", 20]}' --chunks 1
    [ "$status" -eq 1 ]
    [[ ${lines[0]} == '{"index":0,"status":"succeeded","result":{"count":4}}' && ${lines[1]} == *'"pointer":"/columns/stop/1"'* ]]
    [[ ${lines[2]} == '{"index":2,"status":"succeeded","result":{"count":8}}' ]]
    [[ $stderr == *"3 items, 1 of them failed" ]]
    jq -nc '{value: [range(2000)]}' >"$BATS_TEST_TMPDIR/columns"
    run --separate-stderr offload map echo --columns @"$BATS_TEST_TMPDIR/columns"
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 2000 ]
    run --separate-stderr offload map echo --columns @- <"$BATS_TEST_TMPDIR/columns"
    [ "${#lines[@]}" -eq 2000 ]
    run --separate-stderr offload map echo --columns '[1]'
    [ "$status" -eq 2 ]
    [[ $stderr == *"--columns takes a JSON object" ]]
    run --separate-stderr offload map echo "$BATS_TEST_TMPDIR/columns" --columns '{}'
    [ "$status" -eq 2 ]
    [[ $stderr == *"either --columns or FILE"* ]]
    run --separate-stderr offload map echo --columns '{"val": [1]}'
    [ "$status" -eq 3 ]
    [[ $stderr == *"/columns/val"* ]]
    run --separate-stderr offload run echo --columns '{"value": [1]}'
    [ "$status" -eq 2 ]
}

@test "map rejects what is not JSON, and says what the service rejects" {
    run --separate-stderr offload map echo <<< $'{"value": 1}\n{"value": 2'
    [ "$status" -eq 2 ]
    [ -z "$output" ]
    [[ $stderr == *"line 2"* ]]
    run --separate-stderr offload map no-such-type <<< '{}'
    [ "$status" -eq 3 ]
    [[ $stderr == *unknown_type* ]]
    run --separate-stderr offload map sleep --timeout 300ms <<< '{"ms": 60000}'
    [ "$status" -eq 1 ]
    [[ $stderr == *job_timeout* ]]
}

@test "map names the line that is wrong, and submits nothing" {
    before=$(offload ls --limit 1000 | wc -l)
    for bad in '{"value":1\0}' '{"value":1}\0' '\0{"value":1}' '1e999\0' '\0' '{"value":"\xff"}' '{"value":1' '\xef\xbb\xbf{}' '{} {}'; do
        for ending in '' '\n' '\r\n' '\n{"value":3}\n' '\n{"value":3}'; do
            for front in '' '{"value":0}\n' '\n \n{"value":0}\n'; do
                run --separate-stderr offload map echo < <(printf "$front$bad$ending")
                [ "$status" -eq 2 ]
                [ -z "$output" ]
                lines=$(printf "$front" | wc -l)
                [[ $stderr == "offload: -: line $((lines + 1)) "* ]]
                [ "${#stderr_lines[@]}" -eq 1 ]
            done
        done
    done
    printf '{"value":1}\n{"val\0ue":2}\n' >"$BATS_TEST_TMPDIR/items"
    run --separate-stderr offload map echo "$BATS_TEST_TMPDIR/items"
    [ "$status" -eq 2 ]
    [[ $stderr == *"items: line 2 has a NUL byte" ]]
    [ "$(offload ls --limit 1000 | wc -l)" = "$before" ]
}

@test "map takes empty lines, a last line without an end, and long lines" {
    run --separate-stderr offload map echo < <(printf '\n\n{"value":1}\r\n \t\n{"value":2}')
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 2 ]
    long=$(head -c 3000000 /dev/zero | tr '\0' x)
    printf '{"value":"%s"}' "$long" >"$BATS_TEST_TMPDIR/items"
    offload map echo "$BATS_TEST_TMPDIR/items" >"$BATS_TEST_TMPDIR/out" 2>/dev/null
    [ "$(wc -c <"$BATS_TEST_TMPDIR/out")" -gt 3000000 ]
}

@test "a NUL byte in parameters is never where the text ends" {
    printf '{"value":1}\0,"x":2}' >"$BATS_TEST_TMPDIR/whole"
    for command in run submit; do
        run --separate-stderr offload "$command" echo --params @"$BATS_TEST_TMPDIR/whole"
        [ "$status" -eq 2 ]
        run --separate-stderr offload "$command" echo --params @- <"$BATS_TEST_TMPDIR/whole"
        [ "$status" -eq 2 ]
    done
    printf '1e999\0rest' >"$BATS_TEST_TMPDIR/value"
    run --separate-stderr offload run echo value=@"$BATS_TEST_TMPDIR/value"
    echo "$status $output $stderr"
    [ "$status" -eq 0 ]
    [[ $output == *'1e999\u0000rest'* ]]
    run --separate-stderr offload run echo value=@"$BATS_TEST_TMPDIR"
    [ "$status" -eq 2 ]
}

@test "closed descriptors: what cannot be read or written is an error, and nothing goes elsewhere" {
    run --separate-stderr bash -c '"$0" map echo 0<&-' "$BUILD/offload"
    [ "$status" -eq 2 ]
    run --separate-stderr bash -c '"$0" run echo value=1 1>&-' "$BUILD/offload"
    [ "$status" -eq 4 ]
    bash -c '"$0" run echo value=1 2>&-' "$BUILD/offload"
    bash -c '"$0" health 0<&- 2>&-' "$BUILD/offload"
}

# Answers each request with the same head and body; sets FAKE (its URL) and FAKER (its pid).
start_fake() { # HEAD BODY
    python3 -u -c '
import http.server, sys
head, body = sys.argv[1].encode().decode("unicode_escape"), sys.argv[2].encode().decode("unicode_escape").encode()
class Fake(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = head.split("\n")
        self.send_response_only(int(lines[0]))
        for line in lines[1:]:
            self.send_header(*line.split(": "))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Fake)
print(server.server_port)
server.serve_forever()' "$1" "$2" >"$BATS_TEST_TMPDIR/port" 3>&- &
    FAKER=$!
    eventually test -s "$BATS_TEST_TMPDIR/port"
    FAKE=http://127.0.0.1:$(cat "$BATS_TEST_TMPDIR/port")
}

stop_fake() {
    kill "$FAKER"
    wait "$FAKER" || true
    rm "$BATS_TEST_TMPDIR/port"
}

@test "what is not offload is named, by every command" {
    while IFS='|' read -r head body; do
        start_fake "$head" "$body"
        for words in "run echo value=1" "submit echo value=1" "map echo" "wait ID" "events ID" "get ID" "get ID --result" \
            "cancel ID" "ls" "types" "types echo" "health" "health --ready" "health --verbose" "health --ready --verbose"; do
            # shellcheck disable=SC2086
            run --separate-stderr offload --url "$FAKE" --retries 0 $words <<<'{"value":1}'
            echo "$head $body: $words: $status $output $stderr"
            [[ $status -eq 4 || ($words == health* && $status -eq 1) ]]
            [[ $stderr == *"$FAKE is not an offload service"* ]]
            [ -z "$output" ]
        done
        stop_fake
    done <<'END'
200\nContent-Type: text/html|<html>ok</html>
200\nContent-Type: text/plain|fine
200\nContent-Type: text/plain; charset=utf-8|ok
200\nX-Request-Id: 1|
200\nContent-Type: application/json\nX-Request-Id: 1|{"status":"ok"}
200\nContent-Type: application/json|{"id":"1","status":"succeeded","jobs":[],"types":[],"name":"echo","params":{}}
404\nContent-Type: text/html|<html>not found</html>
404\nContent-Type: application/json\nX-Request-Id: 1|{"error":"not found"}
503\nContent-Type: text/html\nX-Request-Id: 1|busy
502\nX-Request-Id: 1|
END
}

@test "what offload answers is taken: an answer of its own form" {
    start_fake '200\nContent-Type: application/json\nX-Request-Id: 1' '{"id":"1","status":"succeeded","result":7}'
    run offload --url "$FAKE" wait 1
    stop_fake
    [ "$status" -eq 0 ]
    [ "$output" = 7 ]
    start_fake '200\nContent-Type: application/json\nX-Request-Id: 1' '{"id":"1","status":"strange","result":7}'
    run --separate-stderr offload --url "$FAKE" wait 1
    stop_fake
    [ "$status" -eq 4 ]
    [[ $stderr == *"is not an offload service"* ]]
}

@test "cancel stops a job, and wait and get --result of it exit 1" {
    id=$(offload submit sleep ms=600000 | job_id)
    run offload cancel "$id"
    [ "$status" -eq 0 ]
    [[ $output == *'"status":"cancelled"'* ]]
    run --separate-stderr offload wait "$id"
    [ "$status" -eq 1 ]
    [[ $stderr == *cancelled* ]]
    run offload get "$id" --result
    [ "$status" -eq 1 ]
}

@test "an unknown id exits 3, whatever it looks like" {
    for id in 01890000-0000-7000-8000-000000000000 .. 'a/b?c#d' $'\e[2J'; do
        run --separate-stderr offload get "$id"
        [ "$status" -eq 3 ]
        [[ $stderr == *not_found* && $stderr != *$'\e'* ]]
    done
}

@test "ls prints the newest jobs first, one a line" {
    first=$(offload submit echo value=1 | job_id)
    offload wait "$first"
    second=$(offload submit sleep ms=600000 | job_id)
    [ "$(offload ls | job_id)" = "$second"$'\n'"$first" ]
    [ "$(offload ls --limit 1 | job_id)" = "$second" ]
    [ "$(offload ls --type echo | job_id)" = "$first" ]
    [ "$(offload ls --status succeeded | job_id)" = "$first" ]
    offload cancel "$second"
}

@test "ls follows the pages" {
    for i in $(seq 105); do
        curl -sS -o "$BATS_TEST_TMPDIR/job" -H 'Prefer: respond-async' -H 'Content-Type: application/json' \
            -d '{"type":"echo","params":{"value":'"$i"'}}' "$URL/v1/jobs"
    done
    [ "$(offload ls | wc -l)" -eq 100 ]
    [ "$(offload ls --limit 1000 | job_id | sort -u | wc -l)" -eq 105 ]
}

@test "types prints the schemas" {
    run offload types
    [ "$status" -eq 0 ]
    [[ $output == *'"name":"primes"'* && $output == *'"name":"sum"'* ]]
    run offload types primes
    [ "$status" -eq 0 ]
    [[ $output == *'"name":"primes"'* && $output == *'"stop"'* && $output != *'"name":"sum"'* ]]
    run offload types no-such-type
    [ "$status" -eq 3 ]
}

@test "health exits 0 if the service answers, else 1" {
    run --separate-stderr offload health
    [ "$status" -eq 0 ]
    [ "$output" = "$URL: live" ]
    run offload health --ready
    [ "$status" -eq 0 ]
    run offload health --ready --verbose
    [ "$status" -eq 0 ]
    [ -n "$output" ]
    run --separate-stderr offload health --url unix:"$BATS_TEST_TMPDIR/nobody"
    [ "$status" -eq 1 ]
    [ -z "$output" ]
    [ -n "$stderr" ]
}

@test "a local service is never asked through a proxy" {
    http_proxy=http://127.0.0.1:1 run offload health
    [ "$status" -eq 0 ]
}

@test "ctrl-C cancels the job that run has submitted" {
    # A shell starts background commands with SIGINT ignored; env undoes that.
    env --default-signal=INT "$BUILD/offload" run sleep ms=600000 2> "$BATS_TEST_TMPDIR/err" 3>&- &
    client=$!
    eventually has_job running sleep
    kill -INT "$client"
    code=0
    wait "$client" || code=$?
    [ "$code" -eq 130 ]
    grep -q cancelled "$BATS_TEST_TMPDIR/err"
    has_job cancelled sleep
}

@test "ctrl-C does not cancel the job that wait only watches" {
    id=$(offload submit sleep ms=600000 | job_id)
    eventually has_job running sleep
    env --default-signal=INT "$BUILD/offload" wait "$id" 3>&- &
    client=$!
    sleep 0.3
    kill -INT "$client"
    code=0
    wait "$client" || code=$?
    [ "$code" -eq 130 ]
    has_job running sleep
    offload cancel "$id"
}

@test "run shows a progress bar on a terminal, and none in a file" {
    [ -n "$(command -v script)" ] || skip "no script(1)"
    TERM=xterm run script -qec "'$BUILD/offload' run sleep ms=2500" /dev/null < /dev/null
    [ "$status" -eq 0 ]
    [[ $output == *'] '*%* ]]
    TERM=dumb run script -qec "'$BUILD/offload' run sleep ms=1500" /dev/null < /dev/null
    [ "$status" -eq 0 ]
    [[ $output != *%* ]]
}

@test "a busy service is asked again, as often as --retries says" {
    stop_daemon
    start_daemon --enable-test-types --workers 1 --max-queue 1
    export OFFLOAD_URL=$URL
    for _ in 1 2 3 4 5; do
        run --separate-stderr offload submit sleep ms=600000 --retries 0
        [ "$status" -eq 0 ] || break
    done
    [ "$status" -eq 3 ]
    [[ $stderr == *queue_full* && $stderr != *"trying again"* ]]
    offload run primes start=100000 stop=200000 > "$BATS_TEST_TMPDIR/out" 2> "$BATS_TEST_TMPDIR/err" 3>&- &
    client=$!
    eventually grep -q "queue_full; trying again in" "$BATS_TEST_TMPDIR/err"
    offload ls | job_id | while read -r id; do offload cancel "$id"; done
    wait "$client"
    [ "$(cat "$BATS_TEST_TMPDIR/out")" = '{"count":8392}' ]
}

@test "a service on a Unix socket" {
    stop_daemon
    start_daemon --listen unix:"$BATS_TEST_TMPDIR/socket"
    run offload --url unix:"$BATS_TEST_TMPDIR/socket" run primes start=0 stop=100
    [ "$status" -eq 0 ]
    [ "$output" = '{"count":25}' ]
}

@test "help lists the commands and the exit codes; --version says the version" {
    run offload help
    [ "$status" -eq 0 ]
    [[ $output == *"run "*"submit "*"exit codes:"*"130 "* ]]
    run offload ls --help
    [ "$status" -eq 0 ]
    run offload --version
    [[ $output =~ ^offload\ [0-9]+\.[0-9]+ ]]
}
