# Rows that lie closer together than their codes can tell apart: most hits of a cluster are found behind farther bounds, and are
# returned all the same where their distance proves that the order stays exact.  The default order must find them, must be an order, and must still
# return every row of a scan that is read to its end once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

use constant { CLUSTERS => 20, ROWS => 10000, DIMS => 32, QUERIES => 200 };

my $node = new_node('near_duplicates', 'autovacuum = off', 'jit = off');

# A cluster's centre has coordinates of deviation 1 or so, its rows lie .005 or so around it.  Queries are such rows, too.
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
	my ($what, $operator, $limit) = @_;

	return $node->safe_psql('postgres', qq{
		SET enable_seqscan = off;
		SELECT count(*) FILTER (WHERE d < before), count(*) - count(DISTINCT (q, id)) FROM (
			SELECT q, id, d, lag(d) OVER (PARTITION BY q ORDER BY n) AS before FROM (
				SELECT q.id AS q, r.id, r.d, row_number() OVER () AS n FROM (SELECT * FROM queries ORDER BY id LIMIT 20) q CROSS JOIN LATERAL
					(SELECT id, $what $operator q.embedding AS d FROM items ORDER BY $what $operator q.embedding LIMIT $limit) r) s) t
	});
}

# Under the inner product one cluster may be everybody's, and it is ef that counts.
foreach my $metric ([ '<->', 'vector_l2_ops', 0.99 ], [ '<=>', 'vector_cosine_ops', 0.99 ], [ '<#>', 'vector_ip_ops', 0.94 ])
{
	my ($operator, $opclass, $wanted) = @$metric;

	$node->safe_psql('postgres', "CREATE INDEX items_index ON items USING phnsw (embedding $opclass)");
	cmp_ok(recall($node, 'items', $operator, QUERIES), '>=', $wanted, "$opclass: strict order finds near-duplicates");
	is(out_of_order('embedding', $operator, 60), '0|0', "$opclass: in order, none twice");
	is($node->safe_psql('postgres', qq{SET enable_seqscan = off; SET phnsw.check_bounds = on; SELECT count(*), count(DISTINCT id) FROM
		(SELECT id FROM items ORDER BY embedding $operator (SELECT embedding FROM queries LIMIT 1) OFFSET 0) s}),
		ROWS . '|' . ROWS, "$opclass: every row once");
	check_index($node, 'items_index', $opclass);
	$node->safe_psql('postgres', 'DROP INDEX items_index');
}

# Rows that are gone, or have moved, and an index on an expression.
$node->safe_psql('postgres', q{
	CREATE INDEX items_index ON items USING phnsw (embedding);
	DELETE FROM items WHERE id % 3 = 0;
	UPDATE items SET id = -id WHERE id % 3 = 1;
});
cmp_ok(recall($node, 'items', '<->', QUERIES), '>=', 0.99, 'a third deleted, a third updated');
is(out_of_order('embedding', '<->', 60), '0|0', 'the same, in order');
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
