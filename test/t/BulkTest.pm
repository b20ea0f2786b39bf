# BulkTest: tables, rows and the final comparison of the tests of bulk insert (011, 012).

package BulkTest;

use strict;
use warnings;

use Exporter 'import';
use PhnswTest;
use Test::More;

our @EXPORT = qw(bulk_node run rows fresh complete $random $query);

our $random = random_vectors_sql(8, 'i');
our $query = "'[1,0,0,0,0,0,0,0]'";

# The node that run() and complete() mean.
my $node;

sub bulk_node
{
	$node = new_node(@_);
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

	return "CREATE TABLE $table (id int, v vector(8)); CREATE INDEX ${table}_v ON $table USING phnsw (v);";
}

# The table has as many rows as expected, the index returns each of them, and the nearest are those of a sequential scan.
sub complete
{
	my ($table, $expected, $what, $where) = @_;

	$where //= $node;
	is($where->safe_psql('postgres', "SELECT count(*) FROM $table"), $expected, "$what: rows of the table");
	is(count_through_index($where, $table, 'v', '<->', $query), $expected, "$what: the index returns every row");
	my $nearest = "SELECT array_agg(d) FROM (SELECT v <-> $query d FROM $table ORDER BY v <-> $query LIMIT 10) x";
	is($where->safe_psql('postgres', "SET phnsw.ef_search = 2000; SET enable_seqscan = off; $nearest"),
		$where->safe_psql('postgres', "SET enable_indexscan = off; $nearest"), "$what: the nearest");
	check_index($where, "${table}_v", $what);
	return;
}

1;
