"""Two collections compared: what describes them, their rows, and what searches find in them.

Contract: each difference is a sentence. Keys, scalars and vectors are compared bit for bit.
"""

import numpy as np
from milvus_calls import partitions
from milvus_kinds import DIM, D, topics
from pymilvus.grpc_gen import milvus_pb2 as m
from pymilvus.grpc_gen import schema_pb2 as s


def ensure_loaded(first, second, pairs):
    """All at once: loading one takes as long as loading several."""
    if first is second:
        first.ensure_loaded([where for pair in pairs for where in pair])
        return
    first.ensure_loaded([one for one, _ in pairs])
    second.ensure_loaded([other for _, other in pairs])


def compare(first, second, pairs):
    """Sentences about what is different."""
    # Loading gives collections indexes that have none.
    said = [described_otherwise(first, second, *pair) for pair in pairs]
    ensure_loaded(first, second, pairs)
    said = [described + other_rows(first, second, *pair) for described, pair in zip(said, pairs)]
    return None, [f"{'.'.join(one)}: {sentence}" for (one, _), sentences in zip(pairs, said) for sentence in sentences]


def described_otherwise(first, second, one, other):
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
    return said


def other_rows(first, second, one, other):
    said, counts = [], (first.count(*one), second.count(*other))
    if counts[0] != counts[1]:
        said.append(f"count(*): {counts[0]} and {counts[1]}")
    left, right = first.rows(*one), second.rows(*other)
    lost, extra = left.keys() - right.keys(), right.keys() - left.keys()
    changed = [key for key in left.keys() & right.keys() if left[key] != right[key]]
    if lost or extra or changed:
        said.append(f"rows: {len(lost)} lost, {len(extra)} extra, {len(changed)} changed: {sorted(lost)[:3]} {sorted(extra)[:3]} {changed[:3]}")
    if not left and one[1] != "empty":
        said.append("there are no rows to compare")
    return said


EXACT = ("FLAT", "BIN_FLAT")
RECALL = 0.99
TOP = 10


def in_groups(hits):
    """Hits of one query as [distance, keys] in order, keys of one distance as a set: among equals any order is right, and
    of the last ones any choice. Distances of floats are sums that a server may add up in another order."""
    groups = []
    for key, distance, _ in hits:
        if groups and np.isclose(groups[-1][0], distance, rtol=1e-5, atol=1e-6):
            groups[-1][1].add(key)
        else:
            groups.append([distance, {key}])
    return groups


def found_otherwise(wanted, found):
    """Whether an exact search found other rows, in another order or at other distances."""
    if len(wanted) != len(found):
        return True
    if not all(np.isclose(a[1], b[1], rtol=1e-5, atol=1e-6) for a, b in zip(wanted, found)):
        return True
    one, other = in_groups(wanted), in_groups(found)
    # The last group is cut off in the middle where there are more rows than were asked for.
    if len(wanted) == TOP:
        one, other = one[:-1], other[:-1]
    return [keys for _, keys in one] != [keys for _, keys in other]


def filters(server, where):
    """What to search in: everything, or each value of a partition key by itself."""
    key = next((f.name for f in server.describe(*where).schema.fields if f.is_partition_key), None)
    if key is None:
        return [("", None, None)]
    return [(f'{key} == "tenant{number}"', key, f"tenant{number}") for number in range(7)]


def queries_for(server, where):
    rng = np.random.default_rng(7)
    fields = server.describe(*where).schema.fields
    if any(field.name == "topic" for field in fields):
        return topics(rng, 50)[1]
    vector = next(field for field in fields if field.name == "vec")
    if vector.data_type == D.BinaryVector:
        bits = next(int(pair.value) for pair in vector.type_params if pair.key == "dim")
        return rng.integers(0, 256, (20, bits // 8), dtype=np.uint8)
    return rng.standard_normal((20, DIM), dtype=np.float32)


def search(first, second, pairs):
    """The same searches in both: how many there were, what part of the rows that the first finds the second finds, and what is
    wrong, in sentences. An exact index must find the same rows in the same order at the same distances, any other one nearly
    all of them."""
    ensure_loaded(first, second, pairs)
    found = [searched(first, second, *pair) for pair in pairs]
    said = [f"{'.'.join(one)}: {sentence}" for (one, _), (_, sentences) in zip(pairs, found) for sentence in sentences]
    return [answer for answer, _ in found], said


def searched(first, second, one, other):
    kinds = [server.index_of(*where, "vec")["index_type"] for server, where in ((first, one), (second, other))]
    is_exact = all(kind in EXACT for kind in kinds)
    queries, said, hits, wanted_hits, made = queries_for(first, one), [], 0, 0, 0
    for expression, field, value in filters(first, one):
        output = [field] if field else []
        wanted = first.search(*one, queries, TOP, expression, output)
        found = second.search(*other, queries, TOP, expression, output)
        made += len(queries)
        if len(found) != len(queries) or not all(wanted):
            said.append(f"search {expression}: {len(found)} answers to {len(queries)} queries, or nothing to find")
        for number, (a, b) in enumerate(zip(wanted, found)):
            hits += len({key for key, _, _ in a} & {key for key, _, _ in b})
            wanted_hits += len(a)
            if is_exact and found_otherwise(a, b):
                said.append(f"query {number} {expression}: {[h[:2] for h in a]} and {[h[:2] for h in b]}")
            if field and any(values != (value,) for _, _, values in a + b):
                said.append(f"query {number} {expression}: rows of another {field}: {a} and {b}")
    recall = hits / max(1, wanted_hits)
    if not is_exact and recall < RECALL:
        said.append(f"{recall} of the rows are found")
    return {"recall": recall, "searches": made, "exact": is_exact}, said


def aliases_by(server, database, name):
    def ask(field, header):
        request = m.ListAliasesRequest(db_name=field, collection_name=name)
        answer = server.stub.ListAliases(request, metadata=[("dbname", header)] if header else None, timeout=60)
        return None if answer.status.code or answer.status.error_code else list(answer.aliases)

    return {"field": ask(database, ""), "header": ask("", database), "both": ask(database, database)}
