# Damaged calibrations: what the meta page says of ef, recall, cost and stops (phnsw_calibration,
# phnsw_stop).  What cannot be is an error that says so (XX002, block 0), in a search as in everything
# else.  What is wrong and could be right costs recall or time: every search has as many rows as it
# wants, in order, and a scan that is read to its end has all of them.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

# Of src/core/capi/phnsw_format.h.  So many rows that none of these searches is a sweep but that of the largest ef.
use constant { HEADER => 24, ROWS => 2500, META_CALIBRATIONS => 108, META_CALIBRATION => 112, META_STOP => 312 };
use constant { NAN => unpack('f', pack 'L', 0x7FC00000), SIGNALLING => 0x7FA00000, INF => 9**9**9, TINY => unpack('f', pack 'L', 1) };

my $node = new_node('calibration', 'autovacuum = off', 'ignore_checksum_failure = on');

# What stands in each line: its number of them is given.
sub stops { my @stop = @_; return sub { [ META_STOP, pack('(a8)*', (pack 'f2', @stop) x shift) ] } }
sub lines { my @line = @_; return sub { [ META_CALIBRATIONS, pack('L', scalar @line) . pack('(a16)*', map { pack 'Lf3', @$_ } @line) ] } }

my %possible = (
	'a stop at once' => stops(1, TINY),
	'a stop at once, and a wide window' => stops(8, TINY),
	'a stop that is none' => stops(8, 1),
	'a stop as wide as the search' => stops(1, 1),
	'negative zeros' => stops(-0.0, -0.0),
	'stops in every other line' => sub { [ META_STOP, pack('(f4)*', (0, 0, 3, 0.1) x ($_[0] / 2)) ] },
	'the least ef' => lines([ 1, 0.999, 1, 1 ]),
	'ef from the least to the largest' => lines([ 1, 0.1, 0, 0 ], [ 100000, 0.2, 3e38, 3e38 ]),
	'the largest ef, and stops' => sub {
		[ META_CALIBRATIONS, pack('L', 1) . pack('Lf3', 100000, 0.3, 1, 1) . "\0" x (META_STOP - META_CALIBRATION - 16) . pack('f2', 8, 0.1) ] },
	'recall goes down' => lines([ 10, 0.9, 1, 1 ], [ 20, 0.5, 1, 1 ], [ 30, 0, 1, 1 ]),
	'recall is always 1' => lines([ 10, 1, 1, 1 ], [ 11, 1, 1, 1 ]),
	'no calibration' => lines());
my %impossible = (
	'stop: wider is no number' => stops(NAN, 0.1),
	'stop: slack is no number' => stops(2, NAN),
	'stop: signalling' => sub { [ META_STOP, pack('L2', SIGNALLING, SIGNALLING) ] },
	'stop: both negative' => stops(-2, -0.1),
	'stop: slack negative' => stops(2, -0.1),
	'stop: wider alone' => stops(2, 0),
	'stop: slack alone' => stops(0, 0.1),
	'stop: narrower' => stops(0.99, 0.1),
	'stop: too wide' => stops(8.1, 0.1),
	'stop: infinite' => stops(INF, INF),
	'stop: too much slack' => stops(2, 1.01),
	'stop: the last line' => sub { [ META_STOP + 8 * ($_[0] - 1), pack('f2', 1e30, 0.1) ] },
	'ef 0' => lines([ 0, 0.9, 1, 1 ]),
	'ef too large' => lines([ 100001, 0.9, 1, 1 ]),
	'ef twice' => lines([ 10, 0.9, 1, 1 ], [ 10, 0.95, 1, 1 ]),
	'recall is no number' => lines([ 10, NAN, 1, 1 ]),
	'recall above 1' => lines([ 10, 1.01, 1, 1 ]),
	'touches infinite' => lines([ 10, 0.9, INF, 1 ]),
	'hops negative' => lines([ 10, 0.9, 1, -1 ]),
	'hops are no number' => lines([ 10, 0.9, 1, NAN ]));

