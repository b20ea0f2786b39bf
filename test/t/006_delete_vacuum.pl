# Row-by-row inserts, deletes and vacuum.  Real words: 9,000 by bulk build, 10,000 by insert, then a third deleted and
# vacuumed, then other rows in the freed slots.  After each step the checker passes and recall@10 is at least 0.95.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

my $node = new_node('vacuum', 'autovacuum = off');
load_words($node);
$node->safe_psql('postgres', q{
	CREATE TABLE later AS SELECT * FROM words ORDER BY id OFFSET 9000;
	DELETE FROM words WHERE id IN (SELECT id FROM later);
	VACUUM ANALYZE words;
	CREATE INDEX words_index ON words USING phnsw (embedding)});

sub examine
{
	my ($what, $rows) = @_;

	is($node->safe_psql('postgres', 'SELECT count(*) FROM words'), $rows, "$what: $rows rows");
	check_index($node, 'words_index', $what);
	my $recall = recall($node, 'words', '<->', 150);
	cmp_ok($recall, '>=', 0.95, "$what: recall\@10");
	note("$what: recall\@10 $recall, "
		  . $node->safe_psql('postgres', "SELECT pg_relation_size('words_index') / 8192 || ' blocks'"));
	return;
}

examine('bulk build', 9000);
$node->safe_psql('postgres', 'INSERT INTO words SELECT * FROM later');
$node->safe_psql('postgres', 'ANALYZE words');
examine('10,000 inserts', 19000);

$node->safe_psql('postgres', 'DELETE FROM words WHERE id % 3 = 0');
my $left = $node->safe_psql('postgres', 'SELECT count(*) FROM words');
examine('a third deleted, before vacuum', $left);
$node->safe_psql('postgres', 'VACUUM ANALYZE words');
examine('a third deleted, after vacuum', $left);
is(count_through_index($node, 'words', 'embedding', '<->', '(SELECT embedding FROM queries LIMIT 1)'),
	$left, 'the index returns every row');

my $blocks = $node->safe_psql('postgres', "SELECT pg_relation_size('words_index') / 8192");
$node->safe_psql('postgres', 'INSERT INTO words SELECT * FROM later WHERE id % 3 = 0');
examine('other rows in freed slots', $node->safe_psql('postgres', 'SELECT count(*) FROM words'));
cmp_ok($node->safe_psql('postgres', "SELECT pg_relation_size('words_index') / 8192"),
	'<=', $blocks * 1.02 + 2, 'freed slots were used again');

# Updates that leave the vector alone put a second TID beside the first; vacuum takes the first away.
$node->safe_psql('postgres', q{CREATE INDEX ON words (word); UPDATE words SET word = word || '.'});
examine('all rows updated', $node->safe_psql('postgres', 'SELECT count(*) FROM words'));
$node->safe_psql('postgres', 'VACUUM words');
examine('all rows updated, after vacuum', $node->safe_psql('postgres', 'SELECT count(*) FROM words'));

$node->safe_psql('postgres', 'DELETE FROM words');
$node->safe_psql('postgres', 'VACUUM words');
check_index($node, 'words_index', 'everything deleted');
is(count_through_index($node, 'words', 'embedding', '<->', '(SELECT embedding FROM queries LIMIT 1)'), 0, 'an empty index');
$node->safe_psql('postgres', 'INSERT INTO words SELECT * FROM later WHERE id % 2 = 0');
$node->safe_psql('postgres', 'ANALYZE words');
examine('filled again', $node->safe_psql('postgres', 'SELECT count(*) FROM words'));

$node->stop;
done_testing();
