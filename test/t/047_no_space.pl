# The index's file cannot grow in the midst of a flush, as on a full disk: a limit of the kernel on the
# size of the session's files ends it while a merge writes nodes, at COMMIT or in a savepoint.  The
# statement fails with that error, what was written stays harmless, the transaction says when it cannot go
# on, and the next one can, or this one when all of those rows have been rolled back.  The limit is for
# WAL segments, too: the index is larger than one (16 MB), a page a node.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

use constant ROWS => 2200;

plan skip_all => 'there is no prlimit' if system('prlimit --version > /dev/null 2>&1') != 0;

seed_from_env();
my $node = new_node('no_space', 'autovacuum = off');
my $random = '((' . random_vectors_sql(8, 'i') . ')::real[] || array_fill(0::real, ARRAY[3992]))::vector(4000)';
my $open = qr/cannot go on with rows for index "t_v"/;
my $many = "INSERT INTO t SELECT @{[ROWS]} + i, $random FROM generate_series(1, 100) i;";

sub run
{
	return $node->safe_psql('postgres', shift);
}

sub same_as_table
{
	my ($what) = @_;

	check_index($node, 't_v', $what);
	is(count_through_index($node, 't', 'v', '<->', '(SELECT v FROM t WHERE id = 7)'), run('SELECT count(*) FROM t'), "$what: the index has what the table has");
	return;
}

run("CREATE TABLE t AS SELECT i AS id, $random AS v FROM generate_series(1, @{[ROWS]}) i");
foreach my $where ('COMMIT', 'savepoint', 'rows rolled back')
{
	run("DROP INDEX IF EXISTS t_v; DELETE FROM t WHERE id > @{[ROWS]}");
	run('VACUUM ANALYZE t; CREATE INDEX t_v ON t USING phnsw (v)');
	my $size = run(q{SELECT pg_relation_size('t_v')});
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $limit = sub { system('prlimit', "--pid=$pid", "--fsize=$_[0]:") == 0 or die 'prlimit failed'; };
	my $fails = sub {
		my ($sql, $error, $what) = @_;

		$session->query($sql);
		like($session->{stderr}, $error, "$where: $what");
		$session->{stderr} = '';
	};

	cmp_ok($size, '>', 17 << 20, "$where: the index is larger than a WAL segment");
	$session->query_safe("SET phnsw.merge_threshold = 1; BEGIN; SAVEPOINT rows; $many");
	$session->query_safe("SAVEPOINT more; $many") if $where eq 'rows rolled back';
	$session->query_safe('SAVEPOINT a') if $where ne 'COMMIT';
	$limit->($size + 20 * 8192);
	if ($where eq 'COMMIT')
	{
		$fails->('COMMIT', qr/ERROR:  could not extend file .*File too large/, 'ends with the error of the file');
	}
	else
	{
		# A scan of the index brings the rows into it.
		$fails->('SET LOCAL enable_seqscan = off; SELECT id FROM t ORDER BY v <-> (SELECT v FROM t LIMIT 1) LIMIT 1',
			qr/ERROR:  could not extend file .*File too large/, 'ends with the error of the file');
		$limit->('unlimited');
		$session->query_safe('ROLLBACK TO a');
		if ($where eq 'savepoint')
		{
			$fails->('COMMIT', $open, 'it is open which rows were written');
		}
		else
		{
			# Not when some of them go, but when all do.
			$session->query_safe('ROLLBACK TO more; SAVEPOINT b');
			$fails->(q{SELECT rows FROM phnsw_index_info('t_v')}, $open, 'it is open which rows were written');
			$session->query_safe("ROLLBACK TO rows; $many COMMIT");
		}
	}
	$limit->('unlimited');
	same_as_table("$where, afterwards");
	$session->query_safe($many);
	same_as_table("$where, the same session's next rows");
	$session->quit;
	run('VACUUM t');
	run(q{SELECT phnsw_check('t_v', true, true)});
	same_as_table("$where, after VACUUM");
}

$node->stop;
done_testing();
