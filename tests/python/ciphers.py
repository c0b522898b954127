"""What an encrypted vault is encrypted with, written out after the published descriptions and with nothing but Python's own
library: X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439), AES-256-GCM (FIPS 197, SP 800-38D), HKDF (RFC 5869), and files of
age (age-encryption.org/v1). Slow, not hardened against anybody who measures, and only for reading: tests are small.

Everything that fails raises ValueError.
"""

import base64
import hashlib
import hmac
import re
import struct

# X25519.

PRIME = 2**255 - 19


def x25519(scalar, point):
    number = int.from_bytes(scalar, "little") & ~7 & (1 << 255) - 1 | 1 << 254
    x1 = int.from_bytes(point, "little") & (1 << 255) - 1
    x2, z2, x3, z3, swapped = 1, 0, x1, 1, 0
    for place in reversed(range(255)):
        bit = number >> place & 1
        if swapped ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swapped = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % PRIME, b * b % PRIME, d * a % PRIME, c * b % PRIME
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % PRIME, x1 * (da - cb) ** 2 % PRIME
        x2, z2 = aa * bb % PRIME, e * (aa + 121665 * e) % PRIME
    if swapped:
        x2, z2 = x3, z3
    return (x2 * pow(z2, PRIME - 2, PRIME) % PRIME).to_bytes(32, "little")


def hkdf(material, salt, info):
    key = hmac.digest(salt or bytes(32), material, "sha256")
    return hmac.digest(key, info + b"\1", "sha256")


# ChaCha20-Poly1305.


def chacha_block(key, counter, nonce):
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), counter, *struct.unpack("<3I", nonce)]
    v = start[:]
    lines = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
    for _ in range(10):
        for a, b, c, d in lines:
            for one, other, by in ((a, d, 16), (c, b, 12), (a, d, 8), (c, b, 7)):
                v[one] = (v[one] + v[b if one == a else d]) & 0xFFFFFFFF
                mixed = v[other] ^ v[one]
                v[other] = (mixed << by | mixed >> 32 - by) & 0xFFFFFFFF
    return struct.pack("<16I", *((one + other) & 0xFFFFFFFF for one, other in zip(v, start)))


def poly1305(key, message):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at:at + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    return ((total + int.from_bytes(key[16:], "little")) & (1 << 128) - 1).to_bytes(16, "little")


