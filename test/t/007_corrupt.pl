# Damaged index files.  The server is stopped and bytes of the index are overwritten: known faults that phnsw_check must
# name (SQLSTATE XX002 and the block), and random ones.  Queries, inserts, merges, measurements and vacuum on damaged
# indexes end with an answer or with an error that says so; the server never crashes.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

use constant { BLOCK => 8192, HEADER => 24, ROWS => 600, DIMS => 16 };

# Offsets of src/core/capi/phnsw_format.h.
use constant {
	META_VERSION => 4, META_CODEC_DIMS => 16, META_CODEC_BITS => 30, META_SLOT_BYTES => 64, META_SLOTS_PER_PAGE => 68,
	META_AUX_BYTES => 72, META_ENTRY => 88, META_CALIBRATIONS => 108, META_STOP => 312, META_NODES => 432,
	SLOT_TID => 0, SLOT_STATE => 6, SLOT_LEVEL => 7, SLOT_UPPER => 12, SLOT_COUNT => 20, SLOT_SCALE => 24,
	SLOT_SUM => 32, SLOT_CODE => 40, OPAQUE_KIND => BLOCK - 8, OPAQUE_COUNT => BLOCK - 6, OPAQUE_ID => BLOCK - 2,
	PAGE_AUX => 4, AUX_TIDS => 2, AUX_COUNT => 14, AUX_TID_OFFSET => 20
};

# An answer; a fault of the index; an index of another version; a heap TID beyond the end of the table.  And
# the executor's own word for a bound above the distance (a damaged scale or residual, another row's TID),
# which it finds behind the index's back: a scan that wanted to come first would have to compute each distance
# once more, as it does with phnsw.check_bounds; then it is XX002.
my $wrong_order = qr/XX000: index returned tuples in wrong order$/m;
my $expected = qr/^(
	00000: |
	XX002: |
	0A000:\ index\ "\w+"\ has\ phnsw\ format\ version |
	(58P01|XX001):\ could\ not\ (open\ file|read\ blocks?)\ |
	$wrong_order
)/xm;

seed_from_env();
my $node = new_node('corrupt', 'ignore_checksum_failure = on', 'autovacuum = off', 'restart_after_crash = on');

$node->safe_psql('postgres', 'CREATE TABLE model AS SELECT i AS id, '
	  . random_vectors_sql(DIMS, 'i') . ' AS v FROM generate_series(1, ' . ROWS . ') i');
