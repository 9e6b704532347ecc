#!/usr/bin/env bash
# Inside Docker Compose: runs a role, `run.sh worker`, and starts it again when build.sh has made a new program. Ends with
# the role's exit code when that ends by itself, and passes a stop on to it.
set -euo pipefail

program=${BUILT_DIR:-/built}/tokenwire
exec entr -nrz "$program" "$@" <<<"$program"
