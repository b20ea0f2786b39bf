# A cold cache: after a restart of the server the answers are the same, whether pages are asked for ahead or read one
# by one, in an index that fits shared buffers and in one that does not.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $node = new_node('cold', 'autovacuum = off', 'track_io_timing = on');

load_words($node);
$node->safe_psql('postgres', 'CREATE INDEX words_index ON words USING phnsw (embedding)');

# Hops are not compared: a descent over pages takes the links of several nodes at once, one in the backend's copy of
# the upper levels does not, and with few buffers that copy comes late.
my $statement = q{CREATE TEMP TABLE few AS SELECT * FROM queries ORDER BY id LIMIT 40;
	SET enable_seqscan = off;
	SELECT string_agg(q.id || ' ' || r.id || ' ' || r.d, ',' ORDER BY q.id, r.d, r.id) FROM few q
	CROSS JOIN LATERAL (SELECT id, embedding <-> q.embedding AS d FROM words ORDER BY embedding <-> q.embedding LIMIT 10) r;
	SELECT 'work', scans, rechecks FROM phnsw_stats WHERE index = 'words_index'::regclass};
my $warm = $node->safe_psql('postgres', $statement);
like($warm, qr/^work\|40\|/m, 'the statement searches the index');

my $blocks_read = "SELECT idx_blks_read FROM pg_statio_user_indexes WHERE indexrelname = 'words_index'";
my $blocks = $node->safe_psql('postgres', "SELECT pg_relation_size('words_index') / 8192");

# The statistics of the server's last run are behind: a session reports when it ends.
sub cold_run
{
	my ($what, $settings) = @_;

	$node->append_conf('postgresql.conf', $settings);
	$node->restart;
	$node->safe_psql('postgres', 'SELECT pg_stat_reset()');
	is($node->safe_psql('postgres', $statement), $warm, "$what: same answers, same work");
	ok(wait_until(20, sub { ($node->safe_psql('postgres', $blocks_read) || 0) > 0 }), "$what: the index came from disk");
	return $node->safe_psql('postgres', $blocks_read);
}

my $one_by_one = cold_run('one by one', 'effective_io_concurrency = 0');
my $ahead = cold_run('asked for ahead', 'effective_io_concurrency = 16');

# Blocks are asked for only to be used: the same ones are read.
is($ahead, $one_by_one, 'as many blocks are read');
cmp_ok($ahead, '<', $blocks, 'and not the whole index');

# Searches read most pages without a pin; PostgreSQL must learn from it all the same which
# ones are popular.  The pages with the words' nodes were read once each; sixty searches later
# their buffers count as used by as many as searches want.
$node->append_conf('postgresql.conf', "shared_buffers = '128MB'");
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_buffercache');
my $usage = q{SELECT round(avg(usagecount), 2) FROM pg_buffercache
	WHERE reldatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND relfilenode = pg_relation_filenode('words_index') AND relforknumber = 0};
my $searches = q{SET enable_seqscan = off; SET phnsw.ef_search = 400;
	SELECT count(r.id) FROM (SELECT embedding FROM queries ORDER BY id LIMIT 60) q
	CROSS JOIN LATERAL (SELECT id FROM words ORDER BY embedding <-> q.embedding LIMIT 10) r};
$node->safe_psql('postgres', "SELECT phnsw_prewarm('words_index')");
my $read_once = $node->safe_psql('postgres', $usage);
cmp_ok($read_once, '<', 1.5, 'a page that was read once counts little');
is($node->safe_psql('postgres', $searches), 600, 'searches');
my $searched = $node->safe_psql('postgres', $usage);
cmp_ok($searched, '>', 2, "pages that searches read count as used: $read_once, then $searched");

# 128 buffers: the map leads to buffers that hold other pages by now, and the upper levels are copied later.
cold_run('128 buffers, one by one', "shared_buffers = '1MB'\neffective_io_concurrency = 0");
cold_run('128 buffers, asked for ahead', 'effective_io_concurrency = 16');

# Passes over all pages (pass.c), through a ring of buffers since the index is far larger than an eighth of
# shared buffers: a scan that is read to its end ends with sweeps.
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM words');
my $all = q{SET enable_seqscan = off; SET work_mem = '64kB';
	WITH hits AS MATERIALIZED (SELECT id, embedding <-> (SELECT embedding FROM queries ORDER BY id LIMIT 1) AS d
		FROM words ORDER BY embedding <-> (SELECT embedding FROM queries ORDER BY id LIMIT 1))
	SELECT count(DISTINCT id) FROM hits;
	SELECT 'sweeps', sweeps > 0 FROM phnsw_last_scan()};
for my $io (0, 16)
{
	$node->append_conf('postgresql.conf', "effective_io_concurrency = $io");
	$node->restart;
	is($node->safe_psql('postgres', $all), "$rows\nsweeps|t", "$io reads ahead: sweeps find every row");
	is($node->safe_psql('postgres', "SELECT phnsw_prewarm('words_index')"), 128, "$io reads ahead: prewarming fills the buffers");
	is($node->safe_psql('postgres', "SELECT rows FROM phnsw_index_info('words_index')"), $rows, "$io reads ahead: rows counted");
}
check_index($node, 'words_index', 'with 128 buffers');

$node->stop;
done_testing();
