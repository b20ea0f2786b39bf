# Bulk insert with other sessions: two fill the same empty index, one moves it or builds another
# beside it, it is vacuumed, the flush is cancelled or runs out of memory.  Afterwards the checker
# passes, and a scan of the index finds exactly the rows of the table.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $node = bulk_node('sessions', 'restart_after_crash = on', 'autovacuum = off',
	'allow_in_place_tablespaces = on');

# A psql that stays.  say() sends, and waits until everything before has been answered; ask() does not wait.
my %sessions;

sub session
{
	my ($name, $where) = @_;
	my %s = (in => '', out => '', err => '', n => 0);

	$s{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', ($where // $node)->connstr('postgres') ],
		'<', \$s{in}, '>', \$s{out}, '2>', \$s{err}, IPC::Run::timeout(120));
	$sessions{$name} = \%s;
	say_to($name, 'SET client_min_messages = warning;');
	$s{pid} = say_to($name, 'SELECT pg_backend_pid();');
	return;
}

sub ask
{
	my ($name, $sql) = @_;
	my $s = $sessions{$name};

	$s->{n}++;
	$s->{in} .= "$sql\n\\echo done$s->{n}\n";
	$s->{run}->pump_nb;
	return;
}

sub answer
{
	my ($name) = @_;
	my $s = $sessions{$name};

	$s->{run}->pump until $s->{out} =~ /^done$s->{n}$/m;
	my $out = $s->{out} =~ s/^done\d+\n//gmr;
	$s->{out} = '';
	chomp $out;
	return $out;
}

sub say_to
{
	my ($name, $sql) = @_;

	ask($name, $sql);
	return answer($name);
}

# What the session complained about since the last time.
sub complaints
{
	my ($name) = @_;
	my $err = $sessions{$name}{err};

	$sessions{$name}{err} = '';
	return $err;
}

sub waits
{
	my ($name) = @_;
	return wait_until(20, sub { run("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $sessions{$name}{pid}") > 0 });
}

session($_) foreach qw(a b c);

# Two sessions fill one empty index.  Both hold rows; who commits first builds, the other merges.
run(fresh('pair'));
say_to('a', 'BEGIN;' . rows('pair', 1, 900));
say_to('b', 'BEGIN;' . rows('pair', 1001, 1700));
is(say_to('c', "SET enable_seqscan = off; SELECT count(*) FROM (SELECT 1 FROM pair ORDER BY v <-> $query OFFSET 0) x;"), filled(),
	'nobody else sees the rows');
say_to('a', 'COMMIT;');
say_to('b', rows('pair', 1701, 1800) . 'COMMIT;');
is(say_to('a', "SELECT bulk_flushes, inserts_bulk, inserts FROM phnsw_stats WHERE index = 'pair_v'::regclass;"), '1|900|0', 'the first builds, or merges');
is(say_to('b', "SELECT bulk_flushes, inserts_bulk, inserts FROM phnsw_stats WHERE index = 'pair_v'::regclass;"), '1|800|0', 'the second merges');
complete('pair', 1700, 'two sessions, one after the other');
is(complaints($_), '', "no complaint of $_") foreach qw(a b);

# The same at once, several times, with loads of all sizes.
foreach my $round (1 .. 5)
{
	my @size = map { (3, 300, 700, 3000)[ rand 4 ] } 1 .. 3;
	my @names = qw(a b c);

	run('DROP TABLE IF EXISTS race;' . fresh('race'));
	say_to($names[$_], 'BEGIN;' . rows('race', 1, $size[$_])) foreach 0 .. 2;
	ask($_, 'COMMIT;') foreach @names;
	answer($_) foreach @names;
	is(join('', map { complaints($_) } @names), '', "round $round: no complaints");
	complete('race', $size[0] + $size[1] + $size[2], "round $round: commits at once, @size rows");
}

