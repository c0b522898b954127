#!/usr/bin/env bash
# Makes wasm32-wasip2 and wasm32-wasip1 guests buildable, builds the plugins of this folder, and keeps the digests of
# the built files. Run it without arguments for help. Everything here may be run again at any time.
set -euo pipefail
export LC_ALL=C

readonly TARGETS=(wasm32-wasip2 wasm32-wasip1)
PLUGINS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
REPOSITORY_DIR=$(dirname "$PLUGINS_DIR")
readonly PLUGINS_DIR REPOSITORY_DIR
readonly CACHE_DIR=${LONGSHORE_GUEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/longshore/guest-toolchain}
readonly ROUTE_WANTED=${LONGSHORE_GUEST_ROUTE:-auto}
# What is built: target, package, file that cargo makes, file that is committed.
readonly GUESTS=(
  "wasm32-wasip2 longshore-standard longshore_standard.wasm standard/standard.wasm"
  "wasm32-wasip2 longshore-residency longshore_residency.wasm residency/residency.wasm"
  "wasm32-wasip2 longshore-tiered longshore_tiered.wasm tiered/tiered.wasm"
  "wasm32-wasip2 longshore-cost-cap longshore_cost_cap.wasm cost-cap/cost-cap.wasm"
  "wasm32-wasip2 longshore-rules longshore_rules.wasm rules/rules.wasm"
  "wasm32-wasip2 longshore-hostile longshore_hostile.wasm hostile/hostile.wasm"
  "wasm32-wasip1 longshore-hostile longshore_hostile.wasm hostile/hostile-wasip1.wasm"
  "wasm32-wasip2 longshore-stranger longshore_stranger.wasm stranger/stranger.wasm"
)
readonly EXIT_USAGE=2 EXIT_UNAVAILABLE=3

usage() {
  cat <<'END'
Usage: plugins/toolchain.sh COMMAND

  ensure               make the wasm targets available and say which way was found
  status               the same without downloading anything: exit code 0 if guests can be built now, 3 if not
  build [--into DIR]   build every plugin of this folder in release, put the .wasm files beside their sources and write
                       their digests; with --into, put them into DIR instead and leave the committed files alone
  cargo ARGS...        run cargo with the guest toolchain, in the current folder: for plugins of your own, for example
                       plugins/toolchain.sh cargo build --release --target wasm32-wasip2
  env                  print the environment that `cargo` above uses, for eval; pass $LONGSHORE_GUEST_CARGO_ARGS to cargo
  digest               write the digest file of every built file (build does it too)
  check                verify every digest file: is a built file older than its source, or not the one that was built?

Two ways are tried. rustup: `rustup target add`, where it can be had or is there already. debian: Debian's own compiler
with the source of its library, unpacked into a cache folder of about 850 MB, never installed.

Environment:
  LONGSHORE_GUEST_CACHE   the cache folder (now: see `status`)
  LONGSHORE_GUEST_ROUTE   rustup or debian to insist on one way; auto (the default) tries both

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no wasm target can be had here.
END
}

say() { printf '%s\n' "$*" >&2; }
fail() { say "toolchain.sh: $*"; exit 1; }
unavailable() { say "toolchain.sh: $*"; exit "$EXIT_UNAVAILABLE"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command up to three times: mirrors and networks have bad moments.
retry() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return 0
    [ "$attempt" = 3 ] || { say "toolchain.sh: try $attempt of 3 failed: $1 ${2:-}"; sleep $((attempt * 2)); }
  done
  return 1
}

# ---- the way of rustup ----------------------------------------------------------------------------------------------

# The compiler that is on the PATH has the library of every target.
targets_installed() {
  local sysroot target
  sysroot=$(rustc --print sysroot 2>/dev/null) || return 1
  for target in "${TARGETS[@]}"; do
    compgen -G "$sysroot/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null || return 1
  done
}

add_targets() {
  have rustup || { say "toolchain.sh: rustup is not installed here."; return 1; }
  say "toolchain.sh: rustup target add ${TARGETS[*]}"
  # A server that does not answer must not hold up a build for ever.
  retry timeout 300 rustup target add "${TARGETS[@]}" >&2 && targets_installed
}

# ---- the way of Debian ----------------------------------------------------------------------------------------------

# The newest toolchain in the cache. A folder of this name is complete: it was renamed into place at the end.
debian_root() {
  local root
  root=$(printf '%s\n' "$CACHE_DIR"/debian-* | sort -V | tail -n 1)
  [ -x "$root/bin/rustc" ] && printf '%s\n' "$root"
}

