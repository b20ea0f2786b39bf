# Bulk insert: corners of a transaction with rows in waiting that need several sessions, or a session that stops in
# the midst of a flush (sql/corners.sql: those that need one).  It is cancelled there, times out idle, exports its
# snapshot; others detach, attach, move and rewrite its table; another library inserts when it commits.  Each with
# an empty index, whose rows are built, and with one that has nodes, whose rows are merged.  Afterwards the checker
# passes, and a scan of the index finds exactly the rows of the table.

use strict;
use warnings;

use Cwd 'abs_path';
use File::Basename;
use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $node = bulk_node('corners', 'autovacuum = off', 'max_parallel_maintenance_workers = 1', 'phnsw.merge_threshold = 1', 'max_prepared_transactions = 5');
my $lock = q{x'70686e7377'::bigint};
my %pid;

sub open_session
{
	my $s = $node->background_psql('postgres', on_error_stop => 0);

	$pid{$s} = $s->query_safe('SET client_min_messages = warning; SELECT pg_backend_pid()');
	return $s;
}

# Sends a statement and does not wait for its end.
sub begin
{
	my ($s, $sql) = @_;

	$s->query_until(qr/begun/, "\\echo begun\n$sql;\n");
	return;
}

# What the session has complained about by now.
sub complaint
{
	my ($s) = @_;

	$s->query('SELECT 1');
	my $said = $s->{stderr};
	$s->{stderr} = '';
	return $said;
}

sub waits
{
	my ($s, $type) = @_;

	return wait_until(60, sub { run("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $pid{$s}" . ($type ? " AND locktype = '$type'" : '')) > 0 });
}

# A table with its index; $filled: that has 400 nodes, or so many.
sub nodes
{
	my ($filled) = @_;

	return $filled > 1 ? $filled : 400 * $filled;
}

sub make
{
	my ($table, $filled) = @_;

	run("CREATE TABLE $table (id int, v vector(8));" . ($filled ? rows($table, -nodes($filled), -1) : '') . "CREATE INDEX ${table}_v ON $table USING phnsw (v);");
	return;
}

sub entries
{
	my ($table, $n, $what) = @_;

	is(run("SELECT rows FROM phnsw_index_info('${table}_v')"), $n, "$what: entries of the index");
	return;
}

my $s = open_session();
my $other = open_session();

# A cancel that comes while a row, or a merge, is half written waits until it is known what is in the
# index, and takes effect then: the savepoint around the flush is rolled back, every row is there,
# once, and the transaction goes on.  `undo`: the rows that were to be flushed are rolled back as
# well, and what comes instead of them must not be taken for them.  The first moment in which it takes effect may be
# a line in the log: of the merge, or of the file that it closes where its memory does not hold level 0.
foreach my $case (
	[ 'row_by_row', 0, 'insert-planned 10', 40, '', '' ],
	[ 'merged', 1, 'merge-written', 100, '', '' ],
	[ 'logged', 1, 'merge-written', 100, '', 'SET LOCAL phnsw.log_build = on' ],
	[ 'file_logged', 20000, 'merge-written', 100, '', "SET LOCAL maintenance_work_mem = '14MB'; SET LOCAL log_temp_files = 0" ],
	[ 'undone', 0, 'insert-planned 30', 40, 'undo', '' ],
	[ 'merge_undone', 1, 'merge-written', 100, 'undo', '' ],
	[ 'logged_undone', 1, 'merge-written', 100, 'undo', 'SET LOCAL phnsw.log_build = on' ])
{
	my ($table, $filled, $point, $n, $undo, $set) = @$case;
	my $log = -s $node->logfile;

	make($table, $filled);
	$other->query_safe("SELECT pg_advisory_lock($lock)");
	$s->query_safe('BEGIN;' . rows($table, 1, 20) . 'SAVEPOINT a;' . rows($table, 21, $n) . "SAVEPOINT b; $set; SET LOCAL phnsw.test_point = 'wait $point'");
	begin($s, "SELECT count(*) FROM phnsw_index_info('${table}_v')");
	ok(waits($s, 'advisory'), "$table: a flush stops half-way");
	run("SELECT pg_cancel_backend($pid{$s})");
	# Who does not wait would be gone by then.
	$other->query_safe("SELECT pg_sleep(0.2); SELECT pg_advisory_unlock($lock)");
	like(complaint($s), qr/canceling statement due to user request/, "$table: and is cancelled");
	like(slurp_file($node->logfile, $log), $set =~ /files/ ? qr/temporary file: / : qr/phnsw merge of/, "$table: behind a line in the log") if $set ne '';
	$s->query_safe($undo ? 'ROLLBACK TO a;' . rows($table, 1001, 1000 + $n) : 'ROLLBACK TO b');
	$s->query_safe('COMMIT');
	is(complaint($s), '', "$table: the transaction goes on");
	complete($table, nodes($filled) + ($undo ? 20 + $n : $n), $table);
	is(run("SELECT count(DISTINCT id) FROM $table"), nodes($filled) + ($undo ? 20 + $n : $n), "$table: each row once");
}

