# A build is cancelled while its team clears memory during the load.  Memory is slow (memory_shim.c), so
# the core takes it for dear and has all threads clear it; and the scan of the table waits at the last
# row, so that they have time for it.  The build ends at once, with its threads and its memory, and so it
# does when it is told to before the first piece and after the last.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use MemoryShim;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

use constant { ROWS => 60000, SLOW => 0.05 };

plan skip_all => 'no C compiler' if !shim_available();
seed_from_env();
my $node = shim_node(sub { return new_node('slow', 'autovacuum = off', 'maintenance_work_mem = 512MB') });
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT i AS id, ' . random_vectors_sql(8, 'i') . ' AS v FROM generate_series(1, ' . ROWS . q{) i;
	CREATE FUNCTION included(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
		$$BEGIN IF $1 = } . ROWS . q{ THEN PERFORM pg_sleep(60); END IF; RETURN true; END$$});

sub resident
{
	my ($pid) = @_;

	return 4096 * (split / /, slurp_file("/proc/$pid/statm"))[1];
}

foreach my $round (1 .. 9)
{
	my $how = ('cancel', 'timeout', 'terminate')[ $round % 3 ];
	my $threads = ($round - 1) % 4;
	my $name = "round $round, $how, " . ($threads + 1) . ' threads';
	my ($in, $out, $err) = ("SELECT 'pid=' || pg_backend_pid();\nSET max_parallel_maintenance_workers = $threads;\n", '', '');
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(120));

	IPC::Run::pump($psql) until $out =~ /pid=(\d+)/;
	my $pid = $1;
	my $before = resident($pid);
	shim($pid, slow_us => SLOW * 1e6);
	# A timeout comes at any moment, and is waited for: of a second and more.
	my $timeout = $how eq 'timeout' ? int(rand(1500)) + 100 : 0;
	$in .= "BEGIN; SET LOCAL statement_timeout = $timeout; CREATE INDEX t_v ON t USING phnsw (v) WHERE included(id); COMMIT;\n\\echo over\n";
	IPC::Run::pump_nb($psql);
	my $told = time() + $timeout / 1000;
	if ($how ne 'timeout')
	{
		my $pieces = 1 + int(rand(5));

		ok(wait_until(60, sub { IPC::Run::pump_nb($psql); shim_slowed() >= $pieces }), "$name: memory is cleared");
		sleep(rand(SLOW));
		$told = time();
		$node->safe_psql('postgres', "SELECT pg_${how}_backend($pid)");
	}
	if ($how eq 'terminate')
	{
		$psql->finish;
		ok(wait_until(5, sub { !-e "/proc/$pid" }), "$name: the process is gone");
	}
	else
	{
		IPC::Run::pump($psql) until $out =~ /over/;
		like($err, qr/ERROR:  canceling statement/, "$name: cancelled");
		ok(wait_until(5, sub { scalar(() = glob("/proc/$pid/task/*")) == 1 }), "$name: one thread is left");
		cmp_ok(resident($pid), '<', $before + (16 << 20), "$name: and no memory");
		$in .= "SELECT 'rows=' || count(*) FROM t;\n";
		$psql->finish;
		like($out, qr/rows=60000/, "$name: the session goes on");
	}
	cmp_ok(time() - $told, '<', 10, "$name: it ended soon");
	note(sprintf '%s: %d slow pieces, %.2f s', $name, shim_slowed(), time() - $told);
	shim(0);
}
$node->safe_psql('postgres', 'CREATE INDEX t_v ON t USING phnsw (v)');
check_index($node, 't_v', 'a build after all this');
$node->stop;
done_testing();
