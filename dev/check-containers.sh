#!/usr/bin/env bash
# Says where the container files have drifted apart: what one of them knows, the others must know too. ./test.sh runs it.
# No test starts the containers themselves: that takes a Docker engine, which ./test.sh does without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

# Every setting that Compose reads is in the example, with the same default, and the other way round.
read_by_compose=$(grep -v '^ *#' docker-compose.dev.yml | grep -oE '\$\{[^}]*\}' | sed -E 's/\$\{([A-Z_]+):-(.*)\}/\1=\2/' | sort -u)
in_the_example=$(sed -nE 's/^#([A-Z_]+=.*)/\1/p' .env.dev.example | sort)
diff <(say "$read_by_compose") <(say "$in_the_example") ||
    fail "docker-compose.dev.yml (<) and .env.dev.example (>) differ: make them say the same"

# The images have the Rust that rust-toolchain.toml asks for.
rust=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
for file in Dockerfile Dockerfile.dev; do
    grep -q "^FROM rust:$rust-" "$file" || fail "$file does not build on Rust $rust, as rust-toolchain.toml asks for"
done
grep -q "RUSTUP_TOOLCHAIN=$rust " Dockerfile.dev || fail "Dockerfile.dev does not choose Rust $rust, as rust-toolchain.toml asks for"
say "The container files agree."
