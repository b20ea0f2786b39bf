# Many rows into an index that has nodes: what a merge finds and leaves behind, compared with row by row;
# beside writers, vacuum and other merges; cancelled, killed, out of memory.  Afterwards the checker
# passes, and a scan of the index finds exactly the rows of the table.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $node = bulk_node('merge', 'restart_after_crash = on', 'autovacuum = off', 'fsync = on', 'max_parallel_maintenance_workers = 2',
	'min_parallel_table_scan_size = 0', 'shared_buffers = 256MB');
my $never = 'SET phnsw.merge_threshold = 2147483647;';
my $always = 'SET phnsw.merge_threshold = 1;';

# A filled table: ids first ... last.
sub filled_table
{
	my ($table, $last) = @_;

	run("CREATE TABLE $table (id int, v vector(8));" . rows($table, 1, $last) . "CREATE INDEX ${table}_v ON $table USING phnsw (v);");
	return;
}

sub how
{
	my ($table) = @_;

	return "SELECT bulk_flushes || ' ' || inserts_bulk || ' ' || inserts FROM phnsw_stats WHERE index = '${table}_v'::regclass;";
}

# Recall on words, of which a fifth is inserted afterwards.
load_words($node);
run('CREATE TABLE split AS SELECT * FROM words ORDER BY id % 7, id');
my $words = run('SELECT count(*) FROM words');
my %recall;
foreach my $way ([ 'one_by_one', $never ], [ 'merged', $always ], [ 'by_cost', '' ])
{
	my ($table, $set) = @$way;

	run("CREATE TABLE $table (LIKE words); INSERT INTO $table SELECT * FROM words WHERE id % 5 > 0;
		CREATE INDEX ${table}_v ON $table USING phnsw (embedding vector_cosine_ops);");
	my $how = run("$set INSERT INTO $table SELECT * FROM words WHERE id % 5 = 0;" . how($table));
	like($how, $table eq 'one_by_one' ? qr/^0 0 \d{4}$/ : $table eq 'merged' ? qr/^1 \d{4} 0$/ : qr/^1 \d{4} 15$/, "$table: $how");
	run("SET phnsw.ef_search = 40; ANALYZE $table");
	$node->append_conf('postgresql.conf', 'phnsw.ef_search = 40');
	$node->reload;
	$recall{$table} = recall($node, $table, '<=>', 200);
	check_index($node, "${table}_v", $table);
}
$node->append_conf('postgresql.conf', 'phnsw.ef_search = 0');
$node->reload;
note("recall: $recall{one_by_one} one by one, $recall{merged} merged, $recall{by_cost} by cost");
cmp_ok($recall{$_}, '>=', $recall{one_by_one} - 0.005, "$_: recall") foreach qw(merged by_cost);

# What merges change in the lists of old nodes, all of which are full: many statements
# in hard data, and what a tenth of their rows find.
my $wide = random_vectors_sql(32, 'i');
run("CREATE TABLE wide AS SELECT i AS id, $wide AS v FROM generate_series(1, 5000) i");
foreach my $way ([ 'wide_single', $never ], [ 'wide_merged', $always ])
{
	my ($table, $set) = @$way;
	my $nearest = "SELECT id FROM $table t ORDER BY t.v <-> q.v LIMIT 10";

	run("CREATE TABLE $table (LIKE wide); INSERT INTO $table SELECT * FROM wide WHERE id <= 2000;
		CREATE INDEX ${table}_v ON $table USING phnsw ((v::vector(32))) WITH (m = 6, ef_construction = 40); $set"
		. join('', map { "INSERT INTO $table SELECT * FROM wide WHERE id > $_ AND id <= $_ + 100;" } map { 2000 + 100 * $_ } 0 .. 29));
	$nearest =~ s/t\.v/(t.v::vector(32))/;
	$recall{$table} = run("SET enable_seqscan = off; SET phnsw.ef_search = 10;
		CREATE TABLE ${table}_found AS SELECT q.*, ARRAY($nearest) AS ids FROM wide q WHERE q.id > 2000 AND q.id % 10 = 0;
		RESET enable_seqscan; SET enable_indexscan = off;
		SELECT avg((SELECT count(*) FROM ($nearest) x WHERE x.id = ANY (q.ids)) / 10.0) FROM ${table}_found q");
	check_index($node, "${table}_v", $table);
}
cmp_ok($recall{wide_merged}, '>', $recall{wide_single} - 0.12, sprintf('recall of many merges: %.3f, one by one %.3f', @recall{ 'wide_merged', 'wide_single' }));

# The same pages for any number of threads; nearly, since nodes of upper levels, one in M, go
# in by the ordinary insert, whose descents may go another way when a page is not at hand or
# not at rest (seen on slow servers: a list has a link more).
my $source = 'INSERT INTO %s SELECT id, embedding FROM words WHERE id % 4 = 0';
my %pages;
run('CREATE EXTENSION pageinspect');
foreach my $threads (0, 1, 2)
{
	my $t = "threads$threads";

	run("CREATE TABLE $t (id int, embedding vector(100)); INSERT INTO $t SELECT id, embedding FROM words WHERE id % 4 > 0;
		CREATE INDEX ${t}_v ON $t USING phnsw (embedding); SET max_parallel_maintenance_workers = $threads; $always"
		. sprintf($source, $t));
	$pages{$threads} = index_pages($node, "${t}_v");
	check_index($node, "${t}_v", "$threads additional threads");
}
foreach my $threads (1, 2)
{
	my @different = page_differences($pages{0}, $pages{$threads});

	cmp_ok(scalar @different, '<=', 4, "$threads additional threads: the same pages");
	note('different: ' . join ' ', @different);
}

# By cost: few rows go one by one, and so do all when there is no memory.
filled_table('cost', 2000);
is(run(rows('cost', 2001, 2030) . how('cost')), '0 0 30', 'few rows go one by one');
is(run(rows('cost', 2031, 2530) . how('cost')), '1 485 15', 'many are merged');
is(run("SET maintenance_work_mem = '4MB';" . rows('cost', 2531, 3030) . how('cost')), '0 0 500', 'without memory all go one by one');
is(run("BEGIN; SET LOCAL maintenance_work_mem = '1MB'; SET LOCAL maintenance_work_mem = '64MB';" . rows('cost', 3031, 3050)
	. "SET LOCAL maintenance_work_mem = '1MB';" . rows('cost', 3051, 23050) . 'SAVEPOINT a;' . rows('cost', 90000, 91000) . 'ROLLBACK TO a;'
	. "SET LOCAL maintenance_work_mem = '64MB'; COMMIT;" . how('cost')), '1 20005 15', 'rows that waited in a file');
is(run("BEGIN;" . rows('cost', 23051, 23150) . "SET LOCAL maintenance_work_mem = '1MB'; COMMIT;" . how('cost')), '0 0 100',
	'no memory left at commit');
complete('cost', 23150, 'by cost');

# Portions, with fewer and more rows than one holds.
filled_table('portions', 500);
is(run("SET maintenance_work_mem = '1GB';" . rows('portions', 501, 70500) . how('portions')), '3 69985 15', 'three portions');
complete('portions', 70500, 'portions');

# A rest that is not worth a merge, after a portion that was.
filled_table('rest', 500);
is(run("SET maintenance_work_mem = '1GB'; SET phnsw.merge_threshold = 20000;" . rows('rest', 501, 33500) . how('rest')), '1 16493 16507', 'half of the rows are merged');
complete('rest', 33500, 'the others as well');

# Free slots are used again, by merges too; those that a killed merge had claimed come back with vacuum.
filled_table('reuse', 3000);
run('DELETE FROM reuse WHERE id % 2 = 0; VACUUM reuse');
my $size = run(q{SELECT pg_relation_size('reuse_v')});
run($always . rows('reuse', 3001, 4400));
is(run(q{SELECT pg_relation_size('reuse_v')}), $size, 'the index has not grown');
complete('reuse', 2900, 'free slots');

# Equal rows: with nodes of the index, with each other, with the same transaction's.
filled_table('equal', 1000);
run($always . 'INSERT INTO equal SELECT id + 1000, v FROM equal;' . 'INSERT INTO equal SELECT i, (SELECT v FROM equal WHERE id = 7) FROM generate_series(2001, 2500) i;'
	. "INSERT INTO equal SELECT i, '[9,9,9,9,9,9,9,9]' FROM generate_series(2501, 3000) i;");
complete('equal', 3000, 'equal rows');
is(run(q{SELECT rows - nodes FROM (SELECT rows, (SELECT count(DISTINCT v::text) FROM equal) AS nodes FROM phnsw_index_info('equal_v')) x}),
	1999, 'one node for equal rows');

# Beside row inserters, readers, deletes and vacuum, and other merges.
filled_table('busy', 3000);
my $dir = PostgreSQL::Test::Utils::tempdir();
my %script = (
	merge => $always . "\\set base random(1, 1000000000)\nINSERT INTO busy SELECT :base, $random FROM generate_series(1, 700) i;\n",
	row => "INSERT INTO busy SELECT 1, $random FROM generate_series(1, 1) i;\n",
	read => "SET enable_seqscan = off;\nSELECT count(*) FROM (SELECT id FROM busy ORDER BY v <-> $query LIMIT 20) x;\n",
	delete => "DELETE FROM busy WHERE ctid IN (SELECT ctid FROM busy TABLESAMPLE SYSTEM (3) LIMIT 200);\n",
	vacuum => "VACUUM busy;\n");
my @running;
foreach my $kind ('merge', 'merge', 'row', 'read', 'delete', 'vacuum')
{
	PostgreSQL::Test::Utils::append_to_file("$dir/$kind.sql", $script{$kind}) unless -e "$dir/$kind.sql";
	my %p = (out => '', err => '', kind => $kind);
	$p{run} = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 1, '-T', 12, '-f', "$dir/$kind.sql", 'postgres' ],
		'>', \$p{out}, '2>', \$p{err});
	push @running, \%p;
}
foreach my $p (@running)
{
	$p->{run}->finish;
	unlike($p->{err}, qr/ERROR|PANIC|aborted/, "no error: $p->{kind}") or diag($p->{err});
}
complete('busy', run('SELECT count(*) FROM busy'), 'everything at once');
run('VACUUM busy');
complete('busy', run('SELECT count(*) FROM busy'), 'everything at once, vacuumed');

