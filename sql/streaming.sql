-- Scans that go on: behind ef_search, behind the graph, behind work_mem, until a limit of their own.
SET enable_seqscan = off;
SET enable_sort = off;
SET jit = off;
SET phnsw.check_bounds = on;
SET phnsw.ef_search = 40;

CREATE FUNCTION test_vector(id int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg((hashint8extended(id, i) >> 40)::real / 8388608)::vector FROM generate_series(1, dims) i
$$;
CREATE TABLE items (id int, v vector(4));
INSERT INTO items SELECT i, test_vector(i, 4) FROM generate_series(1, 12000) i;
CREATE INDEX items_v ON items USING phnsw (v);
CREATE TABLE nothing AS SELECT NULL::vector AS q;

-- What a scan returned: rows, different rows, and rows that are nearer than the one before.
CREATE FUNCTION streamed(condition text, n bigint) RETURNS TABLE (rows bigint, ids bigint, disorder bigint)
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format(
		'WITH s AS MATERIALIZED (SELECT id, v <-> %1$L AS d FROM items WHERE %2$s ORDER BY v <-> %1$L LIMIT %3$s), '
		'o AS (SELECT id, d, lag(d) OVER () AS before FROM s) '
		'SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE d < before) FROM o',
		test_vector(-1, 4), condition, n);
END
$$;

-- More rows than candidates, in exact order; more than the table has: all of them, few so late that they come at the very end.
SELECT * FROM streamed('true', 39);
SELECT * FROM streamed('true', 41);
SELECT * FROM streamed('true', 1000);
SELECT * FROM streamed('true', 11900);
SELECT rows, ids, disorder < 100 AS nearly_ordered FROM streamed('true', 1000000);

-- A filter that one row in a thousand passes: finds its LIMIT, or all there are.
SELECT * FROM streamed('id % 1000 = 17', 3);
SELECT * FROM streamed('id % 1000 = 17', 12);
SELECT * FROM streamed('id % 1000 = 17', 100);
SELECT * FROM streamed('id < 0', 1);

-- The same rows as a sequential scan finds.
SELECT count(*) FROM (
	(SELECT id FROM items WHERE id % 100 = 3 ORDER BY v <-> test_vector(-1, 4) LIMIT 20)
	INTERSECT
	(SELECT id FROM items WHERE id % 100 = 3 ORDER BY (v <-> test_vector(-1, 4)) + 0 LIMIT 20)) s;

-- In relaxed order every row comes, late ones too.
SET phnsw.iterative_scan = relaxed_order;
SELECT rows, ids FROM streamed('true', 1000000);
SELECT rows, ids FROM streamed('id % 1000 = 17', 100);
RESET phnsw.iterative_scan;

-- In little memory: the graph phase ends early, and the sweep needs many passes.
SET work_mem = '64kB';
SELECT * FROM streamed('true', 11900);
SELECT rows, ids, disorder < 100 AS nearly_ordered FROM streamed('true', 1000000);
SELECT * FROM streamed('id % 1000 = 17', 100);
SET phnsw.iterative_scan = relaxed_order;
SELECT rows, ids FROM streamed('true', 1000000);
RESET phnsw.iterative_scan;
SELECT count(*), count(DISTINCT id) FROM nothing, LATERAL (SELECT id FROM items ORDER BY v <-> q LIMIT 1000000) s;
RESET work_mem;

-- A limit on the rows of one scan, each rescan with its own.
SET phnsw.max_scan_tuples = 100;
SELECT * FROM streamed('true', 1000000);
SELECT * FROM streamed('id % 1000 = 17', 100);
SELECT count(*) FROM generate_series(1, 3) i,
	LATERAL (SELECT id FROM items ORDER BY v <-> test_vector(-i, 4)) s;
SELECT count(*) FROM nothing, LATERAL (SELECT id FROM items ORDER BY v <-> q LIMIT 1000000) s;
RESET phnsw.max_scan_tuples;

-- Deleted rows do not end a scan, before vacuum and after it.
DELETE FROM items WHERE v <-> test_vector(-1, 4) < 0.5;
SELECT rows, ids, disorder FROM streamed('true', 500);
VACUUM items;
SELECT rows, ids, disorder FROM streamed('true', 500);
SELECT phnsw_check('items_v', true);

-- Nodes that no search reaches still come, behind the graph: all links of one cluster lead back to it.
CREATE TABLE far (id int, v vector(2));
INSERT INTO far SELECT i, ARRAY[i % 60, i / 60]::real[]::vector FROM generate_series(1, 3000) i;
INSERT INTO far SELECT 3000 + i, ARRAY[1e6 + i % 10, 1e6 + i / 10]::real[]::vector FROM generate_series(1, 100) i;
CREATE INDEX far_v ON far USING phnsw (v);
SELECT count(*) FROM (SELECT id FROM far WHERE id > 3000 ORDER BY v <-> '[30,20]' LIMIT 1000) s;
SELECT count(*) FROM (SELECT id FROM far WHERE id <= 3000 ORDER BY v <-> '[1000000,1000000]' LIMIT 5) s;
SELECT phnsw_check('far_v', true);

DROP TABLE items, far, nothing;
DROP FUNCTION streamed, test_vector;
