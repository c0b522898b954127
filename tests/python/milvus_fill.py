"""Fills a server, and changes what is in it while others work."""

import time

import numpy as np
from milvus_calls import PAUSE
from milvus_kinds import COLLECTIONS, D, DIM, LARGE, column, docs, place, plain, topics
from pymilvus.grpc_gen import common_pb2 as c
from pymilvus.grpc_gen import milvus_pb2 as m


def fill(server, database, rows, seed):
    for one in (database, f"{database}_two"):
        server.call("CreateDatabase", m.CreateDatabaseRequest(db_name=one))
    rng = np.random.default_rng(seed)
    for name, spec in COLLECTIONS.items():
        server.create(*place(database, name), spec)
    keys = list(range(rows))
    half = [keys[: rows // 2], keys[rows // 2 :]]

    def vectors(count):
        return rng.standard_normal((count, DIM), dtype=np.float32)

    # Two rounds, so that there are several segments.
    for part, some in zip(("p1", "p2"), half):
        server.insert(database, "docs", part, docs(some, vectors(len(some))), len(some))
    server.insert(database, "docs", "", docs([rows, rows + 1], vectors(2)), 2)
    server.flush([(database, "docs")])
    more = list(range(2 * rows, 2 * rows + rows // 2))
    server.insert(database, "docs", "p1", docs(more, vectors(len(more))), len(more))
    count = rows // 2
    tenants = [f"tenant{i % 7}" for i in range(count)]
    server.insert(
        database, "tenants", "", [column("tenant", D.VarChar, tenants), column("vec", D.FloatVector, vectors(count))], count
    )
    two = f"{database}_two"
    numbers = list(range(count))
    server.insert(two, "plain", "", plain(numbers, vectors(count)), count)
    binary = rng.integers(0, 256, (count, 16), dtype=np.uint8)
    server.insert(two, "binv", "", [column("id", D.Int64, numbers), column("vec", D.BinaryVector, binary)], count)
    server.flush([place(database, name) for name in COLLECTIONS if name != "empty"])
    server.make_indexes([(place(database, name), spec["index"]) for name, spec in COLLECTIONS.items()])
    # Deletes by key need a loaded collection in 2.3.
    server.load([(database, "docs"), (two, "plain")])
    server.delete(database, "docs", [f"doc-{k:06d}" for k in keys[::25]])
    server.delete(two, "plain", numbers[::10])
    for part, some in zip(("p1", "p2"), half):
        upserted = [k for k in some if k % 97 == 1 and k % 25]
        if upserted:
            server.insert(database, "docs", part, docs(upserted, vectors(len(upserted)), "-upserted"), len(upserted), "Upsert")
    again = keys[::250]
    server.insert(database, "docs", "p2", docs(again, vectors(len(again)), "-again"), len(again))
    server.flush([(database, "docs"), (two, "plain")])


def fill_large(server, database, rows, seed):
    server.call("CreateDatabase", m.CreateDatabaseRequest(db_name=database))
    server.create(database, "large", LARGE)
    rng = np.random.default_rng(seed)
    for start in range(0, rows, 2500):
        for partition, first in (("even", 0), ("odd", 1)):
            keys = list(range(start + first, min(start + 2500, rows), 2))
            chosen, vectors = topics(rng, len(keys))
            columns = [
                column("id", D.Int64, keys), column("vec", D.FloatVector, vectors),
                column("topic", D.VarChar, [f"topic {one}" for one in chosen]),
            ]
            server.insert(database, "large", partition, columns, len(keys))
        # Several segments in each partition and shard.
        if start // 2500 % 7 == 3:
            server.flush([(database, "large")])
    server.flush([(database, "large")])
    server.make_indexes([((database, "large"), LARGE["index"])])
    server.load([(database, "large")])
    server.delete(database, "large", list(range(0, rows, 25)))
    server.flush([(database, "large")])


def grow(server, database, rows):
    """More rows in DATABASE.plain, which is made if it is not there, and every tenth of the newest ones before them deleted."""
    if database not in server.call("ListDatabases", m.ListDatabasesRequest()).db_names:
        server.call("CreateDatabase", m.CreateDatabaseRequest(db_name=database))
        spec = {**COLLECTIONS["two.plain"], "alias": f"{database}_alias"}
        server.create(database, "plain", spec)
        # Made after the rows, it may be left until a tick of a minute.
        server.make_indexes([((database, "plain"), spec["index"])])
    server.flush([(database, "plain")])
    there = server.stored(database, "plain")
    keys = list(range(there, there + rows))
    vectors = np.random.default_rng(there).standard_normal((rows, DIM), dtype=np.float32)
    server.insert(database, "plain", "", plain(keys, vectors), rows)
    deleted = list(range(max(0, there - rows), there, 10))
    server.delete(database, "plain", deleted)
    return {"inserted": rows, "deleted": len(deleted)}


def interfere(server, database, action):
    """Takes two rows away from a collection that is being restored, and puts two others of the same keys in their place."""
    (name,) = server.call("ShowCollections", m.ShowCollectionsRequest(db_name=database), database).collection_names
    imports = m.ListImportTasksRequest(db_name=database, collection_name=name)
    while any(task.state != c.ImportCompleted for task in server.call("ListImportTasks", imports, database).tasks):
        time.sleep(PAUSE)
    keys = [1, 2]
    server.delete(database, name, keys)
    if action == "change":
        server.insert(database, name, "", plain(keys, np.ones((2, DIM), dtype=np.float32)), 2)
