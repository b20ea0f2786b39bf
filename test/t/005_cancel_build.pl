# A build that ends early leaves nothing.  CREATE INDEX is cancelled, terminated, timed out and pelted with SIGALRM at
# random moments, with ample and with scarce maintenance_work_mem.  Afterwards: no file of the index and no temporary
# file exists, the backend (where it lives) has one thread and goes on, and it ended soon after it was told to.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use Test::More;
use Time::HiRes qw(time sleep);

seed_from_env();
my $node = new_node('cancel', 'max_worker_processes = 16', 'autovacuum = off');
my $create = 'CREATE INDEX t_v ON t USING phnsw (v)';

$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT i AS id, '
	  . random_vectors_sql(128, 'i') . ' AS v FROM generate_series(1, 30000) i');
$node->safe_psql('postgres', 'CHECKPOINT');

my $base = $node->data_dir . '/base';

# Relation files with content; an empty one waits for the next checkpoint.
sub files
{
	$node->safe_psql('postgres', 'CHECKPOINT');
	return join ' ', sort map { s/^\Q$base\E//r } grep { -s $_ } glob("$base/*/[0-9]*");
}

sub temporary_files
{
	return join ' ', glob("$base/pgsql_tmp/*");
}

my $before = files();
my $start = time();
$node->safe_psql('postgres', "BEGIN; $create; ROLLBACK");
my $whole = time() - $start;
note(sprintf 'a whole build takes %.2f s', $whole);
is(files(), $before, 'a build that is rolled back leaves no file');

foreach my $round (1 .. 24)
{
	my $how = ('cancel', 'terminate', 'timeout', 'alarm')[ $round % 4 ];
	my $memory = $round % 3 == 0 ? '1MB' : '256MB';
	my $threads = $round % 5;
	my $moment = rand($whole);
	my $name = "round $round, $how, $memory, " . ($threads + 1) . ' threads';
	my $timeout = $how eq 'timeout' ? int($moment * 1000) + 1 : 0;

	# The timeout ends with the transaction, so that it cannot meet a later statement.
	my $script = qq{SELECT 'pid=' || pg_backend_pid();
		SET maintenance_work_mem = '$memory';
		SET max_parallel_maintenance_workers = $threads;
		BEGIN; SET LOCAL statement_timeout = $timeout;
		$create;
		COMMIT;
		\\echo over
	};
	my ($out, $err) = ('', '');
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$script, '>', \$out, '2>', \$err);
	my $told = time();

	IPC::Run::pump($psql) until $out =~ /pid=(\d+)/;
	my $pid = $1;
	if ($how eq 'alarm')
	{
		# SIGALRM is PostgreSQL's timer: spurious ones must disturb neither the build nor its threads.
		for (1 .. 40)
		{
			kill 'ALRM', $pid;
			sleep($whole / 60);
		}
	}
	elsif ($how ne 'timeout')
	{
		sleep($moment);
		$told = time();
		$node->safe_psql('postgres', "SELECT pg_${how}_backend($pid)");
	}
	# Only now: a cancel that comes when the build is over finds the session idle, and no other statement.  A thread
	# that has been joined may still be on its way out of the process.
	if ($how ne 'terminate')
	{
		IPC::Run::pump($psql) until $out =~ /over/;
		ok(wait_until(5, sub { scalar(() = glob("/proc/$pid/task/*")) == 1 }), "$name: one thread is left");
		$script .= "SELECT 'alive=' || count(*) FROM t; DROP INDEX IF EXISTS t_v;\n";
	}
	$psql->finish;
	my $took = time() - $told;

	if ($how eq 'terminate')
	{
		like($err, qr/terminating connection|^$/, "$name: the session ended");
		ok(wait_until(5, sub { !-e "/proc/$pid" }), "$name: so did its process");
	}
	else
	{
		like($out, qr/alive=30000/, "$name: the session goes on");
		$how eq 'alarm'
		  ? is($err, '', "$name: no error")
		  : unlike($err, qr/ERROR(?!:  canceling statement)/, "$name: no error but the cancellation");
	}
	# Generous, since machines that run tests are slow; the session's last statements are part of it.
	cmp_ok($took, '<', 5 + $whole, "$name: it ended soon") if $how eq 'cancel' || $how eq 'terminate';
	is(temporary_files(), '', "$name: no temporary file");
	$node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_v');
	is(files(), $before, "$name: no file of the index");
}

# SIGKILL in the middle of a build that spills: the restarted server has no temporary file.
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->restart;
my $script = "SELECT 'pid=' || pg_backend_pid(); SET maintenance_work_mem = '1MB';\n$create;\n";
my ($out, $err) = ('', '');
my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$script, '>', \$out, '2>', \$err);
IPC::Run::pump($psql) until $out =~ /pid=(\d+)/;
my $pid = $1;
ok(wait_until(60, sub { temporary_files() ne '' }), 'the build spills');
kill 'KILL', $pid;
$psql->finish;
ok(wait_until(60, sub { server_answers($node, $pid) }), 'the server came back after SIGKILL');
is(temporary_files(), '', 'no temporary file after SIGKILL');

$node->safe_psql('postgres', $create . ' WITH (m = 8)');
check_index($node, 't_v', 'a build after all this');
$node->stop;
done_testing();
