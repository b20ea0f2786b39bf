-- Bulk insert: corners of a transaction with rows in waiting that need one session.  Each happens to an empty index (e, whose rows are
-- built) and to one that has nodes (f, whose rows are merged) at once; afterwards both have what their tables have, and no entry more,
-- unless rows were in the index when they were deleted or rolled back.
\set VERBOSITY terse
SET client_min_messages = warning;
SET phnsw.merge_threshold = 1;
CREATE FUNCTION spot(i int) RETURNS vector IMMUTABLE LANGUAGE sql AS
	'SELECT ARRAY[i, i * 7 % 31, i * i % 101, 1]::real[]::vector(4)';
CREATE FUNCTION rows(first int, last int) RETURNS TABLE (id int, v vector) LANGUAGE sql AS
	'SELECT i, spot(i) FROM generate_series(first, last) i';
CREATE FUNCTION same(t regclass, i regclass DEFAULT NULL, exact boolean DEFAULT true) RETURNS text LANGUAGE plpgsql
	SET enable_seqscan = off SET enable_sort = off SET enable_bitmapscan = off SET phnsw.iterative_scan = relaxed_order AS
$$DECLARE
	line text;
	by_index text[];
	by_table text[];
	entries bigint;
BEGIN
	i := coalesce(i, (t || '_v')::regclass);
	PERFORM phnsw_check(i, true, true);
	EXECUTE format('EXPLAIN (COSTS OFF) SELECT 1 FROM %s ORDER BY v <-> spot(1)', t) INTO line;
	IF line !~ format('Index Scan using %s', i) THEN RAISE EXCEPTION 'no scan of the index: %', line; END IF;
	EXECUTE format('SELECT array_agg(id || v::text ORDER BY id, v::text) FROM (SELECT id, v FROM %s ORDER BY v <-> spot(1) OFFSET 0) x', t) INTO by_index;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_indexscan = off;
	EXECUTE format('SELECT array_agg(id || v::text ORDER BY id, v::text) FROM %s', t) INTO by_table;
	SELECT rows INTO entries FROM phnsw_index_info(i);
	RETURN format('%s: %s rows%s%s', t, cardinality(by_table), CASE WHEN by_index IS DISTINCT FROM by_table THEN ', others by index' END,
		CASE WHEN exact AND entries <> cardinality(by_table) THEN format(', %s entries', entries) END);
END$$;
-- without rows, and with 350 whose ids are negative
CREATE PROCEDURE fresh() LANGUAGE plpgsql AS
$$BEGIN
	DROP TABLE IF EXISTS e, f CASCADE;
	CREATE TABLE e (id int, v vector(4)) WITH (autovacuum_enabled = false);
	CREATE TABLE f (LIKE e) WITH (autovacuum_enabled = false);
	INSERT INTO f SELECT -i, spot(-i) FROM generate_series(1, 350) i;
	CREATE INDEX e_v ON e USING phnsw (v);
	CREATE INDEX f_v ON f USING phnsw (v);
END$$;
CREATE PROCEDURE put(first int, last int) LANGUAGE plpgsql AS
$$BEGIN
	INSERT INTO e SELECT * FROM rows(first, last);
	INSERT INTO f SELECT * FROM rows(first, last);
END$$;

-- rows of savepoints that are rolled back leave no entries, nor do those of savepoints released within them
CALL fresh();
BEGIN;
CALL put(1, 400);
SAVEPOINT a;
CALL put(1001, 1200);
SAVEPOINT b;
CALL put(2001, 2100);
RELEASE b;
CALL put(3001, 3100);
ROLLBACK TO a;
CALL put(401, 420);
COMMIT;
SELECT same('e'), same('f');

-- a hundred savepoints within each other, released or rolled back by turns, at the depth of seven and its multiples; the same in a loop
CALL fresh();
CREATE FUNCTION deep(depth int) RETURNS void LANGUAGE plpgsql AS
$$BEGIN
	IF depth > 100 THEN RETURN; END IF;
	CALL put(10 * depth, 10 * depth + 4);
	BEGIN
		PERFORM deep(depth + 1);
		CALL put(10 * depth + 5, 10 * depth + 9);
		IF depth % 7 = 0 AND depth > 50 THEN RAISE EXCEPTION 'no'; END IF;
	EXCEPTION WHEN raise_exception THEN
		CALL put(10 * depth + 2000, 10 * depth + 2004);
	END;
