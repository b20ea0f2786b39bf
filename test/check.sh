#!/bin/bash
# check.sh: every test, on a bare Debian 12, as root or as an ordinary user.  Last line: N passed, N failed.
#
# usage: [PG_CONFIG=...] test/check.sh [STEP...]     steps: tools unit regress isolation tap bench (default: all)
#
# Installs Debian packages when they are missing, copies the tree into a temporary folder, builds it there with warnings
# as errors, and tests it in a PostgreSQL of its own: Debian's, or a copy of the one that PG_CONFIG belongs to.  Servers, and
# what talks to them, run as user postgres when we are root.  Each step has a time limit; what a failing step said is printed
# before the count.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tools/setup.sh
. "$ROOT/test/tools/setup.sh"

STEPS=" ${*:-tools unit regress isolation tap bench} "
PASSED=0
FAILED=0
phnsw_packages "${PG_PACKAGES[@]}" gcc g++ make cmake libc6-dev libgtest-dev \
	clang-format libipc-run-perl libpq-dev libopenblas0-pthread perl python3 python3-numpy procps binutils
phnsw_workplace
phnsw_stage
phnsw_private_postgres
SRC=$WORK/src

wanted() {
	[[ $STEPS == *" $1 "* ]]
}

# step NAME SECONDS COUNTER CMD...: runs, counts, shows the log when something failed.
step() {
	local name=$1 limit=$2 counter=$3 log=$WORK/step.log rc=0 passed failed started=$SECONDS
	shift 3
	timeout --kill-after=20 "$limit" "$@" >"$log" 2>&1 </dev/null || rc=$?
	read -r passed failed < <("$counter" <"$log") || true
	((rc == 0)) || ((failed > 0)) || failed=1
	((passed + failed > 0)) || passed=1
	PASSED=$((PASSED + passed))
	FAILED=$((FAILED + failed))
	if ((failed > 0)); then
		echo "---- $name: what it said last"
		tail -n 150 "$log"
		((rc != 124)) || echo "$name: stopped after $limit s"
	fi
	printf '%-28s %5d passed %5d failed %5d s\n' "$name" "$passed" "$failed" $((SECONDS - started))
}

# Counters: output of a test on stdin, "passed failed" on stdout.
count_none() { echo 0 0; }
count_gtest() {
	awk '{ sub(/^[0-9]+: /, "") }
	     /^\[  PASSED  \] [0-9]+ test/ { passed += $4 }
	     /^\[  FAILED  \] [0-9]+ test.*listed below/ { failed += $4 }
	     /^ *[0-9]+\/[0-9]+ Test.*capi.* Passed/ { passed++ }
	     END { print passed + 0, failed + 0 }'
}
count_regress() {
	# The second form is that of PostgreSQL 16 and newer.
	awk '/^(test| +)[^:]*\.\.\. +ok/ || /^ok [0-9]/ { passed++ }
	     /^(test| +)[^:]*\.\.\. +FAILED/ || /^not ok [0-9]/ { failed++ }
	     END { print passed + 0, failed + 0 }'
}
count_tap() {
	awk '/^ok [0-9]/ { passed++ } /^not ok [0-9]/ { failed++ } END { print passed + 0, failed + 0 }'
}

