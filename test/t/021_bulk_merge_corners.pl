# Every corner of a bulk insert in one session, with indexes that have nodes: the merge instead of the bulk build.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

# The framework has to be loaded before: it does not like to be compiled late.
$ENV{PHNSW_TEST_FILLED} = 400;
my $test = "$FindBin::RealBin/010_bulk_insert.pl";
defined(do $test) or die $@ || $!;
