-- Vectors that are stored out of line.  Distances read them by a short way of their own (src/pg/toast/detoast.c); subvector() lets
-- PostgreSQL read them.  Both must see the same, however a value is stored and whatever has happened to its table.
CREATE FUNCTION vector_of(i int, dims int, seed int = 0) RETURNS vector LANGUAGE sql IMMUTABLE AS
	$$ SELECT array_agg((sin(i * 1.7 + j * (0.3 + i % 11) + seed) * 3)::real ORDER BY j)::vector FROM generate_series(1, dims) j $$;

-- How often PostgreSQL has searched the TOAST index of a table.
CREATE FUNCTION toast_scans(t regclass) RETURNS bigint LANGUAGE sql AS $$
	SELECT pg_stat_get_numscans(indexrelid) FROM pg_index JOIN pg_class c ON c.reltoastrelid = indrelid WHERE c.oid = t $$;

-- Rows whose distance depends on who reads them.
CREATE FUNCTION differences(t regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM (SELECT v, subvector(v, 1, vector_dims(v)) AS plain FROM %s OFFSET 0) r
		WHERE (v <-> v) IS DISTINCT FROM 0 OR (v <-> plain) IS DISTINCT FROM 0 OR (plain <-> v) IS DISTINCT FROM 0
			OR (v <=> plain) IS DISTINCT FROM (plain <=> plain) OR (v <#> v) IS DISTINCT FROM (plain <#> plain)
			OR (v <+> plain) IS DISTINCT FROM 0', t) INTO n;
	RETURN n;
END $$;

CREATE TABLE far (id int PRIMARY KEY, v vector) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
-- one chunk, chunks filled to the last byte and beyond, the most chunks
INSERT INTO far SELECT i, vector_of(i::int, dims)
	FROM unnest(ARRAY[1, 2, 30, 31, 498, 499, 500, 501, 768, 997, 998, 999, 1000, 1536, 1996, 1997, 4000, 15999, 16000]) WITH ORDINALITY d (dims, i);
SELECT differences('far');

-- the short way is the one that is used: PostgreSQL does not search the index
SELECT pg_stat_force_next_flush();
SELECT toast_scans('far') AS scans \gset
SELECT sum(v <-> v) FROM far;
SELECT pg_stat_force_next_flush();
SELECT toast_scans('far') - :scans AS searched_by_distance;
SELECT count(subvector(v, 1, 1)) FROM far WHERE vector_dims(v) >= 768;
SELECT pg_stat_force_next_flush();
SELECT toast_scans('far') - :scans > 0 AS searched_by_subvector;

-- every other way to store a value
CREATE TABLE stored (id int, v vector) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
ALTER TABLE stored ALTER v SET STORAGE plain;
INSERT INTO stored SELECT i, vector_of(i, 700) FROM generate_series(1, 5) i;
ALTER TABLE stored ALTER v SET STORAGE extended;
INSERT INTO stored SELECT i, vector_of(i, 700) FROM generate_series(6, 10) i;
INSERT INTO stored SELECT i, array_fill(0.5::real, ARRAY[2000])::vector FROM generate_series(11, 12) i;
INSERT INTO stored SELECT i, array_fill(0.5::real, ARRAY[3000])::vector || vector_of(i, 1500) FROM generate_series(13, 15) i;
ALTER TABLE stored ALTER v SET STORAGE main;
INSERT INTO stored SELECT i, vector_of(i, 700) FROM generate_series(16, 18) i;
ALTER TABLE stored ALTER v SET STORAGE external;
INSERT INTO stored SELECT i, vector_of(i, 700) FROM generate_series(19, 25) i;
SELECT id, vector_dims(v) AS dims, pg_column_compression(v) IS NOT NULL AS compressed,
	pg_column_size(v) < 8 + 4 * vector_dims(v) AS smaller FROM stored WHERE id IN (1, 6, 11, 13, 16, 19) ORDER BY id;
SELECT differences('stored');

-- a build takes its rows from wherever they are stored, those out of line without a copy in between
CREATE TABLE built (id int, v vector(700)) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
INSERT INTO built SELECT i, vector_of(i, 700) FROM generate_series(1, 400) i;
ALTER TABLE built ALTER v SET STORAGE plain;
INSERT INTO built SELECT i, vector_of(i, 700) FROM generate_series(401, 410) i;
ALTER TABLE built ALTER v SET STORAGE main;
INSERT INTO built SELECT i, array_fill(i::real, ARRAY[700])::vector FROM generate_series(411, 420) i;
ALTER TABLE built ALTER v SET STORAGE extended;
INSERT INTO built SELECT i, array_fill(i::real, ARRAY[200])::vector || vector_of(i, 500) FROM generate_series(421, 430) i;
ALTER TABLE built ALTER v SET STORAGE external;
INSERT INTO built SELECT i, CASE WHEN i % 3 <> 0 THEN vector_of(i, 700) END FROM generate_series(431, 900) i;
UPDATE built SET v = vector_of(id, 700, 1) WHERE id % 7 = 0;
CREATE INDEX built_v ON built USING phnsw (v) WITH (m = 4);
SELECT phnsw_check('built_v', true, true);
DROP TABLE built;

-- many of them: a tree of more than one level, holes, values replaced, in a transaction that is rolled back too
CREATE TABLE many (id int PRIMARY KEY, v vector(600)) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
INSERT INTO many SELECT i, vector_of(i, 600) FROM generate_series(1, 500) i;
SELECT differences('many');
UPDATE many SET v = vector_of(id, 600, 1) WHERE id % 3 = 0;
DELETE FROM many WHERE id % 5 = 0;
SELECT differences('many');
BEGIN;
UPDATE many SET v = vector_of(id, 600, 2) WHERE id % 2 = 0;
SELECT differences('many'), sum(v <-> vector_of(id, 600, 2)) FROM many WHERE id % 2 = 0;
ROLLBACK;
SELECT differences('many'), round(sum(v <-> vector_of(id, 600, 1))::numeric, 3) AS sum FROM many WHERE id % 3 = 0;
VACUUM many;
INSERT INTO many SELECT i, vector_of(i, 600, 3) FROM generate_series(1001, 1150) i;
SELECT differences('many');

-- a plan and a function that outlive the table's files
CREATE INDEX many_v ON many USING phnsw (v);
SET enable_seqscan = off;
PREPARE nearest(vector) AS SELECT id, round((v <-> $1)::numeric, 3) AS distance FROM many ORDER BY v <-> $1 LIMIT 3;
EXECUTE nearest(vector_of(1100, 600, 3));
VACUUM FULL many;
EXECUTE nearest(vector_of(1100, 600, 3));
CLUSTER many USING many_pkey;
EXECUTE nearest(vector_of(1100, 600, 3));
SELECT differences('many');
REINDEX TABLE many;
EXECUTE nearest(vector_of(1100, 600, 3));
REINDEX TABLE CONCURRENTLY many;
EXECUTE nearest(vector_of(1100, 600, 3));
SELECT differences('many');
-- within one transaction
BEGIN;
EXECUTE nearest(vector_of(1100, 600, 3));
REINDEX TABLE many;
EXECUTE nearest(vector_of(1100, 600, 3));
CLUSTER many USING many_pkey;
EXECUTE nearest(vector_of(1100, 600, 3));
SAVEPOINT s;
ALTER TABLE many ALTER v TYPE vector(600) USING subvector(v, 1, 600);
SELECT differences('many');
ALTER TABLE many ADD w float DEFAULT random();
SELECT differences('many');
EXECUTE nearest(vector_of(1100, 600, 3));
TRUNCATE many;
INSERT INTO many SELECT i, vector_of(i, 600, 4) FROM generate_series(1, 30) i;
SELECT differences('many'), sum(v <-> vector_of(id::int, 600, 4)) FROM many;
ROLLBACK TO s;
EXECUTE nearest(vector_of(1100, 600, 3));
SELECT differences('many');
COMMIT;
EXECUTE nearest(vector_of(1100, 600, 3));

-- a cursor across other commands, a savepoint that is rolled back, and the end of what it shares its table with
BEGIN;
DECLARE c CURSOR FOR SELECT id, round((v <-> vector_of(1100, 600, 3))::numeric, 3) AS distance FROM many ORDER BY v <-> vector_of(1100, 600, 3);
FETCH 2 FROM c;
SAVEPOINT s;
FETCH 2 FROM c;
UPDATE many SET v = vector_of(id, 600, 5) WHERE id % 2 = 1;
DELETE FROM many WHERE id % 7 = 1;
ROLLBACK TO s;
FETCH 2 FROM c;
DELETE FROM many;
FETCH 2 FROM c;
ROLLBACK;
SELECT differences('many');

-- errors in the midst, caught
CREATE FUNCTION stumble() RETURNS TABLE (caught bigint, total numeric) LANGUAGE plpgsql AS $$
DECLARE
	r record;
	first vector;
BEGIN
	caught := 0;
	total := 0;
	SELECT v INTO first FROM many WHERE id = 1;
	FOR r IN SELECT id, v FROM many WHERE id < 40 LOOP
		BEGIN
			total := total + round((r.v <-> first)::numeric, 3);
			IF r.id % 3 = 0 THEN
				PERFORM r.v <-> '[1,2]';
			END IF;
		EXCEPTION WHEN data_exception THEN
			caught := caught + 1;
			total := total + round((first <-> r.v)::numeric, 3);
		END;
	END LOOP;
	RETURN NEXT;
END $$;
SELECT * FROM stumble();

-- the first read of a table in a savepoint that is rolled back: the TOAST table's lock goes with the table's
BEGIN;
SAVEPOINT s;
SELECT differences('far');
SAVEPOINT s2;
RELEASE s2;
ROLLBACK TO s;
SELECT count(*) AS locks FROM pg_locks l JOIN pg_class c ON l.relation IN (c.oid, c.reltoastrelid) WHERE c.relname = 'far' AND l.pid = pg_backend_pid();
SELECT differences('far');
SELECT count(*) AS locks FROM pg_locks l JOIN pg_class c ON c.reltoastrelid = l.relation WHERE c.relname = 'far' AND l.pid = pg_backend_pid();
COMMIT;
SELECT count(*) AS locks FROM pg_locks l JOIN pg_class c ON c.reltoastrelid = l.relation WHERE c.relname = 'far' AND l.pid = pg_backend_pid();

-- a table that comes and goes in one transaction
BEGIN;
CREATE TABLE brief AS SELECT id, v FROM many WHERE id < 100;
SELECT differences('brief');
DROP TABLE brief;
SELECT differences('many');
COMMIT;

-- a scan of the graph looks at the next rows before it returns them: columns of all kinds in front of the vector, rows of several
-- versions, deleted and invisible ones
CREATE TABLE mixed (a text, b int, gone int, c char(5), d numeric, v vector(520), e text) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
ALTER TABLE mixed DROP gone;
INSERT INTO mixed SELECT repeat('x', i % 300), nullif(i % 3, 0), nullif(i % 7, 1)::text, nullif(i % 5, 2) * 1e20, vector_of(i, 520, i / 11), i
	FROM generate_series(1, 2300) i;
CREATE INDEX mixed_v ON mixed USING phnsw (v);
UPDATE mixed SET b = b + 1 WHERE b % 2 = 0;
UPDATE mixed SET a = NULL, d = NULL WHERE e::int % 13 = 0;
DELETE FROM mixed WHERE e::int % 10 = 3;
SET phnsw.ef_search = 60;
SET phnsw.check_bounds = on;
CREATE FUNCTION found_by_index(probes int) RETURNS TABLE (wrong_order bigint, hits bigint) LANGUAGE plpgsql AS $$
DECLARE
	i int;
	distances float8[];
	exact float8[];
BEGIN
	wrong_order := 0;
	hits := 0;
	FOR i IN 1 .. probes LOOP
		SELECT array_agg(x) INTO distances FROM (SELECT v <-> vector_of(i * 97, 520, i) AS x FROM mixed ORDER BY v <-> vector_of(i * 97, 520, i) LIMIT 30) n;
		SELECT array_agg(x) INTO exact FROM (SELECT subvector(v, 1, 520) <-> vector_of(i * 97, 520, i) AS x FROM mixed ORDER BY 1 LIMIT 30) n;
		wrong_order := wrong_order + (SELECT count(*) FROM unnest(distances, (SELECT array_agg(x ORDER BY x) FROM unnest(distances) x)) u (x, y) WHERE x <> y);
		hits := hits + (SELECT count(*) FROM unnest(distances) x WHERE x = ANY (exact));
	END LOOP;
	RETURN NEXT;
END $$;
SELECT wrong_order, hits > 300 * 0.9 AS found FROM found_by_index(10);
BEGIN;
UPDATE mixed SET v = vector_of(e::int, 520, 7) WHERE e::int % 4 = 0;
SELECT wrong_order, hits > 300 * 0.9 AS found FROM found_by_index(10);
ROLLBACK;
SELECT wrong_order, hits > 300 * 0.9 AS found FROM found_by_index(10);
VACUUM mixed;
SELECT wrong_order, hits > 300 * 0.9 AS found FROM found_by_index(10);
-- the same table by its other storage, and an index on an expression
ALTER TABLE mixed ALTER v SET STORAGE plain;
UPDATE mixed SET v = subvector(v, 1, 520) WHERE e::int % 2 = 0;
SELECT wrong_order, hits > 300 * 0.9 AS found FROM found_by_index(10);
DROP INDEX mixed_v;
CREATE INDEX mixed_half ON mixed USING phnsw ((subvector(v, 1, 260)::vector(260)));
SELECT count(*) FROM (SELECT FROM mixed ORDER BY subvector(v, 1, 260)::vector(260) <-> vector_of(1, 260) LIMIT 30) n;
SELECT phnsw_check('mixed_half', true, true);
RESET phnsw.ef_search;
RESET phnsw.check_bounds;

-- temporary tables are in other buffers; parallel workers have locks of their own
CREATE TEMP TABLE own AS SELECT id, v FROM many WHERE id < 100;
SELECT differences('own');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET enable_indexscan = off;
RESET enable_seqscan;
EXPLAIN (COSTS OFF) SELECT sum(v <-> v) FROM many;
SELECT sum(v <-> v), count(*) FROM many;

SELECT phnsw_check('many_v', true, true);
DROP TABLE far, stored, many, mixed, own;
DROP FUNCTION vector_of, toast_scans, differences, stumble, found_by_index;
