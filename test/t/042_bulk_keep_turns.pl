# Merges of one session into several indexes in turn, of different dimensions and options, with savepoints
# that are rolled back, vacuums, rebuilds and truncations between them: the copy that is kept is of one
# index, the last (batch_keep.c), and must not be taken for another's.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

seed_from_env();
my $node = new_node('turns', 'autovacuum = off', 'phnsw.merge_threshold = 1', 'max_parallel_maintenance_workers = 1');
my %dims = (a => 8, b => 8, c => 200, d => 3);
my @vectors = map { random_vectors_sql($dims{$_}, 'i') . " AS $_" } sort keys %dims;
my $next = 0;

sub run
{
	return $node->safe_psql('postgres', shift);
}

sub rows
{
	my ($n) = @_;

	$next += $n;
	return 'INSERT INTO t SELECT i, ' . join(', ', @vectors) . ' FROM generate_series(' . ($next - $n + 1) . ", $next) i;";
}

# Two indexes of one column, one of which has hardly a node above level 0;
# one index whose searches are as wide as can be.
run('CREATE TABLE t (id int, ' . join(', ', map { "$_ vector($dims{$_})" } sort keys %dims) . ');' . rows(1500)
	. 'CREATE INDEX t_a ON t USING phnsw (a); CREATE INDEX t_a2 ON t USING phnsw (a) WITH (m = 100, ef_construction = 200);
	CREATE INDEX t_b ON t USING phnsw (b vector_cosine_ops) WITH (m = 4, ef_construction = 1000);
	CREATE INDEX t_c ON t USING phnsw (c vector_ip_ops); CREATE INDEX t_d ON t USING phnsw (d) WITH (m = 2, ef_construction = 4)');

sub complete
{
	my ($what) = @_;
	my $count = run('SELECT count(*) FROM t');

	check_index($node, $_, "$what, $_") foreach 't_a', 't_a2', 't_b', 't_c', 't_d';
	foreach my $case ([ 'a', '<->' ], [ 'b', '<=>' ], [ 'c', '<#>' ], [ 'd', '<->' ])
	{
		my ($column, $operator) = @$case;

		is(count_through_index($node, 't', $column, $operator, "(SELECT $column FROM t LIMIT 1)"), $count, "$what: the index of $column returns every row");
	}
	return;
}

my $s = $node->background_psql('postgres', on_error_stop => 0);
foreach my $step (
	[ 'in turn', sub { $s->query_safe(rows(60)) foreach 1 .. 4 } ],
	[ 'one alone', sub {
		$s->query_safe("UPDATE t SET d = (d::float4[])[1:2] || random()::float4 WHERE id % 20 = $_") foreach 1 .. 4;
	} ],
	[ 'savepoints', sub {
		foreach (1 .. 4)
		{
			$s->query_safe('BEGIN;' . rows(50) . "SAVEPOINT a;" . rows(50) . "SELECT count(*) FROM phnsw_index_info('t_a'); ROLLBACK TO a;" . rows(20)
				. "SELECT count(*) FROM phnsw_index_info('t_c'); SAVEPOINT b; TRUNCATE t; " . rows(30) . "ROLLBACK TO b; COMMIT");
		}
	} ],
	[ 'an error', sub {
		$s->query_safe(rows(30));
		$s->query('BEGIN;' . rows(30) . "SELECT count(*) FROM phnsw_index_info('t_b'); SELECT 1 / 0; COMMIT");
		$s->{stderr} = '';
		$s->query_safe(rows(30));
	} ],
	[ 'vacuum', sub {
		foreach (1 .. 4)
		{
			$s->query_safe("DELETE FROM t WHERE id % 11 = $_");
			run('VACUUM t') if $_ % 2;
			$s->query_safe('VACUUM t') if $_ % 2 == 0;
			$s->query_safe(rows(80));
		}
	} ],
	[ 'rebuilt', sub {
		$s->query_safe(rows(40)), run('REINDEX INDEX t_d'), $s->query_safe(rows(40)), $s->query_safe('REINDEX INDEX CONCURRENTLY t_a'), $s->query_safe(rows(40)),
			$s->query_safe('BEGIN;' . rows(40) . 'REINDEX INDEX t_c;' . rows(40) . 'ROLLBACK'), $s->query_safe(rows(40));
		$s->query_safe('DROP INDEX t_b; CREATE INDEX t_b ON t USING phnsw (b vector_cosine_ops) WITH (m = 4)'), $s->query_safe(rows(40)) foreach 1 .. 2;
	} ],
	[ 'truncated', sub { $s->query_safe('BEGIN; TRUNCATE t;' . rows(400) . 'COMMIT'), $s->query_safe(rows(50)), $s->query_safe(rows(50)) } ])
{
	my ($what, $do) = @$step;

	$do->();
	complete($what);
}
$s->quit;
$node->stop;
done_testing();
