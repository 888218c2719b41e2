#!/usr/bin/env bats
# image.bats: the job type "image": what it makes, compared with Pillow by images.py, which says how near that must be;
# what it refuses; and what happens to an image when its job is cancelled or its worker dies.

bats_require_minimum_version 1.5.0
load helpers

# check GROUP...: groups of images.py
check() {
    /usr/bin/python3 tests/http/images.py "$URL" "$*"
}

slow_image() {
    IMAGE=$BATS_TEST_TMPDIR/image.png
    /usr/bin/python3 tests/http/images.py http://none noise "$IMAGE"
    start_daemon --workers 1 "$@"
    WORKER=$(worker)
}

worker() {
    curl -sS "$URL/v1/workers" | jq '.workers[] | select(.lane == "main").pid'
}

# submit_image QUERY: sets ID, and waits until the worker is at it
submit_image() {
    call -X POST -H 'Prefer: respond-async' -T "$IMAGE" "/v1/jobs?type=image&$1"
    [ "$CODE" = 202 ]
    ID=$(field .id)
    wait_for is_running "$ID"
}

@test "filters, thumbnails, and several operations in order" {
    start_daemon
    check filters thumbnails order
}

@test "all formats, in and out; the one that is asked for" {
    start_daemon
    check formats choosing
}

@test "what moves: frames, delays, loops" {
    start_daemon
    check animation
}

@test "orientation, colour profiles, alpha, grey, palettes, 16 bits, one pixel" {
    start_daemon
    check orientation profiles kinds
}

@test "parameters that are wrong, with their pointers" {
    start_daemon
    check parameters
}

@test "files that are cut, lie, or are no images; the log has a line for each job and no more" {
    start_daemon
    check hostile
    [ "$(grep -vc '"event":"job_ended"' "$LOG")" -le 5 ] || { grep -v job_ended "$LOG" >&2; false; }
    ! grep -qE 'VIPS|GLib|worker_lost|"signal"' "$LOG"
}

@test "--max-image-pixels and --max-image-frames: all frames, and after each operation" {
    start_daemon --max-image-pixels 20000 --max-image-frames 5
    check limits
}

@test "four images with four filters in one form are four items" {
    start_daemon --workers 2
    check several
}

@test "a worker that is killed in the middle: the image is made by another one" {
    slow_image
    local blur='{"filter":"blur","sigma":100}' ops
    ops=$(jq -nr --arg ops "[$blur,$blur,$blur]" '$ops | @uri')
    submit_image "ops=$ops"
    kill -STOP "$WORKER" # it cannot end the job meanwhile
    has_status "$ID" running
    kill -KILL "$WORKER"
    [ "$(ended "$ID")" = succeeded ]
    [ "$(job_field "$ID" '.lost | length')" = 1 ]
    [ "$(job_field "$ID" '.lost[0].signal')" = SIGKILL ]
    call "/v1/jobs/$ID/result"
    mv "$BODY" "$BATS_TEST_TMPDIR/result"
    call -H 'Accept: image/*' -X POST -T "$IMAGE" "/v1/jobs?type=image&ops=$ops"
    [ "$CODE" = 200 ]
    cmp "$BODY" "$BATS_TEST_TMPDIR/result"
}

@test "a job that is cancelled in the middle of an image: the worker stops by itself and goes on" {
    slow_image --cancel-grace 30s
    local blur='{"filter":"blur","sigma":100}'
    submit_image "ops=$(jq -nr --arg ops "[{\"filter\":\"rotate\",\"angle\":31},$blur,$blur,$blur]" '$ops | @uri')"
    call -X POST "/v1/jobs/$ID/cancel"
    [ "$(ended "$ID")" = cancelled ]
    head -c 60 "$IMAGE" >"$BATS_TEST_TMPDIR/cut"
    call -X POST -T "$BATS_TEST_TMPDIR/cut" '/v1/jobs?type=image&filter=blur'
    expect_problem 422 invalid_params
    [ "$(worker)" = "$WORKER" ]
}
