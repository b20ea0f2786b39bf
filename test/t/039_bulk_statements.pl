# Bulk insert: what else a transaction may do with its rows in waiting.  It searches and inserts by
# turns, renames, drops, cascades, keeps materialized views.  Each case ends with the checker, and
# with a scan of the whole index against a count of the table.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BulkTest;
use PhnswTest;
use Test::More;

seed_from_env();
my $node = bulk_node('statements', 'autovacuum = off', 'max_parallel_maintenance_workers = 1');

# Statements that search and insert by turns: a trigger that asks for the nearest row of each, an INSERT from the table
# itself, a loop over a cursor, a deferred trigger that searches, first when it is told to and then at commit.
run(fresh('asked') . 'CREATE FUNCTION not_near() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE d float8; BEGIN
		SELECT v <-> new.v INTO d FROM asked ORDER BY v <-> new.v LIMIT 1;
		IF d = 0 THEN RETURN NULL; END IF; RETURN new; END $$;
	CREATE TRIGGER not_near BEFORE INSERT ON asked FOR EACH ROW EXECUTE FUNCTION not_near(); SET enable_seqscan = off;'
	. rows('asked', 1, 700) . 'BEGIN;' . rows('asked', 701, 1000) . 'INSERT INTO asked SELECT id + 10000, v FROM asked; COMMIT');
complete('asked', 1000, 'a trigger that searches keeps out what is there');
run(fresh('itself') . 'SET enable_seqscan = off; BEGIN;' . rows('itself', 1, 800)
	. "INSERT INTO itself SELECT id + 1000, v FROM itself WHERE id > 0 ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 700; COMMIT;"
	. q{DO $$ DECLARE r record; c CURSOR FOR SELECT * FROM itself WHERE id > 0 ORDER BY v <-> '[1,0,0,0,0,0,0,0]'; n int := 0; BEGIN
		FOR r IN c LOOP n := n + 1; INSERT INTO itself VALUES (r.id + 100000, r.v); EXIT WHEN n = 600; END LOOP; END $$});
complete('itself', 2100, 'inserts from the table itself, in the order of the index');
run(fresh('told') . fresh('found') . q{
	CREATE FUNCTION found_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO found SELECT new.id, v FROM told ORDER BY v <-> new.v LIMIT 1; RETURN NULL; END $$;
	CREATE CONSTRAINT TRIGGER found_row AFTER INSERT ON told DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION found_row();
	SET enable_seqscan = off; BEGIN;} . rows('told', 1, 700) . 'SET CONSTRAINTS ALL IMMEDIATE;' . rows('told', 701, 800)
	. 'SET CONSTRAINTS ALL DEFERRED;' . rows('told', 801, 1200) . 'COMMIT');
complete('told', 1200, 'table with a deferred trigger that searches');
complete('found', 1200, 'what it found');
is(run('SELECT count(*) FROM told JOIN found USING (id) WHERE id > 0 AND told.v <-> found.v = 0'), 1200, 'each row itself');

# Transactions that follow each other without a statement between them; names that change; what goes by cascades.
is(run(fresh('chain') . 'BEGIN;' . rows('chain', 1, 700) . 'COMMIT AND CHAIN;' . rows('chain', 701, 1400) . 'ROLLBACK AND CHAIN;' . rows('chain', 1401, 2000) . 'COMMIT;'
	. "SELECT bulk_flushes FROM phnsw_stats WHERE index = 'chain_v'::regclass"), 2, 'COMMIT AND CHAIN: the rows of each transaction go together');
complete('chain', 1300, 'COMMIT AND CHAIN');
run(fresh('old_name') . "BEGIN;" . rows('old_name', 1, 700) . "ALTER INDEX old_name_v RENAME TO new_name_v; ALTER TABLE old_name RENAME TO new_name;
	ALTER TABLE new_name RENAME COLUMN v TO w;" . rows('new_name', 701, 1000) . 'CREATE SCHEMA away; ALTER TABLE new_name SET SCHEMA away;'
	. rows('away.new_name', 1001, 1300) . 'ALTER TABLE away.new_name RENAME COLUMN w TO v; ALTER TABLE away.new_name SET SCHEMA public; COMMIT');
