"""What the judge fills a server with: collections of every kind that a restore must bring back, and columns of rows for them.

Contract: nothing here speaks with a server. A row follows from its key, but for its vector and the tag in some of its texts.
"""

import json
import warnings

warnings.filterwarnings("ignore")
import numpy as np
from pymilvus.grpc_gen import common_pb2 as c
from pymilvus.grpc_gen import schema_pb2 as s

DIM = 32
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
            field("wholes", D.Array, {"max_capacity": "8"}, element_type=D.Int64),
            field("bytes", D.Array, {"max_capacity": "8"}, element_type=D.Int8),
            field("floats", D.Array, {"max_capacity": "8"}, element_type=D.Float),
            field("doubles", D.Array, {"max_capacity": "8"}, element_type=D.Double),
            field("truths", D.Array, {"max_capacity": "8"}, element_type=D.Bool),
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


# What values are called on the wire, and the message of an array of them.
PLACES = {
    D.VarChar: ("string_data", s.StringArray), D.JSON: ("json_data", s.JSONArray), D.Int64: ("long_data", s.LongArray),
    D.Float: ("float_data", s.FloatArray), D.Double: ("double_data", s.DoubleArray), D.Bool: ("bool_data", s.BoolArray),
}
SMALL_INTEGERS = ("int_data", s.IntArray)


def column(name, kind, data, element=D.VarChar):
    """A column as Insert takes it; `element` is the type of what is in arrays."""
    data_of = s.FieldData(type=kind, field_name=name, is_dynamic=name == "")
    if kind == D.FloatVector:
        data_of.vectors.dim = data.shape[1]
        data_of.vectors.float_vector.data.extend(data.ravel())
    elif kind == D.BinaryVector:
        data_of.vectors.dim = data.shape[1] * 8
        data_of.vectors.binary_vector = data.tobytes()
    elif kind == D.Array:
        data_of.scalars.array_data.element_type = element
        place, array = PLACES.get(element, SMALL_INTEGERS)
        data_of.scalars.array_data.data.extend(s.ScalarField(**{place: array(data=values)}) for values in data)
    else:
        getattr(data_of.scalars, PLACES.get(kind, SMALL_INTEGERS)[0]).data.extend(data)
    return data_of


def as_json(value):
    return json.dumps(value).encode()


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
        column("wholes", D.Array, [[k, -k, k << 40][: k % 4] for k in keys], D.Int64),
        column("bytes", D.Array, [[k % 256 - 128, -1][: k % 3] for k in keys], D.Int8),
        column("floats", D.Array, [[k / 3, -0.0, 1e-40][: k % 4] for k in keys], D.Float),
        column("doubles", D.Array, [[k / 7, 5e-324][: k % 3] for k in keys], D.Double),
        column("truths", D.Array, [[k % 2 == 0, False, True][: k % 4] for k in keys], D.Bool),
        column("title", D.VarChar, [f"Title {k}{tag} é" for k in keys]),
        column("", D.JSON, [as_json({"dyn_a": k % 11, "dyn_b": f"v{k}{tag}"}) for k in keys]),
    ]


def plain(keys, vectors):
    return [column("id", D.Int64, keys), column("vec", D.FloatVector, vectors), column("x", D.Int32, keys)]


def place(database, name):
    """Where a collection of COLLECTIONS is made."""
    return (f"{database}_two", name[4:]) if name.startswith("two.") else (database, name)


def topics(rng, count):
    """Vectors as models of text make them: near to one of many topics."""
    centers = np.random.default_rng(3).standard_normal((200, LARGE_DIM), dtype=np.float32)
    chosen = rng.integers(0, len(centers), count)
    return chosen, centers[chosen] + rng.standard_normal((count, LARGE_DIM), dtype=np.float32) / 2
