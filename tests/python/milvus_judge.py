"""Fills a real Milvus server 2.3 with collections of every kind that a restore must bring back, and says what is in them.

    milvus_judge.py HOST:PORT fill DATABASE [--rows N] [--seed N]     databases DATABASE and DATABASE_two, five collections
    milvus_judge.py HOST:PORT large DATABASE [--rows N] [--seed N]    DATABASE.large: two partitions, several segments, 384 numbers
    milvus_judge.py HOST:PORT rows DATABASE.COLLECTION                every row as JSON: {"count": N, "rows": {key: digest}, ...}
    milvus_judge.py HOST:PORT compare DATABASE.COLLECTION DATABASE.COLLECTION [--other HOST:PORT]
    milvus_judge.py HOST:PORT search DATABASE.COLLECTION DATABASE.COLLECTION [--other HOST:PORT]  recall of the second
    milvus_judge.py HOST:PORT drop DATABASE...
    milvus_judge.py HOST:PORT lose|change DATABASE        two rows of its one collection, a `plain`, once all imports into it ended
    milvus_judge.py HOST:PORT take DATABASE OTHER --from FOLDER   a backup in the layout of milvus-backup, restored as that tool
                      does: its collections of DATABASE and DATABASE_two into OTHER and OTHER_two
    milvus_judge.py HOST:PORT stored DATABASE.COLLECTION              rows in its segments, deleted ones included
    milvus_judge.py HOST:PORT digest DATABASE.COLLECTION [--no-partitions] [--parsed-json]
                      rows and row digest (host/source/src/rows.rs), from Query; JSON as it is stored, or as Python would write it
    milvus_judge.py HOST:PORT filter DATABASE.COLLECTION EXPRESSION   how many rows a filter finds
    milvus_judge.py HOST:PORT aliases DATABASE.COLLECTION             what ListAliases answers to a database in the request ("field"), in
                      the call's metadata ("header"), in both: names, or null for an error
    milvus_judge.py HOST:PORT corpus DATABASE --storage ROOT --to FOLDER   files, schema, rows and row digest of its collections

Keys, scalars and vectors are compared bit for bit; so are count(*), schema, properties (but for the time to live, which
no backup holds), shards, partitions, indexes. Only pymilvus' generated messages are used, so what is compared is what the
wire says. Exit 1 and a sentence for each difference.
"""

import argparse
import hashlib
import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import grpc
import numpy as np
from pymilvus.grpc_gen import common_pb2 as c
from pymilvus.grpc_gen import milvus_pb2 as m
from pymilvus.grpc_gen import milvus_pb2_grpc as g
from pymilvus.grpc_gen import schema_pb2 as s

DIM = 32
PAUSE = 0.1
D = s.DataType


def kv(**pairs):
    return [c.KeyValuePair(key=key, value=value) for key, value in pairs.items()]


def field(name, kind, params=None, **more):
    return s.FieldSchema(name=name, data_type=kind, type_params=kv(**(params or {})), **more)


VECTOR = field("vec", D.FloatVector, {"dim": str(DIM)})
COLLECTIONS = {
    "docs": dict(
        dynamic=True,
        shards=2,
        properties=kv(**{"collection.ttl.seconds": "864000"}),
        partitions=["p1", "p2"],
        fields=[
            field("id", D.VarChar, {"max_length": "64"}, is_primary_key=True),
            VECTOR,
            field("meta", D.JSON),
            field("n", D.Int64),
            field("f", D.Float),
            field("d", D.Double),
            field("b", D.Bool),
            field("i8", D.Int8),
            field("i16", D.Int16),
            field("tags", D.Array, {"max_length": "32", "max_capacity": "8"}, element_type=D.VarChar),
            field("title", D.VarChar, {"max_length": "200"}),
        ],
        index={"vec": dict(index_type="HNSW", metric_type="COSINE", params='{"M":16,"efConstruction":64}'), "title": {}},
    ),
    "tenants": dict(
        shards=1,
        num_partitions=4,
        fields=[
            field("id", D.Int64, is_primary_key=True, autoID=True),
            field("tenant", D.VarChar, {"max_length": "32"}, is_partition_key=True),
            VECTOR,
        ],
        index={"vec": dict(index_type="FLAT", metric_type="L2", params="{}")},
    ),
    "empty": dict(shards=1, fields=[field("id", D.Int64, is_primary_key=True), VECTOR], index={}),
    "two.plain": dict(
        shards=1,
        alias="plain_alias",
        fields=[field("id", D.Int64, is_primary_key=True), VECTOR, field("x", D.Int32)],
        index={"vec": dict(index_type="FLAT", metric_type="IP", params="{}")},
    ),
    "two.binv": dict(
        shards=1,
        fields=[field("id", D.Int64, is_primary_key=True), field("vec", D.BinaryVector, {"dim": "128"})],
        index={"vec": dict(index_type="BIN_FLAT", metric_type="HAMMING", params="{}")},
    ),
}