END$$;
BEGIN;
SELECT deep(1);
DO $$BEGIN
	FOR n IN 1..300 LOOP
		BEGIN
			CALL put(10000 + n, 10000 + n);
			BEGIN
				CALL put(20000 + n, 20000 + n);
				PERFORM 1 / (n % 2);
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
			PERFORM 1 / (n % 3);
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END$$;
COMMIT;
SELECT same('e'), same('f');
SELECT count(*) FILTER (WHERE id < 2000) AS deep, count(*) FILTER (WHERE id BETWEEN 2000 AND 9999) AS instead,
	count(*) FILTER (WHERE id BETWEEN 10001 AND 10300) AS outside, count(*) FILTER (WHERE id > 20000) AS inside FROM e;
DROP FUNCTION deep;

-- MERGE that updates, deletes and inserts while rows wait, among them those that it meets
CALL fresh();
BEGIN;
CALL put(1, 400);
MERGE INTO e USING rows(300, 900) s ON e.id = s.id
	WHEN MATCHED AND s.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = spot(s.id + 10000)
	WHEN NOT MATCHED AND s.id % 5 = 0 THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v);
MERGE INTO f USING rows(300, 900) s ON f.id = s.id
	WHEN MATCHED AND s.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = spot(s.id + 10000)
	WHEN NOT MATCHED AND s.id % 5 = 0 THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.v);
COMMIT;
SELECT same('e', exact => false), same('f', exact => false);

-- DISCARD TEMP drops a table whose rows wait, the others' go on waiting or are there; DISCARD ALL refuses to; PLANS and SEQUENCES change nothing
CALL fresh();
BEGIN;
CREATE TEMP TABLE d (id int, v vector(4));
CREATE INDEX d_v ON d USING phnsw (v);
INSERT INTO d SELECT * FROM rows(1, 400);
CALL put(1, 400);
DISCARD TEMP;
CALL put(401, 800);
SAVEPOINT a;
DISCARD ALL;
ROLLBACK TO a;
DISCARD PLANS;
DISCARD SEQUENCES;
CALL put(801, 810);
COMMIT;
SELECT to_regclass('d');
SELECT same('e'), same('f');
CREATE TEMP TABLE d (id int, v vector(4));
CREATE INDEX d_v ON d USING phnsw (v);
INSERT INTO d SELECT * FROM rows(1, 400);
DISCARD ALL;
SET client_min_messages = warning;
SET phnsw.merge_threshold = 1;
CALL put(901, 1300);
SELECT same('e'), same('f');

-- INSERT ... SELECT from the table itself in the order of the index, which has to return the rows that wait, and only those
CALL fresh();
SET enable_seqscan = off;
BEGIN;
CALL put(1, 400);
INSERT INTO e SELECT id + 1000, spot(id + 1000) FROM e ORDER BY v <-> spot(7) LIMIT 300;
INSERT INTO f SELECT id + 1000, spot(id + 1000) FROM f WHERE id > 0 ORDER BY v <-> spot(7) LIMIT 300;
INSERT INTO e SELECT id + 10000, spot(id + 10000) FROM e ORDER BY v <-> spot(7);
COMMIT;
-- what a statement has inserted is not what its other part finds; what it finds is all there was
BEGIN;
CALL put(3001, 3100);
WITH n AS (INSERT INTO e SELECT id + 5000, spot(id) FROM rows(4001, 4400) RETURNING id, v)
	SELECT count(*), max(s.id) < 5000 AS before FROM n, LATERAL (SELECT id FROM e WHERE id < 10000 ORDER BY e.v <-> n.v LIMIT 1) s;
WITH n AS (INSERT INTO f SELECT id + 5000, spot(id) FROM rows(4001, 4400) RETURNING id, v)
	SELECT count(*), max(s.id) < 5000 AS before FROM n, LATERAL (SELECT id FROM f ORDER BY f.v <-> n.v LIMIT 1) s;
