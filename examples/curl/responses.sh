#!/usr/bin/env bash
# Asks at /v1/responses and prints the answer as it comes. When the connection breaks, or the server was killed, it goes on
# exactly where it was: ./responses.sh "Tell me a story."
#
# In the background the answer goes on without us; starting_after says how far we are.
set -euo pipefail

url=${OPENAI_BASE_URL:-http://localhost:8000/v1}
body=$(jq --null-input --arg input "${1:-Tell me a story.}" --arg model "${MODEL:-demo}" \
    '{$model, $input, background: true, stream: true}')
key=$(uuidgen)
id='' seen=''

connect() {
    local request=("$url/responses/$id?stream=true&starting_after=$seen")
    # With the same key, asking twice is asking once.
    [[ -n $id ]] || request=("$url/responses" --header "Idempotency-Key: $key" --data "$body")
    curl --silent --no-buffer --write-out ' (status %{http_code})\n' --header "Content-Type: application/json" "${request[@]}"
}

# Of each event its type, its number, the response and the text, on one line. What was cut in the middle is no JSON.
events() {
    jq --raw-input --raw-output --unbuffered '
        if startswith("data:{") then
            ltrimstr("data:") | fromjson? | [.type, .sequence_number, .response.id // "-", .delta // .error.message // ""] | @tsv
        elif test("\\(status 4..\\)$") then ["refused", 0, "-", .] | @tsv
        else empty end'
}

finish() {
    printf '\n'
    (($# == 0)) && exit
    printf '%s\n' "$1" >&2
    exit 1
}

while :; do
    while IFS=$'\t' read -r type number response text; do
        case $type in
        response.created) id=$response ;;
        response.output_text.delta) printf '%b' "$text" ;;
        response.completed) finish ;;
        response.incomplete) finish "The answer was cut short." ;;
        error | refused) finish "$text" ;;
        esac
        [[ $type != response.* ]] || seen=$number
    done < <(connect | events)
    # It was cut, or the server is away for now.
    sleep 1
done
