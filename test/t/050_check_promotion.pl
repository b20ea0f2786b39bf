# phnsw_check on a standby that is promoted meanwhile.  What others write from then on is no damage,
# though nothing has been replayed: a row that comes between the look at the index and that at the table
# is not missing, an aux record is not on the free list and in use.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use Sessions;
use Test::More;

my $lock = "x'70686e7377'::bigint";	# src/pg/testpoint.c
my $waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'checker' AND wait_event_type = 'Lock'";
my $primary = new_node('check_primary', 'autovacuum = off');

$primary->safe_psql('postgres', q{
	CREATE TABLE t (id int PRIMARY KEY, v vector(3));
	INSERT INTO t SELECT i, ARRAY[i % 17, i % 13, i % 7]::vector FROM generate_series(1, 500) i;
	CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 4)});
$primary->backup('base');

# What happens to the index of a standby while phnsw_check has read its pages and not yet the table.
sub check_beside
{
	my ($name, @statements) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($name);

	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;

	my $holder = session($standby, 'holder', "SELECT pg_advisory_lock($lock); SELECT pg_sleep(120);");
	wait_until(30, sub { $standby->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted") > 0 });
	my $checker = session($standby, 'checker', "SET phnsw.test_point = 'wait check-read'; SELECT phnsw_check('t_v', true);");
	ok(wait_until(30, sub { $standby->safe_psql('postgres', $waiting) == 1 }), "$name: phnsw_check has read the index");

	$standby->promote;
	$standby->safe_psql('postgres', $_) foreach @statements;
	$standby->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holder'");
	$checker->{run}->finish;
	is(complaints($checker), '', "$name: nothing is taken for damage");
	$holder->{run}->finish;
	check_index($standby, 't_v', "$name, afterwards");
	$standby->stop;
	return;
}

check_beside('inserted', "INSERT INTO t VALUES (501, '[0.5, 0.25, 0.125]')");
check_beside('replaced', 'DELETE FROM t WHERE id % 2 = 0', 'VACUUM (INDEX_CLEANUP on) t',
	"INSERT INTO t SELECT i, ARRAY[i % 11, i % 5, 0.5]::vector FROM generate_series(600, 800) i");

$primary->stop;
done_testing();
