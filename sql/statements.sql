-- Statements that read the index while they write to it, and DDL around a column that is indexed: the same rows as without an
-- index, and an index that checks out.
\set VERBOSITY terse
SET enable_seqscan = off;
SET client_min_messages = warning;
CREATE FUNCTION spot(i int) RETURNS vector IMMUTABLE LANGUAGE sql AS
	'SELECT ARRAY[i, i * 7 % 31, i * i % 101, 1]::real[]::vector';

-- triggers that search before and after each row: what came before it in the statement is found, and the row itself afterwards
CREATE TABLE t (id int, near int, v vector(4)) WITH (autovacuum_enabled = false);
CREATE INDEX t_v ON t USING phnsw (v);
CREATE FUNCTION t_before() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN new.near := (SELECT id FROM t ORDER BY v <-> new.v LIMIT 1); RETURN new; END$$;
CREATE FUNCTION t_after() RETURNS trigger LANGUAGE plpgsql AS
$$DECLARE d float8 := (SELECT v <-> new.v FROM t ORDER BY v <-> new.v LIMIT 1);
BEGIN IF d IS DISTINCT FROM 0 THEN RAISE EXCEPTION 'row % is not found, nearest at %', new.id, d; END IF; RETURN NULL; END$$;
CREATE TRIGGER t_before BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION t_before();
INSERT INTO t SELECT i, NULL, spot(i) FROM generate_series(1, 400) i;
SELECT count(*), count(near), sum((near < id)::int) FROM t;
CREATE TRIGGER t_after AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION t_after();
INSERT INTO t SELECT i, NULL, spot(i) FROM generate_series(401, 800) i;
UPDATE t SET v = spot(id + 10000) WHERE id <= 100;
SELECT count(*), count(near), sum((near < id)::int) FROM t;
SELECT phnsw_check('t_v', true, true);
DROP TRIGGER t_before ON t;
DROP TRIGGER t_after ON t;

-- a function in the select list that searches for what the statement has inserted so far: it may not see it, and must not lose it
CREATE FUNCTION found(q vector) RETURNS bigint VOLATILE LANGUAGE plpgsql AS
$$BEGIN RETURN (SELECT count(*) FROM (SELECT 1 FROM t ORDER BY v <-> q LIMIT 3) s); END$$;
INSERT INTO t SELECT 1000 + i, found(spot(i)), spot(2000 + i) FROM generate_series(1, 400) i;
SELECT min(near), max(near), count(*) FROM t WHERE id > 1000;
SELECT phnsw_check('t_v', true, true);

-- what a statement's own CTE inserts or deletes is not what it sees
WITH n AS (INSERT INTO t SELECT 5000 + i, 0, spot(i) FROM generate_series(1, 400) i RETURNING v)
SELECT count(*), max(id) < 5000 AS old FROM n, LATERAL (SELECT id FROM t ORDER BY t.v <-> n.v LIMIT 2) s;
WITH gone AS (DELETE FROM t WHERE id > 5000 RETURNING id, v), n AS (INSERT INTO t SELECT id + 1000, 0, v FROM gone RETURNING v)
SELECT count(*), max(id) < 6000 AS old FROM n, LATERAL (SELECT id FROM t ORDER BY t.v <-> n.v LIMIT 2) s;
SELECT count(*) FROM t;
SELECT id FROM t ORDER BY v <-> spot(177), id DESC LIMIT 1;
SELECT phnsw_check('t_v', true, true);

-- rows that are locked by the search, taken in order of distance
SELECT id FROM t ORDER BY v <-> spot(777) LIMIT 1 FOR UPDATE SKIP LOCKED;
WITH next AS (SELECT id FROM t ORDER BY v <-> spot(778) LIMIT 1 FOR UPDATE)
DELETE FROM t USING next WHERE t.id = next.id RETURNING t.id;

-- MERGE, from rows to rows
MERGE INTO t USING generate_series(700, 900) i ON t.id = i
	WHEN MATCHED AND i % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = spot(20000 + i)
	WHEN NOT MATCHED THEN INSERT VALUES (i, 0, spot(30000 + i));
SELECT count(*) FROM t;
SELECT id FROM t ORDER BY v <-> spot(20701) LIMIT 1;
SELECT phnsw_check('t_v', true, true);

-- row security: the index knows nothing of it, the rows that come out are the allowed ones
CREATE ROLE phnsw_reader;
GRANT SELECT ON t TO phnsw_reader;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON t USING (id % 10 = 3);
SET ROLE phnsw_reader;
SELECT id % 10 AS last, count(*) FROM (SELECT id FROM t ORDER BY v <-> spot(50) LIMIT 20) s GROUP BY 1;
RESET ROLE;
DROP TABLE t;
DROP ROLE phnsw_reader;
DROP FUNCTION t_before, t_after, found;

