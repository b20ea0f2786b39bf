# The default target under the inner product, where vectors have mixed lengths: the long ones are everybody's
# neighbours, and the rows' own points, which have a coordinate more than queries, are found with a third of the ef that
# queries want.  After a build and after a vacuum that calibrates, queries find what is promised, whatever their own
# length; an index of a release that measured with points is searched as that release did, until it is measured again.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

use constant { HEADER => 24, META_CALIBRATED_BY => 308, ROWS => 8000 };

my $node = new_node('inner_product', 'autovacuum = off', 'ignore_checksum_failure = on');
my %lengths = ('a quarter twice as long' => 'CASE WHEN i % 4 = 0 THEN 2 ELSE 1 END', 'log-normal' => 'exp(sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))');

# Rows $from to $to of a table, or of table queries: random coordinates times that length.
sub fill
{
	my ($table, $length, $from, $to) = @_;

	$node->safe_psql('postgres', "SELECT setseed($from / 200000.0);
		INSERT INTO $table SELECT i, (SELECT array_agg((f * (random() * 2 - 1) + 0 * k)::real) FROM generate_series(1, 32) k)::vector(32)
		FROM (SELECT i, $length AS f FROM generate_series($from, $to) i OFFSET 0) l; ANALYZE $table");
	return;
}

# (recall, ef, stop) of the default target.
sub found
{
	my $recall = recall($node, 'items', '<#>', 500);
	my $ef = $node->safe_psql('postgres', 'SET enable_seqscan = off; SELECT FROM items ORDER BY embedding <#> (SELECT embedding FROM queries LIMIT 1) LIMIT 10;
		SELECT ef FROM phnsw_last_scan()') =~ s/\s//gr;
	return ($recall, $ef);
}

foreach my $mixture (sort keys %lengths)
{
	$node->safe_psql('postgres', 'DROP TABLE IF EXISTS items, queries; CREATE TABLE items (id int, embedding vector(32)); CREATE TABLE queries (LIKE items)');
	fill('queries', $lengths{$mixture}, 100001, 100500);
	fill('items', $lengths{$mixture}, 1, ROWS);
	$node->safe_psql('postgres', 'CREATE INDEX items_index ON items USING phnsw (embedding vector_ip_ops)');
	my ($recall, $ef) = found();
	note("$mixture: recall $recall at ef $ef");
	cmp_ok($recall, '>=', 0.945, "$mixture: the target is reached after a build");

	$node->safe_psql('postgres', 'UPDATE queries SET embedding = embedding * array_fill(power(2, id % 40 - 20)::real, ARRAY[32])::vector');
	is((found())[0], $recall, "$mixture: queries may have any length");

	# Until it is measured again, an index that says nothing of how it was measured gets what it always did.
	my $file = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('items_index')");
	$node->stop;
	open my $handle, '+<:raw', $file or die "$file: $!";
	seek $handle, HEADER + META_CALIBRATED_BY, 0;
	read $handle, my $by, 4;
	is(unpack('L', $by), 1, "$mixture: the build says how it has measured");
	seek $handle, HEADER + META_CALIBRATED_BY, 0;
	print {$handle} pack('L', 0);
	close $handle or die "$file: $!";
	$node->start;
	cmp_ok((found())[1], '>', $ef, "$mixture: an older calibration is trusted less");
	check_index($node, 'items_index', 'an older index');

	fill('items', $lengths{$mixture}, ROWS + 1, 2 * ROWS);
	$node->safe_psql('postgres', 'VACUUM items');
	($recall, $ef) = found();
	note("$mixture: recall $recall at ef $ef after a vacuum");
	cmp_ok($recall, '>=', 0.945, "$mixture: the target is reached after a vacuum");
	check_index($node, 'items_index', 'after a vacuum');
}

$node->stop;
done_testing();
