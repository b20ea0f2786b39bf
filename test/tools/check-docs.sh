#!/bin/bash
# check-docs.sh: the examples of the documentation are those that the regression tests run: every ```sql block of
# docs/NAME.md stands word for word in sql/NAME.sql, where there is such a test, and in the same order.  And every link to a file,
# and every file of ours that any page names in backquotes, and any page, comment or script by its path, exists.
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
python3 - <<'PYTHON'
import os, re, sys

files = [os.path.relpath(os.path.join(folder, name)) for folder, _, names in os.walk(".") if ".git" not in folder for name in names]
places = set(files)
faults = []
for doc in (file for file in files if file.endswith(".md") and not file.startswith(("build/", "bench/cache/"))):
    text, here = open(doc, encoding="utf-8").read(), os.path.dirname(doc)
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        if not os.path.exists(os.path.join(here, link)):
            faults.append(f"{doc}: a link leads to {link}, which does not exist")
    for name in re.findall(r"`([\w./-]+\.(?:c|h|cpp|hpp|py|sh|pl|sql))`", text):
        if not (os.path.normpath(os.path.join(here, name)) in places or any(("/" + file).endswith("/" + name) for file in places)):
            faults.append(f"{doc}: there is no {name}")
for file in files:
    if file.endswith((".md", ".c", ".h", ".cpp", ".hpp", ".pl", ".pm", ".sql", ".sh")) and not file.startswith(("build/", "bench/cache/", "results/")):
        for name in re.findall(r"\bsrc/(?:pg|core)/[\w/]+\.(?:c|h|cpp|hpp|md)\b", open(file, encoding="utf-8").read()):
            if name not in places:
                faults.append(f"{file}: there is no {name}")
print("\n".join(faults))
sys.exit(len(faults) > 0)
PYTHON
