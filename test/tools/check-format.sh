#!/bin/bash
# check-format.sh: C++ is as clang-format 14 (Debian 12's) leaves it; C and C++ keep to 120 columns, a tab being four. A
# message may be longer, so that one can search for it.
# usage: check-format.sh [top of the tree]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
faults=0

if [[ $(clang-format --version 2>/dev/null) == *" version 14."* ]]; then
	find src test bench \( -name '*.cpp' -o -name '*.hpp' \) -print0 | sort -z |
		xargs -0 clang-format --dry-run --Werror || faults=1
else
	echo "no clang-format 14: formats are not compared"
fi

# shellcheck disable=SC2016 # awk's variables, not the shell's
find src test bench \( -name '*.[ch]' -o -name '*.cpp' -o -name '*.hpp' \) -print0 | sort -z | xargs -0 awk '
	function columns(line,    n, i) {
		n = 0
		for (i = 1; i <= length(line); i++)
			n = substr(line, i, 1) == "\t" ? n - n % 4 + 4 : n + 1
		return n
	}
	length($0) > 60 && columns($0) > 120 && !/errmsg\("/ { printf "%s:%d: %d columns\n", FILENAME, FNR, columns($0); faults = 1 }
	END { exit faults }' || faults=1

exit "$faults"
