#!/usr/bin/env bats
# cli_keys.bats: keys on the client's side: how they are made, where they come from and where they never go, and TLS. The
# service is keyed.py. client_keys.bats has the same against offloadd.

bats_require_minimum_version 1.5.0
load helpers

FOLDER=$BATS_FILE_TMPDIR

setup_file() {
    make_authority "$BATS_FILE_TMPDIR" authority
    make_certificate "$BATS_FILE_TMPDIR" cert key subjectAltName=DNS:localhost,IP:127.0.0.1 localhost
    make_certificate "$BATS_FILE_TMPDIR" client client_key extendedKeyUsage=clientAuth alice
}

setup() {
    REQUESTS=$BATS_TEST_TMPDIR/requests
    : >"$REQUESTS"
    unset OFFLOAD_API_KEY OFFLOAD_CA OFFLOAD_URL
}

teardown() {
    [ -n "${SERVICE:-}" ] || return 0
    kill "$SERVICE"
    wait "$SERVICE" || true
}

make_authority() { # FOLDER NAME
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$2" -keyout "$1/$2_key.pem" -out "$1/$2.pem" \
        -addext basicConstraints=critical,CA:TRUE 2>/dev/null
}

make_certificate() { # FOLDER NAME KEY-NAME EXTENSION COMMON-NAME: signed by the authority
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$5" -keyout "$1/$3.pem" -out "$1/$2.csr" 2>/dev/null
    openssl x509 -req -days 2 -in "$1/$2.csr" -CA "$1/authority.pem" -CAkey "$1/authority_key.pem" -CAcreateserial \
        -extfile <(echo "$4") -out "$1/$2.pem" 2>/dev/null
}

# Starts keyed.py. Sets URL; with TLS it is reached as TLS_URL or NAMED_URL.
start_keyed() {
    local ports=$BATS_TEST_TMPDIR/ports port
    python3 "$BATS_TEST_DIRNAME/keyed.py" "$REQUESTS" "$@" >"$ports" 3>&- &
    SERVICE=$!
    wait_for test -s "$ports"
    read -r port <"$ports"
    URL=http://127.0.0.1:$port
    TLS_URL=https://127.0.0.1:$port
    NAMED_URL=https://localhost:$port
}

offload() {
    timeout 60 "$BUILD/offload" "$@"
}

asked() { # JQ: true of all requests together
    jq -es "$1" "$REQUESTS" >/dev/null || { cat "$REQUESTS" >&2; false; }
}

key_file() { # TEXT: a file of its own; its path is in FILE
    FILE=$BATS_TEST_TMPDIR/key-$RANDOM
    (umask 077 && printf '%s' "$1" >"$FILE")
}

# ---- keygen ----

@test "keygen prints a key, and its line for the keys file" {
    run --separate-stderr offload keygen alice
    [ "$status" -eq 0 ]
    [ -z "$stderr" ]
    [ "${#lines[@]}" -eq 2 ]
    [[ ${lines[0]} =~ ^offload_[A-Za-z0-9_-]{43}$ ]]
    [ "${lines[1]}" = "alice sha256:$(printf %s "${lines[0]}" | sha256sum | cut -d' ' -f1) submit,read" ]
}

@test "keygen: the key is 32 bytes in base64url" {
    for _ in 1 2 3 4 5 6 7 8; do
        key=$(offload keygen a | head -n 1)
        text=$(tr -- -_ +/ <<<"${key#offload_}")
        [ "$(base64 -d <<<"$text=" | wc -c)" -eq 32 ]
        [ "$(base64 -d <<<"$text=" | base64)" = "$text=" ]
    done
}

@test "keygen never makes a key twice" {
    for _ in $(seq 50); do offload keygen a; done | sort | uniq -d >"$BATS_TEST_TMPDIR/twice"
    [ ! -s "$BATS_TEST_TMPDIR/twice" ]
}

@test "keygen: scopes and quotas go into the line" {
    run --separate-stderr offload keygen build.farm_2 --scopes admin,submit,submit --weight 100 --bytes 5GiB/h \
        --jobs 20 --cpu 3600/h --rate 50/s
    [ "$status" -eq 0 ]
    [[ ${lines[1]} =~ ^build.farm_2\ sha256:[0-9a-f]{64}\ submit,admin\ jobs=20\ rate=50/s\ cpu=3600/h\ bytes=5GiB/h\ weight=100$ ]]
    run --separate-stderr offload keygen a --scopes read --bytes 1000/m --rate 1/m
    [[ ${lines[1]} == *" read rate=1/m bytes=1000/m" ]]
}

