#!/usr/bin/env bash
# `make test`: installs what a fresh Debian machine lacks, then checks and tests everything, stage by stage, and ends with
# one line "N passed, N failed, N skipped" after the reason for each skip; a test that was not run is skipped and not passed.
# A stage that fails does not hide the later ones.
# LONGSHORE_LONG=1 runs the long forms of the long suites (`make test-full`).
set -uo pipefail
cd "$(dirname "$0")/.."

export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LONGSHORE_SKIP_FILE="$work/skipped"
: > "$LONGSHORE_SKIP_FILE"

passed=0
failed=0
failures=()

# stage NAME COMMAND...: runs the command, shows its output, times it and adds up what its test runner counted. A stage
# without tests counts as one check.
stage() {
  local name=$1 started=$SECONDS log="$work/log" status counts
  shift
  printf '\n== %s\n' "$name"
  "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  # Results of cargo's runner ("test result: ok. 3 passed; 0 failed; ...") and of our Python judges ("3 passed, 0 failed").
  counts=$(awk '
    /^test result: / { for (i = 1; i <= NF; i++) { if ($i ~ /^passed;/) p += $(i-1); if ($i ~ /^failed;/) f += $(i-1) } seen = 1 }
    /^[0-9]+ passed, [0-9]+ failed/ { p += $1; f += $3; seen = 1 }
    END { if (seen) print p + 0, f + 0 }' "$log")
  if [ -n "$counts" ]; then
    passed=$((passed + ${counts% *}))
    failed=$((failed + ${counts#* }))
    [ "$status" -ne 0 ] && [ "${counts#* }" -eq 0 ] && failed=$((failed + 1))
  elif [ "$status" -eq 0 ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
  fi
  [ "$status" -ne 0 ] && failures+=("$name")
  printf '== %s: %s, %d s\n' "$name" "$([ "$status" -eq 0 ] && echo ok || echo FAILED)" $((SECONDS - started))
  return 0
}

# A line of that file is why something was left out; one that begins with "whole test: " is why a test was not run.
skip() { printf '%s\n' "$1" >> "$LONGSHORE_SKIP_FILE"; }

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi; }

wasm_compiler() {
  printf '#include <stdlib.h>\nvoid f(void);\nvoid f(void) { free(malloc(1)); }\n' |
    clang --target=wasm32-wasi --sysroot=/usr -mexec-model=reactor -x c - -o /dev/null 2>/dev/null
}

# Debian packages the build or the tests need. Where they cannot be installed, the tests that need them skip and say so.
install_packages() {
  local missing=()
  command -v cc >/dev/null || missing+=(gcc libc6-dev)
  command -v python3 >/dev/null || missing+=(python3)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  command -v curl >/dev/null || missing+=(curl)
  command -v strace >/dev/null || missing+=(strace)
  # The example policy in C; the name of the last one has the version of the compiler in it.
  if ! wasm_compiler; then
    missing+=(clang lld wasi-libc)
    command -v apt-get >/dev/null && missing+=("$(apt-cache depends clang | sed -n 's/.*Depends: clang-\([0-9]*\)$/libclang-rt-\1-dev-wasm32/p')")
  fi
  if [ ${#missing[@]} -eq 0 ]; then
    echo "nothing is missing"
    return 0
  fi
  echo "installing ${missing[*]}"
  if ! command -v apt-get >/dev/null; then
    echo "no apt-get here: install these by hand"
    return 0
  fi
  for attempt in 1 2 3; do
    as_root apt-get update -q >/dev/null && as_root apt-get install -qy --no-install-recommends "${missing[@]}" >/dev/null && return 0
    sleep $((attempt * 5))
  done
  echo "could not install ${missing[*]}; tests that need them will say so"
}

python_environment() {
  LONGSHORE_PYTHON=$(bash tests/python/venv.sh) && export LONGSHORE_PYTHON && echo "$LONGSHORE_PYTHON" > "$work/python"
}

guests() {
  bash plugins/toolchain.sh ensure
  case $? in
    0) ;;
    3) skip "guests: no wasm toolchain can be had here, so the plugins were not rebuilt"; return 0 ;;
    *) return 1 ;;
  esac
  bash plugins/toolchain.sh build --into "$work/guests" && touch "$work/guests-built"
}

# A full disk fails in every stage at once, with a different message in each: said here, where it can be understood.
free_disk() {
  local free_gb needed_gb=16
  [ "${CARGO_INCREMENTAL:-1}" = 0 ] || needed_gb=24
  free_gb=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1024 / 1024))
  [ -d target/debug/deps ] && needed_gb=4
  echo "$free_gb GB of disk are free"
  [ "$free_gb" -ge "$needed_gb" ] || echo "that may not do: what is built and downloaded takes up to $needed_gb GB"
}

started=$SECONDS
stage "disk" free_disk
stage "packages" install_packages
stage "python environment" python_environment
[ -f "$work/python" ] && LONGSHORE_PYTHON=$(cat "$work/python") && export LONGSHORE_PYTHON
stage "formatter" cargo fmt --all --check
stage "formatter, plugins" bash -c 'cd plugins && cargo fmt --all --check'
stage "committed plugins are not older than their sources" bash plugins/toolchain.sh check
stage "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
stage "build" cargo build --locked --workspace --all-targets
export LONGSHORE_BINARY="$PWD/target/debug/longshore"
stage "plugins, clippy" bash -c 'cd plugins && cargo clippy --locked --all-targets -- -D warnings'
stage "plugins, native tests" bash -c 'cd plugins && cargo test --locked --no-fail-fast'
stage "guests" guests
[ -f "$work/guests-built" ] && export LONGSHORE_REBUILT_GUESTS="$work/guests"
stage "tests" cargo test --locked --workspace --no-fail-fast
stage "make demo" "$LONGSHORE_BINARY" demo --directory target/test-demo
stage "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

whole=$(grep -c '^whole test: ' "$LONGSHORE_SKIP_FILE" || true)
parts=$(grep -v '^whole test: ' "$LONGSHORE_SKIP_FILE" | sort -u | grep -c . || true)
# Their runners call tests that returned at once passed.
passed=$((passed - whole))
printf '\n== summary, %d s\n' $((SECONDS - started))
for name in "${failures[@]:-}"; do [ -n "$name" ] && echo "FAILED: $name"; done
sed -n 's/^whole test: //p' "$LONGSHORE_SKIP_FILE" | sort | uniq -c |
  sed -E 's/^ *1 /skipped: 1 test: /; s/^ *([0-9]+) /skipped: \1 tests: /'
grep -v '^whole test: ' "$LONGSHORE_SKIP_FILE" | sort -u | sed 's/^/skipped: /'
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" $((whole + parts))
[ "$failed" -eq 0 ] && [ ${#failures[@]} -eq 0 ]
