# The links of a merge's new nodes above level 0 are looked for while the core's threads search level 0 (find_upper() in
# batch_merge.c).  What ends that search by itself, a damaged list of an upper level, a cancel, a timeout, the end of
# the session, ends the threads as well, and leaves the index as it was and the rows where they were: the statement that
# comes next, or the next session, brings them in.  And what others do to the index meanwhile, so that it is another one
# when the links are written: it grows by more than a copy has room for, gets higher levels, loses nodes that were
# found.  Each case ends with the checker and a scan of the whole index.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Sessions;
use Test::More;
use Time::HiRes qw(time);

use constant { BLOCK => 8192, HEADER => 24, META_AUX_BYTES => 72, OPAQUE_KIND => 8184, PAGE_AUX => 4, AUX_KIND => 12, AUX_COUNT => 14, AUX_UPPER => 1 };

seed_from_env();
my $node = bulk_node('upper', 'autovacuum = off', 'phnsw.merge_threshold = 1', 'max_parallel_maintenance_workers = 3', 'ignore_checksum_failure = on');

# Fewer rows than one for a hundred nodes, a quarter of them of higher levels; wide
# searches, so that threads are at work for a while.
my ($nodes, $rows) = (20000, 180);
my $next = 0;

sub more
{
	my ($table, $n) = @_;

	$next += $n;
	return rows($table, $next - $n + 1, $next);
}

run('CREATE TABLE t (id int, v vector(8));' . more('t', $nodes) . 'CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 4, ef_construction = 400)');
run('CREATE TABLE other (id int, v vector(8));' . rows('other', 1, 2000) . 'CREATE INDEX other_v ON other USING phnsw (v)');
my $there = $nodes;
my $others = 2000;

sub threads
{
	my ($pid) = @_;

	return scalar(() = glob("/proc/$pid/task/*"));
}

# A session that stays, whatever happens to its statements, and its process.
sub staying
{
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	return ($session, $session->query_safe('SELECT pg_backend_pid()'));
}

# What the session says to a statement; '' without an error.
sub told
{
	my ($session, $sql) = @_;

	$session->{stderr} = '';
	$session->query($sql);
	my $error = $session->{stderr};
	$session->{stderr} = '';
	return $error;
}

# ---- a damaged list --------------------------------------------------------------------------------------------------------

run('CHECKPOINT');
my $file = $node->data_dir . '/' . run("SELECT pg_relation_filepath('t_v')");
$node->stop;
my $whole = slurp_file($file);
my $damaged = $whole;
my $aux_bytes = unpack 'L', substr($whole, HEADER + META_AUX_BYTES, 4);
my $lists = 0;

for (my $page = 0; $page < length $whole; $page += BLOCK)
{
	next if unpack('S', substr($whole, $page + OPAQUE_KIND, 2)) != PAGE_AUX;
	for (my $aux = $page + HEADER; $aux + $aux_bytes <= $page + OPAQUE_KIND; $aux += $aux_bytes)
	{
		next if unpack('C', substr($whole, $aux + AUX_KIND, 1)) != AUX_UPPER;
		substr($damaged, $aux + AUX_COUNT, 2) = pack 'S', 60000;
		$lists++;
	}
}
cmp_ok($lists, '>', $nodes / 8, "$lists lists above level 0 are damaged");
sub write_index
{
	my ($content) = @_;

	open my $handle, '+<:raw', $file or die "$file: $!";
	print {$handle} $content;
	close $handle or die "$file: $!";
	return;
}
write_index($damaged);
$node->start;

