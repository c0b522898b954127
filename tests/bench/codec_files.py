#!/usr/bin/env python3
"""Makes the files that host/vault/examples/codecs.rs measures and that the sets of make_data.py do not have:

    codec_files.py lite FOLDER       index files and a write-ahead log of Milvus Lite, beside its segments
    codec_files.py milvus PORT       a collection in a running Milvus 2.3 on this machine; its binlogs are then in the
                                     server's folder under insert_log (needs pymilvus==2.3.8, marshmallow<4, setuptools<81)

The rows are those of make_data.py (real sentences and embeddings), so its pool must be there. Run with a Python that has
the packages: for `lite` the one that tests/python/venv.sh prints for requirements.txt.
"""

import os
import pathlib
import shutil
import sys

import lite
import make_data
import sentences

ROWS = 19000
SHARES = (0.35, 0.3, 0.2, 0.1, 0.05)


def of_lite(target, rows):
    from pymilvus import MilvusClient

    made = target / "made.db"
    writer = lite.Writer(made)
    writer.create("articles")
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="HNSW", metric_type="COSINE", params={"M": 16, "efConstruction": 100})
    writer.client.create_index("articles", index)
    for share in SHARES:
        batch = rows.take(int(ROWS * share))
        writer.insert("articles", batch)
        writer.delete("articles", [row["id"] for row in batch[::50]])
        writer.flush("articles")
    # Loading makes the index files.
    writer.client.load_collection("articles")
    lite.wait_for_compaction(made)
    unflushed = lite.Rows(rows_pool(), 9, key=1 << 40).take(15000)
    writer.insert("articles", unflushed)
    # Copied while it is open: closing would flush.
    for name, pattern in (("segments", "data_*.parquet"), ("indexes", "*.idx"), ("log", "*.arrow")):
        (target / name).mkdir()
        for file in sorted(made.rglob(pattern)):
            shutil.copy(file, target / name)


def of_milvus(port, rows):
    from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections

    connections.connect(host="127.0.0.1", port=port)
    fields = [
        FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("source", DataType.VARCHAR, max_length=64),
        FieldSchema("page", DataType.VARCHAR, max_length=256), FieldSchema("text", DataType.VARCHAR, max_length=4096),
        FieldSchema("facts", DataType.JSON), FieldSchema("score", DataType.DOUBLE),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=sentences.DIMENSION),
    ]
    collection = Collection(f"codecs_{os.getpid()}", CollectionSchema(fields))
    for _ in range(ROWS // 1000):
        batch = rows.take(1000)
        collection.insert([[row[field.name] for row in batch] for field in fields])
    collection.delete(f"id in {[row['id'] for row in batch[::50]]}")
    collection.flush()
    print(f"{collection.num_entities} rows in {collection.name}")


def rows_pool():
    return sentences.pool(make_data.folder() / "pool", 20000)


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in ("lite", "milvus"):
        raise SystemExit(__doc__)
    rows = lite.Rows(rows_pool(), 8)
    if sys.argv[1] == "milvus":
        of_milvus(sys.argv[2], rows)
        return
    target = pathlib.Path(sys.argv[2])
    target.mkdir(parents=True)
    of_lite(target, rows)
    # Not closed on purpose, see above.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
