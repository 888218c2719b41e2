# podman.sh: sourced by image-test. Podman with a store of its own, so that neither the user's images nor the machine's
# settings matter. The store is kept between runs for its cached layers, with nothing left mounted.

# Settings for machines that lack what podman takes for granted: they have no systemd, a hybrid cgroup tree (crun does
# not work with that), or resource limits that can only be lowered.
podman_configure() {
    cat > "$store/storage.conf" <<-S
	[storage]
	driver = "overlay"
	graphroot = "$store/root"
	runroot = "$store/run"
	S
    cat > "$store/containers.conf" <<-S
	[containers]
	default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
	[engine]
	cgroup_manager = "cgroupfs"
	events_logger = "file"
	lock_type = "file"
	runtime = "runc"
	tmp_dir = "$store/run/libpod"
	S
    export CONTAINERS_STORAGE_CONF=$store/storage.conf CONTAINERS_CONF=$store/containers.conf TMPDIR=$store/tmp
    export DISABLE_HC_SYSTEMD=true # the checks run the health check themselves
}

podman_unmount() {
    awk -v below="$store/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n1 umount -l
}

# podman_lock ARGUMENT...: starts this script again, with the lock of the store. The process around the script holds the
# lock, and the script does not inherit it: a process that a container leaves behind must not keep it.
podman_lock() {
    [ "${OFFLOAD_IMAGE_LOCKED:-}" != "$store" ] || return 0
    mkdir -p -m 700 "$store" && [ -O "$store" ] || die "$store is not ours"
    OFFLOAD_IMAGE_LOCKED=$store exec flock --close "$store/lock" "$0" "$@"
}

# From now on podman does everything in $store. Call it with the lock held.
podman_open() {
    local missing=() tool
    for tool in podman runc; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    [ ${#missing[@]} = 0 ] || install "${missing[@]}"
    podman_configure
    mkdir -p "$store/tmp"
    podman rm -fa -t 0 >/dev/null 2>&1 # of a run that was killed
    [ "$(du -sm "$store" | cut -f1)" -lt 4096 ] || podman_remove # layers of old sources
    mkdir -p "$store/tmp"
    engine=podman
}

podman_remove() {
    podman_unmount
    rm -rf --one-file-system "$store/root" "$store/run" "$store/tmp"
}
