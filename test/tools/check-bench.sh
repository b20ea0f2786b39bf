#!/bin/bash
# check-bench.sh: a smoke run of bench/run.sh: every measure on few rows of the shipped sample, once, phnsw alone; every line
# is a complete measurement.  Then compare.py finds a file as good as itself, and worse than a better one.
#
# usage: check-bench.sh [top of the tree]     PG_CONFIG, PHNSW_INSTALLED: see bench/run.sh
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

PHNSW_RESULTS=$place bench/run.sh words20k --rows 2000 --repeat 1 --seconds 0.05 --queries 50 --ef 20,80 --clients 2 --changes 100 \
	--write-clients 1,2 --batches 50 --cycles 2 --threads 2 --json --save \
	--only build,search,insert,copy,update,vacuum,cold,filter >"$place/lines.json"
python3 bench/report.py build recall search insert mixed update vacuum cold filter <"$place/lines.json"

# Sums of the lines: a broken part of the driver shows as rows that nobody inserted or found.
python3 - "$place/lines.json" <<'PYTHON'
import json
import sys

rows = [json.loads(line) for line in open(sys.argv[1])]
faults = [row for row in rows if row.get("recall", 1) < (0.8 if row["measure"] == "filter" else 0.9)]
faults += [row for row in rows if row["measure"] == "filter" and row["rows_returned"] != row["rows_wanted"]]
faults += [row for row in rows if row["measure"] == "vacuum" and row["recall_after"] < row["recall_before"] - 0.05]
modes = {row["mode"] for row in rows if row["measure"] == "insert"}
if modes != {"single", "single_tx", "batch50", "copy", "copy_empty", "copy_build"}:
    faults.append({"modes": sorted(modes)})
print("\n".join(map(json.dumps, faults)))
sys.exit(1 if faults else 0)
PYTHON

saved=("$place"/*.csv)
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
