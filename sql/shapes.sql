-- Shapes of queries: each returns by the index what it returns without, whatever the executor does with the scan.
SET jit = off;
SET max_parallel_workers_per_gather = 0;
SET phnsw.check_bounds = on;
-- More than a tenth of the rows: the search is as good as exact, and still one of the graph.
SET phnsw.ef_search = 500;

CREATE FUNCTION test_vector(id int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg((hashint8extended(id, i) >> 40)::real / 8388608)::vector FROM generate_series(1, dims) i
$$;
CREATE TABLE items (id int PRIMARY KEY, kind int, v vector(8)) WITH (autovacuum_enabled = off);
INSERT INTO items SELECT i, i % 7, test_vector(i, 8) FROM generate_series(1, 5500) i;
CREATE INDEX items_v ON items USING phnsw (v);
CREATE INDEX items_ip ON items USING phnsw (v vector_ip_ops);
CREATE TABLE copies AS SELECT i AS id, test_vector(i % 100, 8)::vector(8) AS v FROM generate_series(1, 600) i;
CREATE INDEX copies_v ON copies USING phnsw (v);
CREATE TABLE queries (id int PRIMARY KEY, v vector(8));
INSERT INTO queries SELECT i, test_vector(-i, 8) FROM generate_series(1, 12) i;
CREATE TABLE kinds (id int, kind int, v vector(8)) PARTITION BY LIST (kind);
CREATE TABLE kinds_a PARTITION OF kinds FOR VALUES IN (0, 1, 2);
CREATE TABLE kinds_b PARTITION OF kinds FOR VALUES IN (3, 4);
CREATE TABLE kinds_c PARTITION OF kinds DEFAULT;
CREATE INDEX ON kinds USING phnsw (v);
INSERT INTO kinds SELECT id, kind, v FROM items WHERE id <= 3000;
CREATE TABLE parent (id int, v vector(8));
CREATE TABLE child () INHERITS (parent);
CREATE INDEX ON parent USING phnsw (v);
CREATE INDEX ON child USING phnsw (v);
INSERT INTO parent SELECT id, v FROM items WHERE id <= 300;
INSERT INTO child SELECT id, v FROM items WHERE id BETWEEN 301 AND 900;
-- a domain, and vectors of several lengths, each with an index of its own
CREATE DOMAIN embedding AS vector(8) CHECK (vector_norm(VALUE) < 100);
CREATE TABLE mixed (id int, d embedding, v vector);
INSERT INTO mixed SELECT i, test_vector(i, 8), test_vector(i, 3 + i % 2) FROM generate_series(1, 600) i;
CREATE INDEX mixed_domain ON mixed USING phnsw (d);
CREATE INDEX mixed_3 ON mixed USING phnsw ((v::vector(3))) WHERE vector_dims(v) = 3;
CREATE INDEX mixed_4 ON mixed USING phnsw ((v::vector(4))) WHERE vector_dims(v) = 4;
CREATE INDEX mixed_part ON mixed USING phnsw ((subvector(v, 1, 2)::vector(2)));
CREATE INDEX mixed_unit ON mixed USING phnsw ((l2_normalize(d)::vector(8)) vector_ip_ops);
ANALYZE;

-- The rows of a query as the index is used wherever it can be, and as it is not; Q stands for a vector.
CREATE FUNCTION rows_of(query text, by_index boolean, OUT result text[], OUT indexes bigint) LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	PERFORM set_config(name, (on_index = by_index)::text, true) FROM (VALUES ('enable_indexscan', true), ('enable_seqscan', false),
		('enable_sort', false), ('enable_hashagg', false), ('enable_hashjoin', false), ('enable_bitmapscan', false)) s (name, on_index);
	indexes := 0;
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		indexes := indexes + (line ~ 'Order By: .*<')::int;
	END LOOP;
	EXECUTE 'SELECT array_agg(s::text ORDER BY s::text COLLATE "C") FROM (' || query || ') s' INTO result;
END
$$;
CREATE TABLE shapes (n int GENERATED ALWAYS AS IDENTITY, shape text, query text, sorted text[]);
INSERT INTO shapes (shape, query) VALUES
('rows with ties', 'SELECT id, v <-> Q FROM copies ORDER BY v <-> Q FETCH FIRST 10 ROWS WITH TIES'),
('DISTINCT', 'SELECT DISTINCT v <-> Q AS d FROM copies ORDER BY d LIMIT 10'),
('DISTINCT ON', 'SELECT DISTINCT ON (v <-> Q) v <-> Q FROM copies ORDER BY v <-> Q LIMIT 10'),
('GROUP BY', 'SELECT v <-> Q AS d, count(*), min(id) FROM copies GROUP BY d ORDER BY d LIMIT 10'),
('GROUP BY, all', 'SELECT v <-> Q AS d, count(*), min(id) FROM copies GROUP BY d'),
('minimum', 'SELECT min(v <-> Q) FROM items'),
('window functions', 'SELECT id, row_number() OVER (ORDER BY v <-> Q), lag(id) OVER (ORDER BY v <-> Q) FROM items ORDER BY v <-> Q LIMIT 20'),
('a rank as the condition', 'SELECT * FROM (SELECT id, rank() OVER (ORDER BY v <-> Q) AS r FROM items) x WHERE r <= 10'),
('two distances', 'SELECT id FROM copies ORDER BY v <-> Q, v <-> test_vector(-2, 8) LIMIT 30'),
('two inner products', 'SELECT id FROM items ORDER BY v <#> Q, v <#> test_vector(-2, 8) LIMIT 30'),
('two inner products, the first is zero', 'SELECT v <#> Q FROM items ORDER BY v <#> array_fill(0, ARRAY[8])::vector, v <#> Q LIMIT 30'),
('a range, all', 'SELECT id FROM items WHERE v <-> Q < 0.9 ORDER BY v <-> Q'),
('LIMIT for each', 'SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM items ORDER BY items.v <-> q.v LIMIT q.id) n'),
('nearest of the nearest', 'SELECT q.id, a.id, b.id FROM queries q, LATERAL (SELECT id, v FROM items ORDER BY items.v <-> q.v LIMIT 2) a, '
	'LATERAL (SELECT id FROM items WHERE items.id <> a.id ORDER BY items.v <-> a.v LIMIT 2) b'),
('outer join without a match', 'SELECT q.id, n.id FROM queries q LEFT JOIN LATERAL (SELECT id FROM copies c WHERE c.id = -q.id ORDER BY c.v <-> q.v LIMIT 3) n ON true'),
('array of a subquery', 'SELECT id, ARRAY(SELECT id FROM items ORDER BY items.v <-> q.v LIMIT 4) FROM queries q'),
('a query that is an expression', 'SELECT q.id, (SELECT id FROM items ORDER BY items.v <-> CASE WHEN q.id % 2 = 0 THEN q.v ELSE Q END LIMIT 1) FROM queries q'),
('IN', 'SELECT id FROM items WHERE id IN (SELECT id FROM items ORDER BY v <-> Q LIMIT 10)'),
('NOT IN', 'SELECT count(*) FROM items WHERE id NOT IN (SELECT id FROM items ORDER BY v <-> Q LIMIT 10)'),
('no nearer than ALL', 'SELECT id FROM items WHERE v <-> Q <= ALL (SELECT v <-> Q FROM items ORDER BY v <-> Q LIMIT 5)'),
('CTE, read twice', 'WITH a AS MATERIALIZED (SELECT id, v <-> Q AS d FROM items ORDER BY d LIMIT 20) SELECT * FROM a x JOIN a y USING (id)'),
('CTE, read in part', 'WITH a AS MATERIALIZED (SELECT id, v <-> Q AS d FROM items ORDER BY d) SELECT * FROM a LIMIT 5'),
('CTE in place', 'WITH a AS NOT MATERIALIZED (SELECT id FROM items ORDER BY v <-> Q LIMIT 20) SELECT id FROM a x JOIN a y USING (id)'),
('recursion', 'WITH RECURSIVE r (n, id, v) AS (SELECT 1, id, v FROM items WHERE id = 5 UNION ALL '
	'SELECT n + 1, x.id, x.v FROM r, LATERAL (SELECT id, v FROM items WHERE items.id > r.id ORDER BY items.v <-> r.v LIMIT 1) x WHERE n < 10) SELECT n, id FROM r'),
('UNION ALL', 'SELECT id FROM (SELECT id, v FROM items WHERE kind = 1 UNION ALL SELECT id, v FROM parent) u ORDER BY v <-> Q LIMIT 30'),
('INTERSECT', '(SELECT id FROM items ORDER BY v <-> Q LIMIT 30) INTERSECT (SELECT id FROM items ORDER BY v <-> test_vector(-2, 8) LIMIT 3000)'),
('partitions', 'SELECT id, tableoid FROM kinds ORDER BY v <-> Q LIMIT 25'),
('partitions, all', 'SELECT id FROM kinds ORDER BY v <-> Q'),
('partitions, one at run time', 'SELECT id FROM kinds WHERE kind = (SELECT 3) ORDER BY v <-> Q LIMIT 25'),
('partitions, some for each', 'SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM kinds WHERE kind = q.id % 9 ORDER BY kinds.v <-> q.v LIMIT 3) n'),
('inheritance', 'SELECT id, tableoid FROM parent ORDER BY v <-> Q LIMIT 25'),
('system columns, a whole row', 'SELECT ctid, tableoid, xmin, cmax, items FROM items ORDER BY v <-> Q LIMIT 25'),
('the order comes through a join', 'SELECT i.id, q.id FROM items i JOIN queries q ON q.id = i.kind ORDER BY i.v <-> Q LIMIT 15'),
('semijoin', 'SELECT id FROM items WHERE EXISTS (SELECT 1 FROM queries q WHERE q.id = items.kind) ORDER BY v <-> Q LIMIT 15'),
('antijoin', 'SELECT id FROM items WHERE NOT EXISTS (SELECT 1 FROM queries q WHERE q.id = items.kind) ORDER BY v <-> Q LIMIT 15'),
('joins by distance', 'SELECT count(*), count(b.id) FROM (SELECT id, v <-> Q AS d FROM items ORDER BY d OFFSET 0) a LEFT JOIN '
	'(SELECT id, v <-> Q AS d FROM items ORDER BY d LIMIT 100) b USING (d)'),
('rows to lock', 'SELECT id FROM items ORDER BY v <-> Q LIMIT 7 FOR NO KEY UPDATE SKIP LOCKED'),
('functions that return sets', 'SELECT id, unnest(ARRAY[1, 2]) FROM items ORDER BY v <-> Q LIMIT 7'),
('LIMIT 0', 'SELECT id FROM items ORDER BY v <-> Q LIMIT 0'),
('LIMIT NULL', 'SELECT id FROM copies ORDER BY v <-> Q LIMIT NULL'),
('a domain', 'SELECT id FROM mixed ORDER BY d <-> Q LIMIT 15'),
('3 dimensions of several', 'SELECT id FROM mixed WHERE vector_dims(v) = 3 ORDER BY v::vector(3) <-> subvector(Q, 1, 3) LIMIT 15'),
('4 dimensions of several, all', 'SELECT id FROM mixed WHERE vector_dims(v) = 4 ORDER BY v::vector(4) <-> subvector(Q, 1, 4)'),
('the first dimensions', 'SELECT id FROM mixed ORDER BY subvector(v, 1, 2)::vector(2) <-> subvector(Q, 1, 2) LIMIT 15'),
('unit vectors', 'SELECT id FROM mixed ORDER BY l2_normalize(d)::vector(8) <#> Q LIMIT 15');
UPDATE shapes SET query = replace(query, 'Q', 'test_vector(-1, 8)');
UPDATE shapes SET sorted = result FROM shapes o, rows_of(o.query, false) WHERE o.n = shapes.n AND indexes = 0;

SELECT shape, cardinality(result) AS rows, indexes > 0 AS by_index, result IS NOT DISTINCT FROM sorted AS same FROM shapes, rows_of(query, true) ORDER BY n;
-- parallel plans, whose workers search for subqueries; little memory
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT shape FROM shapes, rows_of(query, true) WHERE result IS DISTINCT FROM sorted;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SET max_parallel_workers_per_gather = 0;
SET work_mem = '64kB';
SELECT shape FROM shapes, rows_of(query, true) WHERE result IS DISTINCT FROM sorted;
RESET work_mem;

-- Scans within scans of the same index: loops in loops, rows added between their rows, errors that are caught.
SET enable_seqscan = off;
SET enable_sort = off;
DO $$
DECLARE
	a record;
	b record;
	c record;
	n int := 0;
	caught int := 0;
	nearest float8;
BEGIN
	FOR a IN SELECT id, v FROM items ORDER BY v <-> test_vector(-5, 8) LIMIT 10 LOOP
		nearest := -1;
		FOR b IN SELECT id, v, v <-> a.v AS d FROM items ORDER BY d LIMIT 30 LOOP
			ASSERT b.d >= nearest;
			nearest := b.d;
			FOR c IN SELECT id FROM items WHERE kind = b.id % 5 ORDER BY v <-> b.v LIMIT 2 LOOP
				n := n + 1;
			END LOOP;
			BEGIN
				INSERT INTO items VALUES (10000 + n, 7, b.v);
				PERFORM 1 / (n % 4) FROM items ORDER BY v <-> a.v LIMIT 1;
			EXCEPTION WHEN division_by_zero THEN
				caught := caught + 1;
			END;
		END LOOP;
	END LOOP;
	RAISE NOTICE '%, % caught', n, caught;
END
$$;
SELECT count(*) FROM items WHERE kind = 7;

-- Conditions that search, and that insert.  A scan returns the rows that were there when it began.
CREATE FUNCTION nearest(q vector) RETURNS int LANGUAGE sql STABLE AS 'SELECT id FROM items WHERE kind < 7 ORDER BY v <-> q LIMIT 1';
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items WHERE nearest(v) = id ORDER BY v <-> test_vector(-3, 8) LIMIT 50) s;
CREATE FUNCTION also(q vector) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO items SELECT max(id) + 1, 8, q FROM items;
	RETURN true;
