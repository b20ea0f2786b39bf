# Bulk insert: what else a transaction may do, with indexes that have nodes: the merge instead of the bulk build.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

# The framework has to be loaded before: it does not like to be compiled late.
$ENV{PHNSW_TEST_FILLED} = 400;
my $test = "$FindBin::RealBin/039_bulk_statements.pl";
defined(do $test) or die $@ || $!;
