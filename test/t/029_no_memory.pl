# Bulk inserts into an empty index for which there is no memory, thread or temporary file: the
# rows go one by one, and none is lost.  Each allocation of the build fails in turn
# (memory_shim.c), the process has few addresses, temp_file_limit is small.
#
# PHNSW_TEST_EVERY=1: really each; otherwise the first 30, and of the others fewer and fewer.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use MemoryShim;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant ROWS => 700;

my $make = sub {
	return bulk_node('no_memory', 'autovacuum = off', 'phnsw.log_build = on', 'maintenance_work_mem = 64MB', 'max_parallel_maintenance_workers = 1');
};
my $node = shim_available() ? shim_node($make) : $make->();

SKIP:
{
	skip 'no C compiler', 1 if !shim_available();
	my $s = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $s->query_safe('SELECT pg_backend_pid()');
	my $statistics = q{SELECT bulk_flushes || ' ' || inserts FROM phnsw_stats WHERE index = 't_v'::regclass};
	my ($tried, $missed, $at) = (0, 0, 0);

	run('CREATE TABLE t (id int, v vector(8)); CREATE INDEX t_v ON t USING phnsw (v)');
	# Once without a failure, so that what is allocated once is.
	$s->query_safe('BEGIN;' . rows('t', 1, ROWS) . 'COMMIT');
	while (1)
	{
		$s->query_safe('TRUNCATE t; SELECT phnsw_stats_reset(); BEGIN;' . rows('t', 1, ROWS));
		shim($pid, left => $at);
		my (undef, $error) = $s->query('COMMIT');
		my $failures = shim_failed();
		shim(0);
		my ($flushes, $inserts) = split / /, $s->query_safe($statistics);
		my ($rows, $found) = split /\|/, $s->query_safe("SELECT (SELECT count(*) FROM t), (SELECT rows FROM phnsw_index_info('t_v'))");
		my (undef, $damage) = $s->query("SELECT phnsw_check('t_v')");

		$tried++;
		$missed++ if $flushes == 0;
		if ($error || $damage || $rows != ROWS || $found != ROWS || $flushes * ROWS + $inserts != ROWS)
		{
			fail("allocation $at: $rows rows, $found in the index, $flushes builds, $inserts one by one; $s->{stderr}");
			last;
		}
		last if $failures == 0;
		$at += $ENV{PHNSW_TEST_EVERY} || $at < 30 ? 1 : 1 + int($at / 20);
	}
	note("$tried of $at allocations failed, $missed builds gave up");
	cmp_ok($at, '>', 100, 'the build allocates');
	cmp_ok($missed, '>', $tried / 2, 'where that fails the rows go one by one');
	complete('t', ROWS, 'after the last failure');
	like(slurp_file($node->logfile), qr/phnsw build of 700 rows into index "t_v" has no memory, they go one by one/, 'the log says so');
	$s->quit;
}

# A scan that takes rows out of the index (kill.c, which allocates nothing itself) while each
# allocation of the scan fails in turn, the server's own as well: it has an answer or says why it has
# none, leaves no lock behind, and the next one returns every row.
SKIP:
{
	skip 'no C compiler', 1 if !shim_available();
	my $s = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $s->query_safe('SELECT pg_backend_pid()');
	my $scan = "SELECT count(*) FROM (SELECT id FROM k ORDER BY v <-> $query OFFSET 0) x";
	my $killed = q{SELECT killed FROM phnsw_stats WHERE index = 'k_v'::regclass};
	my ($at, $tried, $refused, $left) = (0, 0, 0, 9000);

	run('CREATE TABLE k (id int, v vector(8)) WITH (fillfactor = 100);' . rows('k', 1, $left) . 'CREATE INDEX k_v ON k USING phnsw (v); VACUUM ANALYZE k');
	$s->query_safe("SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order; $scan");
	while (1)
	{
		run("DELETE FROM k WHERE id BETWEEN $tried * 60 + 1 AND $tried * 60 + 60");
		$tried++;
		$left -= 60;
		shim($pid, everyone => 1, left => $at);
		my ($out, $error) = $s->query($scan);
		my $failures = shim_failed();
		shim(0);
		$refused++ if $error;
		if ($error ? $s->{stderr} !~ /ERROR:  out of memory/ : $out ne $left)
		{
			fail("allocation $at: $out of $left rows; $s->{stderr}");
			last;
		}
		$s->{stderr} = '';
		run("SET lock_timeout = '10s'; SELECT phnsw_check('k_v'); BEGIN; INSERT INTO k SELECT id, v FROM k WHERE id = 9000; ROLLBACK");
		last if $failures == 0 || $tried == 140;
		$at++;
	}
	note("$tried scans, $refused without memory, " . $s->query_safe($killed) . ' rows taken out');
	cmp_ok($refused, '>', 5, 'a scan without memory says so');
	is($s->query_safe($scan), $left, 'the next one returns every row');
	cmp_ok($s->query_safe($killed), '>', 100, 'rows that are gone were taken out');
	$s->quit;
	complete('k', $left, 'rows taken out');
}

