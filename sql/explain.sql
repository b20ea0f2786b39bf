-- EXPLAIN (ANALYZE, PHNSW): what each index scan did, beside its node of the plan.  PostgreSQL 18 and newer.
SELECT current_setting('server_version_num')::int < 180000 AS older \gset
\if :older
\quit
\endif

CREATE TABLE ex (id int PRIMARY KEY, v vector(4));
INSERT INTO ex SELECT i, ARRAY[sin(i), cos(i * 1.7), sin(i * 0.3), cos(i * 0.11)]::real[]::vector FROM generate_series(1, 4000) i;
CREATE INDEX ex_v ON ex USING phnsw (v);
ANALYZE ex;
CREATE TABLE few AS SELECT * FROM ex WHERE id <= 200;
CREATE INDEX few_v ON few USING phnsw (v);
ANALYZE few;

-- the option comes with the library: with a vector in the query, whatever uses the type, or by name
\c -
EXPLAIN (ANALYZE, PHNSW) SELECT id FROM ex WHERE id = 5;
EXPLAIN (PHNSW) SELECT id FROM ex ORDER BY v <-> '[1,0,0,0]' LIMIT 10;
\c -
LOAD 'phnsw';
SET enable_seqscan = off;
SET jit = off;
EXPLAIN (COSTS OFF, PHNSW OFF) SELECT id FROM ex ORDER BY v <-> '[1,0,0,0]' LIMIT 10;
EXPLAIN (PHNSW 7) SELECT 1;

-- a plan without times, and with N for the numbers of graph searches
CREATE FUNCTION explained(query text, hide bool) RETURNS SETOF text LANGUAGE plpgsql AS
$$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, PHNSW, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || query LOOP
		RETURN NEXT CASE WHEN hide AND line ~ 'phnsw:' THEN regexp_replace(line, '\d+', 'N', 'g') ELSE line END;
	END LOOP;
END
$$;

SELECT explained($$SELECT id FROM ex ORDER BY v <-> '[1,0,0,0]' LIMIT 10$$, true);
SELECT hops > 0 AS hops, distances > hops AS distances FROM phnsw_last_scan();
-- a small index is swept
SELECT regexp_replace(explained($$SELECT id FROM few ORDER BY v <-> '[1,0,0,0]' LIMIT 10$$, false), '(ef|distances|pages|misses)=\d+', '\1=N', 'g');
-- other access methods have nothing to tell, and neither has a scan that nobody asked for a row
SELECT explained('SELECT id FROM ex WHERE id = 5', false);
SELECT explained($$SELECT id FROM ex ORDER BY v <-> '[1,0,0,0]' LIMIT 0$$, false);
-- a node that nobody executed
SELECT explained($$SELECT few.id, n.id FROM few, LATERAL (SELECT ex.id FROM ex ORDER BY ex.v <-> few.v LIMIT 1) n WHERE few.id < 0$$, false);

-- all loops of a node together
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
CREATE FUNCTION explained_json(query text) RETURNS json LANGUAGE plpgsql AS
$$
DECLARE result json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, PHNSW, FORMAT JSON) ' || query INTO result;
	RETURN result->0->'Plan';
END
$$;
SELECT phnsw_stats_reset('ex_v');
SELECT explained_json($$SELECT few.id, n.id FROM few, LATERAL (SELECT ex.id FROM ex ORDER BY ex.v <-> few.v LIMIT 2) n WHERE few.id <= 7$$) AS plan \gset
SELECT p->'Node Type' AS node, p->'Index Name' AS index, p->'Actual Loops' AS loops, p->'Index Searches' AS searches,
	(p->'phnsw'->>'Hops')::int = s.hops AS hops, (p->'phnsw'->>'Distances')::int = s.distances AS distances,
	(p->'phnsw'->>'Pages')::int = s.pins AS pages, (p->'phnsw'->>'Page Misses')::int = s.pin_misses AS misses,
	(p->'phnsw'->>'Rechecks')::int = s.rechecks AS rechecks, (p->'phnsw'->>'Late Rows')::int = s.late AS late,
	p->'phnsw'->'Sweeps' AS sweeps
FROM (SELECT :'plan'::json->'Plans'->1->'Plans'->0 AS p) q, phnsw_stats s WHERE s.index = 'ex_v'::regclass AND s.scans = 7;

-- rows that were found too late, at the end of a long scan
SELECT (explained_json($$SELECT id FROM ex ORDER BY v <-> '[1,0,0,0]'$$)->'phnsw'->>'Late Rows')::int = (SELECT late FROM phnsw_last_scan()) AS late;

SELECT phnsw_check('ex_v');
SELECT phnsw_check('few_v');
DROP TABLE ex, few;
DROP FUNCTION explained, explained_json;
