#!/usr/bin/env bash
# Installs a Python with OpenAI's SDK and schemathesis, and prints its path: dev/sdk-python.sh [DIRECTORY].
# The tests in tests/sdk run it: TOKENWIRE_TEST_SDK_PYTHON=PATH. The SDK's major before that is in the directory `before`, which
# PYTHONPATH can name.
#
# What is there already is kept. Only the path goes to standard output.
set -euo pipefail
dir=$(realpath -m -- "${1-"$(dirname "${BASH_SOURCE[0]}")/../target/sdk-python"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

pinned_python "$dir" --requirement tests/sdk/requirements.txt >&2
pinned_python "$dir/before" --no-deps --requirement tests/sdk/requirements-before.txt >&2
say "$dir/bin/python"
