-- WHERE v <-> q < r ORDER BY v <-> q LIMIT n with fewer such rows than n: the scan ends at r.
CREATE FUNCTION test_vector(id int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(sin(id * 0.37 + j) + cos(id * 0.011 * j))::real[]::vector FROM generate_series(1, dims) j $$;
CREATE TABLE rg (id int PRIMARY KEY, kind int, v vector(8)) WITH (autovacuum_enabled = false);
INSERT INTO rg SELECT i, i % 3, test_vector(i, 8) FROM generate_series(1, 3000) i;
CREATE INDEX rg_l2 ON rg USING phnsw (v);
CREATE INDEX rg_ip ON rg USING phnsw (v vector_ip_ops);
CREATE INDEX rg_cos ON rg USING phnsw (v vector_cosine_ops);
CREATE TABLE queries AS SELECT i AS id, test_vector(-i, 8) AS v, (i * 0.1)::float8 AS radius FROM generate_series(5, 9) i;
ANALYZE rg, queries;
SET enable_seqscan = off;
SET enable_sort = off;
SET enable_bitmapscan = off;
SET max_parallel_workers_per_gather = 0;
SET phnsw.ef_search = 100;

-- Is the answer of the index that of a sort; how many rows has the scan looked at?
CREATE FUNCTION ends(query text, OUT rows bigint, OUT same boolean, OUT looked text) LANGUAGE plpgsql AS $$
DECLARE
	by_index int[];
	sorted int[];
	n bigint;
BEGIN
	query := replace(query, 'Q', quote_literal(test_vector(-1, 8)::text));
	query := 'SELECT coalesce(array_agg(id), ''{}'') FROM (' || query || ') t';
	EXECUTE query INTO by_index;
	SELECT rechecks INTO n FROM phnsw_last_scan();
	PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_sort', 'on', true);
	EXECUTE query INTO sorted;
	PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_sort', 'off', true);
	rows := cardinality(by_index);
	same := by_index = sorted;
	looked := CASE WHEN n < rows + 200 AND n < 500 THEN 'few' WHEN n = 3000 THEN 'all' ELSE n::text END;
END $$;

-- conditions that end it: any comparison, on either side, of whatever grows or falls with the distance
SELECT c, e.* FROM unnest(ARRAY[
	'v <-> Q < 1', 'v <-> Q <= 1', '1 > v <-> Q', '1 >= v <-> Q', 'v <-> Q BETWEEN 0.5 AND 1', 'v <-> Q < 1::real', '1::real > v <-> Q',
	'Q <-> v < 1', '-(v <-> Q) > -1', '(v <-> Q) * -1 >= -1', '2 * (v <-> Q) + 1 < 3', '(v <-> Q) / -2 > -0.5', '3 - ((v <-> Q) - 1) > 3',
	'v <-> Q < 2 AND v <-> Q < 1', 'v <-> Q < 1 AND v <-> test_vector(7, 8) < 100', 'v <-> Q < 0', 'v <-> Q < NULL',
	'v <-> Q < (SELECT 1.0)', 'v <-> Q < 1 + abs(-0.5)', 'v <-> Q < extract(epoch FROM now() - now()) + 1', 'v <-> (SELECT Q::vector) < 1']) c, ends(format('SELECT id FROM rg WHERE %s ORDER BY v <-> Q LIMIT 3000', c)) e;
-- with others, of which the scan takes no notice
SELECT c, e.* FROM unnest(ARRAY[
	'v <-> Q < 1 AND kind = 1', 'kind = 1 AND v <-> Q < 1 AND id <> 17', 'v <-> Q < 1 AND kind = 5']) c, ends(format('SELECT id FROM rg WHERE %s ORDER BY v <-> Q LIMIT 3000', c)) e;
-- and conditions that may hold further out, or that a scan cannot know: all rows are looked at
SELECT c, e.* FROM unnest(ARRAY[
	'v <-> Q > 4', '1 <= v <-> Q', '1 - (v <-> Q) < 0', '(v <-> Q) * -1 < -1', '(v <-> Q) * 0 < 1', 'v <-> Q <> 1', 'NOT v <-> Q < 1', 'v <-> Q < 1 OR kind = 1',
	'abs((v <-> Q) - 3) < 1', 'v <-> test_vector(7, 8) < 1', 'v <-> Q < id', 'v <#> Q < 1', 'v <-> Q < 2 * random() + 1e6', 'id - (v <-> Q) > 0',
	'v <-> Q < ''NaN''', 'v <-> Q < ''Infinity''', 'l2_distance(v, Q) < 1', '(v <-> Q) * (v <-> Q) < 1', '1 / (v <-> Q) > 1', '(v <-> Q) * 1e10 < 1e10', '(v <-> Q) / ''Infinity'' < 1', '(v <-> Q) + 1e10 < 1e10',
	'v <-> (SELECT test_vector(7, 8)) < 1']) c, ends(format('SELECT id FROM rg WHERE %s ORDER BY v <-> Q LIMIT 3000', c)) e;
-- the other distances
SELECT c, e.* FROM unnest(ARRAY['1 - (v <=> Q) > 0.9', 'v <=> Q < 0.1']) c, ends(format('SELECT id FROM rg WHERE %s ORDER BY v <=> Q LIMIT 3000', c)) e;
SELECT c, e.* FROM unnest(ARRAY['(v <#> Q) * -1 > 9', 'v <#> Q < -9']) c, ends(format('SELECT id FROM rg WHERE %s ORDER BY v <#> Q LIMIT 3000', c)) e;
-- a second order, ties, an offset
SELECT c, e.* FROM unnest(ARRAY['ORDER BY v <-> Q, v <-> test_vector(7, 8) LIMIT 3000', 'ORDER BY v <-> Q FETCH FIRST 3000 ROWS WITH TIES',
	'ORDER BY v <-> Q OFFSET 5']) c, ends('SELECT id FROM rg WHERE v <-> Q < 1 ' || c) e;

-- Prepared: the same parameter, two that have one value (a client that numbers each question mark), two that have not, without a value.
SET plan_cache_mode = force_generic_plan;
CREATE FUNCTION looked(OUT looked text) LANGUAGE sql AS $$ SELECT CASE WHEN rechecks < 300 THEN 'few' ELSE 'many' END FROM phnsw_last_scan() $$;
PREPARE within(vector, float8) AS SELECT count(*) FROM (SELECT id FROM rg WHERE v <-> $1 < $2 ORDER BY v <-> $1 LIMIT 3000) t;
EXECUTE within(test_vector(-1, 8), 1) \; SELECT looked();
EXECUTE within(test_vector(-2, 8), 1.5) \; SELECT looked();
EXECUTE within(test_vector(-2, 8), NULL) \; SELECT looked();
EXECUTE within(NULL, 1) \; SELECT looked();
PREPARE within_of(vector, vector) AS SELECT count(*) FROM (SELECT id FROM rg WHERE v <-> $1 < 1 ORDER BY v <-> $2 LIMIT 3000) t;
EXECUTE within_of(test_vector(-1, 8), test_vector(-1, 8)) \; SELECT looked();
EXECUTE within_of(test_vector(-1, 8), test_vector(-2, 8)) \; SELECT looked();
EXECUTE within_of(NULL, test_vector(-2, 8)) \; SELECT looked();
EXECUTE within_of(test_vector(-1, 8), NULL) \; SELECT looked();
EXECUTE within_of(test_vector(-1, 8), test_vector(-1, 8)) \; SELECT looked();
RESET plan_cache_mode;

-- Scanned again: each outer row has a query and a range of its own, or its query is another one than that of the range.
CREATE FUNCTION rechecks() RETURNS bigint LANGUAGE sql AS $$ SELECT sum(rechecks)::bigint FROM phnsw_stats WHERE index = 'rg_l2'::regclass $$;
CREATE FUNCTION each(query text, OUT rows bigint, OUT same boolean, OUT looked text) LANGUAGE plpgsql AS $$
DECLARE
	before bigint := rechecks();
	by_index text;
	sorted text;
BEGIN
	query := 'SELECT string_agg(t::text, '' ''), count(*) FROM (' || query || ') t';
	EXECUTE query INTO by_index, rows;
	looked := CASE WHEN rechecks() - before < rows + 1000 THEN 'few' ELSE 'many' END;
	PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_sort', 'on', true);
	EXECUTE query INTO sorted;
	PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_sort', 'off', true);
	same := by_index IS NOT DISTINCT FROM sorted;
END $$;
SELECT * FROM each('SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM rg WHERE rg.v <-> q.v < q.radius ORDER BY rg.v <-> q.v LIMIT 3000) n ORDER BY q.id');
SELECT * FROM each('SELECT q.id, (SELECT count(*) FROM (SELECT 1 FROM rg WHERE rg.v <-> q.v < q.radius ORDER BY rg.v <-> q.v LIMIT 3000) t) FROM queries q');
SELECT * FROM each('SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM rg WHERE rg.v <-> (SELECT v FROM queries WHERE id = 5) < q.radius
	ORDER BY rg.v <-> q.v LIMIT 3000) n WHERE q.id < 7 ORDER BY q.id');
SELECT * FROM each('SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM rg WHERE rg.v <-> (SELECT v FROM queries WHERE id = 5) < q.radius
	ORDER BY rg.v <-> q.v LIMIT 3000) n WHERE q.id = 5');

-- A cursor that is read on after the end; one that goes back.
BEGIN;
DECLARE near SCROLL CURSOR FOR SELECT id FROM rg WHERE v <-> (SELECT test_vector(-1, 8)) < 0.8 ORDER BY v <-> (SELECT test_vector(-1, 8));
MOVE FORWARD ALL FROM near;
FETCH FORWARD 3 FROM near;
MOVE BACKWARD ALL FROM near;
MOVE FORWARD ALL FROM near;
COMMIT;

-- What the plan says is what there was to filter.
CREATE FUNCTION removed(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		RETURN QUERY SELECT regexp_replace(line, 'rows=(\d+)(\.00)?', 'rows=\1') WHERE line ~ 'Index Scan|Removed';
	END LOOP;
END $$;
SELECT removed('SELECT id FROM rg WHERE v <-> (SELECT test_vector(-1, 8)) < 0.8 ORDER BY v <-> (SELECT test_vector(-1, 8)) LIMIT 3000');

-- In relaxed order rows come late: none is left out.
SET phnsw.iterative_scan = relaxed_order;
PREPARE relaxed AS SELECT count(*) FROM (SELECT id FROM rg WHERE v <-> (SELECT test_vector(-1, 8)) < 1 ORDER BY v <-> (SELECT test_vector(-1, 8)) LIMIT 3000) t;
EXECUTE relaxed \; SELECT looked();
RESET phnsw.iterative_scan;
EXECUTE relaxed \; SELECT looked();

-- A policy's condition is evaluated first, as ever: what it hides is seen by no function of a condition.
CREATE FUNCTION told(float8) RETURNS float8 LANGUAGE plpgsql IMMUTABLE COST 0.0001 AS $$ BEGIN RAISE NOTICE 'told'; RETURN $1; END $$;
CREATE ROLE regress_phnsw_range;
GRANT SELECT ON rg TO regress_phnsw_range;
CREATE POLICY shown ON rg USING (id < 0);
ALTER TABLE rg ENABLE ROW LEVEL SECURITY;
SET ROLE regress_phnsw_range;
SELECT count(*) FROM (SELECT id FROM rg WHERE v <-> test_vector(-1, 8) < told(1.0) AND told(id) > 0 ORDER BY v <-> test_vector(-1, 8) LIMIT 3000) t;
-- Nor does what a condition computes tell of it by an error: here all rows but the nearest would overflow.
SELECT count(*) FROM (SELECT id FROM rg WHERE (v <-> test_vector(17, 8)) * 1e308 * 1e307 < 1 ORDER BY v <-> test_vector(17, 8) LIMIT 3000) t;
RESET ROLE;
DROP OWNED BY regress_phnsw_range;
DROP ROLE regress_phnsw_range;

SELECT i, phnsw_check(i, true) FROM unnest(ARRAY['rg_l2', 'rg_ip', 'rg_cos']::regclass[]) i;
DROP TABLE rg, queries;
DROP FUNCTION ends, looked, rechecks, each, removed, told, test_vector;
