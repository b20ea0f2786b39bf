# Bulk insert in one session: every way in which rows can wait for an empty index while their transaction
# does something else.  Each case ends with the checker, with a scan of the whole index against a count of
# the table, and with the nearest neighbours by index and by table.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest qw(bulk_settings prefill prefilled filled);
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('bulk', 'max_prepared_transactions = 5', 'allow_in_place_tablespaces = on',
	'maintenance_work_mem = ' . (filled() ? '64MB' : '1MB'), 'max_parallel_maintenance_workers = 1', 'autovacuum = off',
	bulk_settings());
my $random = random_vectors_sql(8, 'i');

sub run
{
	return $node->safe_psql('postgres', shift);
}

# A script whose errors are part of the test; returns what it printed, and what it complained about.
sub try
{
	my ($rc, $out, $err) = $node->psql('postgres', shift, on_error_stop => 0);

	return ($out, $err);
}

# INSERT of ids $first ... $last.
sub rows
{
	my ($table, $first, $last) = @_;

	return "INSERT INTO $table SELECT i, $random FROM generate_series($first, $last) i;";
}

sub fresh
{
	my ($table, $more) = @_;

	return "CREATE TABLE $table (id int, v vector(8));" . prefill($table) . "CREATE INDEX ${table}_v ON $table USING phnsw (v) "
		. ($more // '') . ';';
}

# The SQL that compares; also for use inside a transaction, where it prints the count and "t".
sub compare_sql
{
	my ($table) = @_;

	return qq{
		SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL max_parallel_workers_per_gather = 0;
		SELECT count(*) FILTER (WHERE id > -900000) FROM (SELECT id FROM $table ORDER BY v <-> '[0,0,0,0,0,0,0,0]' OFFSET 0) x;
		CREATE TEMP TABLE by_index AS SELECT q, (SELECT array_agg(d) FROM
			(SELECT v <-> q::vector d FROM $table ORDER BY v <-> q::vector LIMIT 10) r) AS d
			FROM (VALUES ('[1,0,0,0,0,0,0,0]'), ('[0,1,-1,0,0,0,0,0]'), ('[1,1,1,1,1,1,1,1]')) p(q);
		SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on; SET LOCAL enable_indexscan = off;
		SELECT bool_and(d IS NOT DISTINCT FROM (SELECT array_agg(d) FROM
			(SELECT v <-> q::vector d FROM $table ORDER BY v <-> q::vector LIMIT 10) r)) FROM by_index;
		RESET enable_indexscan; RESET enable_seqscan; RESET enable_sort; RESET max_parallel_workers_per_gather;
		DROP TABLE by_index;};
}

sub complete
{
	my ($table, $expected, $what) = @_;

	is(run("SELECT count(*) FROM $table"), $expected + prefilled($node, $table), "$what: rows of the table");
	is(run('BEGIN; SET LOCAL phnsw.ef_search = 2000;' . compare_sql($table) . 'COMMIT;'), "$expected\nt", "$what: the index agrees");
	foreach my $index (split /\n/, run("SELECT indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
		JOIN pg_am a ON a.oid = relam WHERE amname = 'phnsw' AND indrelid = '$table'::regclass AND relkind = 'i'"))
	{
		check_index($node, $index, $what);
	}
	return;
}

# What the session did with its rows: "bulk builds, rows in them, rows one by one".
sub how
{
	my ($table) = @_;

	return "SELECT 'how ' || bulk_flushes || ' ' || inserts_bulk || ' ' || inserts FROM phnsw_stats WHERE index = '${table}_v'::regclass;";
}

# Many rows are built, few go one by one; a rolled back load leaves nothing.
run(fresh('plain'));
run('BEGIN;' . rows('plain', 1, 1000) . 'ROLLBACK');
complete('plain', 0, 'rolled back');
run(rows('plain', 1, 1500));
complete('plain', 1500, 'one statement');
run(rows('plain', 1501, 1510));
complete('plain', 1510, 'a few more');
run(fresh('few') . rows('few', 1, 10));
complete('few', 10, 'few rows');
my $out;
$out = run(fresh('counted') . 'BEGIN;' . rows('counted', 1, 700) . rows('counted', 701, 1400) . 'COMMIT;' . how('counted'));
is($out, 'how 1 1400 0', 'all rows of a transaction go together');

# What a first small batch measured does not decide how an index is searched that has grown since.
if (!filled())
{
	$out = run(fresh('grown') . rows('grown', 1, 600) . rows('grown', 601, 4000)
		. "SET enable_seqscan = off; SELECT count(*) FROM (SELECT id FROM grown ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 10) x;
		SELECT ef >= 100 FROM phnsw_last_scan();");
	is($out, "10\nt", 'a grown index is searched with more candidates than its first batch needed');
}

# Savepoints, with rows in memory and in the file (1 MB of maintenance_work_mem holds 13,000 rows in memory).
foreach my $size (700, 9000)
{
	my $t = "sub$size";

	run(fresh($t) . 'BEGIN;'
		. rows($t, 1, $size) . 'SAVEPOINT a;'
		. rows($t, 100001, 100000 + $size) . 'SAVEPOINT b;'
		. rows($t, 200001, 200000 + $size) . 'RELEASE b;'
		. rows($t, 300001, 300000 + $size) . 'ROLLBACK TO a;'
		. rows($t, 400001, 400000 + $size) . 'SAVEPOINT c;'
		. rows($t, 500001, 500000 + $size) . 'RELEASE c;' . 'RELEASE a;'
		. rows($t, 600001, 600000 + $size) . 'COMMIT');
	complete($t, 4 * $size, "savepoints, $size rows each");
	is(run("SELECT string_agg(DISTINCT (id / 100000)::text, ' ') FROM $t WHERE id % 100000 > 0"), '0 4 5 6', 'the right rows');
}
run(fresh('spill') . 'BEGIN;' . rows('spill', 1, 30000) . 'SAVEPOINT a;' . rows('spill', 30001, 60000) . 'ROLLBACK TO a;'
	. rows('spill', 30001, 31000) . compare_sql('spill') . 'COMMIT');
complete('spill', 31000, 'file');
run(fresh('all_gone') . 'BEGIN; SAVEPOINT a;' . rows('all_gone', 1, 800) . 'ROLLBACK TO a; COMMIT');
complete('all_gone', 0, 'all rows rolled back');
$out = run(fresh('let_go') . 'BEGIN; SAVEPOINT a;' . rows('let_go', 1, 800) . 'SAVEPOINT b;' . rows('let_go', 801, 900) . 'RELEASE b; ROLLBACK TO a;'
	. q{SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('let_go'::regclass, 'let_go_v'::regclass);}
	. rows('let_go', 1, 800) . 'SAVEPOINT c;' . rows('let_go', 801, 900) . 'ROLLBACK TO c;'
	. q{SELECT count(*) > 0 FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'let_go_v'::regclass AND mode = 'AccessShareLock';} . 'COMMIT');
is($out, "0\nt", 'a savepoint that is rolled back takes its locks along, and only those');
complete('let_go', 800, 'a savepoint that is rolled back takes its locks along');
run(fresh('late') . 'BEGIN; SAVEPOINT a;' . rows('late', 1, 800) . 'ROLLBACK TO a;' . rows('late', 1, 600) . 'COMMIT');
complete('late', 600, 'rows after those rolled back');

# PL/pgSQL: a subtransaction per row; a procedure that commits.
run(fresh('loop') . qq{DO \$\$ BEGIN
	FOR n IN 1..1200 LOOP
		BEGIN
			INSERT INTO loop SELECT i, $random FROM generate_series(n, n) i;
			IF n % 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
	END LOOP;
END \$\$});
complete('loop', 800, 'exception blocks');
run(fresh('proc') . qq{CREATE PROCEDURE fill() LANGUAGE plpgsql AS \$\$ BEGIN
	INSERT INTO proc SELECT i, $random FROM generate_series(1, 600) i;
	COMMIT;
	INSERT INTO proc SELECT i, $random FROM generate_series(601, 700) i;
	ROLLBACK;
	INSERT INTO proc SELECT i, $random FROM generate_series(601, 1300) i;
END \$\$; CALL fill()});
complete('proc', 1300, 'procedure');

# A transaction sees its own rows, and goes on.  A savepoint rolled back around the flush takes only the rows.
$out = run(fresh('own') . 'BEGIN;' . rows('own', 1, 900) . compare_sql('own') . rows('own', 901, 1000) . compare_sql('own') . 'COMMIT');
is($out, "900\nt\n1000\nt", 'a transaction finds its own rows');
complete('own', 1000, 'after a scan of its own');
$out = run(fresh('inner_scan') . 'BEGIN;' . rows('inner_scan', 1, 600) . 'SAVEPOINT a;' . rows('inner_scan', 601, 900)
	. compare_sql('inner_scan') . 'ROLLBACK TO a;' . compare_sql('inner_scan') . rows('inner_scan', 901, 1000) . 'COMMIT');
is($out, "900\nt\n600\nt", 'a rolled back savepoint around a scan');
complete('inner_scan', 700, 'a rolled back savepoint around a scan');
$out = run(fresh('checked') . 'BEGIN;' . rows('checked', 1, 900) . q{SELECT phnsw_check('checked_v'); SELECT rows FROM phnsw_index_info('checked_v');} . 'COMMIT');
is($out, "\n" . (900 + filled()), 'the checker and the information see the rows');
complete('checked', 900, 'after the checker');

# Cursors: opened on the empty index, on the rows in waiting, and held over the commit.
$out = run(fresh('cur') . q{BEGIN; SET LOCAL enable_seqscan = off;
	DECLARE before CURSOR FOR SELECT id FROM cur ORDER BY v <-> '[1,1,1,1,1,1,1,1]';
	DECLARE unread CURSOR FOR SELECT id FROM cur ORDER BY v <-> '[1,1,1,1,1,1,1,1]';
	FETCH 1 FROM before;} . rows('cur', 1, 800) . q{
	DECLARE after CURSOR WITH HOLD FOR SELECT 'x' FROM cur ORDER BY v <-> '[1,1,1,1,1,1,1,1]';
	FETCH 3 FROM after; FETCH 5 FROM before; FETCH 5 FROM unread; FETCH 2 FROM after;} . rows('cur', 801, 900) . q{
	FETCH 1 FROM before; FETCH 1 FROM after; COMMIT; MOVE ALL FROM after;});
# In a filled index the first two cursors return rows as well, in all 13.
is(scalar(grep { $_ eq 'x' } split /\n/, $out), 6, 'the last cursor returns the rows of its time');
is(scalar(split /\n/, $out), filled() ? 18 : 6, 'and the others those of theirs');
complete('cur', 900, 'cursors');

# Statements that move, rewrite or drop the index while rows wait, also rolled back.
run("CREATE TABLESPACE elsewhere LOCATION ''");
foreach my $case (
	[ 'reindex', 'REINDEX INDEX %s_v', 900 ],
	[ 'retable', 'REINDEX TABLE %s', 900 ],
	[ 'move', 'ALTER INDEX %s_v SET TABLESPACE elsewhere', 900 ],
	[ 'move_all', 'ALTER TABLE %s SET TABLESPACE elsewhere', 900 ],
	[ 'trunc', 'TRUNCATE %s', 0 ],
	[ 'retype', 'ALTER TABLE %s ALTER v TYPE vector(8) USING (v::real[])::vector', 900 ],
	[ 'alter', 'ALTER TABLE %s ADD COLUMN other float DEFAULT random()', 900 ],
	[ 'unlog', 'ALTER TABLE %s SET UNLOGGED', 900 ],
	[ 'redrop', 'DROP INDEX %1$s_v; CREATE INDEX %1$s_v ON %1$s USING phnsw (v)', 900 ],
	[ 'clustered', 'CREATE INDEX %1$s_id ON %1$s (id); CLUSTER %1$s USING %1$s_id', 900 ],
	[ 'second', 'CREATE INDEX ON %s USING phnsw (v vector_cosine_ops)', 900 ],
	[ 'analyzed', 'ANALYZE %s', 900 ],
	[ 'option', 'ALTER INDEX %s_v SET (ef_construction = 100)', 900 ],
	[ 'delete', 'DELETE FROM %s WHERE id > 0', 0 ],
	[ 'update', 'UPDATE %s SET id = id + 10000', 900 ])
{
	my ($t, $statement, $left) = @$case;
	my $sql = sprintf($statement, $t);
	my $insert = sub { my $s = rows($t, @_); $s =~ s/INSERT INTO $t/INSERT INTO $t (id, v)/; return $s };

	run(fresh($t) . 'BEGIN;' . $insert->(1, 900) . "$sql; COMMIT");
	complete($t, $left, $sql);
	run("DROP TABLE $t;" . fresh($t) . 'BEGIN;' . $insert->(1, 900) . "$sql;" . $insert->(901, 1600) . 'COMMIT');
	complete($t, $left + 700, "$sql, then more rows");
	# Rows inserted into a table that was moved, when the move is rolled back, leave entries in any index, a
	# b-tree's too, that lead to whatever takes their places: no rows then.
	run("DROP TABLE $t;" . fresh($t) . 'BEGIN;' . $insert->(1, 900) . "SAVEPOINT a; $sql;"
		. ($t eq 'move_all' ? '' : $insert->(901, 1600)) . 'ROLLBACK TO a;' . $insert->(1601, 2300) . 'COMMIT');
	complete($t, 1600, "$sql rolled back");
	run("DROP TABLE $t;" . 'BEGIN;' . fresh($t) . $insert->(1, 900) . "$sql;" . $insert->(901, 1600) . 'COMMIT');
	complete($t, $left + 700, "$sql, all in one transaction");
	run("DROP TABLE $t");
}
run(fresh('dropped') . 'BEGIN;' . rows('dropped', 1, 900) . 'DROP TABLE dropped; COMMIT');
is(run(q{SELECT to_regclass('dropped') IS NULL}), 't', 'dropped');
run(fresh('undropped') . 'BEGIN;' . rows('undropped', 1, 900) . 'SAVEPOINT a; DROP INDEX undropped_v; ROLLBACK TO a; COMMIT');
complete('undropped', 900, 'DROP INDEX rolled back');

# A table that is truncated in place while rows wait: its trigger inserts them after the statement began.
run('BEGIN;' . fresh('trigtrunc') . qq{
	CREATE FUNCTION add_rows() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		INSERT INTO trigtrunc SELECT i, $random FROM generate_series(1, 800) i; RETURN NULL; END \$\$;
	CREATE TRIGGER trigtrunc BEFORE TRUNCATE ON trigtrunc EXECUTE FUNCTION add_rows();
	TRUNCATE trigtrunc;} . rows('trigtrunc', 1, 600) . 'COMMIT');
complete('trigtrunc', 600, 'rows that a TRUNCATE trigger inserts, in place');
run('BEGIN; TRUNCATE trigtrunc;' . rows('trigtrunc', 1, 700) . 'COMMIT');
complete('trigtrunc', 700, 'rows that a TRUNCATE trigger inserts');

# Several indexes and tables, triggers, constraints.
run(fresh('one') . fresh('two') . 'CREATE INDEX one_cosine ON one USING phnsw (v vector_cosine_ops);
	CREATE INDEX one_part ON one USING phnsw (v vector_ip_ops) WHERE id % 2 = 0;
	BEGIN;' . rows('one', 1, 800) . rows('two', 1, 20) . rows('one', 801, 1000) . rows('two', 21, 700) . 'COMMIT');
complete('one', 1000, 'three indexes');
complete('two', 700, 'two tables');
run(fresh('source') . fresh('copy_of') . q{
	CREATE FUNCTION copy_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO copy_of VALUES (new.id, new.v); RETURN new; END $$;
	CREATE TRIGGER copy_row AFTER INSERT ON source FOR EACH ROW EXECUTE FUNCTION copy_row();} . rows('source', 1, 800));
complete('copy_of', 800, 'trigger that inserts');
run(fresh('deferred') . fresh('at_commit') . q{
	CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO at_commit VALUES (new.id, new.v); RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION at_commit();} . rows('deferred', 1, 800));
complete('deferred', 800, 'table with a deferred trigger');
complete('at_commit', 800, 'rows that a deferred trigger inserts');
($out, my $err) = try((fresh('refs') =~ s/INSERT.*?;//r) . 'CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 500);
	ALTER TABLE refs ADD FOREIGN KEY (id) REFERENCES parent DEFERRABLE INITIALLY DEFERRED;' . rows('refs', 1, 501)
	. rows('refs', 1, 500));
like($err, qr/violates foreign key/, 'deferred constraint');
complete('refs', 500, 'deferred constraint');

# Rows that ON CONFLICT does not insert, NULLs, zero vectors, equal vectors.
run(fresh('conflict') . 'CREATE UNIQUE INDEX ON conflict (id);' . rows('conflict', 1, 600)
	=~ s/;$/ ON CONFLICT (id) DO NOTHING;/r . rows('conflict', 1, 900) =~ s/;$/ ON CONFLICT (id) DO UPDATE SET v = excluded.v;/r);
complete('conflict', 900, 'ON CONFLICT');
run("CREATE TABLE odd (id int, v vector(8)); CREATE INDEX odd_v ON odd USING phnsw (v); CREATE INDEX odd_c ON odd USING phnsw (v vector_cosine_ops);
	INSERT INTO odd SELECT i, CASE i % 3 WHEN 0 THEN '[0,0,0,0,0,0,0,0]'::vector WHEN 1 THEN '[1,2,3,4,5,6,7,8]' END FROM generate_series(1, 1500) i");
check_index($node, $_, 'NULL, zero and equal vectors') foreach qw(odd_v odd_c);
is(count_through_index($node, 'odd', 'v', '<->', "'[1,1,1,1,1,1,1,1]'"), 1000, 'NULLs are not indexed');
is(count_through_index($node, 'odd', 'v', '<=>', "'[1,1,1,1,1,1,1,1]'"), 500, 'zero vectors are not indexed');
run("CREATE TABLE zeros (id int, v vector(8)); CREATE INDEX zeros_v ON zeros USING phnsw (v vector_cosine_ops);
	INSERT INTO zeros SELECT i, '[0,0,0,0,0,0,0,0]' FROM generate_series(1, 1500) i;");
check_index($node, 'zeros_v', 'only zero vectors');
run('INSERT INTO zeros SELECT i, ' . $random . ' FROM generate_series(1, 700) i');
check_index($node, 'zeros_v', 'only zero vectors, then others');
is(count_through_index($node, 'zeros', 'v', '<=>', "'[1,1,1,1,1,1,1,1]'"), 700, 'only zero vectors, then others');

# COPY, also FREEZE; partitions with row routing; unlogged and temporary tables.
my $file = PostgreSQL::Test::Utils::tempdir() . '/rows';
run("COPY (SELECT i, $random FROM generate_series(1, 2000) i) TO '$file'");
run(fresh('copied') . "COPY copied FROM '$file'");
complete('copied', 2000, 'COPY');
run('BEGIN;' . fresh('frozen') . "COPY frozen FROM '$file' (FREEZE); COMMIT");
complete('frozen', 2000, 'COPY FREEZE');
run("CREATE TABLE parted (id int, v vector(8)) PARTITION BY HASH (id); CREATE INDEX parted_v ON parted USING phnsw (v);"
	. join('', map { "CREATE TABLE parted$_ PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER $_);" } 0 .. 2)
	. "COPY parted FROM '$file'; BEGIN;" . rows('parted', 2001, 2100) . 'COMMIT');
is(run('SELECT count(*) FROM parted'), 2100, 'partitions: rows');
complete("parted$_", run("SELECT count(*) FROM parted$_"), "partition $_") foreach 0 .. 2;
run('CREATE TABLE many (id int, v vector(8)) PARTITION BY HASH (id); CREATE INDEX many_v ON many USING phnsw (v);'
	. join('', map { "CREATE TABLE many$_ PARTITION OF many FOR VALUES WITH (MODULUS 40, REMAINDER $_);" } 0 .. 39)
	. rows('many', 1, 60000));
complete('many7', run('SELECT count(*) FROM many7'), 'one of many partitions');
complete('many39', run('SELECT count(*) FROM many39'), 'the last of many partitions');
# Rows that move to another partition, and a partition that comes and goes with its rows in waiting.
run("CREATE TABLE moving (id int, v vector(8)) PARTITION BY RANGE (id); CREATE INDEX moving_v ON moving USING phnsw (v);
	CREATE TABLE moving0 PARTITION OF moving FOR VALUES FROM (0) TO (10000); CREATE TABLE moving1 PARTITION OF moving FOR VALUES FROM (10000) TO (20000);
	BEGIN;" . rows('moving', 1, 900) . 'UPDATE moving SET id = id + 10000 WHERE id % 3 = 0;' . rows('moving', 901, 1500) . 'COMMIT');
complete('moving0', 1200, 'rows that have left for another partition');
complete('moving1', 300, 'rows that came from another partition');
run(fresh('attached') . 'BEGIN;' . rows('attached', 20001, 20800)
	. 'ALTER TABLE moving ATTACH PARTITION attached FOR VALUES FROM (20000) TO (30000);' . rows('moving', 20801, 21500) . 'COMMIT') if !filled();
complete('attached', 1500, 'attached with rows in waiting') if !filled();
run('BEGIN;' . rows('moving', 2001, 2900) . 'ALTER TABLE moving DETACH PARTITION moving0;' . rows('moving0', 2901, 3500) . 'COMMIT');
complete('moving0', 2700, 'detached with rows in waiting');

run('BEGIN;' . (fresh('unlogged') =~ s/CREATE TABLE/CREATE UNLOGGED TABLE/r) . 'COMMIT;' . rows('unlogged', 1, 1000));
complete('unlogged', 1000, 'unlogged');
foreach my $on (qw(PRESERVE DELETE))
{
	$out = run("CREATE TEMP TABLE temporary (id int, v vector(8)) ON COMMIT $on ROWS; CREATE INDEX temporary_v ON temporary USING phnsw (v); BEGIN;"
		. rows('temporary', 1, 900) . compare_sql('temporary') . 'COMMIT; BEGIN;' . rows('temporary', 901, 1600)
		. "COMMIT; SELECT count(*) FROM temporary; SELECT 'check' || phnsw_check('temporary_v');" . 'BEGIN;' . compare_sql('temporary') . 'COMMIT');
	my $left = $on eq 'DELETE' ? 0 : 1600;
	is($out, "900\nt\n$left\ncheck\n$left\nt", "temporary table, ON COMMIT $on ROWS");
}
run('BEGIN; CREATE TEMP TABLE temporary (id int, v vector(8)) ON COMMIT DROP; CREATE INDEX temporary_v ON temporary USING phnsw (v);'
	. rows('temporary', 1, 900) . 'COMMIT');
is(run(q{SELECT count(*) FROM pg_class WHERE relname LIKE 'temporary%'}), 0, 'temporary table, ON COMMIT DROP');

# A prepared transaction, committed and rolled back.
run(fresh('prep') . 'BEGIN;' . rows('prep', 1, 800) . "PREPARE TRANSACTION 'p'");
$node->restart;
run("COMMIT PREPARED 'p'");
complete('prep', 800, 'prepared');
run('TRUNCATE prep; BEGIN;' . rows('prep', 1, 800) . "PREPARE TRANSACTION 'p'; ROLLBACK PREPARED 'p'; VACUUM prep;");
complete('prep', 0, 'prepared, rolled back');

# A parallel query right after the rows: its workers read the index.
$out = run(fresh('par') . 'CREATE TABLE probes AS SELECT id, v FROM plain LIMIT 200; ALTER TABLE probes SET (parallel_workers = 2); ANALYZE probes;
	BEGIN;' . rows('par', 1, 1500) . q{
	SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
	SET LOCAL enable_seqscan = on; SET LOCAL parallel_leader_participation = off; SET LOCAL enable_sort = off;
	EXPLAIN (COSTS OFF) SELECT count(n) FROM probes p, LATERAL (SELECT id AS n FROM par ORDER BY par.v <-> p.v LIMIT 3) n;
	SELECT count(n) FROM probes p, LATERAL (SELECT id AS n FROM par ORDER BY par.v <-> p.v LIMIT 3) n; COMMIT});
like($out, qr/Gather.*Index Scan using par_v/s, 'the index is read by parallel workers');
like($out, qr/^600$/m, 'parallel workers see the rows');
complete('par', 1500, 'parallel query');

# Errors during a flush.  A cancelled scan in a savepoint loses nothing; an error at commit rolls back.
run(fresh('err'));
($out, $err) = try('BEGIN;' . rows('err', 1, 9000) . q{SAVEPOINT a; SET LOCAL statement_timeout = '15ms'; SET LOCAL enable_seqscan = off;
	SELECT count(*) FROM (SELECT id FROM err ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 1) x;
	ROLLBACK TO a;} . rows('err', 9001, 9100) . 'COMMIT');
like($err, qr/statement timeout/, 'a flush is interrupted by statement_timeout');
complete('err', 9100, 'interrupted, then committed');
# PostgreSQL stops that clock before it commits, so a flush at COMMIT goes on for as
# long as it takes, also that of a single statement.
run('TRUNCATE err');
($out, $err) = try('BEGIN;' . rows('err', 1, 30000) . "SET statement_timeout = '20ms'; COMMIT");
is($err, '', 'statement_timeout does not reach a flush at commit');
complete('err', 30000, 'statement_timeout at commit');
run('TRUNCATE err');
($out, $err) = try("SET statement_timeout = '30ms';" . rows('err', 1, 60000));
like($err, qr/statement timeout/, 'statement_timeout while rows are collected');
complete('err', 0, 'statement_timeout while rows are collected');
# A constraint that is looked at after all triggers, when the rows are already in the index.
($out, $err) = try(fresh('unique_late') . 'ALTER TABLE unique_late ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED;'
	. 'BEGIN;' . rows('unique_late', 1, 900) . rows('unique_late', 900, 1000) . compare_sql('unique_late') . 'COMMIT;' . rows('unique_late', 1, 800));
like($err, qr/duplicate key value violates unique constraint/, 'deferred unique constraint');
like($out, qr/^1001\nt$/, 'its rows were in the index when it was looked at');
complete('unique_late', 800, 'deferred unique constraint');
run('TRUNCATE err');
($out, $err) = try("SET temp_file_limit = '256kB'; BEGIN;" . rows('err', 1, 9000) . 'COMMIT');
is($err, '', 'temp_file_limit at commit: the rows go one by one');
complete('err', 9000, 'temp_file_limit at commit');
run('TRUNCATE err');
($out, $err) = try("SET temp_file_limit = '256kB'; BEGIN;" . rows('err', 1, 12000) . 'SAVEPOINT a;' . rows('err', 20001, 60000)
	. "ROLLBACK TO a;" . rows('err', 12001, 12200) . "RESET temp_file_limit; COMMIT");
is($err, '', 'temp_file_limit while rows are collected: what there is is flushed');
complete('err', 12200, 'temp_file_limit in a savepoint');
# Rows that a rollback takes out of the file leave it empty, so those that follow
# wait as before; a megabyte is too little for a merge.
$out = run(fresh('back') . "SELECT phnsw_stats_reset(); SET temp_file_limit = '100MB'; SET maintenance_work_mem = '1MB'; BEGIN;" . rows('back', 1, 100)
	. 'SAVEPOINT a;' . rows('back', 20001, 50000) . 'ROLLBACK TO a;' . rows('back', 101, 5000) . 'COMMIT;' . how('back'));
like($out, qr/^how [1-9]\d* 5000 0$/m, 'temp_file_limit: what was rolled back does not count') if !filled();
complete('back', 5000, 'temp_file_limit, rolled back');
run('TRUNCATE err;' . rows('err', 1, 800));
complete('err', 800, 'after errors');

$node->stop;
done_testing();
