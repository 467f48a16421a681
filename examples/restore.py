#!/usr/bin/env python3
"""Restores the newest commit from a folder that tsreplicate (or Litestream 0.3) wrote, with nothing of tsreplicate: Python and
its package `lz4` (pip install lz4). The format is described in docs/format.md.

    python3 restore.py FOLDER OUTPUT        FOLDER holds `generations`

Every LZ4 content checksum, every frame's checksum and the seams between segments, indexes and snapshot are verified. What
does not fit together ends it with exit code 1 and a message; then there is no output file.
"""
import os, re, sqlite3, struct, sys  # noqa: E401

import lz4.frame


class Damaged(Exception):
    """What is stored does not fit together."""


class Fields:
    """The fields of a trailer, read one after another."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def words(self, count):
        return struct.unpack(f">{count}I", self.take(4 * count))

    def pair(self):
        return self.varint(), self.varint()


def checksum(data, start, big_endian):
    """SQLite's WAL checksum."""
    words = struct.unpack((">" if big_endian else "<") + f"{len(data) // 4}I", data)
    a, b = start
    for i in range(0, len(words), 2):
        a = (a + words[i] + b) & 0xFFFFFFFF
        b = (b + words[i + 1] + a) & 0xFFFFFFFF
    return a, b


def parse_trailer(frame):
    """What the skippable frame behind the LZ4 frame says; None: there is none, as in objects of Litestream."""
    if len(frame) < 24 or frame[-4:] != b"tsr1":
        return None
    body = frame[8:-16]
    if struct.pack(">II", *checksum(body + bytes(-len(body) % 8), (0, 0), True)) != frame[-16:-8]:
        raise Damaged("its trailer has a bad checksum")
    fields = Fields(body)
    version, kind = fields.take(2)
    if version > 2:
        return None
    fields.take(8), fields.pair()  # generation; index and page size
    if kind == 2:
        start, _times = fields.pair(), [fields.varint() for _ in range(4)]
        return {"consistent from": start, "lineage": fields.pair() if version == 2 else (0, 0)}
    flags, *_ = fields.take(1)
    fields.pair(), fields.words(4)  # start and size of the database; salts and checksum before
    return {"after": fields.words(2), "previous end": (fields.varint(), fields.words(2)) if flags & 2 else None}


def read_object(path):
    """Content and trailer of an object: one LZ4 frame, and what lies behind it."""
    decoder = lz4.frame.LZ4FrameDecompressor()
    try:
        with open(path, "rb") as file:
            content = decoder.decompress(file.read())
    except RuntimeError as error:
        raise Damaged(f"{path}: {error}") from error
    if not decoder.eof:
        raise Damaged(f"{path} ends early")
    return content, parse_trailer(decoder.unused_data or b"")


def listing(folder, pattern):
    found = filter(None, (re.fullmatch(pattern, name) for name in (os.listdir(folder) if os.path.isdir(folder) else [])))
    return sorted((tuple(int(part, 16) for part in match.groups()), os.path.join(folder, match[0])) for match in found)


def newest_generation(root):
    """By lineage, where the snapshots tell; else by the time of the newest file."""
    ranked = []
    for name in os.listdir(root):
        folder = os.path.join(root, name)
        snapshots = listing(f"{folder}/snapshots", r"([0-9a-f]{8})\.snapshot\.lz4")
        segments = listing(f"{folder}/wal", r"([0-9a-f]{8})_([0-9a-f]{8})\.wal\.lz4")
        if re.fullmatch(r"[0-9a-f]{16}", name) and snapshots:
            trailer = read_object(snapshots[-1][1])[1] or {}
            newest = max(os.stat(path).st_mtime for _, path in snapshots + segments)
            ranked.append((trailer.get("lineage", (0, 0)), newest, snapshots, segments))
    if not ranked:
        raise Damaged(f"{root} holds no generation with a snapshot")
    key = 0 if all(ordinal > 0 for (ordinal, _), *_ in ranked) else 1
    ranked.sort(key=lambda each: each[key])
    if len(ranked) > 1 and ranked[-1][key] == ranked[-2][key]:
        raise Damaged("nothing tells which generation is the newest")
    return ranked[-1][2:]


