#!/usr/bin/env bash
# Makes a Python with OpenAI's SDK and schemathesis, as tests/sdk/requirements.txt pins it, and prints its path: dev/sdk-python.sh [DIRECTORY].
# The tests in tests/sdk run it: TOKENWIRE_TEST_SDK_PYTHON=PATH.
#
# What is there already is kept. Only the path goes to standard output.
set -euo pipefail
dir=$(realpath -m -- "${1-"$(dirname "${BASH_SOURCE[0]}")/../target/sdk-python"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

pinned=tests/sdk/requirements.txt

main() {
    # The copy is made last: it says that all of it is there.
    if ! cmp --silent "$pinned" "$dir/installed.txt"; then
        make_python "$dir"
        say "Installing OpenAI's SDK and schemathesis in $dir."
        "$dir/bin/python" -m pip install --only-binary :all: --disable-pip-version-check --requirement "$pinned" ||
            fail "pip cannot install $pinned: see above"
        cp "$pinned" "$dir/installed.txt"
    fi
    say "$dir/bin/python" >&3
}

# Whatever else is said, here or by the programs that this runs, is for people.
exec 3>&1 1>&2
main