COMMIT;
RESET enable_seqscan;
SELECT same('e'), same('f');

-- CREATE TABLE AS and SELECT INTO, from a table whose rows wait; an index, more rows, all in one transaction
CALL fresh();
BEGIN;
CALL put(1, 400);
SET LOCAL enable_seqscan = off;
CREATE TABLE c AS SELECT id, v::vector(4) AS v FROM e ORDER BY v <-> spot(7) LIMIT 350;
SELECT id, v::vector(4) AS v INTO i FROM f WHERE id > 0 ORDER BY f.v <-> spot(7);
CALL put(401, 800);
CREATE INDEX c_v ON c USING phnsw (v);
INSERT INTO c SELECT * FROM rows(1001, 1400);
CREATE INDEX i_v ON i USING phnsw (v);
INSERT INTO i SELECT * FROM rows(1001, 1010);
SAVEPOINT a;
INSERT INTO i SELECT * FROM rows(2001, 2400);
CREATE TABLE gone AS SELECT * FROM i;
ROLLBACK TO a;
COMMIT;
SELECT same('c'), same('i'), same('e'), same('f');
DROP TABLE c, i;

-- the column gets another type, and is rewritten, while rows wait; once more, rolled back
CALL fresh();
BEGIN;
CALL put(1, 400);
ALTER TABLE e ALTER v TYPE vector(5) USING (v::real[] || 1::real)::vector(5);
ALTER TABLE f ALTER v TYPE vector(5) USING (v::real[] || 1::real)::vector(5);
INSERT INTO e SELECT id, (v::real[] || 1::real)::vector FROM rows(401, 800);
INSERT INTO f SELECT id, (v::real[] || 1::real)::vector FROM rows(401, 800);
SAVEPOINT a;
ALTER TABLE e ALTER v TYPE vector(4) USING (v::real[])[1:4]::vector;
ALTER TABLE f ALTER v TYPE vector(4) USING (v::real[])[1:4]::vector;
CALL put(801, 1200);
ROLLBACK TO a;
INSERT INTO e SELECT id, (v::real[] || 1::real)::vector FROM rows(801, 900);
INSERT INTO f SELECT id, (v::real[] || 1::real)::vector FROM rows(801, 900);
ALTER TABLE e ALTER v TYPE vector(4) USING (v::real[])[1:4]::vector;
ALTER TABLE f ALTER v TYPE vector(4) USING (v::real[])[1:4]::vector;
CALL put(901, 910);
COMMIT;
SELECT same('e'), same('f');

-- CLUSTER, SET UNLOGGED, SET LOGGED and SET TABLESPACE of table and index while rows wait, and while more do behind them; the last of each rolled back
CALL fresh();
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE regress_phnsw_corners LOCATION '';
CREATE INDEX e_id ON e (id);
CREATE INDEX f_id ON f (id);
BEGIN;
CALL put(1, 400);
CLUSTER e USING e_id;
CLUSTER f USING f_id;
CALL put(401, 450);
ALTER TABLE e SET UNLOGGED;
ALTER TABLE f SET UNLOGGED;
CALL put(451, 500);
ALTER INDEX e_v SET TABLESPACE regress_phnsw_corners;
ALTER INDEX f_v SET TABLESPACE regress_phnsw_corners;
CALL put(501, 550);
ALTER TABLE e SET TABLESPACE regress_phnsw_corners;
ALTER TABLE f SET TABLESPACE regress_phnsw_corners;
CALL put(551, 600);
ALTER TABLE e SET LOGGED;
ALTER TABLE f SET LOGGED;
CALL put(601, 650);
SAVEPOINT a;
ALTER TABLE e SET UNLOGGED;
ALTER TABLE f SET UNLOGGED;
CALL put(1001, 1100);
CLUSTER e USING e_id;
ROLLBACK TO a;
CALL put(651, 700);
SAVEPOINT a;
ALTER INDEX e_v SET TABLESPACE pg_default;
ALTER INDEX f_v SET TABLESPACE pg_default;
CALL put(1001, 1100);
ROLLBACK TO a;
CALL put(701, 750);
COMMIT;
SELECT same('e'), same('f');
CLUSTER e;
CLUSTER f;
VACUUM FULL e;
VACUUM FULL f;
SELECT same('e'), same('f');

