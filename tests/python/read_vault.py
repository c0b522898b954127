"""Reads a vault by host/vault/FORMAT.md alone: an independent reader, which proves that document.

    read_vault.py VAULT [READER_KEY]

The reader key, `AGE-SECRET-KEY-1…`, is for a vault that is encrypted.

Checks the name of every object, every code of every field it relies on, every blob id and the digest of every file of
every backup, and prints one line of JSON: {"backups": {id: {"database.collection": {path: digest}}}, "blobs": n}.
Exit 3 and a sentence when something is not as the document says. Shares no code with Longshore. Needs pyarrow for
Zstandard and LZ4; BLAKE3 is written out below, other ciphers in ciphers.py.
"""

import base64
import json
import pathlib
import re
import struct
import sys
import zlib

import pyarrow

import ciphers


class Damage(Exception):
    """What is not as FORMAT.md says."""


def require(condition, what):
    if not condition:
        raise Damage(what)


# BLAKE3, after its paper: hash, keyed hash and derive-key, 32 bytes of output.

IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
ORDER = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT, KEYED, CONTEXT, MATERIAL = 1, 2, 4, 8, 16, 32, 64
MASK = 0xFFFFFFFF
ROUNDS = [tuple(range(16))]
for _ in range(6):
    ROUNDS.append(tuple(ROUNDS[-1][place] for place in ORDER))
QUARTERS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def compress(chaining, block, counter, length, flags):
    words = struct.unpack("<16I", block.ljust(64, b"\0"))
    v = [*chaining, *IV[:4], counter & MASK, counter >> 32, length, flags]
    for order in ROUNDS:
        for number, (a, b, c, d) in enumerate(QUARTERS):
            va, vb, vc, vd = v[a], v[b], v[c], v[d]
            va = (va + vb + words[order[2 * number]]) & MASK
            vd ^= va
            vd = (vd >> 16 | vd << 16) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            vb = (vb >> 12 | vb << 20) & MASK
            va = (va + vb + words[order[2 * number + 1]]) & MASK
            vd ^= va
            vd = (vd >> 8 | vd << 24) & MASK
            vc = (vc + vd) & MASK
            vb ^= vc
            vb = (vb >> 7 | vb << 25) & MASK
            v[a], v[b], v[c], v[d] = va, vb, vc, vd
    return tuple(v[place] ^ v[place + 8] for place in range(8))


