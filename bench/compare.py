#!/usr/bin/python3
"""compare.py: names what became slower (or bigger, or worse) between two files that bench/run.sh --save wrote.

usage: bench/compare.py OLD.csv NEW.csv [--tolerance 0.05]

A row is found again by everything in it that is not a measurement.  A number that carries its spread (NAME_min, NAME_max) is
worse when the two ranges do not meet and the medians differ by more than the tolerance: what lies within the repetitions of
either file is noise.  Recall may fall by 0.005, bytes may grow by 2 %.  A floor (a query or an insert without an index) that moved is named, but
not counted: it is the server or the machine.  Exits 1 when something is worse, 2 when the files have no row in common.
"""
import argparse
import sys

import report

HIGHER = ("qps", "rows_per_s")
LOWER = ("seconds", "seconds_per_row", "index_seconds_per_row", "p50_us")
BYTES = ("index_bytes", "wal_bytes_per_row", "wal_bytes", "peak_private_bytes", "backend_private_bytes")
RECALL = ("recall", "recall_after")
# What tells rows apart; all else is measured.
KEYS = ("measure", "system") + report.DATA + ("threads", "ef", "target", "statement", "mode", "clients", "synchronous_commit", "rows_inserted",
                                              "rows_updated", "rows_deleted", "cycle", "cycles", "writers", "os_cache", "keep", "scan")
# What older files do not name.
UNNAMED = (("target", 0.95), ("statement", "select_1"))
RECALL_NOISE = 0.005
BYTES_NOISE = 0.02


def key(row):
    return tuple((name, row[name]) for name in KEYS if name in row and (name, row[name]) not in UNNAMED)


def compare_row(old, new, tolerance):
    """(name, old, new, verdict) of each number that both have and that moved; verdict: "worse" or "better"."""
    found = []
    for name in HIGHER + LOWER:
        if not all(name + end in row for row in (old, new) for end in ("", "_min", "_max")):
            continue
        sign = -1 if name in HIGHER else 1
        change = sign * (new[name] - old[name]) / max(abs(old[name]), 1e-12)
        apart = new[name + "_min"] > old[name + "_max"] or new[name + "_max"] < old[name + "_min"]
        if apart and abs(change) > tolerance:
            found.append((name, old[name], new[name], "worse" if change > 0 else "better"))
    for name, noise in [(name, None) for name in RECALL] + [(name, BYTES_NOISE) for name in BYTES]:
        if name not in old or name not in new:
            continue
        change = old[name] - new[name] if noise is None else (new[name] - old[name]) / max(old[name], 1)
        if abs(change) > (RECALL_NOISE if noise is None else noise):
            found.append((name, old[name], new[name], "worse" if change > 0 else "better"))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--tolerance", type=float, default=0.05)
    options = parser.parse_args()
    (old_about, old_rows), (new_about, new_rows) = report.read(options.old), report.read(options.new)
    for name in ("cpu", "shared_buffers", "huge_pages", "postgresql", "build_memory"):
        if old_about.get(name) != new_about.get(name):
            print("not the same %s: %s, %s" % (name, old_about.get(name), new_about.get(name)))
    old_rows = {key(row): row for row in old_rows}
    common = worse = 0
    for row in new_rows:
        old = old_rows.get(key(row))
        if old is None:
            continue
        common += 1
        for name, before, after, verdict in compare_row(old, row, options.tolerance):
            verdict = "floor" if row["measure"].startswith("floor") else verdict
            worse += verdict == "worse"
            where = " ".join(str(value) if part in ("measure", "system", "dataset") else "%s=%s" % (part, value)
                             for part, value in key(row))
            ratio = "%+.1f %%" % (100 * (after - before) / before) if before else ""
            print("%-6s %s: %s %s -> %s %s" % (verdict, where, name, before, after, ratio))
    if all(row[name + "_min"] == row[name + "_max"] for row in new_rows for name in HIGHER + LOWER if name + "_min" in row):
        print("one repetition: there is no spread to tell a change from noise by but the tolerance of %g %%" % (100 * options.tolerance))
    print("%d rows compared, %d numbers worse" % (common, worse))
    sys.exit(2 if common == 0 else 1 if worse else 0)


if __name__ == "__main__":
    main()
