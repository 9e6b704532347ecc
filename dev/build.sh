#!/usr/bin/env bash
# Inside Docker Compose: compiles the code under /src whenever it changes, and puts what it made where the roles look.
#
# It takes the lock file as it is, because /src is read only: after a change of a Cargo.toml, run cargo outside once.
set -euo pipefail

built=${BUILT_DIR:-/built}
made=${CARGO_TARGET_DIR:-/target}/debug/tokenwire

# Replaced in one step, so that a role never starts half a program, and only when it is another one.
if [[ ${1-} == once ]]; then
    if cargo build --locked --package tokenwire && ! cmp --silent "$made" "$built/tokenwire"; then
        cp "$made" "$built/tokenwire.new"
        mv "$built/tokenwire.new" "$built/tokenwire"
        echo "A new build is ready."
    fi
    exit 0
fi

trap 'kill "$watch" 2>/dev/null || true; exit 0' INT TERM
while :; do
    # Builds at once and at every change; ends when a file came or went, to be started with the new list. In the
    # background, because bash would not hear a signal while it waits for a program in the foreground.
    find Cargo.toml Cargo.lock crates -name node_modules -prune -o -type f -print | entr -dn "$0" once &
    watch=$!
    wait "$watch" || true
    # Against a loop without a pause, should the watch be impossible; then this is a slow poll.
    sleep 1 &
    wait $! || true
done
