#!/usr/bin/env python3
"""Looks at Milvus Lite data directories through Milvus Lite itself, as any client would.

    judge.py dump DIR [--rows]                  canonical JSON: every collection with a digest over all its rows
    judge.py compare A B [--rename OLD=NEW]...  exit 0 when B holds what A holds, else 1; says so in plain sentences
             [--only NAME]... [--ignore-aliases]
    judge.py digest DIR NAME [--no-partitions]  rows and their digest (host/source/src/rows.rs), from what a query answers
    judge.py use DIR NAME FIELD [--no-partitions]  the same; and how many of 20 searches for a row's vector in FIELD find that row
                                                first; and the number of rows before and after one more, under a new key

Names are `database.collection`, or `collection` in the default database. Both directories are copied before they are
opened, because Milvus Lite changes what it opens. `compare` looks at schema, properties (those about the time to live
are expected to be gone from B), partitions, indexes, aliases and database properties, at every row bit for bit, and at
searches: equal with FLAT, recall of at least 0.99 with any other index.
"""

import argparse
import hashlib
import json
import logging
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np

RECALL = 0.99
QUERIES = 40
NEIGHBOURS = 10
PAGE = 4096


class Database:
    """A copy of a data directory, opened with pymilvus."""

    def __init__(self, folder):
        from pymilvus import MilvusClient

        self.temporary = tempfile.TemporaryDirectory()
        path = os.path.join(self.temporary.name, "copy.db")
        shutil.copytree(folder, path)
        self.path = pathlib.Path(path)
        self.client = MilvusClient(path)

    def collections(self):
        """(database, collection) of everything there is."""
        found = []
        for database in sorted(self.client.list_databases()):
            self.client.use_database(database)
            found += [(database, name) for name in sorted(self.client.list_collections())]
        return found

    def use(self, name):
        self.client.use_database(name[0])
        return name[1]

    def describe(self, name):
        collection = self.use(name)
        description = self.client.describe_collection(collection)
        indexes = {index: self.client.describe_index(collection, index) for index in self.client.list_indexes(collection)}
        # These change while an index is built.
        for index in indexes.values():
            for volatile in ("total_rows", "indexed_rows", "pending_index_rows", "state"):
                index.pop(volatile, None)
        return {
            "fields": description["fields"],
            "dynamic": description.get("enable_dynamic_field"),
            "properties": dict(sorted((description.get("properties") or {}).items())),
            "partitions": sorted(self.client.list_partitions(collection)),
            "aliases": sorted(self.client.list_aliases(collection).get("aliases", [])),
            "indexes": dict(sorted(indexes.items())),
        }

    def database_properties(self, database):
        return {key: value for key, value in self.client.describe_database(database).items() if key != "name"}

    def key(self, name):
        fields = self.client.describe_collection(self.use(name))["fields"]
        return next(field["name"] for field in fields if field.get("is_primary"))

    def each_row(self, name):
        """(partition, row) of everything a query answers."""
        collection = self.use(name)
        self.client.load_collection(collection)
        for partition in self.client.list_partitions(collection):
            pages = self.client.query_iterator(collection, batch_size=PAGE, filter="", output_fields=["*"], partition_names=[partition])
            while page := pages.next():
                yield from ((partition, row) for row in page)
            pages.close()

    def rows(self, name):
        """All rows by key, each with its partition and every value, vectors as their bytes."""
        collection, key, rows = self.use(name), self.key(name), {}
        for partition, row in self.each_row(name):
            if row[key] in rows:
                raise SystemExit(f"{name}: the key {row[key]!r} is there twice")
            rows[row[key]] = (partition, {field: plain(value) for field, value in row.items()})
        counted = self.client.query(collection, filter="", output_fields=["count(*)"])[0]["count(*)"]
        if counted != len(rows):
            raise SystemExit(f"{name}: a count gives {counted} rows, reading them {len(rows)}")
        return rows

    def search(self, name, field, vectors):
        collection = self.use(name)
        answers = self.client.search(collection, data=vectors, limit=NEIGHBOURS, anns_field=field)
        return [[(hit[next(k for k in hit if k not in ("distance", "entity"))], hit["distance"]) for hit in answer] for answer in answers]


