-- Rows that a search returns know their place in the table.  PostgreSQL 17 and 18 lose it where bounds are not distances: there each of
-- these statements fails, or does nothing, without row_place.c.
CREATE TABLE placed (id int, part int, v vector(3)) WITH (autovacuum_enabled = false);
INSERT INTO placed SELECT i, i % 3, ARRAY[sin(i), cos(i * 0.7), sin(i * 1.3)]::real[]::vector(3) FROM generate_series(1, 6000) i;
CREATE INDEX placed_v ON placed USING phnsw (v);
ANALYZE placed;
SET enable_seqscan = off;
SET enable_sort = off;

-- ctid, with and without a condition, one on ctid itself, and as an inner side that is scanned again and again
SELECT count(*) AS rows, count(t.id) AS found
FROM (SELECT ctid AS place, id FROM placed ORDER BY v <-> '[0.1,0.2,0.3]' LIMIT 50) s LEFT JOIN placed t ON t.ctid = s.place AND t.id = s.id;
SELECT count(*) AS rows, count(t.id) AS found
FROM (SELECT ctid AS place, id FROM placed WHERE part = 1 ORDER BY v <-> '[0.1,0.2,0.3]' LIMIT 50) s LEFT JOIN placed t ON t.ctid = s.place AND t.id = s.id;
SELECT count(*) FROM (SELECT 1 FROM placed WHERE ctid <> '(0,1)' AND ctid < '(4000000,1)' ORDER BY v <-> '[0.1,0.2,0.3]' LIMIT 50) s;
SELECT count(*) AS rows, count(t.id) AS found
FROM generate_series(1, 10) i, LATERAL (SELECT ctid AS place, id FROM placed ORDER BY v <-> ARRAY[i * 0.1, 0, 0]::real[]::vector LIMIT 5) s
	LEFT JOIN placed t ON t.ctid = s.place AND t.id = s.id;

-- rows to lock, to update, to delete
SELECT count(*) FROM (SELECT id FROM placed ORDER BY v <-> '[0.1,0.2,0.3]' LIMIT 10 FOR UPDATE SKIP LOCKED) s;
WITH changed AS (UPDATE placed SET part = 7 WHERE ctid = ANY (ARRAY(SELECT ctid FROM placed ORDER BY v <-> '[0.1,0.2,0.3]' LIMIT 10)) RETURNING 1)
SELECT count(*) FROM changed;
WITH gone AS (DELETE FROM placed WHERE ctid = ANY (ARRAY(SELECT ctid FROM placed WHERE part = 7 ORDER BY v <-> '[0.1,0.2,0.3]' LIMIT 4)) RETURNING part)
SELECT count(*), min(part) FROM gone;
BEGIN;
DECLARE nearest CURSOR FOR SELECT id FROM placed ORDER BY v <-> '[0.5,0.5,0.5]';
MOVE 5 IN nearest;
DELETE FROM placed WHERE CURRENT OF nearest;
MOVE 5 IN nearest;
UPDATE placed SET part = 8 WHERE CURRENT OF nearest;
CLOSE nearest;
SELECT count(*), count(*) FILTER (WHERE part = 8) FROM placed;
COMMIT;

-- what conditions keep out is counted as ever; an empty result, and rows that have no order
SELECT count(*) FROM (SELECT id FROM placed WHERE part = 99 ORDER BY v <-> '[0.1,0.2,0.3]') s;
SELECT count(DISTINCT place) FROM (SELECT ctid AS place FROM placed ORDER BY v <-> NULL LIMIT 20) s;
SELECT count(*) > 0 AS filtered FROM (SELECT id, ctid FROM placed WHERE id % 50 = 0 ORDER BY v <-> '[0.1,0.2,0.3]' LIMIT 5) s;
SELECT phnsw_check('placed_v', true, true);
DROP TABLE placed;
