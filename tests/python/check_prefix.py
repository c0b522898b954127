#!/usr/bin/env python3
"""Checks copies of a directory that writer.py was writing to.

    check_prefix.py COPIES.json LOG_DIR

COPIES.json is a list of {"directory": …, "acknowledged_bytes": {collection: bytes of its log when the copy of this
collection began}}. Each collection named there must hold the state after some number of its logged operations: at least
those acknowledged before its copy began, at most those begun. Rows of one insert into a collection with a partition
key are written bucket by bucket, so of the first operation that is not wholly there the first buckets may be.
Every row is read through Milvus Lite. Exit 1 with a sentence for each copy that is wrong.
"""

import hashlib
import json
import logging
import pathlib
import sys

import numpy as np
from judge import Database
from writer import group, vector

BUCKETS = 16


def operations(log):
    """(operation, keys) by number, and for each number the bytes of the log up to its acknowledgement."""
    begun, acknowledged, at = [], {}, 0
    for line in log.read_bytes().splitlines(keepends=True):
        at += len(line)
        if not line.endswith(b"\n"):
            break
        entry = json.loads(line)
        if "begin" in entry:
            begun.append((entry["operation"], entry.get("keys", [])))
        else:
            acknowledged[entry["acknowledged"]] = at
    return begun, acknowledged


def apply(state, number, operation, keys):
    if operation == "create":
        return {}
    if operation == "drop":
        return None
    state = dict(state)
    for key in keys:
        if operation == "delete":
            state.pop(key, None)
        else:
            state[key] = number
    return state


def bucket(key):
    """Milvus Lite's rule (engine/collection.py)."""
    return int(hashlib.md5(group(key).encode()).hexdigest(), 16) % BUCKETS


def part_states(state, number, operation, keys, keyed):
    """States in the middle of an operation."""
    if not keyed or operation not in ("insert", "upsert"):
        return
    buckets = {}
    for key in keys:
        buckets.setdefault(bucket(key), []).append(key)
    done = []
    for part in list(buckets.values())[:-1]:
        done += part
        yield apply(state, number, operation, done)


def restored_state(database, collection):
    name = ("default", collection)
    if name not in database.collections():
        return None
    state = {}
    for key, (_, row) in database.rows(name).items():
        expected = "float32:" + np.asarray(vector(key, row["value"]), dtype="<f4").tobytes().hex()
        if row["vector"] != expected or row["group"] != group(key):
            raise SystemExit(f"{collection}: the row {key} does not hold what was written")
        state[key] = row["value"]
    return state


def check(found, collection, log, acknowledged_bytes):
    """Which operations the copy holds, or what is wrong with it."""
    begun, acknowledged = operations(log)
    least = max((number for number, at in acknowledged.items() if at <= acknowledged_bytes), default=0)
    state = None
    for number in range(len(begun) + 1):
        if number:
            state = apply(state, number, *begun[number - 1])
        if number < least:
            continue
        if found == state:
            return f"operations up to {number}, of {least} acknowledged and {len(begun)} begun", True
        if number < len(begun) and state is not None:
            operation, keys = begun[number]
            for part in part_states(state, number + 1, operation, keys, collection == "keyed"):
                if found == part:
                    return f"operations up to {number} and a part of the next, of {least} acknowledged", True
    rows = "nothing" if found is None else f"{len(found)} rows, the newest of operation {max(found.values(), default=0)}"
    return f"holds {rows}, which is the state after none of the operations {least} to {len(begun)}", False


def main():
    logging.disable(logging.WARNING)
    copies, logs = json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2])
    faults = 0
    for number, copy in enumerate(copies):
        database = Database(copy["directory"])
        for collection, acknowledged_bytes in copy["acknowledged_bytes"].items():
            found = restored_state(database, collection)
            words, good = check(found, collection, logs / f"{collection}.log", acknowledged_bytes)
            faults += not good
            print(f"copy {number}, {collection}: {words}{'' if good else '  WRONG'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
