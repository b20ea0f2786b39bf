# Rows that lie closer together than their codes can tell apart: most hits of a cluster are found behind farther bounds,
# and are returned all the same where their distance proves that the order stays exact.  The default order must find
# them, must be an order, and must still return every row of a scan that is read to its end once.  Also where several
# rows share a node: copies, rows whose update was not HOT, and rows so close together that their codes are equal.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

use constant { CLUSTERS => 20, ROWS => 10000, DIMS => 32, QUERIES => 200 };

# With the default target some of these indexes would be swept.
my $node = new_node('near_duplicates', 'autovacuum = off', 'phnsw.target_recall = 0.9');

# A cluster's centre has coordinates of deviation 1 or so, its rows lie .005
# or so around it.  Queries are such rows, too.
$node->safe_psql('postgres', sprintf q{
	SELECT setseed(.35);
	CREATE TABLE centres AS SELECT c, (SELECT array_agg((random() + random() + random() - 1.5) * 2 + 0 * k * c) FROM generate_series(1, %d) k) AS x
		FROM generate_series(0, %d) c;
	CREATE TABLE items (id int, embedding vector(%d));
	CREATE TABLE queries (LIKE items);
	INSERT INTO items SELECT i, (SELECT array_agg((x + (random() + random() + random() - 1.5) * .01 + 0 * i)::real) FROM unnest(c.x) x)::vector
		FROM generate_series(1, %d) i JOIN centres c ON c.c = i %% %d;
	INSERT INTO queries SELECT i, (SELECT array_agg((x + (random() + random() + random() - 1.5) * .01 + 0 * i)::real) FROM unnest(c.x) x)::vector
		FROM generate_series(1, %d) i JOIN centres c ON c.c = i %% %d;
	ANALYZE items;
}, DIMS, CLUSTERS - 1, DIMS, ROWS, CLUSTERS, QUERIES, CLUSTERS);

# Of 20 queries: places where a distance is below the one before it, and rows that come twice.
sub out_of_order
{
	my ($what, $operator, $limit, $table) = @_;

	return $node->safe_psql('postgres', qq{
		SET enable_seqscan = off;
		SELECT count(*) FILTER (WHERE d < before), count(*) - count(DISTINCT (q, id)) FROM (
			SELECT q, id, d, lag(d) OVER (PARTITION BY q ORDER BY n) AS before FROM (
				SELECT q.id AS q, r.id, r.d, row_number() OVER () AS n FROM (SELECT * FROM queries ORDER BY id LIMIT 20) q CROSS JOIN LATERAL
					(SELECT id, $what $operator q.embedding AS d FROM $table ORDER BY $what $operator q.embedding LIMIT $limit) r) s) t
	});
}

# A scan that is read to its end: rows, and how many different ones.
sub all_rows
{
	my ($operator, $table) = @_;

	return $node->safe_psql('postgres', qq{SET enable_seqscan = off; SET phnsw.check_bounds = on; SELECT count(*), count(DISTINCT id) FROM
		(SELECT id FROM $table ORDER BY embedding $operator (SELECT embedding FROM queries LIMIT 1) OFFSET 0) s});
}

# Under the inner product one cluster may be everybody's, and it is ef that counts.
foreach my $metric ([ '<->', 'vector_l2_ops', 0.9 ], [ '<=>', 'vector_cosine_ops', 0.9 ], [ '<#>', 'vector_ip_ops', 0.94 ])
{
	my ($operator, $opclass, $wanted) = @$metric;

	$node->safe_psql('postgres', "CREATE INDEX items_index ON items USING phnsw (embedding $opclass)");
	cmp_ok(recall($node, 'items', $operator, QUERIES), '>=', $wanted, "$opclass: strict order finds near-duplicates");
	is(out_of_order('embedding', $operator, 60, 'items'), '0|0', "$opclass: in order, none twice");
	is(all_rows($operator, 'items'), ROWS . '|' . ROWS, "$opclass: every row once");
	check_index($node, 'items_index', $opclass);
	$node->safe_psql('postgres', 'DROP INDEX items_index');
}

# Every row twice, a few of them more often than the scan looks at the rows of one node.
$node->safe_psql('postgres', 'CREATE TABLE twice AS SELECT i.id * 2 + k AS id, i.embedding FROM items i, generate_series(0, 1) k ORDER BY k, i.id;'
	. 'INSERT INTO twice SELECT -100 * i.id - k, i.embedding FROM items i, generate_series(0, 98) k WHERE i.id <= 20');
foreach my $metric ([ '<->', 'vector_l2_ops', 0.9 ], [ '<#>', 'vector_ip_ops', 0.94 ])
{
	my ($operator, $opclass, $wanted) = @$metric;
	my $rows = 2 * ROWS + 20 * 99;

	$node->safe_psql('postgres', "CREATE INDEX twice_index ON twice USING phnsw (embedding $opclass); ANALYZE twice");
	cmp_ok($node->safe_psql('postgres', q{SELECT live_nodes FROM phnsw_index_info('twice_index')}), '<=', ROWS, 'copies share nodes');
	cmp_ok(recall($node, 'twice', $operator, QUERIES), '>=', $wanted, "$opclass: every row twice");
	is(out_of_order('embedding', $operator, 60, 'twice'), '0|0', "$opclass: every row twice, in order");
	is(all_rows($operator, 'twice'), "$rows|$rows", "$opclass: every row twice, each once");
	check_index($node, 'twice_index', "$opclass, every row twice");
	$node->safe_psql('postgres', 'DROP INDEX twice_index');
}

