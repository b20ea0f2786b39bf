# Bulk insert by logical replication: the rows of a large transaction that is streamed while it is in progress, in a
# file or (from PostgreSQL 16 on) by a parallel worker, with savepoints that are rolled back; of one that is prepared,
# across a restart; of a trigger on the subscriber.  Afterwards the subscriber's checker passes, and scans of its
# indexes, one that was empty and one that had nodes, find exactly the publisher's rows.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $node = bulk_node('publisher', 'autovacuum = off', 'wal_level = logical', 'max_prepared_transactions = 5', 'logical_decoding_work_mem = 64kB');
my $subscriber = new_node('subscriber', 'autovacuum = off', 'max_prepared_transactions = 5', 'phnsw.merge_threshold = 1', 'max_parallel_maintenance_workers = 1');
my $parallel = run('SHOW server_version_num') >= 160000;
my @tables = ('e', 'f');

sub there
{
	return $subscriber->safe_psql('postgres', shift);
}

# Both tables have what the publisher's have, and so has the index; f's has 400 rows of the subscriber's own besides.
sub same
{
	my ($what) = @_;

	$node->wait_for_catchup('s');
	foreach my $table (@tables)
	{
		my $rows = "SELECT count(*), sum(hashtext(id || ' ' || v::text)::bigint) FROM $table WHERE id > 0";

		is(there($rows), run($rows), "$what, $table: rows");
		complete($table, run("SELECT count(*) FROM $table") + ($table eq 'f' ? 400 : 0), "$what, $table", $subscriber);
	}
	return;
}

# Rows first ... last of both tables.
sub both
{
	my (@range) = @_;

	return join '', map { rows($_, @range) } @tables;
}

run("CREATE TABLE $_ (id int PRIMARY KEY, v vector(8))") foreach @tables;
there("CREATE TABLE $_ (id int PRIMARY KEY, v vector(8))") foreach @tables;
there(rows('f', -400, -1) . join('', map { "CREATE INDEX ${_}_v ON $_ USING phnsw (v);" } @tables)
	. 'CREATE TABLE seen (id int); CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN
		IF new.id % 100 = 0 THEN INSERT INTO seen SELECT id FROM e ORDER BY v <-> new.v LIMIT 1; END IF; RETURN NULL; END $$;
	CREATE TRIGGER seen AFTER INSERT ON e FOR EACH ROW EXECUTE FUNCTION seen(); ALTER TABLE e ENABLE ALWAYS TRIGGER seen');
run('CREATE PUBLICATION p FOR TABLE e, f');
my $connstr = $node->connstr . ' dbname=postgres';
there("CREATE SUBSCRIPTION s CONNECTION '$connstr' PUBLICATION p WITH (streaming = on, two_phase = on)");
$subscriber->wait_for_subscription_sync($node, 's');

my $id = 1;
foreach my $streaming ('on', $parallel ? 'parallel' : ())
{
	there("ALTER SUBSCRIPTION s SET (streaming = $streaming)");

	# In progress: some of it is on its way, and nobody sees it.
	my $s = $node->background_psql('postgres');
	my $streamed = "SELECT coalesce(sum(stream_txns), 0) FROM pg_stat_replication_slots";
	my $before = run($streamed);
	my $count = there('SELECT count(*) FROM e');
	$s->query_safe('BEGIN;' . both($id, $id + 1499) . 'SAVEPOINT a;' . both($id + 1500, $id + 2099) . 'SAVEPOINT b;' . both($id + 2100, $id + 2199)
		. 'RELEASE b; ROLLBACK TO a;' . both($id + 1500, $id + 1699) . "UPDATE e SET v = '[9,9,9,9,9,9,9,9]' WHERE id = $id; DELETE FROM f WHERE id = $id");
	ok(wait_until(60, sub { run($streamed) > $before }), "streaming = $streaming: in progress");
	is(there('SELECT count(*) FROM e'), $count, "streaming = $streaming: nobody sees it");
	run(both($id + 1800, $id + 1849));
	$s->query_safe('COMMIT');
	same("streaming = $streaming");

	# Rolled back.
	$s->query_safe('BEGIN;' . both($id + 3000, $id + 4000) . 'SAVEPOINT a;' . both($id + 4001, $id + 4500) . 'ROLLBACK TO a; ROLLBACK;' . both($id + 1900, $id + 1910));
	same("streaming = $streaming, rolled back");

	# Prepared: the rows are in the index when the subscriber restarts, and there when it commits.
	$count = there('SELECT count(*) FROM e');
	$s->query_safe('BEGIN;' . both($id + 5000, $id + 5999) . 'SAVEPOINT a;' . both($id + 6000, $id + 6099) . "ROLLBACK TO a; PREPARE TRANSACTION 'p'");
	$s->query_safe('BEGIN;' . both($id + 7000, $id + 7399) . "PREPARE TRANSACTION 'q'");
	$node->wait_for_catchup('s');
	is(there('SELECT count(*) FROM pg_prepared_xacts'), 2, "streaming = $streaming: prepared");
	$subscriber->stop($streaming eq 'on' ? 'immediate' : 'fast');
	$subscriber->start;
	is(there('SELECT count(*) FROM e'), $count, "streaming = $streaming: nobody sees what is prepared");
	$s->query_safe("COMMIT PREPARED 'p'");
	$s->query_safe("ROLLBACK PREPARED 'q'");
	same("streaming = $streaming, prepared");
	is(there("SELECT count(*) FROM seen WHERE id > $id + 4999"), 10, "streaming = $streaming: a trigger has found each row");
	$s->quit;
	$id += 10000;
}

# The subscriber truncates and rewrites by what is replicated, with rows of the same transaction before and behind.
run('BEGIN;' . both($id, $id + 399) . 'TRUNCATE e;' . both($id + 400, $id + 799) . 'COMMIT');
same('TRUNCATE');
there('DROP SUBSCRIPTION s');
$subscriber->stop;
$node->stop;
done_testing();
