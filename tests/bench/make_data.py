#!/usr/bin/env python3
"""Makes the data sets of `make bench` with real Milvus Lite, once, in the folder LONGSHORE_BENCH_DATA (default
target/bench-data). Any Python 3.11 can start it; it gets its packages by itself (tests/python/venv.sh, pinned).

    big, big-changed     one directory of 700 MB: real sentences, embeddings of all-MiniLM-L6-v2 (384 × float32)
    many, many-changed   1,000 collections of 100–500 KB, about ten files each
    ten                  the rows of `many` in ten collections

Some ten thousand rows are real; the rest are mixed of two neighbouring real ones (`Rows` in lite.py). How many are
real stands in each set's .json. `…-changed` is a copy of the set into which Milvus Lite really inserted and from which
it really deleted; what became of the files is its own doing, and the .json says how many bytes differ.
"""

import argparse
import filecmp
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VERSION = 1  # of the sets: grows when they have to be made anew


def folder():
    return pathlib.Path(os.environ.get("LONGSHORE_BENCH_DATA", ROOT / "target" / "bench-data")).resolve()


def files(directory):
    """Size of every file below a folder, by relative path; Milvus Lite's LOCK left out."""
    found = {}
    for base, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(base, name)
            found[os.path.relpath(path, directory)] = os.path.getsize(path)
    found.pop("LOCK", None)
    return found


def difference(before, after):
    """(changed and new files with their sizes, files that are gone) between two states of a directory."""
    old, new = files(before), files(after)
    fresh = {
        path: size for path, size in new.items()
        if old.get(path) != size or not filecmp.cmp(f"{before}/{path}", f"{after}/{path}", shallow=False)
    }
    return fresh, sorted(set(old) - set(new))


def python():
    """A Python with the pinned packages."""
    made = subprocess.run(["sh", HERE.parent / "python" / "venv.sh", HERE / "requirements.txt"], stdout=subprocess.PIPE, text=True)
    if made.returncode != 0:
        raise SystemExit("The data cannot be made without real Milvus Lite.")
    return made.stdout.strip()


def write(interpreter, kind, target, scale, sentences):
    """Runs one writer in a process of its own, into a folder beside the target, and renames it once whole."""
    partial = target.with_name(target.name + ".partial.db")
    shutil.rmtree(partial, ignore_errors=True)
    base = kind.removesuffix("-changed")
    if base != kind:
        shutil.copytree(target.with_name(base), partial)
    command = [interpreter, str(HERE / "make_data.py"), "--write", kind, "--into", str(partial), "--scale", str(scale),
               "--sentences", str(sentences)]
    print(f"making {kind}", flush=True)
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    made = None
    for line in run.stdout:
        if line.startswith("made "):
            made = json.loads(line[5:])
        else:
            print(line, end="", flush=True)
    if run.wait() != -signal.SIGKILL or made is None:
        raise SystemExit(f"The writer of {kind} did not come to its end.")
    shutil.rmtree(target, ignore_errors=True)
    (partial / "LOCK").unlink(missing_ok=True)
    partial.rename(target)
    sizes = files(target)
    made |= {"bytes": sum(sizes.values()), "files": len(sizes), "version": VERSION, "scale": scale, "sentences": sentences}
    if base != kind:
        fresh, gone = difference(target.with_name(base), target)
        made |= {"changed_bytes": sum(fresh.values()), "changed_files": len(fresh), "gone_files": len(gone)}
    target.with_name(target.name + ".json").write_text(json.dumps(made, indent=2) + "\n")
    print(f"  {json.dumps(made)}", flush=True)


def ensure(scale=1.0, sentences=20000):
    """Makes what is missing; gives the folder of the sets."""
    base = folder()
    sets = base / (f"sets-{scale:g}")
    sets.mkdir(parents=True, exist_ok=True)
    interpreter = None
    for kind in ("big", "big-changed", "many", "many-changed", "ten"):
        note = sets / f"{kind}.json"
        if note.exists() and json.loads(note.read_text())["version"] == VERSION:
            continue
        if interpreter is None:
            interpreter = python()
            subprocess.run([interpreter, str(HERE / "make_data.py"), "--write", "pool", "--sentences", str(sentences)], check=True)
        write(interpreter, kind, sets / kind, scale, sentences)
    return sets


def write_here(kind, into, scale, count):
    """The part that runs with the pinned packages."""
    import lite
    import sentences

    pool = sentences.pool(folder() / "pool", count)
    many = max(10, int(1000 * scale))
    writers = {
        "big": (lite.write_big, 700 * scale),
        "big-changed": (lite.change_big, 700 * scale),
        "many": (lite.write_many, many, many),
        "many-changed": (lite.change_many,),
        "ten": (lite.write_many, many, max(1, many // 100)),
    }
    if kind != "pool":
        writer, *arguments = writers[kind]
        lite.run_and_die(writer, into, pool, *arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the sets; 0.02 for a trial")
    parser.add_argument("--sentences", type=int, default=20000, help="real rows")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--into", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_here(arguments.write, arguments.into, arguments.scale, arguments.sentences)
    else:
        print(ensure(arguments.scale, arguments.sentences))


if __name__ == "__main__":
    main()