-- generated columns, domains
CREATE TABLE g (id int, a real[], v vector(3) GENERATED ALWAYS AS (a::vector(3)) STORED);
CREATE INDEX g_v ON g USING phnsw (v);
INSERT INTO g SELECT i, ARRAY[i, i % 7, i % 11] FROM generate_series(1, 500) i;
UPDATE g SET a = ARRAY[-id, 0, 0] WHERE id % 5 = 0;
SELECT id FROM g ORDER BY v <-> '[-250,0,0]' LIMIT 1;
SELECT phnsw_check('g_v', true, true);
CREATE DOMAIN embedding AS vector(3) CHECK (vector_norm(VALUE) < 10000);
CREATE DOMAIN shorter AS embedding CHECK (vector_norm(VALUE) < 1000);
CREATE DOMAIN any_length AS vector;
CREATE TABLE d (id int, v embedding, w shorter, x any_length);
CREATE INDEX d_v ON d USING phnsw (v);
CREATE INDEX d_w ON d USING phnsw (w vector_cosine_ops);
CREATE INDEX d_e ON d USING phnsw ((w::embedding));
CREATE INDEX d_x ON d USING phnsw (x);
INSERT INTO d SELECT i, a, a FROM (SELECT i, ARRAY[i, 1, 2]::vector(3) AS a FROM generate_series(1, 400) i) s;
INSERT INTO d VALUES (0, '[20000,0,0]');
INSERT INTO d VALUES (0, '[1,2]');
SELECT id FROM d ORDER BY v <-> '[77.2,1,2]' LIMIT 2;
EXPLAIN (COSTS OFF) SELECT id FROM d ORDER BY v <-> '[77.2,1,2]' LIMIT 2;
SELECT id FROM d ORDER BY w <=> '[400,1,2]' LIMIT 1;
SELECT dims FROM phnsw_index_info('d_w');
SELECT phnsw_check('d_v', true, true), phnsw_check('d_w', true, true), phnsw_check('d_e', true, true);
SELECT count(*) > 0 AS suggested FROM phnsw_suggest('d', 'w');
DROP TABLE d;
DROP DOMAIN shorter, embedding, any_length;

-- a column's type: dimensions given, changed, taken away (PostgreSQL keeps the index, which keeps its dimensions), given back
CREATE TABLE a (id int, v vector);
INSERT INTO a SELECT i, spot(i) FROM generate_series(1, 300) i;
CREATE INDEX a_v ON a USING phnsw (v);
ALTER TABLE a ALTER v TYPE vector(4);
CREATE INDEX a_v ON a USING phnsw (v);
ALTER TABLE a ALTER v TYPE vector(5);
ALTER TABLE a ALTER v TYPE vector(5) USING (v::real[] || 0::real)::vector(5);
SELECT dims, rows FROM phnsw_index_info('a_v');
ALTER TABLE a ALTER v TYPE real[];
ALTER TABLE a ALTER v TYPE vector;
INSERT INTO a VALUES (0, '[1,2,3]');
INSERT INTO a VALUES (0, '[1,2,3,4,5]');
INSERT INTO a SELECT 1000 + i, CASE WHEN i < 390 THEN '[1,2,3,4,5]' ELSE '[1]' END::vector FROM generate_series(1, 400) i;
SELECT id FROM a ORDER BY v <-> '[1,2,3,4,5]' LIMIT 1;
SELECT id FROM a ORDER BY v <-> '[1,2,3]' LIMIT 1;
REINDEX INDEX a_v;
ALTER TABLE a ALTER v TYPE vector(5);
REINDEX INDEX a_v;
SELECT phnsw_check('a_v', true, true);
DROP TABLE a;

-- partitions: indexes that are there are attached, others are made; rows move, partitions leave
CREATE TABLE p (id int, v vector(4)) PARTITION BY LIST (id);
CREATE INDEX p_v ON p USING phnsw (v) WITH (m = 8);
CREATE TABLE p1 (id int, v vector(4));
INSERT INTO p1 SELECT 1, spot(i) FROM generate_series(1, 300) i;
CREATE INDEX p1_own ON p1 USING phnsw (v);
CREATE TABLE p2 (id int, v vector(4));
INSERT INTO p2 SELECT 2, spot(i) FROM generate_series(1, 300) i;
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1);
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2);
SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'p_v'::regclass ORDER BY 1;
INSERT INTO p SELECT 1 + i % 2, spot(i) FROM generate_series(301, 700) i;
UPDATE p SET id = 3 - id WHERE v <-> spot(1) < 50;
ALTER TABLE p DETACH PARTITION p1;
SELECT count(*) FROM p1;
SELECT phnsw_check('p1_own', true, true), phnsw_check('p2_v_idx', true, true);
DROP TABLE p, p1;

-- a materialized view that is refreshed, also concurrently (rows are deleted and inserted)
CREATE MATERIALIZED VIEW m AS SELECT id, v FROM g;
CREATE UNIQUE INDEX m_id ON m (id);
CREATE INDEX m_v ON m USING phnsw (v);
UPDATE g SET a = ARRAY[-id, 1, 1] WHERE id % 3 = 0;
REFRESH MATERIALIZED VIEW CONCURRENTLY m;
SELECT id FROM m ORDER BY v <-> '[-300,1,1]' LIMIT 1;
SELECT phnsw_check('m_v', true, true);
REFRESH MATERIALIZED VIEW m;
SELECT phnsw_check('m_v', true, true);
DROP MATERIALIZED VIEW m;
DROP TABLE g;
DROP FUNCTION spot;
