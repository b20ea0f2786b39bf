-- What the planner chooses: the index where it is cheaper, something else where that is.
\set VERBOSITY terse
CREATE TABLE p (id int PRIMARY KEY, rare int, common int, v vector(8));
INSERT INTO p SELECT i, i, i % 2,
	(SELECT array_agg((hashint4(i * 16 + j) & 65535) / 65536.0)::real[]::vector FROM generate_series(1, 8) j)
FROM generate_series(1, 5000) i;
CREATE INDEX p_v ON p USING phnsw (v);
CREATE INDEX p_rare ON p (rare);
ANALYZE p;
\set q '[.5,.5,.5,.5,.5,.5,.5,.5]'

-- nearest neighbours
EXPLAIN (COSTS OFF) SELECT id FROM p ORDER BY v <-> :'q' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM p ORDER BY v <-> (SELECT v FROM p WHERE id = 3) LIMIT 10;
EXPLAIN (COSTS OFF) SELECT a.id, n.id FROM p a CROSS JOIN LATERAL
	(SELECT id FROM p b ORDER BY b.v <-> a.v LIMIT 3) n WHERE a.id < 4;

-- a filter that half of the rows pass, and one that hardly any does
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE common = 1 ORDER BY v <-> :'q' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE rare = 17 ORDER BY v <-> :'q' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE rare BETWEEN 17 AND 30 ORDER BY v <-> :'q' LIMIT 10;

-- all rows in order: reading and sorting the table is cheaper
EXPLAIN (COSTS OFF) SELECT id FROM p ORDER BY v <-> :'q';

-- not for this operator, nor backwards, nor without an order
EXPLAIN (COSTS OFF) SELECT id FROM p ORDER BY v <=> :'q' LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM p ORDER BY v <-> :'q' DESC LIMIT 10;
EXPLAIN (COSTS OFF) SELECT count(*) FROM p WHERE v <-> :'q' < 1;

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

-- the limit of rows per scan is known to the planner
SET enable_seqscan = off;
SET phnsw.iterative_scan = relaxed_order;
SET phnsw.max_scan_tuples = 20;
SELECT count(*) FROM (SELECT id FROM small ORDER BY v <-> '[1,2,3]') t;
RESET phnsw.max_scan_tuples;
SELECT count(*) FROM (SELECT id FROM small ORDER BY v <-> '[1,2,3]') t;
RESET phnsw.iterative_scan;
RESET enable_seqscan;

SELECT phnsw_check('p_v');
DROP FUNCTION startup;
DROP TABLE p, small;
