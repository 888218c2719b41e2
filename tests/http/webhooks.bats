#!/usr/bin/env bats
# webhooks.bats: the end of a job is sent to the URL that the job names: signed, again after a failure or a restart,
# and only to where it is allowed to go. receiver.py is the receiver; it writes a line of JSON into $RECEIVED for each
# webhook.

bats_require_minimum_version 1.5.0
load helpers

NEW=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
OLD=whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX

setup() {
    RECEIVED=$BATS_TEST_TMPDIR/received
    SECRETS=$BATS_TEST_TMPDIR/secrets
    : >"$RECEIVED"
    printf '# new\n%s\n\n# old\n%s\n' $NEW $OLD >"$SECRETS"
    mkfifo "$BATS_TEST_TMPDIR/stdin"
    exec 9<>"$BATS_TEST_TMPDIR/stdin"
    python3 "$BATS_TEST_DIRNAME/receiver.py" "$RECEIVED" <&9 >"$BATS_TEST_TMPDIR/port" 3>&- 9>&- &
    RECEIVER=$!
    exec 9>&- # the receiver has it
    wait_for test -s "$BATS_TEST_TMPDIR/port"
    HOOK=http://127.0.0.1:$(cat "$BATS_TEST_TMPDIR/port")
}

teardown() {
    stop_daemon
    kill "$RECEIVER" 2>/dev/null || true
    wait "$RECEIVER" || true
    check_log
}

start_sender() { # OPTIONS...
    start_daemon --webhook-allow 127.0.0.1 --webhook-secret-file "$SECRETS" --webhook-retry 50ms "$@"
}

kill_daemon() {
    kill -KILL "$DAEMON"
    wait_daemon
    [ "$DAEMON_STATUS" = 137 ]
}

# Submits a job whose webhook goes to that path of the receiver.
submit_hooked() { # PATH [TYPE-AND-PARAMS [OPTIONS]]
    local job='"type":"echo","params":{"value":[1,"ä"]}'
    submit '{'"${2:-$job}"',"options":{'"${3:+$3,}"'"webhook":"'"$HOOK$1"'"}}'
}

arrived() { # COUNT
    [ "$(wc -l <"$RECEIVED")" -ge "$1" ]
}

# True of the received webhooks, as an array in which the bodies are parsed.
received_holds() { # JQ [jq options...]
    jq -es "${@:2}" '[.[] | .body |= fromjson] | '"$1" "$RECEIVED" >/dev/null && return 0
    echo "not true: $1" >&2
    cat "$RECEIVED" >&2
    return 1
}

# Each webhook is signed with exactly these secrets, in that order, and its timestamp is about now.
signed_by() { # SECRET...
    python3 - "$RECEIVED" "$@" <<'END'
import base64, hashlib, hmac, json, sys, time
lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines
for line in lines:
    h = line["headers"]
    signed = f'{h["webhook-id"]}.{h["webhook-timestamp"]}.{line["body"]}'.encode()
    wanted = ["v1," + base64.b64encode(hmac.new(base64.b64decode(s.removeprefix("whsec_")), signed, hashlib.sha256).digest()).decode()
              for s in sys.argv[2:]]
    assert h["webhook-signature"].split(" ") == wanted, (h["webhook-signature"], wanted)
    assert abs(int(h["webhook-timestamp"]) - time.time()) < 300
END
}

metric_is() { # SERIES VALUE
    curl -sS --max-time 60 "$URL/metrics" | grep -Fx "$1 $2" >/dev/null
}

@test "job.succeeded: the Job as it is, signed with every secret" {
    start_sender
    id=$(submit_hooked /200)
    wait_for arrived 1
    call "/v1/jobs/$id"
    # shellcheck disable=SC2016
    received_holds 'length == 1 and .[0].body == {type: "job.succeeded", timestamp: $job[0].finished_at, data: $job[0]}' \
        --slurpfile job "$BODY"
    # shellcheck disable=SC2016
    received_holds '.[0] | .method == "POST" and .body.data.result == {value: [1, "ä"]} and
        .headers["webhook-id"] == "msg_" + $id and .headers["content-type"] == "application/json"' --arg id "$id"
    signed_by $NEW $OLD
    wait_for metric_is 'offload_webhooks_total{outcome="delivered"}' 1
    metric_is offload_webhooks_pending 0
}

@test "the webhook of a synchronous job is sent, too" {
    start_sender
    call_job '{"type":"echo","params":{"value":1},"options":{"webhook":"'"$HOOK"'/200"}}'
    [ "$CODE" = 200 ]
    wait_for arrived 1
    # shellcheck disable=SC2016
    received_holds '.[0].body.data.id == $id' --arg id "$(field .id)"
}

@test "job.failed has the error" {
    start_sender
    submit_hooked /200 '"type":"crash","params":{"how":"exit"}' '"max_attempts":1'
    wait_for arrived 1
    received_holds 'length == 1 and (.[0].body | .type == "job.failed" and .data.status == "failed" and
        .data.error.code == "worker_crashed" and (.data | has("result") | not))'
    signed_by $NEW $OLD
}

