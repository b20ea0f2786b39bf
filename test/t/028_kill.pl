# Rows that are dead to everybody leave the index with the first scan that meets them (src/pg/scan/kill.c):
# the second reads fewer pages of the table.  Not rows that somebody may still see, nor rows whose deletion
# was rolled back, nor on a standby.  The standby has the same bytes (it replays with
# wal_consistency_checking), and so has the server after a crash.  Nodes without rows are taken by rows with
# an equal vector, lead searches and inserts on, and are freed by vacuum.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use Test::More;

use constant { ROWS => 6000, DIMS => 16 };

my $primary = new_node('primary', 'autovacuum = off', "wal_consistency_checking = 'generic'", 'restart_after_crash = on',
	'wal_log_hints = on');
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
$standby->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION pageinspect');

sub run
{
	return $primary->safe_psql('postgres', shift);
}

# Pages have no room for another row, so that PostgreSQL prunes them when they are read.
seed_from_env();
run('SELECT setseed(' . rand() . '); CREATE TABLE t (id int, v vector(' . DIMS . '), n int DEFAULT 0) WITH (fillfactor = 100);
	INSERT INTO t SELECT i, ' . random_vectors_sql(DIMS, 'i') . ' FROM generate_series(1, ' . ROWS . ') i;
	CREATE TABLE q AS SELECT i AS id, ' . random_vectors_sql(DIMS, 'i') . ' AS v FROM generate_series(1, 100) i;
	CREATE INDEX t_v ON t USING phnsw (v); CREATE INDEX t_n ON t (n); VACUUM ANALYZE');

# Wide searches, so that answers do not depend on which nodes still have rows.
my $settings = 'SET phnsw.ef_search = 200; SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order;';
my $all = "SELECT count(*), sum(id), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM q LIMIT 1) OFFSET 0) s";
my $nearest = 'SELECT q.id, (SELECT array_agg(id) FROM (SELECT id FROM t AS t ORDER BY t.v <-> q.v LIMIT 10) s) FROM q ORDER BY 1';

# What 100 queries find; how many rows they have rechecked and taken out.
sub search
{
	my ($node, $table) = @_;
	my $sql = $nearest =~ s{FROM t}{"FROM " . ($table // "t")}er;
	my $out = ($node // $primary)->safe_psql('postgres', "$settings SELECT phnsw_stats_reset(); $sql; SELECT rechecks, killed FROM phnsw_stats");
	my ($found, $rechecks, $killed) = $out =~ /^\n?(.*)\n(\d+)\|(\d+)$/s or die $out;

	return ($found, $rechecks, $killed);
}

sub whole
{
	my ($what) = @_;

	is(run("$settings $all"), run('SELECT count(*), sum(id), count(DISTINCT id) FROM t'), "$what: the index returns every row, and each once");
	check_index($primary, 't_v', $what);
	return;
}

sub compare
{
	my ($what) = @_;

	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	same_pages(index_pages($primary, 't_v', 1), index_pages($standby, 't_v', 1), "$what: the standby's pages are the same");
	check_index($standby, 't_v', "standby, $what");
	return;
}

# ---- who may still see the row -------------------------------------------------------------------------------------------

my ($before, $rechecks) = search();
my $old = $primary->background_psql('postgres', on_error_die => 1);
$old->query_safe("$settings BEGIN ISOLATION LEVEL REPEATABLE READ");
$old->query_safe('SELECT count(*) FROM t');
run('BEGIN; DELETE FROM t; ROLLBACK');
is((search())[0], $before, 'a deletion was rolled back: the answers are the same');
run('DELETE FROM t WHERE id % 3 = 0');
my ($found, $more, $killed) = search();
is($killed, 0, 'an old snapshot: no row is taken out');
is($old->query_safe($nearest), $before, 'and it sees its rows');
$old->quit;

# ---- a third deleted ---------------------------------------------------------------------------------------------------------

my ($first, $first_rechecks, $first_killed) = search();
my ($second, $second_rechecks, $second_killed) = search();
cmp_ok($first_killed, '>', 100, 'rows are taken out by the first queries that meet them');
is($second_killed, 0, 'once');
is($second, $first, 'the answers are the same');
is($first, $found, 'as they were while the old snapshot lived');
cmp_ok($second_rechecks, '<', $first_rechecks * 0.85, 'fewer rows are looked at afterwards');
compare('a third deleted');

my $blocks = sub {
	return run("$settings EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON)
		SELECT id FROM t ORDER BY v <-> (SELECT v FROM q WHERE id = 1)") =~ /"Shared Hit Blocks": (\d+)/ ? $1 : die;
};
my $with = $blocks->();
cmp_ok($blocks->(), '<', $with - ROWS / 20, 'a long scan reads fewer pages the second time');
whole('a third deleted');

# ---- nodes without rows ------------------------------------------------------------------------------------------------------

run("DELETE FROM t WHERE id % 3 = 1; $settings $all; $all");
my $live = run("SELECT live_nodes FROM phnsw_index_info('t_v')");
is($live, ROWS, 'the nodes stay until vacuum comes');
run('SET phnsw.merge_threshold = 2147483647; INSERT INTO t SELECT 10000 + i, '
	  . random_vectors_sql(DIMS, 'i') . ' FROM generate_series(1, 500) i');
whole('rows inserted among nodes without rows');
run('INSERT INTO t SELECT 20000 + id, v FROM t WHERE id % 2 = 0; DELETE FROM t WHERE id < 20000 AND id % 2 = 0');
run("$settings $all; $all");
run('INSERT INTO t SELECT 40000 + id, v FROM t WHERE id > 20000');
whole('rows with equal vectors');
compare('inserts');
run('VACUUM (INDEX_CLEANUP ON) t');
is(run("SELECT live_nodes = (SELECT count(DISTINCT v::text) FROM t), dead_nodes, rows = (SELECT count(*) FROM t)
		FROM phnsw_index_info('t_v')"), 't|0|t', 'vacuum frees the nodes without rows, and keeps the others');
whole('vacuumed');
compare('vacuumed');

# ---- chains ------------------------------------------------------------------------------------------------------------------

# Updates of an indexed column leave a TID each with the node of the row's vector.
run("UPDATE t SET n = n + 1 WHERE id % 5 = 0") for 1 .. 12;
my $rows = run("SELECT rows FROM phnsw_index_info('t_v')");
run("$settings $all; $all");
cmp_ok(run("SELECT rows FROM phnsw_index_info('t_v')"), '<', $rows * 0.6, 'TIDs of chains are taken out');
whole('updated');
run("UPDATE t SET n = n + 1 WHERE id % 5 = 0; $settings $all");
whole('updated again');
compare('updated');
run('VACUUM (INDEX_CLEANUP ON) t');
is(run("SELECT rows = (SELECT count(*) FROM t) FROM phnsw_index_info('t_v')"), 't', 'vacuum leaves what is there');
whole('updated, vacuumed');
compare('updated, vacuumed');

# ---- crash -------------------------------------------------------------------------------------------------------------------

run('DELETE FROM t WHERE id % 7 = 1; UPDATE t SET n = n + 1 WHERE id % 7 = 2');
my $log = -s $primary->logfile;
my $died = !IPC::Run::run([ 'psql', '-XAtq', '-d', $primary->connstr('postgres') ],
	'<', \"$settings SET phnsw.test_point = 'crash record 40'; $all;\n", '>', \my $out, '2>', \my $err);
ok($died, 'a scan dies behind the 40th row that it takes out');
$primary->wait_for_log(qr/database system is ready to accept connections/, $log);
whole('after the crash');
compare('after the crash');

# ---- standby -----------------------------------------------------------------------------------------------------------------

run('CREATE TABLE u AS SELECT id, v FROM t; CREATE INDEX u_v ON u USING phnsw (v); DELETE FROM u WHERE id % 3 = 1');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is((search($standby, 'u'))[2], 0, 'a standby takes nothing out');
$standby->promote;
my ($promoted, undef, $by_promoted) = search($standby, 'u');
cmp_ok($by_promoted, '>', 0, 'promoted, it does');
is($promoted, (search($primary, 'u'))[0], 'and answers as the primary');
check_index($standby, 'u_v', 'promoted');

$standby->stop;
$primary->stop;
done_testing();
