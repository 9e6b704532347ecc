#!/usr/bin/env bash
# Installs a Python that can serve a GGUF file as an OpenAI-compatible API (xllamacpp, llama.cpp's server as a library), and
# prints its path: dev/upstream-python.sh [DIRECTORY]. The tests of a real upstream run it: TOKENWIRE_TEST_PYTHON=PATH.
#
# What is there already is kept. Only the path goes to standard output.
set -euo pipefail
dir=$(realpath -m -- "${1-"$(dirname "${BASH_SOURCE[0]}")/../target/python"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

pinned_python "$dir" --requirement dev/upstream-python.txt >&2
say "$dir/bin/python"
