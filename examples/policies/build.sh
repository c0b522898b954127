#!/usr/bin/env bash
# Builds the policy `tagged` in one language and prints the path of the built file.
#   build.sh c | javascript | python
# What was built is kept under target/policies, by a digest of what it was built from. Tools are taken from the system
# (clang with its WebAssembly libraries) or put into ${LONGSHORE_TEST_CACHE:-$HOME/.cache/longshore} once.
# Exit 3 with one plain sentence when a tool cannot be had; 1 when the build itself fails.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
repository=$(dirname "$(dirname "$here")")
contract=$repository/wit/v0.1.0
cache=${LONGSHORE_TEST_CACHE:-"${HOME:-/tmp}/.cache/longshore"}

give_up() { printf '%s\n' "$1" >&2; exit 3; }
digest() { sha256sum | cut -c1-16; }

# A folder in the cache, made once by a command that gets the folder as its last argument; others wait for it.
#   tool NAME COMMAND...
tool() {
  local folder=$cache/$1 log
  shift
  mkdir -p "$cache"
  exec 9>"$folder.lock"
  if command -v flock >/dev/null; then flock 9; fi
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder" && mkdir -p "$folder"
    log=$folder.log
    "$@" "$folder" >"$log" 2>&1 || give_up "The tools for this language cannot be installed: $(grep -i error "$log" | tail -n 1)"
    : >"$folder/complete"
  fi
  exec 9>&-
  printf '%s\n' "$folder"
}

build_c() {
  local flags=(--target=wasm32-wasi --sysroot="${WASI_SYSROOT:-/usr}" -mexec-model=reactor -std=c11 -O2 -Wall -Wextra -Werror)
  command -v clang >/dev/null || give_up "clang is not installed (Debian: clang, lld, wasi-libc, libclang-rt-*-dev-wasm32)."
  printf '#include <stdlib.h>\nvoid f(void);\nvoid f(void) { free(malloc(1)); }\n' |
    clang "${flags[@]}" -x c - -o /dev/null 2>/dev/null ||
    give_up "clang cannot link WebAssembly here (Debian: lld, wasi-libc, libclang-rt-*-dev-wasm32)."
  # What wit-bindgen writes is not held to these warnings.
  clang "${flags[@]}" -Wno-unused-parameter -I "$here/c/generated" "$here/c/policy.c" "$here/c/generated/selection_policy.c" \
    "$here/c/generated/selection_policy_component_type.o" -Wl,--strip-debug -o "$1"
}

install_javascript() {
  cp "$here/javascript/package.json" "$here/javascript/package-lock.json" "$1/"
  (cd "$1" && npm ci --no-audit --no-fund)
}

build_javascript() {
  local tools work
  command -v npm >/dev/null || give_up "npm is not installed."
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' || give_up "Node.js 20 or newer is needed."
  tools=$(tool "policy-javascript-$(cat "$here"/javascript/package-lock.json <(node --version) | digest)" install_javascript)
  # Node looks for packages in the folders above a program.
  work=$(mktemp -d "$tools/build-XXXXXX")
  cp "$here/javascript/policy.js" "$here/javascript/build.mjs" "$here/javascript/package.json" "$work/"
  (cd "$work" && node build.mjs "$contract" "$1") >&2
  rm -rf "$work"
}

install_python() {
  python3 -m venv "$1/venv"
  "$1/venv/bin/pip" install --disable-pip-version-check --no-input -r "$here/python/requirements.txt"
}

build_python() {
  local tools
  command -v python3 >/dev/null || give_up "Python is not installed."
  python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || give_up "Python 3.11 or newer with venv is needed."
  tools=$(tool "policy-python-$(cat "$here"/python/requirements.txt <(python3 --version) | digest)" install_python)
  "$tools/venv/bin/componentize-py" --wit-path "$contract" --world selection-policy componentize --python-path "$here/python" policy --output "$1" >&2
}

case ${1:-} in c | javascript | python) ;; *) echo "usage: build.sh c | javascript | python" >&2; exit 2 ;; esac
language=$1
sources=$(cd "$repository" && find "examples/policies/$language" examples/policies/build.sh wit/v0.1.0 -type f -not -path '*/node_modules/*' -not -name '*.pyc' | sort | xargs sha256sum | digest)
output=$repository/target/policies/$language-$sources.wasm
if [ ! -e "$output" ]; then
  mkdir -p "$(dirname "$output")"
  "build_$language" "$output.$$"
  # Renamed only when it is whole. What earlier sources gave is of no use any more.
  find "$(dirname "$output")" -name "$language-*.wasm" -delete
  mv "$output.$$" "$output"
fi
printf '%s\n' "$output"
