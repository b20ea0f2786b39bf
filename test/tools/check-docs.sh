#!/bin/bash
# check-docs.sh: the examples of the documentation are those that the regression tests run: every ```sql block of
# docs/NAME.md stands word for word in sql/NAME.sql, where there is such a test, and in the same order.
# usage: check-docs.sh [top of the tree]
set -euo pipefail
cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}"
python3 - docs/*.md <<'PYTHON'
import os, re, sys

faults = examples = 0
for doc in sys.argv[1:]:
    test = os.path.join("sql", os.path.basename(doc)[:-3] + ".sql")
    if not os.path.exists(test):
        continue
    text = open(doc, encoding="utf-8").read()
    rest = open(test, encoding="utf-8").read()
    for block in re.finditer(r"^```sql\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        examples += 1
        _, found, behind = rest.partition("\n" + block.group(1))
        if found:
            rest = "\n" + behind
        else:
            faults += 1
            print(f"{doc}:{text.count(chr(10), 0, block.start()) + 1}: the example is not in {test}, or not at its place")
if examples == 0:
    sys.exit("there are no examples")
print(f"{examples} examples, {faults} faults")
sys.exit(faults > 0)
PYTHON
