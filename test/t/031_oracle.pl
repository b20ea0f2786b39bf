# Random writers against an oracle.  Each client's transactions come from the seed: rows one by one, statements of
# 100, updates with and without a new vector, equal vectors, deletes, savepoints and transactions that are rolled
# back; each says in a table of its own which one it is, so that after a crash the test knows what must be there.
# Beside them vacuum, and searches that compare index and table in one snapshot.
#
# After each crash, and at the end: the table is what the oracle says; the checker passes; a scan of the whole index
# returns each row once; and a row is found by a search for its own vector, but for one in a thousand: with m = 4 even
# ef 200 misses one or two of 20,000.  Three times PHNSW_ORACLE_SECONDS (default 3) and what the looking takes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sessions;
use Test::More;

use constant { CLIENTS => 4, TRANSACTIONS => 2000, RANGE => 1000000 };

my $seconds = $ENV{PHNSW_ORACLE_SECONDS} // 3;
my $seed = seed_from_env();
my $m = (4, 8, 16)[ $seed % 3 ];
my $node = new_node('oracle', 'autovacuum = off', 'shared_buffers = 8MB', 'max_parallel_maintenance_workers = 1');

# A vector is a function of the row's id and version; one row in ten has one of
# seven that are equal.  The index is empty at first.
$node->safe_psql('postgres', qq{
	CREATE FUNCTION vec(id int, version int) RETURNS vector(8) LANGUAGE sql IMMUTABLE AS \$\$
		SELECT array_agg((hashint8extended(CASE WHEN id % 10 = 3 THEN id % 7 ELSE 1000 + id::bigint * 100 + version END, i) % 10007 / 10007.0)::real)::vector(8)
		FROM generate_series(1, 8) i \$\$;
	CREATE TABLE t (id int, version int, v vector(8), touched int DEFAULT 0);
	CREATE INDEX t_id ON t (id);
	CREATE INDEX t_v ON t USING phnsw (v) WITH (m = $m);
	CREATE TABLE done (client int PRIMARY KEY, n int);
	INSERT INTO done SELECT i, 0 FROM generate_series(0, @{[ CLIENTS - 1 ]}) i});

# ---- transactions ------------------------------------------------------------------------------------------------------------

# An operation is its SQL and what it does to %live (id -> version), of rows that an earlier operation may have
# deleted: nothing, here and there.  Each client has ids of its own.
my ($first_id, $next_id);

sub insert_rows
{
	my ($live, $n) = @_;
	my $first = $next_id;

	$next_id += $n;
	return ("INSERT INTO t SELECT i, 0, vec(i, 0) FROM generate_series($first, $first + $n - 1) i;",
		sub { $_[0]{$_} = 0 for $first .. $first + $n - 1 });
}

sub some
{
	my ($live, $n) = @_;
	my @ids = map { $first_id + int rand($next_id - $first_id) } 1 .. 3 * $n;

	@ids = grep { exists $live->{$_} } @ids;
	return @ids > $n ? @ids[ 0 .. $n - 1 ] : @ids;
}

sub update_vector
{
	my ($live) = @_;
	my %ids = map { $_ => 1 } some($live, 1 + int rand 5);
	my $list = join ',', -1, sort keys %ids;

	return ("UPDATE t SET version = version + 1, v = vec(id, version + 1) WHERE id IN ($list);",
		sub { $_[0]{$_}++ for grep { exists $_[0]{$_} } keys %ids });
}

sub touch
{
	my ($live) = @_;
	my $list = join ',', -1, some($live, 1 + int rand 10);

	return ("UPDATE t SET touched = touched + 1 WHERE id IN ($list);", sub { });
}

sub delete_rows
{
	my ($live, $n) = @_;
	my @ids = some($live, $n);
	my $list = join ',', -1, @ids;

	return ("DELETE FROM t WHERE id IN ($list);", sub { delete @{ $_[0] }{@ids} });
}

sub operation
{
	my ($live) = @_;
	my $kind = int rand 20;

	return insert_rows($live, 1 + int rand 3) if $kind < 5;
	return insert_rows($live, 100) if $kind < 8;
	return update_vector($live) if $kind < 11;
	return touch($live) if $kind < 15;
	return delete_rows($live, 1 + int rand 7) if $kind < 17;
	return delete_rows($live, 90);
}