$node->safe_psql('postgres', q{
	CREATE FUNCTION make(n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('CREATE TABLE t%s AS SELECT * FROM model', n);
		EXECUTE format('CREATE INDEX i%s ON t%s USING phnsw (v)', n, n);
	END $$});

# A fault is [name, block, offset in the page, bytes]; $meta: the page's
# content, $slot: first byte of a slot of block $b.
sub known_faults
{
	my ($file) = @_;
	my $meta = page($file, 0);
	my ($slot_bytes, $slots_per_page) = unpack 'LL', substr($meta, HEADER + META_SLOT_BYTES, 8);
	my ($first_block) = unpack 'L', substr($meta, HEADER + META_NODES + 12, 4);
	my $node_page = $first_block + 1;
	my $slot = HEADER + 2 * $slot_bytes;
	my $links = $slot + SLOT_CODE + ((DIMS + 3) & ~3);

	return (
		[ 'magic', 0, HEADER, pack('L', 1) ],
		[ 'format version', 0, HEADER + META_VERSION, pack('L', 99) ],
		[ 'dimensions', 0, HEADER + META_CODEC_DIMS, pack('L', 70000) ],
		[ 'bits', 0, HEADER + META_CODEC_BITS, pack('C', 7) ],
		[ 'slot bytes', 0, HEADER + META_SLOT_BYTES, pack('L', 12) ],
		[ 'slots per page', 0, HEADER + META_SLOTS_PER_PAGE, pack('L', 0) ],
		[ 'aux bytes', 0, HEADER + META_AUX_BYTES, pack('L', 7777) ],
		[ 'entry', 0, HEADER + META_ENTRY, pack('L', 4000000) ],
		[ 'calibrations', 0, HEADER + META_CALIBRATIONS, pack('L', 1000) ],
		[ 'stop', 0, HEADER + META_STOP, pack('ff', 0.5, 9) ],
		[ 'limit', 0, HEADER + META_NODES, pack('L', 1 << 30) ],
		[ 'extents', 0, HEADER + META_NODES + 4, pack('L', 5000) ],
		[ 'extent beyond the file', 0, HEADER + META_NODES + 12, pack('L', 1 << 20) ],
		[ 'page kind', $node_page, OPAQUE_KIND, pack('S', 4) ],
		[ 'page identity', $node_page, OPAQUE_ID, pack('S', 0x1234) ],
		[ 'slots on the page', $node_page, OPAQUE_COUNT, pack('S', 60000) ],
		[ 'state', $node_page, $slot + SLOT_STATE, pack('C', 9) ],
		[ 'level', $node_page, $slot + SLOT_LEVEL, pack('C', 200) ],
		[ 'count', $node_page, $slot + SLOT_COUNT, pack('S', 0xFFFF) ],
		[ 'link', $node_page, $links, pack('L', 0xFFFFFFF0) ],
		[ 'scale', $node_page, $slot + SLOT_SCALE, pack('f', -1) ],
		[ 'sum of the code', $node_page, $slot + SLOT_SUM, pack('l', 1 << 30) ],
		[ 'TID', $node_page, $slot + SLOT_TID, pack('SSS', 0, 0, 0) ],
		[ 'upper level', $node_page, $slot + SLOT_UPPER, pack('L', 1 << 30) ],
		[ 'page of zeros', $node_page, 0, "\0" x BLOCK ],
	);
}

sub page
{
	my ($file, $block) = @_;

	open my $handle, '<:raw', $file or die "$file: $!";
	seek $handle, $block * BLOCK, 0;
	read $handle, my $content, BLOCK;
	close $handle;
	return $content;
}

sub overwrite
{
	my ($file, $block, $offset, $bytes) = @_;

	open my $handle, '+<:raw', $file or die "$file: $!";
	seek $handle, $block * BLOCK + $offset, 0;
	print {$handle} $bytes;
	close $handle or die "$file: $!";
	return;
}

# Runs a statement; returns its SQLSTATE ('00000' without an error) and the message with its details.
sub sqlstate
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql;", on_error_stop => 0);

	return ($1, $2) if $err =~ /(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5}): (.*)/s;
	return ($err =~ /connection|terminat/ ? 'crash' : '00000', $err);
}

