#!/usr/bin/env bash
# Builds Tokenwire and starts it: ./up.sh --help
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=dev/common.sh
source dev/common.sh

usage() {
    cat <<'HELP'
Builds Tokenwire in release mode and starts it on http://localhost:8000. Ctrl-C stops it.

  ./up.sh [SETTING...]    one process, everything kept in ./data; settings are those of `tokenwire serve`:
                          ./up.sh --port 8001 --data-dir /var/lib/tokenwire --simulated-delay 20ms
                          (all of them: docs/config.md, or `target/release/tokenwire serve --help`)
  ./up.sh --real [--model FILE.gguf] [SETTING...]
                          the same with a real language model in the process: the one given, or SmolLM2-135M-Instruct,
                          which is fetched into ./models (98 MB). Installs what llama.cpp needs to be compiled
                          (with apt-get), and takes some ten minutes for that the first time.
  ./up.sh --compose       the API, two workers, RabbitMQ and Redis in Docker, rebuilt when the code changes.
                          Settings: copy .env.dev.example to .env.dev and change it. Ctrl-C takes the containers
                          down and keeps their data; ./docker.clean.sh removes that too.
HELP
}

main() {
    case ${1-} in
    -h | --help) usage ;;
    --compose)
        shift
        up_compose "$@"
        ;;
    --real)
        shift
        up_real "$@"
        ;;
    *) up_here "$@" ;;
    esac
}

# --- On this machine ---

up_here() {
    check_port "$@"
    need_toolchain
    say "Building in release mode; the first time takes some minutes."
    cargo build --release --locked --package tokenwire
    serve "$@"
}

# Before the build, which takes minutes. The server checks again.
check_port() {
    local port
    port=$(port_of "$@")
    if [[ -n $port ]] && is_taken "$port"; then
        fail "something listens on port $port already: stop it (ss -ltnp 'sport = :$port' shows it), or choose another port: ./up.sh --port 8001"
    fi
}

serve() {
    local tokenwire=${CARGO_TARGET_DIR:-target}/release/tokenwire port
    port=$(port_of "$@")
    [[ -z $port ]] || banner "http://localhost:$port" "$tokenwire"
    exec "$tokenwire" serve "$@"
}

