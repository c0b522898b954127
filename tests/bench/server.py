#!/usr/bin/env python3
"""How long the API takes to answer while backups run (SERVER.md says what came out).

One host with 1,000 registered clusters, of which eight are backed up over and over, by hand, as fast as the host takes
them. A dozen keys ask for lists and descriptions at a fixed rate, whatever the answers take: a call that waits is measured
from the moment it was due, so that a host that stalls cannot hide it. The generator runs on the same machine.

    tests/bench/server.py                     three rounds of a minute; needs target/release/longshore; writes SERVER.md
    tests/bench/server.py --seconds 5 --rounds 1 --binary target/debug/longshore --dry-run     looks whether it works
"""

import argparse
import asyncio
import datetime
import json
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PERCENTILES = (50, 90, 99, 99.9)
BUSY = 8


def configuration(folder, clusters):
    """A host whose clusters share copies of the sample cluster; the first ones have one each."""
    text = [
        'data_directory = "data"',
        '[server]\nlisten = "127.0.0.1:0"',
        '[project]\nid = "proj-bench"\nname = "Bench"',
        '[[region]]\nid = "local-eu"\nvault = "vault"',
        '[catalog_snapshots]\nevery_minutes = 1',
    ]
    sample = ROOT / "examples/sample-cluster"
    for number in range(BUSY):
        shutil.copytree(sample, folder / f"cluster-{number}")
    for number in range(clusters):
        text.append(
            f'[[cluster]]\nid = "in01-{number:06}"\nname = "Cluster-{number:06}"\nregion = "local-eu"\n'
            f'milvus_lite = "cluster-{number % BUSY}"'
        )
    path = folder / "longshore.toml"
    path.write_text("\n".join(text) + "\n")
    return path


class Connection:
    """One HTTP/1.1 connection that is kept; opened when it is used first."""

    def __init__(self, host, port, key):
        self.address, self.key, self.streams = (host, port), key, None

    async def call(self, method, path, body=""):
        """Status and body of one call. A server closes connections that were idle, also just when one is used again:
        then reading is asked once more on a new one."""
        reused = self.streams is not None
        try:
            return await self.call_once(method, path, body)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if not reused or method != "GET" or getattr(error, "partial", b""):
                raise
            return await self.call_once(method, path, body)

    async def call_once(self, method, path, body):
        if self.streams is None:
            self.streams = await asyncio.open_connection(*self.address)
        reader, writer = self.streams
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            writer.write((head + body).encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            lines = answer.decode().split("\r\n")
            status = int(lines[0].split()[1])
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
            content = await reader.readexactly(int(headers["content-length"]))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.streams = None
            raise
        return status, content

    async def data(self, method, path, body=""):
        status, content = await self.call(method, path, body)
        answer = json.loads(content)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer["data"]


class Pool:
    """Connections of one key; a call takes one that is free or opens another."""

    def __init__(self, host, port, key):
        self.make, self.free = (lambda: Connection(host, port, key)), []

    async def call(self, method, path):
        connection = self.free.pop() if self.free else self.make()
        status, content = await connection.call(method, path)
        self.free.append(connection)
        return status, content


async def keep_backing_up(connection, numbers, made, stop):
    """Backs clusters up, one after the other, until told to stop; notes what can be described."""
    while not stop.is_set():
        for number in numbers:
            cluster = f"in01-{number:06}"
            answer = await connection.data("POST", f"/v2/clusters/{cluster}/backups/create", '{"backupType":"CLUSTER"}')
            while True:
                job = await connection.data("GET", f"/v2/jobs/{answer['jobId']}")
                if job["status"] in ("SUCCESSFUL", "FAILED", "CANCELED"):
                    break
                await asyncio.sleep(0.2)
            if job["status"] != "SUCCESSFUL":
                raise RuntimeError(f"a backup failed: {job}")
            made.append((cluster, answer["backupId"], answer["jobId"]))
            if stop.is_set():
                return


def path_of_call(generator, clusters, made):
    """One of six calls, half of them lists."""
    cluster, backup, job = generator.choice(made)
    return generator.choice([
        f"/v2/clusters?pageSize=100&currentPage={generator.randrange(1, clusters // 100 + 1)}",
        f"/v2/backups?pageSize=100&clusterId={cluster}",
        "/v2/jobs?pageSize=100",
        f"/v2/clusters/in01-{generator.randrange(clusters):06}",
        f"/v2/clusters/{cluster}/backups/{backup}",
        f"/v2/jobs/{job}",
    ])


async def one_round(pools, rate, seconds, clusters, made, seed):
    """Seconds of each call by its path without parameters, and how many were not answered with 200."""
    loop, generator, took, failed = asyncio.get_running_loop(), random.Random(seed), [], []
    begin = loop.time() + 0.1

    async def call(pool, path, due):
        status, content = await pool.call("GET", path)
        if status != 200:
            failed.append((status, content[:200]))
        took.append(loop.time() - due)

    tasks = []
    for number in range(rate * seconds):
        due = begin + number / rate
        await asyncio.sleep(max(0, due - loop.time()))
        tasks.append(asyncio.create_task(call(pools[number % len(pools)], path_of_call(generator, clusters, made), due)))
    await asyncio.gather(*tasks)
    return sorted(took), failed


def percentile(sorted_values, percent):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * percent / 100))]