# Nor is it in doubt what is in the index where a first row has to wait for another session's, and is cancelled meanwhile.
make('second', 0);
my $first = open_session();
$other->query_safe("SELECT pg_advisory_lock($lock)");
$first->query_safe("SET phnsw.test_point = 'wait insert-found'");
begin($first, rows('second', 101, 101));
ok(waits($first, 'advisory'), 'a first row is on its way');
$s->query_safe('BEGIN;' . rows('second', 1, 20) . 'SAVEPOINT a');
begin($s, q{SELECT count(*) FROM phnsw_index_info('second_v')});
ok(waits($s, 'tuple'), 'others wait for it');
run("SELECT pg_cancel_backend($pid{$s})");
like(complaint($s), qr/canceling statement due to user request/, 'and are cancelled');
$other->query_safe("SELECT pg_advisory_unlock($lock)");
$s->query('ROLLBACK TO a; COMMIT');
is(complaint($s), '', 'who waited goes on');
is(complaint($first), '', 'and so does who was first');
complete('second', 21, 'first rows');
$first->quit;

# Rows of the file that a merge has read before it was cancelled are not those that are there after a rollback: 6,553
# rows of 40 bytes are what a quarter of 1 MB holds, and the file is read 204 at a time.
make('filed', 1);
$other->query_safe("SELECT pg_advisory_lock($lock)");
$s->query_safe('BEGIN;' . rows('filed', 1, 20) . "SET LOCAL maintenance_work_mem = '1MB';" . rows('filed', 21, 6600) . 'SAVEPOINT a;' . rows('filed', 6601, 6900)
	. "SAVEPOINT b; SET LOCAL maintenance_work_mem = '64MB'; SET LOCAL phnsw.test_point = 'wait merge-computed'");
isnt(join(' ', glob $node->data_dir . '/base/pgsql_tmp/*'), '', 'filed: there is a file');
begin($s, q{SELECT count(*) FROM phnsw_index_info('filed_v')});
ok(waits($s, 'advisory'), 'filed: a merge has read its rows');
run("SELECT pg_cancel_backend($pid{$s})");
like(complaint($s), qr/canceling statement due to user request/, 'filed: and is cancelled');
$other->query_safe("SELECT pg_advisory_unlock($lock)");
$s->query_safe('ROLLBACK TO a;' . rows('filed', 10001, 10300) . "SET LOCAL maintenance_work_mem = '64MB'; COMMIT");
complete('filed', 7300, 'filed');
entries('filed', 7300, 'filed');

