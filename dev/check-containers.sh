#!/usr/bin/env bash
# Checks that the images build with the Rust of rust-toolchain.toml. ./test.sh runs it.
# No test starts the containers themselves: that takes a Docker engine, which ./test.sh does without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

rust=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
for file in Dockerfile Dockerfile.dev; do
    grep -q "^FROM rust:$rust-" "$file" || fail "$file does not build on Rust $rust, as rust-toolchain.toml asks for"
done
grep -q "RUSTUP_TOOLCHAIN=$rust " Dockerfile.dev || fail "Dockerfile.dev does not choose Rust $rust, as rust-toolchain.toml asks for"
say "The container files agree."
