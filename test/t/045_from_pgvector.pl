# docs/migrating.md: what it says a database of pgvector's needs, statement by statement; and logical replication from
# such a database.  With pgvector itself where the server has it.  Otherwise a type of the same name and bytes, made of
# phnsw's own functions, stands for it; its index is a b-tree then, and DROP EXTENSION drops the type.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $page = slurp_file("$FindBin::RealBin/../../docs/migrating.md");
my ($before, $trial, $trial_query, $switch, $query, @more) = $page =~ /^```sql\n(.*?)^```$/msg;
my $node = new_node('old', 'autovacuum = off', 'wal_level = logical');
my $stand_in = <<'SQL';
CREATE TYPE vector;
CREATE FUNCTION vector_in(cstring, oid, integer) RETURNS vector AS '$libdir/phnsw', 'phnsw_vector_in' LANGUAGE C IMMUTABLE STRICT;
CREATE FUNCTION vector_out(vector) RETURNS cstring AS '$libdir/phnsw', 'phnsw_vector_out' LANGUAGE C IMMUTABLE STRICT;
CREATE FUNCTION vector_typmod_in(cstring[]) RETURNS integer AS '$libdir/phnsw', 'phnsw_vector_typmod_in' LANGUAGE C IMMUTABLE STRICT;
CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out, TYPMOD_IN = vector_typmod_in, STORAGE = external);
CREATE FUNCTION vector(vector, integer, boolean) RETURNS vector AS '$libdir/phnsw', 'phnsw_vector_typmod_cast' LANGUAGE C IMMUTABLE STRICT;
CREATE FUNCTION vector(real[], integer, boolean) RETURNS vector AS '$libdir/phnsw', 'phnsw_vector_from_array' LANGUAGE C IMMUTABLE STRICT;
CREATE CAST (vector AS vector) WITH FUNCTION vector(vector, integer, boolean) AS IMPLICIT;
CREATE CAST (real[] AS vector) WITH FUNCTION vector(real[], integer, boolean) AS ASSIGNMENT;
CREATE FUNCTION l2_distance(vector, vector) RETURNS float8 AS '$libdir/phnsw', 'phnsw_vector_l2_distance' LANGUAGE C IMMUTABLE STRICT;
CREATE OPERATOR <-> (LEFTARG = vector, RIGHTARG = vector, PROCEDURE = l2_distance, COMMUTATOR = <->);
SQL

sub run
{
	return $node->safe_psql('postgres', shift);
}

run('DROP EXTENSION phnsw');
# Not where the extension of that name is phnsw's own (sql/vector).
my $real = run(q{SELECT count(*) > 0 FROM pg_available_extension_versions WHERE name = 'vector' AND requires IS NULL}) eq 't';
note($real ? 'with pgvector' : 'with a type that stands for pgvector');

# A block of the page, for what there is.
sub example
{
	my ($sql) = @_;

	return $sql if $real;
	$sql =~ s/CREATE EXTENSION vector;/$stand_in/;
	$sql =~ s/USING hnsw \(embedding vector_l2_ops\)/(id)/;
	$sql =~ s/DROP EXTENSION vector;/DROP TYPE vector CASCADE; DROP FUNCTION vector_typmod_in;/;
	return $sql;
}

sub plan_of
{
	return run("EXPLAIN (COSTS OFF) $_[0]");
}

my $rows = "SELECT md5(string_agg(id || ' ' || embedding::text, ',' ORDER BY id)) FROM items";
my $nearest = q{SELECT id FROM (SELECT id, embedding <-> '[0.5,0.5,0.5]' AS d FROM items OFFSET 0) AS t ORDER BY d LIMIT 5};

is(scalar(@more), 0, 'five examples');
run(example($before));
my ($old_rows, $old_nearest) = (run($rows), run($nearest));
my $refusal = ($node->psql('postgres', 'CREATE EXTENSION phnsw'))[2];
like($refusal, qr/ERROR:  type "vector" already exists in schema "public".*^HINT:  .*CREATE EXTENSION phnsw SCHEMA phnsw;/ms,
	'not into the same schema');
