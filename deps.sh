#!/bin/sh
# deps.sh PACKAGE...: installs the Debian packages that are missing. It says what it does before it does it. Without
# apt, or without the right to use it, it names the packages and fails.
set -eu
missing=
for package in "$@"; do
    status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
    [ "${status%% *}" = ii ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "These Debian packages are needed, and there is no apt-get here:$missing" >&2
    exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    command -v sudo >/dev/null || { echo "Ask an administrator to: apt-get install$missing" >&2; exit 1; }
fi
echo "Installing with apt-get${as_root:+ (sudo)}:$missing"
$as_root apt-get -qq update
# shellcheck disable=SC2086 # a list of words
DEBIAN_FRONTEND=noninteractive $as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null || {
    echo "apt-get failed. Needed are:$missing" >&2
    exit 1
}
