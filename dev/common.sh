# shellcheck shell=bash
# What the scripts share: how they talk, and how they get what is missing. Sourced by bash scripts that have set
# `-euo pipefail`, from the root of the repository.

say() { printf '%s\n' "$*"; }

# One sentence on what is wrong, and what to do about it.
fail() {
    printf '\n%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

has() { command -v -- "$1" >/dev/null 2>&1; }

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

# Installs Debian packages, with the reason told: `apt_install "to link Rust programs" gcc libc6-dev`.
apt_install() {
    local why=$1
    shift
    local by_hand="install $* $why, and run this again"
    has apt-get || fail "there is no apt-get here: $by_hand (your system may name them differently)"
    [[ $EUID -eq 0 ]] || has sudo || fail "neither root nor sudo: $by_hand"
    say "Installing $* $why."
    as_root apt-get update -qq || fail "apt-get cannot update its lists: see above, or $by_hand"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" ||
        fail "apt-get cannot install $*: see above, or $by_hand"
}

# Makes a Python of its own in a directory, anew, also over what an interrupted run has left.
make_python() {
    # Debian has the module venv without what it needs to make one with pip.
    python3 -c 'import venv, ensurepip' 2>/dev/null || apt_install "for a Python environment" python3-venv
    python3 -m venv --clear "$1" || fail "python3 cannot make an environment in $1: see above"
}

# Makes a Python with packages of pinned versions in a directory, unless they are there: `pinned_python DIRECTORY
# --requirement FILE`, and more options of pip before that.
pinned_python() {
    local dir=$1 pinned=${*: -1}
    shift
    # The copy is made last: it says that all of it is there.
    if ! cmp --silent "$pinned" "$dir/installed.txt"; then
        make_python "$dir"
        say "Installing what $pinned names in $dir."
        "$dir/bin/python" -m pip install --only-binary :all: --disable-pip-version-check "$@" ||
            fail "pip cannot install what $pinned names: see above"
        cp "$pinned" "$dir/installed.txt"
    fi
}

# Sets `cargo` up, so that it can build this workspace: Rust new enough, and a C linker.
need_toolchain() {
    local rust
    rust=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    # rustup's own place, for shells that have not read its profile yet.
    has cargo || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    if ! has cargo && ! has rustup; then
        if has apt-cache && [[ -n $(apt-cache search --names-only '^rustup$') ]]; then
            apt_install "to get Rust $rust" rustup
        else
            fail "Rust is not installed: get rustup from https://rustup.rs (or your distribution's package), and run this again"
        fi
    fi
    # With rustup, rust-toolchain.toml says which Rust; newer versions of rustup install it only when they are asked to.
    if has rustup && ! cargo --version >/dev/null 2>&1; then
        rustup toolchain install "$rust" --profile minimal --component rustfmt,clippy ||
            fail "rustup cannot install Rust $rust: see above"
    fi
    local have least
    have=$(cargo --version | cut -d ' ' -f 2) || fail "cargo does not run: see above"
    least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    [[ $(printf '%s\n' "$least" "$have" | sort -V | head -n 1) == "$least" ]] ||
        fail "this is Rust $have, and at least $least is needed: get rustup from https://rustup.rs, and run this again"
    has cc || apt_install "to link Rust programs" gcc libc6-dev
}

# Sets this shell up to build with the feature `gguf`: cmake and a C++ compiler for llama.cpp, libclang for its bindings.
need_llama_build() {
    local missing=()
    has cmake || missing+=(cmake)
    has make || missing+=(make)
    has c++ || missing+=(g++)
    [[ -n $(clang_file 'libclang[.-][0-9ds]*') || -n ${LIBCLANG_PATH-} ]] || missing+=(libclang1)
    ((${#missing[@]} == 0)) || apt_install "to build llama.cpp" "${missing[@]}"
    # libclang alone has no headers of its own; those of gcc do.
    if [[ -z ${BINDGEN_EXTRA_CLANG_ARGS-} && -z $(clang_file stddef.h) ]]; then
        BINDGEN_EXTRA_CLANG_ARGS=-I$(cc -print-file-name=include)
        export BINDGEN_EXTRA_CLANG_ARGS
    fi
}

# A file of Clang's, by its name, where systems put these.
clang_file() {
    local place
    for place in /usr/lib /usr/lib64 /usr/local/lib /opt/homebrew/opt/llvm/lib /Library/Developer/CommandLineTools/usr/lib; do
        [[ ! -d $place ]] || find -L "$place" -maxdepth 6 -name "$1" -path '*clang*' -print -quit 2>/dev/null
    done
}
