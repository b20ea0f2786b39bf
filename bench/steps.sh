# shellcheck shell=bash
# steps.sh: what sweep.sh and figures.sh share: many bench/run.sh, one after the other.  Sourced, never run.
#
#   steps_options ARGUMENTS...  sets what the caller sets below, $NAME for each --NAME VALUE that it lists in $own, calls
#                                 option_NAME for --NAME where it has such a function; all else goes into $pass
#   steps_begin                   builds phnsw once, for all runs (not when PHNSW_INSTALLED says that PG_CONFIG's server has it)
#   step SECONDS ARGUMENTS...     bench/run.sh ARGUMENTS --save, unless there is a file of it or the budget does not allow it;
#                                 SECONDS: how long it is expected to take
#   steps_end                     says what was left out
#
# A step is done when $PHNSW_RESULTS (default: bench/results) has a file of the same commit and command line, so the same command
# goes on where it was stopped.  --fresh measures again.  With --budget no step starts that is expected to pass it.
#
# The caller sources test/tools/setup.sh first and sets: budget (seconds, 0: none), fresh (1: do not look for files), pass
# (arguments for every step), peers (names, with commas), own (names of options).
# shellcheck disable=SC2154

STEPS_DONE=0 STEPS_FOUND=0 STEPS_LEFT=0

option_fresh() {
	fresh=1
}

steps_options() {
	local name
	while (($#)); do
		name=${1#--} name=${name//-/_}
		if [[ $1 == --help || $1 == -h ]]; then
			sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
			exit 0
		elif [[ $1 == --* && " budget peers $own " == *" $name "* ]]; then
			(($# > 1)) || die "$1 wants a value"
			printf -v "$name" %s "$2"
			shift 2
		elif [[ $1 == --* ]] && declare -F "option_$name" >/dev/null; then
			"option_$name"
			shift
		else
			pass+=("$1")
			shift
		fi
	done
}

steps_begin() {
	phnsw_packages "${PG_PACKAGES[@]}" gcc g++ make libc6-dev git
	phnsw_workplace
	phnsw_stage
	phnsw_private_postgres
	[[ -n ${PHNSW_INSTALLED:-} ]] || phnsw_build_install || die "the build failed"
	export PHNSW_INSTALLED=1 PHNSW_CLIENTS=$WORK/programs
	mkdir "$PHNSW_CLIENTS"
	STEPS_COMMIT=$(PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/bench/report.py" --commit)
	echo "$(date -u +%T) commit $STEPS_COMMIT, ready after $SECONDS s"
}

steps_found() { # COMMAND-LINE
	local folder=${PHNSW_RESULTS:-$ROOT/bench/results} file
	((!fresh)) || return 1
	for file in "$folder"/*.csv; do
		[[ -e $file ]] || return 1
		if grep -qxF "# commit: $STEPS_COMMIT" "$file" && grep -qxF "# options: $1" "$file"; then
			return 0
		fi
	done
	return 1
}

step() {
	local expected=$1 started=$SECONDS
	local arguments=("${@:2}" --peers "$peers" --save "${pass[@]}")
	if steps_found "${arguments[*]}"; then
		STEPS_FOUND=$((STEPS_FOUND + 1))
	elif ((budget > 0 && SECONDS + expected > budget)); then
		echo "left out, it would take about $expected s: bench/run.sh ${arguments[*]}" >&2
		STEPS_LEFT=$((STEPS_LEFT + 1))
	else
		echo "$(date -u +%T) bench/run.sh ${arguments[*]}"
		"$ROOT/bench/run.sh" "${arguments[@]}"
		echo "took $((SECONDS - started)) s, expected were $expected"
		STEPS_DONE=$((STEPS_DONE + 1))
	fi
}

steps_end() {
	echo "${0##*/}: $SECONDS s, $STEPS_DONE measured, $STEPS_FOUND were there, $STEPS_LEFT left out"
}
