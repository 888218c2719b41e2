#!/usr/bin/env bats
# shm.bats: data in shared memory of a client on the same machine (--allow-shm).

bats_require_minimum_version 1.5.0
load helpers

setup() {
    NAME=offload-test-$$-$BATS_TEST_NUMBER
    SOCKET=$BATS_TEST_TMPDIR/socket
    printf hello >"/dev/shm/$NAME"
}

teardown() {
    rm -f "/dev/shm/$NAME"
    stop_daemon
}

serve() {
    start_daemon --allow-shm --listen "unix:$SOCKET" "$@"
}

bytes() { # OP [MEMBERS OF shm] [PARAMETERS]
    echo '{"type":"bytes","params":{"op":"'"$1"'","data":{"shm":{"name":"/'"$NAME"'"'"${2:-}"'}}'"${3:-}"'}}'
}

by_socket() { # [curl options...] BODY
    call_job --unix-socket "$SOCKET" "$@"
}

refused() { # TEXT
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/params/data"'
    [[ $(field .detail) == *"$1"* ]]
}

@test "shared memory is read in place, all of it or a piece" {
    serve
    for case in ':532' ',"offset":1:428' ',"offset":1,"length":3:317' ',"length":0:0' ',"offset":5:0'; do
        by_socket "$(bytes sum "${case%:*}")"
        [ "$CODE" = 200 ]
        [ "$(field .result.sum)" = "${case##*:}" ]
    done
    by_socket -H 'Accept: application/octet-stream' "$(bytes reverse)"
    [ "$(<"$BODY")" = olleh ]
    call_job --unix-socket "$SOCKET" "{\"type\":\"bytes\",\"items\":[{\"data\":{\"shm\":{\"name\":\"/$NAME\"}}},{\"data\":\"AQI=\"}]}"
    holds '[.result.items[].result.sum] == [532, 3]'
}

@test "memory that a program shares by its standard library, larger than an answer" {
    serve
    run python3 - "$SOCKET" <<'PYTHON'
import http.client, json, socket, sys
from multiprocessing import shared_memory

class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])

