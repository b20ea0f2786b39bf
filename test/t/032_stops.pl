# Searches that are stopped by distance: the ef that an index chooses comes with a rule that ends a
# search earlier.  It finds as many of the ten nearest as the whole search, for less; scans that go
# on are complete and in order; an index that is older than the rule is searched without it until it
# is measured again; phnsw.ef_search means what it always did.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

use constant { BLOCK => 8192, HEADER => 24, META_STOP => 312, STOP_BYTES => 12 * 8 };

my $node = new_node('stops', 'autovacuum = off', 'ignore_checksum_failure = on');
load_words($node);
$node->safe_psql('postgres', q{
	CREATE INDEX words_index ON words USING phnsw (embedding vector_cosine_ops);
	CREATE FUNCTION stops() RETURNS bigint LANGUAGE sql AS
		$$ SELECT count(c -> 'stop') FROM phnsw_index_info('words_index') i, jsonb_array_elements(i.calibration) c $$});
my $file = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('words_index')");
my $targets = { map { $_ => "SET phnsw.target_recall = $_" } 0.9, 0.95, 0.98 };

# (recall, distances of a query) of 500 queries.
sub measure
{
	my ($setting) = @_;

	$node->append_conf('postgresql.conf', "$1 = $2\n") if $setting =~ /SET (\S+) = (\S+)/;
	$node->reload;
	my $distances = $node->safe_psql('postgres', q{
		SET enable_seqscan = off;
		SELECT count(r.id) FROM (SELECT * FROM queries ORDER BY id LIMIT 500) q CROSS JOIN LATERAL
			(SELECT id FROM words ORDER BY embedding <=> q.embedding LIMIT 10) r;
		SELECT distances FROM phnsw_stats WHERE index = 'words_index'::regclass;
		SELECT phnsw_stats_reset('words_index')});
	my (undef, $n) = split /\n/, $distances;
	return (recall($node, 'words', '<=>', 500), $n / 500);
}

# Pairs of a row's place in the order of the scan and how many are nearer than the one before.
my $order = q{
	SET enable_seqscan = off; SET enable_sort = off;
	WITH s AS MATERIALIZED (SELECT id, embedding <=> (SELECT embedding FROM queries LIMIT 1) AS d FROM words
			WHERE %s ORDER BY embedding <=> (SELECT embedding FROM queries LIMIT 1) LIMIT %s),
		o AS (SELECT id, d, lag(d) OVER () AS before FROM s)
	SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE d < before) FROM o};

my (%with, %without);
cmp_ok($node->safe_psql('postgres', 'SELECT stops()'), '>', 0, 'a build has found stops');
$with{$_} = [ measure($targets->{$_}) ] for sort keys %$targets;
cmp_ok($with{$_}[0], '>=', $_, "target $_ is reached") for sort keys %with;
my @by_ef = measure('SET phnsw.ef_search = 60');
$node->append_conf('postgresql.conf', "phnsw.ef_search = 0\nphnsw.target_recall = 0.98\n");
$node->reload;
foreach my $n (9, 10, 11, 16, 17, 30, 100, 1000, 3000)
{
	is($node->safe_psql('postgres', sprintf $order, 'true', $n), "$n|$n|0", "LIMIT $n: all of them, in order");
}
is($node->safe_psql('postgres', sprintf $order, 'id % 100 = 7', 50), '50|50|0', 'a filter gets its rows');
is($node->safe_psql('postgres', 'SET phnsw.iterative_scan = relaxed_order;' . sprintf $order, 'true', 1000000) =~ s/\|\d+$//r,
	'19000|19000', 'a scan that is read to its end has every row');

# As it was before there were stops: zeros.
$node->stop;
open my $handle, '+<:raw', $file or die "$file: $!";
seek $handle, HEADER + META_STOP, 0;
read $handle, my $stops, STOP_BYTES;
isnt($stops, "\0" x STOP_BYTES, 'the stops are where we look for them');
seek $handle, HEADER + META_STOP, 0;
print {$handle} "\0" x STOP_BYTES;
close $handle or die "$file: $!";
$node->start;
is($node->safe_psql('postgres', 'SELECT stops()'), 0, 'an older index has no stops');
check_index($node, 'words_index', 'an older index');
$without{$_} = [ measure($targets->{$_}) ] for sort keys %$targets;
note("target $_: recall $with{$_}[0], $with{$_}[1] distances; without stops $without{$_}[0], $without{$_}[1]") for sort keys %with;
cmp_ok($with{$_}[0], '>=', $without{$_}[0] - 0.01, "target $_: as many are found") for sort keys %with;
my ($less, $all) = (0, 0);
($less, $all) = ($less + $with{$_}[1], $all + $without{$_}[1]) for keys %with;
cmp_ok($less, '<', 0.97 * $all, 'with fewer distances');
is_deeply([ measure('SET phnsw.ef_search = 60') ], \@by_ef, 'phnsw.ef_search: no difference');

# Measured again, by a vacuum.
$node->safe_psql('postgres', 'INSERT INTO words SELECT a.id + 100000, a.word, a.embedding + b.embedding FROM words a JOIN words b ON b.id = a.id + 1
	WHERE a.id % 4 = 0; VACUUM words');
cmp_ok($node->safe_psql('postgres', 'SELECT stops()'), '>', 0, 'a vacuum that calibrates has found stops');
check_index($node, 'words_index', 'after it');

$node->stop;
done_testing();
