-- How often a distance is computed.  ORDER BY's expression is a column of the scan's output even where nobody reads it: then the executor
-- computes it once for each row that the scan hands it, to put the row in order, and not once more for each row that comes out.
CREATE TABLE un (id int PRIMARY KEY, v vector(3)) WITH (autovacuum_enabled = false);
INSERT INTO un SELECT i, ARRAY[i % 97, i % 89, i % 83]::real[]::vector FROM generate_series(1, 3000) i;
CREATE INDEX un_v ON un USING phnsw (v);
ANALYZE un;
SET enable_seqscan = off;
SET enable_sort = off;
SET track_functions = 'all';

-- What a query computes beyond the rows that its scan hands to the executor; and that its answer is that of a sort.
CREATE FUNCTION calls() RETURNS bigint LANGUAGE sql AS
	$$ SELECT coalesce(sum(pg_stat_get_xact_function_calls(oid)), 0)::bigint FROM pg_proc WHERE proname = 'l2_distance' $$;
CREATE FUNCTION computed(query text, OUT beyond_rechecks bigint, OUT rows bigint, OUT exact boolean) LANGUAGE plpgsql AS $$
DECLARE
	before bigint;
	answer text;
BEGIN
	before := calls();
	EXECUTE 'CREATE TEMPORARY TABLE answer ON COMMIT DROP AS ' || query;
	SELECT calls() - before - rechecks INTO beyond_rechecks FROM phnsw_last_scan();
	SELECT count(*), string_agg(a::text, ' ') INTO rows, answer FROM answer a;
	PERFORM set_config('enable_indexscan', 'off', true), set_config('enable_sort', 'on', true);
	DROP TABLE answer;
	EXECUTE 'CREATE TEMPORARY TABLE answer ON COMMIT DROP AS ' || query;
	PERFORM set_config('enable_indexscan', 'on', true), set_config('enable_sort', 'off', true);
	SELECT string_agg(a::text, ' ') = answer INTO exact FROM answer a;
	DROP TABLE answer;
END $$;

-- nobody reads it: under LIMIT and alone, with a filter, as one of several columns, by a parameter
SELECT * FROM computed($$SELECT id FROM un ORDER BY v <-> '[40.1,40.2,40.4]' LIMIT 10$$);
SELECT * FROM computed($$SELECT id FROM un ORDER BY v <-> '[40.1,40.2,40.4]' LIMIT 10 OFFSET 5$$);
SELECT beyond_rechecks, rows FROM computed($$SELECT id FROM un ORDER BY v <-> '[40.1,40.2,40.4]'$$);
SELECT * FROM computed($$SELECT id, v, id * 2 AS twice FROM un WHERE id % 2 = 0 ORDER BY v <-> '[40.1,40.2,40.4]' LIMIT 10$$);
SET plan_cache_mode = force_generic_plan;
PREPARE nearest(vector) AS SELECT id FROM un ORDER BY v <-> $1 LIMIT 10;
EXECUTE nearest('[40.1,40.2,40.4]');
EXECUTE nearest('[10,20,30]');
RESET plan_cache_mode;

-- somebody reads it: as a column, in another expression, for ties, to merge, in a row that is sorted once more
SELECT * FROM computed($$SELECT id, v <-> '[40.1,40.2,40.4]' AS d FROM un ORDER BY d LIMIT 10$$);
SELECT * FROM computed($$SELECT id, 1 + (v <-> '[40.1,40.2,40.4]') AS d FROM un ORDER BY v <-> '[40.1,40.2,40.4]' LIMIT 10$$);
SELECT * FROM computed($$SELECT id FROM un ORDER BY v <-> '[40.1,40.2,40.4]' FETCH FIRST 10 ROWS WITH TIES$$);
SELECT rows, exact FROM computed($$SELECT id FROM (SELECT * FROM un UNION ALL SELECT * FROM un) u ORDER BY v <-> '[40.1,40.2,40.4]', id LIMIT 10$$);
SELECT rows, exact FROM computed($$SELECT id FROM un ORDER BY v <-> '[40.1,40.2,40.4]', id LIMIT 10$$);
SELECT * FROM computed($$SELECT id, row_number() OVER () AS n FROM (SELECT id, v FROM un ORDER BY v <-> '[40.1,40.2,40.4]' LIMIT 10) n$$);

-- with a cursor that goes back, for update
BEGIN;
DECLARE near SCROLL CURSOR FOR SELECT id FROM un ORDER BY v <-> '[40.1,40.2,40.4]' LIMIT 10;
FETCH 4 FROM near;
FETCH BACKWARD 2 FROM near;
FETCH ABSOLUTE 10 FROM near;
SELECT id FROM un ORDER BY v <-> '[40.1,40.2,40.4]' LIMIT 2 FOR UPDATE;
COMMIT;

SELECT phnsw_check('un_v', true);
DROP FUNCTION computed(text), calls();
DROP TABLE un;
