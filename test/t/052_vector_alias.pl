# sql/vector: extension vector, pgvector's names for phnsw.  A user who is no superuser creates it, makes
# indexes USING hnsw and uses them as any index of phnsw's, beside one: the same answers, functions,
# statistics, bulk inserts, maintenance.  Then dumps, dropping, schemas, hnsw.ef_search, and that nothing is
# installed over pgvector.  Where pgvector is there is nothing to test.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('alias', 'autovacuum = off');

if ($node->safe_psql('postgres', q{SELECT count(*) FROM pg_available_extension_versions WHERE name = 'vector' AND requires = '{phnsw}'}) eq '0')
{
	$node->stop;
	plan skip_all => 'extension vector of sql/vector is not installed: make install-vector, where pgvector is not';
}

# Whose statements run and fails send.
my ($database, @user) = ('postgres');

sub run
{
	return $node->safe_psql($database, shift, @user);
}

sub fails
{
	my ($sql, $error, $what) = @_;
	my ($rc, $out, $err) = $node->psql($database, $sql, @user, on_error_stop => 1);

	ok($rc != 0, "$what: an error");
	like($err, $error, $what);
	return;
}

# By a superuser, whom phnsw_check() is for.
sub checked
{
	my ($where, @indexes) = @_;

	foreach my $index (@indexes)
	{
		my ($rc, $out, $err) = $node->psql($where, "SELECT phnsw_check('$index', true, true)");

		ok($rc == 0 && $err eq '', "phnsw_check: $index") or diag($err);
	}
	return;
}

sub shell
{
	my ($command, $what) = @_;

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	is(system("$command >'$dir/log' 2>&1"), 0, $what) or diag(slurp_file("$dir/log"));
	return;
}

# ---- creating ----------------------------------------------------------------------------------------------------------------

$node->safe_psql('postgres', "CREATE ROLE app LOGIN; CREATE DATABASE app TEMPLATE template0 OWNER app");
($database, @user) = ('app', extra_params => [ '-U', 'app' ]);
fails('CREATE EXTENSION IF NOT EXISTS vector', qr/ERROR:  required extension "phnsw" is not installed\nHINT:  Use CREATE EXTENSION ... CASCADE/,
	'without phnsw');
run('CREATE EXTENSION IF NOT EXISTS vector CASCADE; CREATE EXTENSION IF NOT EXISTS vector; ALTER EXTENSION vector UPDATE');
like(run('\dx'), qr/^vector\|0\.8\.\d+\|(?:0\.8\.\d+\|)?public\|/m, '\dx');
like(run('\dx+ vector'), qr/^access method hnsw$/m, '\dx+: the access method');
is(run(q{SELECT count(*) || ' ' || bool_and(amvalidate(c.oid)) || ' ' || bool_or(opcdefault) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'hnsw'}),
	'6 true false', 'six classes, complete, none a default');
