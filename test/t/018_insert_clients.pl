# Several sessions that insert single rows at once share pages with free slots.  Who finds such a page
# locked takes another one instead of waiting; no slot may get lost by that: the index has hardly more pages
# than the same rows inserted by one session, every row is found.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $clients = 12;
my $rows = 400;    # of each
my $node = new_node('insert_clients', 'autovacuum = off', 'synchronous_commit = off', 'max_connections = 30');

# Short vectors with long lists: inserts are quick, and a page has few slots and is soon full.
$node->safe_psql('postgres', q{
	CREATE FUNCTION place(n int) RETURNS vector IMMUTABLE LANGUAGE sql AS
		$$ SELECT array_agg(sin(n * 0.7 + i * (1 + n % 13)))::real[]::vector FROM generate_series(1, 8) i $$;
	CREATE TABLE several (id int, v vector(8));
	INSERT INTO several SELECT n, place(n) FROM generate_series(1, 500) n;
	CREATE TABLE one (LIKE several);
	INSERT INTO one SELECT * FROM several;
	CREATE INDEX several_v ON several USING phnsw (v vector_l2_ops) WITH (m = 64, ef_construction = 128);
	CREATE INDEX one_v ON one USING phnsw (v vector_l2_ops) WITH (m = 64, ef_construction = 128);
});

my $insert = PostgreSQL::Test::Utils::tempdir() . '/insert.sql';
PostgreSQL::Test::Utils::append_to_file($insert, join("\n",
	q{SELECT nextval('ids') AS id \gset},
	'INSERT INTO :target SELECT :id, place(:id);', ''));

sub pages_after
{
	my ($table, $sessions, $each) = @_;
	$node->safe_psql('postgres', 'DROP SEQUENCE IF EXISTS ids; CREATE SEQUENCE ids START 501');
	$node->command_ok([ 'pgbench', '-n', '-c', $sessions, '-j', 2, '-t', $each, '-D', "target=$table", '-f', $insert, 'postgres' ],
		"$sessions sessions insert");
	return $node->safe_psql('postgres', "SELECT pg_relation_size('${table}_v') / 8192");
}

my $alone = pages_after('one', 1, $clients * $rows);
my $together = pages_after('several', $clients, $rows);
note("$together pages, $alone by one session");
# Each session may leave a page with room behind; the steps in which an index grows differ by a few more.
cmp_ok($together, '<=', $alone + 2 * $clients, 'no slots are lost');

# Whoever comes later uses them all, but for those on the build's last page, which the free space map does not know.
my $free = $node->safe_psql('postgres', "SELECT free_slots FROM phnsw_index_info('several_v')");
my $before = $node->safe_psql('postgres', "SELECT node_pages FROM phnsw_index_info('several_v')");
for (my $done = 0; $done < $free; $done += 10)
{
	my ($first, $last) = (10001 + $done, 10000 + ($done + 10 < $free ? $done + 10 : $free));

	$node->safe_psql('postgres', "INSERT INTO several SELECT n, place(n) FROM generate_series($first, $last) n");
}
note("$free free slots");
cmp_ok($node->safe_psql('postgres', "SELECT node_pages FROM phnsw_index_info('several_v')"), '<=', $before + 1, 'free slots are found');

my $missed = $node->safe_psql('postgres', q{
	SET enable_seqscan = off;
	SET phnsw.ef_search = 200;
	SELECT count(*) FROM several s
	WHERE s.id NOT IN (SELECT t.id FROM several t ORDER BY t.v <-> s.v LIMIT 3);
});
is($missed, 0, 'every row is found');
check_index($node, 'several_v', 'after inserts side by side');

$node->stop;
done_testing();
