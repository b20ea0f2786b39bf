# Everything at once, with few shared buffers.  Several clients insert (new vectors, equal ones, ones that a rollback
# takes back), update, delete and search with phnsw.check_bounds, while one vacuums and a standby answers the same
# searches; then a backend or the postmaster gets SIGKILL, or the server stops without a checkpoint.  Nobody gets an
# error but for the crash; after recovery the checker finds nothing on either server, scans of the whole index return
# exactly the rows of the table, and searches find what an exact scan finds.
#
# PHNSW_STRESS_SECONDS: how long the load lasts in each round (default 3).  PHNSW_STRESS_ROUNDS: how many (default 3).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sessions;
use Test::More;

use constant { DIMS => 12, ROWS => 4000 };

my $seconds = $ENV{PHNSW_STRESS_SECONDS} // 3;
my $rounds = $ENV{PHNSW_STRESS_ROUNDS} // 3;

seed_from_env();
my @settings = ('shared_buffers = 2MB', 'autovacuum = off', 'restart_after_crash = on', 'fsync = on', 'max_connections = 30');
my $node = new_node('stress', @settings);
my $data = $node->data_dir;
my $random = random_vectors_sql(DIMS, 'i');

# More than scans sweep at once, so that they walk the graph; m = 4 makes many upper levels.
$node->safe_psql('postgres', 'CREATE TABLE t (id bigserial PRIMARY KEY, v vector(' . DIMS . '), touched int)');
$node->safe_psql('postgres', "INSERT INTO t (v) SELECT $random FROM generate_series(1, " . ROWS . ') i');
$node->safe_psql('postgres', 'CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 4, ef_construction = 16)');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('stress_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nmax_standby_streaming_delay = -1\n");
$standby->start;

my $dir = PostgreSQL::Test::Utils::tempdir();

sub script
{
	my ($name, @lines) = @_;

	PostgreSQL::Test::Utils::append_to_file("$dir/$name", join("\n", @lines, ''));
	return;
}

script('write',
	'\set kind random(1, 12)',
	'\set id random(1, ' . 2 * ROWS . ')',
	'\if :kind <= 4',
	"INSERT INTO t (v) SELECT $random FROM generate_series(1, 1 + :kind) i;",
	'\elif :kind <= 6',
	'INSERT INTO t (v) SELECT v FROM t WHERE id <= 3 OR id = :id;',
	'\elif :kind <= 8',
	'UPDATE t SET touched = :id WHERE id BETWEEN :id AND :id + 4;',
	'\elif :kind = 9',
	"UPDATE t SET v = (SELECT array_agg(random()::real) FROM generate_series(1, " . DIMS . ') i)::vector(' . DIMS . ') WHERE id = :id;',
	'\elif :kind = 10',
	"BEGIN; SAVEPOINT s; INSERT INTO t (v) SELECT $random FROM generate_series(1, 5) i; ROLLBACK TO s; INSERT INTO t (v) SELECT v FROM t WHERE id = :id; ROLLBACK;",
	'\else',
	'DELETE FROM t WHERE id BETWEEN :id AND :id + 6 AND id > 100;',
	'\endif');
# The second statement reads all rows, so chains of TIDs and the sweep as well.
script('search',
	'\set id random(1, 100)',
	'SET enable_seqscan = off;',
	'SET enable_sort = off;',
	'SET phnsw.check_bounds = on;',
	'SET phnsw.ef_search = 20;',
	'SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = :id) LIMIT 10) s;',
	'SELECT count(*), 1 / (count(*) = count(DISTINCT id))::int FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = :id) LIMIT 500) s;');
script('all',
	'\set id random(1, 100)',
	'SET enable_seqscan = off;',
	'SET enable_sort = off;',
	'SET phnsw.check_bounds = on;',
	'SET phnsw.max_scan_tuples = 0;',
	'BEGIN ISOLATION LEVEL REPEATABLE READ;',
	'SELECT count(*) AS by_index FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = :id) OFFSET 0) s \gset',
	'SET LOCAL enable_indexscan = off;',
	'SELECT 1 / (count(*) = :by_index)::int FROM t;',
	'COMMIT;');
script('vacuum', 'VACUUM (INDEX_CLEANUP on) t;');

# pgbench with one of the scripts: a handle, and where its messages go.
sub client
{
	my ($server, $script, $clients) = @_;
	my %client = (name => $server->name . " $script", err => '');

	$client{run} = IPC::Run::start(
		[ 'pgbench', '-n', '-h', $server->host, '-p', $server->port, '-c', $clients, '-T', $seconds, '-f', "$dir/$script", 'postgres' ],
		'>', \$client{out}, '2>', \$client{err});
	return \%client;
}

# The server comes back, on its own or started again.
sub recover
{
	my ($how, $postmaster) = @_;

	return ok(wait_until(60, sub { server_answers($node) }), "$how: the server came back")
	  if $how eq 'backend killed';
	wait_until(30, sub { !kill(0, $postmaster) && !grep { (readlink($_) // '') eq $data } glob('/proc/[0-9]*/cwd') });
	$node->start;
	return;
}

sub crash
{
	my ($how) = @_;
	my ($postmaster) = split /\n/, slurp_file("$data/postmaster.pid");

	if ($how eq 'backend killed')
	{
		my $pid = $node->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE query ~ 'INTO t|UPDATE t|VACUUM' AND state = 'active' AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1");
		kill 'KILL', $pid if $pid;
	}
	elsif ($how eq 'postmaster killed')
	{
		$node->kill9;
	}
	else
	{
		$node->stop('immediate');
	}
	return $postmaster;
}

foreach my $round (1 .. $rounds)
{
	my $how = ('backend killed', 'postmaster killed', 'immediate stop')[ $round % 3 ];
	my @clients = (client($node, 'write', 4), client($node, 'search', 1), client($node, 'all', 1), client($node, 'vacuum', 1),
		client($standby, 'search', 1), client($standby, 'all', 1));

	# First all of it without a crash.
	$_->{run}->finish foreach @clients;
	unlike($_->{err}, qr/ERROR|aborted|terminated/, "round $round, $_->{name}: no error") foreach @clients;
	check_index($node, 't_v', "round $round");

	@clients = (client($node, 'write', 4), client($node, 'vacuum', 1));
	select(undef, undef, undef, 0.3 + rand($seconds - 0.5));
	my $postmaster = crash($how);
	$_->{run}->finish foreach @clients;
	recover($how, $postmaster);

	check_index($node, 't_v', "round $round, $how");
	is(count_through_index($node, 't', 'v', '<->', '(SELECT v FROM t WHERE id = 1)'),
		$node->safe_psql('postgres', 'SELECT count(*) FROM t'), "round $round, $how: the index returns every row");
	cmp_ok(recall_of_own($node, 't', '<->', 100), '>=', 0.9, "round $round, $how: searches find what there is");
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	check_index($standby, 't_v', "round $round, $how, standby");
}

my $log = slurp_file($node->logfile) . slurp_file($standby->logfile);
unlike($log, qr/TRAP|PANIC|terminated by signal (?!9)/, 'no process has crashed by itself');

$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0');
$node->safe_psql('postgres', 'VACUUM t');
check_index($node, 't_v', 'after vacuum');
$standby->stop;
$node->stop;
done_testing();
