#!/bin/bash
# check-symbols.sh: what the core and the module link with and show.
#   - the core's archive needs no symbol that the PostgreSQL server provides, runs nothing at load time, and does not
#     switch the floating-point mode;
#   - phnsw.so exports Pg_magic_func, _PG_init, pg_finfo_phnsw*, phnsw* and nothing else (modules are loaded
#     RTLD_GLOBAL, so any other name might meet another extension's).
# usage: check-symbols.sh CORE_ARCHIVE MODULE POSTGRES_BINARY
set -euo pipefail
archive=$1 module=$2 postgres=$3
faults=0
fault() {
	echo "$1"
	faults=1
}

server=$(nm -D --defined-only "$postgres" | awk '{print $NF}' | sort -u)
(($(wc -l <<<"$server") > 1000)) || fault "$postgres: no symbols to compare with"
needed=$(nm -u "$archive" 2>/dev/null | awk '$1 == "U" {print $2}' | sort -u)
[[ -n $needed ]] || fault "$archive: no symbols"
while IFS= read -r name; do
	[[ -z $name ]] || fault "$archive: needs $name of the server"
done < <(comm -12 <(echo "$server") <(echo "$needed"))

while IFS= read -r name; do
	[[ -z $name ]] || fault "$archive: $name runs at load time"
done < <(nm "$archive" 2>/dev/null | grep -oE '_GLOBAL__(sub_)?[ID]_.*' | sort -u)
while IFS= read -r name; do
	[[ -z $name ]] || fault "$module: $name changes the floating-point mode"
done < <(nm "$module" 2>/dev/null | grep -oE 'set_fast_math|crtfastmath')

exports=$(nm -D --defined-only "$module" | awk '{print $NF}' | sort -u)
grep -qx Pg_magic_func <<<"$exports" || fault "$module: Pg_magic_func is not exported"
while IFS= read -r name; do
	[[ -z $name ]] || fault "$module: exports $name"
done < <(grep -vxE 'Pg_magic_func|_PG_init|pg_finfo_phnsw.*|phnsw.*' <<<"$exports")

exit "$faults"