-- rows from an event trigger, which come when the statement that moves an index without reading the table has begun
CALL fresh();
CREATE FUNCTION starts() RETURNS event_trigger LANGUAGE plpgsql AS
$$BEGIN
	IF tg_tag ~ '^ALTER (TABLE|INDEX)' THEN CALL put(1, 400); END IF;
END$$;
CREATE EVENT TRIGGER regress_phnsw_starts ON ddl_command_start EXECUTE FUNCTION starts();
ALTER TABLE e SET TABLESPACE regress_phnsw_corners;
ALTER INDEX f_v SET TABLESPACE regress_phnsw_corners;
DROP EVENT TRIGGER regress_phnsw_starts;
SELECT same('e'), same('f');
DROP FUNCTION starts;
DROP TABLE e, f;
DROP TABLESPACE regress_phnsw_corners;

-- ATTACH and DETACH PARTITION with rows in waiting, theirs and the partitioned table's, also rolled back
CALL fresh();
CREATE TABLE p (id int, v vector(4)) PARTITION BY RANGE (id);
CREATE INDEX p_v ON p USING phnsw (v);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (5000) TO (10000);
BEGIN;
CALL put(1, 400);
INSERT INTO p SELECT * FROM rows(5001, 5400);
ALTER TABLE p ATTACH PARTITION e FOR VALUES FROM (0) TO (5000);
INSERT INTO p SELECT * FROM rows(401, 800);
SAVEPOINT a;
ALTER TABLE p DETACH PARTITION p1;
INSERT INTO p1 SELECT * FROM rows(5401, 5500);
ROLLBACK TO a;
SAVEPOINT a;
ALTER TABLE p DETACH PARTITION e;
DELETE FROM f WHERE id < 0;
ALTER TABLE p ATTACH PARTITION f FOR VALUES FROM (0) TO (5000);
INSERT INTO p SELECT * FROM rows(801, 900);
INSERT INTO e SELECT * FROM rows(801, 900);
ROLLBACK TO a;
INSERT INTO p SELECT * FROM rows(901, 1000);
UPDATE p SET id = id + 5000 WHERE id BETWEEN 951 AND 1000;
ALTER TABLE p DETACH PARTITION p1;
INSERT INTO p1 SELECT * FROM rows(5401, 5410);
COMMIT;
SELECT same('e', exact => false), same('f'), same('p1', 'p1_v_idx');
DROP TABLE p1;

-- ON CONFLICT DO UPDATE through the partitioned table, of rows that wait
CREATE UNIQUE INDEX ON p (id);
INSERT INTO p SELECT * FROM rows(2001, 2400) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
BEGIN;
INSERT INTO p SELECT * FROM rows(2401, 2800) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
INSERT INTO p SELECT id, spot(id + 10000) FROM rows(2301, 2900) ON CONFLICT (id) DO UPDATE SET v = excluded.v WHERE excluded.id % 3 > 0;
INSERT INTO p SELECT id, spot(id + 20000) FROM rows(2701, 2710) ON CONFLICT (id) DO NOTHING;
COMMIT;
SELECT same('e', exact => false);
SELECT count(*) FILTER (WHERE v = spot(id + 10000)) AS new, count(*) FILTER (WHERE v = spot(id)) AS old FROM p WHERE id > 2000;
DROP TABLE p;

-- triggers: transition tables of a statement, rows before and after, INSTEAD OF on a view
CALL fresh();
CREATE FUNCTION whole() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN
	INSERT INTO f SELECT id + 1000, spot(id + 1000) FROM came WHERE id < 1000;
	IF tg_op = 'UPDATE' THEN DELETE FROM f WHERE id IN (SELECT id + 1000 FROM went); END IF;
	RETURN NULL;
