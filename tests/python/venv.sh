#!/bin/sh
# Makes (once) a Python environment, with real Milvus Lite unless other packages are named, and prints the path of its
# python.
#   venv.sh [REQUIREMENTS_FILE [MODULES]]
# The environment lies in ${LONGSHORE_TEST_CACHE:-$HOME/.cache/longshore}/python-<hash of the requirements>.
# Exit 3 with one plain sentence when it cannot be had; callers then skip what needs it, and say so.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
requirements=${1:-"$here/requirements.txt"}
modules=${2:-"milvus_lite, pymilvus"}
cache=${LONGSHORE_TEST_CACHE:-"${HOME:-/tmp}/.cache/longshore"}
python=${LONGSHORE_PYTHON:-python3}

give_up() {
    echo "$1" >&2
    exit 3
}

command -v "$python" >/dev/null 2>&1 || give_up "Python is not installed: there is no \`$python\`."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || give_up "Python 3.11 or newer is needed; \`$python\` is $("$python" -V 2>&1)."
hash=$( (cat "$requirements"; "$python" -V) | sha256sum | cut -c1-16)
target="$cache/python-$hash"
[ -e "$target/complete" ] && { echo "$target/bin/python"; exit 0; }
mkdir -p "$cache" || give_up "The folder $cache cannot be made."

# One maker at a time; the others wait and find it complete.
exec 9>"$cache/python-$hash.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi
[ -e "$target/complete" ] && { echo "$target/bin/python"; exit 0; }

rm -rf "$target"
log="$cache/python-$hash.log"
"$python" -m venv "$target" >"$log" 2>&1 || give_up "A Python environment cannot be made (is python3-venv installed?): $(tail -n 1 "$log")"
for pause in 2 5 15 0; do
    if "$target/bin/pip" install --disable-pip-version-check --no-input --retries 5 -r "$requirements" >>"$log" 2>&1; then
        "$target/bin/python" -c "import $modules" >>"$log" 2>&1 || give_up "The installed packages do not load: $(tail -n 1 "$log")"
        : >"$target/complete"
        echo "$target/bin/python"
        exit 0
    fi
    sleep "$pause"
done
give_up "The Python packages of $requirements cannot be installed: $(grep -i error "$log" | tail -n 1)"
