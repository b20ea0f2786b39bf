#!/bin/bash
# sweep.sh: the scale sweep, rows x dimensions x k: builds, searches, inserts, memory; smallest first.
#
# usage: bench/sweep.sh [--quick] [--budget SECONDS] [--fresh] [--rows N,N,...] [--dims N,N,...] [--k N,N,...] [--peers NAME,NAME]
#                       [OPTIONS OF run.sh...]
#
# Defaults: 1,000 to 1,000,000 rows, 128, 512, 1536 dimensions, k 10, 100, 1000, peers hnswlib and pgvector, no budget: some three
# hours on two cores, most of it pgvector's.  --quick: at most 100,000 rows, k 10 and 100, short measurements: about nine
# minutes.  Options given later win.
#
# Each number of rows and dimensions is one bench/run.sh, whose CSV is saved in bench/results/sweep (PHNSW_RESULTS names another
# folder): CREATE INDEX with its memory, searches for each k of at most a tenth of the rows (ef is k, 2k, 4k, 8k; for k 10 all
# of 10 to 640), and inserts of a thousand rows (a fifth of the table at most): one by one, in statements of 10, 100, 500, 1000
# rows, by 4 connections.  bench/plot.py draws them.  What is there already, of the same commit and options, is not measured
# again (--fresh: it is).  With a budget no run starts that is expected to pass it: see `seconds` below.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../test/tools/setup.sh
. "$ROOT/test/tools/setup.sh"
# shellcheck source=steps.sh
. "$ROOT/bench/steps.sh"
budget=0 fresh=0 quick=0 rows=1000,10000,100000,1000000 dims=128,512,1536 ks=10,100,1000 peers=hnswlib,pgvector pass=()
while (($#)); do
	case $1 in
	--quick) quick=1 rows=1000,10000,100000 ks=10,100 && shift && continue ;;
	--fresh) fresh=1 && shift && continue ;;
	--budget) budget=$2 ;;
	--rows) rows=$2 ;;
	--dims) dims=$2 ;;
	--k) ks=$2 ;;
	--peers) peers=$2 ;;
	--help | -h)
		sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
		exit 0
		;;
	*)
		pass+=("$1")
		shift
		continue
		;;
	esac
	shift 2
done
export PHNSW_RESULTS=${PHNSW_RESULTS:-$ROOT/bench/results/sweep}

# Of one point, on two cores with AVX-512.
seconds() { # ROWS DIMENSIONS COUNT-OF-K
	local tables=$(($1 * $2 / 1000000)) # millions of coordinates
	local each=$((quick ? 8 : 110)) # search of one k
	local found=$((6 + each * $3 + tables / 12))
	[[ $peers != *hnswlib* ]] || found=$((found + tables / 12 + $1 / 25000))
	# Two builds, one of them for the inserts.
	[[ $peers != *pgvector* ]] || found=$((found + tables * 2 / 3 + $1 / 7000 + (quick ? 5 : 15)))
	echo "$found"
}

steps_begin
for n in ${rows//,/ }; do
	for d in ${dims//,/ }; do
		fitting=
		count=0
		for k in ${ks//,/ }; do
			((k * 10 > n)) || { fitting+=,$k && count=$((count + 1)); }
		done
		((count > 0)) || continue
		options=(--k "${fitting#,}" --only "build,search,insert" --commits off --write-clients "1,4" --changes 1000)
		((!quick)) || options+=(--repeat 1 --seconds 0.2 --queries 300)
		step "$(seconds "$n" "$d" "$count")" "synth:$n:$d" "${options[@]}"
	done
done
steps_end
