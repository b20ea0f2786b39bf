#!/bin/bash
# check-bench.sh: a smoke run of bench/run.sh: every measure on few rows of the shipped sample, once, phnsw alone; every line
# is a complete measurement.  Then compare.py finds a file as good as itself, and worse than a better one.
#
# usage: check-bench.sh [top of the tree]     PG_CONFIG, PHNSW_INSTALLED: see bench/run.sh
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

PHNSW_RESULTS=$place bench/run.sh words20k --rows 2000 --repeat 1 --seconds 0.05 --queries 50 --ef 20,80 --target 0.93 --clients 2 --changes 100 \
	--write-clients 1,2 --batches 50 --commits off --cycles 2 --threads 2 --k 10,100 --disk-us 100 --json --save \
	--only build,search,insert,mixed,copy,update,vacuum,cold,filter >"$place/lines.json"
python3 bench/report.py build recall floor floor_one_core search search_one_core insert floor_insert mixed update vacuum churn cold filter within <"$place/lines.json"

# Sums of the lines: a broken part of the driver shows as rows that nobody inserted or found.
python3 - "$place/lines.json" <<'PYTHON'
import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1])]
faults = [row for row in rows if row.get("recall", 1) < (0.8 if row["measure"] == "filter" else 0.9)]
faults += [row for row in rows if row["measure"] == "filter" and row["rows_returned"] != row["rows_wanted"]]
faults += [row for row in rows if row["measure"] == "within" and not 10 < row["rows_returned"] <= row["rows_wanted"] * 1.001]
faults += [row for row in rows if row["measure"] == "vacuum" and row["recall_after"] < row["recall_before"] - 0.05]
faults += [row for row in rows if row.get("wal_segments_created", 0) > 0]
faults += [row for row in rows if row["measure"] == "build" and row["in_hand_bytes"] < 2 << 20]
# A search does what the floor does, and more; not each one, for a few microseconds are noise.
slowest = max(row["p50_us"] for row in rows if row["measure"] == "search" and row["clients"] == 1)
faults += [row for row in rows if row["measure"] == "floor" and row["clients"] == 1 and row["p50_us"] >= slowest]
# An insert does what the server does without an index, and more (processor time: latencies hang on which cores the two processes are
# on); of rows that are all there.
alone = {row["measure"]: row for row in rows if row["measure"] in ("insert", "floor_insert") and row["mode"] == "single" and row["clients"] == 1}
floors = [row for row in rows if row["measure"] == "floor_insert"]
if alone["floor_insert"].get("backend_us_per_row", 0) >= alone["insert"].get("backend_us_per_row", 1) or [row["clients"] for row in floors] != [1, 2] or any(
        row["system"] != "none" or not 0 < row["rows_timed"] <= 2000 for row in floors):
    faults.append({"floor_insert": floors, "insert": alone["insert"]})
# Three statements of one connection, in both placements; of many connections the first only.
floors = [(row["measure"], row["clients"], row["statement"]) for row in rows if row["measure"] in ("floor", "floor_one_core")]
if sorted(floors) != [("floor", 1, "distances"), ("floor", 1, "rows"), ("floor", 1, "select_1"), ("floor", 2, "select_1")] + [
        ("floor_one_core", 1, statement) for statement in ("distances", "rows", "select_1")]:
    faults.append({"floors": floors})
if [row["ef"] for row in rows if row["measure"] == "search_one_core"] != [
        row["ef"] for row in rows if row["measure"] == "search" and row["clients"] == 1]:
    faults.append({"search_one_core": "not with every ef"})
modes = {row["mode"] for row in rows if row["measure"] == "insert"}
if modes != {"single", "single_tx", "batch50", "copy", "copy_empty", "copy_build"}:
    faults.append({"modes": sorted(modes)})
searches = [row for row in rows if row["measure"] == "search"]
if sorted((row["clients"], row["target"]) for row in searches if row["ef"] == 0 and row["k"] == 10) != [(1, 0.93), (1, 0.95), (2, 0.95)]:
    faults.append({"targets": [row for row in searches if row["ef"] == 0]})
if {row["k"] for row in searches} != {10, 100} or any(row["ef"] < row["k"] for row in searches if row["ef"] > 0):
    faults.append({"k and ef of searches": sorted({(row["k"], row["ef"]) for row in searches})})
# Every latency is in a bucket near the median's: 20 of them are a factor of ten.
for row in searches:
    counts = {int(bucket): int(n) for bucket, n in (part.split(":") for part in row["histogram"].split())}
    middle = [bucket for bucket in counts if 10 ** (bucket / 20) <= row["p50_us"] * 1.001 < 10 ** ((bucket + 1) / 20) * 1.002]
    faults += [row] if not middle else []
if {row["os_cache"] for row in rows if row["measure"] == "cold"} - {"dropped", "kept"} != {"simulated 100 us"}:
    faults.append({"cold": [row for row in rows if row["measure"] == "cold"]})
print("\n".join(map(json.dumps, faults)))
sys.exit(1 if faults else 0)
PYTHON

