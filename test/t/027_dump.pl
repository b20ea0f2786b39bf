# What leaves one server and comes into another: pg_dump in SQL and in the custom format (restored by two jobs), with a
# parallel restore's indexes built side by side; the dump of pg_upgrade; a copied database; a base backup.  Names,
# options, operator classes and rows are those of the source, every index is the rows' and checks out.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $node = bulk_node('dump', 'autovacuum = off', 'wal_level = replica', 'max_wal_senders = 4');
my $dir = PostgreSQL::Test::Utils::tempdir();
my @indexes = qw(plain_v plain_cosine plain_part own.plain_ip expr_v mat_v parts_1_v_idx parts_2_v_idx);

run('CREATE TABLE plain (id int PRIMARY KEY, v vector(8));' . rows('plain', 1, 1500)
	. "INSERT INTO plain VALUES (2001, NULL), (2002, '[0,0,0,0,0,0,0,0]'), (2003, '[1e-30,3.4e38,-0,1.17549435e-38,0.1,1e-45,16777217,-5]');" . q{
	CREATE INDEX plain_v ON plain USING phnsw (v) WITH (m = 8, ef_construction = 50);
	CREATE INDEX plain_cosine ON plain USING phnsw (v vector_cosine_ops);
	CREATE INDEX plain_part ON plain USING phnsw (v vector_ip_ops) WHERE id % 2 = 0;
	CREATE SCHEMA own; CREATE TABLE own.plain AS SELECT * FROM plain WHERE id < 500; CREATE INDEX plain_ip ON own.plain USING phnsw (v vector_ip_ops);
	CREATE TABLE expr (id int, a real[]); INSERT INTO expr SELECT id, v::real[] FROM plain;
	CREATE INDEX expr_v ON expr USING phnsw ((a::vector(8)));
	CREATE MATERIALIZED VIEW mat AS SELECT id, v <-> '[1,0,0,0,0,0,0,0]' AS d, v FROM plain; CREATE INDEX mat_v ON mat USING phnsw (v);
	CREATE TABLE parts (id int, v vector(8)) PARTITION BY LIST (id); CREATE INDEX parts_v ON parts USING phnsw (v) WITH (m = 10);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
	INSERT INTO parts SELECT 1 + id % 2, v FROM plain;
	ALTER TABLE plain CLUSTER ON plain_pkey; COMMENT ON INDEX plain_v IS 'of rows';
	CREATE STATISTICS own_statistics ON id, v FROM plain;});

my $contents = q{SELECT string_agg(md5(t::text), '' ORDER BY t::text) FROM (SELECT 'a', id, v::text FROM plain UNION ALL SELECT 'b', id, v::text FROM own.plain
	UNION ALL SELECT 'c', id, a::text FROM expr UNION ALL SELECT 'd', id, v::text FROM mat UNION ALL SELECT 'e', id, v::text FROM parts) t};
my $definitions = q{SELECT indexrelid::regclass || ' ' || pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
	JOIN pg_am a ON a.oid = relam WHERE amname = 'phnsw' ORDER BY 1};
my $nearest = q{SET enable_seqscan = off; SET phnsw.ef_search = 1000; SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM plain WHERE id < 2000
	ORDER BY v <-> '[0.3,0,0,0,0,0,0,0.1]' LIMIT 10) s};

# The database on that server is the source's.
sub same
{
	my ($where, $database, $what) = @_;
	my $ask = sub { $where->safe_psql($database, shift) };

	is($ask->($contents), run($contents), "$what: rows");
	is($ask->($definitions), run($definitions), "$what: indexes");
	is($ask->($nearest), run($nearest), "$what: nearest");
	foreach my $index (@indexes)
	{
		my ($rc, $out, $err) = $where->psql($database, "SELECT phnsw_check('$index', true, true)");
		ok($rc == 0 && $err eq '', "$what: $index") or diag($err);
	}
	return;
}

sub command
{
	my ($what, @command) = @_;
	my $log = "$dir/log";

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	is(system(join(' ', @command) . " >'$log' 2>&1"), 0, $what) or diag(slurp_file($log));
	return;
}

command('pg_dump', "pg_dump -f '$dir/sql' postgres");
run('CREATE DATABASE from_sql TEMPLATE template0');
command('psql', "psql -X -q -v ON_ERROR_STOP=1 -f '$dir/sql' from_sql");
same($node, 'from_sql', 'SQL');
command('pg_dump -Fc', "pg_dump -Fc -f '$dir/custom' postgres");
run('CREATE DATABASE from_custom TEMPLATE template0');
command('pg_restore -j 2', "pg_restore -j 2 --exit-on-error -d from_custom '$dir/custom'");
same($node, 'from_custom', 'custom format');
command('pg_dump of that', "pg_dump -f '$dir/again' from_custom");
my ($first, $second) = map { slurp_file("$dir/$_") =~ s/^\\(un)?restrict .*$//mgr } qw(sql again);
ok($first eq $second, 'a dump of what was restored is the same');

# As pg_upgrade has it: members of the extension one by one, with their operator classes and support functions.
command('pg_dump --binary-upgrade', "pg_dump --schema-only --binary-upgrade -f '$dir/upgrade' postgres");
my $upgrade = slurp_file("$dir/upgrade");
like($upgrade, qr/CREATE ACCESS METHOD \S*phnsw TYPE INDEX HANDLER/, 'pg_upgrade: the access method');
like($upgrade, qr/CREATE OPERATOR CLASS public\.$_\b.*?FUNCTION 1 .*?phnsw_metric_/s, "pg_upgrade: $_")
  foreach qw(vector_l2_ops vector_ip_ops vector_cosine_ops);
like($upgrade, qr/binary_upgrade_create_empty_extension\('phnsw'/, 'pg_upgrade: the extension');

# Files copied by the server, and of the whole server.
run('CHECKPOINT');
$node->safe_psql('template1', 'CREATE DATABASE copied TEMPLATE from_custom');
same($node, 'copied', 'CREATE DATABASE ... TEMPLATE');
my $backup = PostgreSQL::Test::Cluster->new('backup');
$node->backup('base');
$backup->init_from_backup($node, 'base');
$backup->start;
same($backup, 'postgres', 'base backup');
$backup->safe_psql('postgres', rows('plain', 3001, 3500));
check_index($backup, 'plain_v', 'rows into a base backup');
$backup->stop;
$node->stop;
done_testing();