# One transaction: SQL; whether it commits; what it does then.
sub transaction
{
	my ($client, $n, $live) = @_;
	my @effects;
	my $sql = "BEGIN;";

	$sql .= (' ', ' ', 'SET LOCAL phnsw.merge_threshold = 1;', 'SET LOCAL phnsw.merge_threshold = 2147483647;')[ int rand 4 ];
	foreach (1 .. 1 + int rand 3)
	{
		my ($text, $effect) = operation($live);

		if (rand() < 0.15)
		{
			$sql .= "SAVEPOINT s; $text ROLLBACK TO s;";
			next;
		}
		$sql .= rand() < 0.15 ? "SAVEPOINT s; $text RELEASE s;" : $text;
		push @effects, $effect;
		# A transaction that looks has its rows flushed.
		$sql .= 'SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> vec(1, 1) LIMIT 5) x;' if rand() < 0.1;
	}
	return ("$sql ROLLBACK;\n", 0) if rand() < 0.15;
	return ("$sql UPDATE done SET n = $n WHERE client = $client; COMMIT;\n", 1, @effects);
}

my (@script, @effects);
foreach my $client (0 .. CLIENTS - 1)
{
	my %live;

	$first_id = $next_id = 1 + $client * RANGE;
	for my $n (1 .. TRANSACTIONS)
	{
		my ($sql, $commits, @does) = transaction($client, $n, \%live);

		push @{ $script[$client] }, $sql;
		$_->(\%live) foreach @does;
		push @{ $effects[$client] }, \@does;
	}
}

# ---- rounds ------------------------------------------------------------------------------------------------------------------

my $compare = compare_rows('t', 'id, version', '<->', 'vec(2, (random() * 100)::int)', 'vec(2, 5)');

sub committed
{
	return split /\n/, $node->safe_psql('postgres', 'SELECT n FROM done ORDER BY client');
}

sub work
{
	my ($end, $what) = @_;
	my @n = committed();
	my @clients = map { session($node, "writer $_", join('', @{ $script[$_] }[ $n[$_] .. TRANSACTIONS - 1 ])) } 0 .. CLIENTS - 1;

	push @clients, session($node, 'vacuum', "VACUUM (INDEX_CLEANUP ON) t; SELECT pg_sleep(0.1);\n" x 1000), session($node, 'reader', $compare x 1000);
	sleep $seconds;
	$node->stop($end);
	end_sessions($what, @clients);
	$node->start;
	return;
}

sub look
{
	my ($what) = @_;
	my @n = committed();
	my @rows;

	foreach my $client (0 .. CLIENTS - 1)
	{
		my %live;

		foreach my $does (@{ $effects[$client] }[ 0 .. $n[$client] - 1 ])
		{
			$_->(\%live) foreach @$does;
		}
		push @rows, map { "$_|$live{$_}" } sort { $a <=> $b } keys %live;
	}
	note("$what: " . join(' ', @n) . ' transactions, ' . @rows . ' rows');
	ok($node->safe_psql('postgres', 'SELECT id, version FROM t ORDER BY id') eq join("\n", @rows), "$what: the table is what the oracle says");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE v <> vec(id, version)'), 0, "$what: with these vectors");
	check_index($node, 't_v', $what);
	is(count_through_index($node, 't', 'v', '<->', 'vec(1, 1)'), scalar @rows, "$what: a scan of the index returns each row");
	# As many as are equal: then the row is among them.
	my @missed = split ' ', $node->safe_psql('postgres', whole_index() . qq{SET phnsw.ef_search = 200;
		SELECT string_agg(id::text, ' ') FROM (SELECT id, v, count(*) OVER (PARTITION BY v::text) AS equal FROM t) r
			WHERE id NOT IN (SELECT id FROM t ORDER BY t.v <-> r.v LIMIT r.equal)});
	note("$what: m = $m, not found: @missed") if @missed;
	cmp_ok(scalar @missed, '<=', 1 + @rows / 1000, "$what: rows are found by their own vectors");
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
my @n = committed();
cmp_ok($_, '>', 20, 'a client has done something') foreach @n;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'no process has crashed by itself');
$node->stop;
done_testing();
