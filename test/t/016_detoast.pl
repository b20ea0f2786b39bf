# Vectors out of line, read by src/pg/toast/detoast.c.  First under load, with few shared buffers: clients
# replace, delete and insert vectors, others vacuum, rewrite the table and rebuild its TOAST index, and readers
# compare every vector as distances see it with what PostgreSQL's own functions read (subvector), by scans,
# cursors and savepoints.  Then with damaged TOAST tables and indexes: what happens is what happens to
# PostgreSQL's functions.  Nothing is left open: the log knows of no leak.
#
# PHNSW_DETOAST_SECONDS: how long the load lasts (default 4).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant { BLOCK => 8192, DIMS => 700, ROWS => 2300, LP_DEAD => 3, BTP_LEAF => 1, INDEX_ALT_TID_MASK => 0x2000 };

my $seconds = $ENV{PHNSW_DETOAST_SECONDS} // 4;

seed_from_env();
my $node = new_node('detoast', 'max_prepared_transactions = 1', 'ignore_checksum_failure = on', 'client_min_messages = error',
	'shared_buffers = 3MB', 'autovacuum = off');
my $random = random_vectors_sql(DIMS, 'i');
my $dir = PostgreSQL::Test::Utils::tempdir();

# More rows than a scan sweeps, so that searches walk the graph and look at rows ahead (ahead.c).
$node->safe_psql('postgres', 'CREATE TABLE t (id int PRIMARY KEY, v vector(' . DIMS . '))');
$node->safe_psql('postgres', "INSERT INTO t SELECT i, $random FROM generate_series(1, " . ROWS . ') i');
$node->safe_psql('postgres', 'CREATE INDEX t_v ON t USING phnsw (v)');
my $toast = $node->safe_psql('postgres', q{SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 't'});
my $toast_id = $node->safe_psql('postgres', "SELECT '$toast'::regclass::oid");

# ---- load ------------------------------------------------------------------------------------------------------------------

# Divides by zero when a distance depends on who has read the vector.
sub compare
{
	my ($from) = @_;

	return 'SELECT 1 / (count(*) FILTER (WHERE v <-> plain IS DISTINCT FROM 0 OR plain <=> v IS DISTINCT FROM plain <=> plain) = 0)::int FROM '
	  . '(SELECT v, subvector(v, 1, ' . DIMS . ") AS plain FROM $from OFFSET 0) r;";
}

sub script
{
	my ($name, @lines) = @_;

	PostgreSQL::Test::Utils::append_to_file("$dir/$name", join("\n", @lines, ''));
	return;
}

script('write',
	'\set id random(1, ' . ROWS . ')',
	'\set kind random(1, 4)',
	'\if :kind = 1',
	"UPDATE t SET v = $random FROM generate_series(1, 1) i WHERE id = :id;",
	'\elif :kind = 2',
	'BEGIN; DELETE FROM t WHERE id BETWEEN :id AND :id + 5;',
	"INSERT INTO t SELECT i, $random FROM generate_series(:id, :id + 5) i ON CONFLICT DO NOTHING; COMMIT;",
	'\elif :kind = 3',
	'BEGIN; DELETE FROM t WHERE id > :id; ' . compare('t WHERE id < 300') . ' ROLLBACK;',
	'\else',
	"BEGIN; SAVEPOINT s; UPDATE t SET v = $random FROM generate_series(1, 1) i WHERE id = :id; " . compare('t WHERE id = :id')
	  . ' ROLLBACK TO s; ' . compare('t WHERE id = :id') . ' COMMIT;',
	'\endif');
script('read', '\set id random(1, ' . ROWS . ')',
	compare('t WHERE id BETWEEN :id AND :id + 40'),
	'SET enable_seqscan = off;',
	'SET phnsw.ef_search = 40;',
	'SET phnsw.check_bounds = on;',
	compare("(SELECT v FROM t ORDER BY v <-> (SELECT $random FROM generate_series(1, 1) i) LIMIT 20) n"));
script('hold', '\set id random(1, ' . ROWS . ')',
	'BEGIN ISOLATION LEVEL REPEATABLE READ;',
	'SET enable_seqscan = off;',
	"DECLARE c CURSOR FOR SELECT subvector(v, 1, 1) FROM t ORDER BY v <-> (SELECT $random FROM generate_series(1, 1) i) LIMIT 200;",
	'FETCH 30 FROM c;',
	'SAVEPOINT s;',
	compare('t WHERE id BETWEEN :id AND :id + 200'),
	'ROLLBACK TO s;',
	'FETCH ALL FROM c;',
	compare('t WHERE id BETWEEN :id AND :id + 200'),
	'COMMIT;');
