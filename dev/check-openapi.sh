#!/usr/bin/env bash
# Holds /openapi.json against public linters, and a server against it: dev/check-openapi.sh [EXAMPLES]
#
# Redocly's and Spectral's recommended rules, and schemathesis with all checks and its stateful phase, EXAMPLES for each
# operation (default: 25). What it needs is installed: in tests/openapi and target/sdk-python. `TOKENWIRE_BIN` is the program;
# without it, it is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

here=tests/openapi
examples=${1-25}
[[ $examples =~ ^[1-9][0-9]*$ ]] || fail "$examples is not a number of examples: dev/check-openapi.sh [EXAMPLES]"

if [[ -z ${TOKENWIRE_BIN-} ]]; then
    cargo build --package tokenwire --locked
    TOKENWIRE_BIN=$(realpath "${CARGO_TARGET_DIR:-target}/debug/tokenwire")
fi
TOKENWIRE_TEST_SDK_PYTHON=${TOKENWIRE_TEST_SDK_PYTHON:-$(dev/sdk-python.sh)}
export TOKENWIRE_BIN TOKENWIRE_TEST_SDK_PYTHON
npm ci --prefix "$here" --ignore-scripts --no-fund --no-audit

document=$(mktemp --suffix=.json)
trap 'rm -f "$document"' EXIT
"$TOKENWIRE_BIN" openapi >"$document"
REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true \
    "$here/node_modules/.bin/redocly" lint --config "$here/redocly.yaml" "$document"
"$here/node_modules/.bin/spectral" lint --ruleset "$here/spectral.yaml" --fail-severity warn "$document"
TOKENWIRE_TEST_EXAMPLES=$examples node --test "$here/surface.test.mjs"