my $fault = qr/ERROR:  index "t_v" is corrupted|upper level list has more links than M/;
my ($s, $pid) = staying();
$s->query_safe(rows('other', $others + 100 * $_ + 1, $others + 100 * $_ + 100)) foreach 0 .. 2;
$others += 300;
like(told($s, more('t', $rows)), $fault, 'a statement whose merge meets it says so');
ok(wait_until(5, sub { threads($pid) == 1 }), 'one thread is left');
like(told($s, 'BEGIN;' . more('t', $rows) . 'SAVEPOINT a; SELECT count(*) FROM phnsw_index_info(\'t_v\')'), $fault, 'so does one that flushes rows of another');
ok(wait_until(5, sub { threads($pid) == 1 }), 'one thread is left');
like(told($s, 'ROLLBACK TO a; COMMIT'), $fault, 'and the commit: no row is in doubt, none is in the index');
is(told($s, 'BEGIN;' . rows('other', $others + 1, $others + 100) . 'SAVEPOINT a;' . more('t', $rows)), '', 'rows for two indexes');
like(told($s, 'SELECT count(*) FROM phnsw_index_info(\'t_v\')'), $fault, 'one of which is damaged');
is(told($s, 'ROLLBACK TO a; COMMIT'), '', 'whose rows are rolled back');
is(told($s, rows('other', $others + 101, $others + 200)), '', 'the session goes on');
$others += 200;
is($s->query_safe('SELECT pg_backend_pid()'), $pid, 'in the same process');
$s->quit;
complete('other', $others, 'another index of the session');
run('CHECKPOINT');
$node->stop;
ok(slurp_file($file) eq $damaged, 'nothing was written to the damaged index');
write_index($whole);
$node->start;
is(run("SELECT count(*) FROM t"), $there, 'its rows are gone');
($s, $pid) = staying();
$s->query_safe(more('t', $rows)) foreach 0 .. 2;
$there += 3 * $rows;
is($s->query_safe("SELECT bulk_flushes FROM phnsw_stats WHERE index = 't_v'::regclass"), 3, 'the next ones are merged');
complete('t', $there, 'after the damage');

# ---- told to end ------------------------------------------------------------------------------------------------------------

my $start = time();
$s->query_safe(more('t', $rows));
my $took = time() - $start;
$there += $rows;
note(sprintf 'a statement takes %.3f s', $took);
my $cancelled = 0;
foreach my $round (1 .. 16)
{
	# A timeout of the flush alone, at any moment of it; the same session goes on,
	# with a copy of the graph that is kept or not.
	my $moment = 1 + int(rand($took * 1000));
	my $error = told($s, 'BEGIN;' . more('t', $rows) . "SAVEPOINT a; SET LOCAL statement_timeout = $moment; SELECT count(*) FROM phnsw_index_info('t_v')");

	# A timeout at the very end of the statement reaches the session after its result, and the next statement.
	$error ||= told($s, 'SET LOCAL statement_timeout = 0');
	$cancelled++ if $error =~ /canceling statement due to statement timeout/;
	is(told($s, ($error ? 'ROLLBACK TO a;' : '') . 'COMMIT'), '', "timeout $round, after $moment ms: the commit merges all rows");
	$there += $rows;
}
note("$cancelled of 16 were cancelled");
cmp_ok($cancelled, '>', 2, 'flushes were cancelled');
ok(wait_until(5, sub { threads($pid) == 1 }), 'one thread is left');
foreach my $round (1 .. 6)
{
	my $running = session($node, "ended$round", "SELECT 'pid=' || pg_backend_pid();" . more('t', $rows));
	my $victim;

	wait_until(20, sub { ($victim) = slurp_file("$running->{file}.out") =~ /pid=(\d+)/ });
	# Above one thread it is in the merge.
	wait_until(20, sub { !-e "/proc/$victim" || threads($victim) > 1 });
	run("SELECT pg_terminate_backend($victim)");
	$running->{run}->finish;
	ok(wait_until(5, sub { !-e "/proc/$victim" }), "terminated $round: its process has ended");
}
$there = run('SELECT count(*) FROM t');
$s->query_safe(more('t', $rows)) foreach 0 .. 1;
$there += 2 * $rows;
complete('t', $there, 'after sessions that were told to end');

