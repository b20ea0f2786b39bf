# wal_level = minimal.  What a transaction does to an index that it has created itself, or that is on a table
# of its own, is not logged; at commit the pages go to disk, or into WAL when they are few
# (wal_skip_threshold).  Each case ends with a crash, both ways: bulk build, inserts one by one, merges,
# vacuum's hand on it afterwards, savepoints, TRUNCATE and REINDEX in place.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $node = bulk_node('minimal', 'autovacuum = off', 'wal_level = minimal', 'max_wal_senders = 0', 'max_parallel_maintenance_workers = 1',
	'checkpoint_timeout = 1h', 'max_prepared_transactions = 2');

sub table
{
	my ($t) = @_;

	return "CREATE TABLE $t (id int, v vector(8));";
}

sub create
{
	my ($t) = @_;

	return "CREATE INDEX ${t}_v ON $t USING phnsw (v);";
}

# Name, statements before the transaction, statements in it, rows afterwards.
my @cases = (
	[ 'all_new', '', sub { table($_[0]) . rows($_[0], 1, 2000) . create($_[0]) }, 2000 ],
	[ 'old_table', sub { table($_[0]) . rows($_[0], 1, 2000) }, \&create, 2000 ],
	[ 'one_by_one', '', sub { table($_[0]) . rows($_[0], 1, 400) . create($_[0]) . 'SET LOCAL phnsw.merge_threshold = 1000000;'
		. rows($_[0], 401, 600) }, 600 ],
	[ 'from_empty', '', sub { table($_[0]) . create($_[0]) . rows($_[0], 1, 20) . "SELECT phnsw_check('$_[0]_v');" . rows($_[0], 21, 50) }, 50 ],
	[ 'merged', '', sub { table($_[0]) . rows($_[0], 1, 2000) . create($_[0]) . 'SET LOCAL phnsw.merge_threshold = 1;'
		. join('', map { rows($_[0], 2001 + 100 * $_, 2100 + 100 * $_) . "SELECT phnsw_check('$_[0]_v');" } 0 .. 4) }, 2500 ],
	[ 'truncated', sub { table($_[0]) . rows($_[0], 1, 1000) . create($_[0]) }, sub { "TRUNCATE $_[0];" . rows($_[0], 1, 1500) }, 1500 ],
	[ 'reindexed', sub { table($_[0]) . rows($_[0], 1, 1000) . create($_[0]) },
		sub { rows($_[0], 1001, 1400) . "REINDEX INDEX $_[0]_v;" . rows($_[0], 1401, 1800) }, 1800 ],
	[ 'rewritten', sub { table($_[0]) . rows($_[0], 1, 1000) . create($_[0]) }, sub { "ALTER TABLE $_[0] ADD x float DEFAULT random();"
		. "INSERT INTO $_[0] (id, v) SELECT id + 1000, v FROM $_[0];" }, 2000 ],
	[ 'undone', '', sub { table($_[0]) . rows($_[0], 1, 700) . 'SAVEPOINT a;' . create($_[0]) . rows($_[0], 701, 1400) . 'ROLLBACK TO a;'
		. create($_[0]) . 'SAVEPOINT b;' . rows($_[0], 701, 1000) . 'RELEASE b; SAVEPOINT c;' . rows($_[0], 1001, 1400) . 'ROLLBACK TO c;' }, 1000 ],
	[ 'undone_truncate', sub { table($_[0]) . rows($_[0], 1, 900) . create($_[0]) },
		sub { "SAVEPOINT a; TRUNCATE $_[0];" . rows($_[0], 1, 600) . 'ROLLBACK TO a;' . rows($_[0], 901, 1300) }, 1300 ],
	[ 'made_logged', sub { table($_[0]) =~ s/CREATE/CREATE UNLOGGED/r . rows($_[0], 1, 900) . create($_[0]) },
		sub { "ALTER TABLE $_[0] SET LOGGED;" . rows($_[0], 901, 1300) }, 1300 ]);

# Every page to disk at commit; every page into WAL.
foreach my $threshold (0, 1000000)
{
	foreach my $case (@cases)
	{
		my ($name, $before, $in, $n) = @$case;
		my $t = "${name}_$threshold";

		run($before->($t)) if $before;
		run('CHECKPOINT') if $before;
		run("SET wal_skip_threshold = $threshold; BEGIN;" . $in->($t) . 'COMMIT');
	}
	# An ordinary transaction afterwards is logged, also in pages that were not.
	run(rows("all_new_$threshold", 2001, 2100) . "DELETE FROM all_new_$threshold WHERE id % 7 = 0; VACUUM all_new_$threshold;");
	$node->stop('immediate');
	$node->start;
	foreach my $case (@cases)
	{
		my ($name, $before, $in, $n) = @$case;

		$n = 1800 if $name eq 'all_new';
		complete("${name}_$threshold", $n, "$name, wal_skip_threshold = $threshold, crash");
		run(rows("${name}_$threshold", 90001, 90100)) unless $name eq 'rewritten';
	}
	$node->stop('immediate');
	$node->start;
	complete("merged_$threshold", 2600, 'rows after the crash, another crash');
}
$node->stop;
done_testing();
