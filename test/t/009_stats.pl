# Statistics of the whole server: where the postmaster loads the library, counts of all sessions
# come together, whoever asks.  Sessions with and without transactions, that end by themselves, by
# an error and by being terminated; autovacuum; who may see and reset.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

my $node = new_node('stats', "shared_preload_libraries = 'phnsw'", 'autovacuum_naptime = 1', 'restart_after_crash = on');
my $random = random_vectors_sql(8, 'i');
my $scan = "SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 1";

sub run
{
	return $node->safe_psql('postgres', shift);
}

sub stats
{
	my ($columns, $index) = @_;
	return run("SELECT $columns FROM phnsw_stats WHERE index = '" . ($index // 't_v') . "'::regclass");
}

# A session that ends goes on for a moment after its client has gone.
sub becomes
{
	my ($columns, $value, $what) = @_;

	wait_until(30, sub { stats($columns) eq $value });
	is(stats($columns), $value, $what);
	return;
}

run("CREATE TABLE t (id int, v vector(8)) WITH (autovacuum_enabled = off);
	CREATE INDEX t_v ON t USING phnsw (v);
	INSERT INTO t SELECT i, $random FROM generate_series(1, 600) i;
	INSERT INTO t SELECT i, $random FROM generate_series(601, 610) i");
becomes('scope, scans, inserts, inserts_bulk, bulk_flushes', 'server|0|10|600|1', 'a session that has ended is counted');

run($scan) foreach 1 .. 3;
is(stats('scans, sweeps'), '3|3', 'so are three with a scan each');

# Another session, still connected: its first transaction is sent at once, what follows within a second later on.
my $other = $node->background_psql('postgres');
$other->query_safe($scan);
is(stats('scans'), 4, 'the first transaction of a session is counted when it ends');
$other->query_safe($scan) foreach 1 .. 5;
$other->quit;
becomes('scans', 9, 'all are when the session ends');

$node->psql('postgres', "$scan; SELECT pg_terminate_backend(pg_backend_pid())");
becomes('scans', 10, 'a session that was terminated is counted');
my ($result, $out, $err) = $node->psql('postgres', "BEGIN; SET enable_seqscan = off;
	SELECT 1 / (id - id) FROM t ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 1");
like($err, qr/division by zero/, 'a scan fails');
becomes('scans', 11, 'a scan that an error ended is counted');

# The work of another process.
run('DELETE FROM t WHERE id <= 300; ALTER TABLE t SET (autovacuum_enabled = on, autovacuum_vacuum_threshold = 0,
	autovacuum_vacuum_scale_factor = 0, vacuum_index_cleanup = on)');
becomes('rows_removed, nodes_freed, vacuums > 0', '300|300|t', 'autovacuum is counted');

# Another database has statistics of its own, even for an index of the same OID.
run('CREATE DATABASE twin TEMPLATE postgres');
is($node->safe_psql('twin', "SELECT count(*) FROM phnsw_stats"), 0, 'a copied database starts from nothing');

# Who may what.
run("CREATE ROLE owner; CREATE ROLE somebody; CREATE ROLE watcher IN ROLE pg_read_all_stats; ALTER TABLE t OWNER TO owner");
is(run("SET ROLE owner; SELECT count(*) FROM phnsw_stats"), 1, 'the owner sees the index');
is(run("SET ROLE watcher; SELECT count(*) FROM phnsw_stats"), 1, 'pg_read_all_stats does');
is(run("SET ROLE somebody; SELECT count(*) FROM phnsw_stats"), 0, 'somebody else does not');
foreach my $case ([ 'watcher', "'t_v'", qr/must be owner of index t_v/ ], [ 'owner', '', qr/permission denied to reset/ ])
{
	my ($role, $what, $message) = @$case;
	(undef, undef, $err) = $node->psql('postgres', "SET ROLE $role; SELECT phnsw_stats_reset($what)");
	like($err, $message, "$role may not reset ($what)");
}
run("SET ROLE owner; SELECT phnsw_stats_reset('t_v')");
is(stats('scans'), '', 'the owner has reset the index');
run($scan);
is(stats('scans'), 1, 'and counting begins anew');
run('SELECT phnsw_stats_reset()');
is(run('SELECT count(*) FROM phnsw_stats'), 0, 'a superuser has reset everything');

# There is room for 1,000 indexes: who was not used for longest makes room.
run($scan);
run(q{DO $$
	BEGIN
		FOR i IN 1 .. 1001 LOOP
			EXECUTE format('CREATE TABLE s%1$s (v vector(2)); CREATE INDEX s%1$s_v ON s%1$s USING phnsw (v); INSERT INTO s%1$s VALUES (''[1,2]'')', i);
			COMMIT;
		END LOOP;
	END $$});
ok(wait_until(30, sub { stats('inserts', 's1001_v') eq '1' }), 'the last of 1,001 indexes is counted');
is(run('SELECT count(*) FROM phnsw_stats'), 1000, '1,000 of them are');
is(stats('scans'), '', 'not the one that was there before');
run($scan);
is(stats('scans'), 1, 'which comes back when it is used');
is(run('SELECT count(*) FROM phnsw_stats'), 1000, 'and takes the place of another');

# A crash of a backend, which makes the postmaster begin again with shared memory.
run($scan);
$node->stop('immediate');
$node->start;
is(run('SELECT count(*) FROM phnsw_stats'), 0, 'counts begin at zero with the server');
run($scan);
is(stats('scans'), 1, 'and go on');
check_index($node, 't_v', 'at the end');
$node->stop;

done_testing();