def plain(value):
    """A value that compares and prints the same whenever it is the same, bit for bit."""
    if isinstance(value, (list, np.ndarray)) and len(value) > 0 and isinstance(value[0], (float, np.floating)):
        return "float32:" + np.asarray(value, dtype="<f4").tobytes().hex()
    if isinstance(value, (bytes, bytearray)):
        return "bytes:" + value.hex()
    if isinstance(value, float):
        return float(value).hex()
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def digest(rows):
    """SHA-256 over all rows in order of key."""
    hasher = hashlib.sha256()
    for key in sorted(rows, key=lambda key: (str(type(key)), key)):
        hasher.update(json.dumps([key, rows[key]], sort_keys=True).encode())
    return hasher.hexdigest()


def canonical(kind, value, element=None):
    """A value as it goes into the digest of a row; `kind` and `element` are pymilvus' names of types."""
    if kind == "BOOL":
        return bytes([value])
    if kind in ("INT8", "INT16", "INT32", "INT64"):
        return int(value).to_bytes(8, "little", signed=True)
    if kind in ("FLOAT", "DOUBLE"):
        return np.asarray(value, dtype="<f4" if kind == "FLOAT" else "<f8").tobytes()
    if kind == "VARCHAR":
        return value.encode()
    if kind == "FLOAT_VECTOR":
        return np.asarray(value, dtype="<f4").tobytes()
    if kind == "ARRAY":
        elements = [canonical(element, one) for one in value]
        return b"".join(len(one).to_bytes(4, "little") + one for one in elements)
    # What was inserted is JSON as Python writes it, and pymilvus parses it.
    return json.dumps(value).encode()


def row_digest(database, name, with_partitions):
    from blake3 import blake3

    described = database.client.describe_collection(database.use(name))
    fields = {field["name"]: field for field in described["fields"]}
    rows, total = 0, 0
    for partition, row in database.each_row(name):
        values = {}
        for field, about in fields.items():
            element = about.get("element_type")
            values[field] = canonical(about["type"].name, row[field], getattr(element, "name", None))
        if described.get("enable_dynamic_field"):
            values["$meta"] = json.dumps({field: value for field, value in row.items() if field not in fields}).encode()
        digest = blake3(b"longshore row 1" + (partition.encode() if with_partitions else b"")).digest()
        for field in sorted(values, key=str.encode):
            field_bytes = field.encode()
            head = digest + len(field_bytes).to_bytes(4, "little") + field_bytes
            digest = blake3(head + b"\x01" + values[field]).digest()
        rows, total = rows + 1, total + int.from_bytes(digest, "little")
    return {"rows": rows, "digest": (total % 2**256).to_bytes(32, "little").hex()}


def grow(database, name):
    """Adds a row; a key that Milvus Lite makes itself must not be one that is there."""
    collection = database.use(name)
    described = database.client.describe_collection(collection)
    key = next(field for field in described["fields"] if field.get("is_primary"))
    row = dict(next(row for _, row in database.each_row(name)))
    count = lambda: database.client.query(collection, filter="", output_fields=["count(*)"])[0]["count(*)"]
    before = count()
    if key.get("auto_id"):
        del row[key["name"]]
    else:
        row[key["name"]] = "a new key" if isinstance(row[key["name"]], str) else 2**40
    database.client.insert(collection, [row])
    return {"before": before, "after": count()}


def find(database, name, field):
    """Rows whose own vector finds them first."""
    key = database.key(name)
    rows = [row for _, row in database.each_row(name)][:20]
    answers = database.search(name, field, [[float(x) for x in row[field]] for row in rows])
    return {"searches": len(rows), "found": sum(answer[0][0] == row[key] for answer, row in zip(answers, rows))}


def label(name):
    return f"{name[0]}.{name[1]}"


def parse(text):
    database, dot, collection = text.partition(".")
    return (database, collection) if dot else ("default", text)


def dump(folder, with_rows):
    database = Database(folder)
    result = {}
    for name in database.collections():
        rows = database.rows(name)
        result[label(name)] = {**database.describe(name), "rows": len(rows), "digest": digest(rows)}
        if with_rows:
            result[label(name)]["content"] = {str(key): value for key, value in rows.items()}
    print(json.dumps(result, indent=1, sort_keys=True, default=str))


def compare_facts(before, after, arguments, complain):
    """Everything but rows and searches."""
    for facts in (before, after):
        facts["properties"] = {k: v for k, v in facts["properties"].items() if not k.startswith("collection.ttl")}
        if arguments.ignore_aliases:
            facts.pop("aliases")
    for what, value in before.items():
        if after[what] != value:
            complain(f"{what} were {value} and are {after[what]}")


