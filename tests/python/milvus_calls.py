"""A Milvus server 2.3, called through pymilvus' generated messages alone: what is compared is what the wire says."""

import hashlib
import json
import time

import grpc
import numpy as np
from milvus_kinds import D, kv
from pymilvus.grpc_gen import common_pb2 as c
from pymilvus.grpc_gen import milvus_pb2 as m
from pymilvus.grpc_gen import milvus_pb2_grpc as g
from pymilvus.grpc_gen import schema_pb2 as s

PAUSE = 0.1


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

    def drop_database(self, database):
        """Drops it with all that is in it."""
        shown = self.call("ShowCollections", m.ShowCollectionsRequest(db_name=database), database)
        for name in shown.collection_names:
            for alias in self.describe(database, name).aliases:
                self.call("DropAlias", m.DropAliasRequest(db_name=database, alias=alias), database)
            self.call("DropCollection", m.DropCollectionRequest(db_name=database, collection_name=name), database)
        self.call("DropDatabase", m.DropDatabaseRequest(db_name=database))

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

    def flush(self, collections):
        """All of them side by side: one takes as long as several."""
        states = []
        for database, name in collections:
            answer = self.call("Flush", m.FlushRequest(db_name=database, collection_names=[name]), database)
            state = m.GetFlushStateRequest(
                db_name=database, collection_name=name, segmentIDs=answer.coll_segIDs[name].data,
                flush_ts=answer.coll_flush_ts[name],
            )
            states.append((database, state))
        for database, state in states:
            while not self.call("GetFlushState", state, database).flushed:
                time.sleep(PAUSE)

    def make_indexes(self, wanted):
        """As ((database, name), {field: parameters}). One at a time: a second one may be left until a tick of a minute."""
        for (database, name), indexes in wanted:
            for on, params in indexes.items():
                request = m.CreateIndexRequest(
                    db_name=database, collection_name=name, field_name=on, index_name=f"{on}_idx", extra_params=kv(**params)
                )
                self.call("CreateIndex", request, database)
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

    def ensure_loaded(self, collections):
        """Those without an index get one first."""
        wanted = []
        for where in collections:
            if not self.indexes(*where):
                fields = self.describe(*where).schema.fields
                vector = next(f.name for f in fields if f.data_type in (D.FloatVector, D.BinaryVector))
                wanted.append((where, {vector: dict(index_type="FLAT", metric_type="L2", params="{}")}))
        self.make_indexes(wanted)
        self.load(collections)

    def query(self, database, name, expression, output, limit=None):
        request = m.QueryRequest(
            db_name=database, collection_name=name, expr=expression, output_fields=output, consistency_level=c.Strong,
            use_default_consistency=False, guarantee_timestamp=0, query_params=kv(limit=str(limit)) if limit else [],
        )
        return self.call("Query", request, database)

    def count(self, database, name, expression=""):
        return self.query(database, name, expression, ["count(*)"]).fields_data[0].scalars.long_data.data[0]

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

    def stored(self, database, name):
        """Rows in its segments, deleted ones included."""
        request = m.GetCollectionStatisticsRequest(db_name=database, collection_name=name)
        stats = self.call("GetCollectionStatistics", request, database).stats
        return int(next(pair.value for pair in stats if pair.key == "row_count"))

    def index_of(self, database, name, on):
        """The parameters of the index of a field."""
        index = next(i for i in self.indexes(database, name) if i.field_name == on)
        return {pair.key: pair.value for pair in index.params}

    def search(self, database, name, queries, top, expression="", output=()):
        """For each query what was found, as (key, distance, values of the output fields)."""
        metric = self.index_of(database, name, "vec")["metric_type"]
        is_binary = queries.dtype == np.uint8
        kind = c.PlaceholderType.BinaryVector if is_binary else c.PlaceholderType.FloatVector
        group = c.PlaceholderGroup(
            placeholders=[c.PlaceholderValue(tag="$0", type=kind, values=[query.tobytes() for query in queries])]
        )
        request = m.SearchRequest(
            db_name=database, collection_name=name, dsl=expression, placeholder_group=group.SerializeToString(),
            dsl_type=c.DslType.BoolExprV1, output_fields=output, nq=len(queries), consistency_level=c.Strong,
            use_default_consistency=False,
            search_params=kv(
                anns_field="vec", topk=str(top), params='{"ef":200}', round_decimal="-1", ignore_growing="False",
                metric_type=metric,
            ),
        )
        result = self.call("Search", request, database).results
        ids = list(result.ids.int_id.data or result.ids.str_id.data)
        columns = [list(getattr(one.scalars, one.scalars.WhichOneof("data")).data) for one in result.fields_data]
        hits = list(zip(ids, result.scores, zip(*columns) if columns else [()] * len(ids)))
        found, at = [], 0
        for count in result.topks:
            found.append(hits[at : at + count])
            at += count
        return found


def partitions(server, where):
    request = m.ShowPartitionsRequest(db_name=where[0], collection_name=where[1])
    return server.call("ShowPartitions", request, where[0])


def vectors_as_bytes(answered):
    """The vectors of a column that Query answers, each as its bytes."""
    if answered.WhichOneof("data") == "float_vector":
        vectors = np.array(answered.float_vector.data, dtype="<f4").reshape(-1, answered.dim)
        return [vector.tobytes() for vector in vectors]
    width, plain = answered.dim // 8, answered.binary_vector
    return [plain[i : i + width] for i in range(0, len(plain), width)]
