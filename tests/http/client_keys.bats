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

@test "run with a key that cannot read: a job that goes on is named" {
    # shellcheck disable=SC2030
    run --separate-stderr as submitter run sleep ms=20000
    [[ $status -eq 3 && $stderr == *"the scope "*read* ]]
    id=$(sed -n "s/.*job \([^ ]*\) goes on: 'offload wait .*/\1/p" <<<"$stderr")
    [ "$(as submitter cancel "$id" | jq -r .id)" = "$id" ]
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

@test "over TLS: a key is let in, and so is a certificate that has a line" {
    stop_daemon
    (
        cd "$BATS_TEST_TMPDIR"
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca_key.pem -out ca.pem
        for name in localhost edge stranger; do
            openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
            openssl x509 -req -days 2 -in "$name.csr" -CA ca.pem -CAkey ca_key.pem -CAcreateserial -out "$name.pem" \
                -extfile <(echo "subjectAltName=DNS:$name,IP:127.0.0.1")
        done
    ) 2>/dev/null
    local at=$BATS_TEST_TMPDIR
    echo "edge cert submit,read" >>"$KEYS"
    start_daemon --keys "$KEYS" --tls-cert "$at/localhost.pem" --tls-key "$at/localhost.key" --tls-client-ca "$at/ca.pem"
    export OFFLOAD_URL=https://127.0.0.1:$PORT OFFLOAD_CA=$at/ca.pem
    [ "$(as alice run primes start=0 stop=100)" = '{"count":25}' ]
    [ "$(offload run primes nth=5 --cert "$at/edge.pem" --cert-key "$at/edge.key")" = '{"prime":11}' ]
    run --separate-stderr offload run primes nth=5 --cert "$at/stranger.pem" --cert-key "$at/stranger.key"
    [[ $status -eq 3 && $stderr == *unauthorized* ]]
    run --separate-stderr offload types
    [[ $status -eq 3 && $stderr == *unauthorized* ]]
    offload health
}

@test "neither the log nor an answer has a key" {
    as alice run primes nth=1
    key=$(head -n 1 "$BATS_TEST_TMPDIR/alice")
    call -H "Authorization: Bearer ${key}x" /v1/types
    [ "$CODE" = 401 ]
    ! grep -qF "$key" "$BODY" "$HEAD" "$LOG"
}
