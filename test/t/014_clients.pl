# Many read-only clients.  Searches take no heavyweight lock on the index but the AccessShareLock of every query, never
# wait for one, hardly ever for each other's pages, and are counted; all clients get the same answers.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $clients = 12;
my $seconds = 5;
my $node = new_node('clients', 'autovacuum = off', 'max_connections = 50');

load_words($node, 8000);
$node->safe_psql('postgres', 'CREATE INDEX words_index ON words USING phnsw (embedding)');
$node->safe_psql('postgres', 'CREATE TABLE answers AS SELECT 0 AS q, 0 AS id WITH NO DATA');

my $script = PostgreSQL::Test::Utils::tempdir() . '/search.sql';
PostgreSQL::Test::Utils::append_to_file($script, join("\n",
	'\set q random(1, 500)',
	'SELECT id FROM words ORDER BY embedding <-> (SELECT embedding FROM queries ORDER BY id OFFSET :q LIMIT 1) LIMIT 10;', ''));

my $plan = $node->safe_psql('postgres',
	'EXPLAIN SELECT id FROM words ORDER BY embedding <-> (SELECT embedding FROM queries LIMIT 1) LIMIT 10');
like($plan, qr/Index Scan using words_index/, 'the clients will use the index');

my $scans = "SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = 'words_index'";
my $before = $node->safe_psql('postgres', $scans);

# One session samples, every 5 ms, what all others wait for and which locks there are on the index.
my $sampler = qq{
	DO \$\$
	DECLARE
		until timestamptz := clock_timestamp() + interval '@{[$seconds - 1]} s';
		n int := 0;
		busy int := 0;
		waiting int := 0;
		lwlocks int := 0;
		pages int := 0;
		pins int := 0;
		what text := '';
		r record;
		foreign_locks int := 0;
		read_locks int := 0;
	BEGIN
		WHILE clock_timestamp() < until LOOP
			PERFORM pg_stat_clear_snapshot();
			n := n + 1;
			FOR r IN SELECT wait_event_type, wait_event FROM pg_stat_activity
				WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE '%embedding <->%' LOOP
				busy := busy + 1;
				lwlocks := lwlocks + (r.wait_event_type IS NOT DISTINCT FROM 'LWLock')::int;
				pages := pages + (r.wait_event IS NOT DISTINCT FROM 'BufferContent')::int;
				pins := pins + (r.wait_event_type IS NOT DISTINCT FROM 'BufferPin')::int;
				IF r.wait_event_type IN ('LWLock', 'BufferPin') THEN
					what := what || ' ' || r.wait_event;
				END IF;
			END LOOP;
			waiting := waiting + (SELECT count(*) FROM pg_stat_activity
				WHERE pid <> pg_backend_pid() AND wait_event_type = 'Lock');
			read_locks := read_locks + (SELECT count(*) FROM pg_locks
				WHERE relation = 'words_index'::regclass AND pid <> pg_backend_pid() AND locktype = 'relation'
				  AND mode = 'AccessShareLock' AND granted);
			foreign_locks := foreign_locks + (SELECT count(*) FROM pg_locks
				WHERE relation = 'words_index'::regclass AND pid <> pg_backend_pid()
				  AND (locktype <> 'relation' OR mode <> 'AccessShareLock' OR NOT granted));
			PERFORM pg_sleep(0.005);
		END LOOP;
		RAISE NOTICE 'samples=% busy=% waiting=% lwlocks=% pages=% pins=% read_locks=% foreign_locks=%:%', n, busy, waiting, lwlocks,
			pages, pins, read_locks, foreign_locks, what;
	END
	\$\$;
};

my @pgbench = ('pgbench', '-n', '-M', 'prepared', '-h', $node->host, '-p', $node->port, '-c', $clients, '-j', 2, '-T', $seconds,
	'-f', $script, 'postgres');
my ($out, $err) = ('', '');
my $load = IPC::Run::start(\@pgbench, '>', \$out, '2>', \$err);
ok(wait_until(30, sub {
		$node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%embedding <->%'
			AND pid <> pg_backend_pid()}) >= $clients;
	}), 'all clients are at work');
my (undef, undef, $samples) = $node->psql('postgres', $sampler);
ok($load->finish, 'pgbench ends well') or diag($err);
unlike($err, qr/ERROR|aborted/, 'no client had an error');

my %seen = $samples =~ /(\w+)=(\d+)/g;
note($samples);
cmp_ok($seen{samples} // 0, '>', 50, 'there are enough samples');
cmp_ok($seen{busy} // 0, '>', 50, 'the samples show clients at work');
cmp_ok($seen{read_locks} // 0, '>', 0, 'the samples show the lock of queries');
is($seen{waiting}, 0, 'nobody waited for a lock');

# What some 1,000 samples of a client at work waited for.  A pin: only who wants to clean a page up waits
# for one, which no reader does.  A page's lock: readers share it, and who shares waits for nobody who
# shares, so none but where PostgreSQL itself changes a page.  With exclusive locks instead it is 1 %
# (measured), not more, since on two cores the holder must lose its core to be seen.  Other light locks (of
# snapshots, of statistics) are PostgreSQL's own, and held for a moment.
is($seen{pins}, 0, 'nobody waited for a pin');
cmp_ok($seen{pages}, '<=', 2 + $seen{busy} / 500, 'readers do not wait for each other\'s pages');
cmp_ok($seen{lwlocks}, '<=', 2 + $seen{busy} / 50, 'nor for other light locks');
is($seen{foreign_locks}, 0, 'no page, tuple or stronger lock on the index');

my ($transactions) = $out =~ /number of transactions actually processed: (\d+)/;
cmp_ok($transactions // 0, '>', 100, 'the clients were answered');
# Sessions report their counts when they end, which is after pgbench has gone.
ok(wait_until(20, sub { $node->safe_psql('postgres', $scans) - $before == $transactions }), 'every search is counted once')
  or diag($node->safe_psql('postgres', $scans) . " - $before searches, $transactions transactions");

# Twelve sessions at once, each with descriptions and copies of its own, answer as one session does.
my $answer = q{SELECT md5(string_agg(q.id || ' ' || r.id, ',' ORDER BY q.id, r.d, r.id)) FROM (SELECT * FROM queries ORDER BY id LIMIT 60) q
	CROSS JOIN LATERAL (SELECT id, embedding <-> q.embedding AS d FROM words ORDER BY embedding <-> q.embedding LIMIT 10) r};
my $alone = $node->safe_psql('postgres', $answer);
my @sessions = map { my $got = ''; { out => \$got, run => IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
	'-c', $answer ], '>', \$got) } } 1 .. $clients;
$_->{run}->finish foreach @sessions;
is(scalar(grep { ${ $_->{out} } eq "$alone\n" } @sessions), $clients, 'all sessions answer the same');

$node->stop;
done_testing();
