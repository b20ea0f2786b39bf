-- Vacuum measures ef against recall anew when an index has grown by more than a fifth, and only then.
SET jit = off;
CREATE FUNCTION test_vector(id int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg(((hashint8extended(id % 40, i) >> 40) + (hashint8extended(id, i) >> 41))::real / 8388608)::vector
	FROM generate_series(1, dims) i
$$;
CREATE VIEW calibrations AS
	SELECT name, i.calibration FROM unnest('{grown_v,ip_v,started_v}'::text[]) name, phnsw_index_info(name::regclass) i;
CREATE TABLE before (name text, calibration jsonb);
-- What of it is new, in order, a measurement at all, and near what phnsw_recall() says.
CREATE FUNCTION calibrated(index text) RETURNS TABLE (new bool, n_at_least_2 bool, ordered bool, plausible bool, true_to_life bool)
LANGUAGE sql AS $$
	WITH c AS (SELECT c.* FROM calibrations, jsonb_to_recordset(calibration) AS c(ef int, recall float8, hops float8, touches float8)
	           WHERE name = index)
	SELECT (SELECT calibration FROM calibrations WHERE name = index) IS DISTINCT FROM (SELECT calibration FROM before WHERE name = index),
		count(*) >= 2,
		bool_and(before IS NULL OR (ef > before AND recall >= recall_before - 0.01 AND touches >= touches_before)),
		bool_and(recall BETWEEN 0.3 AND 1 AND hops BETWEEN ef AND 3 * ef + 60 AND touches >= hops),
		bool_and(ef > 40 OR recall BETWEEN measured - 0.1 AND measured + 0.1)
	FROM (SELECT *, lag(ef) OVER w AS before, lag(recall) OVER w AS recall_before, lag(touches) OVER w AS touches_before,
			CASE WHEN ef <= 40 THEN (SELECT r.recall FROM phnsw_recall(index::regclass, ef => c.ef, sample => 100) r) END AS measured
		FROM c WINDOW w AS (ORDER BY ef)) s
$$;

CREATE TABLE grown (id int, v vector(24)) WITH (autovacuum_enabled = off);
INSERT INTO grown SELECT i, test_vector(i, 24) FROM generate_series(1, 3000) i;
CREATE INDEX grown_v ON grown USING phnsw (v);
CREATE TABLE ip (id int, v vector(24)) WITH (autovacuum_enabled = off);
INSERT INTO ip SELECT i, test_vector(i, 24) FROM generate_series(1, 3000) i;
CREATE INDEX ip_v ON ip USING phnsw (v vector_ip_ops);

-- Rows that come one by one, into an index that was created empty: there is nothing measured before.
CREATE TABLE started (id int, v vector(24)) WITH (autovacuum_enabled = off);
CREATE INDEX started_v ON started USING phnsw (v);
INSERT INTO started SELECT i, test_vector(i, 24) FROM generate_series(1, 10) i;
INSERT INTO started SELECT i, test_vector(i, 24) FROM generate_series(11, 2500) i;
INSERT INTO before SELECT * FROM calibrations;
SELECT name, jsonb_array_length(calibration) > 0 AS calibrated FROM before ORDER BY name;

-- a tenth: as it was
INSERT INTO grown SELECT i, test_vector(i, 24) FROM generate_series(3001, 3300) i;
VACUUM grown;
SELECT new FROM calibrated('grown_v');

-- as much again
INSERT INTO grown SELECT i, test_vector(i, 24) FROM generate_series(3301, 6000) i;
INSERT INTO ip SELECT i, test_vector(i, 24) FROM generate_series(3001, 4000) i;
VACUUM grown, ip, started;
SELECT * FROM calibrated('grown_v');
SELECT * FROM calibrated('ip_v');
SELECT * FROM calibrated('started_v');

-- The next vacuum has nothing to do; nor has one after rows have gone, which looks at lists.
TRUNCATE before;
INSERT INTO before SELECT * FROM calibrations;
VACUUM grown;
DELETE FROM grown WHERE id % 3 = 0;
VACUUM (INDEX_CLEANUP on) grown;
SELECT new FROM calibrated('grown_v');

-- So small that it is swept: never measured.
CREATE TABLE small (v vector(24)) WITH (autovacuum_enabled = off);
CREATE INDEX small_v ON small USING phnsw (v);
INSERT INTO small SELECT test_vector(i, 24) FROM generate_series(1, 10) i;
INSERT INTO small SELECT test_vector(i, 24) FROM generate_series(11, 500) i;
VACUUM small;
SELECT jsonb_array_length(calibration) FROM phnsw_index_info('small_v');

SELECT phnsw_check('grown_v', true), phnsw_check('ip_v', true), phnsw_check('started_v', true);
DROP VIEW calibrations;
DROP TABLE grown, ip, started, small, before;
DROP FUNCTION calibrated, test_vector;