# Rows of a savepoint that is rolled back are taken out at once: the index
# has no entry of them when the others have come.
foreach my $filled (0, 1)
{
	my $table = "aborted$filled";

	make($table, $filled);
	$s->query_safe('BEGIN;' . rows($table, 1, 500) . 'SAVEPOINT a;' . rows($table, 501, 900) . 'SAVEPOINT b;' . rows($table, 901, 1000) . 'RELEASE b; ROLLBACK TO a;'
		. rows($table, 1001, 1100) . 'COMMIT');
	complete($table, 600 + 400 * $filled, $table);
	entries($table, 600 + 400 * $filled, $table);
}

# A session that is idle for too long goes, and with it its rows, its locks and its file.
make('idle0', 0);
make('idle1', 1);
my $idle = open_session();
$idle->query_safe("SET maintenance_work_mem = '1MB'; SET idle_in_transaction_session_timeout = '200ms'; BEGIN;" . rows('idle0', 1, 20000) . 'SAVEPOINT a;' . rows('idle1', 1, 20000));
ok(wait_until(60, sub { run("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid{$idle}") == 0 }), 'an idle session goes');
like(slurp_file($node->logfile), qr/terminating connection due to idle-in-transaction timeout/, 'for that reason');
is(run(q{SELECT count(*) FROM pg_locks WHERE relation IN ('idle0_v'::regclass, 'idle1_v'::regclass)}), 0, 'and its locks');
is(join(' ', glob $node->data_dir . '/base/pgsql_tmp/*'), '', 'and its files');
eval { $idle->quit };
run(rows($_, 1, 400)) foreach 'idle0', 'idle1';
complete('idle0', 400, 'idle, built');
complete('idle1', 800, 'idle, merged');

