# The copy of the graph that a session keeps from one merge to the next (batch_keep.c): whatever happens to
# the index between two statements, here or in other sessions, the next one builds on the index as it is.
# Every statement below merges, so the second and all further ones of a session mend a copy instead of making
# one.  What a stale copy would do: link new rows to nodes that are gone or others by now, so that rows cannot
# be found; the checker and a scan of the whole index look for that.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sessions;
use Test::More;

seed_from_env();
my $node = bulk_node('keep', 'autovacuum = off', 'phnsw.merge_threshold = 1', 'max_parallel_maintenance_workers = 1');
run('CREATE EXTENSION pageinspect');

# A session that stays, for statements between which others work.
my $s = $node->background_psql('postgres', on_error_stop => 0);

# New rows of one statement after the other, `between` ($i) before each but the first.
sub statements
{
	my ($session, $table, $first, $n, $between) = @_;

	foreach my $i (0 .. $n - 1)
	{
		$between->($i) if $between && $i > 0;
		$session->query_safe(rows($table, $first + 100 * $i, $first + 100 * $i + 99));
	}
	return;
}

sub filled_table
{
	my ($table, $kind) = @_;

	run("CREATE $kind TABLE $table (id int, v vector(8));" . rows($table, 1, 3000) . "CREATE INDEX ${table}_v ON $table USING phnsw (v);");
	return;
}

sub anonymous
{
	my ($pid) = @_;

	return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s*(\d+)/m ? $1 : 0;
}

# Rows first ... last of table line, at so many times their number.
sub line
{
	my ($times, $first, $last, $table) = @_;

	$table //= 'line';
	return "INSERT INTO $table SELECT i, array_fill((i * $times)::float4, ARRAY[1000])::vector FROM generate_series($first, $last) i;";
}

