# A process that has few addresses (ulimit -v).  A session is given so many megabytes more than it has mapped, then
# builds an index, and inserts statements that merge: the second keeps a copy of the graph, which must not take what
# others need, and where a merge has no room its rows go one by one instead of failing.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'needs /proc and prlimit' unless -r "/proc/$$/statm" && system('prlimit --version >/dev/null 2>&1') == 0;

my $node = bulk_node('addresses', 'autovacuum = off', 'phnsw.merge_threshold = 1', 'max_parallel_maintenance_workers = 1',
	'phnsw.log_build = on');

# A session's limit: $more megabytes above what it has; undef: none.
sub limit
{
	my ($session, $more) = @_;
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $bytes = 'unlimited';

	$bytes = 4096 * (split / /, slurp_file("/proc/$pid/statm"))[0] + ($more << 20) if defined $more;
	system('prlimit', "--pid=$pid", "--as=$bytes:") == 0 or die "prlimit failed: $?";
	return;
}

foreach my $more (3000, 500)
{
	my $s = $node->background_psql('postgres', on_error_stop => 0);

	$s->query_safe("CREATE TABLE built$more (id int, v vector(8));" . rows("built$more", 1, 5000));
	limit($s, $more);
	$s->query_safe("CREATE INDEX built${more}_v ON built$more USING phnsw (v)");
	$s->query_safe("CREATE TABLE loaded$more (id int, v vector(8)); CREATE INDEX loaded${more}_v ON loaded$more USING phnsw (v);"
		. rows("loaded$more", 1, 5000));
	$s->quit;
	complete("built$more", 5000, "CREATE INDEX, $more MB");
	complete("loaded$more", 5000, "bulk insert, $more MB");
}

run('CREATE TABLE t (id int, v vector(8));' . rows('t', 1, 30000) . 'CREATE INDEX t_v ON t USING phnsw (v)');
my $s = $node->background_psql('postgres', on_error_stop => 0);
my $n = 30000;

$s->query_safe(rows('t', $n + 1, $n + 100));
$n += 100;
foreach my $more (undef, 800, 100, 40, 20, 10, 5, 3)
{
	limit($s, $more);
	for (1 .. 4)
	{
		$s->query_safe(rows('t', $n + 1, $n + 100));
		$n += 100;
	}
}
# A hundred rows with a copy of the nodes at hand need next to no addresses;
# more of them than can all meet each other do.
limit($s, 3);
$s->query_safe(rows('t', $n + 1, $n + 1500));
$n += 1500;
limit($s, undef);
$s->query_safe(rows('t', $n + 1, $n + 100)) for 1 .. 2;
my ($flushes, $one_by_one) = split / /, $s->query_safe(q{SELECT bulk_flushes || ' ' || inserts FROM phnsw_stats WHERE index = 't_v'::regclass});
note("$flushes merges, $one_by_one rows one by one");
cmp_ok($flushes, '>=', 10, 'merges where there are addresses');
cmp_ok($one_by_one, '>=', 100, 'row by row where there are none');
like(slurp_file($node->logfile), qr/has no memory, they go one by one/, 'the log says so');
$s->quit;
complete('t', $n + 200, 'few addresses');

$node->stop;
done_testing();