# Not REINDEX CONCURRENTLY: beside writers who roll back to savepoints PostgreSQL itself (15.18) loses entries of
# the TOAST index ("missing chunk number 0", in a database without phnsw).
script('maintain', '\set kind random(1, 8)',
	'\if :kind = 1',
	'VACUUM FULL t;',
	'\elif :kind = 2',
	'CLUSTER t USING t_pkey;',
	'\elif :kind <= 4',
	'REINDEX TABLE t;',
	'\else',
	'VACUUM t;',
	'\endif');

# What a build of an index of these rows says.
sub build
{
	my ($where) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "BEGIN; CREATE INDEX ON t USING phnsw (v) WHERE $where; ROLLBACK");

	return $err;
}

my @clients;
foreach my $part ([ 'write', 2 ], [ 'read', 2 ], [ 'hold', 2 ], [ 'maintain', 1 ])
{
	my ($script, $n) = @$part;
	my %client = (name => $script, out => '', err => '');

	$client{run} = IPC::Run::start(
		[ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', $n, '-T', $seconds, '-f', "$dir/$script", 'postgres' ],
		'>', \$client{out}, '2>', \$client{err});
	push @clients, \%client;
}
foreach my $client (@clients)
{
	$client->{run}->finish;
	# Two writers may wait for each other; that is not what is tested.
	my @errors = grep { /ERROR/ && !/deadlock detected/ } split /\n/, $client->{err};
	my ($done) = $client->{out} =~ /transactions actually processed: (\d+)/;

	ok(!@errors && $done, "$client->{name} under load: " . ($done // 0) . ' transactions') or diag($client->{err});
}
is($node->psql('postgres', compare('t')), 0, 'all vectors are read alike after the load');
check_index($node, 't_v', 'after the load');

# ---- damage ----------------------------------------------------------------------------------------------------------------

$node->safe_psql('postgres', 'VACUUM FULL t; CHECKPOINT');
my $file = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$toast')");
my @faults = (
	[ 'another number', 'sequence', 77, 'unexpected chunk number' ],
	[ 'another value', 'id', 4000000000, '^$' ],
	[ 'a shorter chunk', 'length', 100, 'unexpected chunk size' ],
	[ 'a chunk that is gone', 'item', LP_DEAD, 'unexpected chunk number 1' ]);
my @damaged;

# Row i + 1 gets fault i.  A value is found by its order: VACUUM FULL wrote rows and values in the same order.
for my $i (0 .. $#faults)
{
	my ($value, $block, $offset) = split /\|/, $node->safe_psql('postgres',
		"SELECT chunk_id, (t.ctid::text::point)[0]::int, (t.ctid::text::point)[1]::int FROM $toast t WHERE chunk_seq = 0 ORDER BY t.ctid OFFSET $i LIMIT 1");
	my $id = $node->safe_psql('postgres', "SELECT id FROM t ORDER BY ctid OFFSET $i LIMIT 1");

	push @damaged, { id => $id, block => $block, offset => $offset, value => $value };
}
$node->stop;
for my $i (0 .. $#faults)
{
	my ($block, $offset) = @{ $damaged[$i] }{qw(block offset)};
	my ($what, $new) = @{ $faults[$i] }[ 1, 2 ];

	open my $handle, '+<:raw', $file or die "$file: $!";
	my $get = sub { seek $handle, $block * BLOCK + $_[0], 0; read $handle, my $bytes, 4; return unpack 'L', $bytes };
	my $put = sub { seek $handle, $block * BLOCK + $_[0], 0; print {$handle} pack 'L', $_[1]; return };
	my $item_at = 24 + 4 * ($offset - 1);
	my $item = $get->($item_at);
	my $row = ($item & 0x7FFF) + 24;

	die 'not the chunk that was meant' if $get->($row) != $damaged[$i]{value} || $get->($row + 4) != 0;
	$put->($row, $new) if $what eq 'id';
	$put->($row + 4, $new) if $what eq 'sequence';
	$put->($row + 8, $new << 2) if $what eq 'length';
	$put->($item_at, ($item & ~(3 << 15)) | ($new << 15)) if $what eq 'item';
	close $handle or die "$file: $!";
}
$node->start;
for my $i (0 .. $#faults)
{
	my ($name, $what, $new, $message) = @{ $faults[$i] };
	my $of = sub { my ($rc, $out, $err) = $node->psql('postgres', "SELECT $_[0] FROM t WHERE id = $damaged[$i]{id}"); return $err };
	my $error = $of->('v <-> v');

	like($error, qr/$message/, "$name: found, unless it is what PostgreSQL does not look at");
	is($error, $of->('vector_norm(v)'), "$name: as PostgreSQL's functions have it");
	is(build("id = $damaged[$i]{id}"), $error, "$name: a build, which reads chunks in a way of its own");
}
like(build('true'), qr/unexpected chunk/, 'a build of all rows');

# The damaged rows go, or a scan might come across them.
$node->safe_psql('postgres', 'DELETE FROM t WHERE id IN (' . join(', ', map { $_->{id} } @damaged) . ')');

# A row that nobody sees yet, which the index leads to, names a TOAST table
# that does not exist: looking ahead must not mind.
my $near = $node->safe_psql('postgres', "SELECT v + array_fill(0.01::real, ARRAY[vector_dims(v)])::vector FROM t WHERE id > $damaged[-1]{id} LIMIT 1");
my $table = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('t')");
my $nearest = "SET enable_seqscan = off; SET phnsw.ef_search = 40; SELECT count(*) FROM (SELECT v <-> '$near' FROM t ORDER BY v <-> '$near' LIMIT 5) n";

my ($new_block, $new_offset) = split /\|/, $node->safe_psql('postgres',
	"BEGIN; INSERT INTO t VALUES (-1, '$near') RETURNING (ctid::text::point)[0]::int, (ctid::text::point)[1]::int; PREPARE TRANSACTION 'new'");
$node->append_conf('postgresql.conf', 'shared_buffers = 64MB');
$node->stop;
{
	open my $handle, '+<:raw', $table or die "$table: $!";
	seek $handle, $new_block * BLOCK, 0;
	read $handle, my $bytes, BLOCK;
	my $tuple = unpack('V', substr $bytes, 24 + 4 * ($new_offset - 1), 4) & 0x7FFF;

	# header, id, tag, raw size, external size, value, TOAST table
	my $toastrelid = $tuple + 24 + 4 + 2 + 12;
	die 'not the TOAST table' if unpack('V', substr $bytes, $toastrelid, 4) != $toast_id;
	substr $bytes, $toastrelid, 4, pack 'V', 4000000000;
	seek $handle, $new_block * BLOCK, 0;
	print {$handle} $bytes;
	close $handle or die "$table: $!";
}
$node->start;
# Three times: nothing is looked at ahead while rows come from disk, nor before the first row that does not.
is($node->safe_psql('postgres', "$nearest; $nearest; $nearest"), "5\n5\n5", 'a damaged vector in a row that nobody sees yet');
$node->safe_psql('postgres', "ROLLBACK PREPARED 'new'");

# Every item of the TOAST index leads to a block that no table has: to no block
# at all, unless PostgreSQL asserts that it is one.
my $nowhere = $node->safe_psql('postgres', 'SHOW debug_assertions') eq 'on' ? pack('vv', 1, 0) : "\xFF" x 4;
my $tree = $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath(indexrelid) FROM pg_index WHERE indrelid = '$toast'::regclass");
my $sound = $node->safe_psql('postgres', 'SELECT id FROM t WHERE id NOT IN (' . join(', ', map { $_->{id} } @damaged) . ') LIMIT 1');

$node->stop;
{
	open my $handle, '+<:raw', $tree or die "$tree: $!";
	my $bytes = do { local $/; <$handle> };

	for (my $page = BLOCK; $page < length $bytes; $page += BLOCK)
	{
		next unless unpack('v', substr $bytes, $page + BLOCK - 4, 2) & BTP_LEAF;
		for (my $item = 24; $item < unpack('v', substr $bytes, $page + 12, 2); $item += 4)
		{
			my $tuple = $page + (unpack('V', substr $bytes, $page + $item, 4) & 0x7FFF);

			substr $bytes, $tuple, 4, $nowhere unless unpack('v', substr $bytes, $tuple + 6, 2) & INDEX_ALT_TID_MASK;
		}
	}
	seek $handle, 0, 0;
	print {$handle} $bytes;
	close $handle or die "$tree: $!";
}
$node->start;
{
	my ($rc, $out, $error) = $node->psql('postgres', "SELECT v <-> v FROM t WHERE id = $sound");

	like($error, qr/missing chunk number 0|could not (?:read block|open file)/, 'chunks in a block that does not exist: found');
	like(build("id = $sound"), qr/missing chunk number 0|could not (?:read block|open file)/, 'by a build as well');
}

# A TOAST table that has lost all but its first page, and one that has lost all.
foreach my $left (BLOCK, 0)
{
	$node->stop;
	truncate $file, $left or die "$file: $!";
	$node->start;
	like(build('true'), qr/missing chunk number 0|could not (?:read blocks?|open file)/, "$left bytes of a TOAST table: a build says so");
	is($node->safe_psql('postgres', 'SELECT 1'), 1, 'the server is up');
}

unlike(slurp_file($node->logfile), qr/leak|not closed|snapshot .* still active/, 'nothing is left open');
$node->stop;

done_testing();
