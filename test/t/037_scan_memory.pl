# Memory of a scan that reads everything.  The private memory of the backend (anonymous pages, so without shared
# buffers) grows by work_mem and not by the index, whatever the order, and the rows are all there; with much work_mem it
# takes what one pass over the index gives, which shows that the measurement sees it.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

use constant ROWS => 150000;

my $node = new_node('scan_memory', 'autovacuum = off', 'shared_buffers = 128MB', 'maintenance_work_mem = 256MB');

# Short vectors, which stay inside their rows.
$node->safe_psql('postgres', 'SELECT setseed(0.5); CREATE TABLE t AS SELECT i AS id, ' . random_vectors_sql(6, 'i') . ' AS v FROM generate_series(1, ' . ROWS . ') i;
	CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 8, ef_construction = 32); VACUUM ANALYZE t');

# kB of private memory of a process, and without its huge pages: where the kernel
# gives those by itself, what was asked for is less.
sub private_memory
{
	open(my $maps, '<', "/proc/$_[0]/smaps_rollup") or die "no process $_[0]";
	my %kb = join('', <$maps>) =~ /^(\w+):\s+(\d+) kB/mg;
	close($maps);
	return ($kb{Anonymous}, $kb{Anonymous} - $kb{AnonHugePages});
}

# Reads everything by a cursor; returns (kB by which the backend has grown
# at most, the same without huge pages, sweeps).
sub measure
{
	my ($work_mem, $order, $query) = @_;
	my $session = $node->background_psql('postgres', on_error_die => 1);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	# What every session learns of an index first: catalogs, where pages are, the upper levels.
	$session->query_safe("SET enable_seqscan = off; SET enable_sort = off; SET work_mem = '$work_mem'; SET phnsw.iterative_scan = $order");
	$session->query_safe("SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE ctid = '($_,1)') LIMIT 30") foreach 1 .. 30;
	$session->query_safe("SET phnsw.max_scan_tuples = 1; SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> NULL::vector OFFSET 0) s; RESET phnsw.max_scan_tuples");
	my @before = private_memory($pid);
	my @peak = @before;
	$session->query_safe("BEGIN; DECLARE c NO SCROLL CURSOR FOR SELECT id FROM t ORDER BY v <-> $query");
	foreach my $step (100, 1000, 4000, (5000) x 40)
	{
		$session->query_safe("MOVE $step FROM c");
		my @now = private_memory($pid);
		$peak[$_] = $now[$_] > $peak[$_] ? $now[$_] : $peak[$_] foreach 0 .. 1;
	}
	# Where the cursor is: its end, if all rows were passed.
	my $left = $session->query_safe('FETCH 1 FROM c');
	$session->query_safe('COMMIT');
	my ($returned, $sweeps) = split /\|/, $session->query_safe('SELECT rechecks, sweeps FROM phnsw_last_scan()');
	is($left, '', "$work_mem, $order: read to its end");
	is($returned, ROWS, "$work_mem, $order: every row, once");
	$session->quit;
	return ($peak[0] - $before[0], $peak[1] - $before[1], $sweeps);
}

my $query = "'[0.1,0.2,0.3,0.4,0.5,0.6]'";
my ($much, undef, $one) = measure('64MB', 'strict_order', $query);
note("64MB: $much kB, $one sweeps");
cmp_ok($much, '>', 3000, 'what a scan keeps is seen here');
foreach my $case ([ '64kB', 'strict_order' ], [ '64kB', 'relaxed_order' ], [ '1MB', 'strict_order' ])
{
	my (undef, $grown, $sweeps) = measure(@$case, $query);

	note("@$case: $grown kB, $sweeps sweeps");
	# Besides work_mem: the executor's rows that wait for their order, and what malloc keeps back.
	cmp_ok($grown, '<', ($case->[0] eq '1MB' ? 1024 : 64) + 400, "@$case: memory stays within bounds");
	cmp_ok($sweeps, '>', $one, "@$case: by reading the index more often");
}
# ---- what a long scan leaves ----------------------------------------------------------------------------------------------------

# The last scan of the session: (nodes evaluated, sweeps).
my $short = "SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[0.4,-0.1,0.2,0.1,-0.3,0]' LIMIT 200) s";

sub last_scan
{
	my ($session) = @_;

	return split /\|/, $session->query_safe('SELECT distances, sweeps FROM phnsw_last_scan()');
}

foreach my $work_mem ('64kB', '512kB', '3MB')
{
	my $session = $node->background_psql('postgres', on_error_die => 1);

	$session->query_safe("SET enable_seqscan = off; SET enable_sort = off; SET phnsw.ef_search = 40; SET work_mem = '$work_mem'");
	$session->query_safe($short);
	my ($before, $none) = last_scan($session);
	is($none, 0, "$work_mem: 200 rows come from the graph");
	$session->query_safe("SELECT count(*) FROM (SELECT id FROM t WHERE id % 50000 = 1 ORDER BY v <-> $query LIMIT 10) s");
	cmp_ok((last_scan($session))[1], '>', 0, "$work_mem: a filter leads a scan to its end");
	$session->query_safe($short);
	my ($after, $sweeps) = last_scan($session);
	is($sweeps, 0, "$work_mem: the next scan of 200 rows does not sweep");
	cmp_ok($after, '<', 2 * $before, "$work_mem: nor does it cost more");

	# One scan of a statement goes on for long, those after it begin with what it left.
	my @queries = ("$query, 60000", map { "'[0.$_,0,0.1,0,0,0]', 200" } 1 .. 5);
	$session->query_safe('SELECT count(*) FROM (VALUES (' . join('), (', @queries)
		  . ')) AS q (v, n), LATERAL (SELECT id FROM t ORDER BY t.v <-> q.v::vector LIMIT q.n) AS s');
	is((last_scan($session))[1], 0, "$work_mem: nor do short ones behind a long one in the same statement");
	$session->quit;
}
check_index($node, 't_v', 'in the end');

$node->stop;
done_testing();
