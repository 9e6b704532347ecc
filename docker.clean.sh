#!/usr/bin/env bash
# Removes what ./up.sh --compose has made on this machine's Docker, data included, and nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=dev/common.sh
source dev/common.sh

# Compose puts it on everything that it makes for the project of this name; images that it pulled for it have none, so
# those of RabbitMQ and Redis stay.
ours="label=com.docker.compose.project=tokenwire"

usage() {
    cat <<'HELP'
Removes the containers, networks, volumes and images of the Compose project `tokenwire`: its RabbitMQ's and its Redis's
data too. Shows them and asks first. Leaves everything else alone.

  ./docker.clean.sh          ask
  ./docker.clean.sh --yes    do not ask
HELP
}

main() {
    local answer=ask
    case ${1-} in
    -h | --help)
        usage
        return
        ;;
    -y | --yes) answer=y ;;
    '') ;;
    *) fail "unknown option $1: see ./docker.clean.sh --help" ;;
    esac
    has docker || fail "Docker is not installed, so there is nothing to remove"
    docker info >/dev/null 2>&1 ||
        fail "the Docker engine does not answer: start it, and see that you may use it: docker info"

    local containers networks volumes images
    mapfile -t containers < <(docker container ls --all --filter "$ours" --format '{{.Names}}')
    mapfile -t networks < <(docker network ls --filter "$ours" --format '{{.Name}}')
    mapfile -t volumes < <(docker volume ls --filter "$ours" --format '{{.Name}}')
    # Without names too: what a rebuild has replaced.
    mapfile -t images < <(docker image ls --filter "$ours" --no-trunc --quiet | sort -u)
    if ((${#containers[@]} + ${#networks[@]} + ${#volumes[@]} + ${#images[@]} == 0)); then
        say "There is nothing of the project tokenwire here."
        return
    fi
    show Containers "${containers[@]}"
    show Networks "${networks[@]}"
    show Volumes "${volumes[@]}"
    ((${#images[@]} == 0)) || say "Images:"
    docker image ls --filter "$ours" --format '  {{.Repository}}:{{.Tag}} {{.ID}}'
    if [[ $answer == ask ]]; then
        [[ -t 0 ]] || fail "nobody is here to be asked: ./docker.clean.sh --yes removes these"
        read -r -p "Remove them, with the data in the volumes? [y/N] " answer
        [[ $answer == [yY]* ]] || fail "nothing was removed"
    fi
    # Containers first: they hold the rest.
    remove container rm --force -- "${containers[@]}"
    remove network rm -- "${networks[@]}"
    remove volume rm -- "${volumes[@]}"
    remove image rm --force -- "${images[@]}"
    say "Removed."
}

show() {
    local kind=$1
    shift
    (($# == 0)) || printf '%s:\n%s\n' "$kind" "$(printf '  %s\n' "$@")"
}

# `docker KIND rm OPTION... -- NAME...`, unless there is no name.
remove() {
    [[ ${!#} == -- ]] || docker "$@" >/dev/null
}

main "$@"
