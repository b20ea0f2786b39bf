# What single rows write to WAL (src/pg/insert/README.md).  A record changes four pages at most, in the order in
# which all lock them, so that nobody waits in a circle: the meta page, pages of nodes by block, pages of lists and
# chains by block; an insert changes its own page and those of some neighbours; an update that leaves the vector
# alone changes the page of the row's node and no link: nobody else's page.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use Test::More;

seed_from_env();
my $node = new_node('wal_records', 'autovacuum = off', 'full_page_writes = off', 'phnsw.merge_threshold = 2147483647');
my $random = random_vectors_sql(16, 'i');

sub run
{
	return $node->safe_psql('postgres', shift);
}

run('CREATE EXTENSION pg_walinspect; CREATE EXTENSION pageinspect; SELECT setseed(' . rand() . ");
	CREATE TABLE t AS SELECT i AS id, i AS n, $random AS v FROM generate_series(1, 6000) i;
	CREATE INDEX t_v ON t USING phnsw (v); CREATE INDEX t_n ON t (n)");

# An index's records that a statement has written, each a list of its blocks; and their bytes.
sub records
{
	my ($index, $statement) = @_;
	my $file = run("SELECT pg_relation_filenode('$index')");
	my $from = run('SELECT pg_current_wal_insert_lsn()');

	run($statement);
	my $to = run('SELECT pg_current_wal_insert_lsn()');
	run('SELECT pg_switch_wal()');
	my (@records, $bytes);
	foreach my $line (split /\n/, run("SELECT record_length, block_ref FROM pg_get_wal_records_info('$from', '$to') WHERE resource_manager = 'Generic'"))
	{
		my ($length, $blocks) = split /\|/, $line;
		my @blocks = $blocks =~ m{rel \d+/\d+/$file (?:fork main )?blk (\d+)}g;

		push @records, \@blocks;
		$bytes += $length;
	}
	return (\@records, $bytes);
}

# Block -> what the page is: the first byte of its special space, the last eight (phnsw_opaque).
sub kinds
{
	my ($index) = @_;

	return map { split /\|/ } split /\n/, run(qq{SELECT block, get_byte(get_raw_page('$index', block::int), 8184)
		FROM generate_series(0, pg_relation_size('$index') / 8192 - 1) block});
}

sub ordered
{
	my ($index, $records, $what) = @_;
	my %kind = kinds($index);
	my @long = grep { @$_ < 1 || @$_ > 4 } @$records;
	my @disordered = grep { my $r = $_; grep { $kind{ $r->[ $_ - 1 ] } * 1e6 + $r->[ $_ - 1 ] >= $kind{ $r->[$_] } * 1e6 + $r->[$_] } 1 .. $#$r } @$records;

	is(scalar @long, 0, "$what: four pages a record at most") or diag(join ' ', @{ $long[0] });
	is(scalar @disordered, 0, "$what: in the order of locks") or diag(join ' ', @{ $disordered[0] });
	return;
}

my $rows = 300;
my ($inserted, $insert_bytes) = records('t_v', "INSERT INTO t SELECT i, i, $random FROM generate_series(10001, 10000 + $rows) i");
ordered('t_v', $inserted, 'inserts');
my $changes = 0;
$changes += @$_ foreach @$inserted;
note(sprintf '%.1f records, %.1f pages, %.0f bytes a row', @$inserted / $rows, $changes / $rows, $insert_bytes / $rows);
cmp_ok($changes, '<', 20 * $rows, 'an insert changes a page of its own and those of its neighbours');
cmp_ok(scalar(@$inserted), '<', 7 * $rows, 'several in a record');
cmp_ok($insert_bytes, '<', 1000 * $rows, 'for less than a kilobyte');

# t_n makes that no update is HOT.
my ($updated, $update_bytes) = records('t_v', "UPDATE t SET n = -n WHERE id BETWEEN 1001 AND 1000 + $rows");
ordered('t_v', $updated, 'updates');
note(sprintf '%.1f records, %.0f bytes a row', @$updated / $rows, $update_bytes / $rows);
cmp_ok(scalar(@$updated), '<=', 2.2 * $rows, 'an update of another column: a record for its place, one for the row');
cmp_ok($update_bytes, '<', 300 * $rows, 'and next to no bytes');
# Of each pair of blocks one is the row's node or the meta page, the other
# holds the further rows of nodes, many on a page.
my %pages;
$pages{ $_->[-1] }++ foreach @$updated;
cmp_ok(scalar(keys %pages), '<', 30, "no neighbour's page changes");
is(run("SELECT rows - live_nodes FROM phnsw_index_info('t_v')"), $rows, 'the new rows stand with the old ones');
check_index($node, 't_v', 'in the end');
is(count_through_index($node, 't', 'v', '<->', '(SELECT v FROM t LIMIT 1)'), 6000 + $rows, 'the index returns every row');

# Nodes of many levels, whose lists vacuum has freed here and there: those of a new one lie on several pages.
run('CREATE TABLE u AS SELECT * FROM t; CREATE INDEX u_v ON u USING phnsw (v) WITH (m = 2, ef_construction = 4); DELETE FROM u WHERE id % 2 = 0; VACUUM u');
my ($high) = records('u_v', "INSERT INTO u SELECT i, i, $random FROM generate_series(20001, 22000) i");
ordered('u_v', $high, 'nodes of many levels');
my %kind = kinds('u_v');
my $several = grep { (grep { $kind{$_} == 4 } @$_) > 1 && grep { $kind{$_} == 3 } @$_ } @$high;
cmp_ok($several, '>', 0, 'whose lists are on several pages');
check_index($node, 'u_v', 'nodes of many levels');

$node->stop;
done_testing();