complete('new_name', 1300, 'renamed');
run('BEGIN;' . rows('new_name', 1301, 2000) . 'DROP EXTENSION phnsw CASCADE; ROLLBACK');
complete('new_name', 1300, 'DROP EXTENSION rolled back');
run('CREATE SCHEMA gone; BEGIN; CREATE TABLE gone.rows (id int, v vector(8)); CREATE INDEX ON gone.rows USING phnsw (v);' . rows('gone.rows', 1, 900)
	. rows('new_name', 1301, 1900) . 'DROP SCHEMA gone CASCADE;' . rows('new_name', 1901, 2000) . 'COMMIT');
complete('new_name', 2000, 'another index is dropped with its schema');
run((fresh('kids') =~ s/INSERT.*?;//r) . 'CREATE TABLE parents (id int PRIMARY KEY); ALTER TABLE kids ADD FOREIGN KEY (id) REFERENCES parents ON DELETE CASCADE;
	BEGIN; INSERT INTO parents SELECT generate_series(1, 1000);' . rows('kids', 1, 1000) . 'DELETE FROM parents WHERE id <= 400; COMMIT');
complete('kids', 600, 'rows in waiting that a cascade deletes');
is(run('BEGIN; INSERT INTO parents SELECT generate_series(2001, 2900);' . rows('kids', 2001, 2900) . 'SAVEPOINT a; DELETE FROM parents WHERE id > 2600;
	SELECT count(*) FROM phnsw_index_info(\'kids_v\'); ROLLBACK TO a; DELETE FROM parents WHERE id BETWEEN 2001 AND 2100; COMMIT'), 1, 'a flush');
complete('kids', 1400, 'rows that a cascade had deleted when they were flushed');

# Rows that are not indexed, zero vectors under cosine, between copies of rows,
# which share a node: each still has its own vector.
run('CREATE TABLE mixed (id int, v vector(8));' . prefill('mixed') . "CREATE INDEX mixed_v ON mixed USING phnsw (v vector_cosine_ops); BEGIN;
	INSERT INTO mixed SELECT 3 * i + k, CASE k WHEN 0 THEN '[0,0,0,0,0,0,0,0]' ELSE x.v END
	FROM generate_series(1, 300) i CROSS JOIN LATERAL (SELECT $random AS v) x CROSS JOIN generate_series(0, 2) k ORDER BY 1; COMMIT");
check_index($node, 'mixed_v', 'zero vectors and copies');
is(count_through_index($node, 'mixed', 'v', '<=>', $query), 600 + prefilled($node, 'mixed'), 'zero vectors are not indexed, copies are');
is(run(q{SET enable_seqscan = off; SET phnsw.ef_search = 200; SELECT count(*) FROM mixed q WHERE id % 3 = 1 AND id > 0 AND
	(SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM mixed ORDER BY v <=> q.v LIMIT 2) x) = ARRAY[q.id, q.id + 1]}), 300, 'each row and its copy are the nearest');

# Materialized views.
# Both read the index of the table, from which they get all rows only if those that wait are flushed before.
run(fresh('viewed') . 'SET enable_seqscan = off; SET enable_sort = off; SET phnsw.iterative_scan = relaxed_order; BEGIN;' . rows('viewed', 1, 700)
	. q{CREATE MATERIALIZED VIEW seen AS SELECT * FROM viewed WHERE id > 0 ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 2000;
	CREATE INDEX seen_v ON seen USING phnsw (v);} . rows('viewed', 701, 1400) . 'REFRESH MATERIALIZED VIEW seen;' . rows('viewed', 1401, 1500) . 'COMMIT');
complete('seen', 1400, 'REFRESH MATERIALIZED VIEW');
complete('viewed', 1500, 'table of a materialized view');
run('CREATE UNIQUE INDEX ON seen (id); REFRESH MATERIALIZED VIEW CONCURRENTLY seen');
complete('seen', 1500, 'REFRESH MATERIALIZED VIEW CONCURRENTLY');

$node->stop;
done_testing();
