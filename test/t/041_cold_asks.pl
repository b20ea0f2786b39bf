# What is asked of the disk before it is waited for, as a preloaded shim sees it
# (disk_shim.c): in a cold cache the index's blocks are asked for some hops ahead, the table's
# pages while the search goes on, and hardly anything twice or in vain.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'no C compiler' if $^O ne 'linux' || system('cc --version >/dev/null 2>&1') != 0;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $log = "$dir/disk.log";
system_or_bail('cc', '-shared', '-fPIC', '-O2', '-o', "$dir/disk_shim.so", "$FindBin::RealBin/disk_shim.c", '-ldl');
append_to_file($log, '');

my $node = new_node('asks', 'autovacuum = off', "shared_buffers = '128MB'", 'effective_io_concurrency = 16');
load_words($node);
$node->safe_psql('postgres', q{CREATE INDEX words_index ON words USING phnsw (embedding); CHECKPOINT});
my %inode = map { $_ => (stat($node->data_dir . '/' . $node->safe_psql('postgres', "SELECT pg_relation_filepath('$_')")))[1] } qw(words words_index);

# One query a statement, so that each is a scan of its own.
my @queries = split /\n/, $node->safe_psql('postgres', 'SELECT embedding FROM queries ORDER BY id LIMIT 40');

# Starts the server anew and asks them; returns the backend's (what, which file, block) in order, and the answers.
sub asked
{
	my ($before) = @_;
	my $sql = "SET enable_seqscan = off; SET phnsw.ef_search = 40; SELECT 'pid=' || pg_backend_pid();\n$before;\n";

	foreach my $query (@queries)
	{
		$sql .= "SELECT id FROM words ORDER BY embedding <-> '$query' LIMIT 10;\n";
	}
	$node->stop;
	{
		local $ENV{PHNSW_DISK_LOG} = $log;
		local $ENV{LD_PRELOAD} = "$dir/disk_shim.so";
		$node->start;
	}
	truncate $log, 0;
	my $out = $node->safe_psql('postgres', $sql);
	$out =~ s/pid=(\d+)\n// or die $out;
	my $pid = $1;
	my %name = reverse %inode;
	my @calls = map { [ $_->[1], $name{ $_->[2] }, $_->[3] ] }
	  grep { $_->[0] == $pid && defined $name{ $_->[2] } } map { [split] } split /\n/, slurp_file($log);
	return (\@calls, $out);
}

sub calls_of
{
	my ($calls, $what, $file) = @_;

	return grep { $_->[0] eq $what && $_->[1] eq $file } @$calls;
}

# The index in memory, the table not: what is asked for is its pages.
my ($calls, $answers) = asked(q{SELECT phnsw_prewarm('words_index')});
# Behind the prewarming.
my $last = 0;
for my $i (0 .. $#$calls) { $last = $i if $calls->[$i][1] eq 'words_index' }
splice @$calls, 0, $last + 1;
my $reads = calls_of($calls, 'read', 'words');
my $asks = calls_of($calls, 'ask', 'words');
cmp_ok($reads, '>', 150, "pages of the table are read: $reads");
cmp_ok($asks, '<', 1.6 * $reads, "and not many more are asked for: $asks");

my %asked;
my $unasked = 0;
foreach my $call (@$calls)
{
	my ($what, $file, $block) = @$call;

	$unasked++ if $what eq 'read' && !$asked{$block};
	$asked{$block} = $what eq 'ask';
}
cmp_ok($unasked, '<', $reads / 10, "a page that is read has been asked for: but for $unasked");

# All cold.
my ($cold, $cold_answers) = asked('SELECT 1');
is($cold_answers =~ s/^1\n//r, $answers =~ s/^\d+\n//r, 'the same answers');

# Between a query's first ask for the table's pages and its first read of them
# the search goes on: blocks of the index are read.
my ($early, $asked_row, $searched) = (0, 0, 0);
foreach my $call (@$cold)
{
	my ($what, $file) = @$call;

	if ($file eq 'words_index') { $searched ||= $asked_row && $what eq 'read' }
	elsif ($what eq 'ask') { $asked_row = 1 }
	else
	{
		$early++ if $searched;
		$asked_row = $searched = 0;
	}
}
cmp_ok($early, '>', 10, "rows are asked for before the search has ended: in $early queries");

# A block of the index is asked for once until it is read, and some of them hops
# before: others are read, and asked for, meanwhile.
my %wave;
my $waves = 0;
my $reading = 1;
my ($ahead, $read, $again, $alone) = (0, 0, 0, 0);
foreach my $call (grep { $_->[1] eq 'words_index' } @$cold)
{
	my ($what, $file, $block) = @$call;

	if ($what eq 'ask')
	{
		$waves++ if $reading;
		$again++ if exists $wave{$block};
		$wave{$block} = $waves;
	}
	else
	{
		$read++;
		$ahead++ if ($wave{$block} // $waves) < $waves;
		$alone++ if !exists $wave{$block};
		delete $wave{$block};
	}
	$reading = $what eq 'read';
}
cmp_ok($read, '>', 300, "blocks of the index are read: $read");
cmp_ok($ahead, '>', $read / 10, "some of them were asked for hops before: $ahead");
# The backend's copy of the upper levels is most of what is read.
cmp_ok($alone, '<', $read / 5, "most are asked for before they are waited for: but for $alone");
cmp_ok($again, '<', $read / 20, "hardly any is asked for twice: $again");
cmp_ok(scalar(keys %wave), '<', $read / 2, 'and few in vain: ' . scalar(keys %wave));

$node->stop;
done_testing();
