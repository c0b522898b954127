#!/usr/bin/env python3
"""Writes to a Milvus Lite data directory without pause, until it is killed, and logs what was acknowledged.

    writer.py DIR LOG_DIR SEED

Three collections, each with one writer: `plain`; `keyed`, spread over buckets by a partition key; `reborn`, which is
dropped and created again and again. LOG_DIR/<collection>.log gets one JSON line when an operation begins and one when it
is acknowledged. Memory for unflushed rows is tiny, so that flushes and compactions happen all the time.
"""

import json
import os
import pathlib
import random
import sys
import threading

os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", "65536")
DIMENSION = 16
KEYS = 600


def vector(key, value):
    """A vector that nothing but this key and this value has."""
    numbers = random.Random(key * 1_000_003 + value)
    return [numbers.uniform(-1, 1) for _ in range(DIMENSION)]


def group(key):
    """The partition key of a row never changes."""
    return f"group-{key % 23}"


class Writer:
    def __init__(self, client, collection, log, seed):
        self.client, self.collection, self.random = client, collection, random.Random(f"{seed} {collection}")
        self.log = open(log, "w", encoding="utf-8")
        self.number = 0

    def note(self, **entry):
        self.log.write(json.dumps(entry) + "\n")
        self.log.flush()

    def run(self, operation, **what):
        """Logs the beginning, acts, logs the acknowledgement."""
        self.number += 1
        self.note(begin=self.number, operation=operation, **what)
        getattr(self, operation)(**what)
        self.note(acknowledged=self.number)

    def rows(self, keys):
        return [{"id": key, "value": self.number, "group": group(key), "vector": vector(key, self.number)} for key in keys]

    def create(self):
        from pymilvus import DataType

        schema = self.client.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("value", DataType.INT64)
        schema.add_field("group", DataType.VARCHAR, max_length=32, is_partition_key=self.collection == "keyed")
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
        self.client.create_collection(self.collection, schema=schema)

    def drop(self):
        self.client.drop_collection(self.collection)

    def insert(self, keys):
        self.client.insert(self.collection, self.rows(keys))

    def upsert(self, keys):
        self.client.upsert(self.collection, self.rows(keys))

    def delete(self, keys):
        self.client.delete(self.collection, ids=keys)

    def for_ever(self):
        self.run("create")
        while True:
            for _ in range(self.random.randrange(250, 700) if self.collection == "reborn" else 1 << 30):
                operation = self.random.choice(["insert", "insert", "upsert", "delete"])
                keys = self.random.sample(range(KEYS), self.random.randrange(1, 30))
                self.run(operation, keys=keys)
            self.run("drop")
            self.run("create")


def main():
    from pymilvus import MilvusClient

    directory, logs, seed = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    client = MilvusClient(directory)
    for collection in ("plain", "keyed", "reborn"):
        writer = Writer(client, collection, logs / f"{collection}.log", seed)
        threading.Thread(target=end_with_a_word, args=[writer], daemon=True).start()
    threading.Event().wait()


def end_with_a_word(writer):
    try:
        writer.for_ever()
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    main()
