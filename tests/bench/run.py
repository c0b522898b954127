#!/usr/bin/env python3
"""`make bench`: Longshore beside cp, tar | zstd, restic, borg and rustic, on the same data in one run.

One round runs every tool once, in turn, on each data set: init (not counted), first backup, backup with nothing
changed, the source is brought to its changed state, backup, restore, verify of all data. Before every step the
disks are synced and the source is read once, so that all tools find it in memory. Time is that of the whole process;
peak memory is what the kernel says of its largest process (wait4). Restored trees are compared with the source.

Every run gets folders of its own and nothing is removed before the end: on ext4, making thousands of files soon after
thousands were removed costs seconds. What is no longer needed is cut to no bytes instead, which frees the space.

    tests/bench/run.py                        the whole run: 3 rounds or 15 minutes, whatever ends first
    tests/bench/run.py --scale 0.02 --rounds 1    a trial of two minutes that writes no RESULTS.md
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import make_data
import report
import tools

ROOT = make_data.ROOT
TOOLS = ["longshore-raw", "cp", "longshore", "tar-zstd", "longshore-encrypted", "restic", "borg-1.4", "rustic"]
# A file that was changed less than two seconds ago has no identity that Longshore would trust.
SETTLE_SECONDS = 2.5
KEPT_BYTES = 64 * 1024


def files_of(folder):
    """(bytes, number of files) below a folder."""
    sizes = make_data.files(folder)
    return sum(sizes.values()), len(sizes)


def measure(command, environment):
    """Runs one step and gives its wall time, CPU time, peak memory and what was left to sync."""
    os.sync()
    started = time.monotonic()
    process = subprocess.Popen(["bash", "-o", "pipefail", "-c", command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    # Read to its end first: a tool that says much would else wait for ever.
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    started = time.monotonic()
    os.sync()
    measured = {
        "seconds": round(seconds, 4), "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        "peak_mib": round(used.ru_maxrss / 1024, 1), "sync_seconds": round(time.monotonic() - started, 3),
    }
    if process.returncode != 0:
        measured["failed"] = said.decode(errors="replace").strip()[-400:]
        print(f"   exit {process.returncode}: {command[:120]}\n   {measured['failed']}", flush=True)
    return measured


class Source:
    """One data set as a tool sees it: a folder that is brought from its first to its changed state and back. Files
    that do not differ are never touched, so that they stay the same files."""

    def __init__(self, sets, name, work):
        self.name, self.current = name, work / name
        self.base, self.changed = sets / name, sets / f"{name}-changed"
        shutil.copytree(self.base, self.current)
        self.touched = time.monotonic()
        self.fresh, self.gone, self.old = [], [], []
        if self.changed.exists():
            self.fresh, self.gone = make_data.difference(self.base, self.changed)
            self.old, _ = make_data.difference(self.changed, self.base)

    def bring(self, origin, paths, gone):
        for path in paths:
            target = self.current / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(origin / path, target)
        for path in gone:
            (self.current / path).unlink(missing_ok=True)
        self.touched = time.monotonic()

    def to_base(self):
        self.bring(self.base, self.old, [path for path in self.fresh if not (self.base / path).exists()])

    def to_changed(self):
        self.bring(self.changed, self.fresh, self.gone)

    def warm(self):
        """Everything in memory and old enough to have an identity."""
        for path in make_data.files(self.current):
            with open(self.current / path, "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass
        time.sleep(max(0.0, SETTLE_SECONDS - (time.monotonic() - self.touched)))


def restored_tree(folder):
    """The database within what a tool restored."""
    while "collections" not in os.listdir(folder):
        inside = [entry for entry in os.scandir(folder) if entry.is_dir()]
        if len(inside) != 1:
            return None
        folder = pathlib.Path(inside[0].path)
    return folder


def compare(tool, source, restored):
    """What differs between the source and what was restored. Of a backup of Longshore, which leaves out what is no part of
    a database's state (`*.prev`, an empty log), only what the source's manifests name has to be there."""
    tree = restored_tree(restored)
    if tree is None:
        return ["no database was restored"]
    fresh, gone = make_data.difference(source.current, tree)
    wrong = list(fresh) + gone
    if tool in tools.LONGSHORE:
        wrong = [path for path in wrong if path.endswith(".parquet")]
    return wrong


def shorten(folder):
    """Frees the bytes of large files that are no longer needed, but not the files."""
    for path, size in make_data.files(folder).items():
        if size > KEPT_BYTES:
            os.truncate(os.path.join(folder, path), 0)


class Run:
    """All measurements of one run; each goes to a file of JSON lines at once."""

    def __init__(self, work, binary, peers, scale):
        self.work, self.binary, self.peers, self.scale = work, binary, peers, scale
        self.records = []
        self.log = open(work.with_suffix(".jsonl"), "w")
        print(f"measurements: {work.with_suffix('.jsonl')}", flush=True)

    def note(self, round_number, data, tool, step, **values):
        record = {"round": round_number, "set": data, "tool": tool, "step": step, "load": round(os.getloadavg()[0], 2), **values}
        self.records.append(record)
        print(json.dumps(record), file=self.log, flush=True)

    def tool(self, round_number, source, tool, only_first=False):
        place = self.work / f"{round_number}-{source.name}-{tool}"
        for folder in ("home", "restored"):
            (place / folder).mkdir(parents=True)
        commands = tools.commands(tool, self.binary, self.peers, source.current, place)
        environment = tools.environment(place)
        source.to_base()
        # Compiled policies, keys: once in a host's life.
        prepared = measure(commands["init"], environment)
        self.note(round_number, source.name, tool, "init", **prepared)
        line, before = [], files_of(place / "repo")[0]
        for number, step in enumerate(("first", "unchanged", "changed"), start=1):
            if step == "changed":
                source.to_changed()
            source.warm()
            measured = measure(commands["backup"].format(n=number), environment)
            size, objects = files_of(place / "repo")
            self.note(round_number, source.name, tool, step, **measured, added_bytes=size - before, repo_bytes=size, objects=objects)
            line.append(f"{step} {measured['seconds']:.2f}")
            before = size
            if only_first:
                break
        if not only_first:
            for step in ("restore", "verify"):
                measured = measure(commands[step], environment)
                if step == "restore" and "failed" not in measured:
                    wrong = compare(tool, source, place / "restored")
                    measured["differing_files"] = len(wrong)
                    if wrong:
                        line.append(f"RESTORED DIFFERENTLY ({len(wrong)}: {wrong[:3]})")
                self.note(round_number, source.name, tool, step, **measured)
                line.append(f"{step} {measured['seconds']:.2f}")
        print(f"{round_number} {source.name:5} {tool:20} " + ", ".join(line), flush=True)
        shorten(place)


def rounds(arguments, run, sources, known):
    """Runs rounds until there are enough or the time is up; gives how many."""
    started = time.monotonic()
    chosen = [tool for tool in arguments.tools.split(",") if tool in known]
    for number in range(1, arguments.rounds + 1):
        before = time.monotonic()
        for source in sources:
            # Every other round in the other order, so that no tool always comes after the same one.
            for tool in chosen if number % 2 else reversed(chosen):
                if source.name != "ten":
                    run.tool(number, source, tool)
                elif tool in ("longshore", "longshore-raw"):
                    run.tool(number, source, tool, only_first=True)
        now = time.monotonic()
        if number < arguments.rounds and now - started + (now - before) > arguments.minutes * 60:
            print(f"{arguments.minutes} minutes are nearly up after round {number}", flush=True)
            return number
    return arguments.rounds


def binary_of(arguments):
    if arguments.binary:
        return str(pathlib.Path(arguments.binary).resolve())
    build = ["cargo", "build", "--locked", "--release", "--workspace", "--bin", "longshore"]
    subprocess.run(build, cwd=ROOT, check=True)
    return str(ROOT / "target" / "release" / "longshore")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=15, help="no round begins that would end later")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the data sets")
    parser.add_argument("--sets", default="big,many,ten")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--binary", help="a longshore binary; built in release form when left out")
    parser.add_argument("--with-rustic", action="store_true", help="build rustic from crates.io if it is not there")
    parser.add_argument("--results", help="file for the tables; tests/bench/RESULTS.md for a whole run, none for a trial")
    arguments = parser.parse_args()
    binary = binary_of(arguments)
    peers = make_data.folder() / "peers"
    tools.install(peers, arguments.with_rustic)
    known = tools.versions(binary, peers)
    sets = make_data.ensure(arguments.scale)
    work = make_data.folder() / f"run-{time.strftime('%Y%m%d-%H%M%S')}"
    work.mkdir()
    run = Run(work, binary, peers, arguments.scale)
    started = time.monotonic()
    sources = [Source(sets, name, work) for name in arguments.sets.split(",")]
    done = rounds(arguments, run, sources, known)
    minutes = (time.monotonic() - started) / 60
    text = report.render(run.records, sets, known, done, minutes, " ".join(["tests/bench/run.py", *sys.argv[1:]]))
    results = arguments.results or (make_data.HERE / "RESULTS.md" if arguments.scale == 1 else None)
    print(text)
    if results:
        pathlib.Path(results).write_text(text)
    shutil.rmtree(work, ignore_errors=True)
    failed = [record for record in run.records if "failed" in record or record.get("differing_files")]
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
