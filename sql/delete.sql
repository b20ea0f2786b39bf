-- Dead rows leave the index: delete, vacuum and insert in turn; after each step the checker passes in its strict form and a
-- scan of the whole index returns the rows of the table.
CREATE FUNCTION wave(i int) RETURNS vector LANGUAGE sql IMMUTABLE
	RETURN ARRAY[sin(i), sin(2 * i), sin(3 * i), sin(5 * i), sin(7 * i), sin(11 * i)]::vector;

CREATE TABLE del (id int PRIMARY KEY, note text, v vector(6)) WITH (autovacuum_enabled = false, fillfactor = 50);
INSERT INTO del SELECT i, '', wave(i) FROM generate_series(1, 2000) i;
CREATE INDEX del_v ON del USING phnsw (v) WITH (m = 8);

-- What a scan of the whole index returns beyond the table, and the table beyond the scan; then what the index consists of.
CREATE FUNCTION state(OUT extra bigint, OUT missing bigint, OUT rows bigint, OUT live bigint, OUT dead bigint, OUT duplicates bigint)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET phnsw.max_scan_tuples = 0
SET phnsw.iterative_scan = relaxed_order AS $$
BEGIN
	PERFORM phnsw_check('del_v', true, true);
	CREATE TEMP TABLE found AS SELECT id FROM del ORDER BY v <-> wave(0);
	SELECT count(*) INTO extra FROM (SELECT id FROM found EXCEPT ALL SELECT id FROM del) e;
	SELECT count(*) INTO missing FROM (SELECT id FROM del EXCEPT ALL SELECT id FROM found) m;
	DROP TABLE found;
	SELECT i.rows, i.live_nodes, i.dead_nodes, i.duplicates INTO rows, live, dead, duplicates FROM phnsw_index_info('del_v') i;
END $$;
SELECT * FROM state();

-- a third of the rows; before vacuum they are still in the index, but nobody sees them
DELETE FROM del WHERE id % 3 = 0;
SELECT * FROM state();
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();

-- their slots are used again: the index has not grown
SELECT pg_relation_size('del_v') AS size \gset
INSERT INTO del SELECT i, '', wave(i) FROM generate_series(3, 1800, 3) i;
SELECT * FROM state();
SELECT pg_relation_size('del_v') = :size AS same_size;

-- the entry point and everything else on upper levels
SELECT entry_level > 0 AS has_levels FROM phnsw_index_info('del_v');
DELETE FROM del WHERE id IN (SELECT id FROM del ORDER BY (v <-> wave(1)) + 0 LIMIT 500);
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();

-- most of it: the rest still hangs together
DELETE FROM del WHERE id % 50 <> 0;
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();

-- all of it, then again from nothing
DELETE FROM del;
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();
SELECT entry IS NULL AS no_entry, nodes_per_level FROM phnsw_index_info('del_v');
VACUUM (INDEX_CLEANUP ON) del;
INSERT INTO del SELECT i, '', wave(i) FROM generate_series(1, 400) i;
SELECT * FROM state();

-- rows that share a vector share a node; some of them die, first the one in the slot, then others, then the last
DELETE FROM del;
VACUUM (INDEX_CLEANUP ON) del;
INSERT INTO del SELECT i, '', wave(i % 3) FROM generate_series(1, 300) i;
SELECT * FROM state();
DELETE FROM del WHERE id IN (1, 2, 3);
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();
DELETE FROM del WHERE id BETWEEN 100 AND 250;
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();
INSERT INTO del SELECT i, '', wave(i % 3) FROM generate_series(1, 3) i;
SELECT * FROM state();
DELETE FROM del WHERE id % 3 = 1;
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();
DELETE FROM del WHERE id < 290;
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();

-- updates of another, indexed column: a chain that grows and is emptied again does not take more and more space
CREATE INDEX ON del (note);
DO $$
BEGIN
	FOR i IN 1..50 LOOP
		UPDATE del SET note = i::text;
	END LOOP;
END $$;
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();
SELECT aux_records <= 4 AS reclaimed FROM phnsw_index_info('del_v');

-- rows of an aborted transaction, which reach the index one by one, not at commit
SET phnsw.merge_threshold = 2147483647;
BEGIN;
INSERT INTO del SELECT i, '', wave(i) FROM generate_series(1000, 1200) i;
ROLLBACK;
SELECT * FROM state();
VACUUM (INDEX_CLEANUP ON) del;
SELECT * FROM state();

-- of many rows a few that are far from each other stay: whose neighbours are all gone gets others
CREATE TABLE scattered (id int, v vector(2)) WITH (autovacuum_enabled = false);
INSERT INTO scattered SELECT i, ARRAY[i % 20, i / 20]::vector FROM generate_series(1, 400) i;
CREATE INDEX scattered_v ON scattered USING phnsw (v) WITH (m = 3, ef_construction = 16);
DELETE FROM scattered WHERE id % 80 <> 7;
VACUUM scattered;
SELECT live_nodes, average_degree > 2 AS linked FROM phnsw_index_info('scattered_v');
SELECT phnsw_check('scattered_v', true, true);
DROP TABLE scattered;
DROP TABLE del;
DROP FUNCTION state, wave;