def subtree(key, data, first_chunk, flags, root):
    """The chaining value of some whole chunks, or the root's output words."""
    if len(data) <= 1024:
        chaining, blocks = key, max(1, -(-len(data) // 64))
        for number in range(blocks):
            block = data[64 * number:64 * number + 64]
            marks = (CHUNK_START if number == 0 else 0) | (CHUNK_END | root if number == blocks - 1 else 0)
            chaining = compress(chaining, block, first_chunk, len(block), flags | marks)
        return chaining
    left = 1024
    while left * 2 < len(data):
        left *= 2
    parts = subtree(key, data[:left], first_chunk, flags, 0) + subtree(key, data[left:], first_chunk + left // 1024, flags, 0)
    return compress(key, struct.pack("<16I", *parts), 0, 64, flags | PARENT | root)


def words_to_bytes(words):
    return struct.pack("<8I", *words)


def blake3(data):
    return words_to_bytes(subtree(IV, data, 0, 0, ROOT))


def chaining_value(data, offset):
    """Of the piece at that offset of a longer file."""
    return words_to_bytes(subtree(IV, data, offset // 1024, 0, 0))


def keyed(key, data):
    return words_to_bytes(subtree(struct.unpack("<8I", key), data, 0, KEYED, ROOT))


def derived(context, material):
    key = subtree(IV, context.encode(), 0, CONTEXT, ROOT)
    return words_to_bytes(subtree(key, material, 0, MATERIAL, ROOT))


# Codecs ("Codecs").


def unzstd(data, length):
    try:
        plain = pyarrow.decompress(data, decompressed_size=length, codec="zstd", asbytes=True)
    except (OSError, ValueError) as error:
        raise Damage(f"not one Zstandard frame of {length} bytes: {error}") from error
    require(len(plain) == length, f"a frame of {len(plain)} bytes, not {length}")
    return plain


def unshuffle(data, width):
    count = len(data) // width
    plain = bytearray(data)
    for byte in range(width):
        plain[byte:count * width:width] = data[byte * count:(byte + 1) * count]
    return bytes(plain)


def unadaptive(data, length):
    segments = length // 4096
    lengths = struct.unpack_from("<7I", data)
    at, stored = 28, []
    for number in lengths:
        stored.append((data[at:at + (number & 0x7FFFFFFF)], number >> 31))
        at += number & 0x7FFFFFFF
    require(at == len(data), "streams that do not end with the blob")

    def stream(place, plain_length):
        content, packed = stored[place]
        plain = unzstd(content, plain_length) if packed else bytes(content)
        require(len(plain) == plain_length, f"stream {place} has {len(plain)} bytes, not {plain_length}")
        return plain

    arranged = stream(0, segments)
    words, strides = sum(1 <= byte <= 4 for byte in arranged), sum(8 <= byte <= 64 for byte in arranged)
    require(words + strides + arranged.count(0) == segments, "an arrangement that is none")
    planes = [stream(1 + plane, 1024 * words) for plane in range(4)]
    differences = stream(5, 4096 * strides)
    plain_stream = stream(6, length - 4096 * (words + strides))
    blob, word_at, stride_at, plain_at = bytearray(), 0, 0, 0
    for byte in arranged:
        if byte == 0:
            blob += plain_stream[plain_at:plain_at + 4096]
            plain_at += 4096
        elif byte <= 4:
            segment, skip = bytearray(4096), byte - 1
            for place in range(1024):
                word = sum(planes[plane][word_at + place] << 8 * plane for plane in range(4))
                # Turned left by one bit when it was stored, so turned right now.
                word = word >> 1 | (word & 1) << 31
                for number in range(4):
                    segment[(4 * place + skip + number) % 4096] = word >> 8 * number & 255
            blob += segment
            word_at += 1024
        else:
            # The segment may overlap with the 4,096 bytes before it, so it is put together piece by piece.
            difference = int.from_bytes(differences[stride_at:stride_at + 4096], "little")
            segment, carry = bytearray(), 0
            before = (bytes(4096) + bytes(blob))[-byte:]
            for start in range(0, 4096, byte):
                size = min(byte, 4096 - start)
                number = int.from_bytes(before[:size], "little") + (difference >> 8 * start) % (1 << 8 * size) + carry
                carry, number = number >> 8 * size, number % (1 << 8 * size)
                before = number.to_bytes(size, "little")
                segment += before
            blob += segment
            stride_at += 4096
    return bytes(blob + plain_stream[plain_at:])


def decode(codec, stored, length):
    number, first, second = codec
    require(len(stored) <= length, "more bytes stored than there are")
    if number == 0:
        require((first, second) == (0, 0) and len(stored) == length, "not stored as it is")
        return stored
    if number == 1:
        require((first, second) == (0, 0), f"the codec {codec}")
        try:
            plain = pyarrow.decompress(stored, decompressed_size=length, codec="lz4_raw", asbytes=True)
        except (OSError, ValueError) as error:
            raise Damage(f"not an LZ4 block: {error}") from error
        require(len(plain) == length, "an LZ4 block of another length")
        return plain
    require(1 <= second <= 19, f"the codec {codec}")
    if number == 2 and first == 0:
        return unzstd(stored, length)
    if number == 3 and first in (2, 4, 8):
        return unshuffle(unzstd(stored, length), first)
    if number == 4 and first == 0:
        return unadaptive(stored, length)
    raise Damage(f"the codec {codec}")


# Objects.


class Vault:
    def __init__(self, folder, reader=None):
        self.folder = pathlib.Path(folder)
        header = json.loads((self.folder / "longshore-vault.json").read_text())
        require(header["format"] <= 1, f"format {header['format']} is newer than this reader")
        require(header["kind"] == "longshore-vault" and header["format"] == 1, "not the header of a vault")
        require(header["encryption"] in ("none", "age-1"), f"encryption `{header['encryption']}`, which this reader has not")
        self.identity = reader if header["encryption"] == "age-1" else None
        require(header["encryption"] == "none" or reader, "an encrypted vault, and no reader key was given")
        names = ("format", "kind", "vault_id", "project_id", "region_id", "encryption", "id_key_check" if self.identity else "blob_id_key")
        text = "".join(f"{header[name]}\n" for name in names)
        require(header["check"] == blake3(text.encode()).hex(), "the header's check does not match")
        self.id = header["vault_id"]
        self.id_key = self.unwrap_id_key(header["id_key_check"]) if self.identity else bytes.fromhex(header["blob_id_key"])
        self.data_keys = {}
        self.region, self.project = header["region_id"], header["project_id"]
        self.packs, self.blobs_read = {}, set()
        for path in sorted(self.folder.glob("packs/??/*")):
            if re.fullmatch("[0-9a-f]{64}", path.name) and path.parent.name == path.name[:2]:
                self.packs[path.name] = self.named(path, path.name)
        self.index = {}
        for name, data in self.packs.items():
            for entry in pack_entries(data, bool(self.identity)):
                self.index.setdefault(entry["id"], []).append((name, entry))
        self.check_index_objects()

    def coded(self, data, what):
        """The JSON of an object that ends with a code of the id key, after checking that."""
        body, code = data[:-75], re.fullmatch(rb',"code":"([0-9a-f]{64})"}', data[-75:])
        key = derived(f"longshore vault 1 {what} code", self.id_key)
        require(code and code[1].decode() == keyed(key, body).hex(), f"a {what} without a good code")

    def unwrap_id_key(self, check):
        """From the list of recipients with the highest generation that this reader can open."""
        found = []
        for path in self.folder.glob("keys/recipients/*"):
            if match := re.fullmatch("([0-9a-f]{16})-([0-9a-f]{64}).json", path.name):
                found.append((int(match[1], 16), match[2], path))
        for generation, digest, path in sorted(found, reverse=True):
            data = self.named(path, digest)
            listed = json.loads(data)
            require((listed["format"], listed["kind"], listed["generation"]) == (1, "recipients", generation), "not a list of recipients")
            try:
                self.id_key = ciphers.open_age(self.identity, base64.b64decode(listed["wrapped_id_key"], validate=True))
            except ValueError:
                continue
            if derived("longshore vault 1 id key check", self.id_key).hex() == check:
                self.coded(data, "recipients")
                return self.id_key
        raise Damage("no list of recipients is for this reader")

    def data_key(self, session):
        if session not in self.data_keys:
            for path in sorted(self.folder.glob(f"keys/sessions/{session}/*.age")):
                try:
                    key = ciphers.open_age(self.identity, self.named(path, path.stem))
                except ValueError:
                    continue
                require(derived("longshore vault 1 session id", key).hex() == session, "a data key of another session")
                self.data_keys[session] = key
        require(session in self.data_keys, f"no key of session {session} is for this reader")
        return self.data_keys[session]

    def decrypt(self, what, session, salt, nonce, sealed, associated):
        key = derived(f"longshore vault 1 {what} key", self.data_key(session) + salt)
        try:
            return ciphers.open_gcm(key, nonce, sealed, associated)
        except ValueError as error:
            raise Damage(f"a {what}: {error}") from error

    def stored(self, name, entry):
        """The encoded bytes of a blob."""
        stored = self.packs[name][entry["offset"]:entry["offset"] + entry["stored"]]
        require(zlib.crc32(stored) == entry["checksum"], "its checksum does not match")
        if not self.identity:
            return stored
        session, salt = self.packs[name][16:48].hex(), self.packs[name][48:80]
        associated = struct.pack("<I4s32s3sI", 1, b"blob", bytes.fromhex(entry["id"]), bytes(entry["codec"]), entry["plain"])
        return self.decrypt("pack", session, salt, struct.pack("<I8x", entry["nonce"]), stored, associated)

    def named(self, path, digest):
        data = path.read_bytes()
        require(blake3(data).hex() == digest, f"{path.relative_to(self.folder)} does not match its name")
        return data

    def manifests(self, folder):
        """Keys of one folder by backup: (token, digest, path)."""
        found = {}
        for path in self.folder.glob(f"{folder}/*/*.json"):
            if match := re.fullmatch("([0-9a-f]{16})-([0-9a-f]{64}).json", path.name):
                found.setdefault(path.parent.name, []).append((int(match[1], 16), match[2], path))
        return found

    def check_index_objects(self):
        """What index objects say must be what the packs say."""
        for path in self.folder.glob("index/*"):
            if not re.fullmatch("[0-9a-f]{64}", path.name):
                continue
            data = self.named(path, path.name)
            magic, version, count = struct.unpack_from("<8sII", data)
            require((magic, version) == (b"LSHOREIX", 1), f"{path.name} is no index object")
            at = 16
            for _ in range(count):
                pack, length, entries, zeros = struct.unpack_from("<32sQII", data, at)
                require(zeros == 0, "what must be zeros is not")
                at += 48
                content = self.packs.get(pack.hex())
                if content is not None and len(content) == length:
                    trailer = len(content) - 64
                    first, = struct.unpack_from("<Q", content, trailer)
                    require(data[at:at + 64 * entries] == content[first:trailer], "an index object and its pack differ")
                at += 64 * entries
            require(at == len(data), "an index object with something after its packs")

    def blob(self, blob_id):
        problems = []
        for name, entry in self.index.get(blob_id, []):
            try:
                plain = decode(entry["codec"], self.stored(name, entry), entry["plain"])
                require(keyed(self.id_key, named_by(entry["extent"], plain)).hex() == blob_id, "its id is another")
                self.blobs_read.add(blob_id)
                return plain
            except Damage as damage:
                problems.append(f"in pack {name}: {damage}")
        raise Damage(f"blob {blob_id}: {'; '.join(problems) or 'in no pack'}")

    def backups(self):
        covered = {path.stem for path in self.folder.glob("withdrawn/*.json")}
        commits = {}
        for order, folder in enumerate(("receipts", "roots")):
            for backup, keys in self.manifests(folder).items():
                for token, digest, path in keys:
                    below = [name.split(".")[1] for name in covered if name.startswith(backup + ".")]
                    if backup not in covered and not any(token < int(limit, 16) for limit in below):
                        commits.setdefault(backup, []).append((token, order, digest, path))
        return {backup: self.backup(backup, *max(keys)) for backup, keys in commits.items()}

    def envelope(self, data, kind, backup, token):
        if self.identity:
            self.coded(data, "manifest")
        manifest = json.loads(data)
        require(manifest["format"] == 1 and manifest["kind"] == kind, f"not a {kind}")
        opened = manifest["open"]
        require((opened["backup_id"], opened["token"]) == (backup, token), f"a {kind} of another backup")
        sealed = manifest["sealed"]
        if sealed["encoding"] == "age-1":
            require(self.identity, f"a {kind} that is sealed in a vault that is not encrypted")
            body, associated = sealed["body"], f"longshore vault 1 sealed\n{kind}\n{backup}\n{token}\n"
            cipher = base64.b64decode(body["ciphertext"], validate=True)
            frame = self.decrypt("manifest", body["session"], bytes.fromhex(body["salt"]), bytes(12), cipher, associated.encode())
            return opened, json.loads(pyarrow.CompressedInputStream(pyarrow.BufferReader(frame), "zstd").read())
        require(sealed["encoding"] in ("plain", "zstd"), f"a {kind} that is sealed")
        require(not self.identity or kind == "receipt", f"a {kind} of an encrypted vault that is not sealed")
        if sealed["encoding"] == "plain":
            return opened, sealed["body"]
        frame = pyarrow.BufferReader(base64.b64decode(sealed["body"], validate=True))
        return opened, json.loads(pyarrow.CompressedInputStream(frame, "zstd").read())

    def backup(self, backup, token, order, digest, path):
        data, part = self.named(path, digest), None
        if order == 0:
            opened, _ = self.envelope(data, "receipt", backup, token)
            data, part = opened["root"].encode(), opened["part"]
            require(blake3(data).hex() == opened["root_digest"], "a receipt whose root is another")
        root, _ = self.envelope(data, "root", backup, token)
        part = part or next((one for one in root["parts"] if one["vault_id"] == self.id), None)
        if part is None:
            return {}
        match = re.fullmatch(f"parts/{backup}/([0-9a-f]{{16}})-([0-9a-f]{{64}}).json", part["key"])
        require(match and match[2] == part["digest"] and int(match[1], 16) == token, "a reference that is none")
        data = self.named(self.folder / part["key"], part["digest"])
        return self.part(*self.envelope(data, "part", backup, token))

    def part(self, opened, sealed):
        require(opened["vault_id"] == self.id, "a part of another vault")
        collections, packs = {}, {}
        require(len(opened["collections"]) == len(sealed["collections"]), "halves with other collections")
        for files, names in zip(opened["collections"], sealed["collections"]):
            require(files["number"] == names["number"], "halves in another order")
            require(len(files["files"]) == len(names["files"]), "halves with other files")
            digests, content = {}, b""
            if self.identity:
                name = names["database"].encode() + b"\0" + names["collection"].encode()
                name_id = keyed(derived("longshore vault 1 collection name", self.id_key), name).hex()
                require(files["name_id"] == name_id, "another name id")
            for file, name in zip(files["files"], names["files"]):
                require(file["number"] == name["number"], "halves in another order")
                require(all(part not in ("", ".", "..") for part in name["path"].split("/")), "a path that leads out")
                plain = b"".join(self.blob(blob) for blob in file["blobs"])
                require(len(plain) == file["size_bytes"], f"{name['path']} has {len(plain)} bytes")
                require(blake3(plain).hex() == name["digest"], f"{name['path']} has another digest")
                if self.identity:
                    mask = keyed(derived("longshore vault 1 digest mask", self.id_key), b"".join(map(bytes.fromhex, file["blobs"])))
                    masked = bytes(one ^ other for one, other in zip(mask, bytes.fromhex(name["digest"])))
                    require(masked.hex() == file["masked_digest"], f"{name['path']} has another masked digest")
                digests[name["path"]] = (len(plain), name["digest"])
                for blob in file["blobs"]:
                    packs.update((pack, len(self.packs[pack])) for pack, _ in self.index[blob])
            for path, (size, digest) in sorted(digests.items(), key=lambda item: item[0].encode()):
                content += struct.pack("<Q", len(path.encode())) + path.encode() + struct.pack("<Q", size) + bytes.fromhex(digest)
            require(blake3(content).hex() == names["content_digest"], "another content digest")
            collections[f"{names['database']}.{names['collection']}"] = {path: digest for path, (_, digest) in digests.items()}
        listed = {pack["id"]: pack["size_bytes"] for pack in opened["packs"]}
        require(list(listed) == sorted(listed), "packs out of order")
        require(all(packs.get(pack) == size for pack, size in listed.items()), "packs that hold none of the blobs")
        return collections


def pack_entries(data, encrypted):
    magic, version, flags, session, salt, _ = struct.unpack_from("<8sII32s32s16s", data)
    require((magic, version, flags) == (b"LSHOREPK", 1, int(encrypted)), "not a pack, or encrypted where the vault is not")
    require(encrypted or not any(session) and not any(salt), "what must be zeros is not")
    trailer = len(data) - 64
    first, count, version, digest, zeros, magic = struct.unpack_from("<QII32sQ8s", data, trailer)
    require((magic, version, zeros) == (b"LSHOREPE", 1, 0), "not the end of a pack")
    require(first + 64 * count == trailer and first >= 96, "entries that do not fit")
    require(blake3(data[first:trailer]) == digest, "entries with another digest")
    entries, end = [], 96
    for at in range(first, trailer, 64):
        blob, offset, stored, plain, checksum, codec, nonce, extent = struct.unpack_from("<32sQIII3sI5s", data, at)
        require(encrypted or nonce == 0, "what must be zeros is not")
        extent = int.from_bytes(extent, "little")
        require(extent < 2 or is_subtree(1024 * (extent - 2), plain), "a piece where none can be")
        require(end <= offset and offset + stored <= first, "blobs that overlap or lie outside")
        end = offset + stored
        entries.append({"id": blob.hex(), "offset": offset, "stored": stored, "plain": plain, "checksum": checksum, "codec": tuple(codec), "nonce": nonce, "extent": extent})
    require(not encrypted or len({entry["nonce"] for entry in entries}) == count, "a nonce is used twice")
    return entries


def is_subtree(offset, length):
    return length > 0 and (offset == 0 or length <= offset & -offset)


def named_by(extent, plain):
    """What the id of a blob is made from."""
    if extent == 0:
        return plain
    return blake3(plain) if extent == 1 else chaining_value(plain, 1024 * (extent - 2))


def check_blake3():
    """Three of the published test vectors, and the modes against one another."""
    require(blake3(b"").hex().startswith("af1349b9f5f9a1a6a0404dea36dcc949"), "this BLAKE3 is none")
    data = bytes(place % 251 for place in range(1025))
    require(blake3(data).hex().startswith("d00278ae47eb27b34faecf67b4fe263f"), "this BLAKE3 is none")
    key = b"whats the Elvish word for friend"
    require(keyed(key, b"").hex().startswith("92b2b75604ed3c761f9d6f62392c8a92"), "this BLAKE3 is none")
    context = "BLAKE3 2019-12-27 16:29:52 test vectors context"
    require(derived(context, b"").hex().startswith("2cc39783c223154fea8dfb7c1b1660f2"), "this BLAKE3 is none")


def main(folder, reader=None):
    check_blake3()
    ciphers.check()
    try:
        vault = Vault(folder, ciphers.identity_of(reader) if reader else None)
        backups = vault.backups()
    except Damage as damage:
        print(f"not as FORMAT.md says: {damage}", file=sys.stderr)
        return 3
    print(json.dumps({"backups": backups, "blobs": len(vault.blobs_read)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