# How an index got its rows: "bulk builds and merges, rows in them, rows one by one".
sub how
{
	my ($table) = @_;

	return "SELECT bulk_flushes || ' ' || inserts_bulk || ' ' || inserts FROM phnsw_stats WHERE index = '${table}_v'::regclass;";
}

# temp_file_limit: the build wants a file that it does not get, or only some of it; at
# commit and within the transaction.  The rows fit in memory.
foreach my $kilobytes (0, 64, 1100, 2200)
{
	my $t = "limit$kilobytes";

	is(run(fresh($t) . "SET maintenance_work_mem = '1MB'; SET temp_file_limit = '${kilobytes}kB';" . rows($t, 1, 9000) . how($t)), '0 0 9000',
		"temp_file_limit = ${kilobytes}kB: row by row");
	complete($t, 9000, "temp_file_limit = ${kilobytes}kB");
}
run(fresh('own') . "SET maintenance_work_mem = '1MB'; SET temp_file_limit = 0; BEGIN;" . rows('own', 1, 9000)
	  . "SAVEPOINT a; SET LOCAL enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM own ORDER BY v <-> $query LIMIT 10) x; ROLLBACK TO a;"
	  . rows('own', 9001, 9100) . 'COMMIT');
complete('own', 9100, 'a transaction that reads its own rows');

# The rows themselves have no room, in a limit of their own or beside other
# temporary files: what waits is flushed, and more can wait.
run(fresh('waiting') . "SET maintenance_work_mem = '1MB'; SET temp_file_limit = '256kB';" . rows('waiting', 1, 40000));
complete('waiting', 40000, 'more rows than temp_file_limit lets wait');
my $sort = "SET work_mem = '64kB'; DECLARE c CURSOR FOR SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i ORDER BY 2, 1; FETCH 1 FROM c;";
run(fresh('beside') . "SET maintenance_work_mem = '1MB'; SET temp_file_limit = '3500kB'; BEGIN; $sort" . rows('beside', 1, 60000) . 'COMMIT');
complete('beside', 60000, 'beside a large sort');

# Few addresses.  What PostgreSQL allocates itself may fail as well: then no row is there, and the error says why.
SKIP:
{
	skip 'needs /proc and prlimit', 1 unless -r "/proc/$$/statm" && system('prlimit --version >/dev/null 2>&1') == 0;
	my %ended;

	foreach my $megabytes (1, 3, 6, 12, 20, 40, 80)
	{
		my $s = $node->background_psql('postgres', on_error_stop => 0);
		my $pid = $s->query_safe('SELECT pg_backend_pid()');

		run(fresh("addresses$megabytes"));
		$s->query_safe("BEGIN;" . rows("addresses$megabytes", 1, 5000));
		my $bytes = 4096 * (split / /, slurp_file("/proc/$pid/statm"))[0] + ($megabytes << 20);
		system_or_bail('prlimit', "--pid=$pid", "--as=$bytes:");
		my (undef, $error) = $s->query('COMMIT');
		like($s->{stderr}, qr/^$|out of memory/i, "$megabytes MB more: all is well, or the error is clear");
		complete("addresses$megabytes", $error ? 0 : 5000, "$megabytes MB more");
		$ended{ $error ? 'failed' : 'committed' }++;
		$s->{stderr} = '';
		$s->quit;
	}
	note(join ', ', map { "$ended{$_} $_" } sort keys %ended);
	cmp_ok($ended{committed} // 0, '>=', 4, 'they commit');
}

$node->stop;
done_testing();
