#!/usr/bin/env python3
"""The sample words as COPY text, for tables (id int, word text, embedding vector(100)).

usage: words20k.py table      19,000 rows
       words20k.py queries    1,000 held-out rows: the words whose id is a multiple of 20

Also a module: rows(), floats().  Needs nothing but the standard library; see README.md for the files' layout.
"""
import lzma
import os
import struct
import sys

DIMS = 100
HELD_OUT = 20
FOLDER = os.path.dirname(os.path.abspath(__file__))


def words():
    with lzma.open(os.path.join(FOLDER, "words20k.txt.xz"), "rt", encoding="utf-8", newline="\n") as file:
        return file.read().split("\n")[:-1]


def halves():
    """All coordinates as little-endian half-precision floats, row by row."""
    with lzma.open(os.path.join(FOLDER, "words20k.f16.xz")) as file:
        planes = file.read()
    content = bytearray(len(planes))
    content[1::2] = planes[: len(planes) // 2]
    content[0::2] = planes[len(planes) // 2 :]
    return bytes(content)


def rows():
    """Yields (id, word, tuple of floats)."""
    content = halves()
    row = struct.Struct("<%de" % DIMS)
    for place, word in enumerate(words()):
        yield place + 1, word, row.unpack_from(content, place * row.size)


def copy_text(word):
    return word.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r")


def main():
    if sys.argv[1:] not in (["table"], ["queries"]):
        sys.exit(__doc__)
    queries = sys.argv[1] == "queries"
    out = open(sys.stdout.fileno(), "w", encoding="utf-8", newline="\n", closefd=False)
    for number, word, vector in rows():
        if (number % HELD_OUT == 0) == queries:
            # Nine digits give every float4 back exactly.
            out.write("%d\t%s\t[%s]\n" % (number, copy_text(word), ",".join("%.9g" % x for x in vector)))
    out.flush()


if __name__ == "__main__":
    main()
