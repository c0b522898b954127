#!/bin/sh
# Installs (once) a server of Azure Blob Storage and a client, and prints the folder that they are in.
# The folder is ${LONGSHORE_TEST_CACHE:-$HOME/.cache/longshore}/azure-<hash of what is in it>.
# Exit 3 with one plain sentence when they cannot be had; callers then skip what needs them, and say so.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${LONGSHORE_TEST_CACHE:-"${HOME:-/tmp}/.cache/longshore"}

give_up() {
    echo "$1" >&2
    exit 3
}

for program in node npm; do
    command -v "$program" >/dev/null 2>&1 || give_up "Node.js is not installed: there is no \`$program\`."
done
hash=$( (cat "$here/package-lock.json" "$here/fill.mjs"; node --version) | sha256sum | cut -c1-16)
target="$cache/azure-$hash"
[ -e "$target/complete" ] && { echo "$target"; exit 0; }
mkdir -p "$cache" || give_up "The folder $cache cannot be made."

# One maker at a time; the others wait and find it complete.
exec 9>"$cache/azure-$hash.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi
[ -e "$target/complete" ] && { echo "$target"; exit 0; }

rm -rf "$target"
mkdir -p "$target"
cp "$here/package.json" "$here/package-lock.json" "$here/fill.mjs" "$target"
log="$cache/azure-$hash.log"
for pause in 2 5 15 0; do
    if (cd "$target" && npm ci --no-audit --no-fund) >"$log" 2>&1; then
        : >"$target/complete"
        echo "$target"
        exit 0
    fi
    sleep "$pause"
done
give_up "The npm packages of tests/azure cannot be installed: $(tail -n 1 "$log")"
