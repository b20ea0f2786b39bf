# What a build, a merge into an index that has nodes, and a vacuum keep in memory.  Private memory of the
# backend (RssAnon: without shared buffers and without the mapped temporary file) stays within
# maintenance_work_mem + 64 MB at every moment of a build; the rest goes to a temporary file of PostgreSQL's,
# which is logged, counts for temp_file_limit and is gone afterwards.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use Test::More;
use Time::HiRes qw(sleep);

my $node = new_node('build_memory', 'max_worker_processes = 16', 'autovacuum = off', 'log_temp_files = 0');
my $rows = 100000;

$node->safe_psql('postgres', "CREATE TABLE t AS SELECT i AS id, " . random_vectors_sql(128, 'i')
	  . " AS v FROM generate_series(1, $rows) i; VACUUM ANALYZE t");

# MB of private memory of a process, undef when it has ended.
sub private_memory
{
	open(my $status, '<', "/proc/$_[0]/status") or return undef;
	my ($kb) = join('', <$status>) =~ /^RssAnon:\s+(\d+) kB/m;
	close($status);
	return defined $kb ? $kb / 1024 : undef;
}

# Runs a statement; returns (peak of private memory less what the backend had
# before, MB of temporary files as logged, rows merged).
sub measure
{
	my ($memory, $threads, $statement) = @_;
	my $workers = $threads - 1;
	my $log_begin = -s $node->logfile;
	my $script = qq{SET maintenance_work_mem = '${memory}MB'; SET max_parallel_maintenance_workers = $workers; SET phnsw.log_build = on;
		SELECT 'pid=' || pg_backend_pid();
		SELECT pg_sleep(0.3);
		$statement;
		SELECT 'over';
		\\q
	};
	my ($out, $err) = ('', '');
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ],
		'<', \$script, '>', \$out, '2>', \$err);

	IPC::Run::pump($psql) until $out =~ /pid=(\d+)/;
	my $pid = $1;
	my ($before, $peak) = (private_memory($pid), 0);
	while ($psql->pumpable)
	{
		my $now = private_memory($pid);
		$peak = $now if defined $now && $now > $peak;
		$psql->pump_nb;
		sleep(0.003);
	}
	$psql->finish;
	like($out, qr/over/, "$memory MB, $threads threads: $statement") or diag($err);
	my $bytes = 0;
	my $log = substr(PostgreSQL::Test::Utils::slurp_file($node->logfile), $log_begin);
	$bytes += $1 while $log =~ /temporary file: path .*, size (\d+)/g;
	my ($merged) = $log =~ /phnsw merge of (\d+) rows/;
	return ($peak - $before, $bytes / 1048576, $merged // 0);
}

sub build
{
	return measure(@_, 'CREATE INDEX t_v ON t USING phnsw (v vector_l2_ops)');
}

my ($ample, $ample_temporary) = build(1024, 2);
note(sprintf 'with 1 GB: %.1f MB private, %.1f MB temporary', $ample, $ample_temporary);
is($ample_temporary, 0, 'with ample memory there is no temporary file');
cmp_ok($ample, '>', 70, 'what the build keeps is seen here');

foreach my $case ([ 64, 1 ], [ 64, 2 ], [ 16, 4 ])
{
	my ($memory, $threads) = @$case;

	$node->safe_psql('postgres', 'DROP INDEX t_v');
	my ($private, $temporary) = build($memory, $threads);
	note(sprintf 'with %d MB, %d threads: %.1f MB private, %.1f MB temporary', $memory, $threads, $private, $temporary);
	cmp_ok($private, '<=', $memory + 64, "$memory MB, $threads threads: private memory stays within bounds");
	cmp_ok($temporary, '>', 0, "$memory MB, $threads threads: the rest is in a temporary file, which is logged");
	cmp_ok($private + $temporary, '>', 70, "$memory MB, $threads threads: nothing is missing");
}
check_index($node, 't_v', 'built with a temporary file');

# Merges.  100,000 nodes take 29 MB, of which those that memory does not hold
# are in a file; not when that would be too large.
my $next = $rows;
sub insert_sql
{
	my ($first, $n) = ($next + 1, 1500);

	$next += $n;
	return 'INSERT INTO t SELECT i, ' . random_vectors_sql(128, 'i') . " FROM generate_series($first, $next) i";
}
foreach my $case ([ 256, 0, 0 ], [ 24, 1, 29 ], [ 32, 1, 21 ])
{
	my ($memory, $spills, $least) = @$case;
	my ($private, $temporary, $merged) = measure($memory, 2, insert_sql());
	note(sprintf 'merge with %d MB: %.1f MB private, %.1f MB temporary', $memory, $private, $temporary);
	cmp_ok($merged, '>', 1400, "$memory MB: merged");
	cmp_ok($private, '<=', $memory, "$memory MB: the merge's private memory stays within bounds");
	cmp_ok($temporary, $spills ? '>' : '==', $least, "$memory MB: the rest is in a temporary file");
}
is($node->safe_psql('postgres', "SET maintenance_work_mem = '24MB'; SET temp_file_limit = '40MB'; " . insert_sql()
	. "; SELECT inserts_bulk || ' ' || inserts FROM phnsw_stats WHERE index = 't_v'::regclass"), '0 1500', 'no merge where temp_file_limit does not allow its file');