async def measure(arguments, url, keys):
    """Rows of the table: of each round its percentiles in milliseconds, calls, refusals and backups."""
    host, port = url.removeprefix("http://").split(":")
    made, stop = [], asyncio.Event()
    backing_up = [
        asyncio.create_task(keep_backing_up(Connection(host, port, keys[-1]), range(start, BUSY, 2), made, stop))
        for start in range(2)
    ]
    while len(made) < BUSY and not any(task.done() for task in backing_up):
        await asyncio.sleep(0.1)
    pools, rounds = [Pool(host, port, key) for key in keys[:-1]], []
    for number in range(arguments.rounds):
        before = len(made)
        took, failed = await one_round(pools, arguments.rate, arguments.seconds, arguments.clusters, made, number)
        for task in backing_up:
            if task.done():
                task.result()
        if failed:
            sys.exit(f"{len(failed)} calls were refused, the first one with {failed[0]}")
        row = {f"p{percent}": percentile(took, percent) * 1000 for percent in PERCENTILES}
        rounds.append({**row, "max": took[-1] * 1000, "calls": len(took), "backups": len(made) - before})
        print(json.dumps(rounds[-1]), flush=True)
    stop.set()
    await asyncio.gather(*backing_up)
    return rounds


def new_key(binary, folder, number):
    command = [binary, "-q", "key", "create", f"bench-{number}", "--role", "organization-owner", "--config", "longshore.toml"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def machine():
    model = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return f"{os.cpu_count()} × {model[0] if model else platform.machine()}, {memory} GiB, Linux {platform.release()}"


def report(arguments, rounds, version):
    names = [f"p{percent}" for percent in PERCENTILES] + ["max", "calls", "backups"]
    digits = {"calls": 0, "backups": 0}
    cell = lambda row, name: f"{row[name]:.{digits.get(name, 1)}f}"
    lines = [
        "# The API under load", "",
        f"{arguments.clusters:,} registered clusters, {arguments.keys} keys, {arguments.rate} calls a second at a fixed rate, half lists",
        f"of 100 and half descriptions, while {BUSY} of the clusters are backed up over and over (two backups at a time). A call is",
        "measured from the moment it was due. The generator, in Python, runs on the same machine and takes its share of it.", "",
        f"* measured: {datetime.date.today()}, {version}, Python {platform.python_version()}",
        f"* machine: {machine()}",
        f"* command: `{' '.join(['tests/bench/server.py', *sys.argv[1:]])}`", "",
        "Milliseconds:", "",
        "| round | " + " | ".join(["50 %", "90 %", "99 %", "99.9 %", "longest", "calls", "backups"]) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for number, row in enumerate(rounds, 1):
        lines.append(f"| {number} | " + " | ".join(cell(row, name) for name in names) + " |")
    median = {name: statistics.median(row[name] for row in rounds) for name in names}
    spread = {name: (min(row[name] for row in rounds), max(row[name] for row in rounds)) for name in names}
    lines.append("| **median** | " + " | ".join(f"**{cell(median, name)}**" for name in names) + " |")
    both = lambda name: f"{spread[name][0]:.{digits.get(name, 1)}f}–{spread[name][1]:.{digits.get(name, 1)}f}"
    lines.append("| spread | " + " | ".join(both(name) for name in names) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target/release/longshore"))
    parser.add_argument("--clusters", type=int, default=1_000)
    parser.add_argument("--keys", type=int, default=12)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true", help="print the table; write nothing")
    arguments = parser.parse_args()
    binary = str(pathlib.Path(arguments.binary).resolve())
    if not os.access(binary, os.X_OK):
        sys.exit(f"there is no {binary}: run `make release` first")
    version = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="longshore-bench-") as name:
        folder = pathlib.Path(name)
        config = configuration(folder, arguments.clusters)
        # The last one is for the backups, so that looking for their ends does not count for the others' limits.
        keys = [new_key(binary, folder, number) for number in range(arguments.keys + 1)]
        log = open(folder / "log", "w")
        host = subprocess.Popen([binary, "serve", "--config", str(config)], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            line = host.stdout.readline()
            if not line.startswith("longshore listens on "):
                sys.exit((folder / "log").read_text())
            rounds = asyncio.run(measure(arguments, line.split()[-1], keys))
        finally:
            host.terminate()
            host.wait()
    text = report(arguments, rounds, version)
    print(text)
    if not arguments.dry_run:
        (ROOT / "tests/bench/SERVER.md").write_text(text)


if __name__ == "__main__":
    main()