@test "keygen: what the service would not take is one line that names it" {
    long=$(printf 'a%.0s' $(seq 65))
    for wrong in "a b" "a/b" "ä" "$long" "#a"; do
        run --separate-stderr offload keygen "$wrong"
        [ "$status" -eq 2 ]
        [ -z "$output" ]
        [[ $stderr == "offload: keygen: "* && $(wc -l <<<"$stderr") -eq 1 ]]
    done
    while read -r option value; do
        run --separate-stderr offload keygen a "--$option" "$value"
        [ "$status" -eq 2 ]
        [ -z "$output" ]
        [[ $stderr == "offload: --$option takes "*"'$value'" && $(wc -l <<<"$stderr") -eq 1 ]]
    done <<-W
	scopes write
	scopes submit,
	scopes Read
	scopes submit;read
	jobs 0
	jobs 1000000001
	jobs -1
	jobs many
	rate 5
	rate 0/s
	rate 5/d
	rate 5/ss
	rate 1KiB/s
	rate 1.5/s
	rate 1000000000000001/s
	rate 99999999999999999999999/s
	cpu 1h
	cpu -5/h
	bytes 1GB/h
	bytes GiB/h
	bytes 1000TiB/h
	bytes 5GiB
	weight 0
	weight 101
	W
    run --separate-stderr offload keygen
    [ "$status" -eq 2 ]
    run --separate-stderr offload keygen a b
    [ "$status" -eq 2 ]
}

@test "keygen takes no option of the service, and none of its own is for others" {
    key_file x
    for option in --url --key-file --ca --cert --cert-key; do
        run --separate-stderr offload keygen a "$option" "$FILE"
        [ "$status" -eq 2 ]
        [[ $stderr == "offload: keygen has no option $option" ]]
    done
    run --separate-stderr offload types --scopes read
    [[ $status -eq 2 && $stderr == "offload: types has no option --scopes" ]]
}

@test "keygen needs no service, and does not mind what else is in the environment" {
    export OFFLOAD_URL=nonsense OFFLOAD_CA=/nowhere OFFLOAD_API_KEY='no key'
    run --separate-stderr offload keygen a
    [ "$status" -eq 0 ]
    [ -z "$stderr" ]
}

@test "keygen: on a terminal it says what the lines are for" {
    run script -qec "'$BUILD/offload' keygen a" /dev/null </dev/null
    [ "$status" -eq 0 ]
    [[ $output == *"shown this once"*"--keys"* ]]
    run script -qec "'$BUILD/offload' keygen a 2>/dev/null" /dev/null </dev/null
    [[ $output != *"shown this once"* ]]
}

@test "keygen: a full disk is an error" {
    run --separate-stderr bash -c "'$BUILD/offload' keygen a >/dev/full"
    [ "$status" -eq 4 ]
}

# ---- where the key comes from ----

@test "the key comes from OFFLOAD_API_KEY, or from the first line of --key-file, which wins" {
    start_keyed
    OFFLOAD_API_KEY=good offload types --url "$URL"
    key_file $'good \r\nthe line for the keys file\n'
    offload types --url "$URL" --key-file "$FILE"
    OFFLOAD_API_KEY=wrong offload types --url "$URL" --key-file "$FILE"
    offload types --url "$URL" --key-file <(printf good)
    offload keygen me >"$BATS_TEST_TMPDIR/both"
    chmod 600 "$BATS_TEST_TMPDIR/both"
    run offload types --url "$URL" --key-file "$BATS_TEST_TMPDIR/both"
    asked '[.[].headers.authorization] | .[:4] == ["Bearer good", "Bearer good", "Bearer good", "Bearer good"]'
    asked "last.headers.authorization == \"Bearer $(head -n 1 "$BATS_TEST_TMPDIR/both")\""
}

@test "without a key none is sent, and an empty variable is as if unset" {
    start_keyed
    run --separate-stderr offload types --url "$URL"
    [ "$status" -eq 3 ]
    export OFFLOAD_API_KEY=
    run --separate-stderr offload types --url "$URL"
    [ "$status" -eq 3 ]
    asked 'length == 2 and all(.[]; .headers | has("authorization") | not)'
}