candidate() { apt-cache policy "$1" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'; }
dependency() { apt-cache depends "$1" 2>/dev/null | awk -v name="$2" '$1 == "Depends:" && $2 ~ name { print $2; exit }'; }

# Names move with every version of the compiler (libstd-rust-web-1.96, libllvm22), so they are looked up.
debian_packages() {
  local version std llvm
  version=$(candidate rustc-web)
  [ -n "$version" ] && [ "$(candidate rust-web-src)" = "$version" ] && [ -n "$(candidate wasi-libc)" ] || return 1
  std=$(dependency libstd-rust-web-dev '^libstd-rust-web-[0-9]') && [ -n "$std" ] || return 1
  llvm=$(dependency "$std" '^libllvm[0-9]') && [ -n "$llvm" ] || return 1
  printf '%s\n' rustc-web libstd-rust-web-dev "$std" rust-web-src wasi-libc "$llvm"
}

update_lists() {
  [ "$(id -u)" = 0 ] || return 1
  say "toolchain.sh: apt-get update"
  retry apt-get -qq update >&2
}

apt_lists() {
  debian_packages >/dev/null && return 0
  if [ "$(id -u)" = 0 ]; then
    update_lists || return 1
    debian_packages >/dev/null && return 0
  elif ! apt-cache policy 2>/dev/null | grep -q 'https\?://'; then
    say "toolchain.sh: apt's package lists are missing and only root may fetch them: run 'sudo apt-get update' once."
    return 1
  fi
  say "toolchain.sh: this system's package sources do not offer rustc-web, rust-web-src and wasi-libc as a matched set."
  return 1
}

# Downloads packages and unpacks them, without installing: they conflict with rustup's compiler.
unpack() {
  local into=$1 package
  shift
  mkdir -p "$into.packages"
  (cd "$into.packages" && apt-get -qq -o APT::Sandbox::User=root download "$@" >&2) || return 1
  for package in "$into.packages"/*.deb; do
    dpkg -x "$package" "$into" || return 1
    rm -f "$package"
  done
  rmdir "$into.packages"
}

# The compiler needs its own libraries before those of the system.
write_wrapper() {
  mkdir -p "$1/bin"
  cat > "$1/bin/rustc" <<'END'
#!/bin/sh
root=$(dirname "$(dirname "$0")")
libraries=
for folder in "$root"/usr/lib/*-linux-gnu "$root"/usr/lib "$root"/usr/lib/llvm-*/lib; do
  [ -d "$folder" ] && libraries="$libraries$folder:"
done
LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:-}" exec "$root/usr/bin/rustc" "$@"
END
  chmod +x "$1/bin/rustc"
}

# Libraries that LLVM needs and a small system may lack. The C library and its companions are always there, and a
# second copy of them would not fit the running system.
llvm_libraries() {
  local llvm
  llvm=$(debian_packages | grep '^libllvm')
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$llvm" |
    grep '^[a-z0-9]' | grep -v -e '^libc6' -e '^libgcc' -e '^gcc-' -e '^libcrypt' -e '^libllvm' -e '^debconf' | sort -u
}

# Packages vanish from mirrors when newer ones come: with old lists a download fails until the lists are new.
unpack_compiler() {
  local packages
  mapfile -t packages < <(debian_packages)
  say "toolchain.sh: downloading ${packages[*]} ($(candidate rustc-web)) into $CACHE_DIR"
  unpack "$1" "${packages[@]}" || { update_lists && mapfile -t packages < <(debian_packages) && unpack "$1" "${packages[@]}"; }
}

fetch_debian() {
  local packages version staging root
  if ! have apt-get || ! have dpkg; then say "toolchain.sh: this is not a Debian system."; return 1; fi
  apt_lists || return 1
  mkdir -p "$CACHE_DIR"
  staging=$(mktemp -d "$CACHE_DIR/unpacking-XXXXXX")
  # shellcheck disable=SC2064  # the folder's name is wanted as it is now
  trap "rm -rf '$staging' '$staging.packages'" EXIT
  retry unpack_compiler "$staging" || { say "toolchain.sh: the packages could not be downloaded."; return 1; }
  write_wrapper "$staging"
  if ! "$staging/bin/rustc" --version >/dev/null 2>&1; then
    mapfile -t packages < <(llvm_libraries)
    say "toolchain.sh: the compiler lacks libraries of this system; downloading them too."
    retry unpack "$staging" "${packages[@]}" || return 1
  fi
  "$staging/bin/rustc" --version >/dev/null || { say "toolchain.sh: the unpacked compiler does not run."; return 1; }
  version=$(candidate rustc-web)
  root=$CACHE_DIR/debian-${version//[^A-Za-z0-9.]/_}
  # Renamed only when it works, so an interrupted download never looks like a toolchain. Another run may have won.
  mv -T "$staging" "$root" 2>/dev/null || [ -d "$root" ]
}

# Linkers for wasm come with rustup's compiler; Debian's packages have none.
linker_dir() {
  local sysroot host directory
  sysroot=$(rustc --print sysroot) && host=$(rustc -vV | sed -n 's/^host: //p') || return 1
  directory=$sysroot/lib/rustlib/$host/bin
  [ -x "$directory/rust-lld" ] && [ -x "$directory/wasm-component-ld" ] && printf '%s\n' "$directory"
}

# ---- choosing a way -------------------------------------------------------------------------------------------------

# Sets ROUTE, without downloading.
find_route() {
  ROUTE=
  case $ROUTE_WANTED in auto | rustup | debian) ;; *)
    say "toolchain.sh: LONGSHORE_GUEST_ROUTE is '$ROUTE_WANTED'; it can be auto, rustup or debian."
    exit "$EXIT_USAGE" ;;
  esac
  if ! have cargo || ! have rustc; then
    unavailable "cargo and rustc are not on the PATH. Install Rust first: https://rustup.rs"
  fi
  if [ "$ROUTE_WANTED" != debian ] && targets_installed; then ROUTE=rustup; return 0; fi
  if [ "$ROUTE_WANTED" != rustup ] && debian_root >/dev/null && linker_dir >/dev/null; then ROUTE=debian; return 0; fi
  return 1
}

