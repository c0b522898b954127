"""What the rows of a collection are: their digest as `host/source/src/rows.rs` defines it, from what Query answers; and a
collection's files beside it, for tests that have no server."""

import base64
import json
import os
import shutil

import numpy as np
from blake3 import blake3
from milvus_calls import partitions, vectors_as_bytes
from milvus_kinds import COLLECTIONS, D, as_json, kv, place
from pymilvus.grpc_gen import common_pb2 as c
from pymilvus.grpc_gen import milvus_pb2 as m


AS_BYTES = {
    "bool_data": lambda value: bytes([value]),
    "int_data": lambda value: value.to_bytes(8, "little", signed=True),
    "long_data": lambda value: value.to_bytes(8, "little", signed=True),
    "float_data": lambda value: np.float32(value).astype("<f4").tobytes(),
    "double_data": lambda value: np.float64(value).astype("<f8").tobytes(),
    "string_data": lambda value: value.encode(),
    "json_data": bytes,
}


def array_as_bytes(array):
    kind = array.WhichOneof("data")
    elements = [AS_BYTES[kind](one) for one in getattr(array, kind).data] if kind else []
    return b"".join(len(one).to_bytes(4, "little") + one for one in elements)


def row_digest(server, where, with_partitions=True, parsed_json=False, by_partition=False):
    """Rows and row digest, of each partition too if that is asked for."""
    rows, total, parts = 0, 0, {}
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
        columns, before = {}, (rows, total)
        for one in server.call("Query", request, where[0]).fields_data:
            if one.WhichOneof("field") == "vectors":
                values = vectors_as_bytes(one.vectors)
            else:
                kind = one.scalars.WhichOneof("data")
                values = list(getattr(one.scalars, kind).data) if kind else []
                if kind == "json_data" and parsed_json:
                    values = [as_json(json.loads(value)) for value in values]
                as_bytes = array_as_bytes if kind == "array_data" else AS_BYTES[kind or "json_data"]
                values = [as_bytes(value) for value in values]
            columns[one.field_name or "$meta"] = values
        for at in range(len(columns.get(key.name, []))):
            digest = blake3(b"longshore row 1" + partition.encode()).digest()
            for name in sorted(columns, key=str.encode):
                name_bytes = name.encode()
                head = digest + len(name_bytes).to_bytes(4, "little") + name_bytes
                digest = blake3(head + b"\x01" + columns[name][at]).digest()
            rows, total = rows + 1, total + int.from_bytes(digest, "little")
        parts[partition] = summed(rows - before[0], total - before[1])
    return {**summed(rows, total), "partitions": parts} if by_partition else summed(rows, total)


def summed(rows, total):
    return {"rows": rows, "digest": (total % 2**256).to_bytes(32, "little").hex()}


def corpus(server, database, storage, folder):
    """Writes what a backup keeps of each collection (host/source/src/milvus/kept.rs), and what is in it."""
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
        server.ensure_loaded([where])
        by_key = any(f.is_partition_key for f in described.schema.fields)
        # Query does not tell in which partition of a key a row is.
        kept["expected"] = {"rows": server.count(*where)} if by_key else row_digest(server, where)
        os.makedirs(to, exist_ok=True)
        with open(os.path.join(to, "kept.json"), "w") as file:
            json.dump(kept, file, indent=1)
