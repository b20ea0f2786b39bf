# Indexes on halfvec: built, filled one row at a time, by statements of many rows and in one go, updated, vacuumed,
# crashed.  Every bound is compared with the distance (phnsw.check_bounds); recall is measured against distances of
# halves; values in line (100 dimensions), out of line (1,500) and compressed.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

my $node = new_node('halfvec', 'autovacuum = off', 'phnsw.check_bounds = on');
my %classes = ('<->' => 'halfvec_l2_ops', '<#>' => 'halfvec_ip_ops', '<=>' => 'halfvec_cosine_ops');

load_words($node, 6000);
$node->safe_psql('postgres', 'ALTER TABLE queries ALTER embedding TYPE halfvec(100)');

# The default target, 0.95, is a mean over queries; these are 200.
foreach my $operator (sort keys %classes)
{
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS items; CREATE TABLE items AS SELECT id, embedding::halfvec(100) FROM words;
		ALTER TABLE items ALTER embedding TYPE halfvec(100);
		CREATE INDEX items_index ON items USING phnsw (embedding $classes{$operator}); ANALYZE items");
	cmp_ok(recall($node, 'items', $operator, 200), '>=', 0.94, "$operator: recall\@10 after a build");
	my $query = "(SELECT embedding FROM queries ORDER BY id LIMIT 1)";
	is(count_through_index($node, 'items', 'embedding', $operator, $query), 6000, "$operator: every row is found");
	check_index($node, 'items_index', "$operator: built");
}

# The same vectors, stored exactly, and an index of their halves: the same distances, so the same answers.
$node->safe_psql('postgres', 'DROP TABLE items; CREATE TABLE items AS SELECT id, embedding::halfvec(100) FROM words;
	ALTER TABLE items ALTER embedding TYPE halfvec(100); CREATE INDEX items_index ON items USING phnsw (embedding);
	CREATE INDEX words_half ON words USING phnsw ((embedding::halfvec(100)) halfvec_l2_ops); VACUUM ANALYZE items, words');
my $of_column = $node->safe_psql('postgres', 'SET enable_seqscan = off; SELECT q.id, r.id FROM (SELECT * FROM queries ORDER BY id LIMIT 50) q,
	LATERAL (SELECT id FROM items ORDER BY embedding <-> q.embedding LIMIT 10) r');
my $of_expression = $node->safe_psql('postgres', 'SET enable_seqscan = off; SELECT q.id, r.id FROM (SELECT * FROM queries ORDER BY id LIMIT 50) q,
	LATERAL (SELECT id FROM words ORDER BY embedding::halfvec(100) <-> q.embedding LIMIT 10) r');
is($of_expression, $of_column, 'an index on an expression answers as one on a column');
check_index($node, 'words_half', 'an expression');

# Written to in every way, under a crash.
$node->safe_psql('postgres', 'CREATE TABLE filled (id int, embedding halfvec(100)); CREATE INDEX filled_index ON filled USING phnsw (embedding);
	INSERT INTO filled SELECT id, embedding FROM items WHERE id % 2 = 0; ANALYZE filled');
check_index($node, 'filled_index', 'filled in one go');
$node->safe_psql('postgres', 'INSERT INTO filled SELECT id, embedding FROM items WHERE id % 8 = 1');
check_index($node, 'filled_index', 'a statement of many rows');
$node->safe_psql('postgres', join(';', map { "INSERT INTO filled SELECT id, embedding FROM items WHERE id % 2000 = $_ AND id % 8 <> 1" } map { 2 * $_ + 1 } 0 .. 200));
$node->safe_psql('postgres', 'UPDATE filled SET id = -id WHERE id % 5 = 0; UPDATE filled SET embedding = embedding * array_fill(0.5::real, ARRAY[100])::halfvec WHERE id % 7 = 0;
	DELETE FROM filled WHERE id % 11 = 0; VACUUM filled');
check_index($node, 'filled_index', 'single rows, updates and a vacuum');
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM filled');
$node->stop('immediate');
$node->start;
is(count_through_index($node, 'filled', 'embedding', '<->', "(SELECT embedding FROM queries ORDER BY id LIMIT 1)"), $rows, 'every row is found after a crash');
cmp_ok(recall($node, 'filled', '<->', 200), '>=', 0.94, 'recall@10 of an index that was written to');
check_index($node, 'filled_index', 'after a crash');

# Out of line, in one and in two chunks, and compressed.
foreach my $storage ('external', 'extended', 'plain')
{
	my $vectors = "(SELECT array_agg(CASE WHEN k % 10 > 0 THEN 0 ELSE random() * 2 - 1 END) FROM generate_series(1, 1500) k WHERE i IS NOT NULL)::halfvec(1500)";
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS long; CREATE TABLE long (id int, embedding halfvec(1500));
		ALTER TABLE long ALTER embedding SET STORAGE $storage;
		INSERT INTO long SELECT i, $vectors FROM generate_series(1, 600) i;
		CREATE INDEX long_index ON long USING phnsw (embedding); INSERT INTO long SELECT i, $vectors FROM generate_series(601, 620) i; ANALYZE long");
	my $nearest = 'SELECT id FROM long ORDER BY embedding <-> (SELECT embedding FROM long WHERE id = 5) LIMIT 20';
	is($node->safe_psql('postgres', "SET enable_seqscan = off; SELECT string_agg(id::text, ',') FROM ($nearest) n"),
		$node->safe_psql('postgres', "SET enable_indexscan = off; SELECT string_agg(id::text, ',') FROM ($nearest) n"), "$storage: the nearest rows");
	check_index($node, 'long_index', $storage);
}

# What is dumped can be loaded.
my $dump = $node->safe_psql('postgres', "SELECT string_agg(embedding::text, ';' ORDER BY id) FROM items WHERE id < 2000");
$node->safe_psql('postgres', "CREATE TABLE copied (id int, embedding halfvec(100)); CREATE INDEX copied_index ON copied USING phnsw (embedding);");
$node->safe_psql('postgres', "COPY items TO '" . $node->data_dir . "/items.copy' WITH (FORMAT binary); COPY copied FROM '" . $node->data_dir . "/items.copy' WITH (FORMAT binary)");
is($node->safe_psql('postgres', "SELECT string_agg(embedding::text, ';' ORDER BY id) FROM copied WHERE id < 2000"), $dump, 'binary COPY brings the same halves');
check_index($node, 'copied_index', 'a binary COPY');

$node->stop;
done_testing();