class Image:
    """The database under way: a snapshot, and on it the frames of one WAL index after another."""

    def __init__(self, file, content, index):
        self.file, self.index, self.offset, self.running = file, index, 0, (0, 0)
        self.header, self.committed, self.pages, self.waiting = None, (index, 0), None, []
        file.write(content)

    def append(self, path, index, offset):
        content, trailer = read_object(path)
        if offset == 0 and index == self.index + (self.offset > 0):
            self.end_index()
            if trailer and trailer["previous end"] and self.offset > 0 and trailer["previous end"] != (self.offset, self.running):
                raise Damaged(f"{path}: the index before it ended elsewhere: a segment is missing")
            self.begin_index(path, content[:32])
            self.index, self.offset, content = index, 32, content[32:]
        elif (index, offset) != (self.index, self.offset):
            raise Damaged(f"{path} does not follow {self.index:08x}:{self.offset}: a segment is missing")
        page_size, salts, big_endian = self.header
        for at in range(0, len(content), 24 + page_size):
            frame = content[at : at + 24 + page_size]
            number, size, salt1, salt2, *stored = struct.unpack(">6I", frame[:24])
            self.running = checksum(frame[24:], checksum(frame[:8], self.running, big_endian), big_endian)
            if (salt1, salt2) != salts or tuple(stored) != self.running:
                raise Damaged(f"{path}: the frame at offset {self.offset} does not continue the one before it")
            self.offset += len(frame)
            self.waiting.append((number, frame[24:]))
            if size > 0:
                self.commit(size)
        if trailer and trailer["after"] != self.running:
            raise Damaged(f"{path}: its content is not what its trailer says")

    def begin_index(self, path, header):
        magic, version, page_size, _, *salts = struct.unpack(">6I", header[:24])
        self.header = page_size, tuple(salts), magic == 0x377F0683
        self.running = checksum(header[:24], (0, 0), self.header[2])
        if magic & ~1 != 0x377F0682 or version != 3007000 or self.running != struct.unpack(">II", header[24:32]):
            raise Damaged(f"{path} begins with no WAL header")

    def commit(self, size):
        for number, page in self.waiting:
            self.file.seek((number - 1) * len(page))
            self.file.write(page)
        self.waiting, self.pages, self.committed = [], size, (self.index, self.offset)

    def end_index(self):
        if self.waiting:
            raise Damaged(f"index {self.index:08x} ends within a transaction")
        if self.pages is not None:
            self.file.truncate(self.pages * self.header[0])


def restore(root, output):
    snapshots, segments = newest_generation(os.path.join(root, "generations"))
    (index,), path = snapshots[-1]
    content, trailer = read_object(path)
    with open(output, "xb") as file:
        image = Image(file, content, index)
        for place, path in segments:
            if place[0] >= index:
                image.append(path, *place)
        image.end_index()
        wanted = trailer["consistent from"] if trailer else (index, 0)
        if image.committed < wanted and wanted != (index, 0):
            raise Damaged(f"the snapshot wants everything up to {wanted}, and what is stored ends at {image.committed}")
        file.flush()
        os.fsync(file.fileno())
    check = sqlite3.connect(f"file:{os.path.abspath(output)}?immutable=1", uri=True)
    if check.execute("PRAGMA quick_check").fetchone() != ("ok",):
        raise Damaged("SQLite finds the restored database damaged")
    return "{:08x}:{}".format(*image.committed)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    replica, target = sys.argv[1:]
    for taken in (target + suffix for suffix in ("", "-wal", "-shm", "-journal", ".part")):
        if os.path.exists(taken):
            sys.exit(f"{taken} exists: nothing is overwritten")
    try:
        commit = restore(replica, target + ".part")
    except Damaged as error:
        if os.path.exists(target + ".part"):
            os.remove(target + ".part")
        sys.exit(f"not restored: {error}")
    os.rename(target + ".part", target)
    print(f"{target}: the commit at {commit}")
