# What vacuum is told by the index, and how vacuum may use it: rows and pages in its report
# and in pg_class, after one pass and after several; no pass where nothing died; parallel
# workers; sleeps at its delay point, where it can be cancelled.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use Test::More;

my $node = new_node('vacuum_results', 'autovacuum = off', 'max_worker_processes = 8', 'min_parallel_index_scan_size = 0',
	'max_parallel_maintenance_workers = 2');
my $random = random_vectors_sql(8, 'i');

sub run
{
	return $node->safe_psql('postgres', shift);
}

# VACUUM's report: (index scans, { index => [ pages, newly deleted, currently
# deleted, reusable ] }, buffers looked at, all of it).
sub vacuum
{
	my ($options, $table, $settings) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', ($settings // '') . "VACUUM (VERBOSE, $options) $table");
	my %pages;

	is($rc, 0, "VACUUM ($options) $table") or diag($err);
	# TOAST tables have a report of their own behind it.
	$err =~ s/vacuuming "\w+\.pg_toast\..*//s;
	$pages{$1} = [ $2, $3, $4, $5 ]
	  while $err =~ /index "(\w+)": pages: (\d+) in total, (\d+) newly deleted, (\d+) currently deleted, (\d+) reusable/g;
	my ($scans) = $err =~ /index scans: (\d+)/;
	my ($hits, $others) = $err =~ /buffer usage: (\d+) hits, (\d+)/;
	return ($scans, \%pages, $hits + $others, $err);
}

sub reltuples
{
	return run("SELECT string_agg(reltuples::text, ' ' ORDER BY relname) FROM pg_class WHERE relname IN ('t_l2', 't_part')");
}

sub rows
{
	return run("SELECT count(*) || ' ' || count(*) FILTER (WHERE id % 2 = 0) FROM t");
}

