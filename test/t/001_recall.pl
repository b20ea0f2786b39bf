# Recall and order on real vectors.  For each metric: the planner takes the index, recall@10 at default settings is at
# least 0.95 against exact search, and 10,000 random queries come back in exact order.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

my $node = new_node('recall');
load_words($node);

# Half of the random queries are noise, half are words with a little noise.
$node->safe_psql('postgres', q{
	SELECT setseed(0.25);
	CREATE TABLE random_queries AS
	SELECT i AS id, CASE WHEN i % 2 = 0
		THEN (SELECT array_agg((random() * 2 - 1)::real) FROM generate_series(1, 100) WHERE i IS NOT NULL)
		ELSE (SELECT array_agg((x + (random() - 0.5) * 0.2)::real) FROM unnest(w.embedding::real[]) x)
		END::vector(100) AS v
	FROM generate_series(1, 10000) i JOIN (SELECT row_number() OVER (ORDER BY id) AS n, embedding FROM words) w ON w.n = i});

foreach my $metric ([ 'vector_l2_ops', '<->' ], [ 'vector_cosine_ops', '<=>' ], [ 'vector_ip_ops', '<#>' ])
{
	my ($opclass, $operator) = @$metric;

	$node->safe_psql('postgres', "CREATE INDEX words_index ON words USING phnsw (embedding $opclass)");
	like($node->safe_psql('postgres', "EXPLAIN (COSTS OFF) SELECT word FROM words
			ORDER BY embedding $operator (SELECT embedding FROM queries LIMIT 1) LIMIT 10"),
		qr/Index Scan using words_index on words.*Order By: \(embedding \Q$operator\E/s, "$opclass: the planner takes the index");

	my $recall = recall($node, 'words', $operator, 200);
	cmp_ok($recall, '>=', 0.95, "$opclass: recall\@10");
	note("$opclass: recall\@10 $recall");

	my $search = "SELECT embedding $operator q.v AS d FROM words ORDER BY embedding $operator q.v LIMIT 10";
	my $out = $node->safe_psql('postgres', qq{
		SET enable_seqscan = off;
		SELECT count(*), sum(n), sum(wrong) FROM random_queries q
		CROSS JOIN LATERAL (SELECT count(*) AS n, count(*) FILTER (WHERE d < previous) AS wrong
			FROM (SELECT d, lag(d) OVER () AS previous FROM ($search) ten) pairs) checked});
	is($out, '10000|100000|0', "$opclass: 10,000 queries give ten rows each, never out of order");
	# Bounds are tight: of ten rows hardly more than ten are looked at in the table.
	my $rechecks = $node->safe_psql('postgres', qq{SET enable_seqscan = off; SELECT phnsw_stats_reset();
		SELECT count(*) FROM (SELECT * FROM queries ORDER BY id LIMIT 500) q
			CROSS JOIN LATERAL (SELECT id FROM words ORDER BY embedding $operator q.embedding LIMIT 10) r;
		SELECT 'rechecks ' || rechecks::float8 / scans FROM phnsw_stats WHERE scans = 500});
	cmp_ok($rechecks =~ /rechecks ([0-9.]+)/ ? $1 : 1e9, '<=', 14, "$opclass: rows looked at in the table for ten");
	note("$opclass: $1 rows looked at");
	check_index($node, 'words_index', $opclass);
	$node->safe_psql('postgres', 'DROP INDEX words_index');
}

$node->stop;
done_testing();
