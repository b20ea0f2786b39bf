# Streaming replication.  What the primary builds, inserts and vacuums arrives byte for byte; the standby answers
# queries while it happens, answers them as the primary does afterwards, and its index passes the checker.  It compares
# every page that it replays with the page that the primary logged (wal_consistency_checking).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = new_node('primary', 'autovacuum = off', "wal_consistency_checking = 'generic'");
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# Vacuum's conflicts would cancel the queries that this test runs meanwhile.
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nmax_standby_streaming_delay = -1\n");
$standby->start;

$primary->safe_psql('postgres', 'CREATE EXTENSION pageinspect');
load_words($primary, 5000);
$primary->safe_psql('postgres', 'CREATE TABLE more AS SELECT * FROM words; DELETE FROM words WHERE id % 2 = 0');

sub catch_up
{
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

sub compare
{
	my ($what) = @_;
	my $queries = q{SET enable_seqscan = off; SET phnsw.ef_search = 200;
		SELECT q.id, string_agg(r.id || ' ' || r.d, ',' ORDER BY r.d, r.id) FROM (SELECT * FROM queries ORDER BY id LIMIT 100) q
		CROSS JOIN LATERAL (SELECT id, embedding <-> q.embedding AS d FROM words ORDER BY embedding <-> q.embedding LIMIT 10) r
		GROUP BY q.id ORDER BY q.id};

	# The first time, the primary's scans take rows out that are gone, whose nodes the standby's would still count.
	$primary->safe_psql('postgres', $queries);
	catch_up();
	same_pages(index_pages($primary, 'words_index', 1), index_pages($standby, 'words_index', 1), "$what: the pages are the same");
	is($standby->safe_psql('postgres', $queries), $primary->safe_psql('postgres', $queries), "$what: the answers are the same");
	check_index($standby, 'words_index', "standby, $what");
	return;
}

$primary->safe_psql('postgres', 'CREATE INDEX words_index ON words USING phnsw (embedding)');
compare('build');

my $script = PostgreSQL::Test::Utils::tempdir() . '/insert.sql';
PostgreSQL::Test::Utils::append_to_file($script, join("\n",
	'\set first random(1, 4999)',
	'INSERT INTO words SELECT * FROM more WHERE id BETWEEN :first AND :first + 3;', ''));
my $search = PostgreSQL::Test::Utils::tempdir() . '/search.sql';
PostgreSQL::Test::Utils::append_to_file($search, join("\n",
	'\set q random(1, 1000)',
	'SELECT id FROM words ORDER BY embedding <-> (SELECT embedding FROM queries WHERE id = :q * 20) LIMIT 10;', ''));

my @standby_pgbench = ('pgbench', '-n', '-h', $standby->host, '-p', $standby->port, '-c', 1, '-T', 4, '-f', $search, 'postgres');
my $reader = IPC::Run::start(\@standby_pgbench, '>', \my $out, '2>', \my $err);
PostgreSQL::Test::Utils::system_or_bail('pgbench', '-n', '-h', $primary->host, '-p', $primary->port, '-c', 2, '-t', 400,
	'-f', $script, 'postgres');
$primary->safe_psql('postgres', 'DELETE FROM words WHERE id % 5 = 1');
$primary->safe_psql('postgres', 'VACUUM words');
ok($reader->finish, 'the standby answers while it replays inserts and vacuum') or diag($err);
unlike($err, qr/ERROR|aborted/, 'no error on the standby');
compare('inserts and vacuum');

$primary->safe_psql('postgres', 'INSERT INTO words SELECT * FROM more WHERE id % 7 = 0');
compare('slots used again');

$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO words SELECT * FROM more WHERE id % 11 = 0');
$standby->safe_psql('postgres', 'VACUUM words');
check_index($standby, 'words_index', 'after promotion');

$standby->stop;
$primary->stop;
done_testing();
