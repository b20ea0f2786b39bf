#!/bin/bash
# check-headers.sh: every header compiles alone: the core's as C++20, the two C headers also as C11, those of src/pg
# after postgres.h, as PostgreSQL's own do.
# usage: [PG_CONFIG=...] check-headers.sh [top of the tree]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
server_include=$(${PG_CONFIG:-pg_config} --includedir-server)
faults=0

check() { # HEADER COMPILER...
	local header=$1
	shift
	echo "#include \"$header\"" | "$@" -Wall -Wextra -Werror -fsyntax-only - || {
		echo "$header does not compile alone"
		faults=1
	}
}

while IFS= read -r header; do
	check "$header" g++ -x c++ -std=c++20 -I src/core -iquote .
done < <(find src/core -name '*.hpp' -o -name '*.h' | sort)
for header in src/core/capi/phnsw_*.h; do
	check "$header" gcc -x c -std=c11 -Wpedantic -I src/core -iquote .
done
while IFS= read -r header; do
	check "$header" gcc -x c -std=gnu11 -Wno-unused-parameter -Wno-sign-compare -I src/core -I src/pg -iquote . \
		-isystem "$server_include" -include postgres.h
done < <(find src/pg -name '*.h' | sort)

exit "$faults"
