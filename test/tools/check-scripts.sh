#!/bin/bash
# check-scripts.sh: the scripts parse (bash -n, python), shellcheck has nothing to say where it is installed.
# usage: check-scripts.sh [top of the tree]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
faults=0
mapfile -t shells < <(find bench test .ci \( -name '*.sh' -o -path '.ci/run' \) -type f | sort)
mapfile -t pythons < <(find bench test -name '*.py' -type f | sort)

for file in "${shells[@]}"; do
	bash -n "$file" || faults=1
done
for file in "${pythons[@]}"; do
	python3 -c 'import ast, sys; ast.parse(open(sys.argv[1], encoding="utf-8").read(), sys.argv[1])' "$file" || faults=1
done
if command -v shellcheck >/dev/null; then
	shellcheck -x -P SCRIPTDIR "${shells[@]}" || faults=1
fi
exit "$faults"
