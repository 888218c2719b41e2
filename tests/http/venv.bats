#!/usr/bin/env bats
# venv.bats: functions of a virtual environment on a plain host, as docs/python.md says it. pip has no network here: the
# requirement and the package offload are wheels in a folder.

load helpers

setup() {
    cd "$BATS_TEST_DIRNAME/../.." || return
    APP=$BATS_TEST_TMPDIR/app
    WHEELS=$BATS_TEST_TMPDIR/wheels
    mkdir "$WHEELS"
    cp -r docker/python "$APP"
    cat >>"$APP/tasks.py" <<-'P'

	@offload.task
	def where() -> list[str]:
	    import sys

	    return [sys.prefix, pygments.__file__]
	P
}

@test "a virtual environment: its interpreter, its requirements, and the package offload from its wheel" {
    /usr/bin/python3 tests/wheel_of.py Pygments "$WHEELS"
    cp -r sdk/python "$BATS_TEST_TMPDIR/sdk" # setuptools builds in the source
    /usr/bin/python3 -m pip wheel --quiet --no-index --no-build-isolation --no-deps -w "$WHEELS" "$BATS_TEST_TMPDIR/sdk"
    /usr/bin/python3 -m venv --without-pip "$APP/venv" # Debian's pip is quicker than to make another one
    /usr/bin/python3 -m pip --python "$APP/venv/bin/python3" install --quiet --no-compile --no-index \
        --find-links "$WHEELS" -r "$APP/requirements.txt" offload

    start_daemon --workers 1 --python "$APP/tasks.py" --python-bin "$APP/venv/bin/python3"
    call_job '{"type":"highlight","params":{"code":"import this"}}'
    holds '.result | contains(">import</span>")'
    call_job '{"type":"highlight","params":{"code":"","language":"none"}}'
    expect_problem 422 invalid_params
    call_job '{"type":"where","params":{}}'
    holds '.result[0] == $venv and (.result[1] | startswith($venv))' --arg venv "$APP/venv"

    # The editor, the tests and mypy of who writes the functions find the package without offloadd.
    run env -u PYTHONPATH "$APP/venv/bin/python3" -c 'import offload; print(offload.__file__)'
    [[ $status = 0 && $output == "$APP"/venv/* ]]
    [ -e "$(dirname "$output")/py.typed" ]
}
