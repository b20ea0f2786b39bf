#!/bin/bash
# figures.sh: everything that docs/figures.md shows, the most important first, into bench/results; then the plots.
#
# usage: bench/figures.sh [--budget SECONDS] [--fresh] [--peers NAME,NAME] [OPTIONS OF run.sh...]
#
# Peers are hnswlib and pgvector (PG_CONFIG names a PostgreSQL that has the extension vector, see README.md).  About 30 minutes on
# two cores without a budget, two thirds of them pgvector's builds, inserts and vacuums.  What bench/results has already, of the
# same commit and options, is not measured again (--fresh: it is), so the same command goes on where it was stopped.  Nothing
# else should run.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../test/tools/setup.sh
. "$ROOT/test/tools/setup.sh"
# shellcheck source=steps.sh
. "$ROOT/bench/steps.sh"
# shellcheck disable=SC2034 # steps.sh reads them
budget=0 fresh=0 peers=hnswlib,pgvector pass=() own=
steps_options "$@"

steps_begin
# Seconds on two cores with AVX-512, of the run alone.
step 170 glove100 --repeat 1 --seconds 1
step 80 synth:100000:768 --repeat 1 --seconds 1
step 75 fashion784 --repeat 1 --seconds 1
step 100 glosses512 --only build,search --repeat 1 --seconds 1
# Single rows of several clients differ by a tenth from run to run.
step 260 glove100 --rows 100000 --only insert --repeat 3 --batches 100,500
step 250 glove100 --rows 100000 --only mixed,copy,update,vacuum --repeat 1
step 110 glove100 --only insert --repeat 1 --write-clients 1 --batches 100
step 150 synth:100000:768 --only insert --repeat 3 --write-clients 1 --batches 100
step 60 synth:100000:128 --only cold,filter --repeat 1 --seconds 1
peers='' step 20 synth:100000:128 --only copy --repeat 1
step 330 synth:1000000:128 --repeat 1 --seconds 1 --ef 10,40,160
step 250 glove100 --only vacuum --repeat 1
# Twenty vacuums of pgvector would take a quarter of an hour.
peers='' step 90 glove100 --rows 100000 --only vacuum --cycles 20 --repeat 1
"$ROOT/bench/plot.py"
steps_end
