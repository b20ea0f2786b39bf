#!/bin/bash
# check-prefetch.sh: every prefetch of the sources is in the machine code.  gcc 12 drops those from loops and small functions that it takes for
# without effect, silently; nothing but the disassembly tells.  An object whose source prefetches has a prefetch instruction; that of the
# hop has two, the descriptor's and one in the loop over a slot's cache lines.
# usage: check-prefetch.sh [top of a tree whose extension has been built]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
[[ $(uname -m) == x86_64 ]] || exit 0
faults=0 objects=0
while IFS= read -r source; do
	object=${source%.*}.o
	least=1
	[[ $source != src/pg/search/touch.c ]] || least=2
	found=$(objdump -d --no-show-raw-insn "$object" | grep -c $'\tprefetch' || true)
	objects=$((objects + 1))
	if ((found < least)); then
		echo "$object: $found prefetch instructions, not $least; look at the loops of $source"
		faults=1
	fi
done < <(grep -lE '(_prefetch|prefetch_list)\(' src/pg/*/*.c src/core/*/*.cpp)
if ((objects < 10)); then
	echo "only $objects sources prefetch, or the extension has not been built"
	faults=1
fi
exit "$faults"
