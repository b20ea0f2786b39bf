# pg_upgrade, with copied and then with linked files: indexes come into the new server as they are, block by block, give the answers they
# gave, and go on: rows come and go, vacuum, a crash.  From this version to itself; PHNSW_OLD_INSTALL names the folder above the bin of
# another one, older and with phnsw, to come from.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PhnswTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

seed_from_env();
my $dir = PostgreSQL::Test::Utils::tempdir();
my @indexes = qw(words_cosine words_half twins_v parts_1_v_idx empty_v);
my $random = random_vectors_sql(8, 'i');

# A cluster that is not started; the old one has to be told where its programs are.
sub cluster
{
	my ($name, %where) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, %where);
	my ($version) = $node->config_data('--version') =~ /(\d+)/;

	# From 18 on there are checksums unless one says no, and pg_upgrade wants both sides alike.
	$node->init(extra => $version < 18 ? [] : ['--no-data-checksums']);
	$node->append_conf('postgresql.conf', "shared_buffers = 64MB\nautovacuum = off\njit = off\n");
	return $node;
}

sub fill
{
	my ($node) = @_;

	$node->safe_psql('postgres', 'CREATE EXTENSION phnsw; CREATE EXTENSION pageinspect');
	load_words($node, 3000);
	$node->safe_psql('postgres', qq{
		CREATE INDEX words_cosine ON words USING phnsw (embedding vector_cosine_ops) WITH (m = 12, ef_construction = 80);
		CREATE INDEX words_half ON words USING phnsw ((embedding::halfvec(100)) halfvec_l2_ops);
		CREATE TABLE twins (id int, v vector(8));
		CREATE INDEX twins_v ON twins USING phnsw (v);
		INSERT INTO twins SELECT i, $random FROM generate_series(1, 1500) i;
		INSERT INTO twins SELECT id + 10000 * copy, v FROM twins, generate_series(1, 4) copy WHERE id <= 50;
		CREATE TABLE parts (id int, v vector(8)) PARTITION BY RANGE (id);
		CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100000);
		CREATE INDEX ON parts USING phnsw (v);
		CREATE TABLE empty (v vector(3));
		CREATE INDEX empty_v ON empty USING phnsw (v);
		SET phnsw.merge_threshold = 1000000;
		INSERT INTO parts SELECT i, $random FROM generate_series(1, 700) i});
	$node->safe_psql('postgres', 'DELETE FROM twins WHERE id % 7 = 0');
	$node->safe_psql('postgres', 'VACUUM twins');
	return;
}

# What the database holds and answers.
sub state_of
{
	my ($node) = @_;

	return $node->safe_psql('postgres', q{
		SELECT count(*), md5(string_agg(w::text, ',' ORDER BY id)) FROM words w;
		SELECT count(*), md5(string_agg(t::text, ',' ORDER BY id)) FROM twins t;
		SELECT count(*), md5(string_agg(p::text, ',' ORDER BY id)) FROM parts p;
		SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = indexrelid
			JOIN pg_am a ON a.oid = relam WHERE amname = 'phnsw' AND relkind = 'i' ORDER BY 1;
		SET enable_seqscan = off;
		SET phnsw.ef_search = 40;
		SELECT q.id, array(SELECT w.id FROM words w ORDER BY w.embedding <=> q.embedding LIMIT 10) FROM queries q ORDER BY 1 LIMIT 20;
		SELECT id, v <-> '[1,0,0,0,0,0,0,0]' FROM twins ORDER BY v <-> '[1,0,0,0,0,0,0,0]', id LIMIT 20});
}

sub upgraded
{
	my ($old, $name, @mode) = @_;
	my $new = cluster($name);
	my ($state, %pages) = (state_of($old), map { $_ => index_pages($old, $_, 1) } @indexes);

	$old->stop;
	chdir $dir or die;    # where pg_upgrade leaves a script
	command_ok([ 'pg_upgrade', '--no-sync', @mode, '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old->config_data('--bindir'),
			'-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port, '-P', $new->port ], "$name: pg_upgrade @mode");
	$new->start;
	same_pages($pages{$_}, index_pages($new, $_, 1), "$name: $_ is the same, block by block") foreach @indexes;
	is(state_of($new), $state, "$name: rows, indexes and answers");
	check_index($new, $_, "$name, $_") foreach @indexes;
	return $new;
}

# As on any other day.
sub goes_on
{
	my ($node, $from) = @_;
	my $to = $from + 299;

	$node->safe_psql('postgres', qq{
		INSERT INTO twins SELECT i, $random FROM generate_series($from, $to) i;
		INSERT INTO empty SELECT '[1,2,3]';
		SET phnsw.merge_threshold = 1000000;
		INSERT INTO parts SELECT i, $random FROM generate_series($from, $to) i});
	$node->safe_psql('postgres', 'DELETE FROM twins WHERE id % 5 = 0');
	$node->safe_psql('postgres', 'VACUUM twins');
	$node->stop('immediate');
	$node->start;
	check_index($node, $_, $node->name . ", after rows, vacuum and a crash: $_") foreach @indexes;
	is(count_through_index($node, 'twins', 'v', '<->', "'[0,0,0,0,0,0,0,1]'"), $node->safe_psql('postgres', 'SELECT count(*) FROM twins'),
		$node->name . ': a scan finds every row');
	return;
}

my $old = cluster('old', $ENV{PHNSW_OLD_INSTALL} ? (install_path => $ENV{PHNSW_OLD_INSTALL}) : ());
$old->start;
fill($old);
my $copied = upgraded($old, 'copied');
goes_on($copied, 20001);
my $linked = upgraded($copied, 'linked', '--link');
goes_on($linked, 30001);
$linked->stop;
done_testing();
