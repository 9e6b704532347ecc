#!/usr/bin/env bash
# Makes a Python that can serve a GGUF file as an OpenAI-compatible API (xllamacpp, llama.cpp's server as a library), and
# prints its path: dev/upstream-python.sh [DIRECTORY]. The tests of a real upstream run it: TOKENWIRE_TEST_PYTHON=PATH.
#
# What is there already is kept. Only the path goes to standard output.
set -euo pipefail
dir=$(realpath -m -- "${1-"$(dirname "${BASH_SOURCE[0]}")/../target/python"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

version=2026.10.11549

main() {
    local python=$dir/bin/python
    if ! is_ready "$python" 2>/dev/null; then
        make_python "$dir"
        say "Installing xllamacpp $version in $dir."
        "$python" -m pip install --only-binary :all: --disable-pip-version-check "xllamacpp==$version" ||
            fail "pip cannot install xllamacpp $version: see above"
        is_ready "$python" || fail "xllamacpp $version does not load in $python: see above"
    fi
    say "$python" >&3
}

is_ready() {
    [[ -x $1 ]] && "$1" -c "
import importlib.metadata, xllamacpp
assert importlib.metadata.version('xllamacpp') == '$version'
"
}

# Whatever else is said, here or by the programs that this runs, is for people.
exec 3>&1 1>&2
main
