-- What CREATE INDEX refuses, with its SQLSTATE, and what a failed build leaves behind: nothing.
\set SHOW_CONTEXT never

CREATE TABLE e (id int, v vector(3), free vector, t text);
INSERT INTO e VALUES (1, '[1,2,3]', '[1,2]', 'x'), (2, '[1,2,4]', '[1,2,3]', 'y');

\set VERBOSITY sqlstate
CREATE INDEX ON e USING phnsw (free);
CREATE INDEX ON e USING phnsw ((free::vector(3)));
CREATE INDEX ON e USING phnsw (t);
CREATE INDEX ON e USING phnsw (v, v);
CREATE INDEX ON e USING phnsw (v) INCLUDE (id);
CREATE UNIQUE INDEX ON e USING phnsw (v);
CREATE INDEX ON e USING phnsw (v DESC);
CREATE INDEX ON e USING phnsw (v) WITH (m = 40);
CREATE INDEX ON e USING phnsw (v vector_l1_ops);
ALTER TABLE e ADD EXCLUDE USING phnsw (v WITH <->);

\set VERBOSITY default
CREATE INDEX ON e USING phnsw (free);
CREATE INDEX ON e USING phnsw ((free::vector(3)));

-- the second row fails in the middle of the scan
CREATE FUNCTION picky(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql SET search_path = public AS
$$BEGIN IF v = '[1,2,4]' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN v; END$$;
\set VERBOSITY terse
CREATE INDEX ON e USING phnsw ((picky(v)::vector(3)));
SELECT count(*) FROM pg_index WHERE indrelid = 'e'::regclass;

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
-- no search without an order: an index of another column or a sequential scan has to do
CREATE INDEX e_v ON e USING phnsw (v);
SET enable_seqscan = off;
SELECT plan($$SELECT * FROM e WHERE v = '[1,2,3]'$$);
SELECT plan($$SELECT * FROM e ORDER BY v <=> '[1,2,3]' LIMIT 1$$);
SELECT plan($$SELECT * FROM e ORDER BY v <-> '[1,2,3]' DESC LIMIT 1$$);

-- the query has another number of dimensions than the column
SELECT id FROM e ORDER BY v <-> '[1,2]' LIMIT 1;
SELECT id FROM e ORDER BY v <-> NULL::vector LIMIT 1;
CLUSTER e USING e_v;
RESET enable_seqscan;
SELECT phnsw_check('e_v');
DROP TABLE e;
DROP FUNCTION picky, plan;
