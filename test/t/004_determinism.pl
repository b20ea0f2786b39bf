# The same rows give the same index, byte for byte, whatever the number of threads or the instruction set: real vectors,
# many duplicates, small tables.  Likewise rows that come one by one, wherever the buffers are: the nodes of a full list
# are compared in shared buffers, where they stand; a temporary table has none, so there they are copied first.  Left
# out of the comparison: LSN, checksum and the meta page's random build_id.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

my $node = new_node('determinism', 'max_worker_processes = 16', 'max_parallel_workers = 16');
$node->safe_psql('postgres', 'CREATE EXTENSION pageinspect');
load_words($node);
$node->safe_psql('postgres', q{
	CREATE TABLE duplicates AS SELECT i AS id, ('[' || i % 10 || ',' || i % 3 || ',1]')::vector(3) AS embedding
	FROM generate_series(1, 5000) i;
	CREATE TABLE few AS SELECT id, embedding FROM words ORDER BY id LIMIT 300});

foreach my $case ([ 'words', 'vector_l2_ops' ], [ 'words', 'vector_cosine_ops' ], [ 'words', 'vector_ip_ops' ],
	[ 'duplicates', 'vector_l2_ops' ], [ 'few', 'vector_l2_ops' ])
{
	my ($table, $opclass) = @$case;
	my %pages;

	foreach my $threads (1, 2, 4)
	{
		my $workers = $threads - 1;
		$node->safe_psql('postgres', "SET max_parallel_maintenance_workers = $workers;
			CREATE INDEX the_index ON $table USING phnsw (embedding $opclass)");
		$pages{$threads} = index_pages($node, 'the_index', 0);
		check_index($node, 'the_index', "$table, $opclass, $threads threads");
		$node->safe_psql('postgres', 'DROP INDEX the_index');
	}
	same_pages($pages{1}, $pages{2}, "$table, $opclass: 1 and 2 threads build the same pages");
	same_pages($pages{1}, $pages{4}, "$table, $opclass: 1 and 4 threads build the same pages");
}

# And by the kernels of every instruction set that this machine has: codes of 8 bits and, of many dimensions, of 4;
# more rows than a leaf holds; and a merge.
$node->safe_psql('postgres', q{
	CREATE TABLE part AS SELECT id, embedding FROM words ORDER BY id LIMIT 2000;
	CREATE TABLE long AS SELECT w.id, (SELECT array_agg(x::real * (1 + j % 3) ORDER BY j, k) FROM generate_series(1, 81) j,
			unnest(w.embedding::real[]) WITH ORDINALITY u(x, k))::vector(8100) AS embedding FROM words w WHERE id <= 700});
foreach my $case ([ 'part', 'vector_l2_ops' ], [ 'part', 'vector_cosine_ops' ], [ 'part', 'vector_ip_ops' ],
	[ 'long', 'vector_l2_ops' ])
{
	my ($table, $opclass) = @$case;
	my %pages;

	foreach my $simd ('scalar', 'avx2', 'avxvnni', 'avx512')
	{
		my ($rc) = $node->psql('postgres', "SET phnsw.simd = '$simd'");

		next if $rc != 0;    # not here
		$node->safe_psql('postgres', "SET phnsw.simd = '$simd'; SET phnsw.merge_threshold = 1;
			CREATE TABLE grown AS SELECT * FROM $table; CREATE INDEX the_index ON grown USING phnsw (embedding $opclass);
			INSERT INTO grown SELECT -id, embedding + embedding FROM $table WHERE id % 5 = 0");
		$pages{$simd} = index_pages($node, 'the_index', 0);
		check_index($node, 'the_index', "$table, $opclass, $simd");
		same_pages($pages{scalar}, $pages{$simd}, "$table, $opclass: $simd kernels build the pages that scalar ones do");
		$node->safe_psql('postgres', 'DROP TABLE grown');
	}
}

my $different = $node->safe_psql('postgres', q{
	CREATE TABLE shared (v vector(8)) WITH (autovacuum_enabled = off);
	CREATE TEMPORARY TABLE local (v vector(8));
	CREATE INDEX shared_v ON shared USING phnsw (v) WITH (m = 4);
	CREATE INDEX local_v ON local USING phnsw (v) WITH (m = 4);
	DO $$
	DECLARE v vector(8);
	BEGIN
		FOR i IN 1 .. 3000 LOOP
			SELECT array_agg(hashint4(i * 8 + j) / 2147483648.0)::vector INTO v FROM generate_series(1, 8) j;
			INSERT INTO shared VALUES (v);
			INSERT INTO local VALUES (v);
			COMMIT;
		END LOOP;
	END $$;
	SELECT pg_relation_size('shared_v') / 8192 > 20, pg_relation_size('shared_v') - pg_relation_size('local_v'), count(*)
	FROM generate_series(1, pg_relation_size('shared_v') / 8192 - 1) b
	WHERE substr(get_raw_page('shared_v', b::int), 13) <> substr(get_raw_page('local_v', b::int), 13)});
is($different, 't|0|0', 'rows one by one: the same pages in shared buffers and in local ones');
check_index($node, 'shared_v', 'rows one by one');

$node->stop;
done_testing();
