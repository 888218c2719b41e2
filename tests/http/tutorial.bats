#!/usr/bin/env bats
# tutorial.bats: the head of handlers/echo.c says how to add a job type. Done to the letter in a copy of the tree, that
# makes a service that has the type.

load helpers

# How $BUILD was built, as arguments for make: build-address-undefined, build-coverage.
variant() {
    local words
    words=$(basename "$BUILD" | sed 's/^build-*//; s/-*coverage$//; s/-*debug$//; s/-/,/g')
    echo "SANITIZE=$words"
    [[ $BUILD != *-coverage ]] || echo COVERAGE=1
    [[ $BUILD != *-debug ]] || echo DEBUG=1
}

# Copies the sources and what was built of them, with their times: only what is new is built again.
copy_tree() {
    local name
    name=$(basename "$BUILD")
    mkdir -p "$1"
    cp -a base pool handlers server cli Makefile CHANGELOG.md openapi.yaml "$1"
    (cd "$BUILD" && find . -path ./tests -prune -o -name '*.[od]' -print0 -o -name 'openapi.json*' -print0 |
        tar -c --null -T -) | { mkdir -p "$1/$name" && tar -x -C "$1/$name"; }
}

@test "a copy of echo.c, as its head says, is a job type" {
    tree=$BATS_TEST_TMPDIR/tree
    copy_tree "$tree"
    sed 's/echo/shout/g; /\.flags/d' handlers/echo.c >"$tree/handlers/shout.c"
    sed 's/^\( *\)HANDLER(primes) *\\$/\1HANDLER(shout) \\\n&/' handlers/host/registry.c \
        >"$tree/handlers/host/registry.c"
    mapfile -t how < <(variant)
    make -C "$tree" "${how[@]}" "$(basename "$BUILD")/offloadd" >"$BATS_TEST_TMPDIR/make.log" 2>&1 ||
        { cat "$BATS_TEST_TMPDIR/make.log"; false; }
    ! grep -q 'CC *base/' "$BATS_TEST_TMPDIR/make.log" # the rest was not built again
    OFFLOADD=$tree/$(basename "$BUILD")/offloadd
    LOG=$BATS_TEST_TMPDIR/daemon.log
    "$OFFLOADD" --listen 127.0.0.1:0 --workers 1 --data-dir none 2>"$LOG" 3>&- & # without --enable-test-types
    DAEMON=$!
    wait_for grep -q '"event":"ready"' "$LOG"
    URL=http://$(sed -n 's/.*"event":"ready".*"listen":\["\([^"]*\)".*/\1/p' "$LOG")
    call_job '{"type":"shout","params":{"value":["it","works"]}}'
    holds '.status == "succeeded" and .result == {value: ["it", "works"]}'
    call_job '{"type":"echo","params":{"value":1}}'
    expect_problem 422 unknown_type
}
