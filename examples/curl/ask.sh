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
    curl --silent --no-buffer "$url/ask" --data "$body" --write-out ' (status %{http_code})\n' \
        --header "Content-Type: application/json" --header "Last-Event-ID: $last"
}

# One frame: its id, its event, and its data.
frame() {
    last=${1:-$last}
    case $2 in
    '') printf '%s' "$3" ;;
    rewind) printf '\n(The model starts over.)\n' ;;
    done) finish ;;
    error | timeout | expired | cancelled) finish "$2: $3" ;;
    esac
}

finish() {
    printf '\n'
    (($# == 0)) && exit
    printf '%s\n' "$1" >&2
    exit 1
}

while :; do
    id='' event='' data=''
    while IFS= read -r line; do
        case $line in
        'id: '*) id=${line#id: } ;;
        'event: '*) event=${line#event: } ;;
        'data: '*) data+=${line#data: }$'\n' ;;
        'data:'*) data+=${line#data:}$'\n' ;;
        *'(status 4'??')') finish "$line" ;;
        '')
            frame "$id" "$event" "${data%$'\n'}"
            id='' event='' data=''
            ;;
        esac
    done < <(connect)
    # What was cut before the empty line that ends a frame comes again. Any other status: the server is away for now.
    sleep 1
done