# Huge pages: they are used and the file says so, or it is said why not; the system has as many as before.
huge_before=$(cat /proc/sys/vm/nr_hugepages 2>/dev/null || true)
mkdir "$place/huge"
if PHNSW_RESULTS=$place/huge PHNSW_BUFFERS_MB=64 bench/run.sh words20k --rows 500 --repeat 1 --seconds 0.05 --queries 20 --ef 20 --clients 1 \
	--only build,search --huge-pages --fresh-memory --json --save >"$place/huge/lines.json" 2>"$place/huge/log"; then
	grep -q '^# huge_pages: on' "$place"/huge/*-hugepages-freshmemory.csv || { echo "the file of a run with huge pages does not say so"; exit 1; }
	grep -q '^# build_memory: as the machine has it' "$place"/huge/*.csv || { echo "the file of a run with --fresh-memory does not say so"; exit 1; }
	grep -q '"in_hand_bytes": 0' "$place/huge/lines.json" || { echo "--fresh-memory has memory brought into hand"; exit 1; }
else
	grep -E -- '--huge-pages needs root, and pages of 2 MB|the system has no memory for [0-9]+ huge pages' "$place/huge/log" ||
		{ echo "run.sh --huge-pages fails, and does not say why"; cat "$place/huge/log"; exit 1; }
fi
[[ $(cat /proc/sys/vm/nr_hugepages 2>/dev/null || true) == "$huge_before" ]] || { echo "run.sh --huge-pages leaves huge pages set aside"; exit 1; }

# Memory in hand: what was asked for is touched and given back; where less is free or allowed, less.
/usr/bin/python3 - <<'PYTHON'
import os
import re
import resource
import sys

sys.path.insert(0, "bench")
sys.dont_write_bytecode = True
import in_hand

def resident():
    with open("/proc/self/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024

wanted, before, peak = 96 << 20, resident(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
taken = in_hand.take(wanted - 12345)
if in_hand.free() > 2 * wanted and (in_hand.allowed() or 2 * wanted) >= 2 * wanted:
    assert taken == wanted, taken
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > max(peak, before) + wanted // 2
assert resident() < before + wanted // 4
# No further thread: this one does it.
def refuse(thread):
    raise RuntimeError("can't start new thread")

start, in_hand.threading.Thread.start = in_hand.threading.Thread.start, refuse
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
taken = in_hand.take(3 * wanted)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > peak + wanted or taken < 3 * wanted
in_hand.threading.Thread.start = start
in_hand.free = lambda: 40 << 20
assert in_hand.take(wanted) <= 30 << 20
in_hand.allowed = lambda: -1
assert in_hand.take(wanted) == 0
assert in_hand.wanted(69000, 784) > 69000 * 784 * 4
PYTHON

# Speed at a recall: measured at or above it, interpolated, or nothing; never extrapolated.
python3 - <<'PYTHON'
import sys

sys.path.insert(0, "bench")
sys.dont_write_bytecode = True
import report

def rows(system, *points):
    return [{"system": system, "clients": 1, "recall": recall, "qps": qps, **({"ef": ef} if ef >= 1 else {"ef": 0, "target": ef})}
            for ef, recall, qps in points]

found = report.speed_at_recall(rows("above", (10, 0.97, 500), (20, 0.99, 400)) + rows("below", (10, 0.5, 900), (20, 0.94, 100))
                               + rows("across", (10, 0.90, 400), (20, 1.00, 100)) + rows("bumpy", (10, 0.9, 90), (20, 0.96, 50), (40, 0.98, 80))
                               + rows("two ways", (10, 0.90, 400), (20, 1.00, 100), (0.9, 0.92, 900), (0.97, 0.98, 300)), 0.95)
assert {k: round(v) for k, v in found.items()} == {"above": 500, "across": 200, "bumpy": 80, "two ways": 520}, found
assert report.merge_histograms(["3:1 5:2", "5:4"]) == "3:1 5:6"
# What the floor is beside a peer's speed: of this placement and k, with the distances; nothing where there is no peer.
beside = report.Report(True)
beside.rows = [{"measure": measure, "k": 10, "statement": statement, "qps": qps} for measure, statement, qps in (
    ("floor", "select_1", 900), ("floor", "distances", 800), ("floor_one_core", "distances", 700))]
assert [beside.most("floor_one_core", 10, 200), beside.most("floor", 10, None), beside.most("floor", 100, 200)] == [
    "; k rows and distances alone 700, 3.5 x pgvector", "", ""]
PYTHON

# Files of a user's own: the truth that comes with them is taken, and is what is computed without it; queries are no rows.
/usr/bin/python3 - "$place" <<'PYTHON'
import os
import sys

sys.path.insert(0, "bench")
sys.dont_write_bytecode = True
import numpy
import datasets

place = sys.argv[1]
rng = numpy.random.default_rng(1)
base, query = (rng.standard_normal((n, 7)).astype(numpy.float32) for n in (500, 20))
nearest = numpy.argsort(numpy.linalg.norm(base[None] - query[:, None], axis=2), axis=1)[:, :100].astype(numpy.int32)

def write(name, rows):
    path = os.path.join(place, name)
    numpy.hstack([numpy.full((len(rows), 1), rows.shape[1], numpy.int32), rows.view(numpy.int32)]).tofile(path)
    return path

base_file, query_file, truth_file = write("b.fvecs", base), write("q.fvecs", query), write("t.ivecs", nearest)

def load(name, **options):
    return datasets.load(name, options.get("rows"), None, None, os.path.join(place, "cache"))

given, computed = load("file:%s,%s,%s" % (base_file, query_file, truth_file)), load("file:%s,%s" % (base_file, query_file))
assert (given.base == base).all() and (given.query == query).all() and given.metric == "l2"
assert numpy.allclose(given.truth, computed.truth)
assert given.recall(list(nearest[:, :10])) == 1 and given.recall(list(nearest[:, 50:60])) == 0
part = load("file:%s,%s,%s" % (base_file, query_file, truth_file), rows=100)
assert part.rows == 100 and (part.truth[:, 0] >= given.truth[:, 0]).all() and (part.truth[:, 0] > given.truth[:, 0]).any()
# From a file instead of memory: the same.
given.file(place)
assert (given.base == base).all() and given.recall(list(nearest[:, :10])) == 1 and (given.prefix(100).truth == part.truth).all()
try:
    import h5py
except ImportError:
    sys.exit(0)
with h5py.File(os.path.join(place, "a.hdf5"), "w") as file:
    file.attrs["distance"] = "angular"
    file["train"], file["test"] = base, query
angular = load("file:" + os.path.join(place, "a.hdf5"))
assert angular.metric == "cosine" and angular.rows == 500
PYTHON

saved=("$place"/*.csv)
for name in date commit cpu machine compiler flags postgresql settings maintenance_work_mem build_memory index systems dataset options; do
	grep -q "^# $name: ." "${saved[0]}" || { echo "the file does not state $name"; exit 1; }
done
bench/compare.py "${saved[0]}" "${saved[0]}"
# All speeds of the old file doubled: the new one is slower, and is told so.
python3 - "${saved[0]}" "$place/faster" <<'PYTHON'
import csv
import sys

lines = open(sys.argv[1]).read().splitlines()
rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
for row in rows:
    row.update({name: float(row[name]) * 2 for name in row if name.startswith(("qps", "rows_per_s")) and row[name]})
with open(sys.argv[2], "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
PYTHON
if bench/compare.py "$place/faster" "${saved[0]}" >"$place/verdict"; then
	echo "compare.py finds half the speed as good"
	exit 1
fi
grep -q 'worse.*qps' "$place/verdict"
# A change inside the spread of either file is noise.
python3 - "${saved[0]}" "$place" <<'PYTHON'
import csv
import sys

lines = open(sys.argv[1]).read().splitlines()
rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
for name, factor in (("before", 1.0), ("after", 0.9)):
    with open("%s/%s" % (sys.argv[2], name), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for row in rows:
            if row["qps"]:
                qps = float(row["qps"]) * factor
                writer.writerow({**row, "qps": qps, "qps_min": qps * 0.93, "qps_max": qps * 1.07})
PYTHON
bench/compare.py "$place/before" "$place/after"
# plot.py draws what it is given, where matplotlib is there.
if /usr/bin/python3 -c 'import matplotlib' 2>/dev/null; then
	bench/plot.py --out "$place/plots" "${saved[0]}"
	for plot in recall-qps histogram insert modes; do
		[[ -s $place/plots/$plot-words20k.svg ]] || { echo "plot.py has not drawn $plot"; exit 1; }
	done
	# Of a file in a folder named sweep those of the sweep.
	mkdir "$place/sweep"
	cp "${saved[0]}" "$place/sweep"
	bench/plot.py --out "$place/swept" "$place"/sweep/*.csv
	for plot in build-words20k memory-words20k search-words20k-k10 search-words20k-k100 insert-words20k; do
		[[ -s $place/swept/sweep-$plot.svg ]] || { echo "plot.py has not drawn sweep-$plot"; exit 1; }
	done
	[[ ! -e $place/swept/build.svg ]]
fi
# sweep.sh says what it leaves out: a peer at a size, a size that the budget does not allow.
if command -v git >/dev/null; then
	bench/sweep.sh --rows 1000,2000 --dims 8 --k 10 --pgvector-rows 1000 --budget 1 >"$place/sweep.log" 2>&1
	for said in 'left out pgvector, synth:2000:8: --pgvector-rows is 1000' 'synth:1000:8 --k 10 .*--peers hnswlib,pgvector' \
		'synth:2000:8 --k 10 .*--peers hnswlib ' '0 measured, 0 were there, 2 left out'; do
		grep -q -- "$said" "$place/sweep.log" || { echo "sweep.sh does not say: $said"; cat "$place/sweep.log"; exit 1; }
	done
fi