@test "what is no key is told without being shown, and nothing is sent" {
    start_keyed
    for secret in 'se cret' $'se\tcret' 'sécret' "$(printf 'x%.0s' $(seq 5000))"; do
        export OFFLOAD_API_KEY=$secret
        run --separate-stderr offload types --url "$URL"
        [ "$status" -eq 2 ]
        [[ $stderr == "offload: OFFLOAD_API_KEY is no key"* && $stderr != *cret* && $stderr != *xxx* ]]
        unset OFFLOAD_API_KEY
        key_file "$secret"
        run --separate-stderr offload types --url "$URL" --key-file "$FILE"
        [ "$status" -eq 2 ]
        [[ $stderr == "offload: --key-file $FILE: its first line is no key"* && $stderr != *cret* && $stderr != *xxx* ]]
    done
    key_file $'\ngood\n'
    run --separate-stderr offload types --url "$URL" --key-file "$FILE"
    [ "$status" -eq 2 ]
    asked 'length == 0'
}

@test "a file that cannot be read is named, with its option" {
    for option in --key-file --ca --cert; do
        run --separate-stderr offload types "$option" "$BATS_TEST_TMPDIR/none"
        [ "$status" -eq 2 ]
        [[ $stderr == "offload: $option $BATS_TEST_TMPDIR/none: No such file or directory" ]]
    done
    run --separate-stderr offload types --key-file "$BATS_TEST_TMPDIR"
    [[ $status -eq 2 && $stderr == *"Is a directory" ]]
    OFFLOAD_CA=/nowhere run --separate-stderr offload types
    [[ $status -eq 2 && $stderr == "offload: OFFLOAD_CA /nowhere: "* ]]
    run --separate-stderr offload types --cert-key "$BATS_TEST_TMPDIR/none"
    [[ $status -eq 2 && $stderr == *"--cert-key is the private key of --cert"* ]]
}

@test "a key file that everybody can read is told, and used" {
    start_keyed
    key_file good
    run --separate-stderr offload types --url "$URL" --key-file "$FILE"
    [[ $status -eq 0 && -z $stderr ]]
    chmod 640 "$FILE"
    run --separate-stderr offload types --url "$URL" --key-file "$FILE"
    [[ $status -eq 0 && -z $stderr ]]
    chmod 644 "$FILE"
    run --separate-stderr offload types --url "$URL" --key-file "$FILE"
    [ "$status" -eq 0 ]
    [[ $stderr == "offload: warning: every user can read the key in $FILE"* ]]
}

# ---- where it never goes ----

@test "the key is sent to no other server" {
    start_keyed
    export OFFLOAD_API_KEY=moved
    run --separate-stderr offload types --url "$URL"
    [ "$status" -eq 4 ]
    [[ $stderr == *"is not an offload service"* && $stderr != *moved* ]]
    asked 'length == 1 and .[0].headers.authorization == "Bearer moved"'
}

@test "a program that check-program starts does not get the key" {
    cat >"$BATS_TEST_TMPDIR/program" <<-'P'
	#!/bin/sh
	env
	tr '\0' '\n' </proc/$PPID/environ
	P
    chmod +x "$BATS_TEST_TMPDIR/program"
    OFFLOAD_API_KEY=sesame HIS_OWN=there run --separate-stderr offload check-program "$BATS_TEST_TMPDIR/program"
    [ "$status" -eq 1 ]
    [[ $stderr == *HIS_OWN=there* ]]
    [[ $output$stderr != *sesame* ]]
}

@test "an API key in --key, which is the Idempotency-Key, is sent to nobody" {
    start_keyed
    key=$(offload keygen a | head -n 1)
    run --separate-stderr offload run primes nth=1 --url "$URL" --key "$key"
    [ "$status" -eq 2 ]
    [[ $stderr == *"--key is the Idempotency-Key; an API key goes into"* && $stderr != *"$key"* ]]
    asked 'length == 0'
}

@test "no argument has the key while the client waits" {
    start_keyed
    key_file busy
    offload types --url "$URL" --key-file "$FILE" &
    client=$!
    wait_for test -s "$REQUESTS"
    ! grep -aqs 'Bearer\|busy' /proc/"$client"/cmdline /proc/"$client"/environ
    wait "$client"
}

# ---- the answers ----