# ---- others, meanwhile ------------------------------------------------------------------------------------------------------

# Nodes of the copy that is kept are few, so it has hardly room for more pages.  A merge stops between its copy and its
# threads.  What a vacuum shall remove meanwhile has gone before the merge's transaction began.
foreach my $case ([ 'grown', '', rows('meanwhile', 10001, 14000) ],
	[ 'gone', 'DELETE FROM meanwhile WHERE id % 2 = 0', 'VACUUM meanwhile;' ],
	[ 'gone and others', 'DELETE FROM meanwhile WHERE id % 3 <> 0', 'VACUUM meanwhile;' . rows('meanwhile', 20001, 23000) ],
	[ 'all gone', 'DELETE FROM meanwhile', 'VACUUM meanwhile;' . rows('meanwhile', 30001, 30100) ])
{
	my ($name, $before, $what) = @$case;

	run('DROP TABLE IF EXISTS meanwhile; CREATE TABLE meanwhile (id int, v vector(8));' . rows('meanwhile', 1, 3000)
		. 'CREATE INDEX meanwhile_v ON meanwhile USING phnsw (v) WITH (m = 2, ef_construction = 40)');
	my $lock = $node->background_psql('postgres');

	$lock->query_safe(q{SELECT pg_advisory_lock(x'70686e7377'::bigint)});
	my $merging = session($node, 'merging', rows('meanwhile', 5001, 5029) . "$before; SET phnsw.test_point = 'wait merge-loaded';" . rows('meanwhile', 5101, 5129)
		. rows('meanwhile', 5201, 5229) . rows('meanwhile', 5301, 5329));
	ok(wait_until(60, sub { run(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'merging' AND wait_event_type = 'Lock'}) == 1 }), "$name: a merge waits");
	# Only one session merges.
	$node->safe_psql('postgres', "SET phnsw.merge_threshold = 2147483647; $what");
	$lock->query_safe(q{SELECT pg_advisory_unlock(x'70686e7377'::bigint)});
	$lock->quit;
	end_sessions($name, $merging);
	complete('meanwhile', run('SELECT count(*) FROM meanwhile'), $name);
	run('VACUUM meanwhile');
	complete('meanwhile', run('SELECT count(*) FROM meanwhile'), "$name, vacuumed");
}

# ---- levels -----------------------------------------------------------------------------------------------------------------

# A row's place in the table draws its node's level: merges, of many rows and of few, make the nodes that single inserts
# make, so that there are as many on each level, as many lists above level 0, and the entry point is as high, or hardly
# less: a node that has no room for a link to the one before does not become it.
run("CREATE TABLE source AS SELECT i AS id, $random AS v FROM generate_series(1, 4000) i");
foreach my $way ([ 'single', 2147483647 ], [ 'merged', 1 ])
{
	my ($table, $threshold) = @$way;

	run("SET phnsw.merge_threshold = $threshold; CREATE TABLE $table (LIKE source); INSERT INTO $table SELECT * FROM source WHERE id <= 40 ORDER BY id;
		CREATE INDEX ${table}_v ON $table USING phnsw (v) WITH (m = 4);"
		. join('', map { "INSERT INTO $table SELECT * FROM source WHERE id > $_->[0] AND id <= $_->[1] ORDER BY id;" } [ 40, 3800 ], map { [ 3780 + 20 * $_, 3800 + 20 * $_ ] } 1 .. 10));
	complete($table, 4000, "levels, $table");
}
my ($single, $merged) = map { run("SELECT nodes_per_level, aux_records FROM phnsw_index_info('${_}_v')") } 'single', 'merged';
is($merged, $single, 'merges give the levels that single inserts give');
($single, $merged) = map { run("SELECT entry_level FROM phnsw_index_info('${_}_v')") } 'single', 'merged';
cmp_ok($merged, '>=', $single - 1, "and an entry point up there: $merged of $single");

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal|server process/, 'no process has crashed');
$node->stop;
done_testing();