END$$;
CREATE FUNCTION each() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN
	IF tg_when = 'BEFORE' THEN
		IF new.id % 10 = 0 THEN RETURN NULL; END IF;
		new.v := spot(new.id);
	ELSE
		INSERT INTO f VALUES (new.id + 5000, spot(new.id + 5000));
	END IF;
	RETURN new;
END$$;
CREATE TRIGGER came AFTER INSERT ON e REFERENCING NEW TABLE AS came FOR EACH STATEMENT EXECUTE FUNCTION whole();
CREATE TRIGGER changed AFTER UPDATE ON e REFERENCING NEW TABLE AS came OLD TABLE AS went FOR EACH STATEMENT EXECUTE FUNCTION whole();
CREATE TRIGGER before BEFORE INSERT OR UPDATE ON e FOR EACH ROW EXECUTE FUNCTION each();
CREATE TRIGGER after AFTER INSERT ON e FOR EACH ROW EXECUTE FUNCTION each();
CREATE VIEW w AS SELECT id, 'none'::text AS note FROM e;
CREATE FUNCTION instead() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN
	INSERT INTO e VALUES (new.id, '[0,0,0,0]');
	RETURN new;
END$$;
CREATE TRIGGER instead INSTEAD OF INSERT ON w FOR EACH ROW EXECUTE FUNCTION instead();
BEGIN;
INSERT INTO e SELECT id, '[9,9,9,9]' FROM rows(1, 400);
UPDATE e SET id = id + 400 WHERE id <= 200;
INSERT INTO w SELECT i, 'some' FROM generate_series(1001, 1100) i;
SAVEPOINT a;
INSERT INTO w SELECT i, 'some' FROM generate_series(2001, 2100) i;
ROLLBACK TO a;
COMMIT;
SELECT same('e', exact => false), same('f', exact => false);
SELECT count(*) FILTER (WHERE id < 0) AS filled, count(*) FILTER (WHERE id BETWEEN 1001 AND 1999) AS by_statement, count(*) FILTER (WHERE id > 5000) AS by_row FROM f;
DROP VIEW w;
DROP FUNCTION whole, each, instead CASCADE;

-- a cascade that updates the key of rows in waiting, one that sets it NULL, one that deletes them
CALL fresh();
CREATE TABLE k (id int PRIMARY KEY);
INSERT INTO k SELECT generate_series(-350, 1000);
ALTER TABLE e ADD FOREIGN KEY (id) REFERENCES k ON UPDATE CASCADE ON DELETE SET NULL;
ALTER TABLE f ADD FOREIGN KEY (id) REFERENCES k ON UPDATE CASCADE ON DELETE CASCADE;
BEGIN;
CALL put(1, 400);
UPDATE k SET id = id + 2000 WHERE id <= 100 AND id > 0;
DELETE FROM k WHERE id BETWEEN 301 AND 400;
CALL put(401, 500);
SAVEPOINT a;
DELETE FROM k WHERE id BETWEEN 401 AND 500;
SELECT rows FROM phnsw_index_info('f_v');
ROLLBACK TO a;
COMMIT;
SELECT same('e', exact => false), same('f', exact => false);
SELECT count(id), max(id) FROM e;
DROP TABLE k CASCADE;

-- a procedure that commits and rolls back, with rows in waiting and in the midst of a cursor over the index
CALL fresh();
CREATE PROCEDURE steps() LANGUAGE plpgsql AS
$$DECLARE
	r record;
	n int := 0;
BEGIN
	CALL put(1, 400);
	COMMIT;
	CALL put(401, 500);
	ROLLBACK;
	CALL put(501, 600);
	FOR r IN SELECT id FROM e ORDER BY v <-> spot(7) LOOP
		n := n + 1;
		CALL put(1000 + n, 1000 + n);
		IF n % 100 = 0 THEN COMMIT; ELSIF n % 50 = 0 THEN ROLLBACK; END IF;
	END LOOP;
	CALL put(601, 610);
	COMMIT AND CHAIN;
	CALL put(611, 620);
	BEGIN
		CALL put(621, 630);
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		CALL put(631, 640);
	END;
