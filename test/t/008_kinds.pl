# Every kind of table and index that PostgreSQL has: unlogged (reset by a crash), temporary, partitioned, partial,
# expression, in a tablespace, built and rebuilt concurrently, truncated, in savepoints and prepared transactions.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use Test::More;

my $node = new_node('kinds', 'autovacuum = off', 'restart_after_crash = on', 'max_prepared_transactions = 5', 'allow_in_place_tablespaces = on');
my $random = random_vectors_sql(8, 'i');
my $query = "'[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8]'::vector";

sub run
{
	return $node->safe_psql('postgres', shift);
}

# The index returns every row of the table (or those that $where keeps), and the checker passes.
sub complete
{
	my ($table, $index, $what, %more) = @_;
	my $column = $more{column} // 'v';
	my $where = $more{where} ? "WHERE $more{where}" : '';
	my $through = count_through_index($node, "$table $where", $column, '<->', $more{query} // $query);

	is($through, run("SELECT count(*) FROM $table $where"), "$what: the index returns every row");
	check_index($node, $_, $what) foreach ref $index ? @$index : $index;
	return;
}

# Unlogged: kept by a clean restart, empty after a crash, usable at once.
run("CREATE UNLOGGED TABLE unlogged AS SELECT i AS id, $random AS v FROM generate_series(1, 500) i;
	CREATE INDEX unlogged_v ON unlogged USING phnsw (v)");
complete('unlogged', 'unlogged_v', 'unlogged');
$node->restart;
is(run('SELECT count(*) FROM unlogged'), 500, 'unlogged: kept by a restart');
complete('unlogged', 'unlogged_v', 'unlogged, restarted');
$node->stop('immediate');
$node->start;
is(run('SELECT count(*) FROM unlogged'), 0, 'unlogged: reset by a crash');
complete('unlogged', 'unlogged_v', 'unlogged, reset');
run("INSERT INTO unlogged SELECT i, $random FROM generate_series(1, 300) i");
complete('unlogged', 'unlogged_v', 'unlogged, filled again');
run('ALTER TABLE unlogged SET LOGGED');
$node->stop('immediate');
$node->start;
is(run('SELECT count(*) FROM unlogged'), 300, 'made logged: survives a crash');
complete('unlogged', 'unlogged_v', 'made logged');

# Temporary, all in one session.
is(run(qq{
	CREATE TEMP TABLE temporary AS SELECT i AS id, $random AS v FROM generate_series(1, 400) i;
	CREATE INDEX temporary_v ON temporary USING phnsw (v);
	INSERT INTO temporary SELECT i, $random FROM generate_series(1, 100) i;
	DELETE FROM temporary WHERE id % 5 = 0;
	VACUUM temporary;
	SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order;
	SELECT count(*) FROM (SELECT * FROM temporary ORDER BY v <-> $query OFFSET 0) s;
	DO 'BEGIN PERFORM phnsw_check(''temporary_v''); END'}),
	'400', 'temporary: build, insert, vacuum, scan, check');

# Temporary and unlogged with so many rows that the graph is searched, which it is not with those
# above: the same answers in the same order as without the index, rows that are gone leave it, nothing
# is left out.  All in one session, with fewer local buffers than the index has pages, so that what
# the session knows of their places becomes wrong again and again.
sub search_graph
{
	my ($kind) = @_;
	my $nearest = 'SELECT q.id AS q, r.* FROM queries q CROSS JOIN LATERAL
		(SELECT id, v <-> q.v AS d FROM many ORDER BY v <-> q.v LIMIT 20) r';
	my $search = sub { my ($table) = @_; return qq{
		SELECT phnsw_stats_reset();
		CREATE TEMP TABLE $table AS SELECT row_number() OVER () AS place, s.* FROM ($nearest) s;
		SELECT '$table', scans, hops > 20 * scans, sweeps, pins > hops, glances > pins / 2, glances, killed FROM phnsw_stats
		WHERE index = 'many_v'::regclass;
		SELECT '$table: unordered', count(*) FROM
			(SELECT q = lag(q) OVER w AND d < lag(d) OVER w AS wrong FROM $table WINDOW w AS (ORDER BY place)) s WHERE wrong;
		SELECT '$table: found', count(*), count(DISTINCT (q, id)) FROM $table;
		SELECT '$table: right', count(*) FROM $table f JOIN exact e USING (q, id) WHERE f.d = e.d}; };
	my $out = run(qq{
		SET temp_buffers = 100;
		SET max_parallel_workers_per_gather = 0;
		SELECT setseed(0.25);
		CREATE $kind TABLE many AS SELECT i AS id, $random AS v FROM generate_series(1, 5500) i;
		CREATE INDEX many_v ON many USING phnsw (v);
		SELECT 'evicts', relpages > 100 FROM pg_class WHERE relname = 'many_v';
		INSERT INTO many SELECT i, $random FROM generate_series(5501, 6000) i;
		CREATE TEMP TABLE queries AS SELECT i AS id, $random AS v FROM generate_series(1, 60) i;
		ANALYZE many; ANALYZE queries;
		DELETE FROM many WHERE id % 3 = 0;
		SET enable_indexscan = off;
		CREATE TEMP TABLE exact AS $nearest;
		RESET enable_indexscan;
		SET enable_seqscan = off; SET enable_sort = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET phnsw.ef_search = 100;
		@{[join '; ', map { $search->($_) } 'first', 'second']};
		SET phnsw.iterative_scan = relaxed_order;
		SELECT 'all', count(*), count(DISTINCT id), sum(id % 3) FROM (SELECT id FROM many ORDER BY v <-> $query OFFSET 0) s;
		SELECT 'check', phnsw_check('many_v', true, true);
		VACUUM many;
		SELECT 'vacuumed', phnsw_check('many_v', true, true);
		SELECT 'still all', count(*), count(DISTINCT id) FROM (SELECT id FROM many ORDER BY v <-> $query OFFSET 0) s;
		DROP TABLE many});
	my %said = $out =~ /^([a-z: ]+)\|(.*)$/mg;
	my %killed;

	note($out);
	is($said{evicts}, 't', "$kind: more pages than local buffers");
	foreach my $table ('first', 'second')
	{
		my ($did, $most, $glances, $gone) = $said{$table} =~ /^(.*)\|([tf])\|(\d+)\|(\d+)$/;

		is($did, '60|t|0|t', "$kind, $table: the graph was searched");
		$killed{$table} = $gone;
		ok($kind eq 'TEMP' ? $glances == 0 : $most eq 't', "$kind, $table: reads without a pin where there are shared buffers");
		is($said{"$table: unordered"}, 0, "$kind, $table: in the order of distances");
		is($said{"$table: found"}, '1200|1200', "$kind, $table: twenty each");
		cmp_ok($said{"$table: right"}, '>=', 1188, "$kind, $table: the nearest");
	}
	cmp_ok($killed{first}, '>', 100, "$kind: rows that are gone leave the index");
	cmp_ok($killed{second}, '<', $killed{first} / 10, "$kind: once");
	is($said{all}, '4000|4000|6000', "$kind: the index returns every row");
	is($said{'still all'}, '4000|4000', "$kind: and after vacuum");
	ok(exists $said{check} && exists $said{vacuumed}, "$kind: checked");
	return;
}

search_graph('TEMP');
search_graph('UNLOGGED');

# Partitioned: a merge of ordered index scans.
run("CREATE TABLE parts (id int, v vector(8)) PARTITION BY RANGE (id);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (300);
	CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (300) TO (1000);
	INSERT INTO parts SELECT i, $random FROM generate_series(1, 600) i;
	CREATE INDEX parts_v ON parts USING phnsw (v);
	CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (1000) TO (2000);
	INSERT INTO parts SELECT i, $random FROM generate_series(601, 1200) i");
like(run("SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT * FROM parts ORDER BY v <-> $query LIMIT 5"),
	qr/Merge Append.*Index Scan using parts_1_v_idx.*Index Scan using parts_3_v_idx/s, 'partitioned: the plan merges index scans');
is(run("SET enable_seqscan = off; SELECT array_agg(id) FROM (SELECT id FROM parts ORDER BY v <-> $query LIMIT 5) s"),
	run("SET enable_indexscan = off; SELECT array_agg(id) FROM (SELECT id FROM parts ORDER BY v <-> $query LIMIT 5) s"),
	'partitioned: the same answer as without an index');
complete('parts', [qw(parts_1_v_idx parts_2_v_idx parts_3_v_idx)], 'partitioned');

# Partial, and over an expression (halves of stored arrays).
run("CREATE TABLE plain (id int, v vector(8), a real[]);
	INSERT INTO plain SELECT i, v, v::real[] FROM (SELECT i, $random AS v FROM generate_series(1, 1000) i) s;
	CREATE INDEX partial_v ON plain USING phnsw (v) WHERE id % 3 = 0");
complete('plain', 'partial_v', 'partial', where => 'id % 3 = 0');
unlike(run("SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT * FROM plain ORDER BY v <-> $query LIMIT 5"),
	qr/partial_v/, 'partial: not used without its condition');
run('UPDATE plain SET id = id + 1');
complete('plain', 'partial_v', 'partial, all rows updated', where => 'id % 3 = 0');
run('CREATE INDEX expression_v ON plain USING phnsw ((a::vector(8)) vector_cosine_ops)');
like(run("SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT * FROM plain ORDER BY a::vector(8) <=> $query LIMIT 5"),
	qr/Index Scan using expression_v/, 'expression: the index is used');
check_index($node, 'expression_v', 'expression');

# NULL and zero vectors: stored in the table, not in a cosine index.
run("CREATE TABLE odd AS SELECT i AS id, (CASE WHEN i % 10 = 0 THEN NULL WHEN i % 10 = 1 THEN '[0,0,0,0,0,0,0,0]'::vector
		ELSE $random END)::vector(8) AS v FROM generate_series(1, 500) i;
	CREATE INDEX odd_v ON odd USING phnsw (v);
	CREATE INDEX odd_cosine ON odd USING phnsw (v vector_cosine_ops)");
is(count_through_index($node, 'odd', 'v', '<->', $query), 450, 'NULL: not in the index');
is(count_through_index($node, 'odd', 'v', '<=>', $query), 400, 'cosine: zero vectors are not in the index');
check_index($node, $_, 'NULL and zero vectors') foreach qw(odd_v odd_cosine);

# Tablespaces.
run("CREATE TABLESPACE elsewhere LOCATION ''");
run("CREATE INDEX there_v ON plain USING phnsw (v) TABLESPACE elsewhere");
complete('plain', 'there_v', 'tablespace');
run('ALTER INDEX there_v SET TABLESPACE pg_default');
complete('plain', 'there_v', 'moved');
run('DROP INDEX there_v');

# Concurrently, while rows are inserted, updated and deleted.
my $script = PostgreSQL::Test::Utils::tempdir() . '/change.sql';
PostgreSQL::Test::Utils::append_to_file($script, join("\n", '\set id random(1, 1000)',
	"INSERT INTO plain (id, v) SELECT :id, $random FROM generate_series(1, 1) i;",
	"UPDATE plain SET v = (SELECT v FROM plain WHERE id = 1 + (:id * 7) % 900 LIMIT 1) WHERE id = :id;",
	'DELETE FROM plain WHERE id = (:id * 13) % 1000;', ''));
my $pgbench = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 2, '-T', 6, '-f', $script, 'postgres' ],
	'>', \my $out, '2>', \my $err);
run('CREATE INDEX CONCURRENTLY plain_v ON plain USING phnsw (v)');
run('REINDEX INDEX CONCURRENTLY plain_v');
run('VACUUM plain');
run('REINDEX TABLE CONCURRENTLY plain');
ok($pgbench->finish, 'clients went on during concurrent builds') or diag($err);
unlike($err, qr/ERROR|aborted/, 'no client saw an error') or diag($err);
run('DROP INDEX partial_v');
run('DELETE FROM plain WHERE v IS NULL');
complete('plain', 'plain_v', 'built and rebuilt concurrently');
run('REINDEX INDEX plain_v');
complete('plain', 'plain_v', 'rebuilt');
run('CREATE INDEX plain_id ON plain (id); CLUSTER plain USING plain_id');
complete('plain', 'plain_v', 'table clustered');
run('VACUUM FULL plain');
complete('plain', 'plain_v', 'vacuum full');

# TRUNCATE, also rolled back.
run("CREATE TABLE short AS SELECT i AS id, $random AS v FROM generate_series(1, 300) i; CREATE INDEX short_v ON short USING phnsw (v)");
run("BEGIN; TRUNCATE short; INSERT INTO short SELECT i, $random FROM generate_series(1, 20) i; ROLLBACK");
complete('short', 'short_v', 'TRUNCATE rolled back');
run('TRUNCATE short');
complete('short', 'short_v', 'TRUNCATE');
run("INSERT INTO short SELECT i, $random FROM generate_series(1, 200) i");
complete('short', 'short_v', 'filled after TRUNCATE');

# Savepoints, prepared transactions: what is rolled back is not found.
run("BEGIN;
	INSERT INTO short SELECT i, $random FROM generate_series(201, 210) i;
	SAVEPOINT a;
	INSERT INTO short SELECT i, $random FROM generate_series(211, 230) i;
	ROLLBACK TO a;
	INSERT INTO short SELECT i, $random FROM generate_series(231, 235) i;
	COMMIT");
complete('short', 'short_v', 'savepoint');
run("BEGIN; INSERT INTO short SELECT i, $random FROM generate_series(301, 310) i; PREPARE TRANSACTION 'p'");
$node->stop('immediate');
$node->start;
run("COMMIT PREPARED 'p'");
is(run('SELECT count(*) FROM short'), 225, 'a prepared transaction survives a crash');
complete('short', 'short_v', 'prepared transaction');

# An index created empty, and a build that is rolled back.
run("CREATE TABLE empty (id int, v vector(8)); CREATE INDEX empty_v ON empty USING phnsw (v)");
complete('empty', 'empty_v', 'created empty');
run("INSERT INTO empty SELECT i, $random FROM generate_series(1, 500) i");
complete('empty', 'empty_v', 'filled by inserts');

$node->stop;
done_testing();
