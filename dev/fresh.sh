#!/usr/bin/env bash
# Runs ./test.sh on the last commit in a bare Debian 12 that has a Rust toolchain and nothing else: dev/fresh.sh [OPTION]
# The option is one of ./test.sh. Used before a release, as root. Everything is in target/fresh, which is made anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

root=${CARGO_TARGET_DIR:-$PWD/target}/fresh

main() {
    ((EUID == 0)) || fail "a bare Debian is made by root: run this again with sudo"
    # The mounts are gone with the process.
    [[ ${1-} == --inside ]] || exec unshare --mount --pid --fork --kill-child "$0" --inside "$@"
    shift
    has debootstrap || apt_install "to make a bare Debian" debootstrap
    rm -rf --one-file-system -- "$root"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$root"
    git clone --quiet --no-local . "$root/tokenwire"
    lend_settings
    mkdir "$root/rust"
    mount --bind "$(rustc --print sysroot)" "$root/rust"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    chroot "$root" /usr/bin/env -i HOME=/root PATH=/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin /tokenwire/test.sh "$@"
}

# How this machine reaches package registries, if that has to be said.
lend_settings() {
    local file
    for file in /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt /etc/pip.conf ~/.npmrc ~/.cargo/config.toml; do
        [[ ! -e $file ]] || install -D "$file" "$root/${file/#"$HOME"/root}"
    done
}

main "$@"
