# What CREATE INDEX and VACUUM tell while they work and when they are done:
# pg_stat_progress_create_index moves, through the phases of docs/monitoring.md in their order;
# phnsw.log_build writes a line per build; at DEBUG1 a vacuum says what it did.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $rows = 30000;
my $node = new_node('progress', 'autovacuum = off');
$node->safe_psql('postgres', 'CREATE TABLE t AS SELECT i AS id, ' . random_vectors_sql(64, 'i') . " AS v FROM generate_series(1, $rows) i");
$node->safe_psql('postgres', 'VACUUM ANALYZE t; CREATE TABLE seen (n serial, at timestamptz, command text, phase text, done bigint, total bigint, blocks bigint)');

# Samples a progress view every 5 ms from when it has a row until it has none.
$node->safe_psql('postgres', <<'SQL');
CREATE PROCEDURE watch(command text, query text) LANGUAGE plpgsql AS $$
DECLARE
	found_once boolean := false;
	rows_now int;
	until timestamptz := clock_timestamp() + interval '120 s';
BEGIN
	WHILE clock_timestamp() < until LOOP
		PERFORM pg_stat_clear_snapshot();
		EXECUTE format('INSERT INTO seen (at, command, phase, done, total, blocks) SELECT clock_timestamp(), %L, %s', command, query);
		GET DIAGNOSTICS rows_now = ROW_COUNT;
		EXIT WHEN found_once AND rows_now = 0;
		found_once := found_once OR rows_now > 0;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;
SQL

sub watch_while
{
	my ($command, $query, $sql) = @_;
	my ($in, $out, $err) = ("SELECT 'ready';\nCALL watch('$command', \$q\$$query\$q\$);\n", '', '');
	my $watcher = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err);

	IPC::Run::pump($watcher) until $out =~ /ready/;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', $sql);
	is($rc, 0, "$command succeeds") or diag($stderr);
	$watcher->finish;
	is($err, '', "$command was watched");
	return $stderr;
}

# ---- CREATE INDEX ----

my @phases = (
	'initializing', 'loading and encoding rows', 'joining equal vectors', 'partitioning', 'comparing within partitions',
	'selecting neighbours', 'building upper levels', 'checking reachability', 'ordering nodes', 'writing pages');

watch_while(
	'build', 'phase, tuples_done, tuples_total, blocks_done FROM pg_stat_progress_create_index',
	'SET max_parallel_maintenance_workers = 0; SET phnsw.log_build = on; CREATE INDEX t_v ON t USING phnsw (v) WITH (ef_construction = 200)');
my @seen = split /\n/,
  $node->safe_psql('postgres', q{SELECT phase FROM (SELECT phase, min(n) AS first FROM seen WHERE command = 'build' GROUP BY phase) p ORDER BY first});
my %place = map { ("building index: $phases[$_]" => $_, $phases[$_] => $_) } 0 .. $#phases;
# Before the access method begins PostgreSQL says "initializing" and then "building index" alone.
my @ours = grep { $_ ne 'building index' } @seen;
note(join ', ', @seen);
is(join(', ', grep { !exists $place{$_} } @ours), '', 'every phase is one of the documented ones');
is_deeply(\@ours, [ sort { $place{$a} <=> $place{$b} } @ours ], 'they come in the documented order');
foreach my $phase ('loading and encoding rows', 'comparing within partitions')
{
	my $moved = $node->safe_psql('postgres',
		"SELECT count(DISTINCT (done, blocks)) > 1 FROM seen WHERE command = 'build' AND phase = 'building index: $phase'");
	is($moved, 't', "$phase: the numbers move");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM seen WHERE command = 'build' AND total > 0 AND done > total
	AND phase <> 'building index: loading and encoding rows'}), '0', 'nothing is more than done');
is($node->safe_psql('postgres', q{SELECT count(*) FROM
	(SELECT done - lag(done) OVER (PARTITION BY phase ORDER BY n) AS step FROM seen WHERE command = 'build') s WHERE step < 0}),
	'0', 'nothing goes backwards within a phase');
# Generous: the machine may have other things to do.
is($node->safe_psql('postgres', q{SELECT coalesce(max(gap), interval '0') < interval '5 s' FROM
	(SELECT max(at) - min(at) AS gap FROM seen WHERE command = 'build' GROUP BY phase, done, blocks) s}), 't', 'it never stands still for long');

my $log = slurp_file($node->logfile);
my $line = qr/LOG:  phnsw build of index "t_v": $rows nodes of 64 dimensions in (\d+) blocks, 1 threads; seconds: load \d+\.\d\d, .*write \d+\.\d\d/;
like($log, $line, 'phnsw.log_build writes a line');
my ($blocks) = $log =~ $line;
is($blocks, $node->safe_psql('postgres', q{SELECT pg_relation_size('t_v') / current_setting('block_size')::int}), 'with the size of the index');
check_index($node, 't_v', 'the index that was watched');

my $place = -s $node->logfile;
$node->safe_psql('postgres', 'REINDEX INDEX t_v');
unlike(substr(slurp_file($node->logfile), $place), qr/phnsw build/, 'and none without being asked');
my ($rc, $out, $err) = $node->psql('postgres', 'SET client_min_messages = debug1; REINDEX INDEX t_v');
like($err, qr/DEBUG:  phnsw build of index "t_v": $rows nodes/, 'at debug1 it does');

# ---- VACUUM ----

$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 10 = 0');
# Slow enough to be seen.
$err = watch_while(
	'vacuum', 'phase, heap_blks_vacuumed, heap_blks_total, index_vacuum_count FROM pg_stat_progress_vacuum',
	"SET client_min_messages = debug1; SET vacuum_cost_delay = 5; SET vacuum_cost_limit = 2000;\nVACUUM t;");
is($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM seen WHERE command = 'vacuum' AND phase = 'vacuuming indexes'}), 't',
	'pg_stat_progress_vacuum shows the index');
like($err, qr/DEBUG:  phnsw vacuum of index "t_v": 3000 rows removed, 3000 nodes freed, [1-9]\d* lists repaired; seconds: rows \d+\.\d\d, repair \d+\.\d\d, free \d+\.\d\d/,
	'a line says what it did');

# An index that has grown is calibrated again.
$node->safe_psql('postgres', 'INSERT INTO t SELECT i, ' . random_vectors_sql(64, 'i') . " FROM generate_series($rows + 1, $rows + 9000) i");
($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = debug1;\nVACUUM t;");
like($err, qr/DEBUG:  phnsw index "t_v" was calibrated for \d+ nodes: recall \d\.\d+ at ef \d+/, 'and one that it has calibrated the index');
check_index($node, 't_v', 'after vacuum');

$node->stop;
done_testing();