@test "job.cancelled" {
    start_sender
    id=$(submit_hooked /200 '"type":"sleep","params":{"ms":600000}')
    wait_for is_running "$id"
    call -X POST "/v1/jobs/$id/cancel"
    [ "$CODE" = 200 ]
    wait_for arrived 1
    received_holds 'length == 1 and (.[0].body | .type == "job.cancelled" and .data.status == "cancelled")'
}

@test "a result too large for the Job is behind its link" {
    start_sender --max-body 2MiB
    printf '{"type":"echo","params":{"value":"%s"},"options":{"webhook":"%s/200"}}' \
        "$(head -c 400000 /dev/zero | tr '\0' x)" "$HOOK" >"$BATS_TEST_TMPDIR/large"
    id=$(submit "@$BATS_TEST_TMPDIR/large")
    wait_for arrived 1
    # shellcheck disable=SC2016
    received_holds '.[0].body.data | (has("result") | not) and .links.result == "/v1/jobs/" + $id + "/result"' --arg id "$id"
}

@test "the webhook has the traceparent of its job" {
    trace=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    start_sender
    submit -H "traceparent: $trace" '{"type":"echo","params":{"value":1},"options":{"webhook":"'"$HOOK"'/200"}}'
    wait_for arrived 1
    received_holds '.[0].headers.traceparent | startswith("00-0af7651916cd43dd8448eb211c80319c-")'
    received_holds '.[0].headers | has("tracestate") | not'
    submit -H "traceparent: $trace" -H 'tracestate: a=1' -H 'tracestate: b=2 3' \
        '{"type":"echo","params":{"value":1},"options":{"webhook":"'"$HOOK"'/200"}}'
    wait_for arrived 2
    received_holds '.[1].headers.tracestate == "a=1,b=2 3"'
}

@test "the trace with its tracestate survives a restart" {
    trace=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    submit -H "traceparent: $trace" -H 'tracestate: a=1,b=2' \
        '{"type":"echo","params":{"value":1},"options":{"delay_ms":1500,"webhook":"'"$HOOK"'/200"}}'
    kill_daemon
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    wait_for arrived 1
    received_holds '.[0].headers | .traceparent == $trace and .tracestate == "a=1,b=2"' --arg trace "$trace"
}

@test "without secrets a webhook is not signed" {
    start_daemon --webhook-allow 127.0.0.1
    submit_hooked /200
    wait_for arrived 1
    received_holds '.[0].headers | has("webhook-id") and has("webhook-timestamp") and (has("webhook-signature") | not)'
}

@test "a job without a webhook, and a rejected job, send nothing" {
    start_sender
    call_job '{"type":"echo","params":{"value":1}}'
    [ "$CODE" = 200 ]
    call_job '{"type":"echo","params":{"what":1},"options":{"webhook":"'"$HOOK"'/200/refused"}}'
    [ "$CODE" = 422 ]
    submit_hooked /200/last
    wait_for arrived 1
    received_holds 'length == 1 and .[0].path == "/200/last"'
}

@test "after a failure the webhook is sent again: same id, same body, new signature" {
    start_sender
    submit_hooked /500,302,200
    wait_for arrived 3
    received_holds 'length == 3 and ([.[].path] | unique == ["/500,302,200"]) and
        ([.[].headers["webhook-id"]] | unique | length == 1) and ([.[].body] | unique | length == 1)'
    signed_by $NEW $OLD
    wait_for metric_is 'offload_webhooks_total{outcome="delivered"}' 1
    metric_is 'offload_webhooks_total{outcome="failed"}' 2
}

@test "410 ends the delivery" {
    start_sender
    submit_hooked /410
    wait_for metric_is 'offload_webhooks_total{outcome="gave_up"}' 1
    metric_is offload_webhooks_pending 0
    grep -q '"event":"webhook_gave_up"' "$LOG"
    received_holds 'length == 1'
}

@test "the log has the host, but not the query, which can be secret" {
    start_sender
    id=$(submit_hooked '/200/x?token=hush')
    wait_for grep -q '"event":"webhook_delivered"' "$LOG"
    grep '"event":"webhook_delivered"' "$LOG" | jq -e '.job == $id and .status == 200 and .attempt == 1 and .host == "127.0.0.1"' --arg id "$id"
    ! grep -q hush "$LOG"
}

# ---- where it can go -------------------------------------------------------------------------------------------------

