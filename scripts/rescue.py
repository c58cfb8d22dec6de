#!/usr/bin/env python3
"""Restores objects from any k drives of an Aerie pool and one copy of its metadata, without Aerie.

    rescue.py --out FOLDER DRIVE...                 restore the newest version of every object
    rescue.py --out FOLDER --versions DRIVE...      restore all versions, as KEY@NUMBER
    rescue.py --list DRIVE...                       only list them
    rescue.py --audit FILE DRIVE...                 write the audit log's lines, and follow its chain of hashes

Python's standard library only. It follows src/drive/FORMAT.md, src/codec/FORMAT.md and src/meta/FORMAT.md, and is
also a check of them: it shares no code with the program. The drives are only read. Every block is verified by its
checksum, every object by its MD5 where its ETag is one. Ends with 1 when something could not be restored.
"""
import argparse, functools, glob, hashlib, json, operator, os, shutil, sqlite3, struct, sys, tempfile, urllib.parse

M64 = (1 << 64) - 1
STRIPE, ALIGN, HEADER, PAGE, LARGE = 1 << 20, 64, 64, 4096, 32 << 10

# XXH3-128 ---------------------------------------------------------------------------------------------------------
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e")
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5, MX1 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5, 0x165667919E3779F9

def u64(data, at):
    return int.from_bytes(data[at:at + 8], "little")

def fold(a, b):
    return a * b & M64 ^ a * b >> 64

def avalanche(h):
    h = (h ^ h >> 37) * MX1 & M64
    return h ^ h >> 32

def mix32(low, high, data, a, b, secret, seed):
    def mix16(at, s):
        return fold(u64(data, at) ^ u64(SECRET, s) + seed & M64, u64(data, at + 8) ^ u64(SECRET, s + 8) - seed & M64)
    low = low + mix16(a, secret) & M64 ^ u64(data, b) + u64(data, b + 8) & M64
    high = high + mix16(b, secret + 16) & M64 ^ u64(data, a) + u64(data, a + 8) & M64
    return low, high

