#!/bin/bash
# run.sh: measures phnsw, and its peers in the same run, on one data set.
#
# usage: bench/run.sh DATASET [--rows N] [--only build,search,insert,mixed,copy,update,vacuum,cold,filter]
#                     [--peers hnswlib,faiss,pgvector] [--threads N] [--json] [--save] [--metric l2|ip|cosine] [--k N,N]
#                     [--ef N,N,...] [--target R,R,...] [--repeat N] [--seconds S] [--clients N,N] [--queries N] [--changes N]
#                     [--write-seconds S] [--write-clients N,N] [--batches N,N] [--commits off,on] [--cycles N] [--disk-us N]
#                     [--m N] [--ef-construction N] [--maintenance-work-mem SIZE] [--huge-pages] [--fresh-memory]
#
# DATASET: words20k, glove100, fashion784, glosses512, synth:N:D[:SEED], noise:N:D, file:BASE.fvecs,QUERY.fvecs[,TRUTH.ivecs],
# file:NAME.hdf5.  README.md explains method and output.  pgvector is measured when the PostgreSQL (Debian's, or PG_CONFIG's)
# has its extension `vector`.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../test/tools/setup.sh
. "$ROOT/test/tools/setup.sh"
if (($# == 0)) || [[ $1 == -* ]]; then
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
	exit 2
fi

packages=("${PG_PACKAGES[@]}" libpq-dev gcc g++ make libc6-dev python3 python3-numpy
	libopenblas0-pthread)
[[ " $* " != *hnswlib* ]] || packages+=(libhnswlib-dev)
[[ " $* " != *.hdf5* ]] || packages+=(python3-h5py)
phnsw_packages "${packages[@]}"
# faiss is not in every Debian, and the measurements do not need it.
[[ " $* " != *faiss* ]] || (phnsw_packages libfaiss-dev libblas-dev liblapack-dev) || true
phnsw_workplace
phnsw_stage
phnsw_private_postgres
# test/check.sh and sweep.sh have built and installed it already, in the PostgreSQL that PG_CONFIG names.
[[ -n ${PHNSW_INSTALLED:-} ]] || phnsw_build_install || die "the build failed"

# What measures, compiled once for all runs of sweep.sh and figures.sh (PHNSW_CLIENTS).
programs=${PHNSW_CLIENTS:-$WORK/programs}
mkdir -p "$programs"
compile() { # NAME COMMAND...
	if [[ ! -e $programs/$1 ]]; then
		"${@:2}" -o "$WORK/$1.new" || return 1
		mv "$WORK/$1.new" "$programs/$1"
	fi
	ln -s "$programs/$1" "$WORK/$1"
}
peer() { # NAME LINK-OPTIONS...
	compile "$1_peer" g++ -std=c++17 -O3 -march=native -DNDEBUG -pthread "$WORK/src/bench/peers/$1_peer.cpp" "${@:2}"
}
for client in query_client write_client; do
	compile "$client" gcc -O2 -I/usr/include/postgresql -pthread "$WORK/src/bench/pg/$client.c" -lpq -lm
done
compile slow_disk.so gcc -O2 -shared -fPIC "$WORK/src/bench/pg/slow_disk.c" -ldl
[[ " $* " != *hnswlib* ]] || peer hnswlib
if [[ " $* " == *faiss* ]]; then
	peer faiss -fopenmp -lfaiss -llapack -lblas 2>"$WORK/faiss.log" ||
		echo "run.sh: Debian's faiss is not there or does not compile, it is left out: $(grep -m 1 error "$WORK/faiss.log")" >&2
fi

# The settings of every system in the cluster; bench/README.md lists them.
memory_mb=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
buffers_mb=${PHNSW_BUFFERS_MB:-$((memory_mb / 4 < 8192 ? memory_mb / 4 : 8192))} # PHNSW_BUFFERS_MB: for tests

# Shared memory in huge pages, which the system sets aside meanwhile.
huge_pages() {
	local wanted=$((buffers_mb * 11 / 20 + 64)) # of 2 MB: a tenth more than shared_buffers
	huge_before=$(</proc/sys/vm/nr_hugepages)
	[[ -w /proc/sys/vm/nr_hugepages && $(awk '/^Hugepagesize/ { print $2 }' /proc/meminfo) == 2048 ]] ||
		die "--huge-pages needs root, and pages of 2 MB"
	phnsw_at_exit() { echo "$huge_before" >/proc/sys/vm/nr_hugepages; }
	echo $((huge_before + wanted)) >/proc/sys/vm/nr_hugepages
	(($(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo) >= wanted)) || die "the system has no memory for $wanted huge pages"
}
huge=off
[[ " $* " != *" --huge-pages "* ]] || { huge=on; huge_pages; }

phnsw_server_start data "shared_buffers = '${buffers_mb}MB'" "huge_pages = $huge" "effective_cache_size = '$((memory_mb / 2))MB'" \
	"max_wal_size = '32GB'" "min_wal_size = '4GB'" "checkpoint_timeout = '1d'" "wal_level = replica" "wal_compression = off" \
	"autovacuum = off" "jit = off" "max_connections = 200" "max_worker_processes = 64" "max_parallel_workers = 64" \
	"max_parallel_workers_per_gather = 0" "log_min_messages = fatal"

export BENCH_WORK=$WORK BENCH_ROOT=$ROOT BENCH_DATA=$SERVER_DATA BENCH_SERVER_USER=$SERVER_USER
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$WORK/src/bench/driver.py" "$@"
