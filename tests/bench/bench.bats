#!/usr/bin/env bats
# bench.bats: the benchmarks themselves: which rounds count, what bench/run takes, and the page that is made of its
# figures. Nothing is measured here.

bats_require_minimum_version 1.5.0

@test "a disturbed round is measured again, and the rows say so" {
    python3 tests/bench/measure_test.py
}

@test "bench/peers: right answers, what cannot be had, the order, the ratios, and no process left" {
    python3 tests/bench/peers_test.py

    run bench/peers/run --rounds 0
    [ "$status" = 2 ]
    run bench/peers/run perl
    [ "$status" = 2 ]
    [[ $output == *"go, fastify"* ]]
}

@test "bench/embeddings/run rejects what it does not know, and a folder without a model" {
    run bench/embeddings/run --model "$BATS_TEST_TMPDIR" rapid
    [ "$status" = 2 ]
    [[ $output == *"short, mix, long, two, http"* ]]
    run bench/embeddings/run --model "$BATS_TEST_TMPDIR"
    [ "$status" = 2 ]
    [[ $output == *"is no model"* ]]
}

@test "bench/run lists its rows, and rejects what it does not know" {
    run --separate-stderr bench/run --list
    [ "$status" = 0 ]
    [[ $output == *tiny_rate*where_time_goes* ]]
    [ "$(sort <<<"$output" | uniq -d)" = "" ]

    run bench/run tiny_rat
    [ "$status" = 2 ]
    [[ $output == *"there is no row tiny_rat"* ]]

    run bench/run --rounds 0 tiny_rate
    [ "$status" = 2 ]
    [[ $output == *--rounds* ]]
}

@test "the page has every row, what was not measured, and the drawing" {
    run --separate-stderr bench/page tests/bench/figures.json
    [ "$status" = 0 ]
    [ "$stderr" = "" ]
    [[ $output != *"{{"* ]]
    [[ $output == *"| \`one_row\` | one row | 0.50 | 0.40 … 0.60 | ≥ 0.62 | **missed** | a note |"* ]]
    [[ $output == *"| \`another_row\` | another row | 12.5 ms |  | – |  |  |"* ]]
    [[ $output == *"| \`third_row\` | a third row | skipped |  | ≥ 2 |  | wrk is missing |"* ]]
    text=$(tr '\n' ' ' <<<"$output")
    [[ $text == *"Rounds that were measured again: 1."* ]]
    [[ $text == *"\`one_row\` (in 1 of 2 rounds, up to 9%)"* ]]
    [[ $text != *"known to be busy"* ]]
    # 10 us are as wide as can be, 5 us half of that: 36 columns, all of it the kernel's.
    grep -qx '    bare libmicrohttpd  K\{36\} 5.0' <<<"$output"
    grep -qx '    front end           K\{36\}M\{18\}O\{18\} 10.0' <<<"$output"
    [[ $output == *"| \`recvfrom\` | 1.00 | 2.00 | 0.50 |"* ]]
    [[ $output == *"| http | 2.00 |"* ]]
}

@test "the page without the figures of perf, or of where the time goes, says so" {
    jq '(.rows[] | select(.name == "where_time_goes").figures) |= map_values(del(.libraries?, .rooms?, .system_calls?))' \
        tests/bench/figures.json >"$BATS_TEST_TMPDIR/no-perf.json"
    run --separate-stderr bench/page "$BATS_TEST_TMPDIR/no-perf.json"
    [ "$status" = 0 ]
    [ "$(grep -c 'needs `perf`' <<<"$output")" = 3 ]
    grep -qx '    front end           K\{54\}x\{18\} 10.0' <<<"$output"

    jq 'del(.rows[] | select(.name == "where_time_goes"))' tests/bench/figures.json >"$BATS_TEST_TMPDIR/nowhere.json"
    run --separate-stderr bench/page "$BATS_TEST_TMPDIR/nowhere.json"
    [ "$status" = 0 ]
    [ "$(grep -c 'needs `perf`' <<<"$output")" = 5 ]
}

@test "the page has the peers in one table, if they were measured" {
    run --separate-stderr bench/page tests/bench/figures.json
    [[ $output == *"this page was made without it"* ]]

    jq '.rows |= map(select(.name | test("row$")) | .what = "Go / offloadd, " + .what) | .rows[2].what = "Celery / offloadd, one row"' \
        tests/bench/figures.json >"$BATS_TEST_TMPDIR/peers.json"
    run --separate-stderr bench/page tests/bench/figures.json "$BATS_TEST_TMPDIR/peers.json"
    [ "$status" = 0 ]
    [[ $output == *"| offloadd is 1 | one row | another row |"* ]]
    [[ $output == *"| Go | 0.50 (0.40 … 0.60) | 12.5 (12.5 … 12.5) |"* ]]
    [[ $output == *"| Celery | wrk is missing |  |"* ]]
}

@test "no page is made of anything else" {
    echo '{"rows": []}' >"$BATS_TEST_TMPDIR/other.json"
    run bench/page "$BATS_TEST_TMPDIR/other.json"
    [ "$status" = 1 ]
    [[ $output == *"is not what bench/run writes"* ]]
    run bench/page "$BATS_TEST_TMPDIR/absent.json"
    [ "$status" = 1 ]
    [[ $output == *absent.json* ]]
    run bench/page
    [ "$status" = 2 ]
}
