-- ORDER BY scans against sequential ones: small indexes (swept, exact), larger ones (the graph), every metric, and every
-- unusual query.  Every bound is verified against the table.
SET enable_seqscan = off;
SET enable_sort = off;
SET jit = off;
SET phnsw.check_bounds = on;

-- Coordinates that repeat for nobody: a deterministic hash, spread over [-1, 1).
CREATE FUNCTION test_vector(id int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg((hashint8extended(id, i) >> 40)::real / 8388608)::vector FROM generate_series(1, dims) i
$$;
CREATE TABLE queries AS SELECT id, test_vector(-id, 8) AS q FROM generate_series(1, 20) id;

-- Distances in the order of the scan, for one operator, as text that two scans can be compared by.
CREATE FUNCTION scanned(rel regclass, op text, q vector, n int) RETURNS float8[] LANGUAGE plpgsql AS $$
DECLARE
	result float8[];
BEGIN
	EXECUTE format('SELECT array_agg(d) FROM (SELECT v %1$s $1 AS d FROM %2$s ORDER BY v %1$s $1 LIMIT $2) s', op, rel)
		INTO result USING q, n;
	RETURN result;
END
$$;
CREATE FUNCTION sorted(rel regclass, op text, q vector, n int) RETURNS float8[] LANGUAGE plpgsql AS $$
DECLARE
	result float8[];
BEGIN
	EXECUTE format('SELECT array_agg(d ORDER BY d) FROM (SELECT v %1$s $1 AS d FROM %2$s WHERE v IS NOT NULL '
				   'ORDER BY (v %1$s $1) + 0 LIMIT $2) s', op, rel)
		INTO result USING q, n;
	RETURN result;
END
$$;
-- Share of the n nearest that a scan returned, over all queries; an error when a scan is out of order.
CREATE FUNCTION recall(rel regclass, op text, n int) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	query record;
	got float8[];
	want float8[];
	found bigint := 0;
	total bigint := 0;
BEGIN
	FOR query IN SELECT * FROM queries LOOP
		SET LOCAL enable_sort = off;
		got := scanned(rel, op, query.q, n);
		SET LOCAL enable_sort = on;
		want := sorted(rel, op, query.q, n);
		IF got <> (SELECT array_agg(d ORDER BY d) FROM unnest(got) d) THEN
			RAISE EXCEPTION 'query % came back out of order', query.id;
		END IF;
		found := found + (SELECT count(*) FROM unnest(got) d WHERE d <= want[array_length(want, 1)]);
		total := total + array_length(want, 1);
	END LOOP;
	RETURN found::float8 / total;
END
$$;

-- A small table, all metrics: exact, and complete.
CREATE TABLE small (id int, v vector(8));
INSERT INTO small SELECT i, test_vector(i, 8) FROM generate_series(1, 500) i;
INSERT INTO small VALUES (501, NULL), (502, '[0,0,0,0,0,0,0,0]'), (503, NULL);
CREATE INDEX small_l2 ON small USING phnsw (v vector_l2_ops);
CREATE INDEX small_ip ON small USING phnsw (v vector_ip_ops);
CREATE INDEX small_cosine ON small USING phnsw (v vector_cosine_ops);
EXPLAIN (COSTS OFF) SELECT id FROM small ORDER BY v <-> '[1,0,0,0,0,0,0,0]' LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM small ORDER BY v <#> '[1,0,0,0,0,0,0,0]' LIMIT 3;
EXPLAIN (COSTS OFF) SELECT id FROM small ORDER BY v <=> '[1,0,0,0,0,0,0,0]' LIMIT 3;
SELECT op, recall('small', op, 500) FROM unnest('{<->,<#>,<=>}'::text[]) op;

-- Complete: NULLs are not in the index, and a zero vector has no cosine.
SELECT op, array_length(scanned('small', op, test_vector(-1, 8), 1000), 1) FROM unnest('{<->,<#>,<=>}'::text[]) op;

-- a plan without what PostgreSQL 18 says of nodes that a setting disables
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS
$$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line !~ 'Disabled: true' THEN
			RETURN NEXT line;
		END IF;
	END LOOP;
END
$$;

-- A query that is NULL, and one without a direction: all rows of the index, in any order.
CREATE TABLE nothing AS SELECT NULL::vector AS q;
SELECT plan('SELECT n.id FROM nothing, LATERAL (SELECT id FROM small ORDER BY v <-> q LIMIT 1000) n');
SELECT count(*), count(DISTINCT id), count(d)
FROM nothing, LATERAL (SELECT id, v <-> q AS d FROM small ORDER BY v <-> q LIMIT 1000) n;
SELECT count(*), count(DISTINCT id), count(d)
FROM nothing, LATERAL (SELECT id, v <=> q AS d FROM small ORDER BY v <=> q LIMIT 1000) n;
SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE d = 'NaN')
FROM (SELECT id, v <=> '[0,0,0,0,0,0,0,0]' AS d FROM small ORDER BY v <=> '[0,0,0,0,0,0,0,0]') s;
SELECT count(*) FROM (SELECT id FROM small ORDER BY v <-> '[0,0,0,0,0,0,0,0]') s;
-- A second distance decides where the first is NULL, or the same, for all rows.
SELECT id FROM nothing, LATERAL (SELECT id FROM small ORDER BY v <-> q, v <-> test_vector(77, 8) LIMIT 1) n;
SELECT id FROM nothing, LATERAL (SELECT id FROM small ORDER BY v <=> q, v <=> (q + q), v <=> test_vector(78, 8) LIMIT 1) n;
SELECT n.id, s.id FROM (VALUES (1, NULL), (2, '[0,0,0,0,0,0,0,0]'::vector), (3, NULL), (4, test_vector(80, 8))) n (id, q),
	LATERAL (SELECT id FROM small ORDER BY v <=> n.q, v <=> test_vector(79, 8) LIMIT 1) s ORDER BY 1;

