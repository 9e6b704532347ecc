#!/usr/bin/env bash
# Installs Python with OpenAI's SDK and schemathesis, and prints its path: dev/sdk-python.sh [DIRECTORY].
# The tests in tests/sdk run it: TOKENWIRE_TEST_SDK_PYTHON=PATH. The versions are in tests/sdk/requirements.txt. The SDK's major
# before that is in the directory `before` beside it; PYTHONPATH chooses it.
#
# What is there already is kept. Only the path goes to standard output.
set -euo pipefail
dir=$(realpath -m -- "${1-"$(dirname "${BASH_SOURCE[0]}")/../target/sdk-python"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

pinned=tests/sdk/requirements.txt
before=tests/sdk/requirements-before.txt

main() {
    # The copy is made last: it says that all of it is there.
    if ! cat "$pinned" "$before" | cmp --silent - "$dir/installed.txt"; then
        make_python "$dir"
        say "Installing OpenAI's SDK and schemathesis in $dir."
        install --requirement "$pinned"
        install --no-deps --target "$dir/before" --requirement "$before"
        cat "$pinned" "$before" >"$dir/installed.txt"
    fi
    say "$dir/bin/python" >&3
}

install() {
    "$dir/bin/python" -m pip install --only-binary :all: --disable-pip-version-check "$@" || fail "pip cannot install: see above"
}

# Everything else that is written, here or by pip, is for people.
exec 3>&1 1>&2
main