LARGE_DIM = 384
LARGE = dict(
    shards=2,
    partitions=["even", "odd"],
    fields=[
        field("id", D.Int64, is_primary_key=True),
        field("vec", D.FloatVector, {"dim": str(LARGE_DIM)}),
        field("topic", D.VarChar, {"max_length": "32"}),
    ],
    index={"vec": dict(index_type="HNSW", metric_type="COSINE", params='{"M":24,"efConstruction":128}')},
)


def column(name, kind, data):
    data_of = s.FieldData(type=kind, field_name=name, is_dynamic=name == "")
    if kind == D.FloatVector:
        data_of.vectors.dim = data.shape[1]
        data_of.vectors.float_vector.data.extend(data.ravel())
    elif kind == D.BinaryVector:
        data_of.vectors.dim = data.shape[1] * 8
        data_of.vectors.binary_vector = data.tobytes()
    elif kind == D.Array:
        data_of.scalars.array_data.element_type = D.VarChar
        data_of.scalars.array_data.data.extend(s.ScalarField(string_data=s.StringArray(data=v)) for v in data)
    else:
        place = {
            D.VarChar: "string_data", D.JSON: "json_data", D.Int64: "long_data", D.Float: "float_data",
            D.Double: "double_data", D.Bool: "bool_data",
        }.get(kind, "int_data")
        getattr(data_of.scalars, place).data.extend(data)
    return data_of


def as_json(value):
    return json.dumps(value).encode()


def vectors_as_bytes(answered):
    """The vectors of a column that Query answers, each as its bytes."""
    if answered.WhichOneof("data") == "float_vector":
        vectors = np.array(answered.float_vector.data, dtype="<f4").reshape(-1, answered.dim)
        return [vector.tobytes() for vector in vectors]
    width, plain = answered.dim // 8, answered.binary_vector
    return [plain[i : i + width] for i in range(0, len(plain), width)]


def docs(keys, vectors, tag=""):
    return [
        column("id", D.VarChar, [f"doc-{k:06d}" for k in keys]),
        column("vec", D.FloatVector, vectors),
        column("meta", D.JSON, [as_json({"k": k, "s": "x" * (k % 7)}) for k in keys]),
        column("n", D.Int64, keys),
        column("f", D.Float, [k / 3 for k in keys]),
        column("d", D.Double, [k / 7 for k in keys]),
        column("b", D.Bool, [k % 2 == 0 for k in keys]),
        column("i8", D.Int8, [k % 256 - 128 for k in keys]),
        column("i16", D.Int16, [k % 65536 - 32768 for k in keys]),
        column("tags", D.Array, [[f"t{k % 5}", f"u{k % 3}"][: k % 3] for k in keys]),
        column("title", D.VarChar, [f"Title {k}{tag} é" for k in keys]),
        column("", D.JSON, [as_json({"dyn_a": k % 11, "dyn_b": f"v{k}{tag}"}) for k in keys]),
    ]


