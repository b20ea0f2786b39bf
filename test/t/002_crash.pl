# Crash safety of inserts.  Three clients insert; then a backend, or the postmaster, gets SIGKILL at a random moment, or
# the server stops without a checkpoint.  After recovery: the checker finds nothing, a scan of the whole index returns
# exactly the rows of the table, and (almost) every row is its own nearest neighbour.  The server compares every page
# that it replays with the page that was logged (wal_consistency_checking).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use Test::More;

seed_from_env();
my $node = new_node('crash', 'restart_after_crash = on', 'fsync = on', "wal_consistency_checking = 'generic'");
my $data = $node->data_dir;
my $random = random_vectors_sql(24, 'i');

$node->safe_psql('postgres', qq{
	CREATE TABLE t (id bigserial PRIMARY KEY, v vector(24));
	INSERT INTO t (v) SELECT $random FROM generate_series(1, 1000) i;
	CREATE INDEX t_v ON t USING phnsw (v)});

# Every tenth statement inserts the vector of an existing row, so that chains of TIDs are hit as well.
my $script = PostgreSQL::Test::Utils::tempdir() . '/insert.sql';
PostgreSQL::Test::Utils::append_to_file($script, join("\n",
	'\set kind random(1, 10)',
	'\set other random(1, 1000)',
	'\if :kind = 1',
	'INSERT INTO t (v) SELECT v FROM t WHERE id = :other;',
	'\else',
	"INSERT INTO t (v) SELECT $random FROM generate_series(1, 1 + :kind % 3) i;",
	'\endif', ''));

foreach my $round (1 .. 6)
{
	my $how = ('backend killed', 'postmaster killed', 'immediate stop')[ $round % 3 ];
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM t');
	my ($postmaster) = split /\n/, PostgreSQL::Test::Utils::slurp_file("$data/postmaster.pid");
	my $pgbench = IPC::Run::start(
		[ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 3, '-T', 30, '-f', $script, 'postgres' ],
		'>', \my $out, '2>', \my $err);

	wait_until(20, sub { $node->safe_psql('postgres', 'SELECT count(*) FROM t') > $before + 20 });
	select(undef, undef, undef, rand(0.8));
	if ($how eq 'backend killed')
	{
		my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t%' AND pid <> pg_backend_pid() LIMIT 1");
		kill 'KILL', $pid;
	}
	elsif ($how eq 'postmaster killed')
	{
		$node->kill9;
	}
	else
	{
		$node->stop('immediate');
	}
	$pgbench->finish;

	if ($how eq 'backend killed')
	{
		ok(wait_until(60, sub { server_answers($node) }), "round $round: the server came back");
	}
	else
	{
		# A killed postmaster, and its children until they notice, hold the lock
		# file and the shared memory for a moment.
		wait_until(30, sub { !kill(0, $postmaster) && !grep { (readlink($_) // '') eq $data } glob('/proc/[0-9]*/cwd') });
		$node->start;
	}

	my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM t');
	cmp_ok($rows, '>', $before, "round $round, $how: rows were committed");
	check_index($node, 't_v', "round $round, $how");
	is(count_through_index($node, 't', 'v', '<->', '(SELECT v FROM t WHERE id = 1)'),
		$rows, "round $round, $how: the index returns every row");
	my $lost = $node->safe_psql('postgres', q{
		SET enable_seqscan = off;
		SELECT count(*) FROM (SELECT * FROM t ORDER BY id DESC LIMIT 300) q
		WHERE (SELECT t.v <-> q.v FROM t ORDER BY t.v <-> q.v LIMIT 1) <> 0});
	cmp_ok($lost, '<=', 6, "round $round, $how: the last rows are their own nearest neighbours");
}

$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 4 = 0');
$node->safe_psql('postgres', 'VACUUM t');
check_index($node, 't_v', 'after vacuum');
is(count_through_index($node, 't', 'v', '<->', '(SELECT v FROM t WHERE id = 1)'),
	$node->safe_psql('postgres', 'SELECT count(*) FROM t'), 'the index returns every row after vacuum');

$node->stop;
done_testing();