like($refusal, qr/^DETAIL:  It belongs to extension "vector"\.$/m, '... and whose type is in the way') if $real;

# ---- the trial ---------------------------------------------------------------------------------------------------------------

foreach my $statement (split /(?<=;)\n/, $trial)
{
	run($statement);		# CREATE INDEX CONCURRENTLY wants to be alone
}
like(plan_of($trial_query), qr/Index Scan using items_trial/, 'trial: its query uses its index');
is(run($trial_query), $old_nearest, 'trial: the nearest');
is(run("SELECT phnsw.phnsw_check('items_trial')"), '', 'trial: the index is sound');
my ($ending) = $page =~ /^`(DROP INDEX items_trial; .*?)` ends the trial/m;
run("BEGIN; $ending; ROLLBACK");

# ---- the switch --------------------------------------------------------------------------------------------------------------

# What is not foreseen ends the transaction, and all is as it was.
run('CREATE VIEW seen AS SELECT embedding FROM items');
my ($rc, $out, $err) = $node->psql('postgres', example($switch), on_error_stop => 1);
like($err, qr/cannot alter type of a column used by a view/, 'switch: a view is in the way');
is(run($rows) . run($trial_query), $old_rows . $old_nearest, 'switch: nothing has happened');
run('DROP VIEW seen');

run(example($switch));
is(run($rows), $old_rows, 'switch: the rows are the same');
is(run($query), $old_nearest, 'switch: the nearest, by the query as it was');
like(plan_of($query), qr/Index Scan using items_embedding_idx/, 'switch: by the index');
is(run(q{SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'embedding'}), 'vector(3)', 'switch: the type has its name');
is(run(q{SELECT count(*) FROM pg_type WHERE typname = 'vector'}), '1', 'switch: there is one such type');
check_index($node, 'items_embedding_idx', 'switch');
run('INSERT INTO items (embedding) VALUES (\'[0.5,0.5,0.5]\')');
like(run($query), qr/^5001\n/, 'switch: a new row is found');

# The way back, which needs pgvector itself.
like(run(<<"SQL"), qr/^5001\n/, 'the way back') if $real;
BEGIN;
CREATE SCHEMA back;
CREATE EXTENSION vector SCHEMA back;
CREATE CAST (public.vector AS back.vector) WITHOUT FUNCTION AS ASSIGNMENT;
DROP INDEX items_embedding_idx;
ALTER TABLE items ALTER embedding TYPE back.vector(3);
DROP CAST (public.vector AS back.vector);
DROP EXTENSION phnsw;
ALTER EXTENSION vector SET SCHEMA public;
CREATE INDEX items_embedding_idx ON items USING hnsw (embedding vector_l2_ops);
$query
ROLLBACK;
SQL

# ---- logical replication -----------------------------------------------------------------------------------------------------

run('DROP EXTENSION phnsw CASCADE; DROP TABLE items; DROP SCHEMA phnsw');
run(example($before) . 'CREATE PUBLICATION p FOR TABLE items');
my $new = new_node('new', 'autovacuum = off');
$new->safe_psql('postgres', 'CREATE TABLE items (id bigint PRIMARY KEY, embedding vector(3)); CREATE INDEX items_embedding_idx ON items USING phnsw (embedding)');
$new->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '" . $node->connstr . " dbname=postgres' PUBLICATION p");
$new->wait_for_subscription_sync($node, 's');
run('INSERT INTO items SELECT 5000 + i, embedding FROM items JOIN generate_series(1, 100) AS i ON id = i; DELETE FROM items WHERE id <= 50');
$node->wait_for_catchup('s');
is($new->safe_psql('postgres', $rows), run($rows), 'replication: the rows are the same');
is(count_through_index($new, 'items', 'embedding', '<->', q{'[1,0,0]'}), 5050, 'replication: the index has them all');
check_index($new, 'items_embedding_idx', 'replication');
$new->safe_psql('postgres', 'DROP SUBSCRIPTION s');

$new->stop;
$node->stop;
done_testing();
