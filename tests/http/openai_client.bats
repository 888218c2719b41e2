#!/usr/bin/env bats
# openai_client.bats: OpenAI's own Python package as a client. It is installed once, into the build directory, if pip can
# reach an index.

bats_require_minimum_version 1.5.0
load helpers

PACKAGES=$BUILD/openai-packages

setup() {
    local wanted=$BATS_TEST_DIRNAME/openai_requirements.txt
    if ! cmp -s "$wanted" "$PACKAGES/requirements.txt"; then
        rm -rf "$PACKAGES" "$PACKAGES.part"
        timeout 120 /usr/bin/python3 -m pip --disable-pip-version-check install --quiet --no-input \
            --retries 0 --timeout 10 --target "$PACKAGES.part" -r "$wanted" >"$BATS_TEST_TMPDIR/pip" 2>&1 ||
            skip "pip cannot install the package openai: $(tail -n 1 "$BATS_TEST_TMPDIR/pip")"
        cp "$wanted" "$PACKAGES.part/"
        mv "$PACKAGES.part/openai_requirements.txt" "$PACKAGES.part/requirements.txt"
        mv "$PACKAGES.part" "$PACKAGES"
    fi
}

@test "the package openai works with only base_url changed" {
    start_daemon
    PYTHONPATH=$PACKAGES /usr/bin/python3 "$BATS_TEST_DIRNAME/openai_client.py" "$URL/v1"
}
