# A backend dies behind each WAL record of an insert, of a bulk insert and of a vacuum: every state that a crash can
# leave an index in.  After recovery the checker finds nothing, a scan of the whole index returns exactly the rows of
# the table, and vacuum puts right what was left half-done, so that every node can be reached again.
#
# phnsw.test_point = 'crash record N' (src/pg/testpoint.c): the statement's N-th record of an index is on
# disk, nothing after it.  N counts up until the statement gets through.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use Test::More;

my $node = new_node('crash_points', 'restart_after_crash = on', 'autovacuum = off');
my $query = "'[0.5,0.5,0.5,0.5]'::vector";

sub run
{
	return $node->safe_psql('postgres', shift);
}

# Runs a statement that is to die behind its N-th record; true when it did.
sub dies
{
	my ($n, $statement) = @_;
	my $log = -s $node->logfile;
	my $died = !IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ],
		'<', \"SET phnsw.test_point = 'crash record $n';\n$statement;\n", '>', \my $out, '2>', \my $err);

	return 0 if !$died;
	like($err, qr/terminated|server closed the connection/, "record $n: the backend died, and nothing else went wrong");
	$node->wait_for_log(qr/database system is ready to accept connections/, $log);
	return 1;
}

# All is well with the index but for what a vacuum repairs; and with $strict, with that too.
sub examine
{
	my ($what, $strict) = @_;
	my $rows = run('SELECT concat_ws(chr(32), count(*), sum(id)) FROM t');
	my $found = run("SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order;
		SELECT concat_ws(chr(32), count(*), sum(id)) FROM (SELECT id FROM t ORDER BY v <-> $query OFFSET 0) s");

	run("SELECT phnsw_check('t_v', true, $strict)");
	is($found, $rows, "$what: the index returns every row");
	return;
}

# Every state between two records of $statement.  $prepare makes table t and its index, before each try if $afresh.
sub every_record
{
	my ($what, $prepare, $statement, $afresh, $at_least) = @_;
	my $n = 1;

	run($prepare);
	while (dies($n, $statement))
	{
		examine("$what, record $n", 'false');
		run('VACUUM (INDEX_CLEANUP ON) t');
		examine("$what, record $n, vacuumed", 'true');
		run($prepare) if $afresh;
		$n++;
	}
	cmp_ok($n, '>', $at_least, "$what: died behind " . ($n - 1) . ' records');
	examine("$what, in the end", 'true');
	run('VACUUM (INDEX_CLEANUP ON) t');
	examine("$what, in the end, vacuumed", 'true');
	return;
}

my $vector = 'ARRAY[(i * 7 % 31) / 31.0, (i * 11 % 29) / 29.0, (i * 13 % 23) / 23.0, (i * 17 % 19) / 19.0]::vector';
my $table = 'SET client_min_messages = warning; DROP TABLE IF EXISTS t; CREATE TABLE t (id int, v vector(4));';
my $filled = "$table INSERT INTO t SELECT i, $vector FROM generate_series(1, 300) i;
	CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 2);";

# With m = 2 every other node has upper levels; a node that is the highest so far becomes the entry point.
every_record('insert', $filled, "INSERT INTO t SELECT i, $vector FROM generate_series(1001, 1004) i", 0, 8);

# Rows that share a node, so that TIDs go into a slot first and then into a chain of aux records.
every_record('equal rows', $filled, "INSERT INTO t SELECT 2000 + i, '[0.1,0.2,0.3,0.4]' FROM generate_series(1, 6) i", 0, 5);

# The first rows of an index: one by one, and by a bulk build when the transaction commits.
every_record('first rows', "$table CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 2);",
	"INSERT INTO t SELECT i, $vector FROM generate_series(1, 4) i", 1, 5);
every_record('bulk insert', "$table CREATE INDEX t_v ON t USING phnsw (v);",
	"INSERT INTO t SELECT i, $vector FROM generate_series(1, 400) i", 1, 3);

# Many rows into a filled index, merged with it when the transaction commits.
every_record('merged rows', $filled,
	"SET phnsw.merge_threshold = 10; INSERT INTO t SELECT i, $vector + '[0.01,0,0,0]' FROM generate_series(3001, 3015) i", 1, 3);

# A vacuum that empties slots and chains, replaces the entry point, and links what nothing leads to any more.
every_record('vacuum', "$filled
	INSERT INTO t SELECT 2000 + i, '[0.1,0.2,0.3,0.4]' FROM generate_series(1, 40) i;
	DELETE FROM t WHERE id % 4 <> 0;", 'VACUUM (INDEX_CLEANUP ON) t', 1, 10);
# Everything dies.
every_record('vacuum of everything', "$filled DELETE FROM t;", 'VACUUM (INDEX_CLEANUP ON) t', 1, 5);

$node->stop;
done_testing();