def compare_rows(before, after, complain):
    missing, extra = before.keys() - after.keys(), after.keys() - before.keys()
    changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
    for what, keys in (("are missing", missing), ("should not be there", extra), ("differ", changed)):
        if keys:
            complain(f"{len(keys)} rows {what}, for example {sorted(keys, key=str)[:3]}")


def compare_searches(one, name, other, renamed, facts, rows, complain):
    """Searches in both for vectors that are in the rows. Says how many were made."""
    made = 0
    for field in facts["fields"]:
        values = [row[field["name"]] for _, row in rows.values() if str(row.get(field["name"])).startswith("float32:")]
        if not values:
            continue
        step = max(1, len(values) // QUERIES)
        vectors = [np.frombuffer(bytes.fromhex(value[8:]), dtype="<f4").tolist() for value in values[::step][:QUERIES]]
        index = next((index for index in facts["indexes"].values() if index["field_name"] == field["name"]), {})
        if not index:
            continue
        expected, found = one.search(name, field["name"], vectors), other.search(renamed, field["name"], vectors)
        made += len(vectors)
        if index.get("index_type") == "FLAT":
            # Rows at the same distance may come in any order.
            if [sorted(answer, key=lambda hit: (hit[1], str(hit[0]))) for answer in expected] != [
                sorted(answer, key=lambda hit: (hit[1], str(hit[0]))) for answer in found
            ]:
                complain(f"searches on `{field['name']}` (FLAT) give other results")
        else:
            hits = sum(len({key for key, _ in a} & {key for key, _ in b}) for a, b in zip(expected, found))
            recall = hits / sum(len(answer) for answer in expected)
            if recall < RECALL:
                complain(f"searches on `{field['name']}` ({index.get('index_type')}) have a recall of {recall:.3f}")
    return made


def compare(arguments):
    one, other = Database(arguments.a), Database(arguments.b)
    renames = {parse(old): parse(new) for old, new in (text.split("=", 1) for text in arguments.rename)}
    wanted = [parse(text) for text in arguments.only] or (list(renames) if renames else one.collections())
    there = other.collections()
    faults = []
    for name in wanted:
        renamed = renames.get(name, name)

        def complain(text, name=name):
            faults.append(f"{label(name)}: {text}.")

        if renamed not in there:
            complain(f"{label(renamed)} is not in the second directory")
            continue
        facts = one.describe(name)
        compare_facts(one.describe(name), other.describe(renamed), arguments, complain)
        rows = one.rows(name)
        compare_rows(rows, other.rows(renamed), complain)
        searches = compare_searches(one, name, other, renamed, facts, rows, complain)
        print(f"{label(name)}: {len(rows)} rows and {searches} searches compared.")
    if not renames and not arguments.only:
        faults += [f"{label(name)} is only in the second directory." for name in there if name not in wanted]
        for database in sorted(one.client.list_databases()):
            try:
                if one.database_properties(database) != other.database_properties(database):
                    faults.append(f"The properties of database {database} differ.")
            except Exception as error:
                faults.append(f"Database {database} cannot be described in the second directory: {error}")
    print("\n".join(faults) if faults else "Both hold the same.")
    return 1 if faults else 0


def main():
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("dump")
    command.add_argument("dir")
    command.add_argument("--rows", action="store_true", help="print every row, too")
    command = commands.add_parser("compare")
    command.add_argument("a")
    command.add_argument("b")
    command.add_argument("--rename", action="append", default=[], metavar="OLD=NEW")
    command.add_argument("--only", action="append", default=[], metavar="NAME")
    command.add_argument("--ignore-aliases", action="store_true")
    for name in ("digest", "use"):
        command = commands.add_parser(name)
        command.add_argument("dir")
        command.add_argument("name")
        command.add_argument("--no-partitions", action="store_true")
    command.add_argument("field")
    arguments = parser.parse_args()
    if arguments.command in ("digest", "use"):
        database, name = Database(arguments.dir), parse(arguments.name)
        said = row_digest(database, name, not arguments.no_partitions)
        if arguments.command == "use":
            said |= find(database, name, arguments.field) | grow(database, name)
        print(json.dumps(said))
        result = 0
    elif arguments.command == "dump":
        dump(arguments.dir, arguments.rows)
        result = 0
    else:
        result = compare(arguments)
    return result


if __name__ == "__main__":
    sys.exit(main())