-- Mistakes.
SELECT id FROM small ORDER BY v <-> '[1,2]' LIMIT 1;
SELECT id FROM small ORDER BY v <=> '[0,0]' LIMIT 1;

-- Indexes of one row, of none, of equal rows.
CREATE TABLE tiny (id int, v vector(2));
CREATE INDEX tiny_v ON tiny USING phnsw (v);
SELECT * FROM tiny ORDER BY v <-> '[0,0]' LIMIT 5;
SELECT n.* FROM nothing, LATERAL (SELECT * FROM tiny ORDER BY v <-> q LIMIT 5) n;
INSERT INTO tiny VALUES (1, '[3,4]');
SELECT *, v <-> '[0,0]' FROM tiny ORDER BY v <-> '[0,0]' LIMIT 5;
INSERT INTO tiny SELECT i, '[3,4]' FROM generate_series(2, 30) i;
SELECT count(DISTINCT id), min(d), max(d) FROM (SELECT id, v <-> '[0,0]' AS d FROM tiny ORDER BY v <-> '[0,0]') s;
DELETE FROM tiny WHERE id <= 29;
SELECT * FROM tiny ORDER BY v <-> '[0,0]' LIMIT 5;
SELECT phnsw_check('tiny_v', heap_check => true);

-- The graph, every metric.
CREATE TABLE large (id int, v vector(8));
INSERT INTO large SELECT i, test_vector(i, 8) FROM generate_series(1, 6000) i;
CREATE INDEX large_l2 ON large USING phnsw (v vector_l2_ops);
CREATE INDEX large_ip ON large USING phnsw (v vector_ip_ops);
CREATE INDEX large_cosine ON large USING phnsw (v vector_cosine_ops);
SET phnsw.ef_search = 100;
SELECT op, recall('large', op, 10) >= 0.95 AS good FROM unnest('{<->,<#>,<=>}'::text[]) op;
SELECT op, recall('large', op, 300) >= 0.95 AS good FROM unnest('{<->,<#>,<=>}'::text[]) op;
SELECT phnsw_check('large_l2', true), phnsw_check('large_ip', true), phnsw_check('large_cosine', true);
SET phnsw.ef_search = 10;
SELECT op, recall('large', op, 100) >= 0.9 AS good FROM unnest('{<->,<#>,<=>}'::text[]) op;

-- More candidates: no worse; all of them: exact, since then a sweep costs less.
SET phnsw.ef_search = 600;
SELECT op, recall('large', op, 10) FROM unnest('{<->,<#>,<=>}'::text[]) op;
RESET phnsw.ef_search;

-- Rescans: the inner side of a nested loop, each with a query of its own, NULL among them.
SELECT plan('SELECT queries.id, nearest.id FROM queries, LATERAL (SELECT id FROM large ORDER BY v <-> q LIMIT 2) nearest');
SELECT count(*), bool_and(nearest.d = (SELECT min(v <-> q) FROM large)) FROM queries,
	LATERAL (SELECT v <-> q AS d FROM large ORDER BY v <-> q LIMIT 1) nearest;
SELECT n.id, count(*), count(d) FROM (VALUES (1, '[1,1,1,1,1,1,1,1]'::vector), (2, NULL), (3, '[0,0,0,0,0,0,0,0]')) n (id, q),
	LATERAL (SELECT v <=> q AS d FROM large ORDER BY v <=> q LIMIT 7) nearest GROUP BY 1 ORDER BY 1;

-- Two scans of one index at a time, and a scan within a scan.
SELECT count(*) FROM
	(SELECT id FROM large ORDER BY v <-> '[1,0,0,0,0,0,0,0]' LIMIT 50) a,
	LATERAL (SELECT id FROM large WHERE id <> a.id ORDER BY v <-> '[0,1,0,0,0,0,0,0]' LIMIT 3) b;

-- Prepared statements with a generic plan.
SET plan_cache_mode = force_generic_plan;
PREPARE nearest(vector) AS SELECT id FROM small ORDER BY v <-> $1 LIMIT 1;
EXPLAIN (COSTS OFF) EXECUTE nearest('[0,0,0,0,0,0,0,0]');
EXECUTE nearest('[0,0,0,0,0,0,0,0]');
EXECUTE nearest(test_vector(77, 8));
EXECUTE nearest('[1,2,3]');
EXECUTE nearest(test_vector(78, 8));
DEALLOCATE nearest;
RESET plan_cache_mode;