class Server:
    def __init__(self, address):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.stub = g.MilvusServiceStub(grpc.insecure_channel(address, options=options))

    def call(self, name, request, database=None):
        metadata = [("dbname", database)] if database else None
        # Rates are limited, and right after its start a server may not be ready.
        for attempt in range(100):
            answer = getattr(self.stub, name)(request, metadata=metadata, timeout=120)
            status = answer if isinstance(answer, c.Status) else getattr(answer, "status", None)
            if status is None or not (status.code or status.error_code):
                return answer
            if "rate limit" not in status.reason and "not ready" not in status.reason:
                break
            time.sleep(0.2)
        raise RuntimeError(f"{name}: code={status.code} error_code={status.error_code} {status.reason}")

    def describe(self, database, name):
        return self.call("DescribeCollection", m.DescribeCollectionRequest(db_name=database, collection_name=name), database)

    def indexes(self, database, name):
        try:
            request = m.DescribeIndexRequest(db_name=database, collection_name=name)
            return self.call("DescribeIndex", request, database).index_descriptions
        except RuntimeError:  # none
            return []

    def create(self, database, name, spec):
        schema = s.CollectionSchema(
            name=name, description=f"{name} desc", fields=spec["fields"], enable_dynamic_field=spec.get("dynamic", False)
        )
        self.call(
            "CreateCollection",
            m.CreateCollectionRequest(
                db_name=database, collection_name=name, schema=schema.SerializeToString(), shards_num=spec["shards"],
                consistency_level=c.Bounded, properties=spec.get("properties", []),
                num_partitions=spec.get("num_partitions", 0),
            ),
            database,
        )
        for partition in spec.get("partitions", []):
            request = m.CreatePartitionRequest(db_name=database, collection_name=name, partition_name=partition)
            self.call("CreatePartition", request, database)
        if "alias" in spec:
            request = m.CreateAliasRequest(db_name=database, collection_name=name, alias=spec["alias"])
            self.call("CreateAlias", request, database)

    def insert(self, database, name, partition, columns, rows, call="Insert"):
        kind = m.InsertRequest if call == "Insert" else m.UpsertRequest
        request = kind(
            db_name=database, collection_name=name, partition_name=partition, num_rows=rows, fields_data=columns
        )
        self.call(call, request, database)

    def delete(self, database, name, keys, partition=""):
        for start in range(0, len(keys), 500):
            expression = "id in " + json.dumps(keys[start : start + 500])
            request = m.DeleteRequest(
                db_name=database, collection_name=name, partition_name=partition, expr=expression
            )
            self.call("Delete", request, database)

    def flush(self, database, name):
        answer = self.call("Flush", m.FlushRequest(db_name=database, collection_names=[name]), database)
        state = m.GetFlushStateRequest(
            db_name=database, collection_name=name, segmentIDs=answer.coll_segIDs[name].data,
            flush_ts=answer.coll_flush_ts[name],
        )
        while not self.call("GetFlushState", state, database).flushed:
            time.sleep(PAUSE)

    def make_indexes(self, database, name, spec):
        # One at a time: a second one may be left until a tick of a minute.
        for on, params in spec["index"].items():
            self.call(
                "CreateIndex",
                m.CreateIndexRequest(
                    db_name=database, collection_name=name, field_name=on, index_name=f"{on}_idx", extra_params=kv(**params)
                ),
                database,
            )
            self.indexed(database, name)

    def indexed(self, database, name):
        while any(i.state != c.Finished or i.indexed_rows < i.total_rows for i in self.indexes(database, name)):
            time.sleep(PAUSE)

    def load(self, collections):
        for database, name in collections:
            self.call("LoadCollection", m.LoadCollectionRequest(db_name=database, collection_name=name, replica_number=1), database)
        for database, name in collections:
            state = m.GetLoadStateRequest(db_name=database, collection_name=name)
            while self.call("GetLoadState", state, database).state != c.LoadStateLoaded:
                time.sleep(PAUSE)

    def ensure_loaded(self, database, name):
        if not self.indexes(database, name):
            fields = self.describe(database, name).schema.fields
            vector = next(f.name for f in fields if f.data_type in (D.FloatVector, D.BinaryVector))
            index = {vector: dict(index_type="FLAT", metric_type="L2", params="{}")}
            self.make_indexes(database, name, {"index": index})
        self.load([(database, name)])

    def query(self, database, name, expression, output, limit=None):
        request = m.QueryRequest(
            db_name=database, collection_name=name, expr=expression, output_fields=output, consistency_level=c.Strong,
            use_default_consistency=False, guarantee_timestamp=0, query_params=kv(limit=str(limit)) if limit else [],
        )
        return self.call("Query", request, database)

    def count(self, database, name):
        return self.query(database, name, "", ["count(*)"]).fields_data[0].scalars.long_data.data[0]

    def rows(self, database, name):
        """Every row: {key: digest of all its fields}."""
        found = {}
        schema = self.describe(database, name).schema
        key = next(f for f in schema.fields if f.is_primary_key)
        # Pages by key: Query gives at most 16,384 rows.
        last = None
        while True:
            if key.data_type == D.VarChar:
                expression = 'id >= ""' if last is None else f"id > {json.dumps(last)}"
            else:
                expression = f"id >= {-(2**63) + 1}" if last is None else f"id > {last}"
            page = self.page(database, name, expression)
            if not page:
                return found
            if last is not None and len(page) < 16384 and not set(page) - set(found):
                return found
            found.update(page)
            if len(page) < 16384:
                return found
            last = max(page)

    def page(self, database, name, expression):
        answer = self.query(database, name, expression, ["*"], 16384)
        columns = {}
        for one in sorted(answer.fields_data, key=lambda one: one.field_name):
            if one.WhichOneof("field") == "vectors":
                values = vectors_as_bytes(one.vectors)
            else:
                kind = one.scalars.WhichOneof("data")
                values = list(getattr(one.scalars, kind).data) if kind else []
                if kind == "array_data":
                    values = [value.SerializeToString(deterministic=True) for value in values]
            columns[one.field_name] = values
        return {
            key: hashlib.sha256(repr([(name, values[i]) for name, values in columns.items()]).encode()).hexdigest()
            for i, key in enumerate(columns.get("id", []))
        }

    def search(self, database, name, queries, top):
        parameters = kv(
            anns_field="vec", topk=str(top), params='{"ef":200}', round_decimal="-1", ignore_growing="False",
            metric_type=next(p.value for i in self.indexes(database, name) if i.field_name == "vec" for p in i.params if p.key == "metric_type"),
        )
        group = c.PlaceholderGroup(
            placeholders=[c.PlaceholderValue(tag="$0", type=c.PlaceholderType.FloatVector, values=[q.tobytes() for q in queries])]
        )
        request = m.SearchRequest(
            db_name=database, collection_name=name, dsl="", placeholder_group=group.SerializeToString(), dsl_type=c.DslType.BoolExprV1,
            search_params=parameters, nq=len(queries), consistency_level=c.Strong, use_default_consistency=False,
        )
        result = self.call("Search", request, database).results
        ids = list(result.ids.int_id.data or result.ids.str_id.data)
        found, at = [], 0
        for count in result.topks:
            found.append(ids[at : at + count])
            at += count
        return found


