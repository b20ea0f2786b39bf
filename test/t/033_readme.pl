# What README.md promises of SQL: its examples run as they stand, options and settings have the defaults and ranges that
# it says, and so does uninstalling.  (The examples of docs/ are regression tests, test/tools/check-docs.sh.)

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $readme = slurp_file("$top/README.md");
my $node = new_node('readme', 'autovacuum = off');
my ($use, $uninstall, @more) = $readme =~ /^```sql\n(.*?)^```$/msg;

sub run
{
	return $node->safe_psql('postgres', shift);
}

sub fails
{
	my ($sql, $error) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql);

	like($err, $error, "$sql: refused");
	return;
}

is(scalar(@more), 0, 'two examples');

# ---- use ---------------------------------------------------------------------------------------------------------------------

run('DROP EXTENSION phnsw');
my @printed = split /\n/, run($use);
is("@printed[0 .. 4]", '3 2 1 3 2', 'its queries: the nearest, and with a condition the nearest that it leaves');
is(scalar(@printed), 7, 'then a line of phnsw_suggest, one of phnsw_index_info, and nothing from phnsw_check');
like($printed[5], qr/^1000000\|16\|64\|3\|/, 'phnsw_suggest');
like($printed[6], qr/cosine/, 'phnsw_index_info');
like(run(q{SET enable_seqscan = off; EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY embedding <=> '[3,1,2]' LIMIT 5}),
	qr/Index Scan using items_embedding_idx/, 'the index is for this query');

# ---- options and settings ----------------------------------------------------------------------------------------------------

my %documented;
foreach my $row ($readme =~ /^\| (`.*) \|.*$/mg)
{
	my ($name, $default, $range) = map { s/`//gr } split / *\| */, $row;
	my ($min, $max) = ($range // '') =~ /^([\d.]+) \.\.\. ([\d.]+)/;

	if ($name =~ /^phnsw\./)
	{
		my ($boot, $from, $to, $values) = split /\|/, run("LOAD 'phnsw'; SELECT boot_val, min_val, max_val, array_to_string(enumvals, ', ') FROM pg_settings WHERE name = '$name'");

		is($boot, $default, "$name: default");
		is("$from $to", "$min $max", "$name: range") if defined $min;
		is($values, $range, "$name: values") if $range =~ /,/;
		$documented{$name} = 1;
	}
	elsif ($name eq 'm' || $name eq 'ef_construction')
	{
		my $other = $name eq 'm' ? ', ef_construction = 1000' : ', m = 2';

		is(run("SELECT $name FROM phnsw_index_info('items_embedding_idx')"), $default, "$name: default");
		run("CREATE INDEX ON items USING phnsw (embedding) WITH ($name = $_$other)") foreach $min, $max;
		fails("CREATE INDEX ON items USING phnsw (embedding) WITH ($name = $_$other)", qr/ERROR:  value $_ out of bounds/) foreach $min - 1, $max + 1;
		$documented{$name} = 1;
	}
}
is(join(' ', sort keys %documented), 'ef_construction m phnsw.ef_search phnsw.iterative_scan phnsw.log_build phnsw.max_scan_tuples phnsw.target_recall',
	'the tables have all that are for users');
fails('CREATE INDEX ON items USING phnsw (embedding) WITH (m = 20, ef_construction = 39)', qr/ef_construction must be/);
my $prose = $readme . slurp_file("$top/CONTRIBUTING.md");
foreach my $name (split /\n/, run("LOAD 'phnsw'; SELECT name FROM pg_settings WHERE name LIKE 'phnsw.%'"))
{
	like($prose, qr/`\Q$name\E`/, "$name is named");
}

# ---- limits, uninstalling ----------------------------------------------------------------------------------------------------

run('CREATE TABLE wide (v vector(16000)); CREATE INDEX wide_v ON wide USING phnsw (v); INSERT INTO wide SELECT array_fill(i, ARRAY[16000])::vector FROM generate_series(1, 3) i');
is(run("SELECT rows, bits FROM phnsw_index_info('wide_v')"), '3|4', '16,000 dimensions, in codes of 4 bits');
fails('CREATE TABLE wider (v vector(16001))', qr/ERROR:  .*16000/);
fails('CREATE INDEX ON items USING phnsw (embedding, embedding)', qr/ERROR:  .*multicolumn/);

my $others = run(q{SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index
	WHERE indrelid = 'items'::regclass AND indexrelid NOT IN ('items_pkey'::regclass, 'items_embedding_idx'::regclass)});
run("DROP INDEX $others");
fails("BEGIN; $uninstall", qr/ERROR:  cannot drop extension phnsw because other objects depend on it/);
run('CREATE TABLE lost AS SELECT * FROM items; DROP TABLE wide');
run($uninstall =~ s/DROP EXTENSION phnsw;/DROP EXTENSION phnsw CASCADE;/r);
is(run('SELECT embedding FROM items ORDER BY id LIMIT 1'), '{1,2,3}', 'a column that was converted is there');
is(run(q{SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = 'lost'::regclass AND attnum > 0 AND NOT attisdropped}), 'id',
	'others are not, with CASCADE');

$node->stop;
done_testing();