@test "no key, a wrong key, a scope that it lacks: what to do" {
    start_keyed
    run --separate-stderr offload types --url "$URL"
    [[ $status -eq 3 && $stderr == *"401: unauthorized: a key is needed"*"we have sent no key: --key-file FILE or OFFLOAD_API_KEY"* ]]
    OFFLOAD_API_KEY=sesame run --separate-stderr offload types --url "$URL"
    [[ $status -eq 3 && $stderr == *"401: unauthorized"*"it does not know our key"*SIGHUP* && $stderr != *sesame* ]]
    OFFLOAD_API_KEY=forbidden run --separate-stderr offload types --url "$URL"
    [[ $status -eq 3 && $stderr == *"403: forbidden: the scope submit is needed"*"does not have the scope"* ]]
    asked 'length == 3'
}

@test "a quota that is used up: it waits if that helps soon, else it says how long it takes" {
    start_keyed
    OFFLOAD_API_KEY=busy run --separate-stderr offload types --url "$URL"
    [[ $status -eq 0 && $stderr == *"over_quota; trying again in 1 s"* ]]
    OFFLOAD_API_KEY=spent run --separate-stderr offload types --url "$URL"
    [[ $status -eq 3 && $stderr == *"429: over_quota"*"there is more of it in 4000 s"* ]]
    asked 'length == 3'
}

# ---- TLS ----

@test "https: --ca and OFFLOAD_CA name the authority; without one the service is not trusted, and gets no key" {
    start_keyed --tls "$FOLDER"
    export OFFLOAD_API_KEY=good
    run --separate-stderr offload types --url "$TLS_URL" --ca "$FOLDER/authority.pem"
    [[ $status -eq 0 && -z $stderr ]]
    OFFLOAD_CA=$FOLDER/authority.pem offload types --url "$NAMED_URL"
    OFFLOAD_CA=/nowhere offload types --url "$NAMED_URL" --ca "$FOLDER/authority.pem"
    asked 'length == 3 and all(.[]; .headers.authorization == "Bearer good")'
    run --separate-stderr offload types --url "$TLS_URL"
    [[ $status -eq 4 && $stderr == *"--ca FILE or OFFLOAD_CA names the authority"* ]]
    run --separate-stderr offload types --url "$TLS_URL" --ca "$FOLDER/key.pem" # which has no certificate
    [ "$status" -eq 4 ]
    asked 'length == 3'
}

@test "https: an authority that --ca does not name is not trusted" {
    start_keyed --tls "$FOLDER"
    make_authority "$BATS_TEST_TMPDIR" other
    run --separate-stderr offload types --url "$TLS_URL" --ca "$BATS_TEST_TMPDIR/other.pem"
    [ "$status" -eq 4 ]
    asked 'length == 0'
}

@test "https: a certificate for another name is not trusted, and not asked again" {
    mkdir "$BATS_TEST_TMPDIR/strange"
    cp "$FOLDER"/authority* "$BATS_TEST_TMPDIR/strange"
    make_certificate "$BATS_TEST_TMPDIR/strange" cert key subjectAltName=DNS:elsewhere.example elsewhere.example
    start_keyed --tls "$BATS_TEST_TMPDIR/strange"
    OFFLOAD_API_KEY=good run --separate-stderr offload run primes nth=1 --url "$TLS_URL" --ca "$FOLDER/authority.pem"
    [[ $status -eq 4 && $stderr != *"trying again"* ]]
    asked 'length == 0'
}

@test "https: --cert is our own certificate, with its key in the same file or in --cert-key" {
    start_keyed --tls "$FOLDER" --client-ca "$FOLDER/authority.pem"
    export OFFLOAD_API_KEY=good OFFLOAD_CA=$FOLDER/authority.pem
    offload types --url "$TLS_URL" --cert "$FOLDER/client.pem" --cert-key "$FOLDER/client_key.pem"
    cat "$FOLDER/client.pem" "$FOLDER/client_key.pem" >"$BATS_TEST_TMPDIR/both.pem"
    offload types --url "$TLS_URL" --cert "$BATS_TEST_TMPDIR/both.pem"
    asked 'length == 2 and all(.[]; .client == "alice")'
    run --separate-stderr offload types --url "$TLS_URL"
    [ "$status" -eq 4 ]
    run --separate-stderr offload types --url "$TLS_URL" --cert "$FOLDER/client.pem" # without its key
    [ "$status" -eq 4 ]
    asked 'length == 2'
}