is(run(q{SELECT string_agg(DISTINCT pg_describe_object(classid, objid, 0), ', ') FROM pg_depend
	WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vector') AND classid NOT IN ('pg_opclass'::regclass, 'pg_opfamily'::regclass)}),
	'access method hnsw', 'nothing else');

# Its README's example.
my ($example, @more) = slurp_file("$top/sql/vector/README.md") =~ /^```sql\n(.*?)^```$/msg;
is(scalar(@more), 0, 'README: one example');
like($node->safe_psql($database, $example), qr/^3\n2\n1\n?$/, 'README: its example');
$node->safe_psql($database, 'DROP TABLE items');

# ---- using -------------------------------------------------------------------------------------------------------------------

my $random = random_vectors_sql(8, 'i');
my $query = "'[0.3,-0.1,0,0.2,0,0,0,0.1]'";
my $knob = 'SET enable_seqscan = off; SET phnsw.ef_search = 400;';

run("CREATE TABLE t (id int PRIMARY KEY, v vector(8), h halfvec(8)); INSERT INTO t SELECT i, $random FROM generate_series(1, 3000) i; UPDATE t SET h = v::halfvec(8); ANALYZE t");
fails('CREATE INDEX ON t USING hnsw (v)', qr/ERROR:  data type vector has no default operator class for access method "hnsw"/, 'a class must be named');
foreach my $case ([ 'l2', '<->' ], [ 'ip', '<#>' ], [ 'cosine', '<=>' ])
{
	my ($metric, $operator) = @$case;
	my $long = $metric eq 'ip' ? 'inner product' : $metric;

	foreach my $column ('v', 'h')
	{
		my $type = $column eq 'v' ? 'vector' : 'halfvec';
		my $nearest = "SELECT id FROM t ORDER BY $column $operator $query LIMIT 10";
		my $exact = run("SET enable_indexscan = off; $nearest");

		run("CREATE INDEX ${column}_$metric ON t USING hnsw ($column ${type}_${metric}_ops) WITH (m = 12, ef_construction = 50)");
		like(run("$knob EXPLAIN (COSTS OFF) $nearest"), qr/Index Scan using ${column}_$metric on t/, "$type, $metric: the plan");
		is(run("$knob $nearest"), $exact, "$type, $metric: the nearest");
		is(run("SELECT metric, m, ef_construction FROM phnsw_index_info('${column}_$metric')"), "$long|12|50", "$type, $metric: phnsw_index_info");
		checked('app', "${column}_$metric");
	}
}
like(run(q{SELECT pg_get_indexdef('v_cosine'::regclass)}), qr/USING hnsw \(v vector_cosine_ops\) WITH \(m='12', ef_construction='50'\)/, 'its definition');

# Beside an index of phnsw's on the same column, which is the same but for its name.
run('DROP INDEX v_ip, v_cosine, h_l2, h_ip, h_cosine; CREATE INDEX v_phnsw ON t USING phnsw (v) WITH (m = 12, ef_construction = 50)');
is(run("SELECT phnsw_index_info('v_l2')"), run("SELECT phnsw_index_info('v_phnsw')"), 'the same index');
is(run(q{SELECT string_agg(DISTINCT (SELECT string_agg(coalesce(pg_indexam_progress_phasename(oid, k), ''), ',' ORDER BY k) FROM generate_series(0, 20) k), ' | ')
	FROM pg_am WHERE amname IN ('hnsw', 'phnsw')}) =~ tr/|//, 0, 'the progress view names the same phases');
unlike(run(q{SELECT string_agg(coalesce(pg_indexam_progress_phasename(oid, k), ''), '' ORDER BY k) FROM pg_am, generate_series(0, 20) k WHERE amname = 'hnsw'}), qr/^$/,
	'and it names some');
run('DROP INDEX v_phnsw');

# What looks into an index.
my ($recall) = run(q{SELECT recall FROM phnsw_recall('v_l2', ef => 400)});
cmp_ok($recall, '>', 0.95, 'phnsw_recall');
is(run("SELECT phnsw_prewarm('v_l2') = pg_relation_size('v_l2') / 8192"), 't', 'phnsw_prewarm');
is(run("SELECT rows, dims FROM phnsw_suggest('t', 'v', sample => 500)"), '3000|8', 'phnsw_suggest');
is(run("$knob SELECT count(*) FROM (SELECT FROM t ORDER BY v <-> $query LIMIT 10) s; SELECT index, ef FROM phnsw_last_scan(); SELECT index, scans FROM phnsw_stats"),
	"10\nv_l2|400\nv_l2|1", 'phnsw_last_scan, phnsw_stats');
my $within = "SELECT count(*) FROM (SELECT FROM t WHERE v <-> $query < 0.9 ORDER BY v <-> $query LIMIT 1000) s";
is(run("$knob $within"), run("SET enable_indexscan = off; $within"), 'within a distance: the rows');
cmp_ok(run("$knob $within; SELECT rechecks FROM phnsw_last_scan()") =~ s/.*\n//r, '<', 1000, 'within a distance: the scan ends');
if ($node->pg_version >= 18)
{
	like(run("$knob SELECT '[1]'::vector; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, PHNSW) SELECT FROM t ORDER BY v <-> $query LIMIT 10"), qr/\bef\b/, 'EXPLAIN (PHNSW)');
}

sub count_by_index
{
	my ($table) = @_;

	return run("SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order;
		SELECT count(*) FROM (SELECT FROM $table ORDER BY v <-> $query OFFSET 0) s");
}

# Writes: bulk inserts into an empty and a filled index, copies of the row, deletes, vacuum, everything concurrent.
is(run(qq{CREATE TABLE e (id int, v vector(8)); CREATE INDEX e_v ON e USING hnsw (v vector_l2_ops); INSERT INTO e SELECT id, v FROM t;
	SET phnsw.merge_threshold = 1; INSERT INTO e SELECT 3000 + id, v FROM t WHERE id <= 500; DELETE FROM e WHERE id % 3 = 0;
	SELECT inserts, inserts_bulk, bulk_flushes FROM phnsw_stats WHERE index = 'e_v'::regclass}), '0|3500|2', 'bulk inserts');
run('VACUUM e');
run('REINDEX INDEX CONCURRENTLY v_l2');
run('CREATE INDEX CONCURRENTLY v_again ON t USING hnsw (v vector_ip_ops)');
checked('app', 'e_v', 'v_l2', 'v_again');
is(count_by_index('e'), '2334', 'all rows are found after VACUUM');
run(qq{CREATE TABLE p (id int, v vector(8)) PARTITION BY LIST (id); CREATE INDEX p_v ON p USING hnsw (v vector_l2_ops);
	CREATE TABLE p_0 PARTITION OF p FOR VALUES IN (0); CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p SELECT id % 2, v FROM t;
	CREATE TABLE p_2 (id int, v vector(8)); INSERT INTO p_2 SELECT 2, v FROM t; CREATE INDEX p_2_own ON p_2 USING hnsw (v vector_l2_ops);
	ALTER TABLE p ATTACH PARTITION p_2 FOR VALUES IN (2)});
is(run(q{SELECT string_agg(relid::text, ' ' ORDER BY relid::text) FROM pg_partition_tree('p_v') WHERE isleaf}), 'p_0_v_idx p_1_v_idx p_2_own', 'partitions: their indexes');
like(run("$knob EXPLAIN (COSTS OFF) SELECT FROM p ORDER BY v <-> $query LIMIT 5"), qr/Merge Append.*p_0_v_idx.*p_1_v_idx.*p_2_own/s, 'partitions: the plan');
checked('app', 'p_0_v_idx', 'p_1_v_idx', 'p_2_own');

# ---- hnsw.ef_search ----------------------------------------------------------------------------------------------------------

my $search = "SELECT count(*) FROM (SELECT FROM t ORDER BY v <-> $query LIMIT 1) s";
my $ef = "SET enable_seqscan = off; $search; SELECT ef FROM phnsw_last_scan()";

sub ef_of
{
	return run("@_ $ef") =~ s/.*\n//sr;
}

my $chosen = ef_of('');
run('CREATE INDEX t_phnsw ON e USING phnsw (v)');
cmp_ok($chosen, '!=', 117, 'nothing is set: the index chooses');
is(ef_of('SET hnsw.ef_search = 117;'), 117, 'hnsw.ef_search');
is(ef_of(q{SET hnsw.ef_search = '117'; SET phnsw.ef_search = 50;}), 50, 'phnsw.ef_search goes before');
is(ef_of('SET hnsw.ef_search = 117; RESET hnsw.ef_search;'), $chosen, 'RESET');
is(ef_of('BEGIN; SET LOCAL hnsw.ef_search = 117; COMMIT;'), $chosen, 'SET LOCAL, after its transaction');
is(ef_of('BEGIN; SET LOCAL hnsw.ef_search = 117;'), 117, 'SET LOCAL, in it');
is(run("SET hnsw.ef_search = 117; SELECT ef FROM phnsw_recall('v_l2')"), 117, 'phnsw_recall');
is(run("SET hnsw.ef_search = 117; SELECT ef FROM phnsw_recall('v_l2', ef => 60)"), 60, 'phnsw_recall with an ef of its own');
is(run("SET hnsw.ef_search = 117; SELECT ef = 117 FROM phnsw_recall('t_phnsw')"), 'f', 'an index USING phnsw does not heed it');
fails("SET hnsw.ef_search = $_; $search", qr/ERROR:  invalid value for parameter "hnsw\.ef_search": "$_"\nHINT:  It is a number from 1 to 100000/, "ef_search $_")
  foreach qw(many 0 100001 -5);
is(ef_of('SET hnsw.iterative_scan = off; SET hnsw.max_scan_tuples = 5;'), $chosen, 'the others are accepted');
is(run("SET enable_seqscan = off; SET hnsw.iterative_scan = off; SET hnsw.max_scan_tuples = 5; SET hnsw.ef_search = 10;
	SELECT count(*) FROM (SELECT FROM t WHERE id % 50 = 0 ORDER BY v <-> $query LIMIT 20) s"), 20, 'and no row is lost');
run('DROP INDEX t_phnsw');

# ---- dumps -------------------------------------------------------------------------------------------------------------------

my $definitions = q{SELECT string_agg(pg_get_indexdef(indexrelid), ';' ORDER BY indexrelid::regclass::text) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
	JOIN pg_am a ON a.oid = relam WHERE amname = 'hnsw'};
my $rows = q{SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t};
my $before = run($definitions) . run($rows);

shell("pg_dump -Fc -f '$dir/dump' app", 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE again TEMPLATE template0; CREATE DATABASE pgvectors TEMPLATE template0');
shell("pg_restore --exit-on-error -d again '$dir/dump'", 'pg_restore');
is($node->safe_psql('again', $definitions) . $node->safe_psql('again', $rows), $before, 'restored: rows and indexes are the same');
checked('again', 'v_l2');

# As README's way back does it: nothing is named that pgvector has not, so it is what a dump of pgvector's would be.
shell("pg_restore -l '$dir/dump' | grep -vE 'EXTENSION - phnsw|COMMENT - EXTENSION' > '$dir/list' && pg_restore -L '$dir/list' -f '$dir/sql' '$dir/dump'", 'the dump without phnsw');
like(slurp_file("$dir/sql"), qr/^CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;$/m, 'which creates vector');
unlike(slurp_file("$dir/sql"), qr/phnsw/, 'and does not name phnsw');
$node->safe_psql('pgvectors', 'CREATE EXTENSION phnsw');
shell("psql -X -1 -v ON_ERROR_STOP=1 -d pgvectors -f '$dir/sql'", 'which restores where phnsw is');
is($node->safe_psql('pgvectors', $definitions) . $node->safe_psql('pgvectors', $rows), $before, 'that, too: rows and indexes are the same');
shell("pg_dump --schema-only --binary-upgrade -f '$dir/upgrade' app", 'pg_dump of pg_upgrade');
like(slurp_file("$dir/upgrade"), qr/CREATE ACCESS METHOD hnsw TYPE INDEX HANDLER public\.phnsw_handler/, 'has the access method');

# ---- dropping ----------------------------------------------------------------------------------------------------------------

fails('DROP EXTENSION vector', qr/ERROR:  cannot drop extension vector because other objects depend on it\nDETAIL:  .*index v_l2 depends on operator class vector_l2_ops for access method hnsw/s, 'DROP');
fails('DROP EXTENSION phnsw', qr/ERROR:  cannot drop extension phnsw because other objects depend on it\nDETAIL:  .*extension vector depends on/s, 'DROP of phnsw');
run('DROP EXTENSION vector CASCADE');
is(run($rows) . run('SELECT count(*) FROM pg_index WHERE indrelid = \'t\'::regclass'), run($rows) . '1', 'DROP CASCADE: the rows are there, the indexes not');
run('CREATE EXTENSION vector; CREATE INDEX ON t USING hnsw (v vector_l2_ops)');
run('DROP EXTENSION vector CASCADE; CREATE INDEX ON t USING phnsw (v)');

# ---- schemas -----------------------------------------------------------------------------------------------------------------

# In its own schema, an owner puts what looks like phnsw's; phnsw is elsewhere.  What is
# created with a superuser's rights is phnsw's all the same.
$node->safe_psql('postgres', 'CREATE DATABASE schemas TEMPLATE template0 OWNER app');
$database = 'schemas';
run(q{CREATE SCHEMA x; CREATE EXTENSION phnsw SCHEMA x; CREATE SCHEMA mine; CREATE DOMAIN mine.vector AS text; CREATE DOMAIN mine.halfvec AS text;
	CREATE FUNCTION mine.phnsw_metric_l2() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1 / 0';
	CREATE FUNCTION mine.equals(name, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; CREATE OPERATOR mine.= (LEFTARG = name, RIGHTARG = text, FUNCTION = mine.equals);
	CREATE EXTENSION vector SCHEMA mine});
is(run(q{SELECT string_agg(DISTINCT amproc::regprocedure::text, ' ' ORDER BY amproc::regprocedure::text) || ' ' || (SELECT amhandler FROM pg_am WHERE amname = 'hnsw')
	FROM pg_opfamily f JOIN pg_amproc ON amprocfamily = f.oid JOIN pg_am a ON a.oid = opfmethod WHERE amname = 'hnsw'}),
	'x.phnsw_element_half() x.phnsw_metric_cosine() x.phnsw_metric_ip() x.phnsw_metric_l2() x.phnsw_handler', 'schemas: functions are phnsw\'s');
is(run(q{SELECT string_agg(DISTINCT opcintype::regtype::text || opcnamespace::regnamespace, ' ') FROM pg_opclass JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'hnsw'}),
	'x.halfvecmine x.vectormine', 'schemas: types are phnsw\'s, classes where they should be');
run('DROP SCHEMA mine CASCADE; CREATE EXTENSION vector');
$node->safe_psql('schemas', 'ALTER EXTENSION vector SET SCHEMA x');
run('SET search_path = x, public;
	CREATE TABLE t (v vector(2)); INSERT INTO t VALUES (\'[1,2]\'); CREATE INDEX t_v ON t USING hnsw (v vector_cosine_ops)');
is(run("SET search_path = x; SET enable_seqscan = off; SELECT v FROM t ORDER BY v <=> '[1,1]'"), '[1,2]', 'schemas: both moved into one');
is($node->safe_psql('schemas', "SET search_path = x; SELECT phnsw_check('t_v')"), '', 'schemas: the index is sound');
$node->safe_psql('postgres', 'CREATE DATABASE one_schema TEMPLATE template0 OWNER app');
$database = 'one_schema';
is(run(q{CREATE SCHEMA s; CREATE EXTENSION vector SCHEMA s CASCADE; SELECT string_agg(extname || ' ' || extnamespace::regnamespace, ', ' ORDER BY extname) FROM pg_extension WHERE extname <> 'plpgsql'}),
	'phnsw s, vector s', 'schemas: CASCADE creates phnsw in the same');
$node->stop;

# ---- the files ---------------------------------------------------------------------------------------------------------------

my $extensions = "$dir/root" . `pg_config --sharedir` =~ s/\n//r . '/extension';

sub make
{
	my ($target) = @_;

	return system("make -s -C '$top' PG_CONFIG=pg_config DESTDIR='$dir/root' $target >'$dir/log' 2>&1");
}

SKIP:
{
	skip 'no make', 8 if system('make --version >/dev/null 2>&1') != 0;
	is(make('install-vector'), 0, 'make install-vector') or diag(slurp_file("$dir/log"));
	is(make('install-vector'), 0, 'over itself');
	is(join(' ', map { s{.*/}{}r } sort glob("'$extensions/*'")), 'vector--0.8.6.sql vector.control', 'its files');
	is(make('uninstall-vector'), 0, 'make uninstall-vector');
	is(join(' ', glob("'$extensions/*'")), '', 'its files are gone');
	append_to_file("$extensions/vector.control", "comment = 'vector data type and ivfflat and hnsw access methods'\n");
	foreach my $target ('install-vector', 'uninstall-vector')
	{
		isnt(make($target), 0, "$target where pgvector is: refused");
		like(slurp_file("$dir/log"), qr/vector\.control is pgvector's, not phnsw's: nothing was changed/, 'with a reason');
	}
	is(join(' ', map { s{.*/}{}r } glob("'$extensions/*'")), 'vector.control', 'pgvector\'s file is alone as before');
}
done_testing();