# What a merge of one row more says that it has copied.
sub line_copied
{
	my ($row, $times, $table) = @_;
	my $log = -s $node->logfile;

	$table //= 'line';
	$s->query_safe('SET phnsw.log_build = on;' . line($times // 0.9, $row, $row, $table));
	return slurp_file($node->logfile, $log) =~ /into index "${table}_v" of \d+ nodes, (\d+) copied/ ? $1 : -1;
}

# Nobody else.
filled_table('alone', '');
statements($s, 'alone', 3001, 20);
complete('alone', 5000, 'alone');
is($s->query_safe("SELECT bulk_flushes || ' ' || inserts_bulk FROM phnsw_stats WHERE index = 'alone_v'::regclass"), '20 2000', 'all were merged');

# What only this session has changed is not copied, but for new nodes: ten rows
# change some hundred lists on nearly all pages.
filled_table('slots', '');
$s->query_safe('SET phnsw.log_build = on');
$s->query_safe(rows('slots', 3001 + 10 * $_, 3010 + 10 * $_)) foreach 0 .. 5;
$s->query_safe('RESET phnsw.log_build');
my @copied = slurp_file($node->logfile) =~ /index "slots_v" of \d+ nodes, (\d+) copied/g;
is(scalar(@copied), 6, 'six merges');
ok($copied[$_] < 100, "merge $_ copies few nodes: $copied[$_]") foreach 2 .. 5;
complete('slots', 3060, 'slots');

# A copy that is mended gives the very pages that copies made anew give: one session's statements, and as many sessions.
run('CREATE TABLE source AS SELECT i AS id, ' . $random . ' AS v FROM generate_series(1, 4000) i');
foreach my $table ('mended', 'anew')
{
	run("CREATE TABLE $table (id int, v vector(8)); INSERT INTO $table SELECT * FROM source WHERE id <= 3000 ORDER BY id; CREATE INDEX ${table}_v ON $table USING phnsw (v)");
	foreach my $i (0 .. 19)
	{
		my $statement = "INSERT INTO $table SELECT * FROM source WHERE id BETWEEN 3001 + 50 * $i AND 3050 + 50 * $i ORDER BY id";

		$table eq 'mended' ? $s->query_safe($statement) : run($statement);
	}
}
# Pages of nodes; on others the links above level 0 stand.  Nearly, since their searches begin in another copy
# that a session has, and one of them may be the new node of a list.
my ($mended, $anew) = map { run(qq{SELECT block, md5(substr(page, 11)) FROM generate_series(1, pg_relation_size('$_') / 8192 - 1) block,
	LATERAL (SELECT get_raw_page('$_', block::int) AS page) raw WHERE get_byte(page, 8184) = 3 ORDER BY block}) } 'mended_v', 'anew_v';
my $pages = () = $anew =~ /\n/g;
my @different = page_differences($mended, $anew);
cmp_ok(scalar(@different), '<=', $pages / 20, "a copy that is kept gives the same $pages pages as new ones");

# Pages that nobody changes are looked at in turns, all of them once others are known to have changed one: within eight
# merges.  Rows on a line, six on a page, so that a new one changes few pages.
run('CREATE TABLE line (id int, v vector(1000));' . line(2, 1, 2000) . 'CREATE INDEX line_v ON line USING phnsw (v);');
line_copied(2501 + $_) foreach 0 .. 8;
my ($quiet) = sort { $b <=> $a } map { line_copied(2510 + $_) } 0 .. 7;
run("SET phnsw.merge_threshold = 1000000;" . line(2.001, 500, 500));
my ($looked) = sort { $b <=> $a } map { line_copied(2520 + $_) } 0 .. 7;
ok($looked > $quiet, "what another session has changed is copied again: $quiet nodes at most, then $looked");
foreach my $i (0 .. 3)
{
	# Their slots are free, and others' by the time that rows are inserted where they were.
	run("DELETE FROM line WHERE id BETWEEN 100 + 10 * $i AND 105 + 10 * $i;VACUUM line;");
	run("SET phnsw.merge_threshold = 1000000;" . line(2.002, 1200 + 10 * $i, 1205 + 10 * $i));
	$s->query_safe(line(2.003, 100 + 10 * $i + $_, 100 + 10 * $i + $_)) foreach 0 .. 5;
}
check_index($node, 'line_v', 'looked at in turns');
is(run("SET enable_seqscan = off; SET phnsw.iterative_scan = strict_order; SELECT count(*) FROM (SELECT id FROM line ORDER BY v <-> (SELECT v FROM line LIMIT 1) LIMIT 10000) s"),
	run('SELECT count(*) FROM line'), 'looked at in turns: all rows are found');

# Slots that were free when they were copied are others' nodes by now: the next merges
# copy all of these, and not only where it is a page's turn.
my $other = $node->background_psql('postgres');
$other->query_safe('SET phnsw.merge_threshold = 1000000');
run('CREATE TABLE spots (id int, v vector(1000));' . line(2, 1, 400, 'spots') . 'CREATE INDEX spots_v ON spots USING phnsw (v) WITH (m = 32);
	DELETE FROM spots WHERE id BETWEEN 101 AND 300; VACUUM spots');
line_copied(5000 + $_, 1, 'spots') foreach 0 .. 8;
$other->query_safe(line(2.001, 101, 300, 'spots'));
my @looked = map { line_copied(5020 + $_, 1, 'spots') } 0 .. 7;
ok((grep { $_ >= 200 } @looked), "nodes of others are copied: @looked");

# Lists that a merge changes on pages that somebody else has changed since it copied them, since
# rows have joined nodes there: those pages are copied again.
$other->query_safe(q{SELECT pg_advisory_lock(x'70686e7377'::bigint)});
my $log = -s $node->logfile;
my $merging = session($node, 'merging', join('', map { line(1, 6000 + $_, 6000 + $_, 'spots') } 0 .. 2) . "SET phnsw.test_point = 'wait merge-written';"
	. line(2.003, 1, 400, 'spots') . 'SET phnsw.log_build = on;' . line(1, 6003, 6003, 'spots'));
ok(wait_until(60, sub { run(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'merging' AND wait_event_type = 'Lock'}) == 1 }), 'a merge waits');
$other->query_safe('INSERT INTO spots SELECT -id, v FROM spots WHERE id BETWEEN 1 AND 400');
$other->query_safe(q{SELECT pg_advisory_unlock(x'70686e7377'::bigint)});
$other->quit;
end_sessions('changed by both', $merging);
my ($limit, $copied) = slurp_file($node->logfile, $log) =~ /into index "spots_v" of (\d+) nodes, (\d+) copied/;
cmp_ok($copied, '>', $limit * 0.8, "what both have changed is copied again: $copied of $limit nodes");
check_index($node, 'spots_v', 'nodes that are others');

# Slots that a merge has claimed and another session has filled: in the merge's copy lists lead to the nodes
# that were to stand there, whose numbers mean others in the next merge, which therefore copies all nodes
# again.  Only the last page has room, and the other session fills it.
filled_table('claims', '');
my $rival = $node->background_psql('postgres');
$rival->query_safe('SET phnsw.merge_threshold = 1000000;' . rows('claims', 4001, 4001));
$rival->query_safe(q{SELECT pg_advisory_lock(x'70686e7377'::bigint)});
$log = -s $node->logfile;
my $claiming = session($node, 'claiming', rows('claims', 5001, 5005) . rows('claims', 5006, 5010) . "SET phnsw.test_point = 'wait merge-claimed';" . rows('claims', 5011, 5050)
	. 'SET phnsw.log_build = on;' . rows('claims', 5051, 5055) . "SELECT inserts_bulk FROM phnsw_stats WHERE index = 'claims_v'::regclass");
ok(wait_until(60, sub { run(q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'claiming' AND wait_event_type = 'Lock'}) == 1 }), 'a merge waits');
$rival->query_safe(rows('claims', 6001, 6002));
$rival->query_safe(q{SELECT pg_advisory_unlock(x'70686e7377'::bigint)});
$rival->quit;
end_sessions('claims', $claiming);
is(slurp_file("$claiming->{file}.out"), "53\n", 'two rows went one by one, for want of their slots');
($limit, $copied) = slurp_file($node->logfile, $log) =~ /into index "claims_v" of (\d+) nodes, (\d+) copied/;
cmp_ok($copied, '>=', $limit, "all nodes are copied again: $copied of $limit");
complete('claims', run('SELECT count(*) FROM claims'), 'lost claims');

# Unlogged pages do not move their LSN.
filled_table('unlogged', 'UNLOGGED');
statements($s, 'unlogged', 3001, 5, sub { run('DELETE FROM unlogged WHERE id % 7 = ' . $_[0] . '; VACUUM unlogged;' . rows('unlogged', 9000, 9049)) });
complete('unlogged', run('SELECT count(*) FROM unlogged'), 'unlogged');

# Rows of others, one by one and merged, between two statements; nodes that go, and whose slots others take.
filled_table('beside', '');
statements($s, 'beside', 3001, 12, sub
{
	my ($i) = @_;

	run("SET phnsw.merge_threshold = 1000000;" . rows('beside', 10000 + 60 * $i, 10029 + 60 * $i)) if $i % 3 == 0;
	run(rows('beside', 10030 + 60 * $i, 10059 + 60 * $i)) if $i % 3 == 1;
	run("DELETE FROM beside WHERE id % 9 = $i AND id < 9000; VACUUM beside") if $i % 3 == 2;
});
complete('beside', run('SELECT count(*) FROM beside'), 'beside others');

# Another file, another build, another index in turn with the first.
filled_table('moved', '');
filled_table('other', '');
statements($s, 'moved', 3001, 8, sub
{
	my ($i) = @_;

	run('REINDEX INDEX moved_v') if $i == 2;
	run('TRUNCATE moved;' . rows('moved', 1, 2000)) if $i == 3;
	$s->query_safe('CLUSTER moved USING moved_id') if $i == 5;
	run('CREATE INDEX moved_id ON moved (id)') if $i == 4;
	$s->query_safe(rows('other', 3001 + 50 * $i, 3050 + 50 * $i)) if $i > 5;
});
complete('moved', run('SELECT count(*) FROM moved'), 'another file');
complete('other', 3100, 'another index');

# A transaction that is rolled back: its rows are not seen, those that follow are.
filled_table('failed', '');
statements($s, 'failed', 3001, 3);
$s->query_safe("BEGIN;" . rows("failed", 20001, 20100) . "SELECT count(*) FROM failed; ROLLBACK");
eval { $s->query_safe("SELECT 1 / 0") };
$s->{stderr} = '';
statements($s, 'failed', 3301, 3);
run('VACUUM failed');
statements($s, 'failed', 3601, 2);
complete('failed', 3800, 'after errors');

# The memory goes back while the session is idle, and the next statements find all they need.
SKIP:
{
	skip 'no /proc', 1 unless -r "/proc/$$/status";
	my $pid = $s->query_safe('SELECT pg_backend_pid()');
	run('CREATE TABLE wide (id int, v vector(1000)); INSERT INTO wide SELECT i, array_fill(i::float4, ARRAY[1000])::vector FROM generate_series(1, 6000) i;
		CREATE INDEX wide_v ON wide USING phnsw (v);');
	my $one = 'INSERT INTO wide SELECT i, array_fill((i + 0.5)::float4, ARRAY[1000])::vector FROM generate_series(%d, %d) i';

	$s->query_safe(sprintf($one, 10 * $_, 10 * $_ + 9)) foreach 1 .. 3;
	my $kept = anonymous($pid);
	ok(wait_until(60, sub { anonymous($pid) < $kept - 5000 }), "an idle session gives the copy back: $kept kB, then " . anonymous($pid));
	$s->query_safe(sprintf($one, 10 * $_, 10 * $_ + 9)) foreach 4 .. 6;
	check_index($node, 'wide_v', 'after idleness');
}
# What maintenance_work_mem does not hold of the copy stands in a file, which is kept with it, and goes with it:
# its blocks from an idle session, the file at the next transaction.
my $files = $node->data_dir . '/base/pgsql_tmp';
my $made = 0;

# Rows first ... last, all different.
sub filed_rows
{
	my ($first, $last) = @_;

	return 'INSERT INTO filed SELECT i, (SELECT array_agg((sin(i * 0.37 + j) + (i * j % 17) * 0.02)::float4) FROM generate_series(1, 1000) j)::vector '
		. "FROM generate_series($first, $last) i;";
}

sub temporary_blocks
{
	my @blocks = map { (stat $_)[12] // 0 } glob "$files/*";

	my $sum = @blocks ? 0 : -1;

	$sum += $_ foreach @blocks;
	return $sum;
}

# What a merge of so many rows more says that it has copied; -1: nothing.
sub filed
{
	my ($rows, $settings) = @_;
	my $first = $made + 1;
	my $log = -s $node->logfile;

	$made += $rows;
	$s->query_safe("$settings SET phnsw.log_build = on;" . filed_rows($first, $made));
	return slurp_file($node->logfile, $log) =~ /into index "filed_v" of \d+ nodes, (\d+) copied/ ? $1 : -1;
}

run('CREATE TABLE filed (id int, v vector(1000))');
filed(6000, '');
run("SET maintenance_work_mem = '256MB'; CREATE INDEX filed_v ON filed USING phnsw (v)");
my $little = "SET maintenance_work_mem = '18MB';";
my @mended = map { filed(20, $little) } 1 .. 5;
ok($mended[0] >= 6000 && $mended[1] >= 6000, "the first two merges copy all nodes: @mended");
ok($mended[$_] >= 0 && $mended[$_] < 3000, "merge $_ mends a copy with a file: $mended[$_]") foreach 2 .. 4;
my $blocks = temporary_blocks();
ok($blocks > 20000, "which has $blocks blocks");
ok(wait_until(60, sub { temporary_blocks() < $blocks - 14000 }), 'an idle session gives them back, but for what no array has: ' . temporary_blocks());
$s->query_safe('SELECT 1');
is(temporary_blocks(), -1, 'and the file at its next transaction');
@mended = map { filed(20, $little) } 1 .. 3;
ok($mended[0] >= 6000 && $mended[2] < 3000, "a new file: @mended");
eval { $s->query_safe('SELECT 1 / 0') };
$s->{stderr} = '';
is(temporary_blocks(), -1, 'an error ends it');
@mended = map { filed(20, "$little SET temp_file_limit = '1GB';") } 1 .. 4;
ok((grep { $_ >= 6000 } @mended) == 4, "with a limit of files none is kept: @mended");
$s->query_safe('RESET temp_file_limit');
@mended = map { filed(20, $little) } 1 .. 3;
ok($mended[2] < 3000, "without again: @mended");
# A merge that fails in a savepoint before it writes, when the copy is mended or its
# lists are changed: the copy and its file go at once.
my $holder = $node->background_psql('postgres');
$holder->query_safe(q{SELECT pg_advisory_lock(x'70686e7377'::bigint)});
foreach my $point ('merge-loaded', 'merge-computed')
{
	my $first = $made + 1;
	my $log = -s $node->logfile;

	$made += 40;
	$s->query_safe("$little SET phnsw.log_build = on; BEGIN;" . filed_rows($first, $made));
	$s->query("SAVEPOINT a; SET LOCAL lock_timeout = 100; SET LOCAL phnsw.test_point = 'wait $point'; SELECT count(*) FROM phnsw_index_info('filed_v')");
	like($s->{stderr}, qr/lock timeout/, "a merge fails at $point");
	$s->{stderr} = '';
	$s->query_safe('ROLLBACK TO a');
	is(temporary_blocks(), -1, 'the file has gone');
	$s->query_safe('COMMIT');
	my @copied = slurp_file($node->logfile, $log) =~ /into index "filed_v" of \d+ nodes, (\d+) copied/g;
	ok(@copied == 1 && $copied[0] >= 6000, "the next copies all nodes: @copied");
	@mended = map { filed(20, $little) } 1 .. 3;
	ok((grep { $_ >= 0 && $_ < 3000 } @mended), "then there is a copy again: @mended");
}
$holder->quit;
ok(filed(20, "SET maintenance_work_mem = '256MB';") >= 6000, 'not for a merge that memory is enough for');
@mended = map { filed(20, $little) } 1 .. 3;
ok(filed(1100, $little) >= 0, 'many rows go in portions');
is(run('SELECT count(*) FROM filed'), $made, 'all rows are there');
check_index($node, 'filed_v', 'with a file');
is(run("SET enable_seqscan = off; SET phnsw.iterative_scan = strict_order; SELECT count(*) FROM (SELECT id FROM filed ORDER BY v <-> (SELECT v FROM filed LIMIT 1) LIMIT 10000) s"),
	$made, 'and found');
$s->quit;

# By cost: the first small statement goes one by one, those that follow at once
# are merged; others that merge are not waited for.
run('ALTER SYSTEM SET phnsw.merge_threshold = -1');
$node->reload;
filled_table('small', '');
like(run(join('', map { rows('small', 3001 + 55 * $_, 3055 + 55 * $_) } 0 .. 39)
	. "SELECT bulk_flushes FROM phnsw_stats WHERE index = 'small_v'::regclass"), qr/^[1-9]/, 'small statements are merged');
complete('small', 3000 + 40 * 55, 'small statements');

# The same where the copy has a file: statements of 60 rows, less than what is worth a copy of its own.
my $merged = $node->safe_psql('postgres', "SET maintenance_work_mem = '18MB';" . join('', map { filed_rows($made + 60 * $_ + 1, $made + 60 * $_ + 60) } 0 .. 9)
	. "SELECT bulk_flushes FROM phnsw_stats WHERE index = 'filed_v'::regclass");
ok($merged >= 5, "small statements are merged with a file: $merged");
is(run('SELECT count(*) FROM filed'), $made + 600, 'all rows are there');
check_index($node, 'filed_v', 'small statements with a file');

# Statements of twenty rows into an index of 20,000: merged while nobody else inserts; where another session does,
# a copy would be read again and again, and both are faster one by one.
my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 0 .. 1;
my $crowd = 20000;

sub merged_of
{
	my (@inserting) = @_;
	my $flushes = "SELECT bulk_flushes FROM phnsw_stats WHERE index = 'crowd_v'::regclass";
	my $before = $sessions[0]->query_safe($flushes);

	foreach my $i (1 .. 60)
	{
		foreach my $session (@inserting)
		{
			$session->query_safe(rows('crowd', $crowd + 1, $crowd + 20));
			$crowd += 20;
		}
	}
	return $sessions[0]->query_safe($flushes) - $before;
}

run('CREATE TABLE crowd (id int, v vector(8));' . rows('crowd', 1, $crowd) . 'CREATE INDEX crowd_v ON crowd USING phnsw (v);');
my $lonely = merged_of($sessions[0]);
my $crowded = merged_of(@sessions);
ok($lonely >= 40, "twenty rows at a time are merged: $lonely of 60 statements");
ok($crowded <= 24, "of two sessions' statements hardly any: $crowded of 120");
$_->quit foreach @sessions;
complete('crowd', $crowd, 'a crowd');
done_testing();