# Rows at places of a grid, so that those with a small id die together and leave whole pages.
run("CREATE TABLE t AS SELECT i AS id, ARRAY[i / 1000 * 10, random(), random(), random()]::real[]::vector(4) AS v FROM generate_series(1, 12000) i;
	CREATE INDEX t_l2 ON t USING phnsw (v); CREATE INDEX t_part ON t USING phnsw (v) WHERE id % 2 = 0; VACUUM t");

# Nothing has died.
my $counts = "SELECT coalesce(sum(vacuums), 0) || ' ' || coalesce(sum(rows_removed), 0) FROM phnsw_stats";
my ($scans, $pages, $looks) = vacuum('INDEX_CLEANUP ON, DISABLE_PAGE_SKIPPING, PARALLEL 0', 't', 'SELECT phnsw_stats_reset();');
my $blocks = run("SELECT pg_relation_size('t_l2') / 8192");
my $heap = run("SELECT pg_relation_size('t') / 8192");
is($scans, 0, 'nothing died: no pass over the indexes');
is($pages->{t_l2}[0], $blocks, 'nothing died: the size is reported');
cmp_ok($blocks, '>', 90, 'a pass would be noticed');
cmp_ok($looks, '<', 3 * $heap + 60, 'nothing died: the indexes are not read');
is(reltuples(), rows(), 'nothing died: pg_class.reltuples, also of a part of the rows');

# Rows die; the first pass tells how many are left, and which pages are free.
run('DELETE FROM t WHERE id <= 5000 OR id % 10 = 0');
($scans, $pages) = vacuum('INDEX_CLEANUP ON, PARALLEL 0', 't');
is($scans, 1, 'one pass');
is(reltuples(), rows(), 'rows that are left');
is($pages->{t_l2}[0], $blocks, 'pages in total');
cmp_ok($pages->{t_l2}[1], '>', $blocks / 5, 'pages newly free');
is($pages->{t_l2}[2], $pages->{t_l2}[1], 'pages that are free now');
is($pages->{t_l2}[3], $pages->{t_l2}[1], 'pages that can be used again');
check_index($node, $_, 'rows died') foreach qw(t_l2 t_part);
my $free = $pages->{t_l2}[3];
run('DELETE FROM t WHERE id = 5001');
($scans, $pages) = vacuum('INDEX_CLEANUP ON, PARALLEL 0', 't');
is(join(' ', @{ $pages->{t_l2} }), "$blocks 0 $free $free", 'the next pass counts the same pages, which are not newly free');
run("INSERT INTO t SELECT i, ARRAY[i / 1000 * 10, random(), random(), random()]::real[]::vector(4) FROM generate_series(20001, 22000) i");
run('DELETE FROM t WHERE id = 5002');
($scans, $pages) = vacuum('INDEX_CLEANUP ON, PARALLEL 0', 't');
is($pages->{t_l2}[0], $blocks, 'rows take free places');
cmp_ok($pages->{t_l2}[3], '<', $free, 'pages in use again are not free');
is(reltuples(), rows(), 'rows came and went');

# Parallel vacuum: a worker has one of the indexes.
run('DELETE FROM t WHERE id % 7 = 0');
my ($before, $report) = (rows());
($scans, $pages, $looks, $report) = vacuum('INDEX_CLEANUP ON, PARALLEL 2', 't');
like($report, qr/launched [12] parallel vacuum workers? for index vacuuming/, 'workers vacuum indexes');
is(reltuples(), rows(), 'rows that are left, as workers say');
check_index($node, $_, 'parallel vacuum') foreach qw(t_l2 t_part);
is(count_through_index($node, 't', 'v', '<->', "'[0,0,0,0]'"), (split ' ', rows())[0], 'the index returns every row');

# Memory for dead rows that suffices for a part of them: several passes, whose counts add up.
my $little = run("SELECT CASE WHEN current_setting('server_version_num')::int < 170000 THEN '1MB' ELSE '64kB' END");
run("CREATE TABLE many AS SELECT i AS id, ARRAY[i % 701, i / 701]::real[]::vector(2) AS v FROM generate_series(1, 260000) i;
	CREATE INDEX many_v ON many USING phnsw (v) WITH (m = 4, ef_construction = 16); DELETE FROM many WHERE id % 20 > 0");
($scans, $pages) = vacuum('INDEX_CLEANUP ON', 'many', "SET maintenance_work_mem = '$little';");
cmp_ok($scans, '>=', 2, "$scans passes");
is(run("SELECT reltuples FROM pg_class WHERE relname = 'many_v'"), 13000, 'rows that are left after several passes');
cmp_ok($pages->{many_v}[2], '<=', $pages->{many_v}[0], 'pages are counted once');
is($pages->{many_v}[3], $pages->{many_v}[2], 'and all of them can be used again');
check_index($node, 'many_v', 'several passes');
is(count_through_index($node, 'many', 'v', '<->', "'[0,0]'"), 13000, 'several passes: the index returns every row');

# The delay point: a vacuum that is told to sleep does so in the middle of the
# index, without a lock, and is cancelled there.
run('DELETE FROM many WHERE id % 40 = 0');
my ($out, $err) = ('', '');
my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SET vacuum_cost_delay = 10', '-c', 'SET vacuum_cost_limit = 200',
	'-c', 'SET vacuum_cost_page_hit = 10', '-c', 'VACUUM (INDEX_CLEANUP ON) many' ], '>', \$out, '2>', \$err);
my $sleeper = "SELECT p.pid FROM pg_stat_progress_vacuum p JOIN pg_stat_activity a USING (pid) WHERE phase = 'vacuuming indexes' AND wait_event = 'VacuumDelay'";
ok(wait_until(5, sub { run($sleeper) ne '' }), 'vacuum sleeps while it works on an index');
is(run("SET statement_timeout = '20s'; INSERT INTO many SELECT 300000 + i, ARRAY[i, 0.5]::real[]::vector(2) FROM generate_series(1, 20) i;
	SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM many ORDER BY v <-> '[0,0]' LIMIT 20) s"), 20, 'others insert and search meanwhile');
run("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_vacuum");
$psql->finish;
like($err, qr/canceling statement due to user request/, 'and is cancelled');
check_index($node, 'many_v', 'a vacuum was cancelled');
vacuum('INDEX_CLEANUP ON', 'many');
is(run("SELECT reltuples FROM pg_class WHERE relname = 'many_v'"), 6520, 'the next one does the rest');
check_index($node, 'many_v', 'the next one');

$node->stop;
done_testing();
