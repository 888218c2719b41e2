# engine.sh: sourced by `build` and `image-test`. Finds a container engine and gives the verbs that differ between
# docker, podman and buildah; the engine's name is in $engine.

die() { echo "${0##*/}: $*" >&2; exit 1; }

# install PACKAGE...: by apt, with sudo when not root, after saying what.
install() {
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    echo "${0##*/}: apt-get install $*"
    { "${sudo[@]}" apt-get update -q &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } ||
        die "could not install: $*"
}

# engine_find NAME...: takes the first that is there. A docker client alone is not enough: its engine must answer.
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

# engine_import TAR NAME: a root file system becomes an image.
engine_import() {
    local container
    if [ "$engine" != buildah ]; then
        "$engine" import "$1" "$2" >/dev/null
        return
    fi
    container=$(buildah from scratch) && buildah add --quiet "$container" "$1" / >/dev/null &&
        buildah commit --quiet --rm "$container" "$2" >/dev/null
}

# engine_build ARGUMENT...: podman and buildah, left alone, write a format that has no HEALTHCHECK, and use a bridge
# that the machine may lack.
engine_build() {
    case $engine in
    docker) docker build "$@" ;;
    *) "$engine" build --format docker --layers --network host "$@" ;;
    esac
}
