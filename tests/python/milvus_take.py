"""A backup in the layout of milvus-backup, restored as that tool does it."""

import json
import os
import sys
import time

from milvus_calls import PAUSE
from milvus_kinds import kv
from pymilvus.grpc_gen import common_pb2 as c
from pymilvus.grpc_gen import milvus_pb2 as m
from pymilvus.grpc_gen import schema_pb2 as s


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