END
$$;
SELECT count(*), count(DISTINCT id), max(id) < 20000 AS old FROM (SELECT id FROM items WHERE id <= 5500 AND also(v) ORDER BY v <-> test_vector(-3, 8) LIMIT 100) s;
SELECT count(*) FROM items WHERE kind = 8;
DELETE FROM items WHERE kind >= 7;
VACUUM items;

-- A transaction that ends in the midst of a loop keeps the rows that are left.
CREATE PROCEDURE walk() LANGUAGE plpgsql AS $$
DECLARE
	r record;
	n int := 0;
BEGIN
	FOR r IN SELECT id FROM items ORDER BY v <-> test_vector(-8, 8) LIMIT 200 LOOP
		n := n + 1;
		UPDATE items SET kind = 9 WHERE id = r.id;
		IF n % 50 = 0 THEN
			COMMIT;
		ELSIF n % 75 = 0 THEN
			ROLLBACK;
		END IF;
	END LOOP;
	RAISE NOTICE '% rows', n;
END
$$;
CALL walk();
SELECT count(*) FROM items WHERE kind = 9;

-- An error in a cursor's savepoint ends the cursor that raised it; others go on where they are, not where they were.
BEGIN;
DECLARE c CURSOR FOR SELECT row_number() OVER (), id FROM items ORDER BY v <-> test_vector(-8, 8);
DECLARE bad CURSOR FOR SELECT 1 / (row_number() OVER () - 3) FROM items ORDER BY v <-> test_vector(-9, 8);
FETCH 2 FROM c;
SAVEPOINT s;
MOVE 1000 IN c;
FETCH 5 FROM bad;
ROLLBACK TO s;
FETCH 1 FROM c;
FETCH 1 FROM bad;
ROLLBACK TO s;
MOVE FORWARD ALL IN c;
COMMIT;

