-- What the planner chooses: the index where it is cheaper, something else where that is.
\set VERBOSITY terse
-- The defaults, wherever the tests run.
SET jit = off;
SET effective_cache_size = '4GB';
SET work_mem = '4MB';
SET random_page_cost = 4;
SET max_parallel_workers_per_gather = 2;
SET cursor_tuple_fraction = 0.1;

CREATE FUNCTION test_vector(id int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg((hashint8extended(id, i) & 65535) / 65536.0)::real[]::vector FROM generate_series(1, dims) i
$$;
CREATE TABLE p (id int PRIMARY KEY, rare int, common int, seldom int, v vector(8));
INSERT INTO p SELECT i, i, i % 2, i % 500, test_vector(i, 8) FROM generate_series(1, 5000) i;
CREATE INDEX p_v ON p USING phnsw (v);
CREATE INDEX p_rare ON p (rare);

-- 1,000 rows for each operator class
CREATE TABLE k (id int, v vector(16));
INSERT INTO k SELECT i, test_vector(i, 16) FROM generate_series(1, 1000) i;
CREATE TABLE k_l2 AS TABLE k;
CREATE INDEX k_l2_v ON k_l2 USING phnsw (v vector_l2_ops);
CREATE TABLE k_ip AS TABLE k;
CREATE INDEX k_ip_v ON k_ip USING phnsw (v vector_ip_ops);
CREATE TABLE k_cosine AS TABLE k;
CREATE INDEX k_cosine_v ON k_cosine USING phnsw (v vector_cosine_ops);
CREATE TABLE k_all (LIKE k);
INSERT INTO k_all SELECT i, test_vector(i, 16) FROM generate_series(1, 3000) i;
CREATE INDEX k_all_l2 ON k_all USING phnsw (v vector_l2_ops);
CREATE INDEX k_all_ip ON k_all USING phnsw (v vector_ip_ops);
CREATE INDEX k_all_cosine ON k_all USING phnsw (v vector_cosine_ops);

-- vectors that are stored out of line: the table itself is small
CREATE TABLE k_long (id int PRIMARY KEY, v vector(600));
ALTER TABLE k_long ALTER v SET STORAGE external;
INSERT INTO k_long SELECT i, test_vector(i, 600) FROM generate_series(1, 1000) i;
CREATE INDEX k_long_v ON k_long USING phnsw (v);
CREATE TABLE long AS SELECT i AS id, i % 2 AS half, i % 100 AS hundredth, array_cat(test_vector(i, 20)::real[], array_fill(0.5::real, ARRAY[580]))::vector(600) AS v
FROM generate_series(1, 3000) i;
CREATE INDEX long_v ON long USING phnsw (v);
CREATE TABLE short AS SELECT id, hundredth, subvector(v, 1, 20)::vector(20) AS v FROM long;
CREATE INDEX short_v ON short USING phnsw (v);

-- many rows, of both types: what a scan hands out and a filter rejects is dearer than what a sequential scan passes by
CREATE TABLE many AS SELECT i AS id, i % 100 AS hundredth, i % 1000 AS seldom, v::vector(8) AS v, v::halfvec(8) AS h
FROM (SELECT i, test_vector(i, 8) AS v FROM generate_series(1, 60000) i OFFSET 0) AS made;
CREATE INDEX many_v ON many USING phnsw (v);
CREATE INDEX many_h ON many USING phnsw (h);

-- 10 rows
CREATE TABLE tiny AS SELECT * FROM k WHERE id <= 10;
CREATE INDEX tiny_v ON tiny USING phnsw (v);

-- an expression, a part of the rows
CREATE TABLE texts AS SELECT id, id % 4 AS kind, v::text AS t, v FROM k_all;
CREATE INDEX texts_expression ON texts USING phnsw ((t::vector(16)));
CREATE INDEX texts_kind_1 ON texts USING phnsw (v) WHERE kind = 1;

-- partitions
CREATE TABLE parts (id int, v vector(16)) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1500);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (1500) TO (5000);
INSERT INTO parts SELECT id, v FROM k_all;
CREATE INDEX parts_v ON parts USING phnsw (v);

-- loaded behind the index, never analyzed
CREATE TABLE loaded (id int, v vector(16)) WITH (autovacuum_enabled = off);
CREATE INDEX loaded_v ON loaded USING phnsw (v);
INSERT INTO loaded SELECT id, v FROM k_all;

CREATE TABLE groups (id int PRIMARY KEY, name text);
INSERT INTO groups VALUES (0, 'even'), (1, 'odd');
ANALYZE p, k_l2, k_ip, k_cosine, k_all, k_long, long, short, many, tiny, texts, parts, groups;

