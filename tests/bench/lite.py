"""Writes the benchmark's Milvus Lite directories through pymilvus, for make_data.py.

Each writer runs in a process of its own that kills itself at the end, so that a write-ahead log remains, as beside a
program that is running. No vector index is made: its files are no part of a backup, and a copy of the folder would be
charged for them.

Compaction decides what files there are: four data files of one size class (1, 10, 100 MB) in one partition are merged.
So a partition gets three flushes of a class.
"""

import json
import os
import pathlib
import signal
import time

import numpy as np

from sentences import DIMENSION

# Bytes of a row in a data file, measured. Milvus Lite's Parquet writer puts the first megabyte of different numbers into
# a dictionary, where they take six bytes instead of four: so rows in small files are larger.
ROW_BYTES = {"large": 1800, "small": 2450}


class Rows:
    """Rows from a pool, each pool row once; after that rows mixed of two neighbours of the pool.

    A mixed vector is normalise(l·a + (1-l)·b + 0.02·gauss): same norm and range as a real one, and it compresses the same
    within half a percent (so measured with zstd, shuffled zstd and pco). A mixed text is both sentences."""

    def __init__(self, pool, seed, key=0):
        self.text, self.vectors = pool
        self.random = np.random.default_rng(seed)
        self.fresh = list(self.random.permutation(len(self.vectors)))
        self.key, self.real, self.mixed = key, 0, 0

    def take(self, count):
        real = [self.fresh.pop() for _ in range(min(count, len(self.fresh)))]
        mixed = count - len(real)
        self.real, self.mixed = self.real + len(real), self.mixed + mixed
        first = self.random.integers(0, len(self.vectors), mixed)
        second = np.clip(first + self.random.integers(1, 20, mixed), 0, len(self.vectors) - 1)
        share = self.random.uniform(0.2, 0.8, (mixed, 1)).astype(np.float32)
        noise = self.random.normal(0, 0.02, (mixed, DIMENSION)).astype(np.float32)
        made = share * self.vectors[first] + (1 - share) * self.vectors[second] + noise
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        vectors = np.concatenate([self.vectors[np.array(real, int)], made]).astype(np.float32)
        places = [(item, None) for item in real] + list(zip(first, second))
        return [self.row(place, vector) for place, vector in zip(places, vectors)]

    def row(self, place, vector):
        self.key += int(self.random.integers(1, 4))
        source, page, text = self.text[place[0]]
        if place[1] is not None:
            text = f"{text} {self.text[place[1]][2]}"
        facts = {"page": page, "letters": len(text), "user": int(self.random.zipf(1.3) % 50000),
                 "document": f"{int(self.random.integers(1 << 48)):012x}"}
        return {"id": self.key, "source": source, "page": page, "text": text, "facts": facts,
                "score": float(round(self.random.gamma(2.0, 0.2), 4)), "vector": vector}


class Writer:
    """One client, and the helpers all writers use."""

    def __init__(self, folder):
        from pymilvus import MilvusClient

        self.client = MilvusClient(str(folder))

    def create(self, name, partitions=(), by_key=False):
        from pymilvus import DataType

        schema = self.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("source", DataType.VARCHAR, max_length=64)
        schema.add_field("page", DataType.VARCHAR, max_length=256, is_partition_key=by_key)
        schema.add_field("text", DataType.VARCHAR, max_length=4096)
        schema.add_field("facts", DataType.JSON)
        schema.add_field("score", DataType.DOUBLE)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
        self.client.create_collection(name, schema=schema)
        for partition in partitions:
            self.client.create_partition(name, partition)

    def insert(self, name, rows, partition=None):
        for start in range(0, len(rows), 2000):
            self.client.insert(name, rows[start:start + 2000], **({"partition_name": partition} if partition else {}))

    def flush(self, name):
        self.client.flush(name)

    def delete(self, name, keys):
        self.client.delete(name, ids=keys)


