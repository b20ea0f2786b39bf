"""Measurements of bench/run.sh: how they are summed up, printed, saved and read again.

A row is a dictionary: "measure", "system", the data set, what was varied, and the numbers.  REQUIRED says which keys a row of
each measure must have; `report.py` run as a program checks JSON lines on stdin against it.
"""
import csv
import datetime
import json
import math
import os
import re
import statistics
import subprocess
import sys

DATA = ("dataset", "rows", "dims", "k")
NOT_SHOWN = ("dataset", "dims", "histogram")
REQUIRED = {
    "build": ("threads", "seconds", "seconds_min", "seconds_max", "index_bytes", "in_hand_bytes"),
    "recall": ("ef", "recall"),
    "search": ("ef", "clients", "recall", "qps", "qps_min", "qps_max", "p50_us", "p95_us", "p99_us", "histogram"),
    "search_one_core": ("ef", "clients", "recall", "qps", "qps_min", "qps_max", "p50_us", "p95_us", "p99_us"),
    "floor": ("statement", "clients", "qps", "qps_min", "qps_max", "p50_us", "p95_us", "p99_us"),
    "floor_one_core": ("statement", "clients", "qps", "qps_min", "qps_max", "p50_us", "p95_us", "p99_us"),
    "insert": ("mode", "clients", "synchronous_commit", "rows_inserted", "rows_per_s", "rows_per_s_min", "rows_per_s_max",
               "wal_bytes_per_row", "wal_image_bytes_per_row", "recall"),
    "floor_insert": ("mode", "clients", "synchronous_commit", "rows_per_s", "rows_per_s_min", "rows_per_s_max", "p50_us", "rows_timed"),
    "mixed": ("ef", "writers", "p50_us", "p50_us_min", "p50_us_max", "p99_us", "p50_alone_us", "p99_alone_us", "rows_per_s"),
    "update": ("rows_updated", "seconds_per_row", "seconds_per_row_min", "seconds_per_row_max", "index_seconds_per_row",
               "wal_bytes_per_row"),
    "vacuum": ("cycle", "rows_deleted", "seconds", "seconds_min", "seconds_max", "recall_before", "recall_after", "index_bytes"),
    "churn": ("cycles", "ef", "recall", "recall_rebuilt", "recall_ef40", "recall_ef40_rebuilt", "index_bytes", "index_bytes_rebuilt"),
    "cold": ("ef", "os_cache", "p50_us", "p50_us_min", "p50_us_max", "p99_us", "first_us"),
    "filter": ("ef", "keep", "scan", "rows_returned", "rows_wanted", "recall", "p50_us", "p50_us_min", "p50_us_max", "p99_us"),
    "within": ("ef", "scan", "rows_returned", "rows_wanted", "recall", "p50_us", "p50_us_min", "p50_us_max", "p99_us"),
}

# What a library in our process cannot say.
REQUIRED_OF_SERVERS = {"search": ("rechecks", "page_touches"), "build": ("wal_bytes",)}
LIBRARIES = ("hnswlib", "faiss")


def spread(name, values, digits):
    """The median under this name, the extremes beside it."""
    values = list(values)
    return {name: round(statistics.median(values), digits), name + "_min": round(min(values), digits),
            name + "_max": round(max(values), digits)}


