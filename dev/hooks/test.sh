#!/usr/bin/env bash
# The tests of dev/hooks/commit-msg.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

message=$(mktemp)
trap 'rm -f -- "$message"' EXIT

# `expect 0` for a subject that is allowed, `expect 1` for one that is not.
expect() {
    local status=0
    printf '%s\n\nWhy.\n' "$2" >"$message"
    ./commit-msg "$message" 2>/dev/null || status=$?
    ((status == $1)) || { echo "commit-msg ends with $status and not with $1: $2" >&2 && exit 1; }
}

long=$(printf 'x%.0s' {1..66})
expect 0 'http: count name on messages as allowed'
expect 0 "http: $long"
expect 0 'crates/http, docs: say what is refused'
expect 0 'Merge branch main'
expect 0 'fixup! whatever it was'
expect 1 "http: ${long}x"
expect 1 'Say that null asks for nothing'
expect 1 'http:no space'
expect 1 'http: a full stop.'
expect 1 ''
echo "commit-msg accepts and refuses what it should."