def write_big(folder, pool, megabytes):
    """About a third in one collection of four partitions with large files, two thirds in collections with a partition
    key and many files."""
    rows, writer, parts = Rows(pool, 1), Writer(folder), [f"year_{year}" for year in range(2021, 2025)]
    per_flush = max(8, int(megabytes * 1e6 / 3 / ROW_BYTES["large"] / 12))
    writer.create("articles", parts)
    for _ in range(3):
        for part in parts:
            writer.insert("articles", rows.take(per_flush), part)
        writer.flush("articles")
    writer.insert("articles", rows.take(max(8, per_flush // 40)), parts[0])
    # 16 buckets, three flushes: files of about half a megabyte, whatever the whole is to have.
    small = max(1, round(megabytes * 2 / 3 / 26))
    per_flush = max(64, int(megabytes * 1e6 * 2 / 3 / small / 3 / ROW_BYTES["small"]))
    for number in range(small):
        name = f"manual_{number:02}"
        writer.create(name, by_key=True)
        for _ in range(3):
            writer.insert(name, rows.take(per_flush))
            writer.flush(name)
        print(f"  {name}", flush=True)
    return rows


def write_many(folder, pool, sizes, collections):
    """As many collections of 100 to 500 KB as there are `sizes`: two partitions, three flushes, a few deletes. With fewer
    `collections` the same rows in fewer of them, in files of about a megabyte (a partition key makes 16 partitions)."""
    rows, writer = Rows(pool, 2), Writer(folder)
    sizes = np.random.default_rng(3).uniform(100e3, 500e3, sizes)
    per_collection = len(sizes) // collections
    for number in range(collections):
        name = f"tenant_{number:04}"
        by_key = per_collection > 1
        writer.create(name, [] if by_key else ["archive"], by_key)
        count = max(12, int(sizes[number * per_collection:(number + 1) * per_collection].sum() / ROW_BYTES["small"]))
        keys = []
        for _ in range(3):
            for partition in (None, None) if by_key else ("_default", "archive"):
                batch = rows.take(max(2, count // 6))
                keys.append(batch[0]["id"])
                writer.insert(name, batch, partition)
            writer.flush(name)
        writer.delete(name, keys[:2])
        writer.flush(name)
        if number % 100 == 99:
            print(f"  {number + 1} of {collections} collections", flush=True)
    return rows


def change_big(folder, pool, megabytes):
    """New rows in the large collection and in one of the others, deletes in both and in two more."""
    rows, writer = Rows(pool, 5, key=1 << 40), Writer(folder)
    rows.fresh = []
    names = sorted(writer.client.list_collections())
    # Under 10 MB, another size class than the files that are there: with a fourth of theirs all would be merged.
    writer.insert("articles", rows.take(max(8, int(megabytes * 1e6 * 0.012 / ROW_BYTES["large"]))), "year_2024")
    writer.delete("articles", list(range(0, 2000, 7)))
    writer.flush("articles")
    other = next(name for name in names if name.startswith("manual"))
    # The fourth flush: Milvus Lite merges every bucket of this collection, and so rewrites it.
    writer.insert(other, rows.take(1000))
    writer.flush(other)
    for name in names[-2:]:
        first = writer.client.query(name, filter="id > 0", output_fields=["id"], limit=50)
        writer.delete(name, [row["id"] for row in first])
        writer.flush(name)
    return rows


def change_many(folder, pool):
    """One collection in twenty gets rows, one in forty loses some, one in a hundred is new."""
    rows, writer = Rows(pool, 6, key=1 << 40), Writer(folder)
    rows.fresh = []
    names = sorted(writer.client.list_collections())
    for name in names[::20]:
        writer.insert(name, rows.take(20), "archive")
        writer.flush(name)
    for name in names[7::40]:
        first = writer.client.query(name, filter="id > 0", output_fields=["id"], limit=10)
        writer.delete(name, [row["id"] for row in first])
        writer.flush(name)
    for number in range(max(1, len(names) // 100)):
        name = f"tenant_new_{number:03}"
        writer.create(name)
        writer.insert(name, rows.take(150))
        writer.flush(name)
    return rows


def wait_for_compaction(folder):
    """Milvus Lite merges files in the background: waits until no file has come or gone for two seconds."""
    before, still = None, 0
    while still < 8:
        now = {str(path) for path in pathlib.Path(folder).rglob("*.parquet")}
        still = still + 1 if now == before else 0
        before = now
        time.sleep(0.25)


def run_and_die(write, folder, *arguments):
    """Runs a writer, writes what it made to standard output as one line of JSON, and kills its own process."""
    started = time.monotonic()
    rows = write(folder, *arguments)
    wait_for_compaction(folder)
    made = {"rows_real": rows.real, "rows_mixed": rows.mixed, "seconds": round(time.monotonic() - started, 1)}
    print("made " + json.dumps(made), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