my @names = (sort(keys %possible), sort keys %impossible);
$node->safe_psql('postgres', 'CREATE TABLE model AS SELECT i AS id, ' . random_vectors_sql(8, 'i') . ' AS v FROM generate_series(1, ' . ROWS . ') i;'
	  . join ';', map { "CREATE TABLE t$_ AS TABLE model; CREATE INDEX i$_ ON t$_ USING phnsw (v); ANALYZE t$_" } 0 .. $#names);
my @file = map { $node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('i$_')") } 0 .. $#names;

$node->stop;
foreach my $n (0 .. $#names)
{
	open my $handle, '+<:raw', $file[$n] or die "$file[$n]: $!";
	seek $handle, HEADER + META_CALIBRATIONS, 0;
	read $handle, my $calibrations, 4;
	my ($at, $bytes) = @{ ($possible{ $names[$n] } // $impossible{ $names[$n] })->(unpack 'L', $calibrations) };
	seek $handle, HEADER + $at, 0;
	print {$handle} $bytes;
	close $handle or die "$file[$n]: $!";
}
$node->start;

my $set = "SET statement_timeout = '20s'; SET enable_seqscan = off; SET enable_sort = off;";

# Rows of a scan, how many are different, and how many are nearer than the one before.
sub scan
{
	my ($n, $limit) = @_;

	return "WITH s AS MATERIALIZED (SELECT id, v <-> (SELECT v FROM model LIMIT 1) AS d FROM t$n
			ORDER BY v <-> (SELECT v FROM model LIMIT 1) LIMIT $limit), o AS (SELECT id, d, lag(d) OVER () AS before FROM s)
		SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE d < before) FROM o;";
}

foreach my $n (grep { $possible{ $names[$_] } } 0 .. $#names)
{
	my $rows = ROWS;

	check_index($node, "i$n", $names[$n]);
	foreach my $target (0.5, 0.999)
	{
		is($node->safe_psql('postgres', "$set SET phnsw.target_recall = $target;" . scan($n, 10) . scan($n, 11) . scan($n, 300)),
			"10|10|0\n11|11|0\n300|300|0", "$names[$n], target $target: rows in order");
		is($node->safe_psql('postgres', "$set SET phnsw.target_recall = $target; SET phnsw.iterative_scan = relaxed_order;"
				  . "SELECT count(DISTINCT id) FROM (SELECT id FROM t$n ORDER BY v <-> (SELECT v FROM model LIMIT 1) OFFSET 0) x"),
			$rows, "$names[$n], target $target: all rows");
	}
	$node->safe_psql('postgres', "INSERT INTO t$n SELECT -id, v FROM model WHERE id <= 20; DELETE FROM t$n WHERE id > 2450; VACUUM t$n");
	check_index($node, "i$n", "$names[$n], then a vacuum");
}
# The ef that is chosen is out of reach of what was measured, and of an int.
my ($n) = grep { $names[$_] eq 'ef from the least to the largest' } 0 .. $#names;
is($node->safe_psql('postgres', "$set SET phnsw.target_recall = 0.999;" . scan($n, 10) . 'SELECT ef FROM phnsw_last_scan()'), "10|10|0\n100000",
	'the largest ef there is');

foreach my $n (grep { $impossible{ $names[$_] } } 0 .. $#names)
{
	foreach my $sql (scan($n, 10), "INSERT INTO t$n SELECT id, v FROM model WHERE id <= 5", "VACUUM t$n", "SELECT phnsw_check('i$n')",
		"SELECT calibration FROM phnsw_index_info('i$n')")
	{
		my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$set $sql;", on_error_stop => 0);

		next if $sql =~ /VACUUM/ && $err eq '';    # has nothing to do
		like($err, qr/ERROR:  XX002: .*\n?.*\bblock 0\b/, "$names[$n]: " . substr $sql, 0, 20);
	}
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM model'), ROWS, 'the server is up');

$node->stop;
done_testing();