def commit(root):
    """Of the tree below root; result files that are not committed do not count as changes."""
    git = ["git", "-C", root]
    try:
        name = subprocess.run(git + ["rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        changed = subprocess.run(git + ["status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results"],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except FileNotFoundError:  # a machine without git
        return "unknown"
    return name.stdout.decode().strip() + ("-dirty" if changed.stdout else "") or "unknown"


def read_histogram(text):
    """{bucket: latencies}; bucket i is from 10^(i/20) to 10^((i+1)/20) microseconds."""
    return {int(bucket): int(count) for bucket, count in (part.split(":") for part in str(text).split())}


def merge_histograms(texts):
    total = {}
    for text in texts:
        for bucket, count in read_histogram(text).items():
            total[bucket] = total.get(bucket, 0) + count
    return " ".join("%d:%d" % item for item in sorted(total.items()))


class Report:
    """Collects measurements; a JSON line each with --json, a table at the end without."""

    def __init__(self, as_json, **shared):
        self.as_json, self.shared, self.rows = as_json, shared, []

    def add(self, measure, system, **numbers):
        row = {"measure": measure, "system": system.name, **self.shared, **numbers}
        self.rows.append(row)
        if self.as_json:
            print(json.dumps(row), flush=True)
        else:
            print(" ".join("%s=%s" % (k, v) for k, v in row.items() if k not in NOT_SHOWN), file=sys.stderr, flush=True)

    def table(self):
        for measure in REQUIRED:
            rows = [row for row in self.rows if row["measure"] == measure]
            if not rows:
                continue
            columns = [c for c in dict.fromkeys(c for row in rows for c in row) if c != "measure" and c not in NOT_SHOWN]
            cells = [columns] + [["" if row.get(c) is None else str(row[c]) for c in columns] for row in rows]
            widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
            print("\n" + measure)
            for line in cells:
                print("  ".join(cell.rjust(width) for cell, width in zip(line, widths)))
            if measure.startswith("search"):
                for k in dict.fromkeys(row["k"] for row in rows):
                    for target in (0.95, 0.99):
                        found = speed_at_recall([row for row in rows if row["k"] == k], target)
                        print("QPS at recall@%d %.2f%s: %s%s" % (k, target, measure[6:].replace("_", " "), ", ".join("%s %.0f" % x for x in found.items()) or "not reached",
                                                                 self.most(measure.replace("search", "floor"), k, found.get("pgvector"))))

    def most(self, measure, k, peer):
        """The rest of a line: what no index can be faster than, as times the peer's speed."""
        floors = [row["qps"] for row in self.rows if row["measure"] == measure and row["k"] == k and row["statement"] == "distances"]
        return "; k rows and distances alone %.0f, %.1f x pgvector" % (floors[0], floors[0] / peer) if floors and peer else ""

    def save(self, folder, environment, options):
        """DATE-DATASET, and what tells files of one data set apart: rows, k, parts, huge pages, fresh memory where they are not the usual ones."""
        os.makedirs(folder, exist_ok=True)
        name = [datetime.date.today().isoformat(), re.sub("[^A-Za-z0-9.]+", "-", self.shared["dataset"])]
        name += ["%drows" % options.rows] if options.rows else []
        name += ["k%d" % options.k] if options.k != 10 else []
        name += sorted(options.only) if set(options.only) != {"build", "search"} else []
        name += ["hugepages"] if options.huge_pages else []
        name += ["freshmemory"] if options.fresh_memory else []
        path = os.path.join(folder, "-".join(name) + ".csv")
        with open(path, "w", newline="") as file:
            for key, value in environment.items():
                file.write("# %s: %s\n" % (key, value))
            writer = csv.DictWriter(file, list(dict.fromkeys(c for row in self.rows for c in row)), lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        print("saved " + path, file=sys.stderr)


def speed_at_recall(rows, target):
    """QPS of one connection at a recall of at least the target: the fastest measured point that has it, or, where that is faster,
    the speed interpolated (log QPS over recall) to the target between the largest ef below and the smallest above it.  Nothing
    is extrapolated: a system that is above the target at its smallest ef gets a measured point.  phnsw has two ways to reach a recall,
    phnsw.ef_search and phnsw.target_recall: the faster one counts."""
    found = {}
    for system in dict.fromkeys(row["system"] for row in rows):
        mine = [r for r in rows if r["system"] == system and r["clients"] == 1]
        curves = [[(r["recall"], r["qps"], r["ef"]) for r in mine if r["ef"] > 0],
                  [(r["recall"], r["qps"], r["target"]) for r in mine if r["ef"] == 0 and "target" in r]]
        speeds = [speed for speed in (curve_speed(curve, target) for curve in curves) if speed]
        if speeds:
            found[system] = max(speeds)
    return found


def curve_speed(points, target):
    """Of points (recall, QPS, what was set) of one way to set it; None: it is not reached."""
    above = [p for p in points if p[0] >= target]
    below = [p for p in points if p[0] < target]
    if not above:
        return None
    speed = max(p[1] for p in above)
    if below:
        (r0, q0, _), (r1, q1, _) = max(below, key=lambda p: p[2]), min(above, key=lambda p: p[2])
        share = (target - r0) / (r1 - r0)
        speed = max(speed, math.exp(math.log(q0) + share * (math.log(q1) - math.log(q0))))
    return speed


def number(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def read(path):
    """A saved file: (what its first lines say, rows); empty cells are left out."""
    with open(path, newline="") as file:
        lines = file.readlines()
    about = dict(line[2:].rstrip("\n").split(": ", 1) for line in lines if line.startswith("# "))
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return about, [{key: number(value) for key, value in row.items() if value != ""} for row in rows]


def check(lines):
    """Faults of JSON lines, and how many rows of each measure there are."""
    faults, counts = [], {}
    for place, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            wanted = ("measure", "system") + DATA + REQUIRED[row["measure"]]
            if row.get("system") not in LIBRARIES:
                wanted += REQUIRED_OF_SERVERS.get(row["measure"], ())
            missing = [key for key in wanted if row.get(key) is None]
        except (ValueError, KeyError, TypeError):
            faults.append("line %d is no measurement: %s" % (place, line.strip()))
            continue
        counts[row["measure"]] = counts.get(row["measure"], 0) + 1
        if missing:
            faults.append("line %d, %s, lacks %s" % (place, row["measure"], ", ".join(missing)))
    return faults, counts


def main():
    """usage: report.py MEASURE... <JSON lines: every line is a complete measurement, and each of these measures is there.
    report.py --commit: the commit that result files will have."""
    if sys.argv[1:] == ["--commit"]:
        print(commit(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        return
    faults, counts = check(sys.stdin)
    faults += ["there is no %s" % measure for measure in sys.argv[1:] if measure not in counts]
    print("\n".join(faults + ["%d rows of %s" % (n, m) for m, n in counts.items()]))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
