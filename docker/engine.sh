# engine.sh: sourced by `build` and `image-test`. Finds a container engine, and has the functions for what differs
# between docker, podman and buildah; the name of the engine is in $engine.

die() { echo "${0##*/}: $*" >&2; exit 1; }

# install PACKAGE...: says what it installs, and installs it by apt, with sudo if needed.
install() {
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    echo "${0##*/}: apt-get install $*"
    { "${sudo[@]}" apt-get update -q &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } ||
        die "could not install: $*"
}

# engine_find NAME...: takes the first that is installed. A docker client alone is not enough: its engine must answer.
engine_find() {
    for engine; do
        command -v "$engine" >/dev/null || continue
        [ "$engine" != docker ] || timeout 20 docker info >/dev/null 2>&1 || continue
        return 0
    done
    engine=
    return 1
}

engine_has_image() {
    case $engine in
    buildah) buildah inspect --type image "$1" >/dev/null 2>&1 ;;
    *) "$engine" image inspect "$1" >/dev/null 2>&1 ;;
    esac
}

# engine_import TAR NAME: makes an image of a root file system.
engine_import() {
    local container
    if [ "$engine" != buildah ]; then
        "$engine" import "$1" "$2" >/dev/null
        return
    fi
    container=$(buildah from scratch) && buildah add --quiet "$container" "$1" / >/dev/null &&
        buildah commit --quiet --rm "$container" "$2" >/dev/null
}

# engine_build ARGUMENT...: builds an image. By default podman and buildah write a format without HEALTHCHECK, and use a
# bridge that the machine may not have.
engine_build() {
    case $engine in
    docker) docker build "$@" ;;
    *) "$engine" build --format docker --layers --network host "$@" ;;
    esac
}