# lock_timeout does not end a commit that waits for another's build
# (lock_timeout.spec: for another's merge; a small merge does not wait).
run(fresh('timeout'));
say_to('a', 'BEGIN;' . rows('timeout', 1, 40000));
say_to('b', "SET lock_timeout = '10ms'; BEGIN;" . rows('timeout', 50001, 50900));
ask('a', 'COMMIT;');
ok(wait_until(20, sub { run("SELECT count(*) FROM pg_locks WHERE locktype = 'tuple' AND relation = 'timeout_v'::regclass AND pid = $sessions{a}{pid}") > 0 }),
	'a session builds or merges');
ask('b', 'COMMIT;');
ok(filled() || waits('b'), 'another waits');
answer($_) foreach qw(a b);
is(say_to('b', 'SHOW lock_timeout; RESET lock_timeout;'), '10ms', 'lock_timeout is what it was');
is(complaints('a') . complaints('b'), '', 'lock_timeout: no complaints');
complete('timeout', 40900, 'lock_timeout');

# A reader whose scan of the empty index is open goes on, and its next scan finds the rows.
run(fresh('reader'));
say_to('b', "BEGIN; SET LOCAL enable_seqscan = off; DECLARE c CURSOR FOR SELECT id FROM reader ORDER BY v <-> $query; FETCH 1 FROM c;");
run(rows('reader', 1, 900));
say_to('b', 'MOVE ALL FROM c;');
is(say_to('b', 'FETCH 1 FROM c;'), '', 'a cursor on the empty index is at its end');
is(say_to('b', "SELECT count(*) FROM (SELECT 1 FROM reader ORDER BY v <-> $query OFFSET 0) x; COMMIT;"), 900 + filled(), 'the next scan finds the rows');
is(complaints('b'), '', 'no complaint of the reader');

# An index cannot be moved while rows wait for it, though nobody locks the table for that.
run(fresh('moved') . "CREATE TABLESPACE elsewhere LOCATION '';");
say_to('a', 'BEGIN;' . rows('moved', 1, 900));
ask('b', 'ALTER INDEX moved_v SET TABLESPACE elsewhere;');
ok(waits('b'), 'who moves the index waits');
say_to('a', rows('moved', 901, 1000) . 'COMMIT;');
answer('b');
is(complaints('a') . complaints('b'), '', 'both are content');
complete('moved', 1000, 'moved by another session');

# Concurrent builds beside rows in waiting, of this index and of another; also on a table that is
# empty at first, whose rows the second pass of the build inserts.
run(fresh('beside'));
say_to('a', 'BEGIN;' . rows('beside', 1, 700));
ask('b', 'CREATE INDEX CONCURRENTLY beside_w ON beside USING phnsw (v vector_cosine_ops);');
ok(waits('b'), 'a concurrent build waits for the transaction');
say_to('a', rows('beside', 701, 900) . 'COMMIT;');
answer('b');
ask('b', 'REINDEX INDEX CONCURRENTLY beside_v;');
answer('b');
say_to('a', 'BEGIN;' . rows('beside', 901, 1000));
ask('b', 'REINDEX INDEX CONCURRENTLY beside_v;');
ok(waits('b'), 'a concurrent rebuild waits');
say_to('a', 'COMMIT;');
answer('b');
check_index($node, 'beside_w', 'built beside rows in waiting');
complete('beside', 1000, 'rebuilt beside rows in waiting');
run('CREATE TABLE second_pass (id int, v vector(8));' . prefill('second_pass'));
say_to('a', 'BEGIN; SELECT count(*) FROM second_pass;');
say_to('c', 'BEGIN; LOCK TABLE second_pass IN ROW EXCLUSIVE MODE;');
ask('b', 'CREATE INDEX CONCURRENTLY second_pass_v ON second_pass USING phnsw (v);');
ok(waits('b'), 'the build waits before its first pass');
say_to('a', rows('second_pass', 1, 900));
say_to('c', 'COMMIT;');
say_to('a', 'COMMIT;');
answer('b');
is(join('', map { complaints($_) } qw(a b c)), '', 'no complaints');
complete('second_pass', 900, 'built concurrently');

