#!/bin/bash
# sweep.sh: the scale sweep, rows x dimensions x k: builds, searches, inserts, memory; smallest first.
#
# usage: bench/sweep.sh [--quick] [--thorough] [--budget SECONDS] [--fresh] [--rows N,N,...] [--dims N,N,...] [--k N,N,...]
#                       [--peers NAME,NAME] [--pgvector-rows N] [OPTIONS OF run.sh...]
#
# Defaults: 1,000 to 1,000,000 rows, 128, 512, 1536 dimensions, k 10, 100, 1000, peers hnswlib and pgvector, no budget: 40
# to 80 minutes on two cores.  --quick: at most 100,000 rows, k 10 and 100, 10,000 rows of pgvector: about ten minutes.  --thorough:
# three repetitions of 2 s with 1,000 queries instead of one of 0.2 s with 300.  Options given later win.
#
# pgvector is measured up to 100,000 rows (--pgvector-rows): at 1,000,000 it would take hours.  What does not fit the machine's
# memory or disk is left out, hnswlib first.  Each omission is printed.
#
# Each number of rows and dimensions is one bench/run.sh, whose CSV is saved in bench/results/sweep (PHNSW_RESULTS names another
# folder): CREATE INDEX with its memory, searches for each k of at most a tenth of the rows (ef is k, 2k, 4k, 8k; for k 10 all
# of 10 to 640), and inserts: one by one, in statements of 10, 100, 500, 1000 rows (from 1,000,000 rows on 100 only), by 4
# connections.  bench/plot.py draws them.  What is there already, of the same commit and options, is not measured
# again (--fresh: it is).  With a budget no run starts that is expected to pass it: see `seconds` below.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../test/tools/setup.sh
. "$ROOT/test/tools/setup.sh"
# shellcheck source=steps.sh
. "$ROOT/bench/steps.sh"
# shellcheck disable=SC2034 # steps.sh reads them
budget=0 fresh=0 peers=hnswlib,pgvector pass=() own="rows dims k pgvector_rows"
rows=1000,10000,100000,1000000 dims=128,512,1536 k=10,100,1000 pgvector_rows=100000
effort=(--repeat 1 --seconds 0.2 --write-seconds 1 --queries 300) each=8
option_quick() {
	rows=1000,10000,100000 k=10,100 pgvector_rows=10000
}
option_thorough() {
	effort=() each=110
}
steps_options "$@"
export PHNSW_RESULTS=${PHNSW_RESULTS:-$ROOT/bench/results/sweep}

# Of one point, on two cores with AVX-512.
seconds() { # ROWS DIMENSIONS COUNT-OF-K
	local millions=$(($1 * $2 / 1000000)) # of coordinates
	local found=$((25 + each * $3 + millions * 3 / 10))
	((${3} < 3)) || found=$((found + 2 * each)) # k 1000
	[[ $peers != *hnswlib* ]] || found=$((found + $1 * (15 + $2 / 8) * ($1 > 500000 ? 2 : 1) / 1000000))
	# Two builds, one of them for the inserts.
	[[ $peers != *pgvector* ]] || found=$((found + millions / 2 + $1 / 10000 + 20))
	echo "$found"
}

# GB that a point takes: the server, a build beside hnswlib's index, which holds the vectors; the driver maps its own from a file.
# Or, earlier and alone, what generating them takes.
memory_gb() { # ROWS DIMENSIONS
	local server=$((total_gb / 4 < 8 ? total_gb / 4 : 8)) build=$(($1 * ($2 + $2 / 2 + 900) / 1000000000)) vectors=$(($1 * ($2 * 4 + 200) / 1000000000))
	[[ $peers == *hnswlib* ]] || vectors=0
	local generating=$(($1 * $2 * 4 / 1000000000))
	build=$((build + vectors))
	echo $((server + 2 + (build > generating ? build : generating)))
}

# GB of disk: three tables with their indexes, WAL, the file of the vectors.
disk_gb() { # ROWS DIMENSIONS
	local systems=1
	[[ $peers != *pgvector* ]] || systems=2
	echo $((5 + systems * $1 * ($2 * 28 + 3000) / 1000000000))
}

total_gb=$(awk '/^MemTotal/ { print int($2 / 1000000) }' /proc/meminfo)
free_gb=$(df --output=avail -BGB /tmp | tail -n 1 | tr -dc 0-9)
wanted_peers=$peers
without() { # PEER
	echo "left out $1, $2" >&2
	peers=$(tr , '\n' <<<"$peers" | grep -vx "$1" | paste -sd ,)
}

# Sets peers; false when not even phnsw fits.
fits() { # ROWS DIMENSIONS
	peers=$wanted_peers
	if [[ $peers == *pgvector* ]] && (($1 > pgvector_rows)); then
		without pgvector "synth:$1:$2: --pgvector-rows is $pgvector_rows"
	fi
	if [[ $peers == *hnswlib* ]] && (($(memory_gb "$1" "$2") > total_gb)); then
		without hnswlib "synth:$1:$2: with it, it takes $(memory_gb "$1" "$2") GB of memory, $total_gb are there"
	fi
	if (($(memory_gb "$1" "$2") > total_gb || $(disk_gb "$1" "$2") > free_gb)); then
		echo "left out synth:$1:$2: it takes $(memory_gb "$1" "$2") GB of memory, $(disk_gb "$1" "$2") of disk;" \
			"$total_gb and $free_gb are there" >&2
		STEPS_LEFT=$((STEPS_LEFT + 1))
		return 1
	fi
}

steps_begin
for n in ${rows//,/ }; do
	for d in ${dims//,/ }; do
		fits "$n" "$d" || continue
		fitting=
		count=0
		for one in ${k//,/ }; do
			((one * 10 > n)) || { fitting+=,$one && count=$((count + 1)); }
		done
		((count > 0)) || continue
		options=(--k "${fitting#,}" --only "build,search,insert" --commits off --write-clients "1,4" --changes 1000 "${effort[@]}")
		# Each case copies the table twice.
		((n < 1000000)) || options+=(--batches 100)
		step "$(seconds "$n" "$d" "$count")" "synth:$n:$d" "${options[@]}"
	done
done
steps_end