# Rows with equal codes but different distances, some of which fit behind the last bound, and others do not.
# (Along a diagonal a plane's largest rotated coordinate, and so the code's scale, may stay as it is.)
# phnsw.check_bounds finds rows that have been returned too late.
$node->safe_psql('postgres', q{
	SELECT setseed(.1);
	CREATE TABLE points AS SELECT i AS id, round(random() * 1024) / 1024 AS x, round(random() * 1024) / 1024 AS y FROM generate_series(1, 2500) i;
	CREATE TABLE plane AS SELECT (a * 3 + b) * 2500 + id AS id, ARRAY[x + (a + b) * .001, y + (a - b) * .001]::real[]::vector(2) AS embedding
		FROM points, generate_series(0, 2) a, generate_series(0, 2) b;
	CREATE INDEX plane_index ON plane USING phnsw (embedding);
	ANALYZE plane});
cmp_ok($node->safe_psql('postgres', q{SELECT duplicates FROM phnsw_index_info('plane_index')}), '>', 100, 'different vectors share nodes');
is($node->safe_psql('postgres', q{
	SET enable_seqscan = off;
	SET phnsw.ef_search = 10;
	SET phnsw.check_bounds = on;
	SELECT count(*) FILTER (WHERE d < before), count(*), count(DISTINCT (q, id)) FROM (
		SELECT q, id, d, lag(d) OVER (PARTITION BY q ORDER BY n) AS before FROM (
			SELECT q.id AS q, r.id, r.d, row_number() OVER () AS n FROM (SELECT * FROM plane WHERE id <= 300 ORDER BY id) q CROSS JOIN LATERAL
				(SELECT id, embedding <-> q.embedding AS d FROM plane ORDER BY embedding <-> q.embedding LIMIT 300) r) s) t}),
	'0|90000|90000', 'different vectors share nodes: in order, none twice');
check_index($node, 'plane_index', 'different vectors share nodes');

# Rows that were updated, but not HOT: a node has the TIDs of both versions,
# and after VACUUM the new one's in its chain.
$node->safe_psql('postgres', q{
	CREATE TABLE updated (id int, changes int, embedding vector} . '(' . DIMS . q{));
	INSERT INTO updated SELECT id, 0, embedding FROM items;
	CREATE INDEX ON updated (changes);
	CREATE INDEX updated_index ON updated USING phnsw (embedding);
	VACUUM ANALYZE updated});
foreach my $step ('UPDATE updated SET changes = 1', 'VACUUM updated', 'UPDATE updated SET changes = 2', 'VACUUM updated', 'DELETE FROM updated WHERE id % 3 = 0')
{
	$node->safe_psql('postgres', $step);
	cmp_ok($node->safe_psql('postgres', q{SELECT live_nodes FROM phnsw_index_info('updated_index')}), '<=', ROWS * 1.1, "$step: versions share nodes");
	cmp_ok(recall($node, 'updated', '<->', QUERIES), '>=', 0.9, $step);
	is(out_of_order('embedding', '<->', 60, 'updated'), '0|0', "$step: in order");
	check_index($node, 'updated_index', $step);
}

# Rows that are gone, or have moved, and an index on an expression.
$node->safe_psql('postgres', q{
	CREATE INDEX items_index ON items USING phnsw (embedding);
	DELETE FROM items WHERE id % 3 = 0;
	UPDATE items SET id = -id WHERE id % 3 = 1;
});
cmp_ok(recall($node, 'items', '<->', QUERIES), '>=', 0.9, 'a third deleted, a third updated');
is(out_of_order('embedding', '<->', 60, 'items'), '0|0', 'the same, in order');
check_index($node, 'items_index', 'dead rows');
$node->safe_psql('postgres', q{DROP INDEX items_index; CREATE INDEX items_index ON items USING phnsw (((embedding + embedding)::vector(32))); ANALYZE items});
is($node->safe_psql('postgres', q{
	SET enable_seqscan = off;
	CREATE TEMP TABLE found AS SELECT q.id AS q, max(r.d) AS d, count(*) AS n FROM queries q CROSS JOIN LATERAL
		(SELECT ((embedding + embedding)::vector(32)) <-> q.embedding AS d FROM items ORDER BY ((embedding + embedding)::vector(32)) <-> q.embedding LIMIT 10) r GROUP BY 1;
	SET enable_indexscan = off;
	SELECT count(*) >= 195 FROM found f JOIN queries q ON q.id = f.q CROSS JOIN LATERAL
		(SELECT ((embedding + embedding)::vector(32)) <-> q.embedding AS d FROM items ORDER BY ((embedding + embedding)::vector(32)) <-> q.embedding OFFSET 9 LIMIT 1) e
		WHERE f.n = 10 AND f.d <= e.d}), 't', 'an index on an expression');
check_index($node, 'items_index', 'an expression');

$node->stop;
done_testing();