build_extension() {
	make -C "$SRC" -j"$(nproc)" PG_CONFIG="$PG_CONFIG" && make -C "$SRC" PG_CONFIG="$PG_CONFIG" install || return
	# The test of pgvector's names wants them installed; where pgvector itself is, that is refused and the test skipped.
	make -C "$SRC" PG_CONFIG="$PG_CONFIG" install-vector ||
		grep -q 'ivfflat' "$("$PG_CONFIG" --sharedir)/extension/vector.control"
}
build_unit() { # [TARGET]
	cmake -S "$SRC" -B "$WORK/unit" -DCMAKE_BUILD_TYPE=RelWithDebInfo && cmake --build "$WORK/unit" -j"$(nproc)" ${1:+--target "$1"}
}
run_unit() { # LEVEL
	ctest --test-dir "$WORK/unit" -V --timeout 600 -R "^$1\$"
}
# Levels that this machine can run: a test that forces another one could only be skipped.
simd_levels() {
	echo scalar
	! grep -qw avx2 /proc/cpuinfo || echo avx2
	! grep -qw avx_vnni /proc/cpuinfo || echo avxvnni
	! grep -qw avx512_vnni /proc/cpuinfo || echo avx512
}
run_regress() { # TARGET-VARIABLES...
	as_server make -C "$SRC" PG_CONFIG="$PG_CONFIG" "$@" installcheck TAP_TESTS= || {
		local rc=$?
		cat "$SRC"/regression.diffs "$SRC"/output_iso/regression.diffs 2>/dev/null
		return "$rc"
	}
}
run_tap() { # FILE
	local pgxs
	pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")
	cd "$SRC"
	# Without prove, which keeps what a test says until the end: one that its time limit stops is seen as far as it came.
	trap : TERM
	as_server env PATH="$PG_BIN:$PATH" TESTDIR="$WORK/tap" TESTDATADIR="$WORK/tap/tmp_check" \
		TESTLOGDIR="$WORK/tap/tmp_check/log" top_builddir="$WORK/tap" \
		PG_REGRESS="$pgxs/../test/regress/pg_regress" PGHOST= PGPORT=54330 \
		perl -I "$pgxs/../test/perl" "$1" || {
		local rc=$?
		tail -n 60 "$WORK"/tap/tmp_check/log/*"$(basename "$1" .pl)"* 2>/dev/null
		return "$rc"
	}
}
# `timeout` runs programs, not functions: they come back through this script's environment.
export SRC WORK PG_CONFIG PG_BIN SERVER_USER
export -f build_extension build_unit run_unit run_regress run_tap as_server

echo "phnsw: tests with $("$PG_CONFIG" --version), $(gcc --version | head -n 1), $(nproc) cores"
step "build of the extension" 1800 count_none bash -ec build_extension
if ((FAILED == 0)) && wanted unit; then
	step "build of core and unit tests" 1800 count_none bash -ec build_unit
elif ((FAILED == 0)) && wanted tools; then
	step "build of the core" 1800 count_none bash -ec "build_unit phnsw_core"
fi
if ((FAILED == 0)); then
	if wanted tools; then
		step "layers" 180 count_none "$SRC/test/tools/check-layers.sh" "$SRC"
		step "symbols" 60 count_none "$SRC/test/tools/check-symbols.sh" "$WORK/unit/libphnsw_core.a" "$SRC/phnsw.so" "$PG_BIN/postgres"
		step "prefetches" 60 count_none "$SRC/test/tools/check-prefetch.sh" "$SRC"
		step "format" 120 count_none "$SRC/test/tools/check-format.sh" "$SRC"
		step "headers" 600 count_none "$SRC/test/tools/check-headers.sh" "$SRC"
		step "documentation's examples" 60 count_none "$SRC/test/tools/check-docs.sh" "$SRC"
		step "scripts" 60 count_none "$SRC/test/tools/check-scripts.sh" "$SRC"
	fi
	if wanted unit; then
		for level in $(simd_levels); do
			step "unit tests, $level" 600 count_gtest bash -ec "run_unit unit_$level"
		done
		step "C interface from C" 60 count_gtest bash -ec "run_unit capi"
	fi
	if ((EUID == 0)); then
		chown -R "$SERVER_USER": "$SRC"
	fi
	if wanted regress || wanted isolation; then
		phnsw_server_start data "shared_buffers = '128MB'" "fsync = off" "autovacuum = off" "max_prepared_transactions = 10"
		! wanted regress || step "regression tests" 600 count_regress bash -ec "run_regress ISOLATION="
		! wanted isolation || step "isolation tests" 600 count_regress bash -ec "run_regress REGRESS="
		phnsw_server_stop
		unset PGHOST PGPORT PGUSER PGDATABASE
	fi
	! wanted bench || step "benchmarks, smoke run" 300 count_none env PHNSW_INSTALLED=1 "$SRC/test/tools/check-bench.sh" "$SRC"
	if wanted tap; then
		install -d -o "$SERVER_USER" "$WORK/tap"
		for file in "$SRC"/test/t/*.pl; do
			[[ -e $file ]] || continue
			step "${file##*/}" 600 count_tap bash -ec "run_tap test/t/${file##*/}"
		done
	fi
fi
echo "$PASSED passed, $FAILED failed"
((FAILED == 0))