-- Plans outlive what they were made for.
SET plan_cache_mode = force_generic_plan;
PREPARE nearest_of(vector) AS SELECT count(*), min(d) = (SELECT min((v <-> $1) + 0) FROM copies) AS nearest FROM (SELECT v <-> $1 AS d FROM copies ORDER BY d LIMIT 6) s;
EXECUTE nearest_of(test_vector(-1, 8));
REINDEX INDEX copies_v;
EXECUTE nearest_of(test_vector(-1, 8));
TRUNCATE copies;
EXECUTE nearest_of(test_vector(-1, 8));
INSERT INTO copies SELECT id, v FROM items;
EXECUTE nearest_of(test_vector(-1, 8));
ALTER TABLE copies ALTER v TYPE vector(8) USING (v + v)::vector(8);
EXECUTE nearest_of(test_vector(-1, 8));
DROP INDEX copies_v;
EXECUTE nearest_of(test_vector(-1, 8));
EXECUTE nearest_of('[1,2,3]');
DEALLOCATE nearest_of;
RESET plan_cache_mode;

-- Row-level security is a condition like any other.
CREATE ROLE regress_phnsw_reader;
GRANT SELECT ON items TO regress_phnsw_reader;
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY one_kind ON items USING (kind = 3);
SET ROLE regress_phnsw_reader;
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <-> '[1,0,0,0,0,0,0,0]' LIMIT 50;
SELECT count(*), bool_and(kind = 3) FROM (SELECT * FROM items ORDER BY v <-> '[1,0,0,0,0,0,0,0]' LIMIT 50) s;
RESET ROLE;

SELECT phnsw_check('items_v', true, true), phnsw_check('items_ip', true, true);
DROP TABLE items, copies, queries, kinds, parent, child, mixed, shapes;
DROP DOMAIN embedding;
DROP PROCEDURE walk;
DROP FUNCTION test_vector, rows_of, nearest, also;
DROP ROLE regress_phnsw_reader;