def partitions(server, where):
    request = m.ShowPartitionsRequest(db_name=where[0], collection_name=where[1])
    return server.call("ShowPartitions", request, where[0])


def row_digest(server, where, with_partitions=True, parsed_json=False):
    """Rows and row digest as host/source/src/rows.rs defines it, from what Query answers."""
    from blake3 import blake3

    rows, total = 0, 0
    # Where there is a partition key, nobody may name partitions.
    for partition in partitions(server, where).partition_names if with_partitions else [""]:
        request = m.QueryRequest(
            db_name=where[0], collection_name=where[1], expr="", output_fields=["*", "$meta"],
            partition_names=[partition] if partition else [], consistency_level=c.Strong, use_default_consistency=False,
            guarantee_timestamp=0, query_params=kv(limit="16384"),
        )
        schema = server.describe(*where).schema
        key = next(f for f in schema.fields if f.is_primary_key)
        request.expr = f'{key.name} >= ""' if key.data_type == D.VarChar else f"{key.name} >= {-(2**63) + 1}"
        if not schema.enable_dynamic_field:
            del request.output_fields[1]
        columns = {}
        for one in server.call("Query", request, where[0]).fields_data:
            if one.WhichOneof("field") == "vectors":
                values = vectors_as_bytes(one.vectors)
            else:
                kind = one.scalars.WhichOneof("data")
                values = list(getattr(one.scalars, kind).data) if kind else []
                as_bytes = {
                    "bool_data": lambda value: bytes([value]),
                    "int_data": lambda value: value.to_bytes(8, "little", signed=True),
                    "long_data": lambda value: value.to_bytes(8, "little", signed=True),
                    "float_data": lambda value: np.float32(value).astype("<f4").tobytes(),
                    "double_data": lambda value: np.float64(value).astype("<f8").tobytes(),
                    "string_data": lambda value: value.encode(),
                    "json_data": lambda value: as_json(json.loads(value)) if parsed_json else bytes(value),
                    "array_data": lambda value: b"".join(
                        len(one.encode()).to_bytes(4, "little") + one.encode() for one in value.string_data.data
                    ),
                }[kind or "json_data"]
                values = [as_bytes(value) for value in values]
            columns[one.field_name or "$meta"] = values
        for at in range(len(columns.get(key.name, []))):
            digest = blake3(b"longshore row 1" + partition.encode()).digest()
            for name in sorted(columns, key=str.encode):
                name_bytes = name.encode()
                head = digest + len(name_bytes).to_bytes(4, "little") + name_bytes
                digest = blake3(head + b"\x01" + columns[name][at]).digest()
            rows, total = rows + 1, total + int.from_bytes(digest, "little")
    return {"rows": rows, "digest": (total % 2**256).to_bytes(32, "little").hex()}


