#!/usr/bin/env bats
# check_program.bats: `offload check-program` with programs that keep to docs/programs.md, and with programs that do one
# thing wrong (checked.py): each must be found, and named.

bats_require_minimum_version 1.5.0
load helpers

teardown() { # no service runs
    :
}

check() {
    "$BUILD/offload" check-program "$@" 3>&-
}

checked() { # [FAULT [OPTION...]]
    check "python3 -S tests/http/checked.py $1" "${@:2}"
}

# Runs the program with a fault, and prints what it printed if that lacks the line.
find_fault() { # FAULT LINE
    local output status=0
    output=$(checked "$1" --timeout 1s --load-timeout 5s 2>&1) || status=$?
    [ "$status" -eq 1 ] && grep -qF -- "$2" <<<"$output" ||
        printf '%s: exit code %s, and no line with\n%s\n%s\n' "$1" "$status" "$2" "$output"
}

# Reads lines "FAULT: the line that must be printed" from stdin. Most of the time is spent on waiting, so four run side by
# side.
find_faults() {
    local line missed=$BATS_TEST_TMPDIR/missed
    while IFS= read -r line; do
        [ "$(jobs -rp | wc -l)" -lt 4 ] || wait -n
        find_fault "${line%%: *}" "${line#*: }" >>"$missed" &
    done
    wait
    cat "$missed" >&2
    [ ! -s "$missed" ]
}