# The port that the server will take, as far as that is plain to see; nothing where only the server can tell, which says
# it when it listens.
port_of() {
    local port=${API_PORT-} listen=${TOKENWIRE_LISTEN-}
    if [[ -f .env ]]; then
        [[ -n $port ]] || port=$(setting API_PORT)
        [[ -n $listen ]] || listen=$(setting TOKENWIRE_LISTEN)
    fi
    while (($#)); do
        case $1 in
        --port=*) port=${1#*=} ;;
        --port) port=${2-} ;;
        --listen=*) listen=${1#*=} ;;
        --listen) listen=${2-} ;;
        esac
        shift
    done
    [[ -z $listen ]] || port=${listen##*:}
    port=${port:-8000}
    [[ ! $port =~ ^[1-9][0-9]*$ ]] || say "$port"
}

# A plain `NAME=value` of .env; whatever is quoted or worse is the server's to read.
setting() { sed -n "s|^$1=\([A-Za-z0-9.:_/-]*\) *$|\1|p" .env | tail -n 1; }

is_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

banner() {
    local url=$1 tokenwire=$2 elsewhere=
    [[ $url == http://localhost:8000 ]] || elsewhere="--url $url "
    cat <<TRY

  Tokenwire starts on $url

  Open it, type a prompt, press Send; reload in the middle of the answer, or open the address in a second tab.
  In another terminal:

    curl -N $url/ask -H "Content-Type: application/json" -d '{"query": "Hello world", "uuid": "'\$(uuidgen)'"}'
    $tokenwire ask $elsewhere"Hello world"

  Ctrl-C stops it. Running answers continue at the next start (not with --ephemeral).

TRY
}

# --- With a real model ---

# A model that was named is served or refused. Without a name, the simulated one is the fallback.
up_real() {
    local model
    check_port "$@"
    model=$(model_of "$@")
    if [[ $model == *.gguf && ! -f $model ]]; then
        fail "there is no file $model: give another one, or leave --model out to get SmolLM2-135M-Instruct"
    fi
    need_toolchain
    if [[ -n $model ]]; then
        build_with_llama
    elif model=$(dev/fetch-model.sh) && (build_with_llama); then
        # So small a model drifts into other languages without these.
        unless_set TOKENWIRE_DEFAULT_SYSTEM "Answer in English."
        unless_set TOKENWIRE_DEFAULT_TEMPERATURE 0.2
        # It may also repeat itself until its context is full.
        unless_set TOKENWIRE_DEFAULT_MAX_TOKENS 1024
        set -- --model "$model" "$@"
    else
        say
        say "No real model (the reason is above): going on with the simulated one, which repeats what it is asked."
        say "To use a model that you have: ./up.sh --real --model FILE.gguf"
        up_here "$@"
    fi
    serve "$@"
}

# What --model says, or the file of models; nothing where neither is given.
model_of() {
    local models=${TOKENWIRE_MODELS-} model=${TOKENWIRE_MODEL-}
    if [[ -f .env ]]; then
        [[ -n $models ]] || models=$(setting TOKENWIRE_MODELS)
        [[ -n $model ]] || model=$(setting TOKENWIRE_MODEL)
    fi
    while (($#)); do
        case $1 in
        --models=*) models=${1#*=} ;;
        --models) models=${2-} ;;
        --model=*) model=${1#*=} ;;
        --model) model=${2-} ;;
        esac
        shift
    done
    say "${model:-$models}"
}

# Exports a setting that neither the environment nor .env has. A flag wins over it.
unless_set() {
    if [[ ! -v $1 ]] && ! grep -q "^$1=" .env 2>/dev/null; then
        export "$1=$2"
    fi
}

build_with_llama() {
    need_llama_build
    say "Building in release mode with llama.cpp; the first time takes about ten minutes on two cores, most of them for llama.cpp."
    cargo build --release --locked --package tokenwire --features gguf
}

# --- In Docker ---

up_compose() {
    has docker || fail "Docker is not installed: get it from https://docs.docker.com/get-docker, or run ./up.sh without --compose, which needs none"
    docker compose version >/dev/null 2>&1 ||
        fail "this docker has no Compose: install its plugin (the package docker-compose-plugin or docker-compose-v2)"
    docker info >/dev/null 2>&1 ||
        fail "the Docker engine does not answer: start it (systemctl start docker, or Docker Desktop), and see that you may use it: docker info"
    # Always a file of this name: without one, Compose would read .env, which is for the binary on this machine.
    local settings=.env.dev
    [[ -f $settings ]] || settings=.env.dev.example
    compose=(docker compose --env-file "$settings" --file docker-compose.dev.yml)

    say "Starting on Docker Compose with the settings of $settings."
    say "The first build takes some minutes; after it, the addresses are:"
    say "  page and API http://localhost:8000 · RabbitMQ's management http://localhost:15672 · Redis localhost:6379"
    say "(as long as $settings does not say otherwise). Ctrl-C takes it down."
    # In the background, because bash would not hear a SIGTERM while it waits for a program in the foreground; in a process
    # group of its own (set -m), so that a stop reaches docker and its plugin once: twice would be "now, without waiting".
    # No menu, since that takes keys from the terminal, which a background group may not.
    export COMPOSE_MENU=false
    set -m
    "${compose[@]}" up --build --remove-orphans "$@" </dev/null &
    local up=$! status=0
    set +m
    trap 'kill -TERM -- "-$up" 2>/dev/null || true' INT TERM
    # A signal ends the wait, not Compose.
    while kill -0 "$up" 2>/dev/null; do
        status=0
        wait "$up" || status=$?
    done
    # What is left is quick; whoever insists may stop that too.
    trap - INT TERM
    "${compose[@]}" down --remove-orphans
    say "Down. The data is kept: ./up.sh --compose goes on with it, ./docker.clean.sh removes it."
    # A stop that was asked for is none of these.
    case $status in
    0 | 130 | 143) ;;
    *) return "$status" ;;
    esac
}

main "$@"