def corpus(server, database, storage, folder):
    """Writes what a backup keeps of each collection (host/source/src/milvus/kept.rs), and what is in it."""
    import base64
    import os
    import shutil

    for name in COLLECTIONS:
        where = place(database, name)
        described, shown = server.describe(*where), partitions(server, where)
        request = m.GetPersistentSegmentInfoRequest(dbName=where[0], collectionName=where[1])
        segments = server.call("GetPersistentSegmentInfo", request, where[0]).infos
        to = os.path.join(folder, name)
        for one in segments:
            inside = f"{one.partitionID}/{one.segmentID}"
            for kind in ("insert_log", "delta_log"):
                files = f"{storage}/{kind}/{one.collectionID}/{inside}"
                if os.path.isdir(files):
                    shutil.copytree(files, f"{to}/{kind}/{inside}")
        kept = {
            "schema": {
                "message": base64.b64encode(described.schema.SerializeToString()).decode(),
                "shards": described.shards_num,
                "consistencyLevel": described.consistency_level,
                "properties": [[p.key, p.value] for p in described.properties],
                "partitions": list(shown.partition_names),
                "indexes": [
                    {"fieldName": i.field_name, "indexName": i.index_name, "params": [[p.key, p.value] for p in i.params]}
                    for i in server.indexes(*where)
                ],
            },
            "point": {
                "serverVersion": server.call("GetVersion", m.GetVersionRequest()).version,
                "collectionId": described.collectionID,
                "partitions": [
                    {"partitionId": number, "name": called}
                    for number, called in zip(shown.partitionIDs, shown.partition_names)
                ],
                "segments": [
                    {"partitionId": one.partitionID, "segmentId": one.segmentID, "rows": one.num_rows} for one in segments
                ],
            },
        }
        server.ensure_loaded(*where)
        by_key = any(f.is_partition_key for f in described.schema.fields)
        # Query does not tell in which partition of a key a row is.
        kept["expected"] = {"rows": server.count(*where)} if by_key else row_digest(server, where)
        os.makedirs(to, exist_ok=True)
        with open(os.path.join(to, "kept.json"), "w") as file:
            json.dump(kept, file, indent=1)


