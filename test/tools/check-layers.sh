#!/bin/bash
# check-layers.sh: includes point down only, pg -> capi -> merge -> build -> graph -> {codec, format} -> kernel -> base, and
# text -> base.  The two C headers of capi are the common vocabulary and may be included anywhere.  Also: no PostgreSQL
# header and no C file in the core, no C++ in src/pg, one file that opens OpenMP regions; and which folder of src/pg knows which.
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

# The folders of src/pg, each with those whose headers it may include; those of src/pg itself are everybody's.
declare -A beside=(
	[page]="page"
	[stats]="stats"
	[types]="types toast"
	[search]="search"
	[toast]="toast types search"
	[scan]="scan search toast types"
	[insert]="insert search types"
	[build]="build toast types"
	[batch]="batch build insert search"
	[vacuum]="vacuum search"
	[inspect]="inspect vacuum build scan search types"
)
while IFS=: read -r file line text; do
	folder=${file#src/pg/}
	[[ $folder == */* ]] && folder=${folder%%/*} || folder=
	target=$(sed -E 's/^[^"]*"([^"]*)".*/\1/' <<<"$text")
	if [[ -e src/core/$target ]]; then
		[[ $target =~ ^capi/phnsw_(core|format)\.h$ ]] || fault "$file:$line: $target is not the door to the core"
	elif [[ -n $folder && -z ${beside[$folder]:-} ]]; then
		fault "$file:$line: $folder is not a folder that check-layers.sh knows"
	elif [[ -n $folder && -e src/pg/$target && $target == */* ]]; then
		[[ " ${beside[$folder]} " == *" ${target%%/*} "* ]] || fault "$file:$line: $folder may not include $target"
	fi
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' src/pg --include='*.c' --include='*.h')
while IFS= read -r found; do
	fault "$found: C++ in src/pg"
done < <(find src/pg -name '*.cpp' -o -name '*.hpp' -o -name '*.cc')
while IFS= read -r found; do
	fault "$found: C in src/core"
done < <(find src/core -name '*.c')

mapfile -t regions < <(grep -rlE '#[[:space:]]*pragma[[:space:]]+omp[[:space:]]+(parallel|for|task|sections)' src)
((${#regions[@]} <= 1)) || fault "OpenMP regions in more than one file: ${regions[*]}"

exit "$faults"