# Cancelled in a savepoint at any moment: afterwards every row is there, once,
# or the transaction says that it cannot go on.
filled_table('cancelled', 20000);
my $expected = 20000;
foreach my $ms (1, 3, 6, 10, 20, 40, 80, 160)
{
	my ($rc, $out, $err) = $node->psql('postgres', 'BEGIN;' . rows('cancelled', $expected + 1, $expected + 3000)
		. "SAVEPOINT a; SET LOCAL statement_timeout = '${ms}ms'; SET LOCAL enable_seqscan = off;
		SELECT count(*) FROM (SELECT 1 FROM cancelled ORDER BY v <-> $query LIMIT 1) x; ROLLBACK TO a;"
		. rows('cancelled', $expected + 3001, $expected + 3100) . 'COMMIT;', on_error_stop => 0);
	$expected += 3100;
	complete('cancelled', $expected, "a statement timeout after $ms ms");
}

# Killed at a random moment before, during or after the flush; what it claimed is not lost for ever.
foreach my $round (1 .. 6)
{
	run('DROP TABLE IF EXISTS killed');
	filled_table('killed', 5000);
	my ($in, $printed, $said) = ("SELECT pg_backend_pid();\nBEGIN;" . rows('killed', 5001, 25000) . "\n\\echo ready\nCOMMIT;\n", '', '');
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$printed, '2>', \$said,
		IPC::Run::timeout(120));
	$psql->pump until $printed =~ /ready/;
	my ($pid) = $printed =~ /(\d+)/;
	run('CHECKPOINT') if $round % 2;
	select(undef, undef, undef, rand(0.8));
	kill 'KILL', $pid;
	$psql->finish;
	ok(wait_until(60, sub { server_answers($node, $pid) }), "round $round: the server came back");
	my $rows = run('SELECT count(*) FROM killed');
	ok($rows == 5000 || $rows == 25000, "round $round: all or nothing ($rows)");
	complete('killed', $rows, "killed, round $round");
	run('VACUUM killed');
	complete('killed', $rows, "killed, round $round, vacuumed");
	run($always . rows('killed', 100001, 105000));
	complete('killed', $rows + 5000, "killed, round $round, more rows");
}