# VACUUM while rows wait: some of them are dead by then.
run(fresh('vac'));
say_to('a', 'BEGIN;' . rows('vac', 1, 600) . 'SAVEPOINT a;' . rows('vac', 601, 1200) . 'ROLLBACK TO a;');
run('VACUUM vac');
run(rows('vac', 2001, 2300));
say_to('a', 'DELETE FROM vac WHERE id <= 100; COMMIT;');
run('VACUUM vac');
complete('vac', 800, 'vacuum while rows wait');

# ON CONFLICT takes a row back when another session was faster; vacuum and a third session, or the same
# transaction, use its place again.  The transaction's rows are merged; they are few, and go one by one; they
# are the first of the index, since the others' rows have no vectors.
run(q{CREATE FUNCTION pause(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF current_setting('phnsw_test.pause', true) = 'on' THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
		RETURN $1; END $$});
foreach my $case ([ 'spec', 900, "'[8,8,8,8,8,8,8,8]'" ], [ 'few', 30, "'[8,8,8,8,8,8,8,8]'" ], [ 'first', 900, 'NULL' ], [ 'again', 900, "'[8,8,8,8,8,8,8,8]'", 'a' ])
{
	my ($table, $last, $vector, $same) = @$case;

	run(fresh($table) . "CREATE INDEX ON $table (pause(id)) WHERE id = 5; CREATE UNIQUE INDEX ON $table (id);");
	say_to('c', 'SELECT pg_advisory_lock(7);');
	say_to('a', 'BEGIN;' . rows($table, 10, $last) . 'SET LOCAL phnsw_test.pause = on;');
	ask('a', "INSERT INTO $table VALUES (5, '[9,9,9,9,9,9,9,9]') ON CONFLICT (id) DO NOTHING;");
	ok(waits('a'), "$table: in the middle of ON CONFLICT");
	run("INSERT INTO $table VALUES (5, $vector) ON CONFLICT (id) DO NOTHING");
	say_to('c', 'SELECT pg_advisory_unlock(7);');
	answer('a');
	run("VACUUM $table");
	my $more = "INSERT INTO $table SELECT i, $vector FROM generate_series(1001, 1010) i;";
	$same ? say_to($same, $more) : run($more);
	my ($place) = split /\n/, say_to($same // 'c', "SELECT ctid FROM $table WHERE id = 1001;");
	like($place, qr/^\(\d+,\d+\)$/, "a row at $place");
	say_to('a', 'COMMIT;');
	is(join('', map { complaints($_) } qw(a b c)), '', 'no complaints');
	is(run("SELECT rows FROM phnsw_index_info('${table}_v')"), run("SELECT count(v) FROM $table"), "$table: ON CONFLICT that lost: as many rows in the index");
	complete($table, $last + 2, "$table: ON CONFLICT that lost") if $vector ne 'NULL';
	check_index($node, "${table}_v", "$table: ON CONFLICT that lost");
}

# The same transaction uses the place again for a row that is not in this index, or goes into it by another way:
# for new versions whose vector is as before, rows without a vector, rows outside the predicate; also in the
# same command, there for the same row once more, with ON CONFLICT or without.  And the row that is taken back
# is in the index already, since a function of another index has searched.
run(q{CREATE OR REPLACE FUNCTION pause(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
		IF current_setting('phnsw_test.peek', true) <> '' THEN
			EXECUTE format('SELECT id FROM %I ORDER BY v <-> ''[1,0,0,0,0,0,0,0]'' LIMIT 1', current_setting('phnsw_test.peek'));
		END IF;
		IF current_setting('phnsw_test.pause', true) = 'on' THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
		RETURN $1; END $$;
	CREATE FUNCTION hold(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(8); RETURN $1; END $$});
my $nine = "'[9,9,9,9,9,9,9,9]'::vector";
foreach my $case (
	[ 'updated', reuse => 'UPDATE updated SET id = id + 10000 WHERE id BETWEEN 5001 AND 5005' ],
	[ 'nulls', reuse => "INSERT INTO nulls SELECT i, NULL, repeat('x', 200) FROM generate_series(12001, 12009) i" ],
	[ 'outside', where => 'id % 2 = 1', reuse => "INSERT INTO outside SELECT i, $random FROM generate_series(12002, 12010, 2) i" ],
	[ 'command', where => 'id % 2 = 1', also => "SELECT hold(12002), $nine" ],
	[ 'twin', also => "SELECT hold(5), $nine", delete => 1, more => 1 ],
	[ 'plain', also => "SELECT hold(5), $nine", plain => 1, delete => 1, more => 1 ],
	[ 'searched', peek => 1, reuse => "INSERT INTO searched SELECT i, NULL, repeat('x', 200) FROM generate_series(12001, 12009) i" ],
	[ 'searched_update', peek => 1, reuse => 'UPDATE searched_update SET id = id + 10000 WHERE id BETWEEN 5001 AND 5005' ])
{
	my ($table, %is) = @$case;
	my $where = $is{where} // 'true';

	run("CREATE TABLE $table (id int, v vector(8), wide text);" . rows($table, 5001, 6000) . "CREATE INDEX ${table}_v ON $table USING phnsw (v) WHERE $where;"
		  . "CREATE INDEX ON $table (pause(id)) WHERE id = 5; CREATE UNIQUE INDEX ON $table (id);");
	say_to('c', 'SELECT pg_advisory_lock(7), pg_advisory_lock(8);');
	say_to('a', 'BEGIN;' . rows($table, 10, 909) . 'SET LOCAL phnsw_test.pause = on;');
	say_to('a', "SET LOCAL enable_seqscan = off; SET LOCAL phnsw_test.peek = $table;") if $is{peek};
	my $insert = "INSERT INTO $table SELECT 5, $nine" . ($is{also} && !$is{plain} ? " UNION ALL $is{also}" : '') . ' ON CONFLICT (id) DO NOTHING';
	# Without ON CONFLICT, in the same command.
	$insert = "WITH first AS ($insert RETURNING id) INSERT INTO $table SELECT hold(5 + n::int), $nine FROM (SELECT count(*) AS n FROM first) f" if $is{plain};
	ask('a', "$insert;");
	ok(waits('a'), "$table: in the middle of ON CONFLICT");
	run("INSERT INTO $table VALUES (5, NULL)");
	say_to('c', 'SELECT pg_advisory_unlock(7);');
	$is{also} ? ok(wait_until(20, sub { run("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 8 AND NOT granted") }), "$table: before the next row") : answer('a');
	run("DELETE FROM $table WHERE id = 5") if $is{delete};
	run("VACUUM $table");
	say_to('c', 'SELECT pg_advisory_unlock(8);');
	answer('a') if $is{also};
	say_to('a', "SET LOCAL phnsw_test.pause = off; $is{reuse};") if $is{reuse};
	is(say_to('a', "SELECT count(*) FROM $table x JOIN $table y ON x.id = 909 AND (x.ctid::text::point)[0] = (y.ctid::text::point)[0]
		AND (x.ctid::text::point)[1] + 1 = (y.ctid::text::point)[1] AND (y.id > 10000 OR y.v = $nine);"), 1, "$table: the place is used again");
	say_to('a', 'COMMIT;');
	is(complaints('a') . complaints('c'), '', "$table: no complaints");
	run("VACUUM (INDEX_CLEANUP ON) $table");
	my $ids = "SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM $table WHERE $where AND";
	is(run("SELECT rows FROM phnsw_index_info('${table}_v')"), run("SELECT count(v) FROM $table WHERE $where"), "$table: as many rows in the index");
	is(run("SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order; $ids true ORDER BY v <-> $query OFFSET 0) x"),
		run("SET enable_indexscan = off; $ids v IS NOT NULL) x"), "$table: the index returns what the table has");
	is(run("SELECT count(*) FROM $table WHERE v = $nine"), $is{more} // ($is{also} ? 1 : 0), "$table: the row that was taken back is not there");
	check_index($node, "${table}_v", "$table: the place of a row that was taken back");
}

# Cancelled during the flush at commit: nothing is left, and the session works.
run(fresh('cancel'));
say_to('a', 'BEGIN;' . rows('cancel', 1, 40000));
ask('a', 'COMMIT;');
ok(wait_until(20, sub { run("SELECT pg_cancel_backend($sessions{a}{pid}) FROM pg_stat_activity
	WHERE pid = $sessions{a}{pid} AND state = 'active' AND query ~ 'COMMIT' AND clock_timestamp() > query_start + '20 ms'") ne '' }),
	'a commit is cancelled');
answer('a');
like(complaints('a'), qr/canceling statement/, 'a flush at commit can be cancelled');
complete('cancel', 0, 'cancelled at commit');
is(say_to('a', rows('cancel', 1, 900) . 'SELECT count(*) FROM cancel;'), 900 + filled(), 'the session goes on');
complete('cancel', 900, 'after the cancel');

# A backend that is terminated during the flush.
run(fresh('terminated'));
session('t');
say_to('t', 'BEGIN;' . rows('terminated', 1, 40000));
ask('t', 'COMMIT;');
ok(wait_until(20, sub { run("SELECT pg_terminate_backend($sessions{t}{pid}) FROM pg_stat_activity
	WHERE pid = $sessions{t}{pid} AND state = 'active' AND query ~ 'COMMIT' AND clock_timestamp() > query_start + '50 ms'") ne '' }),
	'a committing backend is terminated');
$sessions{t}{run}->finish;
like(complaints('t'), qr/terminating connection/, 'a flush at commit can be terminated');
complete('terminated', 0, 'terminated at commit');

# A flush that is interrupted within a savepoint: afterwards every row is there, once.
run(fresh('halfway'));
say_to('a', 'BEGIN;' . rows('halfway', 1, 4000));
run(rows('halfway', 5001, 5600));
say_to('a', "SAVEPOINT a; SET LOCAL statement_timeout = '5ms'; SET LOCAL enable_seqscan = off;
	SELECT count(*) FROM (SELECT 1 FROM halfway ORDER BY v <-> $query LIMIT 1) x;
	ROLLBACK TO a;" . rows('halfway', 4001, 4100) . 'COMMIT;');
like(complaints('a'), qr/statement timeout/, 'a flush is interrupted');
complete('halfway', 4700, 'interrupted half-way');

# Out of memory during the flush: the backend's address space is limited just before.  The rows
# go one by one, into an empty index as into a filled one.
SKIP:
{
	skip 'no prlimit', 5 if system('prlimit --version >/dev/null 2>&1') != 0;
	run(fresh('oom'));
	say_to('a', "SET maintenance_work_mem = '2GB'; BEGIN;" . rows('oom', 1, 30000));
	my ($pages) = split / /, PostgreSQL::Test::Utils::slurp_file("/proc/$sessions{a}{pid}/statm");
	system_or_bail('prlimit', '--pid', $sessions{a}{pid}, '--as=' . ($pages * 4096 + 24 * 1024 * 1024) . ':');
	say_to('a', 'COMMIT;');
	is(complaints('a'), '', 'out of memory at commit: no complaint');
	complete('oom', 30000, 'out of memory at commit');
	run("SELECT pg_terminate_backend($sessions{a}{pid})");
}

$_->{run}->kill_kill foreach values %sessions;
$node->stop;
done_testing();
