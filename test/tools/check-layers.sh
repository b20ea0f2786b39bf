#!/bin/bash
# check-layers.sh: includes point down only, pg -> capi -> merge -> build -> graph -> {codec, format} -> kernel -> base, and
# text -> base.  The two C headers of capi are the common vocabulary and may be included anywhere.  Also: no PostgreSQL
# header and no C file in the core, no C++ in src/pg, one file that opens OpenMP regions.
# usage: check-layers.sh [top of the tree]; prints the offending lines, exits 1 when there are any.
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"

declare -A below=(
	[base]="base"
	[kernel]="kernel base"
	[text]="text base"
	[codec]="codec kernel base"
	[format]="format kernel base"
	[graph]="graph codec format kernel base"
	[build]="build graph codec format kernel base"
	[merge]="merge build graph codec format kernel base"
	[capi]="capi merge build graph codec format text kernel base"
)
faults=0
fault() {
	echo "$1"
	faults=1
}

while IFS=: read -r file line text; do
	layer=${file#src/core/}
	layer=${layer%%/*}
	target=$(sed -E 's/^[^"<]*["<]([^">]*)[">].*/\1/' <<<"$text")
	case $target in
	capi/phnsw_[a-z]*.h | phnsw_[a-z]*.h) continue ;;
	esac
	if [[ $text == *'<'* ]]; then
		# Standard and system headers; PostgreSQL's would be found by this form as well.
		case $target in
		sys/* | [a-z_]* ) [[ $target != *postgres* && $target != utils/* && $target != storage/* ]] && continue ;;
		esac
		fault "$file:$line: $text: not a standard header"
		continue
	fi
	[[ -n ${below[$layer]:-} ]] || { fault "$file:$line: $layer is not a layer"; continue; }
	[[ " ${below[$layer]} " == *" ${target%%/*} "* && $target == */* ]] ||
		fault "$file:$line: $layer may not include $target"
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include' src/core --include='*.hpp' --include='*.cpp' --include='*.h')

while IFS= read -r found; do
	fault "$found: not the door to the core"
done < <(grep -rnE '#[[:space:]]*include[[:space:]]*"(base|kernel|codec|format|graph|build|text|capi)/' src/pg |
	grep -vE '"capi/phnsw_(core|format)\.h"')
while IFS= read -r found; do
	fault "$found: C++ in src/pg"
done < <(find src/pg -name '*.cpp' -o -name '*.hpp' -o -name '*.cc')
while IFS= read -r found; do
	fault "$found: C in src/core"
done < <(find src/core -name '*.c')

mapfile -t regions < <(grep -rlE '#[[:space:]]*pragma[[:space:]]+omp[[:space:]]+(parallel|for|task|sections)' src)
((${#regions[@]} <= 1)) || fault "OpenMP regions in more than one file: ${regions[*]}"

exit "$faults"
