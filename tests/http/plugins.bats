#!/usr/bin/env bats
# plugins.bats: job types in C from elsewhere: plugins that are built out of tree, against an installed offload.

bats_require_minimum_version 1.5.0
load helpers

# Installs once for all tests.
setup_file() {
    export INSTALLED=$BATS_FILE_TMPDIR/installed
    make install BUILD="$BUILD" PREFIX="$INSTALLED" -o all >"$BATS_FILE_TMPDIR/install.log" 2>&1 ||
        { cat "$BATS_FILE_TMPDIR/install.log" >&2; return 1; }
}

setup() {
    OFFLOADD=$(realpath "$OFFLOADD")
    PATH=$INSTALLED/bin:$PATH
    export PKG_CONFIG_PATH=$INSTALLED/lib/pkgconfig
    cd "$BATS_TEST_TMPDIR" || return 1
}

# plugin FILE [NAME [FACTOR [FLAGS [MORE]]]]: builds a plugin whose type multiplies n. MORE is C that comes before the
# handler; a function load in it is the handler's. The file is replaced as a whole, for it can be in use.
plugin() {
    local load=NULL
    [[ ${5:-} != *"int load("* ]] || load=load
    cat >"$1.c" <<END
#include <offload/handler.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static const struct param_spec params[] = {
    {"n", PARAM_INTEGER, PARAM_REQUIRED, .min = "0", .max = "1000000", .help = "what is multiplied"}, {0}};
${5:-}
static int plan(struct call *c, const struct params *p) {
    int64_t n;
    return param_i64(p, "n", &n) ? plan_chunk(c, &n, sizeof n, 1000) : call_fail(c, CALL_FAILED, NULL, "no n");
}
static int run(struct call *c, struct bytes common, struct bytes chunk) {
    int64_t n = *(const int64_t *)chunk.data;
    (void)common;
    if (n == 13 && call_attempt(c) == 0)
        raise(SIGSEGV);
    n *= ${3:-2};
    return part_write(c, &n, sizeof n);
}
static int merge(struct call *c, struct bytes common, const struct bytes *parts, size_t count) {
    (void)common, (void)count;
    json_begin_object(c);
    json_name(c, "product");
    json_i64(c, *(const int64_t *)parts[0].data);
    json_name(c, "process");
    json_i64(c, getpid());
    json_end_object(c);
    return 0;
}
static const struct handler handler = {.abi = HANDLER_ABI, .name = "${2:-double}", .summary = "Multiplies",
    .flags = ${4:-0}, .params = params, .load = $load, .plan = plan, .run = run, .merge = merge};
const struct handler *const offload_handlers[] = {&handler, NULL};
END
    build "$1"
}

build() { # FILE: of FILE.c
    # shellcheck disable=SC2046
    gcc -std=c11 -Wall -Wextra -Werror -shared -fPIC -D_GNU_SOURCE $(pkg-config --cflags offload-handler) -o "$1.part" "$1.c"
    mv "$1.part" "$1"
}

# refused LINE OPTION...: the service does not start, and says why in this one line.
refused() {
    run --separate-stderr "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --log-level error "${@:2}"
    [ "$status" = 2 ] || { echo "exit code $status: $stderr" >&2; return 1; }
    local said
    said=$(grep '^offloadd: ' <<<"$stderr")
    if [[ $1 == *... ]]; then
        [[ $said == "offloadd: ${1%...}"* ]]
    else
        [ "$said" = "offloadd: $1" ]
    fi || { echo "$said" >&2; return 1; }
}

