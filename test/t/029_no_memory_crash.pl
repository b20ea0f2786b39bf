# A crash while the rows of a bulk insert go one by one into an empty index,
# since its build got no memory (029_no_memory.pl).
#
#    A: BEGIN, 400 rows, COMMIT: the build fails, 150 rows are in the index          A waits, nothing of it is committed
#    B: 60 rows, COMMIT
#    A is killed, or the server stops at once, or A dies behind one of its WAL records
#
# After recovery the index returns B's rows, and those of transactions that were committed or prepared, and no other;
# the checker finds nothing; what A left half-done a vacuum takes out, and the same rows go in once more.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use MemoryShim;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant { ROWS => 400, ALLOWED => 3 };

plan skip_all => 'no C compiler' if !shim_available();
my $node = shim_node(sub {
	return bulk_node('no_memory_crash', 'autovacuum = off', 'restart_after_crash = on', 'max_prepared_transactions = 2',
		'phnsw.log_build = on', 'max_parallel_maintenance_workers = 1');
});

# A session that has run statements, whose next build gets no memory; with its process.
sub poor_session
{
	my ($statements) = @_;
	my $s = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $s->query_safe('SELECT pg_backend_pid()');

	$s->query_safe($statements);
	shim($pid, left => ALLOWED);
	return ($s, $pid);
}

sub one_by_one
{
	my ($what, $log) = @_;

	like(slurp_file($node->logfile, $log), qr/has no memory, they go one by one/, "$what: the rows went one by one");
	return;
}

sub crash_over
{
	my ($pid) = @_;

	ok(wait_until(60, sub { server_answers($node, $pid) }), 'the server came back');
	return;
}

# Once more after the crash: the server stops by itself, and starts with the library.
sub stop_at_once
{
	$node->stop('immediate');
	shim_node(sub { $node->start });
	return;
}

# The index returns what the table has; vacuum takes out what nobody committed, and then A's rows go in.
sub recovered
{
	my ($table, $rows, $what) = @_;

	complete($table, $rows, $what);
	run("VACUUM (INDEX_CLEANUP ON) $table; SELECT phnsw_check('${table}_v', true, true)");
	is(run("SELECT rows FROM phnsw_index_info('${table}_v')"), $rows, "$what: rows in the index after a vacuum");
	run(rows($table, 1001, 1000 + ROWS));
	complete($table, $rows + ROWS, "$what, more rows");
	return;
}

# Behind WAL records of the first rows, of one in the middle, and of one that is nearly the last.
foreach my $n (1, 2, 3, 7, 300, 1000)
{
	my $log = -s $node->logfile;

	run('DROP TABLE IF EXISTS t;' . fresh('t') . 'INSERT INTO t VALUES (-1, NULL)');
	my ($s, $pid) = poor_session('BEGIN;' . rows('t', 1, ROWS) . "SET phnsw.test_point = 'crash record $n'");
	$s->{stdin} .= "COMMIT;\n";
	eval { $s->{run}->finish };
	crash_over($pid);
	shim(0);
	one_by_one("record $n", $log);
	run('DELETE FROM t WHERE v IS NULL');
	is(run('SELECT count(*) FROM t'), 0, "record $n: the transaction was not committed");
	recovered('t', 0, "record $n");
}

# Another session commits rows while A is on its way.
foreach my $how ('kill', 'stop')
{
	my $log = -s $node->logfile;
	my $hold = $node->background_psql('postgres');

	run('DROP TABLE IF EXISTS t;' . fresh('t'));
	$hold->query_safe(q{SELECT pg_advisory_lock(x'70686e7377'::bigint)});
	my ($s, $pid) = poor_session('BEGIN;' . rows('t', 1, ROWS) . "SET phnsw.test_point = 'wait insert-written 150'");
	$s->{stdin} .= "COMMIT;\n";
	$s->{run}->pump_nb;
	ok(wait_until(30, sub { run("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $pid") > 0 }), "$how: A waits among its rows");
	one_by_one($how, $log);
	run(rows('t', 501, 560));
	$how eq 'kill' ? kill('KILL', $pid) : stop_at_once();
	crash_over($pid);
	shim(0);
	# Not by the end of their input, which the new server may hold open.
	$_->{run}->kill_kill foreach $s, $hold;
	is(run('SELECT count(*), min(id) FROM t'), '60|501', "$how: what was committed");
	recovered('t', 60, $how);
}

# Committed, prepared, and in a table of the same transaction that is not logged.
sub poor_commit
{
	my ($what, $before, $commit) = @_;
	my $log = -s $node->logfile;
	my ($s) = poor_session($before);

	$s->query_safe($commit);
	shim(0);
	one_by_one($what, $log);
	$s->quit;
	stop_at_once();
	return;
}

run('DROP TABLE t;' . fresh('t'));
poor_commit('committed', 'BEGIN;' . rows('t', 1, ROWS), 'COMMIT');
recovered('t', ROWS, 'committed');
run('DROP TABLE t;' . fresh('t'));
poor_commit('prepared', 'BEGIN;' . rows('t', 1, ROWS), q{PREPARE TRANSACTION 'p'});
is(count_through_index($node, 't', 'v', '<->', $query), 0, 'prepared, not committed');
run(q{COMMIT PREPARED 'p'});
recovered('t', ROWS, 'prepared');
$node->append_conf('postgresql.conf', "wal_level = minimal\nmax_wal_senders = 0\nwal_skip_threshold = 0\n");
stop_at_once();
run('DROP TABLE t');
poor_commit('not logged', 'BEGIN;' . fresh('t') . rows('t', 1, ROWS), 'COMMIT');
recovered('t', ROWS, 'not logged');

$node->stop;
done_testing();
