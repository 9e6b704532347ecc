#!/usr/bin/env bash
# Installs a Node that the tests accept, and its npm, and prints the directory of both programs: dev/node.sh [DIRECTORY].
# Put it first in PATH. Nothing outside of the directory changes. Only the path goes to standard output.
set -euo pipefail
dir=$(realpath -m -- "${1-"$(dirname "${BASH_SOURCE[0]}")/../target/node"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

node=24.21.0 npm=11.21.2

main() {
    local bin=$dir/node_modules/.bin system
    if ! [[ -x $bin/npm && $("$bin/node" --version 2>/dev/null) == "v$node" ]]; then
        case $(uname -sm) in
        'Linux x86_64') system=linux-x64 ;;
        'Linux aarch64') system=linux-arm64 ;;
        *) fail "no Node for this system is known here: install Node $node from https://nodejs.org, and run this again" ;;
        esac
        say "Installing Node $node and npm $npm in $dir."
        # The package `node` would fetch this one from its install script.
        npm install --prefix "$dir" --no-save --no-fund --no-audit --ignore-scripts "node-$system@$node" "npm@$npm" ||
            fail "npm cannot install Node $node: see above"
    fi
    say "$bin" >&3
}

# Everything else that is written, here or by npm, is for people.
exec 3>&1 1>&2
main
