# Many well separated clusters in many dimensions: a search that goes down the upper levels by the nearest neighbour
# alone ends in a wrong cluster, from which a small ef does not get out.  600 queries, each near one of 400 clusters of
# 50 rows, ask for their nearest row at ef 4; an answer from another cluster is a lost query (70 of them with a greedy
# descent, 7 as it is).  Once by one session, which copies the upper levels, and once by sessions too short for that.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

my $node = new_node('clusters');
my $near = '(SELECT array_agg((y + 0.7 * (random() - 0.5))::real ORDER BY d) FROM unnest(x) WITH ORDINALITY u (y, d))::vector(384)';

$node->safe_psql('postgres', qq{
	SELECT setseed(0.5);
	CREATE TABLE centres AS SELECT i, array_agg((random() - 0.5)::real ORDER BY d) AS x
		FROM generate_series(0, 399) i, generate_series(1, 384) d GROUP BY i;
	CREATE TABLE items AS SELECT n AS id, i AS cluster, $near AS v FROM generate_series(1, 20000) n JOIN centres ON i = n % 400;
	CREATE TABLE queries AS SELECT n AS id, i AS cluster, $near AS v FROM generate_series(1, 600) n JOIN centres ON i = n % 400;
	CREATE INDEX items_v ON items USING phnsw (v vector_l2_ops)});

# Queries with first < id <= last whose nearest row is of another cluster.
sub lost
{
	my ($first, $last) = @_;

	return $node->safe_psql('postgres', qq{
		SET enable_seqscan = off;
		SET phnsw.ef_search = 4;
		SELECT count(*) FROM queries q WHERE id > $first AND id <= $last
			AND cluster <> (SELECT cluster FROM items ORDER BY v <-> q.v LIMIT 1)});
}

my $lost = lost(0, 600);
cmp_ok($lost, '<=', 20, 'queries that one session loses');
note("lost: $lost");

$lost = 0;
$lost += lost($_ * 12, $_ * 12 + 12) for (0 .. 49);
cmp_ok($lost, '<=', 20, 'queries that sessions of 12 lose');
note("lost: $lost");

check_index($node, 'items_v', 'clusters');
$node->stop;
done_testing();