-- Cursors: forward only, unless they keep what they have read.
BEGIN;
DECLARE c NO SCROLL CURSOR FOR SELECT id FROM small ORDER BY v <-> test_vector(5, 8);
FETCH 1 FROM c;
MOVE 498 FROM c;
FETCH 5 FROM c;
FETCH 1 FROM c;
CLOSE c;
DECLARE c NO SCROLL CURSOR FOR SELECT id FROM small ORDER BY v <-> test_vector(5, 8);
MOVE 3 FROM c;
SAVEPOINT a;
FETCH BACKWARD 1 FROM c;
ROLLBACK TO a;
CLOSE c;
DECLARE c CURSOR FOR SELECT id FROM small ORDER BY v <-> test_vector(5, 8);
MOVE 3 FROM c;
FETCH PRIOR FROM c;
ROLLBACK TO a;
DECLARE c SCROLL CURSOR FOR SELECT id FROM small ORDER BY v <-> test_vector(6, 8);
FETCH 1 FROM c;
MOVE FORWARD 10 FROM c;
MOVE BACKWARD 10 FROM c;
FETCH 0 FROM c;
COMMIT;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT id FROM small ORDER BY v <-> test_vector(9, 8) LIMIT 3;
COMMIT;
FETCH 1 FROM held;
CLOSE held;

-- A cursor does not see what its own transaction inserts after it was opened; a new scan does.
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM small ORDER BY v <-> test_vector(10000, 8);
INSERT INTO small VALUES (10000, test_vector(10000, 8));
SELECT count(*) FROM (SELECT id FROM small ORDER BY v <-> test_vector(10000, 8) LIMIT 1) s WHERE id = 10000;
FETCH 1 FROM c;
ROLLBACK;
SELECT count(*) FROM (SELECT id FROM small ORDER BY v <-> test_vector(10000, 8) LIMIT 1) s WHERE id = 10000;

-- Partial and expression indexes.
CREATE TABLE parts (id int, a real, b real, kind int);
INSERT INTO parts SELECT i, i % 100, i / 100, i % 3 FROM generate_series(1, 3000) i;
CREATE INDEX parts_point ON parts USING phnsw ((ARRAY[a, b]::vector(2))) WHERE kind = 1;
EXPLAIN (COSTS OFF) SELECT id FROM parts WHERE kind = 1 ORDER BY ARRAY[a, b]::vector(2) <-> '[40,10]' LIMIT 5;
SELECT id, ARRAY[a, b]::vector(2) <-> '[40,10]' FROM parts WHERE kind = 1 ORDER BY ARRAY[a, b]::vector(2) <-> '[40,10]' LIMIT 5;
SELECT phnsw_check('parts_point', true);

-- A scan pins the table's pages itself: they are counted, and found when the file has changed.
SET phnsw.ef_search = 40;
SET phnsw.check_bounds = off;		-- it reads the rows as well
CREATE TABLE pinned (id int, v vector(2));
INSERT INTO pinned SELECT i, ARRAY[i % 100, i / 100]::vector(2) FROM generate_series(1, 4000) i;
CREATE INDEX pinned_v ON pinned USING phnsw (v);
VACUUM pinned;
CREATE FUNCTION nearest(x real, n int) RETURNS int[] LANGUAGE sql AS
$$SELECT array_agg(id) FROM (SELECT id FROM pinned ORDER BY v <-> ARRAY[x, 0]::vector(2) LIMIT n) s$$;
BEGIN;
SELECT pg_stat_get_xact_blocks_fetched('pinned'::regclass) AS fetched, pg_stat_get_xact_blocks_hit('pinned'::regclass) AS hit \gset before_
SELECT count(*) FROM (SELECT id FROM pinned ORDER BY v <-> '[50,20]' LIMIT 50) s;
SELECT pg_stat_get_xact_blocks_fetched('pinned'::regclass) >= :before_fetched + 20 AS fetched,
	pg_stat_get_xact_blocks_hit('pinned'::regclass) >= :before_hit + 20 AS hit;
COMMIT;
BEGIN;
SELECT nearest(50.2, 3);
ALTER TABLE pinned ALTER id TYPE bigint;
SELECT nearest(50.2, 3);
DECLARE c CURSOR FOR SELECT id FROM pinned ORDER BY v <-> '[20.2,0]';
FETCH 2 FROM c;
SAVEPOINT s;
FETCH 2 FROM c;
ROLLBACK TO s;
FETCH 2 FROM c;
ROLLBACK;
SELECT nearest(50.2, 3);
SELECT phnsw_check('pinned_v', true);

RESET phnsw.ef_search;
SET phnsw.check_bounds = on;
DROP FUNCTION nearest;
DROP TABLE small, tiny, large, parts, queries, nothing, pinned;
DROP FUNCTION recall, scanned, sorted, test_vector;
