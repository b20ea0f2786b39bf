# WAL segments that a build makes ahead, while its threads compute.  In a cluster whose segments are 1 MB:
# how many it makes (what its pages will fill, not more than half of max_wal_size from the checkpoint on,
# none that it needs not or is told not to), that they are the ones which the pages go to, and that a build
# that is cancelled, and a server killed with such segments, go on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('build_wal');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', join("\n", 'shared_buffers = 64MB', 'wal_level = replica', 'max_wal_size = 64MB', 'min_wal_size = 2MB',
		'autovacuum = off', 'checkpoint_timeout = 1h', 'log_statement = none', 'wal_buffers = 8MB', 'wal_writer_delay = 10s') . "\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION phnsw');
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT i AS id, '
	  . random_vectors_sql(32, 'i') . ' AS v FROM generate_series(1, 30000) i');
my $create = 'CREATE INDEX t_v ON t USING phnsw (v)';

# Numbers of the segments that a statement makes ahead.
sub ahead
{
	my ($settings, $sql) = @_;

	# No old segments to be used again: a checkpoint keeps two.
	$node->safe_psql('postgres', 'CHECKPOINT');
	my ($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = debug1; $settings $sql");
	is($rc, 0, "$settings: built") or diag($err);
	return [ $err =~ /has seen to WAL segment (\d+)/g ];
}

my $made = ahead('', $create);
my $size = $node->safe_psql('postgres', "SELECT round(pg_relation_size('t_v') / 1048576.0)");
note("segments @$made, $size MB of pages");
cmp_ok($size, '>=', 5, 'the test has an index of some megabytes');
cmp_ok(abs(@$made - $size), '<=', 2, 'a build makes the segments that its pages fill');
is_deeply($made, [ $made->[0] .. $made->[-1] ], 'each once');
check_index($node, 't_v', 'the index');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^xlogtemp'"), '0', 'no temporary file of WAL');

$node->safe_psql('postgres', 'DROP INDEX t_v');
$made = ahead("SET wal_recycle = off;", $create);
is_deeply($made, [], 'none where segments are not used again');
$node->safe_psql('postgres', 'DROP INDEX t_v');
$made = ahead('CREATE UNLOGGED TABLE u AS SELECT * FROM t;', 'CREATE INDEX ON u USING phnsw (v)');
is_deeply($made, [], 'none for an unlogged index');
$node->safe_psql('postgres', 'DROP TABLE u');

$node->append_conf('postgresql.conf', "max_wal_size = 4MB\n");
$node->reload;
$made = ahead('', $create);
cmp_ok(@$made, '<=', 2, 'not more than half of max_wal_size');
$node->safe_psql('postgres', 'DROP INDEX t_v');
$node->append_conf('postgresql.conf', "max_wal_size = 64MB\n");
$node->reload;

# Cancelled when the first segment has been made: the next build finds them, and a crash does not
# mind.  The segment that WAL has come to, by then in WAL buffers only, exists before any behind
# it: on a full disk the next to write WAL would not get it.
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', q{DO $$ BEGIN
	WHILE (SELECT max(name) > pg_walfile_name(pg_current_wal_insert_lsn()) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$') LOOP
		PERFORM pg_logical_emit_message(false, 'test', 'uses up segments that wait');
		PERFORM pg_switch_wal();
	END LOOP;
END $$});
my $script = "SELECT 'pid=' || pg_backend_pid(); BEGIN; INSERT INTO t SELECT * FROM t LIMIT 20000; SET client_min_messages = debug1;
	$create; ROLLBACK; SELECT 'alive';\n";
my ($out, $err) = ('', '');
my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$script, '>', \$out, '2>', \$err);
IPC::Run::pump($psql) until $out =~ /pid=(\d+)/;
my $pid = $1;
IPC::Run::pump($psql) until $err =~ /has seen to WAL segment/ || $out =~ /alive/;
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_ls_waldir() WHERE name = pg_walfile_name(pg_current_wal_insert_lsn())'), '1',
	'the segment that WAL has come to exists');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$psql->finish;
like($out, qr/alive/, 'the session goes on');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_v; ' . $create);
check_index($node, 't_v', 'a build after a cancelled one and a crash');
$node->stop('immediate');
$node->start;
check_index($node, 't_v', 'the index after another crash');
$node->stop;
done_testing();
