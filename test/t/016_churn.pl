# An index that lives.  Twenty times a tenth of the rows is deleted, as many others are inserted one by one, and VACUUM
# runs, so that every row has been replaced twice over.  The index is no larger than after the first cycles, and at the
# same ef it finds what an index built on the same rows finds, within 0.01 of recall@10.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

my $node = new_node('churn', 'autovacuum = off', 'phnsw.ef_search = 40', 'phnsw.merge_threshold = 2147483647');
load_words($node);

# Rows take turns: the table holds half of them; in cycle i the tenth that has been in it longest makes place.
$node->safe_psql('postgres', q{
	CREATE TABLE pool AS SELECT row_number() OVER (ORDER BY md5(word)) - 1 AS turn, * FROM words ORDER BY id LIMIT 19000;
	CREATE INDEX ON pool (turn);
	TRUNCATE words;
	INSERT INTO words SELECT id, word, embedding FROM pool WHERE turn < 9500;
	VACUUM ANALYZE words;
	CREATE INDEX words_index ON words USING phnsw (embedding)});

sub blocks { return $node->safe_psql('postgres', "SELECT pg_relation_size('words_index') / 8192"); }

my $built = blocks();
my $early;
foreach my $cycle (0 .. 19)
{
	my $first = $cycle * 950 % 19000;

	$node->safe_psql('postgres', qq{
		DELETE FROM words WHERE id IN (SELECT id FROM pool WHERE turn >= $first AND turn < $first + 950);
		INSERT INTO words SELECT id, word, embedding FROM pool
			WHERE turn >= ($first + 9500) % 19000 AND turn < ($first + 9500) % 19000 + 950;});
	$node->safe_psql('postgres', 'VACUUM words');
	$early = blocks() if $cycle == 1;
}
my $late = blocks();
is($node->safe_psql('postgres', 'SELECT count(*) FROM words'), 9500, 'as many rows as in the beginning');
check_index($node, 'words_index', 'after twenty cycles');
cmp_ok($late, '<=', $early * 1.01 + 1, 'the index has not grown since the second cycle');
cmp_ok($late, '<=', $built * 1.15 + 2, 'nor much since it was built');
is(count_through_index($node, 'words', 'embedding', '<->', '(SELECT embedding FROM queries LIMIT 1)'), 9500, 'the index returns every row');

my $churned = recall($node, 'words', '<->', 600);
$node->safe_psql('postgres', 'REINDEX INDEX words_index');
my $fresh = recall($node, 'words', '<->', 600);
note("recall\@10 at ef 40: $churned, of a fresh build $fresh; blocks: built $built, second cycle $early, twentieth $late");
cmp_ok($fresh, '<', 0.999, 'the search is not so wide that it finds everything in any graph');
cmp_ok($churned, '>=', $fresh - 0.01, 'recall is that of a fresh build');
check_index($node, 'words_index', 'fresh build');

$node->stop;
done_testing();
