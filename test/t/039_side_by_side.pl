# Merges beside everything else: sessions whose statements of some hundred rows, and COPY, are merged or not;
# single rows, updates that are HOT, that leave the vector alone or change it, deletes, rollbacks, savepoints;
# beside them vacuum without a pause, indexes that are built or built anew without a lock, scans that compare
# index and table; and now and then a session that works is told to end, or to cancel.  Then the server stops
# without a checkpoint.  Many of them stop for some milliseconds at one of the points of testpoint.c: races that
# take minutes to turn up otherwise, such as two claims of one slot, come in seconds.
#
# After each round every row of the table is in each index, by the checker and by a scan to its end,
# once; and searches find what is near.  Nobody gets an error but those who were told to end.  What 031
# has and this does not: a model that knows what the table should be.
#
# Three times PHNSW_SIDE_SECONDS (default 4) and what the looking takes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Sessions;
use Test::More;
use Time::HiRes 'time';

use constant { WRITERS => 4, TRANSACTIONS => 3000, DIMS => 8, FILES => 6 };

my $seconds = $ENV{PHNSW_SIDE_SECONDS} // 4;
my $seed = seed_from_env();
my $buffers = (2, 16)[ $seed % 2 ];
my $node = new_node('side_by_side', 'autovacuum = off', "shared_buffers = ${buffers}MB", 'max_parallel_maintenance_workers = 1', 'max_connections = 30', 'phnsw.log_build = on');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $random = random_vectors_sql(DIMS, 'i');
my %operator = (t_v => '<->', t_ip => '<#>', t_cosine => '<=>');
my $from = "'[1,0,0,0,0,0,0,0]'";

# Room on the pages for HOT; an update of `other`, which is indexed, is not HOT but has an unchanged vector.
$node->safe_psql('postgres', qq{
	CREATE TABLE t (id bigserial, writer int, other int DEFAULT 0, touched int DEFAULT 0, v vector(@{[ DIMS ]})) WITH (fillfactor = 80);
	SELECT setseed(@{[ $seed % 1000 ]} / 1000.0);
	INSERT INTO t (writer, v) SELECT i % @{[ WRITERS ]}, $random FROM generate_series(1, 3000) i;
	CREATE INDEX t_id ON t (id);
	CREATE INDEX t_other ON t (other);
	CREATE INDEX t_v ON t USING phnsw (v) WITH (m = 4, ef_construction = 16);
	CREATE INDEX t_ip ON t USING phnsw (v vector_ip_ops) WITH (m = 8)});
# Files for COPY.  Who copies one again has equal vectors.
foreach my $file (0 .. FILES - 1)
{
	my $rows = (100, 500)[ $file % 2 ];

	$node->safe_psql('postgres', "COPY (SELECT $file % @{[ WRITERS ]}, $random FROM generate_series(1, $rows) i) TO '$dir/rows$file'");
}

# ---- what the sessions do ----------------------------------------------------------------------------------------------------

# Each writer has rows of its own, so that none waits for another.  About half of all ids are gone.
sub of
{
	my ($writer, $n) = @_;
	my $share = rand();

	return "writer = $writer AND id BETWEEN (SELECT $share * last_value FROM t_id_seq)::bigint AND (SELECT $share * last_value FROM t_id_seq)::bigint + " . int(rand($n));
}

sub insert_rows
{
	my ($writer, $n) = @_;

	return "INSERT INTO t (writer, v) SELECT $writer, $random FROM generate_series(1, $n) i;";
}

sub operation
{
	my ($writer) = @_;
	my $kind = int rand 40;

	return insert_rows($writer, 1 + int rand 3) if $kind < 6;
	return insert_rows($writer, 100) if $kind < 11;
	return insert_rows($writer, 500) if $kind < 12;
	return "COPY t (writer, v) FROM '$dir/rows" . int(rand FILES) . "';" if $kind < 15;
	return "INSERT INTO t (writer, v) SELECT $writer, v FROM t WHERE " . of($writer, 400) . ';' if $kind < 17;
	return 'UPDATE t SET touched = touched + 1 WHERE ' . of($writer, 100) . ';' if $kind < 20;
	return 'UPDATE t SET other = other + 1 WHERE ' . of($writer, 100) . ';' if $kind < 23;
	return "UPDATE t SET v = $random FROM generate_series(1, 1) i WHERE " . of($writer, 100) . ';' if $kind < 26;
	return 'SELECT count(*) FROM (SELECT id FROM t ORDER BY v ' . (values %operator)[ int rand 3 ] . " $from LIMIT 5) x;" if $kind < 28;
	return "DELETE FROM t WHERE writer IN ($writer, " . (100 + int rand 3) . ') AND id < (SELECT last_value FROM t_id_seq) - 12000;' if $kind < 30;
	return 'DELETE FROM t WHERE ' . of($writer, 20) . ';' if $kind < 33;
	return 'DELETE FROM t WHERE ' . of($writer, 500) . ';';
}

# Whoever comes to the point the $n-th time at most stops there until `holder` lets go of the lock.
sub stop_at
{
	my ($set, $n, @points) = @_;

	return "$set phnsw.test_point = 'wait " . $points[ int rand @points ] . ' ' . (1 + int rand $n) . "';";
}

