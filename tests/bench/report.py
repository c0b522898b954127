"""Turns the measurements of run.py into RESULTS.md: medians with their spread, ratios within the same round, and the goals
with whether they were met."""

import json
import os
import platform
import statistics

import tools

STEPS = ("first", "unchanged", "changed", "restore", "verify")
BUDGET_MIB = 256


class Measurements:
    """Looks up what was measured."""

    def __init__(self, records):
        self.records = [record for record in records if "failed" not in record]

    def by_round(self, data, tool, step, field="seconds"):
        return {
            record["round"]: record[field] for record in self.records
            if (record["set"], record["tool"], record["step"]) == (data, tool, step) and field in record
        }

    def median(self, data, tool, step, field="seconds"):
        values = self.by_round(data, tool, step, field).values()
        return statistics.median(values) if values else None

    def ratios(self, above, below):
        """Ratios of two (set, tool, step) within each round."""
        above, below = self.by_round(*above), self.by_round(*below)
        return [above[number] / below[number] for number in above if below.get(number)]


def spread(values, digits=2):
    """Median (least-most)."""
    if not values:
        return "-"
    values = list(values)
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def tools_table(found, data, bytes_of_set):
    rows = []
    for tool in dict.fromkeys(record["tool"] for record in found.records if record["set"] == data):
        median = lambda step, field="seconds": found.median(data, tool, step, field)
        first = median("first")
        if first is None:
            continue
        peaks = [record["peak_mib"] for record in found.records if (record["set"], record["tool"]) == (data, tool) and record["step"] in STEPS]
        optional = lambda value, digits=2: "-" if value is None else f"{value:.{digits}f}"
        megabytes = lambda step, field: None if median(step, field) is None else median(step, field) / 1e6
        rows.append([
            tool, spread(found.by_round(data, tool, "first").values()), optional(median("first", "cpu_seconds")), f"{bytes_of_set / 1e6 / first:.0f}",
            optional(megabytes("first", "repo_bytes"), 1), optional(median("first", "objects"), 0),
            spread(found.by_round(data, tool, "unchanged").values(), 3), spread(found.by_round(data, tool, "changed").values()),
            optional(megabytes("changed", "added_bytes"), 1), spread(found.by_round(data, tool, "restore").values()),
            spread(found.by_round(data, tool, "verify").values()), optional(max(peaks), 0), optional(median("first", "sync_seconds")),
        ])
    head = ["tool", "first s", "CPU s", "MB/s", "size MB", "objects", "unchanged s", "5 % changed s", "added MB", "restore s", "verify s",
            "peak MiB", "left to sync s"]
    return table(head, rows)


class Goals:
    """The goals of DESIGN: each becomes a row with what was measured and whether it was met."""

    def __init__(self, found, notes):
        self.found, self.notes, self.rows = found, notes, []

    def add(self, what, goal, values, met, digits=2, unit=""):
        values = list(values)
        if not values:
            self.rows.append([what, goal, "not measured", "-"])
            return
        verdict = "met" if met(statistics.median(values)) else "**missed**"
        self.rows.append([what, goal, spread(values, digits) + unit, verdict])

    def ratio(self, what, goal, above, below, met):
        self.add(what, goal, self.found.ratios(above, below), met, unit=" ×")

    def sizes(self):
        """Size of a first backup as a share of the archive's."""
        archive = self.found.by_round("big", "tar-zstd", "first", "repo_bytes")
        ours = self.found.by_round("big", "longshore", "first", "repo_bytes")
        return [ours[number] / archive[number] for number in ours if number in archive]

    def verify_speed(self):
        restored = self.notes["big-changed"]["bytes"]
        return [restored / 1e6 / seconds for seconds in self.found.by_round("big", "longshore", "verify").values()]

    def many_against_ten(self, tool):
        """Time per byte of 1,000 collections as a share of that of ten."""
        many, ten = self.found.by_round("many", tool, "first"), self.found.by_round("ten", tool, "first")
        per_byte = self.notes["ten"]["bytes"] / self.notes["many"]["bytes"]
        return [many[number] / ten[number] * per_byte for number in many if number in ten]

    def peaks(self):
        return [max((record["peak_mib"] for record in self.found.records
                     if record["tool"] in tools.LONGSHORE and record["step"] in STEPS), default=0)]

    def all(self):
        big = lambda tool, step: ("big", tool, step)
        self.ratio("first backup, stored raw, against `cp -r` + sync", "≤ 1.25 ×", big("longshore-raw", "first"), big("cp", "first"), lambda x: x <= 1.25)
        self.ratio("first backup, default policy, against `tar \\| zstd -1 -T2` + sync", "≤ 1 ×", big("longshore", "first"), big("tar-zstd", "first"), lambda x: x <= 1)
        self.add("its size against the same archive", "≤ 1 ×", self.sizes(), lambda x: x <= 1, 3, " ×")
        for peer in ("restic", "borg-1.2", "borg-1.4", "rustic"):
            if self.found.median("big", peer, "first") is not None:
                self.ratio(f"{peer} against the default policy, first backup", "≥ 3 ×", big(peer, "first"), big("longshore", "first"), lambda x: x >= 3)
        for data, goal in (("big", 0.05), ("many", 0.3)):
            count = self.notes[data]["files"]
            self.add(f"unchanged backup, {count:,} files", f"≤ {goal} s", self.found.by_round(data, "longshore", "unchanged").values(), lambda x: x <= goal, 3, " s")
        self.ratio("restore against `cp -r` + sync", "≤ 1.5 ×", big("longshore", "restore"), big("cp", "restore"), lambda x: x <= 1.5)
        self.ratio("restore of 1,000 collections against `cp -r` + sync", "≤ 1.5 ×", ("many", "longshore", "restore"), ("many", "cp", "restore"), lambda x: x <= 1.5)
        self.add("full verify", "≥ 700 MB/s", self.verify_speed(), lambda x: x >= 700, 0, " MB/s")
        self.add("peak memory, largest of all steps", f"≤ {BUDGET_MIB} MiB", self.peaks(), lambda x: x <= BUDGET_MIB, 0, " MiB")
        self.add("1,000 collections against the same rows in ten, first backup, per byte", "≤ 1.3 ×", self.many_against_ten("longshore"), lambda x: x <= 1.3, 2, " ×")
        return table(["what", "goal", "measured", ""], self.rows)