def xxh3_128(data, seed=0):
    """Of 17 bytes or more; shorter input does not occur in the format."""
    n = len(data)
    low, high = n * P1 & M64, 0
    if n > 240:
        return xxh3_128_long(data, seed)
    if n <= 128:
        for step in range((n - 1) // 32, -1, -1):
            low, high = mix32(low, high, data, 16 * step, n - 16 * step - 16, 32 * step, seed)
    else:
        for at in range(0, 128, 32):
            low, high = mix32(low, high, data, at, at + 16, at, seed)
        low, high = avalanche(low), avalanche(high)
        for at in range(128, n - 31, 32):
            low, high = mix32(low, high, data, at, at + 16, 3 + at - 128, seed)
        low, high = mix32(low, high, data, n - 16, n - 32, 103, -seed & M64)
    first = avalanche(low + high & M64)
    second = -avalanche(low * P1 + high * P4 + (n - seed) * P2 & M64) & M64
    return (second << 64 | first).to_bytes(16, "big")

def xxh3_128_long(data, seed):
    n = len(data)
    secret = b"".join((u64(SECRET, at) + (seed if at % 16 == 0 else -seed) & M64).to_bytes(8, "little")
                      for at in range(0, 192, 8))
    keys = [[u64(secret, 8 * (stripe + lane)) for lane in range(8)] for stripe in range(17)]
    acc = [P32_3, P1, P2, P3, P4, P32_2, P5, P32_1]

    def accumulate(acc, values, keys):
        for lane, (value, key) in enumerate(zip(values, keys)):
            mixed = value ^ key
            acc[lane ^ 1] += value
            acc[lane] += (mixed & 0xFFFFFFFF) * (mixed >> 32)

    blocks = (n - 1) // 1024
    for block in range(blocks):
        words = struct.unpack_from("<128Q", data, 1024 * block)
        for stripe in range(16):
            accumulate(acc, words[8 * stripe:8 * stripe + 8], keys[stripe])
        acc = [(value & M64 ^ (value & M64) >> 47 ^ key) * P32_1 & M64 for value, key in zip(acc, keys[16])]
    for stripe in range((n - 1 - 1024 * blocks) // 64):
        accumulate(acc, struct.unpack_from("<8Q", data, 1024 * blocks + 64 * stripe), keys[stripe])
    accumulate(acc, struct.unpack_from("<8Q", data, n - 64), struct.unpack_from("<8Q", secret, 121))

    def merge(start, at):
        for pair in range(4):
            start += fold(acc[2 * pair] & M64 ^ u64(secret, at + 16 * pair),
                          acc[2 * pair + 1] & M64 ^ u64(secret, at + 16 * pair + 8))
        return avalanche(start & M64)
    return (merge(~(n * P2) & M64, 117) << 64 | merge(n * P1 & M64, 11)).to_bytes(16, "big")

# GF(2^8) as in src/codec/FORMAT.md --------------------------------------------------------------------------------
PRODUCTS = [bytes.fromhex(row) for row in (
    "0102040810204080", "02030b0e2c39b3e7", "040b06074abf6a7d", "080e070c82ef74c6",
    "102c4a8218eae3a2", "2039bfefea307266", "40b36a74e37260e8", "80e77dc6a266e8c0")]

def multiply(a, b):
    products = (PRODUCTS[i][j] for i in range(8) for j in range(8) if a >> i & b >> j & 1)
    return functools.reduce(operator.xor, products, 0)

TABLE = [bytes(multiply(a, b) for b in range(256)) for a in range(256)]
INVERSE = [0] + [TABLE[a].index(1) for a in range(1, 256)]

def generator(k, m):
    """Rows of all k+m shards over the k data shards."""
    q = 1 << (k - 1).bit_length()
    def parity(p, j):
        quotients = (TABLE[(q + p) ^ i][INVERSE[j ^ i]] for i in range(q) if i != j)
        return functools.reduce(lambda a, b: TABLE[a][b], quotients, 1)
    return [[int(i == j) for j in range(k)] for i in range(k)] + [[parity(p, j) for j in range(k)] for p in range(m)]

def combine(row, shards):
    products = (int.from_bytes(shard.translate(TABLE[factor]), "little") for factor, shard in zip(row, shards))
    return functools.reduce(operator.xor, products).to_bytes(len(shards[0]), "little")

def inverted(matrix):
    n = len(matrix)
    work = [list(row) + [int(i == j) for j in range(n)] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = next(r for r in range(column, n) if work[r][column])
        work[column], work[pivot] = work[pivot], work[column]
        scale = TABLE[INVERSE[work[column][column]]]
        work[column] = [scale[value] for value in work[column]]
        for r in range(n):
            if r != column and (factor := work[r][column]):
                work[r] = [value ^ TABLE[factor][other] for value, other in zip(work[r], work[column])]
    return [row[n:] for row in work]

# Drives -----------------------------------------------------------------------------------------------------------
class Lost(Exception):
    pass

def read_label(root):
    with open(os.path.join(root, "aerie.label"), "rb") as file:
        body, checksum = file.read().rstrip(b"\n").split(b"\n")
    if xxh3_128(body).hex().encode() != checksum:
        raise Lost(f"{root}: the label is damaged")
    label = json.loads(body)
    if label["format"] != 1:
        raise Lost(f"{root}: the label has format {label['format']}, only 1 is known here")
    return label

class Pool:
    def __init__(self, roots):
        labels = {}
        for root in roots:
            try:
                labels[root] = read_label(root)
            except (OSError, ValueError, KeyError, Lost) as error:
                print(f"left out: {error}", file=sys.stderr)
        if not labels:
            raise Lost("no drive has a readable label")
        newest = max(labels.values(), key=lambda label: label["epoch"])
        self.id, self.k, self.m, self.copies = newest["pool"], newest["data"], newest["parity"], newest["copies"]
        self.seed = int(self.id[:16], 16)
        # A drive that was used without the others, and they without it, may hold other bytes at the same addresses.
        told = lambda l: newest.get("told", [])[l["slot"]:][:1] or [l["epoch"]]
        same = lambda l: {**l, "slot": 0} == {**newest, "slot": 0}
        known = lambda l: self.k > self.m or (same(l) if l["epoch"] == newest["epoch"] else l["epoch"] <= told(l)[0])
        member = lambda l: l["pool"] == self.id and l["drives"][l["slot"]] == newest["drives"][l["slot"]] and known(l)
        self.roots = {label["slot"]: root for root, label in labels.items() if member(label)}
        for root in labels.keys() - self.roots.values():
            print(f"left out: {root} is no drive of this pool, or was used apart from the others", file=sys.stderr)
        self.rows = generator(self.k, self.m)

    def block(self, segment, offset, shard, user_bytes, shard_bytes):
        root = self.roots.get((shard + segment) % (self.k + self.m))
        try:
            with open(os.path.join(root or "/nonexistent", "segments", f"{segment:08x}.seg"), "rb") as file:
                file.seek(offset * ALIGN)
                block = file.read(HEADER + shard_bytes)
        except OSError:
            return None
        head = struct.pack("<4s4B4I24x", b"AEB1", 1, self.k, self.m, shard, shard_bytes, user_bytes, segment, offset)
        good = block[:48] == head and xxh3_128(head + block[HEADER:], self.seed) == block[48:HEADER]
        return block[HEADER:] if good else None

    def shard_bytes(self, user_bytes):
        align = PAGE if -(-user_bytes // self.k) >= LARGE else ALIGN
        return -(-user_bytes // (self.k * align)) * align

    def stripe(self, segment, offset, user_bytes):
        shard_bytes = self.shard_bytes(user_bytes)
        found = {}
        for shard in range(self.k + self.m):
            if len(found) < self.k and (block := self.block(segment, offset, shard, user_bytes, shard_bytes)):
                found[shard] = block
        if len(found) < self.k:
            raise Lost(f"segment {segment} offset {offset}: {len(found)} of {self.k} blocks are readable")
        solved, shards = inverted([self.rows[shard] for shard in found]), list(found.values())
        data = [found[i] if i in found else combine(solved[i], shards) for i in range(self.k)]
        return b"".join(data)[:user_bytes]

    def bytes_of(self, extents):
        for segment, offset, length in struct.iter_unpack("<IIQ", extents):
            while length:
                yield (data := self.stripe(segment, offset, min(length, STRIPE)))
                length -= len(data)
                offset += (PAGE + self.shard_bytes(STRIPE)) // ALIGN

# Metadata ---------------------------------------------------------------------------------------------------------
def open_metadata(pool, folder):
    """The first sound copy, current ones first, as a private copy with its log applied."""
    for slot in sorted(pool.roots, key=lambda slot: slot not in pool.copies):
        files = glob.glob(os.path.join(pool.roots[slot], "meta", "aerie.db*"))
        marked = any(os.path.exists(os.path.join(pool.roots[slot], "meta", m)) for m in ("creating", "replacing"))
        if not files or marked:
            continue
        if slot not in pool.copies:
            print(f"slot {slot}: this copy of the metadata may lack the latest commits", file=sys.stderr)
        target = tempfile.mkdtemp(dir=folder)
        for file in files:
            shutil.copy(file, target)
        try:
            database = sqlite3.connect(os.path.join(target, "aerie.db"))
            queries = "PRAGMA user_version", "SELECT value FROM state WHERE name = 'pool'"
            version, owner = (database.execute(query).fetchone()[0] for query in queries)
            if 1 <= version <= 8 and owner == pool.id and database.execute("PRAGMA quick_check").fetchone()[0] == "ok":
                return database
            print(f"slot {slot}: layout {version} of pool {owner}, or damaged", file=sys.stderr)
        except (sqlite3.Error, TypeError) as error:
            print(f"slot {slot}: {error}", file=sys.stderr)
    raise Lost("no drive has a sound copy of the metadata")

def restore(pool, database, arguments):
    failures, previous = 0, None
    rows = database.execute(
        "SELECT bucket.name, key, -rank, marker, size, etag, extents, bytes, attributes FROM version"
        " JOIN bucket ON bucket.id = bucket LEFT JOIN inline ON sequence = -rank ORDER BY bucket, key, rank")
    for bucket, key, sequence, marker, size, etag, extents, inline, attributes in rows:
        newest, previous = previous != (bucket, key), (bucket, key)
        if marker or not (newest or arguments.versions):
            continue
        name = key.decode() + (f"@{sequence}" if arguments.versions else "")
        sealed = json.loads(attributes).get("encryption")
        if arguments.list:
            print(f"{size:>14} {etag} {bucket}/{name}" + (f" sealed: {sealed['mode']}" if sealed else ""))
            continue
        path = os.path.join(arguments.out, bucket, urllib.parse.quote(name, safe="@"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            if sealed:  # AES-256-GCM, which the standard library lacks
                raise Lost(f"sealed ({sealed['mode']}): only Aerie opens it, with the pool's keys; src/crypt/FORMAT.md")
            md5 = hashlib.md5()
            with open(path, "wb") as file:
                for data in [inline or b""] if extents is None else pool.bytes_of(extents):
                    file.write(data)
                    md5.update(data)
            if os.path.getsize(path) != size or "-" not in etag and md5.hexdigest() != etag:
                raise Lost("size or MD5 differ")
        except (Lost, OSError) as error:
            failures += 1
            os.path.exists(path) and os.remove(path)
            print(f"{bucket}/{name}: {error}", file=sys.stderr)
    return failures

def audit(database, path):
    """Writes the lines; gives how many do not follow from the line before."""
    anchor = database.execute("SELECT value FROM property WHERE name = 'audit-anchor'").fetchone()
    anchor = json.loads(anchor[0]) if anchor else {"number": 0, "hash": ""}
    number, previous, broken = anchor["number"], anchor["hash"], 0
    with open(path, "w") as file:
        for at, text in database.execute("SELECT number, line FROM audit ORDER BY number"):
            line = json.loads(text)
            if not line["number"] == at == number + 1 or line["previous"] != previous:
                broken += 1
                print(f"line {at} does not follow from line {number}", file=sys.stderr)
            number, previous = at, hashlib.sha256(text.encode()).hexdigest()
            file.write(text + "\n")
    print(f"lines {anchor['number'] + 1} to {number}; the last one is {number}:{previous}")
    return broken

def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("drives", nargs="+", metavar="DRIVE")
    parser.add_argument("--out", help="folder for BUCKET/KEY; keys are percent-encoded, a slash too")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--versions", action="store_true")
    parser.add_argument("--audit", metavar="FILE", help="file for the audit log's lines")
    arguments = parser.parse_args()
    if not (arguments.out or arguments.list or arguments.audit):
        parser.error("say where to with --out or --audit, or --list")
    try:
        pool = Pool(arguments.drives)
        with tempfile.TemporaryDirectory() as folder:
            database = open_metadata(pool, folder)
            failures = audit(database, arguments.audit) if arguments.audit else 0
            if arguments.out or arguments.list:
                failures += restore(pool, database, arguments)
            return 1 if failures else 0
    except Lost as error:
        print(error, file=sys.stderr)
        return 1

if __name__ == "__main__":
    sys.exit(main())
