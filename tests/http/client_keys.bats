#!/usr/bin/env bats
# client_keys.bats: the client, made keys and all, against the service with --keys. cli_keys.bats has what needs no
# offloadd.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    KEYS=$BATS_TEST_TMPDIR/keys
    unset OFFLOAD_API_KEY OFFLOAD_CA
    echo "# the keys of this test" >"$KEYS"
    new_key alice
    new_key reader --scopes read
    new_key submitter --scopes submit
    new_key root --scopes admin
    start_daemon --keys "$KEYS"
    export OFFLOAD_URL=$URL
}

offload() {
    timeout 60 "$BUILD/offload" "$@"
}

new_key() { # NAME [OPTIONS]: its key is in the file NAME, and its line in the keys file
    local file=$BATS_TEST_TMPDIR/$1
    (umask 077 && offload keygen "$@" >"$file")
    tail -n 1 "$file" >>"$KEYS"
}

as() { # NAME ARGUMENT...
    offload "${@:2}" --key-file "$BATS_TEST_TMPDIR/$1"
}

id_of() {
    sed -n 's/^{"id": *"\([^"]*\)".*/\1/p'
}

reload() {
    kill -HUP "$DAEMON"
}

@test "a key of keygen is let in, from a file or from the environment" {
    [ "$(as alice run primes start=0 stop=100)" = '{"count":25}' ]
    OFFLOAD_API_KEY=$(head -n 1 "$BATS_TEST_TMPDIR/alice") offload types primes
    seq 3 | sed 's/.*/{"nth": &}/' | as alice map primes >"$BATS_TEST_TMPDIR/out"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/out")" -eq 3 ]
}

@test "no key and a wrong key: 401, and what to do" {
    run --separate-stderr offload run primes nth=1
    [[ $status -eq 3 && $stderr == *unauthorized*"we have sent no key"* ]]
    OFFLOAD_API_KEY=$(offload keygen stranger | head -n 1)
    export OFFLOAD_API_KEY
    run --separate-stderr offload run primes nth=1
    [[ $status -eq 3 && $stderr == *unauthorized*"it does not know our key"* && $stderr != *"$OFFLOAD_API_KEY"* ]]
}

@test "a scope that is missing: 403" {
    run --separate-stderr as reader run primes nth=1
    [[ $status -eq 3 && $stderr == *forbidden*"does not have the scope"* ]]
    as reader types primes
    run --separate-stderr as submitter ls
    [[ $status -eq 3 && $stderr == *forbidden* ]]
}

@test "health needs no key" {
    offload health
    offload health --ready
}

@test "a job is there for its own key and for admin, and for nobody else" {
    id=$(as alice submit sleep ms=60000 | id_of)
    [ -n "$id" ]
    run --separate-stderr as reader get "$id"
    [[ $status -eq 3 && $stderr == *not_found* ]]
    run --separate-stderr as reader ls
    [[ $status -eq 0 && -z $output ]]
    as root ls | grep -q "$id"
    as alice ls | grep -q "$id"
    as root cancel "$id"
}

@test "a key is replaced without a pause: two lines of one name, then one" {
    cp "$BATS_TEST_TMPDIR/alice" "$BATS_TEST_TMPDIR/old"
    id=$(as old submit primes nth=5 | id_of)
    new_key alice
    reload
    wait_for as alice get "$id"
    as old get "$id"
    grep -v "$(tail -n 1 "$BATS_TEST_TMPDIR/old" | cut -d' ' -f2)" "$KEYS" >"$KEYS.new"
    mv "$KEYS.new" "$KEYS"
    reload
    refused() { ! as old get "$id"; }
    wait_for refused
    as alice get "$id"
}

@test "a quota: the client waits for it, or says how long that would take" {
    new_key hasty --rate 1/h
    reload
    wait_for as hasty types primes
    run --separate-stderr as hasty types primes
    [[ $status -eq 3 && $stderr == *over_quota*"there is more of it in "* ]]
}

@test "neither the log nor an answer has a key" {
    as alice run primes nth=1
    key=$(head -n 1 "$BATS_TEST_TMPDIR/alice")
    call -H "Authorization: Bearer ${key}x" /v1/types
    [ "$CODE" = 401 ]
    ! grep -qF "$key" "$BODY" "$HEAD" "$LOG"
}