def machine(folder):
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = tools.answer("sed -n 's/^PRETTY_NAME=//p' /etc/os-release").strip('"')
    disk = tools.answer(f"findmnt -n -o FSTYPE -T {folder}") or "?"
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, {system}, Linux {platform.release()}, {disk}, Python {platform.python_version()}"


def sets_table(notes):
    rows = [
        [name, f"{note['bytes'] / 1e6:.1f}", f"{note['files']:,}", f"{note['rows_real']:,} + {note['rows_mixed']:,}",
         f"{note['changed_bytes'] / 1e6:.1f} MB in {note['changed_files']} files, {note['gone_files']} gone" if "changed_bytes" in note else ""]
        for name, note in notes.items()
    ]
    return table(["set", "MB", "files", "rows: real + mixed", "against the set before"], rows)


PREAMBLE = """# What `make bench` measured

Written by `tests/bench/run.py`. Longshore, copies and other backup programs on the same databases in one run, in turn;
local repositories on the same disk, sources in memory, disks synced before every step. Seconds are those of the whole
process. Medians of {rounds} rounds, least and most in brackets; ratios are formed within a round. `cp` and `tar` are followed
by a `sync` of what they wrote, within the measured time, because the others sync by themselves. restic, borg and rustic
encrypt; of Longshore `longshore-encrypted` does. `longshore` is the default policy, `longshore-raw` the same with
`store-raw.toml`. Verify is a check of all data; for `cp` a `diff`, for `tar` a listing. Restored trees were compared with the source.
Compiling the standard policy, once in a host's life, is not part of the first backup; neither is making the others' repositories.

rustic is measured where it is installed or `--with-rustic` may build it, which takes two processors ten minutes or more; a run
without it has no row of it. Which codecs were tried on real files is in [CODECS.md](CODECS.md): a codec that opens Parquet pages
would build all 156 pages of Milvus Lite's again with the C++ Snappy (with the Rust one, 1 whole file of 10), and 9 of 70 of Milvus 2.3.5's, none of
them of a vector; over `adaptive-zstd-1`, which opens nothing, it would win 1 % of Milvus Lite's bytes. It is left out.

| | |
|---|---|
| machine | {machine} |
| command | `{command}`, {minutes:.0f} minutes |
| load before | {load} |
"""


def render(records, sets, known, rounds, minutes, command):
    """The whole page."""
    notes = {name: json.loads((sets / f"{name}.json").read_text()) for name in ("big", "big-changed", "many", "many-changed", "ten")}
    found = Measurements(records)
    load = records[0]["load"] if records else "-"
    parts = [PREAMBLE.format(rounds=rounds, machine=machine(sets), command=command, minutes=minutes, load=load)]
    parts[0] += "".join(f"| {tool} | {version} |\n" for tool, version in known.items() if any(record["tool"] == tool for record in records))
    parts += ["## Goals\n", Goals(found, notes).all(), "\n## Data\n", sets_table(notes)]
    for data, title in (("big", "One directory of 700 MB"), ("many", "1,000 collections"), ("ten", "The rows of the 1,000 collections in ten")):
        if any(record["set"] == data for record in records):
            parts += [f"\n## {title}\n", tools_table(found, data, notes[data]["bytes"])]
    failed = [record for record in records if "failed" in record or record.get("differing_files")]
    for record in failed:
        parts.append(f"\nFAILED: round {record['round']}, {record['set']}, {record['tool']}, {record['step']}: {record.get('failed', 'restored differently')}")
    return "\n".join(parts) + "\n"

