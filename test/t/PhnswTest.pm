# PhnswTest: what the TAP tests share.  Every node is a cluster of its own; vectors come from the shipped sample
# (bench/data/words20k.py) or from a seeded random() inside the server.

package PhnswTest;

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use Cwd 'abs_path';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node load_words random_vectors_sql check_index count_through_index recall seed_from_env
  index_pages page_differences same_pages wait_until
  server_answers);

my $top = abs_path(dirname(__FILE__) . '/../..');

# A started node with the extension; settings are lines of postgresql.conf.  Speed of the disk does not
# matter here, so fsync stays off as the framework has it.  Plans with a scan type that is disabled are dear
# enough on paper to be compiled, which takes longer than they do.
sub new_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', join("\n", 'shared_buffers = 64MB', 'max_wal_size = 1GB', 'log_statement = none', 'jit = off', @settings) . "\n");
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION phnsw');
	return $node;
}

# Tables words (at most $limit rows) and queries, both (id int, word text, embedding vector(100)).
sub load_words
{
	my ($node, $limit) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/words';

	$node->safe_psql('postgres',
		'CREATE TABLE words (id int, word text, embedding vector(100)); CREATE TABLE queries (LIKE words)');
	foreach my $part ([ 'table', 'words' ], [ 'queries', 'queries' ])
	{
		system("python3 '$top/bench/data/words20k.py' $part->[0] > '$file'") == 0
		  or die 'words20k.py failed';
		$node->safe_psql('postgres', "COPY $part->[1] FROM '$file'");
	}
	$node->safe_psql('postgres', "DELETE FROM words WHERE id NOT IN (SELECT id FROM words ORDER BY id LIMIT $limit)")
	  if defined $limit;
	$node->safe_psql('postgres', 'VACUUM ANALYZE words, queries');
	return;
}

# An expression of type vector($dims) with fresh random coordinates for every value of the expression $salt.
sub random_vectors_sql
{
	my ($dims, $salt) = @_;

	return "(SELECT array_agg((random() * 2 - 1)::real) FROM generate_series(1, $dims) WHERE $salt IS NOT NULL)::vector($dims)";
}

# The checker finds nothing wrong, and every row of the table in the index.
sub check_index
{
	my ($node, $index, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT phnsw_check('$index'::regclass, heap_check => true)");

	ok($rc == 0, "phnsw_check passes: $what") or diag($err);
	return;
}

# Rows that a scan of the whole index returns.  In relaxed order, since strict order leaves out what comes too late.
sub count_through_index
{
	my ($node, $table, $column, $operator, $query) = @_;
	my $sql = "SELECT 1 FROM $table ORDER BY $column $operator $query";
	my $set = "SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order;";

	like($node->safe_psql('postgres', "$set EXPLAIN (COSTS OFF) $sql"), qr/Index Scan using/, "$table: the index is scanned");
	return $node->safe_psql('postgres', "$set SELECT count(*) FROM ($sql OFFSET 0) all_rows");
}

# recall@10 of the index on $table for the first $n rows of table queries.  An answer is right when it is no
# farther than the tenth exact one.  Asserts that the plan uses an index.
sub recall
{
	my ($node, $table, $operator, $n) = @_;
	my $nearest = "SELECT embedding $operator q.embedding AS d FROM $table ORDER BY embedding $operator q.embedding LIMIT 10";
	my $search = "SELECT q.id, r.d FROM few q CROSS JOIN LATERAL ($nearest) r";

	my $out = $node->safe_psql('postgres', qq{
		CREATE TEMP TABLE few AS SELECT * FROM queries ORDER BY id LIMIT $n;
		ANALYZE few;
		SET enable_seqscan = off;
		EXPLAIN (COSTS OFF) $search;
		CREATE TEMP TABLE found AS $search;
		RESET enable_seqscan;
		SET enable_indexscan = off;
		CREATE TEMP TABLE exact AS SELECT q.id, (SELECT max(d) FROM ($nearest) r) AS d FROM few q;
		SELECT 'recall=' || sum((f.d <= e.d)::int) / (10.0 * $n) FROM exact e JOIN found f USING (id);
	});
	like($out, qr/Index Scan using/, "$table: the search uses the index");
	my ($recall) = $out =~ /recall=([0-9.]+)/ or die "no recall in: $out";
	return $recall;
}

# The seed of a random test: printed, and settable, so that a failure can be replayed.
sub seed_from_env
{
	my $seed = $ENV{PHNSW_TEST_SEED} // time();

	note("PHNSW_TEST_SEED=$seed");
	srand($seed);
	return $seed;
}

# A line per block with a hash of what must be the same: all but the checksum; unless $with_lsn, for comparing two
# builds rather than two servers, also without the LSN and the meta page's random build_id.
sub index_pages
{
	my ($node, $index, $with_lsn) = @_;
	my $lsn = $with_lsn ? 'true' : 'false';
	my $page = $with_lsn ? 'substr(page, 1, 8) || substr(page, 11)' : 'substr(page, 11)';

	# build_id: block 0, bytes 32 ... 39, of which substr has cut off ten.
	return $node->safe_psql('postgres', qq{
		SELECT block, md5(CASE WHEN block = 0 AND NOT $lsn THEN overlay($page placing '\\x0000000000000000' from 23 for 8)
		                  ELSE $page END)
		FROM generate_series(0, pg_relation_size('$index') / 8192 - 1) block,
		     LATERAL (SELECT get_raw_page('$index', block::int) AS page) raw
		ORDER BY block});
}

sub page_differences
{
	my ($a, $b) = @_;
	my @a = split /\n/, $a;
	my @b = split /\n/, $b;
	my @different = grep { ($a[$_] // '') ne ($b[$_] // '') } 0 .. ($#a > $#b ? $#a : $#b);

	return @different;
}

sub same_pages
{
	my ($a, $b, $what) = @_;
	my @different = page_differences($a, $b);

	ok($a ne '' && !@different, $what)
	  or diag(scalar(@different) . ' blocks differ: ' . join(' ', @different[0 .. ($#different < 9 ? $#different : 9)]));
	return;
}

# Whether the server takes connections, after the death of backend $killed if there is one: until the
# postmaster has taken notice, it goes on as if nothing had happened.  Not by $node->psql(), which dies of
# a broken pipe when psql gives up before it has read its input.
sub server_answers
{
	my ($node, $killed) = @_;

	return 0 if defined $killed && kill(0, $killed);
	return IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'SELECT 1' ], '>', \my $out, '2>', \my $err);
}

# Polls $condition (a code reference) for at most $seconds.
sub wait_until
{
	my ($seconds, $condition) = @_;

	for (1 .. $seconds * 200)
	{
		return 1 if $condition->();
		select(undef, undef, undef, 0.005);
	}
	return 0;
}

1;