doubles() { # RESULT OF N
    [ "$(post "{\"type\":\"double\",\"params\":{\"n\":$2}}" | jq .result.product)" = "$1" ]
}

reload() { # and wait until it is done
    local before
    before=$(grep -cE '"event":"(handlers_loaded|handler_load_failed)"' "$LOG") || true
    kill -HUP "$DAEMON"
    reloaded() { [ "$(grep -cE '"event":"(handlers_loaded|handler_load_failed)"' "$LOG")" -gt "$before" ]; }
    wait_for reloaded
}

@test "what offload new-handler writes is built and tested out of tree, and is not overwritten" {
    run -0 offload new-handler my-type_2
    [ "$output" = $'my-type_2/my-type_2.c\nmy-type_2/my-type_2_test.sh\nmy-type_2/Makefile' ]
    run -0 make -C my-type_2 CFLAGS='-O2 -Wall -Wextra -Werror'
    run -0 make -C my-type_2 test
    [[ $output == *"my-type_2: passed"* ]]
    echo mine >my-type_2/Makefile
    run -4 --separate-stderr offload new-handler my-type_2
    [ "$stderr" = 'offload: my-type_2: it is there already' ]
    [ "$(cat my-type_2/Makefile)" = mine ]
    run -2 offload new-handler My
    run -2 offload new-handler ../up
    rm -r my-type_2
    run -0 offload new-handler my-type_2
    run -0 env -u PKG_CONFIG_PATH make -C my-type_2 test OFFLOAD_INCLUDE="$INSTALLED/include" OFFLOADD="$OFFLOADD" OFFLOAD="$INSTALLED/bin/offload"
}

@test "the commands of docs/plugins.md work in their order" {
    local block=0
    awk '/^```sh$/ {n++; next} /^```$/ {next} n {print > ("block-" n)} /^```/ {}' \
        <(awk '/^```sh$/ {in_block = 1} in_block {print} /^```$/ {in_block = 0}' "$BATS_TEST_DIRNAME/../../docs/plugins.md")
    [ -e block-4 ]
    # shellcheck disable=SC1091
    source ./block-1
    [ "$(cat ../block-2)" = 'offloadd --plugin ./squares.so' ]
    start_daemon --plugin ./squares.so
    export OFFLOAD_URL=$URL
    sed "s|http://127.0.0.1:8080|$URL|" ../block-3 >../block-3.here
    run -0 bash -e ../block-3.here
    [[ $output == '{"sum":285}'* && $output == *'"source":"plugin:./squares.so"'* ]]
    [[ $output == *'"result":{"sum":'* ]]
    sed "s|pkill -HUP -o -x offloadd|kill -HUP $DAEMON|" ../block-4 >../block-4.here
    run -0 bash -e ../block-4.here
    wait_for grep -q '"event":"handlers_loaded"' "$LOG"
}

@test "a type of a plugin is like those that are built in: types, schema, CLI, metrics, maps, isolation" {
    plugin thumb.so
    start_daemon --plugin ./thumb.so
    export OFFLOAD_URL=$URL
    call /v1/types
    holds '.types[-1] | .name == "double" and .source == "plugin:./thumb.so" and .flags == [] and (has("timeout") | not)'
    holds '.types[0].source == "builtin"'
    call /v1/types/double
    holds '.params.properties.n.description == "what is multiplied" and .params.required == ["n"]'
    call /openapi.json
    holds '.components.schemas.Submission.oneOf[-1].properties | .type.const == "double" and .params.required == ["n"]'
    [ "$(offload run double n=21 | jq .product)" = 42 ]
    [ "$(offload types double | jq -r .summary)" = Multiplies ]
    call_job '{"type":"double","params":{"n":-1}}'
    expect_problem 422 invalid_params
    holds '.errors[0] | .pointer == "/params/n" and .detail == "must be from 0 to 1000000"'
    call_job '{"type":"double","items":[{"n":1},{"n":"x"},{"n":3}]}'
    holds '[.result.items[].result.product] == [2, null, 6]'
    call_job '{"type":"double","params":{"n":4},"options":{"isolation":"fresh"}}'
    holds '.status == "succeeded" and .result.product == 8'
    call '/v1/jobs?type=double'
    holds '.jobs | length == 3'
    curl -sS "$URL/metrics" | grep -q '^offload_jobs_total{type="double",status="succeeded"} 3$'
}

@test "a crash in a plugin is one lost attempt" {
    plugin thumb.so
    start_daemon --plugin ./thumb.so
    call_job '{"type":"double","params":{"n":13}}'
    holds '.status == "succeeded" and .result.product == 26 and .attempts == 2 and .lost[0].signal == "SIGSEGV"'
    call_job '{"type":"double","params":{"n":13},"options":{"max_attempts":1}}'
    expect_problem 500 worker_crashed
    doubles 8 4
}

@test "a plugin with HANDLER_SPAWN is loaded in each of its processes" {
    plugin spawn.so double 2 HANDLER_SPAWN 'static int loaded_by; static int load(void) { loaded_by = getpid(); return 0; }'
    plugin other.so other 3 0
    start_daemon --plugin ./other.so --plugin ./spawn.so
    call /v1/types/double
    holds '.flags == ["spawn"]'
    call_job '{"type":"double","params":{"n":4}}'
    holds '.result.product == 8'
    first=$(jq .result.process "$BODY")
    call_job '{"type":"double","params":{"n":5}}'
    holds ".result.product == 10 and .result.process != $first"
    plugin spawn.so double 2 HANDLER_SPAWN 'static int load(void) { fprintf(stderr, "no device\n"); return -1; }'
    call_job '{"type":"double","params":{"n":5},"options":{"max_attempts":1}}'
    holds '.code == "worker_crashed"'
    call "/v1/jobs/$(jq -r .job "$BODY")"
    holds '.lost[0].stderr_tail | contains("no device")'
}

@test "what cannot be loaded refuses the start with one line" {
    refused 'plugin:./nothing.so: cannot open shared object file: No such file or directory' --plugin ./nothing.so
    refused 'plugin:nothing.so: cannot open shared object file: No such file or directory' --plugin nothing.so
    echo 'int x;' >none.so.c
    build none.so
    refused 'plugin:./none.so: it has no offload_handlers, so it is no plugin' --plugin ./none.so
    echo 'const void *const offload_handlers[] = {0};' >empty.so.c
    build empty.so
    refused 'plugin:./empty.so: offload_handlers is empty' --plugin ./empty.so
    plugin old.so
    sed -i 's/HANDLER_ABI/2/' old.so.c
    build old.so
    refused 'plugin:./old.so: it was built for ABI 2 of handler.h, and this offloadd has ABI 4' --plugin ./old.so
    plugin name.so Double
    refused 'plugin:./name.so: "Double" cannot be the name of a job type: [a-z][a-z0-9_-]*, at most 64 bytes' --plugin ./name.so
    plugin table.so
    sed -i 's/PARAM_INTEGER/PARAM_ENUM/' table.so.c
    build table.so
    refused 'plugin:./table.so: the job type double: n: has no choices' --plugin ./table.so
    plugin sum.so sum
    refused 'plugin:./sum.so: builtin has a job type "sum", too' --plugin ./sum.so
    plugin one.so
    plugin two.so
    refused 'plugin:./two.so: plugin:./one.so has a job type "double", too' --plugin ./one.so --plugin ./two.so
    plugin load.so double 2 0 'static int load(void) { return -1; }'
    refused 'plugin:./load.so: the load of the job type double failed' --plugin ./load.so
    plugin symbol.so double 2 0 'int no_such_function(void); static int load(void) { return no_such_function(); }'
    refused 'plugin:./symbol.so: undefined symbol: no_such_function' --plugin ./symbol.so
    plugin crash.so double 2 0 'static int load(void) { raise(SIGKILL); return 0; }'
    refused 'plugin:./crash.so: the process that loaded it was ended by SIGKILL' --plugin ./crash.so
    plugin exit.so double 2 0 '__attribute__((constructor)) static void leave(void) { _exit(3); }'
    refused 'plugin:./exit.so: the process that loaded it ended with exit code 3' --plugin ./exit.so
    plugin hang.so double 2 0 'static int load(void) { while (pause() != 0) { } return 0; }'
    refused 'plugin:./hang.so: it was not loaded within 0.2 s (--load-timeout)' --plugin ./hang.so --load-timeout 200ms
    refused '--plugin-dir ./nowhere: No such file or directory' --plugin-dir ./nowhere
    refused '--program "a | b": it has a character that means something to a shell: ...' --program 'a | b'
    # shellcheck disable=SC2016
    refused '--program "$(date)": commands in it are not executed' --program '$(date)'
    # shellcheck disable=SC2016
    refused '--program "$NO_SUCH_VARIABLE": it has a variable that is not set' --program '$NO_SUCH_VARIABLE'
    refused '--program "'"'"'": a quote is not closed' --program "'"
}

@test "a signal ends a service that still loads" {
    plugin hang.so double 2 0 'static int load(void) { while (pause() != 0) { } return 0; }'
    "$OFFLOADD" --listen 127.0.0.1:0 --data-dir none --plugin ./hang.so 2>hang.log 3>&- &
    DAEMON=$!
    loading() { [ "$(pgrep -P "$DAEMON" | wc -l)" = 1 ]; }
    wait_for loading
    sleep 0.1
    kill -TERM "$DAEMON"
    wait_daemon
    [ "$DAEMON_STATUS" = 0 ]
    grep -q '"event":"stopped"' hang.log
    ! grep -q '"event":"ready"' hang.log
}

@test "a directory of plugins is taken in the order of the names" {
    mkdir dir
    plugin dir/b.so double 2
    plugin dir/a.so treble 3
    echo none >dir/readme.txt
    rm dir/*.c
    OFFLOAD_PLUGIN_DIR=$PWD/dir start_daemon
    call /v1/types
    holds '[.types[].name][-2:] == ["treble", "double"]'
    doubles 8 4
}

@test "a reload takes a new version of a plugin, and keeps the old one if the new one is bad" {
    plugin thumb.so double 2
    start_daemon --plugin ./thumb.so
    doubles 8 4
    plugin thumb.so double 3
    reload
    doubles 12 4
    echo garbage >garbage
    mv garbage thumb.so
    reload
    grep -q '"event":"handler_load_failed","why":"plugin:./thumb.so: file too short"' "$LOG"
    doubles 12 4
    call '/readyz?verbose'
    [ "$CODE" = 200 ]
    grep -qxF '[-]types failed: plugin:./thumb.so: file too short; those before are still there' "$BODY"
    plugin thumb.so double 4
    reload
    doubles 16 4
    call '/readyz?verbose'
    grep -qxF '[+]types ok' "$BODY"
}

@test "jobs go on while plugins are loaded anew" {
    plugin thumb.so double 2
    start_daemon --plugin ./thumb.so
    call_job -H 'Prefer: respond-async' '{"type":"burn","params":{"cpu_ms":300,"chunks":8}}'
    id=$(jq -r .id "$BODY")
    for i in 3 4 5; do
        plugin thumb.so double "$i"
        reload
        doubles $((i * 7)) 7
    done
    call -H 'Prefer: wait=30' "/v1/jobs/$id"
    holds '.status == "succeeded" and (has("lost") | not)'
}

@test "the configuration file can add and remove plugins at a reload" {
    plugin one.so double 2
    plugin two.so treble 3
    echo "plugin = ./one.so" >config
    start_daemon --config config
    doubles 8 4
    call_job -H 'Prefer: respond-async' '{"type":"double","params":{"n":4},"options":{"delay_ms":1000}}'
    id=$(jq -r .id "$BODY")
    echo "plugin = ./two.so" >config
    reload
    call /v1/types
    holds '[.types[].name] | index("double") == null and index("treble") != null'
    call /v1/types/double
    expect_problem 404 not_found
    call_job '{"type":"double","params":{"n":4}}'
    expect_problem 422 unknown_type
    call -H 'Prefer: wait=30' "/v1/jobs/$id" # it was accepted, and its type is gone
    holds '.type == "double" and .status == "failed" and .error.code == "unknown_type"'
    call '/v1/jobs?type=double'
    holds '.jobs | length == 2'
    printf 'plugin = ./one.so\nplugin = ./two.so\n' >config
    reload
    doubles 8 4
    echo "plugin = ./nothing.so" >config
    reload
    doubles 8 4
}

@test "a job keeps the name of its type in the store, and fails clearly when its type is gone" {
    plugin thumb.so
    start_daemon --plugin ./thumb.so
    data=${LOG%.log}.data
    call_job -H 'Prefer: respond-async' '{"type":"double","params":{"n":4},"options":{"delay_ms":2000}}'
    first=$(jq -r .id "$BODY")
    call_job -H 'Prefer: respond-async' '{"type":"double","params":{"n":5}}'
    ended=$(jq -r .id "$BODY")
    call -H 'Prefer: wait=30' "/v1/jobs/$ended"
    holds '.result.product == 10'
    stop_daemon
    plugin other.so other 3
    start_daemon --data-dir "$data" --plugin ./other.so --plugin ./thumb.so # double has another number now
    call -H 'Prefer: wait=30' "/v1/jobs/$first"
    holds '.type == "double" and .result.product == 8'
    call_job -H 'Prefer: respond-async' '{"type":"double","params":{"n":6},"options":{"delay_ms":60000}}'
    second=$(jq -r .id "$BODY")
    stop_daemon
    start_daemon --data-dir "$data" # without the plugin
    call "/v1/jobs/$ended"
    holds '.type == "double" and .result.product == 10'
    call -H 'Prefer: wait=30' "/v1/jobs/$second"
    holds '.type == "double" and .status == "failed" and .error.code == "unknown_type"'
    call '/v1/jobs?type=double'
    holds '.jobs | length == 3'
}

@test "a zygote with plugins that dies is replaced, and its types are there again" {
    plugin thumb.so
    start_daemon --plugin ./thumb.so
    doubles 8 4
    zygote=$(pgrep -P "$DAEMON" | head -1)
    kill -KILL "$zygote"
    again() { doubles 8 4; }
    wait_for again
    [ "$(pgrep -P "$DAEMON" | head -1)" != "$zygote" ]
    plugin thumb.so double 5
    reload
    doubles 20 4
}

@test "with --reload a plugin that changes is loaded by itself" {
    mkdir -p dir
    plugin dir/thumb.so double 2
    start_daemon --reload --plugin-dir "$PWD/dir"
    doubles 8 4
    plugin dir/thumb.so double 3
    treble() { doubles 12 4; }
    wait_for treble
    grep -q '"event":"source_changed"' "$LOG"
    [ "$(grep -c '"event":"reload"' "$LOG")" = 1 ] # for the whole series of changes
    echo garbage >garbage
    mv garbage dir/thumb.so
    wait_for grep -q '"event":"handler_load_failed"' "$LOG"
    doubles 12 4
    plugin dir/thumb.so double 4 # it is watched all the same
    fourfold() { doubles 16 4; }
    wait_for fourfold
}