# Readers with the snapshot of a session whose rows wait, and with older ones: they do not see the rows, before
# COMMIT or after.  Nor does the session itself, where its cursor is older.
foreach my $filled (0, 1)
{
	my $table = "seen$filled";
	my $count = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL phnsw.iterative_scan = relaxed_order;
		SELECT count(*) FROM (SELECT 1 FROM $table ORDER BY v <-> $query OFFSET 0) x";
	my $old = 400 * $filled;

	make($table, $filled);
	my $snapshot = $s->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ;' . rows($table, 1, 700) . 'SELECT pg_export_snapshot()');
	is($other->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'; $count"), $old, "$table: with the snapshot of who inserts");
	is($s->query_safe($count), $old + 700, "$table: who inserts");
	is($other->query_safe($count), $old, "$table: and again, when the rows are in the index");
	$s->query_safe('COMMIT');
	is($other->query_safe($count), $old, "$table: after COMMIT");
	run(rows($table, 701, 1400));
	is($other->query_safe("$count; COMMIT"), $old, "$table: after another's");
	is($other->query_safe("BEGIN; $count; COMMIT"), $old + 1400, "$table: a new snapshot");
	complete($table, $old + 1400, $table);
}

# Partitions that come and go while a session has rows in waiting for them; the table is rewritten, and vacuumed.
run('CREATE TABLE p (id int, v vector(8)) PARTITION BY RANGE (id); CREATE INDEX p_v ON p USING phnsw (v);
	CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (10000); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (10000) TO (20000);'
	. rows('p', 10001, 10400));
run("ALTER INDEX ${_}_v_idx RENAME TO ${_}_v") foreach 'p0', 'p1';
$s->query_safe('BEGIN;' . rows('p', 1, 600) . rows('p', 10401, 10500));
begin($other, 'ALTER TABLE p DETACH PARTITION p0 CONCURRENTLY');
ok(waits($other), 'who detaches a partition concurrently waits');
$s->query_safe(rows('p0', 601, 700) . rows('p', 10501, 10600) . 'COMMIT');
is(complaint($s) . complaint($other), '', 'both are content');
is(run(q{SELECT count(*) FROM pg_inherits WHERE inhrelid = 'p0'::regclass}), 0, 'the partition is detached');
complete('p0', 700, 'detached concurrently');
complete('p1', 600, 'the other partition');
$s->query_safe('BEGIN;' . rows('p0', 701, 1000) . rows('p', 10601, 10700));
begin($other, 'ALTER TABLE p ATTACH PARTITION p0 FOR VALUES FROM (0) TO (10000)');
ok(waits($other), 'who attaches a table waits');
$s->query_safe(rows('p0', 1001, 1100) . 'COMMIT');
is(complaint($s) . complaint($other), '', 'both are content');
run(rows('p', 1101, 1200));
complete('p0', 1200, 'attached');
complete('p1', 700, 'the other partition');
foreach my $statement ('VACUUM FULL p0', 'ALTER TABLE p0 SET UNLOGGED', 'ALTER TABLE p0 ALTER v TYPE vector(8) USING (v::real[])::vector', 'TRUNCATE p0')
{
	run('ALTER TABLE p DETACH PARTITION p0') if $statement =~ /ALTER v/;
	my $before = run('SELECT count(*) FROM p0');

	$s->query_safe('BEGIN;' . rows('p0', 2001, 2100) . 'SAVEPOINT a;' . rows('p0', 2101, 2200) . 'ROLLBACK TO a;');
	begin($other, $statement);
	ok(waits($other), "$statement waits");
	$s->query_safe(rows('p0', 2201, 2300) . 'COMMIT');
	is(complaint($s) . complaint($other), '', 'both are content');
	complete('p0', $statement =~ /TRUNCATE/ ? 0 : $before + 200, $statement);
}

# COPY FREEZE: rows of a savepoint that is rolled back, and those of the next.
my $file = PostgreSQL::Test::Utils::tempdir() . '/rows';
run("COPY (SELECT i, $random FROM generate_series(1, 500) i) TO '$file'");
run("BEGIN; CREATE TABLE frozen (id int, v vector(8)); CREATE INDEX frozen_v ON frozen USING phnsw (v); SAVEPOINT a; TRUNCATE frozen;
	COPY frozen FROM '$file' (FREEZE); ROLLBACK TO a; SAVEPOINT b; TRUNCATE frozen; COPY frozen FROM '$file' (FREEZE); RELEASE b;" . rows('frozen', 501, 900) . 'COMMIT');
complete('frozen', 900, 'COPY FREEZE in savepoints');
entries('frozen', 900, 'COPY FREEZE in savepoints');

# Another library inserts before the transaction ends, when phnsw has flushed or just before; at COMMIT and at PREPARE.
SKIP:
{
	my $library = PostgreSQL::Test::Utils::tempdir() . '/late_rows.so';
	my $include = `pg_config --includedir-server`;

	chomp $include;
	skip 'no C compiler', 32 if system('cc --version >/dev/null 2>&1') != 0 || !-e "$include/postgres.h";
	system_or_bail('cc', '-shared', '-fPIC', '-O1', "-I$include", '-o', $library, dirname(abs_path(__FILE__)) . '/late_rows.c');
	foreach my $order ("LOAD '$library'; LOAD 'phnsw';", "LOAD 'phnsw'; LOAD '$library';")
	{
		foreach my $filled (0, 1)
		{
			my $table = 'late' . ($order =~ /^LOAD 'phnsw'/ ? '_first' : '') . $filled;
			my $late = rows($table, 1001, 1400) =~ s/'/''/gr;

			make($table, $filled);
			run("$order BEGIN;" . rows($table, 1, 400) . "SET LOCAL late_rows.statement = '$late'; COMMIT;");
			complete($table, 800 + 400 * $filled, "$table: rows at COMMIT");
			run("$order BEGIN;" . rows($table, 401, 500) . "SET LOCAL late_rows.statement = '" . ($late =~ s/1001, 1400/2001, 2400/r)
				. "'; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p';" . rows($table, 501, 600));
			complete($table, 1400 + 400 * $filled, "$table: rows at PREPARE");
		}
	}
}

$_->quit foreach $s, $other;
$node->stop;
done_testing();