# Sets ROUTE, downloading what is missing.
ensure() {
  find_route && return 0
  if [ "$ROUTE_WANTED" != debian ] && add_targets; then ROUTE=rustup; return 0; fi
  if [ "$ROUTE_WANTED" != rustup ]; then
    linker_dir >/dev/null || unavailable "the compiler on the PATH has no rust-lld and wasm-component-ld to link wasm with. Install Rust with rustup: https://rustup.rs"
    if fetch_debian; then ROUTE=debian; return 0; fi
  fi
  unavailable "no wasm target can be had here: neither 'rustup target add ${TARGETS[*]}' nor Debian's packages worked. The committed .wasm files still work; they just cannot be rebuilt on this machine."
}

describe_route() {
  case $ROUTE in
    rustup) printf 'rustup: %s has %s\n' "$(rustc --version)" "${TARGETS[*]}" ;;
    debian) printf 'debian: %s in %s\n' "$("$(debian_root)/bin/rustc" --version)" "$(debian_root)" ;;
  esac
}

# Sets the environment of a guest build. Nothing of it leaks: this script is a process of its own.
enter() {
  local flags=() directory root
  local cargo_home=${CARGO_HOME:-${HOME:-/root}/.cargo}
  # No path of this machine in the built files. The last prefix that fits wins, so the general ones come first.
  [ -z "${HOME:-}" ] || flags+=("--remap-path-prefix=$HOME=/home")
  flags+=("--remap-path-prefix=$(pwd -P)=/plugin" "--remap-path-prefix=$REPOSITORY_DIR=/longshore")
  flags+=("--remap-path-prefix=$cargo_home=/cargo" "--remap-path-prefix=$CACHE_DIR=/toolchain")
  for directory in "$cargo_home"/registry/src/*; do
    flags+=("--remap-path-prefix=$directory=/crates")
  done
  GUEST_CARGO_ARGS=()
  if [ "$ROUTE" = debian ]; then
    root=$(debian_root)
    flags+=("--remap-path-prefix=$root/usr/lib/rustlib/src/rust=/rust" "-Clink-self-contained=no" "-Lnative=$root/usr/lib/wasm32-wasi")
    # Debian's C library for wasm knows no sockets: a guest that names std::net would not link.
    flags+=("--cfg=longshore_without_sockets")
    PATH=$(linker_dir):$PATH
    export PATH RUSTC="$root/bin/rustc" RUSTC_BOOTSTRAP=1
    GUEST_CARGO_ARGS=("-Zbuild-std=std,panic_abort")
  fi
  unset RUSTFLAGS RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER
  CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; printf '%s' "${flags[*]}")
  export CARGO_ENCODED_RUSTFLAGS
}

# ---- commands -------------------------------------------------------------------------------------------------------

command_status() {
  say "cache folder: $CACHE_DIR"
  find_route || unavailable "no wasm target is here yet. 'plugins/toolchain.sh ensure' tries to get one."
  describe_route
}

command_env() {
  ensure
  enter
  printf 'export CARGO_ENCODED_RUSTFLAGS=%q\n' "$CARGO_ENCODED_RUSTFLAGS"
  printf 'export LONGSHORE_GUEST_CARGO_ARGS=%q\n' "${GUEST_CARGO_ARGS[*]}"
  [ "$ROUTE" != debian ] || printf 'export RUSTC=%q RUSTC_BOOTSTRAP=1 PATH=%q\n' "$RUSTC" "$PATH"
}

command_cargo() {
  [ "$#" -gt 0 ] || { say "toolchain.sh: cargo needs arguments, for example: build --release --target wasm32-wasip2"; exit "$EXIT_USAGE"; }
  ensure
  enter
  exec cargo "$1" "${GUEST_CARGO_ARGS[@]}" "${@:2}"
}

# Copies by rename, so that nobody ever reads half a file.
install_file() {
  cp "$1" "$2.new"
  chmod 644 "$2.new"
  mv "$2.new" "$2"
}

command_build() {
  local into='' guest target guest_target package made committed packages
  case ${1:-} in
    '') ;;
    --into) [ "$#" = 2 ] || { say "toolchain.sh: --into needs a folder"; exit "$EXIT_USAGE"; }
      mkdir -p "$2"; into=$(cd "$2" && pwd -P) ;;
    *) say "toolchain.sh: build does not know '$1'"; exit "$EXIT_USAGE" ;;
  esac
  ensure
  describe_route >&2
  cd "$PLUGINS_DIR"
  # Crates are fetched first: their folders must exist to be remapped.
  cargo fetch --locked --quiet
  enter
  for target in "${TARGETS[@]}"; do
    packages=()
    for guest in "${GUESTS[@]}"; do
      read -r guest_target package made committed <<<"$guest"
      [ "$guest_target" != "$target" ] || packages+=(--package "$package")
    done
    cargo build "${GUEST_CARGO_ARGS[@]}" --locked --release --target "$target" --target-dir target "${packages[@]}"
  done
  for guest in "${GUESTS[@]}"; do
    read -r target package made committed <<<"$guest"
    if [ -n "$into" ]; then
      install_file "target/$target/release/$made" "$into/$(basename "$committed")"
    else
      install_file "target/$target/release/$made" "$PLUGINS_DIR/$committed"
    fi
  done
  [ -n "$into" ] || command_digest
}

sha256() { if have sha256sum; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

# Everything a built file is made of, relative to the repository, in byte order. See README.md, "Digest files".
source_files() {
  (
    cd "$REPOSITORY_DIR"
    {
      printf '%s\n' plugins/Cargo.toml plugins/Cargo.lock plugins/sdk/Cargo.toml "plugins/$1/Cargo.toml"
      find wit/v0.1.0 plugins/sdk/src "plugins/$1/src" -type f \( -name '*.rs' -o -name '*.json' -o -name '*.wit' \)
    } | sort
  )
}

# The two lines of a digest file.
digest_lines() {
  local committed=$1 list
  list=$(cd "$REPOSITORY_DIR" && source_files "${committed%%/*}" | while IFS= read -r path; do sha256 "$path"; done)
  printf 'source %s\n' "$(printf '%s\n' "$list" | sha256 | cut -d ' ' -f 1)"
  printf 'wasm %s\n' "$(sha256 < "$PLUGINS_DIR/$committed" | cut -d ' ' -f 1)"
}

command_digest() {
  local guest committed
  for guest in "${GUESTS[@]}"; do
    committed=${guest##* }
    digest_lines "$committed" > "$PLUGINS_DIR/$committed.digest"
    say "plugins/$committed ($(wc -c < "$PLUGINS_DIR/$committed") bytes)"
  done
}

command_check() {
  local guest committed expected wrong=0
  for guest in "${GUESTS[@]}"; do
    committed=${guest##* }
    if [ ! -f "$PLUGINS_DIR/$committed" ] || [ ! -f "$PLUGINS_DIR/$committed.digest" ]; then
      say "plugins/$committed or its digest file is missing: run plugins/toolchain.sh build"
      wrong=1
      continue
    fi
    expected=$(digest_lines "$committed")
    if [ "$(head -n 1 <<<"$expected")" != "$(head -n 1 "$PLUGINS_DIR/$committed.digest")" ]; then
      say "plugins/$committed is older than its source: run plugins/toolchain.sh build, and commit what it made"
      wrong=1
    elif [ "$expected" != "$(cat "$PLUGINS_DIR/$committed.digest")" ]; then
      say "plugins/$committed is not the file that its digest names: run plugins/toolchain.sh build, and commit what it made"
      wrong=1
    fi
  done
  [ "$wrong" = 0 ] || exit 1
  printf 'The %s built files match their sources.\n' "${#GUESTS[@]}"
}

main() {
  case ${1:-help} in
    ensure) ensure; describe_route ;;
    status) command_status ;;
    env) command_env ;;
    cargo) shift; command_cargo "$@" ;;
    build) shift; command_build "$@" ;;
    digest) command_digest ;;
    check) command_check ;;
    help | -h | --help) usage ;;
    *) usage >&2; exit "$EXIT_USAGE" ;;
  esac
}

main "$@"
