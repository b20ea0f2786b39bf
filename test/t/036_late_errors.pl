# A scan computes the distances of late rows itself (exact.c), outside of the executor: what is raised there must
# end the query as any error does.  Every evaluation of an index's expression raises in turn, or is cancelled;
# every allocation fails in turn.  Afterwards the same transaction, or session, gets the answer that it had
# before, nothing is left locked, and the server has nothing to complain of.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use MemoryShim;
use PhnswTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $make = sub { return new_node('late_errors', 'autovacuum = off', 'phnsw.ef_search = 40', 'enable_seqscan = off', 'enable_sort = off') };
my $node = shim_available() ? shim_node($make) : $make->();

# Ten clusters whose rows lie closer together than their codes can tell apart, every row twice.
# The expression: evaluation number test.at of those since test.calls was 0 goes wrong, as test.how says.
$node->safe_psql('postgres', q{
	CREATE FUNCTION shifted(v vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE AS $$
	DECLARE
		call int := coalesce(nullif(current_setting('test.calls', true), ''), '0')::int + 1;
	BEGIN
		PERFORM set_config('test.calls', call::text, false);
		IF call = nullif(current_setting('test.at', true), '')::int THEN
			IF current_setting('test.how') = 'cancel' THEN
				PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(60);
			END IF;
			RAISE 'no value today';
		END IF;
		RETURN v OPERATOR(public.+) v;
	END $$;
	SELECT setseed(.36);
	CREATE TABLE centres AS SELECT c, (SELECT array_agg((random() - .5) * 4 + 0 * k * c) FROM generate_series(1, 16) k) AS x FROM generate_series(0, 9) c;
	CREATE TABLE items (id int, embedding vector(16));
	INSERT INTO items SELECT i, (SELECT array_agg((x + (random() - .5) * .01 + 0 * i)::real) FROM unnest(c.x) x)::vector
		FROM generate_series(1, 2500) i JOIN centres c ON c.c = i % 10;
	INSERT INTO items SELECT i + 2500, (SELECT array_agg((x + (random() - .5) * .01 + 0 * i)::real) FROM unnest(c.x) x)::vector
		FROM generate_series(1, 100) i JOIN centres c ON c.c = i % 10;
	CREATE TABLE queries AS SELECT * FROM items WHERE id > 2500;
	INSERT INTO items SELECT -id, embedding FROM items;
	CREATE INDEX items_index ON items USING phnsw ((shifted(embedding)::vector(16)));
	ANALYZE items;
	CREATE FUNCTION answer() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		ids text;
	BEGIN
		PERFORM set_config('test.calls', '0', false);
		SELECT string_agg(id::text, ' ') INTO ids FROM
			(SELECT id FROM items ORDER BY (shifted(embedding)::vector(16)) <-> (SELECT embedding + embedding FROM queries WHERE id = 2507) LIMIT 10) x;
		RETURN ids;
	END $$;
});
my ($plan) = $node->safe_psql('postgres', q{EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY (shifted(embedding)::vector(16)) <-> (SELECT embedding + embedding FROM queries WHERE id = 2507) LIMIT 10});
like($plan, qr/Index Scan using items_index/, 'the search uses the index');

# The executor computes one distance for each row that it is given; what is more is the scan's.
my ($calls, $rechecks) = split /\|/, $node->safe_psql('postgres', q{
	SELECT answer() AS ids \gset
	SELECT current_setting('test.calls'), rechecks FROM phnsw_last_scan()});
cmp_ok($calls, '>=', $rechecks + 30, "the scan looks at late rows: $calls distances, $rechecks rows");

foreach my $how ([ 'error', 'no value today' ], [ 'cancel', 'canceling statement due to user request' ])
{
	my ($kind, $message) = @$how;

	is($node->safe_psql('postgres', qq{
		SET client_min_messages = warning;
		CREATE TEMP TABLE raised (at int, message text);
		DO \$\$
		DECLARE
			before text := answer();
		BEGIN
			PERFORM set_config('test.how', '$kind', false);
			FOR at IN 1 .. $calls LOOP
				BEGIN
					PERFORM set_config('test.at', at::text, false);
					PERFORM answer();
				EXCEPTION WHEN raise_exception OR query_canceled THEN
					INSERT INTO raised VALUES (at, SQLERRM);
				END;
				PERFORM set_config('test.at', '', false);
				IF at % 20 = 0 THEN
					ASSERT answer() = before, 'another answer';
				END IF;
			END LOOP;
		END \$\$;
		SELECT count(*), string_agg(DISTINCT message, ', ') FROM raised}),
		"$calls|$message", "$kind: each evaluation in turn");
	check_index($node, 'items_index', $kind);
}

SKIP:
{
	skip 'no C compiler', 1 if !shim_available();
	my $s = $node->background_psql('postgres', on_error_stop => 0);
	my $pid = $s->query_safe('SELECT pg_backend_pid()');
	my $expected = $s->query_safe('SELECT answer()');
	my ($at, $refused) = (0, 0);

	while (1)
	{
		shim($pid, everyone => 1, left => $at);
		my ($out, $error) = $s->query('SELECT answer()');
		my $failures = shim_failed();
		shim(0);
		$refused++ if $error;
		if ($error ? $s->{stderr} !~ /ERROR:  out of memory/ : $out ne $expected)
		{
			fail("allocation $at: $out; $s->{stderr}");
			last;
		}
		$s->{stderr} = '';
		last if $failures == 0 || $at == 400;
		$at++;
	}
	cmp_ok($refused, '>', 5, "a scan without memory says so ($at allocations)");
	is($s->query_safe('SELECT answer()'), $expected, 'the next one has the answer');
	$node->safe_psql('postgres', q{SET lock_timeout = '10s'; INSERT INTO items SELECT -id, embedding FROM queries});
	check_index($node, 'items_index', 'no memory');
	$s->quit;
}

unlike(slurp_file($node->logfile), qr/WARNING|PANIC|TRAP/, 'nothing is left behind');
$node->stop;
done_testing();