sub transaction
{
	my ($writer) = @_;
	my $sql = 'BEGIN;';

	$sql .= stop_at('SET LOCAL', 20, qw(insert-planned insert-written merge-claimed kill)) if rand() < 0.2;
	$sql .= stop_at('SET LOCAL', 1, qw(merge-claimed merge-computed merge-written)) if rand() < 0.3;
	$sql .=  ('', '', 'SET LOCAL phnsw.merge_threshold = 1;', 'SET LOCAL phnsw.merge_threshold = 2147483647;')[ int rand 4 ];

	foreach (1 .. 1 + int rand 3)
	{
		my $savepoint = rand();
		my $text = operation($writer);

		$sql .= $savepoint < 0.15 ? "SAVEPOINT s; $text ROLLBACK TO s;" : $savepoint < 0.3 ? "SAVEPOINT s; $text RELEASE s;" : $text;
	}
	return $sql . (rand() < 0.15 ? "ROLLBACK;\n" : "COMMIT;\n");
}

sub writer
{
	my ($writer) = @_;

	return session($node, "writer $writer", 'SELECT setseed(' . rand() . ");\n" . join('', map { transaction($writer) } 1 .. TRANSACTIONS));
}

# One round of an index that others have left, or that is not there yet.
sub rebuild
{
	my ($i) = @_;
	my $kind = $i % 4 == 0 ? 3 : int rand 3;

	return 'REINDEX INDEX CONCURRENTLY ' . (qw(t_v t_ip))[ int rand 2 ] . ";\n" if $kind < 2;
	return "REINDEX TABLE CONCURRENTLY t;\n" if $kind == 2;
	return "DROP INDEX CONCURRENTLY IF EXISTS t_cosine;\nCREATE INDEX CONCURRENTLY t_cosine ON t USING phnsw (v vector_cosine_ops) WITH (m = 6);\n";
}

my %make = (
	vacuum => sub { session($node, 'vacuum', join('', map { (rand() < 0.3 ? stop_at('SET', 1, qw(vacuum-repair vacuum-aux vacuum-attach vacuum-free)) : '')
			. "VACUUM (INDEX_CLEANUP ON) t;\n" } 1 .. 5000)) },
	holder => sub { session($node, 'holder', "SELECT pg_advisory_lock(x'70686e7377'::bigint); SELECT pg_sleep(random() * 0.1); SELECT pg_advisory_unlock_all();\n" x 5000) },
	rebuild => sub { session($node, 'rebuild', join('', map { rebuild($_) . "SELECT pg_sleep(1);\n" } 0 .. 200)) },
	'reader 1' => sub { session($node, 'reader 1', compare_rows('t', 'id, other, touched', '<->', '(SELECT v FROM t LIMIT 1)', $from) x 1000) },
	'reader 2' => sub { session($node, 'reader 2', compare_rows('t', 'id, other, touched', '<#>', '(SELECT v FROM t LIMIT 1)', $from) x 1000) });
foreach my $writer (0 .. WRITERS - 1)
{
	$make{"writer $writer"} = sub { writer($writer) };
}

# Ends one of those that write, or what it is about, and puts another in its place.
sub disturb
{
	my ($sessions) = @_;
	my $i = int rand @$sessions;
	my $name = $sessions->[$i]{name};
	my $end = rand() < 0.5 ? 'terminate' : 'cancel';

	return if $name =~ /^(reader|holder)/ || ($name eq 'rebuild' && rand() < 0.7);
	$node->safe_psql('postgres', "SELECT pg_${end}_backend(pid) FROM pg_stat_activity WHERE application_name = '$name'");
	# One that was between two statements does not notice a cancel.
	return if $end eq 'cancel' && !wait_until(0.2, sub { complaints($sessions->[$i]) =~ /canceling/ });
	$sessions->[$i]{run}->finish;
	unlike(complaints($sessions->[$i]) =~ s/^.*(canceling statement|terminating connection).*$//mgr, qr/ERROR|PANIC|FATAL/, "$name is told to $end: no other error");
	$sessions->[$i] = $make{$name}->();
	return;
}

# ---- rounds ------------------------------------------------------------------------------------------------------------------

sub work
{
	my ($end, $what) = @_;
	my @sessions = map { $make{$_}->() } sort keys %make;
	my $until = time() + $seconds;

	while (time() < $until)
	{
		select(undef, undef, undef, 0.2 + rand 0.8);
		disturb(\@sessions);
	}
	$node->stop($end);
	end_sessions($what, @sessions);
	$node->start;
	return;
}

sub look
{
	my ($what) = @_;
	# Those that were being built when the server stopped, or their session.
	my @indexes = split /\n/, $node->safe_psql('postgres', q{
		DO $$ DECLARE i regclass; BEGIN FOR i IN SELECT indexrelid FROM pg_index WHERE NOT indisvalid LOOP EXECUTE format('DROP INDEX %s', i); END LOOP; END $$;
		SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam WHERE amname = 'phnsw' ORDER BY 1});
	my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM t');

	note("$what: $rows rows, indexes @indexes, " . $node->safe_psql('postgres', 'SELECT last_value FROM t_id_seq') . ' ids');
	foreach my $index (@indexes)
	{
		check_index($node, $index, "$what: $index");
		is($node->safe_psql('postgres', compare_rows('t', 'id, other, touched', $operator{$index}, $from, $from)), '', "$what: $index and the table have the same rows");
		cmp_ok(recall_of_own($node, 't', $operator{$index}, 200), '>=', 0.9, "$what: $index finds what is near");
	}
	return;
}

work('immediate', 'crash');
look('after a crash');
work('immediate', 'second crash');
look('after a second crash');
work('fast', 'shutdown');
look('after a shutdown');
$node->safe_psql('postgres', 'VACUUM (INDEX_CLEANUP ON) t');
look('vacuumed');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'no process has crashed by itself');
$node->stop;
done_testing();