my $random_faults = $ENV{PHNSW_TEST_FAULTS} // 40;
$node->safe_psql('postgres', 'SELECT make(0)');
my $path = sub { $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('i$_[0]')") };
$node->safe_psql('postgres', 'CHECKPOINT');
my @faults = known_faults($path->(0));
my $known = scalar @faults;

$node->safe_psql('postgres', 'SELECT make(n) FROM generate_series(1, ' . ($known + $random_faults) . ') n');
my @file = map { $path->($_) } 0 .. $known + $random_faults;
$node->stop;

my $blocks = (-s $file[0]) / BLOCK;
for my $i (1 .. $random_faults)
{
	my $length = (1, 2, 4, 40)[ rand 4 ];
	push @faults, [ "random $i", int(rand($blocks)), 24 + int(rand(BLOCK - 24 - $length)), join('', map { chr rand 256 } 1 .. $length) ];
}
overwrite($file[ $_ + 1 ], @{ $faults[$_] }[ 1 .. 3 ]) for 0 .. $#faults;
$node->start;
my $log_start = -s $node->logfile;

foreach my $n (0 .. $known + $random_faults)
{
	my $fault = $n ? $faults[ $n - 1 ] : [ 'no fault', 0, 0, '' ];
	my ($name, $block, $offset) = @$fault;
	my ($state, $message) = sqlstate("SELECT phnsw_check('i$n'::regclass)");

	if ($n == 0)
	{
		is($state, '00000', 'an index without a fault passes') or diag($message);
	}
	elsif ($n <= $known)
	{
		# A version that is not ours is no damage, but an index of another release.
		is($state, $name eq 'format version' ? '0A000' : 'XX002', "$name: phnsw_check finds it") or diag($message);
		like($message, qr/block $block\b/i, "$name: and names the block") if $name ne 'format version';
	}
	else
	{
		like("$state: $message", qr/^(00000|XX00[12]|0A000: index "\w+" has phnsw format version)/, "$name, block $block, offset $offset: phnsw_check");
	}

	my @states;
	my $set = "SET enable_seqscan = off; SET enable_sort = off; SET statement_timeout = '20s';";
	if ($name eq 'scale')
	{
		# A bound above the distance is what it is, a fault of the index, where the scan
		# looks.  Before the row may be deleted below.
		($state, $message) = sqlstate("SET phnsw.check_bounds = on; $set SELECT count(*) FROM (SELECT * FROM t$n ORDER BY v <-> (SELECT v FROM model LIMIT 1) OFFSET 0) s");
		is($state, 'XX002', 'phnsw.check_bounds: a damaged scale') or diag($message);
	}
	foreach my $sql (
		"SELECT count(*) FROM (SELECT * FROM t$n ORDER BY v <-> (SELECT v FROM model LIMIT 1) OFFSET 0) s",
		"SELECT count(*) FROM model q WHERE q.id <= 20 AND q.id = (SELECT id FROM t$n ORDER BY t$n.v <-> q.v LIMIT 1)",
		"INSERT INTO t$n SELECT id, v FROM model WHERE id <= 5",
		"SET phnsw.merge_threshold = 1; INSERT INTO t$n SELECT -id, v + v FROM model WHERE id <= 100",
		"SELECT count(recall) FROM phnsw_recall('i$n', sample => 20)", "SELECT count(*) FROM phnsw_index_info('i$n')", "SELECT phnsw_prewarm('i$n')",
		"DELETE FROM t$n WHERE id % 10 = 1", "VACUUM t$n")
	{
		my ($state, $message) = sqlstate("$set $sql");
		($state, $message) = sqlstate("SET phnsw.check_bounds = on; $set $sql") if "$state: $message" =~ $wrong_order && $sql =~ /^SELECT/;
		push @states, "$state: $sql: $message" if "$state: $message" !~ $expected || $state eq 'XX000';
	}
	is("@states", '', "$name, block $block, offset $offset: statements give an answer or an error that says what is wrong");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM model'), ROWS, 'the server is up');

# A TID with the number of no block, which PostgreSQL's buffer manager takes for "a
# new block": a search must not make the table longer.
{
	my $n = $known + $random_faults + 1;
	$node->safe_psql('postgres', "SELECT make($n); INSERT INTO t$n SELECT id, v FROM model WHERE id <= 5");
	my $file = $path->($n);
	my $size = $node->safe_psql('postgres', "SELECT pg_relation_size('t$n')");
	$node->stop;
	my ($slot_bytes, $slots_per_page) = unpack 'LL', substr(page($file, 0), HEADER + META_SLOT_BYTES, 8);
	my ($first_block) = unpack 'L', substr(page($file, 0), HEADER + META_NODES + 12, 4);
	overwrite($file, $first_block, HEADER + $_ * $slot_bytes + SLOT_TID, pack('SSS', 0xFFFF, 0xFFFF, 1)) for 0 .. $slots_per_page - 1;
	$node->start;
	my ($state, $message) = sqlstate("SET enable_seqscan = off; SET enable_sort = off; "
		  . "SELECT count(*) FROM (SELECT * FROM t$n ORDER BY v <-> (SELECT v FROM model LIMIT 1) OFFSET 0) s");
	is($state, 'XX002', 'a TID without a block: a search says so') or diag($message);
	is($node->safe_psql('postgres', "SELECT pg_relation_size('t$n')"), $size, 'and the table is as long as before');
}

# A TID without an offset in the chain of a node that several rows share; in the slot it would say that the row is gone.
{
	my $n = $known + $random_faults + 2;
	$node->safe_psql('postgres', "SELECT make($n); INSERT INTO t$n SELECT id, v FROM model WHERE id <= 5; DELETE FROM t$n WHERE id = 9");
	my $file = $path->($n);
	$node->stop;
	my ($aux_bytes, $aux_per_page) = unpack 'LL', substr(page($file, 0), HEADER + META_AUX_BYTES, 8);
	my ($damaged) = grep { unpack('S', substr(page($file, $_), OPAQUE_KIND, 2)) == PAGE_AUX } 1 .. (-s $file) / BLOCK - 1;
	my ($record) = grep { unpack('x12CxS', substr(page($file, $damaged), $_, 16)) == AUX_TIDS }
	  map { HEADER + $_ * $aux_bytes } 0 .. $aux_per_page - 1;
	is(unpack('S', substr(page($file, $damaged), $record + AUX_COUNT, 2)), 1, 'a row in the chain');
	overwrite($file, $damaged, $record + AUX_TID_OFFSET, pack('S', 0));
	$node->start;
	foreach my $sql ("SELECT phnsw_check('i$n'::regclass)", "VACUUM (INDEX_CLEANUP ON) t$n")
	{
		my ($state, $message) = sqlstate($sql);

		is($state, 'XX002', "a TID of a chain without an offset: $sql") or diag($message);
		like($message, qr/block $damaged\b/i, 'and names the block');
	}
}

# An entry that leads to a visible row which has none: without a vector, outside the predicate, of length zero under
# cosine; and one that leads nowhere.  A dead row's entry is turned into it, so that no other row is missing.
{
	my $first = $known + $random_faults + 3;
	my @surplus = (
		[ 'a row without a vector', 'v', 'NULL', '', 'that does not belong in the index' ],
		[ 'a row outside the predicate', 'v', 'v', 'WHERE id > 0', 'that does not belong in the index' ],
		[ 'a zero vector under cosine', 'v vector_cosine_ops', 'v - v', '', 'that does not belong in the index' ],
		[ 'no row', 'v', undef, '', 'beyond the end of the table' ]);
	my @damage;

	foreach my $i (0 .. $#surplus)
	{
		my ($name, $column, $vector, $where) = @{ $surplus[$i] };
		my $n = $first + $i;

		$node->safe_psql('postgres', "CREATE TABLE t$n AS SELECT * FROM model; CREATE INDEX i$n ON t$n USING phnsw ($column) $where;");
		$node->safe_psql('postgres', "INSERT INTO t$n SELECT -1, $vector FROM model WHERE id = 1") if $vector;
		push @damage, [ $path->($n), $node->safe_psql('postgres', "DELETE FROM t$n WHERE id = 9 RETURNING ctid"),
			$vector ? $node->safe_psql('postgres', "SELECT ctid FROM t$n WHERE id = -1") : '(100000,1)' ];
		my ($state, $message) = sqlstate("SELECT phnsw_check('i$n', heap_check => true)");
		is($state, '00000', "$name: no fault before the damage") or diag($message);
	}
	$node->stop;
	my @block;
	foreach my $damage (@damage)
	{
		my ($file, @tid) = ($damage->[0], map { /\((\d+),(\d+)\)/; pack 'SSS', $1 >> 16, $1 & 0xFFFF, $2 } @{$damage}[ 1, 2 ]);
		my ($slot_bytes, $slots_per_page) = unpack 'LL', substr(page($file, 0), HEADER + META_SLOT_BYTES, 8);
		my ($nodes) = unpack 'L', substr(page($file, 0), HEADER + META_NODES + 12, 4);
		my ($found) = grep { substr(page($file, $_->[0]), $_->[1] + SLOT_TID, 6) eq $tid[0] }
		  map { my $block = $_; map { [ $block, HEADER + $_ * $slot_bytes, $_ ] } 0 .. $slots_per_page - 1 } $nodes .. (-s $file) / BLOCK - 1;
		overwrite($file, $found->[0], $found->[1] + SLOT_TID, $tid[1]);
		push @block, "block $found->[0], offset $found->[2]";
	}
	$node->start;
	foreach my $i (0 .. $#surplus)
	{
		my ($name, $what) = @{ $surplus[$i] }[ 0, 4 ];
		my ($state, $message) = sqlstate('SELECT phnsw_check(' . "'i" . ($first + $i) . "', heap_check => true)");

		is($state, 'XX002', "an entry for $name") or diag($message);
		like($message, qr/$block[$i]: .*$what/i, 'and what and where it is');
		($state, $message) = sqlstate('SELECT phnsw_check(' . "'i" . ($first + $i) . "')");
		is($state, '00000', "an entry for $name is seen with heap_check only") or diag($message);
	}
}

my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_start);
unlike($log, qr/was terminated by signal|PANIC|TRAP/, 'no process has crashed');

$node->stop;
done_testing();
