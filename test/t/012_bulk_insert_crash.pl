# Bulk insert and crashes, standbys, subscribers: backends are killed before, during and after the
# flush, the server stops after a load that was not logged, others follow.  Afterwards the checker
# passes, and a scan of the index finds exactly the rows of the table.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $node = bulk_node('bulk_crash', 'wal_level = logical', 'restart_after_crash = on', 'autovacuum = off', 'fsync = on',
	'allow_in_place_tablespaces = on');

# Killed while its rows wait, and right after its commit was reported.
foreach my $case ([ 'before the flush', '', 0 ], [ 'after the flush', 'COMMIT;', 20000 ])
{
	my ($when, $end, $left) = @$case;

	run('DROP TABLE IF EXISTS killed;' . fresh('killed'));
	my ($in, $printed, $said) = ("SELECT pg_backend_pid();\nBEGIN;" . rows('killed', 1, 20000) . "$end\n\\echo ready\n", '', '');
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$printed, '2>', \$said,
		IPC::Run::timeout(120));
	$psql->pump until $printed =~ /ready/;
	my ($pid) = $printed =~ /(\d+)/;
	kill 'KILL', $pid;
	$psql->finish;
	ok(wait_until(60, sub { server_answers($node, $pid) }), "killed $when: the server came back");
	complete('killed', $left, "killed $when");
	run(rows('killed', 30001, 30800));
	complete('killed', $left + 800, "killed $when, more rows");
}

# Killed at a random moment before, during or after the flush.
foreach my $round (1 .. 6)
{
	run('DROP TABLE IF EXISTS killed;' . fresh('killed'));
	my ($in, $printed, $said) = ("SELECT pg_backend_pid();\nBEGIN;" . rows('killed', 1, 20000) . "\n\\echo ready\nCOMMIT;\n", '', '');
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$printed, '2>', \$said,
		IPC::Run::timeout(120));
	$psql->pump until $printed =~ /ready/;
	my ($pid) = $printed =~ /(\d+)/;
	run('CHECKPOINT') if $round % 2;
	select(undef, undef, undef, rand(1.2));
	kill 'KILL', $pid;
	$psql->finish;
	ok(wait_until(60, sub { server_answers($node, $pid) }), "round $round: the server came back");
	my $rows = run('SELECT count(*) FROM killed WHERE id > 0');
	ok($rows == 0 || $rows == 20000, "round $round: all or nothing ($rows)");
	complete('killed', $rows, "killed, round $round");
	run(rows('killed', 30001, 30800));
	complete('killed', $rows + 800, "killed, round $round, more rows");
}

# A standby and a subscriber follow, with a reader on the standby while the index turns from empty to full.
run('SELECT 1');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nmax_standby_streaming_delay = -1\n");
$standby->start;
my $subscriber = new_node('subscriber', 'autovacuum = off', bulk_settings());
$subscriber->safe_psql('postgres', fresh('repl') =~ s/INSERT.*?;//r);
run(fresh('repl') . 'CREATE EXTENSION IF NOT EXISTS pageinspect; CREATE PUBLICATION p FOR TABLE repl;' . rows('repl', 1, 700));
my $connstr = $node->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '$connstr' PUBLICATION p");
$subscriber->wait_for_subscription_sync($node, 's');
complete('repl', 700, 'initial copy to a subscriber', $subscriber);
run('BEGIN; TRUNCATE repl;' . rows('repl', 1, 800) . 'COMMIT');
$node->wait_for_catchup('s');
complete('repl', 800, 'subscriber after TRUNCATE and rows', $subscriber);
run('BEGIN; TRUNCATE repl;' . rows('repl', 1, 600) . 'TRUNCATE repl;' . rows('repl', 1, 600) . 'SAVEPOINT a;'
	. rows('repl', 601, 900) . 'ROLLBACK TO a;' . rows('repl', 601, 1000) . 'COMMIT');
$node->wait_for_catchup('s');
complete('repl', 1000, 'subscriber after a transaction of everything', $subscriber);
$subscriber->stop;

my $search = PostgreSQL::Test::Utils::tempdir() . '/search.sql';
PostgreSQL::Test::Utils::append_to_file($search, "SET enable_seqscan = off;\nSELECT count(*) FROM (SELECT id FROM live ORDER BY v <-> $query LIMIT 50) x;\n");
run(fresh('live'));
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
my $reader = IPC::Run::start([ 'pgbench', '-n', '-h', $standby->host, '-p', $standby->port, '-c', 1, '-T', 5, '-f', $search, 'postgres' ],
	'>', \my $out, '2>', \my $err);
foreach my $round (1 .. 3)
{
	run('BEGIN; TRUNCATE live; COMMIT;') if $round > 1;
	run(rows('live', 1, 900));
}
ok($reader->finish, 'a reader on the standby goes on') or diag($err);
unlike($err, qr/ERROR|aborted/, 'no error on the standby');
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
same_pages(index_pages($node, 'live_v', 1), index_pages($standby, 'live_v', 1), 'the pages are the same on the standby');
complete('live', 900, 'standby', $standby);
$standby->stop;

# wal_level = minimal: a table, its index and its rows in one transaction are not logged, and there after a crash.
$node->append_conf('postgresql.conf', "wal_level = minimal\nmax_wal_senders = 0\nwal_skip_threshold = 0\n");
run('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots');
$node->restart;
my $file = PostgreSQL::Test::Utils::tempdir() . '/rows';
run("COPY (SELECT i, $random FROM generate_series(1, 1500) i) TO '$file'");
run('BEGIN;' . fresh('unlogged_load') . "COPY unlogged_load FROM '$file'; COMMIT");
run(fresh('logged_load'));
run("COPY logged_load FROM '$file'");
run('BEGIN; TRUNCATE logged_load;' . "COPY logged_load FROM '$file'; SAVEPOINT a;" . rows('logged_load', 1, 600) . 'ROLLBACK TO a; COMMIT');
$node->stop('immediate');
$node->start;
complete('unlogged_load', 1500, 'not logged, crash');
complete('logged_load', 1500, 'truncated and not logged, crash');

$node->stop;
done_testing();
