#!/bin/bash
# sweep.sh: the scale sweep, one bench/run.sh after the other: rows x dimensions x k, smallest first.
#
# usage: bench/sweep.sh [--budget SECONDS] [--rows N,N,...] [--dims N,N,...] [--k N,N,...] [OPTIONS OF run.sh...]
#
# Defaults: 1,000 to 1,000,000 rows, 128, 512, 1536 dimensions, k 10, 100, 1000, no budget.  Every run saves a CSV in
# bench/results (bench/plot.py draws cost against rows from them).  Only k of at most a tenth of the rows; ef is k, 2k, 4k, 8k.
# With a budget no run starts after that many seconds, and one that is expected to pass it is left out, which is said
# (expected: the time of the quickest run, and ten times what the run with a tenth of the rows took beyond that).  phnsw is
# built once, for all runs.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../test/tools/setup.sh
. "$ROOT/test/tools/setup.sh"
budget=0 rows=1000,10000,100000,1000000 dims=128,512,1536 ks=10,100,1000 pass=()
while (($#)); do
	case $1 in
	--budget) budget=$2 ;;
	--rows) rows=$2 ;;
	--dims) dims=$2 ;;
	--k) ks=$2 ;;
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

phnsw_packages "${PG_PACKAGES[@]}" gcc g++ make libc6-dev
phnsw_workplace
phnsw_stage
phnsw_private_postgres
phnsw_build_install || die "the build failed"
export PHNSW_INSTALLED=1

declare -A took
skipped=0 quickest=0
for n in ${rows//,/ }; do
	for d in ${dims//,/ }; do
		for k in ${ks//,/ }; do
			((k * 10 <= n)) || continue
			tenth=${took["$((n / 10)) $d $k"]:-$quickest}
			expected=$((quickest + 10 * (tenth - quickest)))
			if ((budget > 0 && SECONDS + expected >= budget)); then
				echo "sweep.sh: left out, the budget is spent: $n rows, $d dimensions, k $k" >&2
				skipped=$((skipped + 1))
				continue
			fi
			# The widths at which an answer of k rows can be right.
			efs=$(for factor in 1 2 4 8; do echo $((k * factor)); done | paste -sd,)
			started=$SECONDS
			"$ROOT/bench/run.sh" "synth:$n:$d" --k "$k" --ef "$efs" --save "${pass[@]}"
			took["$n $d $k"]=$((SECONDS - started))
			((quickest > 0 && quickest <= took["$n $d $k"])) || quickest=${took["$n $d $k"]}
		done
	done
done
echo "sweep.sh: $SECONDS s, $skipped left out"