@test "a program that forks and has all kinds of types passes every check" {
    run --separate-stderr checked ""
    [ "$status" -eq 0 ]
    [[ $output == *"
32 passed, 0 failed" ]]
    [ "$(grep -c '^ok - ' <<<"$output")" -eq 32 ]
    ! grep -vE '^ok - |^32 passed' <<<"$output"
    grep -qx loaded <<<"$stderr" # what programs print goes to stderr
}

@test "programs can do what the page leaves to them" {
    local way
    for way in not-forked values cancel-is-ignored; do
        run -0 --separate-stderr checked "$way"
        [[ $output == *" passed, 0 failed" ]]
    done
}

@test "the smallest program of docs/programs.md passes every check" {
    sed -n '/^```python$/,/^```$/p' docs/programs.md | sed '1d; /^```$/,$d' >"$BATS_TEST_TMPDIR/double"
    grep -q '^import' "$BATS_TEST_TMPDIR/double"
    run -0 --separate-stderr check "python3 $BATS_TEST_TMPDIR/double"
    [[ $output == *"ok - double: a call is answered"* && $output == *"# advice: double: "*"
16 passed, 0 failed" ]]
}

@test "examples/tasks.mjs passes every check" {
    command -v node >/dev/null || skip "node is not installed"
    run -0 --separate-stderr check "node examples/tasks.mjs" --params 'squares={"start": 0, "stop": 9}'
    [[ $output == *"ok - squares: a merge is answered"*"
24 passed, 0 failed" ]]
}

@test "faults of hello" {
    find_faults <<'END'
dies: not ok - hello: it is the first message: the process has ended with exit code 3; the first message has to be "hello"
killed: not ok - hello: it is the first message: the process has ended with signal 11 (Segmentation fault)
first: not ok - hello: it is the first message: the first message has to be "hello"; received: {"kind":"progress"
protocol: not ok - hello: its members are right: "protocol" has to be the number 1
fork-text: not ok - hello: its members are right: "fork" has to be true or false
cancel-signal: not ok - hello: its members are right: "cancel_signal" has to be a signal that a process can handle
sources: not ok - hello: its members are right: "sources" has to be an array of strings
no-types: not ok - hello: its members are right: "types" has to be an array with at least one type
END
    run -1 --separate-stderr checked silent --load-timeout 300ms
    [[ $output == 'not ok - hello: it is the first message: nothing has come for 300 ms; the first message has to be "hello"'* ]]
}

@test "faults of a type's description" {
    find_faults <<'END'
name: not ok - Sum: its description is right: "name" has to be [a-z][a-z0-9_-]*, at most 64 bytes
long-name: its description is right: "name" has to be [a-z][a-z0-9_-]*, at most 64 bytes
two-of-a-name: not ok - wait: its description is right: "name": another type has it, too
summary: not ok - sum: its description is right: "summary" has to be a string of one line
timeout: not ok - sum: its description is right: "timeout" has to be a number of seconds above 0
max-attempts: not ok - sum: its description is right: "max_attempts" has to be a whole number above 0
no-schema: not ok - sum: its description is right: "params" has to be a JSON Schema whose "type" is "object"
schema: not ok - sum: its description is right: "params" has to be a JSON Schema whose "type" is "object"
property: not ok - sum: its description is right: "params": property "n": "type" has to be integer, number,
bounds: not ok - sum: its description is right: "params": property "n": "minimum" is above "maximum"
required: not ok - sum: its description is right: "params": "required" names "n", which is no property
flags: not ok - sum: its description is right: "flags" can have "split" and "merge", and has "fast"
END
}

@test "faults of frames" {
    find_faults <<'END'
binary: the size of the JSON, 2 to 268435456, and 0; these were 2 and 4
size: not ok - hello: it is the first message: a frame has begun, of which
half: the stream has ended in the middle of a frame, after 9 bytes of it
no-json: a frame has to be JSON in UTF-8, and this one is not (
no-utf8: a frame has to be JSON in UTF-8, and this one is not (
no-object: a frame has to be a JSON object, and this one is another value; the frame: [1]
no-kind: a frame has to have a member "kind", a string; the frame: {}
descriptor: a program must not send descriptors, and this one has
integer: a frame has an integer beyond ±(2^53-1); write it as a string of decimal digits; the frame: {"kind"
large-integer: a frame has an integer beyond ±(2^53-1); write it as a string of decimal digits; the frame: {"kind"
pieces: not ok - a frame that comes byte by byte is understood: a frame has to be read in pieces, and was not
one-piece: not ok - two frames that come at once are understood: nothing has come for 1000 ms; each call has to be answered
large: not ok - a frame of 1 MiB is understood: the process has ended with exit code 1
unknown-member: not ok - an unknown member is ignored: the process has ended with exit code 1
unknown-kind: not ok - an unknown kind is ignored: the process has ended with exit code 1
END
}

@test "faults of answers" {
    find_faults <<'END'
kind: not ok - sum: a call is answered: a call has to be answered with "result"; received: {"kind":"answer"
number: not ok - sum: a call is answered: calls have to be answered once, in the order of their numbers; 1 is due
two-outcomes: not ok - sum: a call is answered: "result" has to have one of "value", "values" and "error"
no-values: not ok - sum: a call is answered: "values" has to be an array with at least one value
values-of-nobody: not ok - sum: a call is answered: "values" has more values than there are unanswered calls
no-code: not ok - sum: a call is answered: "error" has to be an object, and its "code" one of handler_failed,
code: not ok - sum: a call is answered: "error" has to be an object, and its "code" one of handler_failed,
pointer: not ok - sum: a call is answered: "pointer" has to be a JSON pointer within the params
detail: not ok - sum: a call is answered: "detail", "exception", "traceback" and "pointer" have to be strings
cancelled: not ok - sum: a call is answered: the error "cancelled" is for calls that "cancel" has named
progress: not ok - wait: a call is answered: "progress" has to have "call", "done" and "total", integers from 0 up
order: not ok - sum: calls in one frame are answered in order: calls have to be answered once, in the order of their numbers
last-is-not-answered: not ok - sum: calls in one frame are answered in order: nothing has come for 1000 ms
twice: ; received: {"kind":"result","call":1,"value":35}
planned: not ok - sum: a plan is answered, and its chunks run: "plan" has to be answered with "planned"
no-chunks: not ok - sum: a plan is answered, and its chunks run: "chunks" has to be an array of 1 to 4096 params
no-array: not ok - sum: a plan is answered, and its chunks run: "chunks" has to be an array of 1 to 4096 params
many-chunks: not ok - sum: a plan is answered, and its chunks run: "chunks" has to be an array of 1 to 4096 params
chunks: not ok - sum: a plan is answered, and its chunks run: each of the "chunks" has to be an object
no-merge: not ok - sum: a merge is answered: nothing has come for 1000 ms
END
}

@test "faults of cancelling and of the end" {
    find_faults <<'END'
cancel-is-not-answered: not ok - wait: a call that is cancelled is answered, and the next one runs: nothing has come for
dies-of-cancel: not ok - wait: a call that is cancelled is answered, and the next one runs: the process has ended with exit code 4
late-cancel: not ok - cancel of an answered call is ignored: the process has ended with exit code 1
exit-is-ignored: not ok - exit ends the process: "exit" has to end the process at once, and it still lives after 1000 ms
end-is-ignored: not ok - the end of the stream ends the process: the end of the stream has to end the process at once
exit-code: not ok - exit ends the process: "exit" has to end the process with exit code 0, and it has ended with exit code 5
END
}

@test "faults of forking" {
    find_faults <<'END'
thread: not ok - fork: the template has one thread: a program with "fork": true has to have one thread, and has 2
cannot-fork: not ok - fork: it forks, and the new process says hello: the template could not fork; received:
single-fork: not ok - fork: it forks, and the new process says hello: the new process has to be a child of "parent"
pid: not ok - fork: it forks, and the new process says hello: "forked" has to have the number of the new process in "pid"
child-types: not ok - fork: it forks, and the new process says hello: a process that was forked from a template has to leave out "types"
output: not ok - fork: it forks, and the new process says hello: stdout and stderr of the new process have to be the second
template-keeps-socket: not ok - fork: a new process that is killed leaves the others alone: a process was killed, and its
child-keeps-socket: not ok - fork: a template that is killed leaves its processes alone: the template was killed, and its
no-pdeathsig: not ok - fork: a new process dies with its parent: a new process has to set PR_SET_PDEATHSIG to SIGKILL
template-stays: not ok - fork: exit ends the template: "exit" has to end the template at once, and it still lives
END
}

@test "wrong command lines" {
    run -2 --separate-stderr check "python3 'x"
    [[ $stderr == "offload: the command cannot be split into words: "* ]]
    run -2 --separate-stderr check 'echo $(date)'
    [[ $stderr == "offload: the command would execute another one: "* ]]
    run -2 --separate-stderr check 'true; true'
    [[ $stderr == "offload: the command has one of | & ; < > ( ) { } or a newline outside of quotes: "* ]]
    run -2 --separate-stderr check 'true $NOT_SET_ANYWHERE'
    [[ $stderr == "offload: the command has a variable that is not set: "* ]]
    run -2 --separate-stderr check ' '
    [[ $stderr == "offload: the command is empty" ]]
    run -2 --separate-stderr check true --params 'sum'
    [[ $stderr == "offload: --params of check-program takes TYPE=JSON, where JSON is an object, not 'sum'" ]]
    run -2 --separate-stderr checked "" --params 'minus={}'
    [[ $stderr == *"offload: --params: the program has no type 'minus'"* ]]
    run -1 --separate-stderr check ./no-such-program
    [[ $output == *"the process has ended with exit code 127; the first message"* ]]
    [[ $stderr == "./no-such-program: No such file or directory" ]]
}

@test "parameters can be given for each type" {
    run -1 --separate-stderr checked values-of-nobody --params 'sum={"start": "text"}'
    [[ $stderr == *TypeError* ]]
}

@test "the environment and the descriptors are those that offload gives" {
    cat >"$BATS_TEST_TMPDIR/look.py" <<'END'
import os, sys
sys.stderr.write("threads %s %s\n" % (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]))
sys.stderr.write("stdin %s\n" % os.readlink("/proc/self/fd/0"))
sys.stderr.write("pipes %s\n" % all(os.readlink("/proc/self/fd/%d" % n).startswith("pipe:") for n in (1, 2)))
others = {int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)} - {0, 1, 2}
sys.stderr.write("others %s\n" % (others - {int(os.environ["OFFLOAD_FD"])}))
END
    MKL_NUM_THREADS=4 run -1 --separate-stderr check "python3 $BATS_TEST_TMPDIR/look.py" 7</dev/null
    echo "$stderr"
    [ "$stderr" = "threads 1 4
stdin /dev/null
pipes True
others set()" ]
}
