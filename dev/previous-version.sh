#!/usr/bin/env bash
# Builds the version before this one, for runs in which two versions work side by side, and prints where the program is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

# The last commit of the version before: what it stored has to be read, and it has to read what is stored now.
commit=6e312e1

main() {
    local target place
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    place=$target/previous/$commit
    if [[ ! -x $place/tokenwire ]]; then
        git cat-file -e "$commit^{commit}" 2>/dev/null ||
            fail "the commit $commit is not in this clone: fetch the whole history (git fetch --unshallow), and run this again"
        mkdir -p "$place/source"
        git archive "$commit" | tar -x -C "$place/source"
        (cd "$place/source" && CARGO_TARGET_DIR=$place/target cargo build --release --locked --package tokenwire) >&2
        mv "$place/target/release/tokenwire" "$place/tokenwire"
        rm -rf "$place/source" "$place/target"
    fi
    say "$place/tokenwire"
}

main
