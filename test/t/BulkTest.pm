# BulkTest: tables, rows and the final comparison of the tests of bulk insert (010 to 012, 020 to 024, 039 to 041, 043).
#
# With PHNSW_TEST_FILLED in the environment the indexes have so many nodes before anything else happens, and every
# row that can be merged is: the same tests then are those of the merge.

package BulkTest;

use strict;
use warnings;

use Exporter 'import';
use PhnswTest;
use Test::More;

our @EXPORT = qw(bulk_node bulk_settings run rows fresh prefill prefilled filled complete $random $query);

our $random = random_vectors_sql(8, 'i');
our $query = "'[1,0,0,0,0,0,0,0]'";

# The node that run() and complete() mean.
my $node;

my $filled = $ENV{PHNSW_TEST_FILLED} // 0;

sub filled
{
	return $filled;
}

# Settings that a node of such a test needs.
sub bulk_settings
{
	return $filled ? ('phnsw.merge_threshold = 1') : ();
}

# Statements that put rows into a new table, which nobody counts: their ids are below -900000.
sub prefill
{
	my ($table) = @_;

	return $filled ? "INSERT INTO $table SELECT -1000000 - i, $random FROM generate_series(1, $filled) i;" : '';
}

# How many of them are still there.
sub prefilled
{
	my ($where, $table) = @_;

	return $where->safe_psql('postgres', "SELECT count(*) FROM $table WHERE id < -900000");
}

sub bulk_node
{
	$node = new_node(@_, bulk_settings());
	return $node;
}

sub run
{
	return $node->safe_psql('postgres', shift);
}

# The statement that inserts rows first ... last.
sub rows
{
	my ($table, $first, $last) = @_;

	return "INSERT INTO $table SELECT i, $random FROM generate_series($first, $last) i;";
}

# The statements that make an empty table with its index.
sub fresh
{
	my ($table) = @_;

	return "CREATE TABLE $table (id int, v vector(8));" . prefill($table) . "CREATE INDEX ${table}_v ON $table USING phnsw (v);";
}

# The table has as many rows as expected, the index returns each of them,
# and the nearest are those of a sequential scan.
sub complete
{
	my ($table, $expected, $what, $where) = @_;

	$where //= $node;
	$expected += prefilled($where, $table);
	is($where->safe_psql('postgres', "SELECT count(*) FROM $table"), $expected, "$what: rows of the table");
	is(count_through_index($where, $table, 'v', '<->', $query), $expected, "$what: the index returns every row");
	my $nearest = "SELECT array_agg(d) FROM (SELECT v <-> $query d FROM $table ORDER BY v <-> $query LIMIT 10) x";
	is($where->safe_psql('postgres', "SET phnsw.ef_search = 2000; SET enable_seqscan = off; $nearest"),
		$where->safe_psql('postgres', "SET enable_indexscan = off; $nearest"), "$what: the nearest");
	check_index($where, "${table}_v", $what);
	return;
}

1;