is($node->safe_psql('postgres', "SET maintenance_work_mem = '24MB'; SET temp_file_limit = '80MB'; SET work_mem = '64kB'; BEGIN; " . insert_sql()
	. "; DECLARE held CURSOR WITH HOLD FOR SELECT repeat('x', 1000) FROM generate_series(1, 60000); COMMIT; CLOSE held"
	. "; SELECT inserts_bulk || ' ' || inserts FROM phnsw_stats WHERE index = 't_v'::regclass"), '0 1500', 'no merge where other files leave its own too little');
# Vacuum: bits for all nodes, and copies of those that the lists of its pages
# name, as many as half of maintenance_work_mem holds.
my ($vacuum_ample) = measure(512, 1, 'DELETE FROM t WHERE id % 10 = 3; VACUUM (INDEX_CLEANUP ON) t');
my ($vacuum_little) = measure(8, 1, 'DELETE FROM t WHERE id % 10 = 7; VACUUM (INDEX_CLEANUP ON) t');
note(sprintf 'vacuum: %.1f MB with 512 MB, %.1f MB with 8 MB', $vacuum_ample, $vacuum_little);
cmp_ok($vacuum_ample, '>', 12, 'what a vacuum keeps is seen here');
cmp_ok($vacuum_little, '<', 8, 'with little memory it keeps little');
is($node->safe_psql('postgres', "SELECT rows = (SELECT count(*) FROM t) FROM phnsw_index_info('t_v')"), 't', 'and has done the same');
$node->safe_psql('postgres', 'INSERT INTO t SELECT i, ' . random_vectors_sql(128, 'i') . " FROM generate_series(1, $next) i WHERE i % 10 IN (3, 7)");
# Rows in waiting: some MB in memory, 2 MB in the file; the others do not wait.
my ($bulk, $singly) = split(' ', $node->safe_psql('postgres', "CREATE TABLE few AS SELECT * FROM t LIMIT 1000; CREATE INDEX few_v ON few USING phnsw (v vector_l2_ops);
	SET maintenance_work_mem = '24MB'; SET temp_file_limit = '4MB'; INSERT INTO few SELECT i, " . random_vectors_sql(128, 'i') . " FROM generate_series(200001, 224000) i;
	SELECT inserts_bulk || ' ' || inserts FROM phnsw_stats WHERE index = 'few_v'::regclass"));
note("$bulk rows merged, $singly one by one");
is($bulk + $singly, 24000, 'more rows than temp_file_limit lets wait');
cmp_ok($bulk, '>', 8000, 'those that waited were merged');
check_index($node, 'few_v', 'half merged, half one by one');
my ($cancelled, undef, $cancelled_error) = $node->psql('postgres', "SET maintenance_work_mem = '24MB'; BEGIN; " . insert_sql()
	. "; SET LOCAL statement_timeout = '25ms'; SELECT phnsw_check('t_v'); COMMIT", on_error_stop => 0);
like($cancelled_error, qr/canceling statement due to statement timeout/, 'a merge with a temporary file is cancelled');
$next -= 1500;
check_index($node, 't_v', 'merged with a temporary file');
is($node->safe_psql('postgres', 'SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 7)) x'),
	$next, 'a scan finds every row');
is(join(' ', glob($node->data_dir . '/base/pgsql_tmp/*')), '', 'no temporary file is left');

# Rows for many partitions wait in as many batches, which share the memory and
# have three rows each beyond it: 60 times 24 kB.
my ($waiting, $arrived) = split(' ', $node->safe_psql('postgres', q{CREATE TABLE parts (id int, v vector(2000)) PARTITION BY LIST (id);
	CREATE INDEX parts_v ON parts USING phnsw (v) WITH (m = 8);
	SELECT format('CREATE TABLE parts_%s PARTITION OF parts FOR VALUES IN (%s)', i, i) FROM generate_series(1, 60) i \gexec
	SET maintenance_work_mem = '2MB'; BEGIN;
	INSERT INTO parts SELECT 1 + i % 60, array_fill(i * 0.001::real, ARRAY[2000])::vector FROM generate_series(1, 1500) i;
	SELECT round(sum(total_bytes) / 1024) FROM pg_backend_memory_contexts WHERE name = 'phnsw bulk insert';
	COMMIT;
	SELECT sum(rows) FROM pg_index, phnsw_index_info(indexrelid) WHERE indrelid::regclass::text LIKE 'parts\_%'}));
note("$waiting kB for 1,500 rows of 60 partitions");
cmp_ok($waiting, '<', 1024 * 9 / 8 + 60 * 3 * 8.2 + 700, 'batches for many partitions share their memory');
is($arrived, 1500, 'and all their rows arrive');
check_index($node, "parts_${_}_v_idx", "partition $_") foreach 1, 59, 60;

$node->safe_psql('postgres', 'DROP INDEX t_v');
my ($rc, $out, $err) = $node->psql('postgres', q{SET maintenance_work_mem = '16MB'; SET temp_file_limit = '4MB';
	CREATE INDEX t_v ON t USING phnsw (v vector_l2_ops)});
like($err, qr/temporary file size exceeds "?temp_file_limit/, 'temp_file_limit holds for the build');
is(join(' ', glob($node->data_dir . '/base/pgsql_tmp/*')), '', 'no temporary file is left');

$node->stop;
done_testing();
