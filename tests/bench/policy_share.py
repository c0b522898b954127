#!/usr/bin/env python3
"""What share of a backup's time its policies take, on the data of `make bench` (POLICY.md says what came out).

Each round makes a vault of its own, backs a data set up into it, and backs it up again with nothing changed. The time
of policies is what the backup itself reports (`policyUsage`: instance, questions, answers, by call); the time of the
backup is that of the whole process. One backup comes first with an empty cache of compiled plugins, and is told apart.

    tests/bench/policy_share.py               both data sets, five rounds; needs target/release/longshore and `make bench`'s data
    tests/bench/policy_share.py --json        the rounds as JSON lines
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def backup(binary, source, vault, environment):
    """One backup: seconds of the process, milliseconds and calls of its policies, collections."""
    os.sync()
    command = [str(binary), "-q", "--json", "backup", str(source), "--to", str(vault)]
    started = time.monotonic()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr.strip()}")
    usage = json.loads(done.stdout)["policyUsage"]
    return {
        "seconds": round(seconds, 4),
        "policy_ms": round(sum(member["elapsed_us"] for member in usage) / 1000, 3),
        "calls": sum(member["calls"] for member in usage),
    }


def rounds_of(binary, source, rounds, folder):
    """The measured backups of one data set: (what, round) in order."""
    for number in range(rounds + 1):
        place = pathlib.Path(tempfile.mkdtemp(dir=folder))
        # The first round's cache is empty; all others share one that is filled.
        cache = place / "cache" if number == 0 else folder / "cache"
        environment = dict(os.environ, HOME=str(place), XDG_CACHE_HOME=str(cache))
        if number > 0:
            subprocess.run([binary, "-q", "plugin", "inspect", "standard"], env=environment, check=True, stdout=subprocess.DEVNULL)
        yield ("first, nothing compiled yet" if number == 0 else "first"), backup(binary, source, place / "vault", environment)
        if number > 0:
            yield "unchanged", backup(binary, source, place / "vault", environment)
        shutil.rmtree(place)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/longshore")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "target/bench-data/sets-1", help="the folder of the data sets")
    parser.add_argument("--sets", default="big,many", help="names of data sets, with commas between")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print every round as a line of JSON")
    arguments = parser.parse_args()
    binary = arguments.binary.resolve()
    if not binary.exists() or not arguments.data.exists():
        sys.exit(f"{binary} or {arguments.data} is missing: run `make release` and `make bench` first, or name them.")
    scratch = ROOT / "target"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="policy-share-") as folder:
        for name in arguments.sets.split(","):
            measured = {}
            for what, row in rounds_of(binary, arguments.data / name, arguments.rounds, pathlib.Path(folder)):
                measured.setdefault(what, []).append(row)
                if arguments.json:
                    print(json.dumps({"set": name, "backup": what, **row}), flush=True)
            for what, rows in measured.items():
                shares = sorted(100 * row["policy_ms"] / 1000 / row["seconds"] for row in rows)
                seconds, policy_ms = (statistics.median(row[key] for row in rows) for key in ("seconds", "policy_ms"))
                print(f"{name}, {what}: {policy_ms:.2f} ms of {seconds:.3f} s, {rows[0]['calls']} calls, "
                      f"{statistics.median(shares):.2f} % ({shares[0]:.2f} to {shares[-1]:.2f})", flush=True)


if __name__ == "__main__":
    main()
