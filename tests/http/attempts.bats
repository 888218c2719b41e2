#!/usr/bin/env bats
# attempts.bats: what kills its worker is tried max_attempts times in all, however often the service is restarted.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    DATA=$BATS_TEST_TMPDIR/data
}

restart() {
    start_daemon --data-dir "$DATA" --retry-delay 400ms --max-retry-delay 400ms
}

lost_with_workers() { # COUNT: so many, or more
    [ "$(job_field "$ID" '[.lost[]? | select(.cause == "signal")] | length')" -ge "$1" ]
}

has_ended() {
    [[ $(job_field "$ID" .status) == @(failed|succeeded) ]]
}

# Kills the service after each loss, until the job has ended; at most 12 times.
restart_until_ended() {
    local kills losses
    for kills in $(seq 12); do
        losses=$(job_field "$ID" '[.lost[]? | select(.cause == "signal")] | length')
        more() { has_ended || lost_with_workers $((losses + 1)); }
        wait_for more
        has_ended && return 0
        kill_daemon
        restart
    done
    has_ended
}

@test "a job of one chunk that kills its worker fails after three losses, with a restart after each" {
    restart
    ID=$(submit '{"type":"crash","params":{"how":"SIGSEGV"}}')
    restart_until_ended
    call "/v1/jobs/$ID"
    holds '.status == "failed" and .error.code == "worker_crashed"'
    holds '[.lost[] | select(.cause == "signal")] | length == 3'
}

@test "items of a map that kill their worker are given up once, with a restart after each loss" {
    restart
    ID=$(submit '{"type":"crash","items":[{"how":"SIGSEGV"},{"how":"SIGSEGV","times":1},{"how":"SIGSEGV"}],"options":{"chunks":1,"max_attempts":2}}')
    restart_until_ended
    call "/v1/jobs/$ID"
    holds '.status == "succeeded"'
    holds '.result.items | map(.status) == ["failed", "succeeded", "failed"]'
    holds '[.lost[] | select(.cause == "signal")] | length <= 5'
}