@test "a URL that is not allowed: 422 at /options/webhook" {
    start_daemon
    for url in "$HOOK/200" https://127.0.0.1/ https://10.1.2.3/ 'https://[::1]/' 'https://[::ffff:127.0.0.1]/' https://2130706433/ \
        https://169.254.169.254/latest/meta-data http://example.com/ ftp://example.com/ example.com/hook https:// '' \
        https://user:pass@example.com/ 'https://example.com/a b' "https://example.com/$(head -c 2048 /dev/zero | tr '\0' x)"; do
        call_job '{"type":"echo","params":{"value":1},"options":{"webhook":"'"$url"'"}}'
        expect_problem 422 invalid_params
        holds '.errors | length == 1 and .[0].pointer == "/options/webhook" and (.[0].detail | length > 10)'
    done
    call_job '{"type":"echo","params":{"value":1},"options":{"webhook":7}}'
    expect_problem 422 invalid_params
    holds '.errors[0].pointer == "/options/webhook"'
    call_job '{"type":"echo","params":{"value":1},"options":{"webhook":"https://localhost:1/"}}'
    [ "$CODE" = 200 ]
}

@test "a name that resolves to loopback is rejected when the connection is made" {
    start_daemon --webhook-secret-file "$SECRETS"
    submit '{"type":"echo","params":{"value":1},"options":{"webhook":"https://localhost:'"${HOOK##*:}"'/200"}}'
    wait_for metric_is 'offload_webhooks_total{outcome="refused"}' 1
    metric_is offload_webhooks_pending 1
    ! arrived 1
}

@test "--webhook-allow names a host and its port, a network, or several" {
    start_daemon --webhook-allow "localhost:${HOOK##*:}" --webhook-allow 10.0.0.0/8
    id=$(submit '{"type":"echo","params":{"value":1},"options":{"webhook":"http://localhost:'"${HOOK##*:}"'/200"}}')
    wait_for arrived 1
    call_job '{"type":"echo","params":{"value":1},"options":{"webhook":"http://localhost:1/200"}}'
    [ "$CODE" = 200 ] # it might be in the network
    call_job '{"type":"echo","params":{"value":1},"options":{"webhook":"http://11.0.0.1/"}}'
    expect_problem 422 invalid_params
    received_holds 'length == 1'
}

@test "SIGHUP takes other secrets, and allows more" {
    printf 'webhook-secret-file = %s\n' "$SECRETS" >"$BATS_TEST_TMPDIR/conf"
    start_daemon --config "$BATS_TEST_TMPDIR/conf"
    call_job '{"type":"echo","params":{"value":1},"options":{"webhook":"'"$HOOK"'/200"}}'
    [ "$CODE" = 422 ]
    echo 'webhook-allow = 127.0.0.1' >>"$BATS_TEST_TMPDIR/conf"
    echo $OLD >"$SECRETS"
    kill -HUP "$DAEMON"
    wait_for grep -q '"event":"reload"' "$LOG"
    submit_hooked /200
    wait_for arrived 1
    signed_by $OLD
    echo nonsense >"$SECRETS"
    kill -HUP "$DAEMON"
    wait_for grep -q '"event":"reload_failed".*line 1' "$LOG"
    submit_hooked /200
    wait_for arrived 2
    signed_by $OLD
}

# ---- restarts --------------------------------------------------------------------------------------------------------

@test "a delivery that waits for its next attempt survives kill -9" {
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    id=$(submit_hooked /503r1,200)
    waits() { grep -q '"event":"webhook_failed"' "$LOG"; }
    wait_for waits
    kill_daemon
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    wait_for arrived 2
    # shellcheck disable=SC2016
    received_holds 'length == 2 and .[0].body == .[1].body and all(.[]; .headers["webhook-id"] == "msg_" + $id)' --arg id "$id"
    signed_by $NEW $OLD
}

@test "a delivery in the middle of its first attempt survives kill -9" {
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    submit_hooked /hang,200
    wait_for arrived 1
    kill_daemon
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    wait_for arrived 2
    received_holds '.[0].headers["webhook-id"] == .[1].headers["webhook-id"] and .[0].body == .[1].body'
    wait_for metric_is 'offload_webhooks_total{outcome="delivered"}' 1
}

@test "the webhook of a job that runs again after kill -9 is sent once" {
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    id=$(submit_hooked /200 '"type":"sleep","params":{"ms":1500}')
    wait_for is_running "$id"
    kill_daemon
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    wait_for arrived 1
    [ "$(ended "$id")" = succeeded ]
    # shellcheck disable=SC2016
    received_holds 'length == 1 and .[0].body.data.id == $id and .[0].body.type == "job.succeeded"' --arg id "$id"
}

@test "a webhook that was delivered or given up is not sent again after a restart" {
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    submit_hooked /200/first
    submit_hooked /410/second
    wait_for metric_is 'offload_webhooks_total{outcome="delivered"}' 1
    wait_for metric_is 'offload_webhooks_total{outcome="gave_up"}' 1
    stop_daemon
    start_sender --data-dir "$BATS_TEST_TMPDIR/data"
    metric_is offload_webhooks_pending 0
    submit_hooked /200/third
    wait_for arrived 3
    received_holds '[.[].path] | sort == ["/200/first", "/200/third", "/410/second"]'
}