size = 8 << 20
memory = shared_memory.SharedMemory(create=True, size=size)
try:
    memory.buf[:] = bytes(range(256)) * (size // 256)
    c = Connection("localhost")
    for op, headers in ("sum", {}), ("reverse", {"Accept": "application/octet-stream"}):
        job = {"type": "bytes", "params": {"op": op, "data": {"shm": {"name": "/" + memory.name, "length": size}}}}
        c.request("POST", "/v1/jobs", json.dumps(job), {"Content-Type": "application/json", **headers})
        answer = c.getresponse().read()
        if op == "sum":
            assert json.loads(answer)["result"]["sum"] == sum(range(256)) * (size // 256), answer
        else:
            assert answer == bytes(memory.buf)[::-1]
finally:
    memory.close()
    memory.unlink()
PYTHON
    [ "$status" = 0 ]
}

@test "it is refused over TCP, and unless it is allowed" {
    serve
    call_job "$(bytes sum)"
    refused 'only over a Unix socket'
    stop_daemon
    start_daemon --listen "unix:$SOCKET"
    by_socket "$(bytes sum)"
    refused '--allow-shm'
}

@test "names and pieces that cannot be, and what is no memory" {
    serve
    for name in offload "/" "/.." "/../etc/passwd" "//$NAME" "/$(printf 'x%.0s' {1..300})"; do
        by_socket '{"type":"bytes","params":{"data":{"shm":{"name":"'"$name"'"}}}}'
        refused 'the name of shared memory is a slash'
    done
    rm "/dev/shm/$NAME"
    by_socket "$(bytes sum)"
    refused 'no shared memory of that name'
    mkfifo "/dev/shm/$NAME"
    by_socket "$(bytes sum)"
    refused 'no shared memory of that name'
    rm "/dev/shm/$NAME"
    ln -s /etc/hostname "/dev/shm/$NAME"
    by_socket "$(bytes sum)"
    refused 'no shared memory of that name'
    rm "/dev/shm/$NAME"
    printf hello >"/dev/shm/$NAME"
    for piece in ',"offset":6' ',"length":6' ',"offset":3,"length":3' ',"offset":9223372036854775807,"length":9223372036854775807'; do
        by_socket "$(bytes sum "$piece")"
        refused 'it is shorter'
    done
    for piece in ',"offset":-1' ',"length":"5"' ',"size":5'; do
        by_socket "$(bytes sum "$piece")"
        expect_problem 422 invalid_params
    done
    by_socket "$(bytes sum)"
    [ "$(field .result.sum)" = 532 ]
}

# The daemon is root here, so only who asks decides.
@test "a client cannot have read for it what it may not read, nor written" {
    [ "$(id -u)" = 0 ] || skip "only root can be two clients"
    SOCKET=/tmp/$NAME.sock # nobody cannot reach the directories of the tests
    serve
    chmod 666 "$SOCKET"
    as_nobody() { # BODY
        HEAD=$BATS_TEST_TMPDIR/head BODY=$BATS_TEST_TMPDIR/body
        CODE=$(python3 - "$SOCKET" "$1" "$BODY" <<'PYTHON'
import http.client, os, socket, sys
body = open(sys.argv[3], "wb")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
c = http.client.HTTPConnection("localhost")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect(sys.argv[1])
c.request("POST", "/v1/jobs", sys.argv[2], {"Content-Type": "application/json"})
answer = c.getresponse()
body.write(answer.read())
print(answer.status)
PYTHON
        )
    }
    chmod 600 "/dev/shm/$NAME"
    as_nobody "$(bytes sum)"
    [ "$CODE" = 422 ]
    holds '.detail | contains("no shared memory of that name")'
    chmod 604 "/dev/shm/$NAME"
    as_nobody "$(bytes sum)"
    [ "$CODE" = 200 ]
    as_nobody "$(bytes add)"
    holds '.result == {"in_place": false}'
    [ "$(<"/dev/shm/$NAME")" = hello ]
    chmod 606 "/dev/shm/$NAME"
    as_nobody "$(bytes add)"
    holds '.result == {"in_place": true}'
    [ "$(<"/dev/shm/$NAME")" = ifmmp ]
    chown nobody "/dev/shm/$NAME"
    chmod 044 "/dev/shm/$NAME" # the owner is its owner first
    as_nobody "$(bytes sum)"
    [ "$CODE" = 422 ]
}

@test "a type that works in place changes the memory, if the job is waited for and has no key" {
    serve --data-dir "$BATS_TEST_TMPDIR/data"
    chmod 444 "/dev/shm/$NAME" # root can write to it, but it is not meant to be written to
    by_socket "$(bytes add)"
    holds '.result == {"in_place": false}'
    chmod 600 "/dev/shm/$NAME"
    by_socket -H 'Idempotency-Key: "a"' "$(bytes add)"
    holds '.result == {"in_place": false}'
    [ "$(<"/dev/shm/$NAME")" = hello ]
    by_socket "$(bytes add ',"offset":1,"length":3')"
    holds '.result == {"in_place": true} and .result_size == 3'
    [ "$(<"/dev/shm/$NAME")" = hfmmo ]
    result=$(field .links.result)
    printf world >"/dev/shm/$NAME" # the result is not the memory
    call "$result"
    [ "$(<"$BODY")" = fmm ]
    by_socket -H 'Prefer: respond-async, wait=0' "$(bytes add)"
    [ "$CODE" = 202 ]
    id=$(field .id)
    call -H 'Prefer: wait=30' "/v1/jobs/$id"
    holds '.status == "succeeded" and .result == {"in_place": false}'
    [ "$(<"/dev/shm/$NAME")" = world ]
    call "/v1/jobs/$id/result"
    [ "$(<"$BODY")" = xpsme ]
}

@test "the result of a job is not changed when the client changes its memory" {
    serve
    by_socket "$(bytes echo)"
    result=$(field .links.result)
    printf jelly >"/dev/shm/$NAME"
    call "$result"
    [ "$(<"$BODY")" = hello ]
    rm "/dev/shm/$NAME"
    call "$result"
    [ "$(<"$BODY")" = hello ]
}

@test "memory that is cut off meanwhile costs attempts of its job only" {
    serve --workers 2
    head -c 1000000 /dev/zero >"/dev/shm/$NAME"
    for op in sum echo; do
        truncate -s 1000000 "/dev/shm/$NAME"
        curl -sS --max-time 60 --unix-socket "$SOCKET" -H 'Content-Type: application/json' -o "$BATS_TEST_TMPDIR/answer" \
            -d "$(bytes $op '' ',"hold_ms":1000')" http://localhost/v1/jobs 3>&- &
        pid=$!
        running() { [ "$(curl -sS "$URL/v1/jobs?status=running" | jq '.jobs | length')" = 1 ]; }
        wait_for running
        truncate -s 0 "/dev/shm/$NAME"
        wait $pid
        [ "$(jq -r .code "$BATS_TEST_TMPDIR/answer")" = worker_crashed ]
        id=$(jq -r '.job | if type == "object" then .id else . end' "$BATS_TEST_TMPDIR/answer")
        [ "$(job_field "$id" '[.lost[].signal] | tojson')" = '["SIGBUS","SIGBUS","SIGBUS"]' ]
    done
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$(field .result.value)" = 1 ]
}

@test "a job that is stored has its own copy" {
    serve --data-dir "$BATS_TEST_TMPDIR/data"
    head -c 100000 /dev/zero | tr '\0' '\1' >"/dev/shm/$NAME"
    by_socket -H 'Prefer: respond-async, wait=0' "$(bytes sum '' ',"hold_ms":3000')"
    [ "$CODE" = 202 ]
    id=$(field .id)
    kill -KILL "$DAEMON"
    wait "$DAEMON" || true
    rm "/dev/shm/$NAME"
    serve --data-dir "$BATS_TEST_TMPDIR/data"
    call -H 'Prefer: wait=30' "/v1/jobs/$id"
    holds '.status == "succeeded" and .result.sum == 100000'
}
