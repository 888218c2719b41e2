#!/usr/bin/env bats
# copies.bats: data are written once, when they come, and leave by sendfile(2). The kernel counts for each process what it
# has written (/proc/PID/io), and how much memory it has had at most (VmHWM in /proc/PID/status).

bats_require_minimum_version 1.5.0
load helpers

MIB=$((1024 * 1024))
SIZE=$((32 * MIB))

setup() {
    head -c "$SIZE" /dev/urandom >"$BATS_TEST_TMPDIR/data"
    start_daemon --workers 1 "$@"
    WORKER=$(curl -sS "$URL/v1/workers" | jq '.workers[] | select(.lane == "main").pid')
    EXPRESS=$(curl -sS "$URL/v1/workers" | jq '.workers[] | select(.lane == "express").pid')
    curl -sS -X POST -T /dev/null "$URL/v1/jobs?type=bytes" >/dev/null # what is done only once is done
}

written() { # PID: bytes, so far
    sed -n 's/^wchar: //p' "/proc/$1/io"
}

most() { # PID: bytes of memory, at most so far
    echo $(($(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$1/status") * 1024))
}

note() { # what all of them have written and had
    local pid
    for pid in "$DAEMON" "$WORKER" "$EXPRESS"; do
        echo "$(written "$pid") $(most "$pid")"
    done
}

# grew FIELD LINE: since the last note; FIELD 1: written, 2: memory; LINE 1: the front end, 2: the worker, 3: the express worker
grew() {
    local before after
    before=$(sed -n "$2p" <<<"$BEFORE" | cut -d' ' -f"$1")
    after=$(sed -n "$2p" <<<"$AFTER" | cut -d' ' -f"$1")
    echo $((after - before))
}

assert_between() { # LEAST MOST VALUE WHAT
    [ "$3" -ge "$1" ] && [ "$3" -le "$2" ] && return 0
    echo "$4: $3 is not from $1 to $2" >&2
    return 1
}

upload() { # QUERY [curl options...]
    BEFORE=$(note)
    call -X POST -T "$BATS_TEST_TMPDIR/data" "${@:2}" "/v1/jobs?type=bytes&$1"
    AFTER=$(note)
}

workers_write_nothing() {
    assert_between 0 "$MIB" "$(grew 1 2)" 'written by the worker'
    assert_between 0 "$MIB" "$(grew 1 3)" 'written by the express worker'
}

@test "an upload is written once, and read where it was written" {
    upload 'op=sum&options.chunks=4'
    [ "$CODE" = 200 ]
    assert_between "$SIZE" $((SIZE + MIB)) "$(grew 1 1)" 'written by the front end'
    workers_write_nothing
    assert_between 0 $((SIZE / 4)) "$(grew 2 1)" 'memory of the front end'
    assert_between 0 $((SIZE + SIZE / 4)) "$(grew 2 2)" 'memory of the worker'
}

@test "data that are changed in place are not copied, and leave as they are" {
    upload 'op=add'
    [ "$CODE" = 200 ]
    holds .result.in_place
    assert_between "$SIZE" $((SIZE + MIB)) "$(grew 1 1)" 'written by the front end'
    workers_write_nothing
    assert_between 0 $((SIZE + SIZE / 4)) "$(grew 2 2)" 'memory of the worker'
    BEFORE=$(note)
    curl -sS "$URL$(field .links.result)" -o "$BATS_TEST_TMPDIR/out"
    AFTER=$(note)
    assert_between "$SIZE" $((SIZE + MIB)) "$(grew 1 1)" 'sent by the front end' # sendfile counts as written
    workers_write_nothing
    assert_between 0 $((SIZE / 4)) "$(grew 2 1)" 'memory of the front end'
    [ "$(stat -c %s "$BATS_TEST_TMPDIR/out")" = "$SIZE" ]
}

@test "the result of a job is the data of the next, without a copy" {
    upload 'op=echo'
    id=$(field .id)
    BEFORE=$(note)
    call_job '{"type":"bytes","params":{"op":"echo","data":{"job":"'"$id"'"}}}'
    AFTER=$(note)
    [ "$CODE" = 200 ]
    holds '.result_size == $size' --argjson size "$SIZE"
    assert_between 0 "$MIB" "$(grew 1 1)" 'written by the front end'
    workers_write_nothing
    assert_between 0 $((SIZE / 4)) "$(grew 2 2)" 'memory of the worker'
}

@test "the data of a 202 are written once, into the file that the store keeps" {
    upload 'op=sum&options.delay_ms=60000' -H 'Prefer: respond-async'
    [ "$CODE" = 202 ]
    # The store's own writes are in it: its database and its journal.
    assert_between "$SIZE" $((SIZE + 4 * MIB)) "$(grew 1 1)" 'written by the front end'
    assert_between 0 $((SIZE / 4)) "$(grew 2 1)" 'memory of the front end'
    [ "$(find "${LOG%.log}.data/files" -type f -size "${SIZE}c" | wc -l)" = 1 ]
    find "${LOG%.log}.data/files" -type f -size "${SIZE}c" -exec cmp "$BATS_TEST_TMPDIR/data" {} \;
}