def place(database, name):
    return (f"{database}_two", name[4:]) if name.startswith("two.") else (database, name)


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
    server.flush(database, "docs")
    more = list(range(2 * rows, 2 * rows + rows // 2))
    server.insert(database, "docs", "p1", docs(more, vectors(len(more))), len(more))
    count = rows // 2
    tenants = [f"tenant{i % 7}" for i in range(count)]
    server.insert(
        database, "tenants", "", [column("tenant", D.VarChar, tenants), column("vec", D.FloatVector, vectors(count))], count
    )
    two = f"{database}_two"
    plain = list(range(count))
    server.insert(
        two, "plain", "",
        [column("id", D.Int64, plain), column("vec", D.FloatVector, vectors(count)), column("x", D.Int32, plain)], count,
    )
    binary = rng.integers(0, 256, (count, 16), dtype=np.uint8)
    server.insert(two, "binv", "", [column("id", D.Int64, plain), column("vec", D.BinaryVector, binary)], count)
    for name in COLLECTIONS:
        if name != "empty":
            server.flush(*place(database, name))
    for name, spec in COLLECTIONS.items():
        server.make_indexes(*place(database, name), spec)
    # Deletes by key need a loaded collection in 2.3.
    server.load([(database, "docs"), (two, "plain")])
    server.delete(database, "docs", [f"doc-{k:06d}" for k in keys[::25]])
    server.delete(two, "plain", plain[::10])
    for part, some in zip(("p1", "p2"), half):
        upserted = [k for k in some if k % 97 == 1 and k % 25]
        if upserted:
            server.insert(database, "docs", part, docs(upserted, vectors(len(upserted)), "-upserted"), len(upserted), "Upsert")
    again = keys[::250]
    server.insert(database, "docs", "p2", docs(again, vectors(len(again)), "-again"), len(again))
    server.flush(database, "docs")
    server.flush(two, "plain")


def topics(rng, count):
    """Vectors as models of text make them: near to one of many topics."""
    centers = np.random.default_rng(3).standard_normal((200, LARGE_DIM), dtype=np.float32)
    chosen = rng.integers(0, len(centers), count)
    return chosen, centers[chosen] + rng.standard_normal((count, LARGE_DIM), dtype=np.float32) / 2


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
            server.flush(database, "large")
    server.flush(database, "large")
    server.make_indexes(database, "large", LARGE)
    server.load([(database, "large")])
    server.delete(database, "large", list(range(0, rows, 25)))
    server.flush(database, "large")


def take(server, database, other, folder):
    """Restores from the metadata and the folders alone, with the calls that milvus-backup makes (its `core/restore`)."""
    with open(f"{folder}/meta/full_meta.json") as file:
        backup = json.load(file)
    for one in (other, f"{other}_two"):
        server.call("CreateDatabase", m.CreateDatabaseRequest(db_name=one))
    for collection in backup["collection_backups"]:
        if collection["db_name"] not in (database, f"{database}_two"):
            continue
        where, name, schema = collection["db_name"].replace(database, other, 1), collection["collection_name"], collection["schema"]
        pairs = lambda listed: [c.KeyValuePair(**pair) for pair in listed]
        fields = [
            s.FieldSchema(
                name=f["name"], fieldID=f["fieldID"], description=f["description"], is_primary_key=f["is_primary_key"],
                autoID=f["autoID"], data_type=f["data_type"], element_type=f["element_type"],
                is_partition_key=f["is_partition_key"], type_params=pairs(f["type_params"]),
            )
            for f in schema["fields"]
        ]
        partitions = collection["partition_backups"]
        has_key = any(f.is_partition_key for f in fields)
        message = s.CollectionSchema(
            name=name, description=schema["description"], fields=fields, enable_dynamic_field=schema["enable_dynamic_field"]
        )
        request = m.CreateCollectionRequest(
            db_name=where, collection_name=name, schema=message.SerializeToString(), shards_num=collection["shards_num"],
            consistency_level=collection["consistency_level"], properties=pairs(collection["properties"]),
            num_partitions=len(partitions) if has_key else 0,
        )
        server.call("CreateCollection", request, where)
        for partition in partitions:
            label = partition["partition_name"]
            if not has_key and label != "_default":
                request = m.CreatePartitionRequest(db_name=where, collection_name=name, partition_name=label)
                server.call("CreatePartition", request, where)
            place = f"{collection['collection_id']}/{partition['partition_id']}/"
            paths = [f"{folder}/binlogs/{kind}/{place}" for kind in ("insert_log", "delta_log")]
            paths = [path if os.path.isdir(path) else "" for path in paths]
            if not paths[0]:
                continue
            request = m.ImportRequest(
                db_name=where, collection_name=name, partition_name=label, files=paths, options=kv(backup="true")
            )
            (task,) = server.call("Import", request, where).tasks
            while True:
                state = server.call("GetImportState", m.GetImportStateRequest(task=task))
                if state.state == c.ImportCompleted:
                    break
                if state.state in (c.ImportFailed, c.ImportFailedAndCleaned):
                    sys.exit(f"import into {where}.{name}: {state.infos}")
                time.sleep(PAUSE)
        for index in collection["index_infos"]:
            request = m.CreateIndexRequest(
                db_name=where, collection_name=name, field_name=index["field_name"], index_name=index["index_name"],
                extra_params=kv(**index["params"]),
            )
            server.call("CreateIndex", request, where)
            server.indexed(where, name)


def interfere(server, database, action):
    """Takes two rows away from a collection that is being restored, and puts two others of the same keys in their place."""
    (name,) = server.call("ShowCollections", m.ShowCollectionsRequest(db_name=database), database).collection_names
    imports = m.ListImportTasksRequest(db_name=database, collection_name=name)
    while any(task.state != c.ImportCompleted for task in server.call("ListImportTasks", imports, database).tasks):
        time.sleep(PAUSE)
    keys = [1, 2]
    server.delete(database, name, keys)
    if action == "change":
        columns = [column("id", D.Int64, keys), column("vec", D.FloatVector, np.ones((2, DIM), dtype=np.float32)), column("x", D.Int32, keys)]
        server.insert(database, name, "", columns, 2)


def aliases_by(server, database, name):
    def ask(field, header):
        request = m.ListAliasesRequest(db_name=field, collection_name=name)
        answer = server.stub.ListAliases(request, metadata=[("dbname", header)] if header else None, timeout=60)
        return None if answer.status.code or answer.status.error_code else list(answer.aliases)

    return {"field": ask(database, ""), "header": ask("", database), "both": ask(database, database)}


def differences(first, second, one, other):
    """Sentences about what is different."""
    (a, b), said = (first.describe(*one), second.describe(*other)), []

    def differ(what, left, right):
        if left != right:
            said.append(f"{what}: {left} and {right}")

    def bare(schema):
        copy = s.CollectionSchema()
        copy.CopyFrom(schema)
        copy.name = ""
        return copy

    def properties(described):
        return sorted((p.key, p.value) for p in described.properties if not p.key.startswith("collection.ttl"))

    def indexes(server, where):
        return sorted((i.field_name, i.index_name, sorted((p.key, p.value) for p in i.params)) for i in server.indexes(*where))

    differ("schema", bare(a.schema), bare(b.schema))
    differ("properties", properties(a), properties(b))
    differ("shards", a.shards_num, b.shards_num)
    differ("consistency level", a.consistency_level, b.consistency_level)
    differ(
        "partitions", sorted(partitions(first, one).partition_names), sorted(partitions(second, other).partition_names)
    )
    differ("indexes", indexes(first, one), indexes(second, other))
    for server, where in ((first, one), (second, other)):
        server.ensure_loaded(*where)
    differ("count(*)", first.count(*one), second.count(*other))
    left, right = first.rows(*one), second.rows(*other)
    lost, extra = left.keys() - right.keys(), right.keys() - left.keys()
    changed = [key for key in left.keys() & right.keys() if left[key] != right[key]]
    if lost or extra or changed:
        said.append(f"rows: {len(lost)} lost, {len(extra)} extra, {len(changed)} changed: {sorted(lost)[:3]} {sorted(extra)[:3]} {changed[:3]}")
    if not left and one[1] != "empty":
        said.append("there are no rows to compare")
    return said


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("action", choices=["fill", "large", "rows", "compare", "search", "drop", "lose", "change", "take", "stored", "digest", "filter", "aliases", "corpus"])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--other")
    parser.add_argument("--no-partitions", action="store_true")
    parser.add_argument("--parsed-json", action="store_true")
    parser.add_argument("--storage")
    parser.add_argument("--to")
    parser.add_argument("--from", dest="source")
    arguments = parser.parse_args()
    server = Server(arguments.server)
    second = Server(arguments.other) if arguments.other else server
    if arguments.action == "fill":
        fill(server, arguments.names[0], arguments.rows, arguments.seed)
        return
    if arguments.action == "large":
        fill_large(server, arguments.names[0], arguments.rows, arguments.seed)
        return
    if arguments.action == "corpus":
        corpus(server, arguments.names[0], arguments.storage, arguments.to)
        return
    if arguments.action in ("lose", "change"):
        interfere(server, arguments.names[0], arguments.action)
        return
    if arguments.action == "take":
        take(server, *arguments.names, arguments.source)
        return
    if arguments.action == "drop":
        for database in arguments.names:
            for name in server.call("ShowCollections", m.ShowCollectionsRequest(db_name=database), database).collection_names:
                for alias in server.describe(database, name).aliases:
                    server.call("DropAlias", m.DropAliasRequest(db_name=database, alias=alias), database)
                server.call("DropCollection", m.DropCollectionRequest(db_name=database, collection_name=name), database)
            server.call("DropDatabase", m.DropDatabaseRequest(db_name=database))
        return
    if arguments.action == "filter":
        where = tuple(arguments.names[0].split(".", 1))
        server.ensure_loaded(*where)
        found = server.query(*where, arguments.names[1], ["count(*)"]).fields_data[0].scalars.long_data.data[0]
        print(json.dumps({"count": found}))
        return
    names = [tuple(name.split(".", 1)) for name in arguments.names]
    if arguments.action == "stored":
        request = m.GetCollectionStatisticsRequest(db_name=names[0][0], collection_name=names[0][1])
        stats = {pair.key: pair.value for pair in server.call("GetCollectionStatistics", request, names[0][0]).stats}
        print(json.dumps({"count": int(stats["row_count"])}))
        return
    if arguments.action == "digest":
        server.ensure_loaded(*names[0])
        print(json.dumps(row_digest(server, names[0], not arguments.no_partitions, arguments.parsed_json)))
        return
    if arguments.action == "rows":
        server.ensure_loaded(*names[0])
        rows = server.rows(*names[0])
        described = server.describe(*names[0])
        print(json.dumps({"count": server.count(*names[0]), "aliases": list(described.aliases), "rows": rows}))
        return
    if arguments.action == "aliases":
        print(json.dumps(aliases_by(server, *names[0])))
        return
    one, other = names
    if arguments.action == "search":
        rng = np.random.default_rng(7)
        is_large = any(f.name == "topic" for f in server.describe(*one).schema.fields)
        queries = topics(rng, 50)[1] if is_large else rng.standard_normal((20, DIM), dtype=np.float32)
        found, wanted = second.search(*other, queries, 10), server.search(*one, queries, 10)
        hits = sum(len(set(a) & set(b)) for a, b in zip(found, wanted))
        print(json.dumps({"recall": hits / max(1, sum(len(a) for a in wanted))}))
        return
    said = differences(server, second, one, other)
    for sentence in said:
        print(sentence)
    sys.exit(bool(said))


main()
