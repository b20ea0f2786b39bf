# A vacuum that links lost nodes again cuts nobody else off.  Small lists, and clusters of rows that nearly equal each
# other: what gives way to a lost node in a full list is the farthest entry, often the one way to another cluster.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

my $node = new_node('bridges', 'autovacuum = off');

$node->safe_psql('postgres', q{
	CREATE TABLE t (id int, v vector(4));
	CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 2, ef_construction = 4);
	SET phnsw.merge_threshold = 1000000;
	SELECT setseed(0.5);
	INSERT INTO t SELECT i, ARRAY[sin(k), cos(k * 3), sin(k * 5), cos(k * 7) + CASE WHEN random() < 0.5 THEN 1e-4 * (random() - 0.5) ELSE 3e-4 * random() END]::real[]::vector
		FROM (SELECT i, floor(random() * 7)::int + 1 AS k FROM generate_series(1, 6000) i) s});

foreach my $round (0 .. 5)
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT phnsw_check('t_v', true, true)");

	ok($rc == 0, "$round vacuums: every node can be reached") or diag($err);
	$node->safe_psql('postgres', "DELETE FROM t WHERE id % 20 = $round");
	$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP on) t');
}
check_index($node, 't_v', 'in the end');

$node->stop;
done_testing();
