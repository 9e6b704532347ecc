#!/usr/bin/env bash
# Asks at /ask and prints the answer as it comes. When the connection breaks, or the server was killed, it goes on exactly
# where it was: ./ask.sh "Tell me a story."
#
# The id is our own, so the same request, sent again, attaches to the same answer; Last-Event-ID says how far we are.
set -euo pipefail

url=${TOKENWIRE_URL:-http://localhost:8000}
body=$(jq --null-input --arg query "${1:-Tell me a story.}" --arg uuid "$(uuidgen)" '{$query, $uuid}')
last=0

connect() {
    curl --silent --no-buffer "$url/ask" --data "$body" --write-out '\nstatus: %{http_code}\n' \
        --header "Content-Type: application/json" --header "Last-Event-ID: $last"
}

# One frame: its id, its event, and the lines of its data.
frame() {
    local IFS=$'\n' id=$1 event=$2
    shift 2
    last=${id:-$last}
    case $event in
    '') printf '%s' "$*" ;;
    rewind) printf '\n(The model starts over.)\n' ;;
    done) finish ;;
    error | timeout | expired | cancelled) finish "$event: $*" ;;
    esac
}

finish() {
    printf '\n'
    (($# == 0)) && exit
    printf '%s\n' "$1" >&2
    exit 1
}

while :; do
    id='' event='' data=() status='' complaint=''
    while IFS= read -r line; do
        case $line in
        'id: '*) id=${line#id: } ;;
        'event: '*) event=${line#event: } ;;
        'data: '*) data+=("${line#data: }") ;;
        'data:'*) data+=("${line#data:}") ;;
        'status: '*) status=${line#status: } ;;
        '{'*) complaint=$line ;;
        '')
            frame "$id" "$event" "${data[@]}"
            id='' event='' data=()
            ;;
        esac
    done < <(connect)
    # A frame without its empty line was cut, and comes again. No status, 000 or 5xx: the server is away for now.
    [[ $status != 4* ]] || finish "$complaint"
    sleep 1
done
