#!/bin/bash
# sanitize.sh: the unit tests of the core under sanitizers: `address` (and undefined) with gcc, `thread` with clang.
# usage: test/tools/sanitize.sh [KIND [ARGUMENT-OF-GOOGLETEST...]]     default: both kinds, every test
#
# Builds into build/address and build/thread.  Takes a quarter of an hour on two cores, so it is no step of check.sh: run it after
# changes of what threads share or of what is allocated.  Data races are told by clang and its OpenMP runtime only (packages clang,
# libomp-dev): that one reports its regions and barriers to the sanitizer, with gcc's every job of a team looks like a race.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

sanitize() { # KIND [ARGUMENT...]
	local kind=$1 options=("-DPHNSW_SANITIZE=address,undefined")

	shift
	[[ $kind != thread ]] || options=(-DPHNSW_SANITIZE=thread -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++)
	cmake -S . -B "build/$kind" -DCMAKE_BUILD_TYPE=RelWithDebInfo "${options[@]}"
	cmake --build "build/$kind" -j"$(nproc)" --target phnsw_unit phnsw_capi_test
	# oom_test.cpp replaces operator new, but for new(nothrow), which is the sanitizer's then.  The OpenMP runtime is not compiled for the
	# thread sanitizer: what it does itself is its own affair.
	export ASAN_OPTIONS=alloc_dealloc_mismatch=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=ignore_noninstrumented_modules=1
	# These two know how many addresses there are, and count the process's memory: the thread sanitizer takes of both.
	[[ $kind != thread ]] || set -- --gtest_filter=-Arena.GrowsInPlaceFromMemoryIntoTheFile:Build.StaysWithinItsMemory "$@"
	"build/$kind/phnsw_capi_test"
	"build/$kind/phnsw_unit" "$@"
}

case ${1:-} in
	'') sanitize address && sanitize thread ;;
	address | thread) sanitize "$@" ;;
	*) echo "usage: sanitize.sh [address|thread [ARGUMENT...]]" >&2 && exit 2 ;;
esac