# Out of memory at any moment: the backend's address space is limited just before.
SKIP:
{
	skip 'no prlimit', 1 if system('prlimit --version >/dev/null 2>&1') != 0;
	filled_table('oom', 5000);
	my $count = 5000;
	foreach my $megabytes (2, 6, 12, 20, 28, 40)
	{
		my ($in, $out, $err) = ("SELECT pg_backend_pid();\nSET maintenance_work_mem = '1GB'; BEGIN;" . rows('oom', $count + 1, $count + 20000)
			. "\n\\echo ready\n", '', '');
		my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err,
			IPC::Run::timeout(120));
		$psql->pump until $out =~ /ready/;
		my ($pid) = $out =~ /(\d+)/;
		my ($pages) = split / /, PostgreSQL::Test::Utils::slurp_file("/proc/$pid/statm");
		system_or_bail('prlimit', '--pid', $pid, '--as=' . ($pages * 4096 + $megabytes * 1024 * 1024) . ':');
		$in .= "COMMIT;\n";
		$psql->finish;
		like($err, qr/^$|out of memory|could not .*thread|Cannot allocate/i, "$megabytes MB: $err");
		$count += 20000 if $err eq '';
		complete('oom', $count, "out of memory with $megabytes MB");
	}
}

$node->stop;
done_testing();
