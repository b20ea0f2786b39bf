# A merge into an index that others lengthen between its copy of level 0 and its second look at the pages, by
# more than the array of kept pages has room for: it looks at the pages that it has copied, and at no entry
# behind the array, which ends at a page without access (memory_shim.c).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use MemoryShim;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Sessions;
use Test::More;

plan skip_all => 'no C compiler' if !shim_available();
seed_from_env();
my $node = shim_node(sub { return bulk_node('fences', 'autovacuum = off', 'phnsw.merge_threshold = 1', 'max_parallel_maintenance_workers = 1') });

sub wide
{
	my ($first, $last) = @_;

	return "INSERT INTO t SELECT i, (SELECT array_agg((sin(i * 0.37 + j) + (i * j % 17) * 0.02)::float4) FROM generate_series(1, 1000) j)::vector "
		. "FROM generate_series($first, $last) i;";
}

# Seven nodes on a page, so that the array is a piece of its own; half of the
# nodes have upper lists, which lead to the new ones.
run('CREATE TABLE t (id int, v vector(1000));' . wide(1, 3600) . "SET maintenance_work_mem = '256MB'; CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 2, ef_construction = 40)");
my $pages = run(q{SELECT node_pages FROM phnsw_index_info('t_v')});
cmp_ok($pages, '>', 512, "$pages pages of nodes");

my $s = $node->background_psql('postgres', on_error_stop => 0);
my $others = session($node, 'others', q{SET phnsw.merge_threshold = 2147483647; SELECT pg_advisory_lock(x'70686e7377'::bigint);
	DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;}
	. wide(10001, 10900) . q{SELECT pg_advisory_unlock(x'70686e7377'::bigint)});
ok(wait_until(60, sub { run(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'}) == 1 }), 'others are ready');
$s->query_safe("SET maintenance_work_mem = '256MB'; SET phnsw.log_build = on; SET phnsw.test_point = 'wait merge-loaded'");
shim($s->query_safe('SELECT pg_backend_pid()'), fence => 8000);
eval { $s->query(wide(20001, 20029)) };
is($@ . $s->{stderr}, '', 'a merge beside them');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|terminated by signal/, 'no process has crashed');
cmp_ok(shim_fenced(), '>', 0, 'with fenced memory');
shim(0);
end_sessions('lengthened', $others);
cmp_ok(run(q{SELECT node_pages FROM phnsw_index_info('t_v')}), '>', $pages * 9 / 8 + 1, 'the index has grown by more than an eighth');
like(slurp_file($node->logfile), qr/phnsw merge of 29 rows into index "t_v"/, 'the rows were merged');
check_index($node, 't_v', 'lengthened');
is(count_through_index($node, 't', 'v', '<->', '(SELECT v FROM t LIMIT 1)'), 3600 + 900 + 29, 'the index returns every row');
$node->stop;
done_testing();