END$$;
SET enable_seqscan = off;
CALL steps();
RESET enable_seqscan;
SELECT same('e', exact => false), same('f');
SELECT count(*) FILTER (WHERE id <= 640) AS others, count(*) FILTER (WHERE id > 1000) AS in_loop FROM e;
DROP PROCEDURE steps;

-- cursors over the index: behind them rows come and are rolled back; held over a COMMIT at which rows wait
CALL fresh();
SET enable_seqscan = off;
CALL put(1, 20);
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT id FROM e ORDER BY v <-> spot(0);
DECLARE open CURSOR FOR SELECT id FROM f WHERE id > 0 ORDER BY v <-> spot(0);
FETCH 2 FROM held;
SAVEPOINT a;
CALL put(101, 500);
FETCH 1 FROM held;
DECLARE inner_one CURSOR WITH HOLD FOR SELECT count(*) FROM (SELECT id FROM e ORDER BY v <-> spot(0)) s;
FETCH 1 FROM open;
ROLLBACK TO a;
FETCH 1 FROM held;
FETCH 1 FROM open;
ROLLBACK TO a;
CALL put(501, 900);
COMMIT;
FETCH 2 FROM held;
MOVE ALL FROM held;
BEGIN;
CALL put(901, 1300);
FETCH 1 FROM held;
ROLLBACK;
CLOSE held;
RESET enable_seqscan;
SELECT same('e'), same('f', exact => false);

-- a generic plan of a scan, executed when rows wait, and when the index has been dropped and made again
CALL fresh();
SET enable_seqscan = off;
SET enable_sort = off;
SET plan_cache_mode = force_generic_plan;
PREPARE near (vector) AS SELECT count(*) FROM (SELECT id FROM e ORDER BY v <-> $1) s;
PREPARE add (int, int) AS INSERT INTO e SELECT * FROM rows($1, $2);
BEGIN;
EXECUTE near(spot(1));
EXECUTE add(1, 400);
EXECUTE near(spot(1));
EXECUTE add(401, 410);
DROP INDEX e_v;
EXECUTE add(411, 420);
CREATE INDEX e_v ON e USING phnsw (v);
EXECUTE add(421, 440);
EXECUTE near(spot(1));
SAVEPOINT a;
DROP INDEX e_v;
EXECUTE add(441, 450);
ROLLBACK TO a;
EXECUTE add(451, 460);
EXECUTE near(spot(1));
COMMIT;
EXECUTE near(spot(1));
SELECT same('e');
DEALLOCATE ALL;
RESET plan_cache_mode;

-- parallel plans that read the index while rows wait for it: below CREATE TABLE AS, and of a function that has inserted them
CALL fresh();
CREATE TABLE q AS SELECT * FROM rows(1, 100);
ALTER TABLE q SET (parallel_workers = 2);
ANALYZE q;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
RESET enable_seqscan;
DO $$DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXPLAIN (COSTS OFF) CREATE TABLE n AS SELECT q.id, s.id AS near FROM q, LATERAL (SELECT id FROM e ORDER BY e.v <-> q.v LIMIT 1) s LOOP plan := plan || line; END LOOP;
	IF plan !~ 'Gather.*Parallel Seq Scan.*Index Scan using e_v' THEN RAISE EXCEPTION '%', plan; END IF;
END$$;
BEGIN;
CALL put(1, 400);
CREATE TABLE n AS SELECT q.id, s.id AS near FROM q, LATERAL (SELECT id FROM e ORDER BY e.v <-> q.v LIMIT 1) s;
SELECT count(*), sum((id = near)::int) FROM n;
CREATE FUNCTION nearest() RETURNS TABLE (n bigint, own bigint) LANGUAGE plpgsql AS
$$BEGIN
	CALL put(401, 800);
	RETURN QUERY SELECT count(*), sum((q.id = s.id)::int) FROM q, LATERAL (SELECT id FROM f ORDER BY f.v <-> q.v LIMIT 1) s;
END$$;
SELECT * FROM nearest();
COMMIT;
SELECT same('e'), same('f');

DROP TABLE e, f, n, q;
DROP FUNCTION nearest, same, rows, spot;
DROP PROCEDURE fresh, put;