def open_chacha(key, nonce, sealed):
    """Without associated data, as age uses it."""
    cipher, tag = sealed[:-16], sealed[-16:]
    message = cipher + bytes(-len(cipher) % 16) + struct.pack("<QQ", 0, len(cipher))
    if len(sealed) < 16 or not hmac.compare_digest(poly1305(chacha_block(key, 0, nonce)[:32], message), tag):
        raise ValueError("the tag of ChaCha20-Poly1305 does not match")
    stream = b"".join(chacha_block(key, 1 + number, nonce) for number in range(-(-len(cipher) // 64)))
    return bytes(one ^ other for one, other in zip(cipher, stream))


# AES-256-GCM.


def times_two(byte):
    return (byte << 1 ^ 0x11B) if byte & 0x80 else byte << 1


def s_box():
    box, p, q = [0] * 256, 1, 1
    while True:
        p = p ^ times_two(p)
        for by in (1, 2, 4):
            q ^= q << by & 0xFF
        if q & 0x80:
            q ^= 0x09
        turned = [(q << by | q >> 8 - by) & 0xFF for by in range(5)]
        box[p] = turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ turned[4] ^ 0x63
        if p == 1:
            box[0] = 0x63
            return box


BOX = s_box()
TWO = [times_two(byte) for byte in range(256)]


def round_keys(key):
    words, round_constant = [list(key[at:at + 4]) for at in range(0, 32, 4)], 1
    while len(words) < 60:
        word = words[-1][:]
        if len(words) % 8 == 0:
            word = [BOX[byte] for byte in word[1:] + word[:1]]
            word[0] ^= round_constant
            round_constant = times_two(round_constant)
        elif len(words) % 8 == 4:
            word = [BOX[byte] for byte in word]
        words.append([one ^ other for one, other in zip(word, words[-8])])
    return [sum(words[at:at + 4], []) for at in range(0, 60, 4)]


def aes_block(keys, block):
    state = [one ^ other for one, other in zip(block, keys[0])]
    for number, key in enumerate(keys[1:], 1):
        state = [BOX[state[(place + 4 * (place % 4)) % 16]] for place in range(16)]
        if number < 14:
            mixed = []
            for at in range(0, 16, 4):
                a, b, c, d = state[at:at + 4]
                mixed += [TWO[a] ^ TWO[b] ^ b ^ c ^ d, a ^ TWO[b] ^ TWO[c] ^ c ^ d, a ^ b ^ TWO[c] ^ TWO[d] ^ d, TWO[a] ^ a ^ b ^ c ^ TWO[d]]
            state = mixed
        state = [one ^ other for one, other in zip(state, key)]
    return bytes(state)


def ghash(key, message):
    total, hash_key = 0, int.from_bytes(key, "big")
    for at in range(0, len(message), 16):
        total ^= int.from_bytes(message[at:at + 16], "big")
        product, factor = 0, hash_key
        for place in reversed(range(128)):
            if total >> place & 1:
                product ^= factor
            factor = factor >> 1 ^ (0xE1 << 120 if factor & 1 else 0)
        total = product
    return total.to_bytes(16, "big")


def open_gcm(key, nonce, sealed, associated):
    keys, cipher, tag = round_keys(key), sealed[:-16], sealed[-16:]
    padded = [part + bytes(-len(part) % 16) for part in (associated, cipher)]
    digest = ghash(aes_block(keys, bytes(16)), padded[0] + padded[1] + struct.pack(">QQ", 8 * len(associated), 8 * len(cipher)))
    first = aes_block(keys, nonce + struct.pack(">I", 1))
    if len(sealed) < 16 or not hmac.compare_digest(bytes(one ^ other for one, other in zip(digest, first)), tag):
        raise ValueError("the tag of AES-256-GCM does not match")
    blocks = (aes_block(keys, nonce + struct.pack(">I", 2 + number)) for number in range(-(-len(cipher) // 16)))
    return bytes(one ^ other for one, other in zip(cipher, b"".join(blocks)))


# age.


def identity_of(text):
    """The 32 bytes of `AGE-SECRET-KEY-1…`, which is Bech32."""
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    prefix, data = text.strip().lower().rsplit("1", 1)
    numbers = [letters.index(letter) for letter in data]
    check = 1
    for number in [ord(letter) >> 5 for letter in prefix] + [0] + [ord(letter) & 31 for letter in prefix] + numbers:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ number
        for place, factor in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= factor if top >> place & 1 else 0
    if prefix != "age-secret-key-" or check != 1:
        raise ValueError("not an age identity")
    bits = 0
    for number in numbers[:-6]:
        bits = bits << 5 | number
    return (bits >> 5 * len(numbers[:-6]) - 256).to_bytes(32, "big")


def unpadded(text):
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def open_age(identity, data):
    """The plain bytes of an age file; ValueError when it is not for this identity or was changed."""
    match = re.match(rb"age-encryption\.org/v1\n(?:-> .*\n(?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{0,63}\n)+--- ([A-Za-z0-9+/]{43})\n", data)
    if not match:
        raise ValueError("not an age file")
    header, file_key = data[:match.start(1) - 1], None
    public = x25519(identity, (9).to_bytes(32, "little"))
    for share, body in re.findall(rb"-> X25519 ([A-Za-z0-9+/]{43})\n([A-Za-z0-9+/]{43})\n", header):
        share = unpadded(share.decode())
        key = hkdf(x25519(identity, share), share + public, b"age-encryption.org/v1/X25519")
        try:
            file_key = open_chacha(key, bytes(12), unpadded(body.decode()))
        except ValueError:
            continue
    if file_key is None:
        raise ValueError("not for this identity")
    if not hmac.compare_digest(hmac.digest(hkdf(file_key, b"", b"header"), header, "sha256"), unpadded(match[1].decode())):
        raise ValueError("the header of an age file was changed")
    nonce, payload, plain = data[match.end():match.end() + 16], data[match.end() + 16:], b""
    key, chunk = hkdf(file_key, nonce, b"payload"), 65536 + 16
    count = max(1, -(-len(payload) // chunk))
    for number in range(count):
        last = b"\1" if number == count - 1 else b"\0"
        plain += open_chacha(key, number.to_bytes(11, "big") + last, payload[number * chunk:(number + 1) * chunk])
    return plain


def check():
    """One published vector of each."""
    def same(one, other):
        if one.hex() != other:
            raise ValueError("these ciphers are none")
    same(x25519(bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")),
         "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    same(aes_block(round_keys(bytes(range(32))), bytes.fromhex("00112233445566778899aabbccddeeff")), "8ea2b7ca516745bfeafc49904b496089")
    same(open_gcm(bytes(32), bytes(12), bytes.fromhex("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"), b""), bytes(16).hex())
    same(chacha_block(bytes(range(32)), 1, bytes.fromhex("000000090000004a00000000"))[:16], "10f1e7e4d13b5915500fdd1fa32071c4")
    same(hashlib.sha256(b"").digest()[:4], "e3b0c442")