-- A plan in short: node types, with the index or table of a scan; what lies below a node stands in its parentheses.
CREATE FUNCTION nodes_of(plan json) RETURNS text LANGUAGE sql AS $$
	SELECT concat(
		plan->>'Node Type', ' ' || coalesce(plan->>'Index Name', plan->>'Relation Name'),
		'(' || (SELECT string_agg(nodes_of(below), ', ') FROM json_array_elements(plan->'Plans') below) || ')')
$$;
CREATE FUNCTION plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT JSON) ' || query INTO plan;
	RETURN nodes_of(plan->0->'Plan');
END
$$;

-- Parameters of the prepared statements are not known when these are planned.
SET plan_cache_mode = force_generic_plan;
PREPARE by_vector(vector) AS SELECT id FROM p ORDER BY v <-> $1 LIMIT 10;
PREPARE by_vector_and_limit(vector, int) AS SELECT id FROM p ORDER BY v <-> $1 LIMIT $2;

-- Q and Q16 stand for vectors of 8 and 16 dimensions.
CREATE TABLE cases (n int GENERATED ALWAYS AS IDENTITY, name text UNIQUE, expected text, query text);
INSERT INTO cases (name, expected, query) VALUES
('L2, 1,000 rows', 'Limit(Index Scan k_l2_v)',
	$$SELECT id FROM k_l2 ORDER BY v <-> Q16 LIMIT 10$$),
('inner product, 1,000 rows', 'Limit(Index Scan k_ip_v)',
	$$SELECT id FROM k_ip ORDER BY v <#> Q16 LIMIT 10$$),
('cosine, 1,000 rows', 'Limit(Index Scan k_cosine_v)',
	$$SELECT id FROM k_cosine ORDER BY v <=> Q16 LIMIT 10$$),
('1,000 rows, vectors out of line', 'Limit(Index Scan k_long_pkey, Index Scan k_long_v)',
	$$SELECT id FROM k_long ORDER BY v <-> (SELECT v FROM k_long WHERE id = 1) LIMIT 10$$),
('3,000 rows, out of line: half of them', 'Limit(Index Scan long_v)',
	$$SELECT id FROM long WHERE half = 1 ORDER BY v <-> array_fill(0.5::real, ARRAY[600])::vector LIMIT 10$$),
('3,000 rows, out of line: one in 100', 'Limit(Sort(Seq Scan long))',
	$$SELECT id FROM long WHERE hundredth = 17 ORDER BY v <-> array_fill(0.5::real, ARRAY[600])::vector LIMIT 1$$),
('3,000 rows in line: one in 100', 'Limit(Index Scan short_v)',
	$$SELECT id FROM short WHERE hundredth = 17 ORDER BY v <-> array_fill(0.5::real, ARRAY[20])::vector LIMIT 1$$),
('three indexes: L2', 'Limit(Index Scan k_all_l2)',
	$$SELECT id FROM k_all ORDER BY v <-> Q16 LIMIT 10$$),
('three indexes: inner product', 'Limit(Index Scan k_all_ip)',
	$$SELECT id FROM k_all ORDER BY v <#> Q16 LIMIT 10$$),
('three indexes: cosine', 'Limit(Index Scan k_all_cosine)',
	$$SELECT id FROM k_all ORDER BY v <=> Q16 LIMIT 10$$),
('5,000 rows', 'Limit(Index Scan p_v)',
	$$SELECT id FROM p ORDER BY v <-> Q LIMIT 10$$),
('LIMIT 1', 'Limit(Index Scan p_v)',
	$$SELECT id FROM p ORDER BY v <-> Q LIMIT 1$$),
('LIMIT 500', 'Limit(Index Scan p_v)',
	$$SELECT id FROM p ORDER BY v <-> Q LIMIT 500$$),
('LIMIT of all rows', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p ORDER BY v <-> Q LIMIT 5000$$),
('no LIMIT', 'Sort(Seq Scan p)',
	$$SELECT id FROM p ORDER BY v <-> Q$$),
('OFFSET 100', 'Limit(Index Scan p_v)',
	$$SELECT id FROM p ORDER BY v <-> Q LIMIT 10 OFFSET 100$$),
('OFFSET behind nearly all', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p ORDER BY v <-> Q LIMIT 10 OFFSET 4900$$),
('LIMIT is an expression', 'Limit(Aggregate(Seq Scan groups), Index Scan p_v)',
	$$SELECT id FROM p ORDER BY v <-> Q LIMIT (SELECT 3 + count(*) FROM groups)$$),
('the distance is returned', 'Limit(Index Scan p_v)',
	$$SELECT id, v <-> Q FROM p ORDER BY 2 LIMIT 10$$),
('distance first, then another column', 'Limit(Sort(Seq Scan p)) or Limit(Incremental Sort(Index Scan p_v))',
	$$SELECT id FROM p ORDER BY v <-> Q, id LIMIT 10$$),
('the query on the left', 'Limit(Index Scan p_v)',
	$$SELECT id FROM p ORDER BY Q <-> v LIMIT 10$$),
('filter: half of the rows', 'Limit(Index Scan p_v)',
	$$SELECT id FROM p WHERE common = 1 ORDER BY v <-> Q LIMIT 10$$),
('filter: one row in 500, without an index', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p WHERE seldom = 17 ORDER BY v <-> Q LIMIT 10$$),
('60,000 rows', 'Limit(Index Scan many_v)',
	$$SELECT id FROM many ORDER BY v <-> Q LIMIT 10$$),
('60,000 rows: one in 100', 'Limit(Index Scan many_v)',
	$$SELECT id FROM many WHERE hundredth = 17 ORDER BY v <-> Q LIMIT 10$$),
('60,000 rows: one in 1,000', 'Limit(Sort(Seq Scan many))',
	$$SELECT id FROM many WHERE seldom = 17 ORDER BY v <-> Q LIMIT 10$$),
('60,000 rows: LIMIT 1000', 'Limit(Index Scan many_v)',
	$$SELECT id FROM many ORDER BY v <-> Q LIMIT 1000$$),
('60,000 rows: LIMIT 40000', 'Limit(Sort(Seq Scan many))',
	$$SELECT id FROM many ORDER BY v <-> Q LIMIT 40000$$),
('60,000 rows: all within a distance', 'Limit(Index Scan many_v)',
	$$SELECT id FROM many WHERE v <-> Q < 0.5 ORDER BY v <-> Q LIMIT 6000$$),
('60,000 rows: another distance', 'Limit(Sort(Seq Scan many))',
	$$SELECT id FROM many WHERE v <#> Q < 0.5 ORDER BY v <-> Q LIMIT 6000$$),
('60,000 rows of halves', 'Limit(Index Scan many_h)',
	$$SELECT id FROM many ORDER BY h <-> Q LIMIT 10$$),
('60,000 rows of halves: one in 1,000', 'Limit(Sort(Seq Scan many))',
	$$SELECT id FROM many WHERE seldom = 17 ORDER BY h <-> Q LIMIT 10$$),
('filter: one row, by a b-tree', 'Limit(Sort(Index Scan p_rare))',
	$$SELECT id FROM p WHERE rare = 17 ORDER BY v <-> Q LIMIT 10$$),
('filter: 14 rows, by a b-tree', 'Limit(Sort(Index Scan p_rare))',
	$$SELECT id FROM p WHERE rare BETWEEN 17 AND 30 ORDER BY v <-> Q LIMIT 10$$),
('filter: nearly all rows, with a b-tree', 'Limit(Index Scan p_v)',
	$$SELECT id FROM p WHERE rare > 17 ORDER BY v <-> Q LIMIT 10$$),
('filter: a range of the distance', 'Limit(Index Scan p_v)',
	$$SELECT id FROM p WHERE v <-> Q < 0.5 ORDER BY v <-> Q LIMIT 10$$),
('10 rows', 'Limit(Sort(Seq Scan tiny)) or Limit(Index Scan tiny_v)',
	$$SELECT id FROM tiny ORDER BY v <-> Q16 LIMIT 10$$),
('no order', 'Limit(Seq Scan p)',
	$$SELECT id FROM p WHERE v <-> Q < 0.5 LIMIT 10$$),
('no order: count', 'Aggregate(Seq Scan p)',
	$$SELECT count(*) FROM p$$),
('DESC', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p ORDER BY v <-> Q DESC LIMIT 10$$),
('DESC NULLS LAST', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p ORDER BY v <-> Q DESC NULLS LAST LIMIT 10$$),
('NULLS FIRST', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p ORDER BY v <-> Q NULLS FIRST LIMIT 10$$),
('another operator', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p ORDER BY v <=> Q LIMIT 10$$),
('the function instead of the operator', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p ORDER BY l2_distance(v, Q) LIMIT 10$$),
('an expression of the distance', 'Limit(Sort(Seq Scan p))',
	$$SELECT id FROM p ORDER BY (v <-> Q) * 2 LIMIT 10$$),
('the minimum', 'Result(Limit(Index Scan p_v))',
	$$SELECT min(v <-> Q) FROM p$$),
('expression index', 'Limit(Index Scan texts_expression)',
	$$SELECT id FROM texts ORDER BY t::vector(16) <-> Q16 LIMIT 10$$),
('expression index, another expression', 'Limit(Sort(Seq Scan texts))',
	$$SELECT id FROM texts ORDER BY t::vector <-> Q16 LIMIT 10$$),
('partial index, implied', 'Limit(Index Scan texts_kind_1)',
	$$SELECT id FROM texts WHERE kind = 1 ORDER BY v <-> Q16 LIMIT 10$$),
('partial index, not implied', 'Limit(Sort(Seq Scan texts))',
	$$SELECT id FROM texts WHERE kind IN (1, 2) ORDER BY v <-> Q16 LIMIT 10$$),
('prepared, generic plan', 'Limit(Index Scan p_v)',
	$$EXECUTE by_vector(Q)$$),
('prepared, LIMIT too', 'Limit(Index Scan p_v)',
	$$EXECUTE by_vector_and_limit(Q, 10)$$),
('NULL query', 'Limit(Seq Scan p)',
	$$SELECT id FROM p ORDER BY v <-> NULL LIMIT 10$$),
('NULL query, not known to the planner', 'Limit(Result, Index Scan p_v)',
	$$SELECT id FROM p ORDER BY v <-> (SELECT NULL::vector) LIMIT 10$$),
('query from a subquery', 'Limit(Index Scan p_pkey, Index Scan p_v)',
	$$SELECT id FROM p ORDER BY v <-> (SELECT v FROM p WHERE id = 3) LIMIT 10$$),
('LATERAL', 'Nested Loop(Index Scan p_pkey, Limit(Index Scan p_v))',
	$$SELECT a.id, n.id FROM p a CROSS JOIN LATERAL (SELECT id FROM p b ORDER BY b.v <-> a.v LIMIT 3) n WHERE a.id < 4$$),
('join, the order comes through', 'Limit(Nested Loop(Index Scan p_v, Materialize(Seq Scan groups)))',
	$$SELECT p.id, name FROM p JOIN groups g ON g.id = p.common ORDER BY v <-> Q LIMIT 10$$),
('subquery in FROM', 'Aggregate(Limit(Index Scan p_v))',
	$$SELECT count(*) FROM (SELECT id FROM p ORDER BY v <-> Q LIMIT 100) t$$),
('subquery, filtered outside', 'Subquery Scan(Limit(Index Scan p_v))',
	$$SELECT id FROM (SELECT id, common FROM p ORDER BY v <-> Q LIMIT 100) t WHERE common = 1$$),
('partitions', 'Limit(Merge Append(Index Scan parts_1_v_idx, Index Scan parts_2_v_idx))',
	$$SELECT id FROM parts ORDER BY v <-> Q16 LIMIT 10$$),
('partitions, one is left', 'Limit(Index Scan parts_1_v_idx)',
	$$SELECT id FROM parts WHERE id < 1000 ORDER BY v <-> Q16 LIMIT 10$$),
('UNION ALL', 'Limit(Merge Append(Index Scan k_l2_v, Index Scan k_all_l2))',
	$$SELECT * FROM (SELECT v <-> Q16 AS d FROM k_l2 UNION ALL SELECT v <-> Q16 FROM k_all) t ORDER BY d LIMIT 10$$),
('cursor without LIMIT', 'Index Scan p_v',
	$$DECLARE c CURSOR FOR SELECT id FROM p ORDER BY v <-> Q$$),
('FOR UPDATE', 'Limit(LockRows(Index Scan p_v))',
	$$SELECT id FROM p ORDER BY v <-> Q LIMIT 10 FOR UPDATE$$),
('UPDATE of the nearest', 'ModifyTable p(Nested Loop(Aggregate(Subquery Scan(Limit(Index Scan p_v))), Index Scan p_pkey))',
	$$UPDATE p SET common = 2 WHERE id IN (SELECT id FROM p ORDER BY v <-> Q LIMIT 1)$$),
('loaded, not analyzed', 'Limit(Index Scan loaded_v)',
	$$SELECT id FROM loaded ORDER BY v <-> Q16 LIMIT 10$$);
UPDATE cases SET query = regexp_replace(regexp_replace(query, '\mQ16\M', quote_literal(array_fill(0.5, ARRAY[16])::real[]::vector), 'g'),
	'\mQ\M', quote_literal(array_fill(0.5, ARRAY[8])::real[]::vector), 'g');

-- What was expected, and the plan where it is another.
CREATE FUNCTION planned(cases) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN plan = ANY (string_to_array($1.expected, ' or ')) THEN 'so' ELSE plan END FROM plan_of($1.query) plan
$$;
SELECT name, expected, planned(cases) FROM cases ORDER BY n;

-- A parallel sequential scan that costs nothing to start does not beat the index; it does beat a plain one.
SET min_parallel_table_scan_size = 0;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SELECT name, plan_of(query) FROM cases WHERE name IN ('5,000 rows', 'LIMIT 500', 'filter: half of the rows', 'no LIMIT', 'no order: count')
ORDER BY n;
RESET min_parallel_table_scan_size;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;

-- Without statistics of the table, too, and right after most of its rows are gone.
DELETE FROM loaded WHERE id % 3 > 0;
SELECT name, expected, planned(cases) FROM cases WHERE name = 'loaded, not analyzed';
VACUUM loaded;
SELECT name, expected, planned(cases) FROM cases WHERE name = 'loaded, not analyzed';

-- a larger ef costs more, never less
CREATE FUNCTION startup(ef int) RETURNS numeric LANGUAGE plpgsql AS
$$
DECLARE
	plan json;
BEGIN
	PERFORM set_config('phnsw.ef_search', ef::text, true);
	EXECUTE 'EXPLAIN (FORMAT JSON) SELECT id FROM p ORDER BY v <-> (SELECT v FROM p WHERE id = 1) LIMIT 10' INTO plan;
	RETURN (plan->0->'Plan'->>'Startup Cost')::numeric;
END
$$;
SELECT startup(10) < startup(40) AS more, startup(40) < startup(400) AS even_more, startup(400) <= startup(4000) AS at_most_all;

-- a table of 1,000 rows is large enough, one of 10 is not
CREATE TABLE small (id int, v vector(3));
INSERT INTO small SELECT i, ARRAY[i, i % 7, i % 11]::vector FROM generate_series(1, 10) i;
CREATE INDEX ON small USING phnsw (v);
ANALYZE small;
EXPLAIN (COSTS OFF) SELECT id FROM small ORDER BY v <-> '[1,2,3]' LIMIT 10;
INSERT INTO small SELECT i, ARRAY[i, i % 7, i % 11]::vector FROM generate_series(11, 1000) i;
ANALYZE small;
EXPLAIN (COSTS OFF) SELECT id FROM small ORDER BY v <-> '[1,2,3]' LIMIT 10;

-- A merge join goes back in its inner side, which a scan of the index cannot: what it has given is kept (Materialize), and the join is that
-- of a sort.  Each distance occurs three times on either side.
CREATE TABLE twice (id int, v vector(2));
INSERT INTO twice SELECT i, ARRAY[i % 40, 0]::vector FROM generate_series(1, 120) i;
CREATE INDEX twice_v ON twice USING phnsw (v);
ANALYZE twice;
SET enable_hashjoin = off;
SET enable_nestloop = off;
SET enable_seqscan = off;
SET enable_sort = off;
CREATE VIEW by_distance AS SELECT id, v <-> '[0,0]' AS d FROM twice ORDER BY v <-> '[0,0]' OFFSET 0;
SELECT plan_of('SELECT * FROM by_distance a JOIN by_distance b USING (d)');
SELECT count(*), sum(a.id * b.id) FROM by_distance a JOIN by_distance b USING (d);
RESET enable_hashjoin;
SET enable_mergejoin = off;
SET enable_indexscan = off;
SELECT count(*), sum(a.id * b.id) FROM by_distance a JOIN by_distance b USING (d);
DROP VIEW by_distance;
RESET enable_indexscan;
RESET enable_mergejoin;
RESET enable_nestloop;
RESET enable_seqscan;
RESET enable_sort;

-- the limit of rows per scan is known to the planner
SET enable_seqscan = off;
SET phnsw.iterative_scan = relaxed_order;
SET phnsw.max_scan_tuples = 20;
SELECT count(*) FROM (SELECT id FROM small ORDER BY v <-> '[1,2,3]') t;
RESET phnsw.max_scan_tuples;
SELECT count(*) FROM (SELECT id FROM small ORDER BY v <-> '[1,2,3]') t;
RESET phnsw.iterative_scan;

-- without an order the index is no way to read the table, however unwelcome the others are
SELECT count(*) FROM small;
SELECT count(*), min(id) FROM texts WHERE kind = 1;
RESET enable_seqscan;

SELECT phnsw_check('p_v');
DEALLOCATE ALL;
DROP FUNCTION startup, planned, plan_of, nodes_of;
DROP TABLE p, k, k_l2, k_ip, k_cosine, k_all, k_long, long, short, many, tiny, texts, parts, loaded, groups, small, cases, twice;
DROP FUNCTION test_vector;
