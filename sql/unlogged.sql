-- Unlogged and temporary tables, TRUNCATE, and relations that change their kind: same results, same checks.
CREATE UNLOGGED TABLE unl (id int, v vector(4)) WITH (autovacuum_enabled = false);
INSERT INTO unl SELECT i, ARRAY[i, i % 13, i % 7, 1]::vector FROM generate_series(1, 300) i;
CREATE INDEX unl_v ON unl USING phnsw (v);
SELECT phnsw_check('unl_v', true, true);

-- the fork that a crash puts in the index's place exists and is an empty index
SELECT pg_relation_size('unl_v', 'init') > 0 AS has_init_fork;

INSERT INTO unl SELECT i, ARRAY[i, i % 13, i % 7, 1]::vector FROM generate_series(301, 500) i;
DELETE FROM unl WHERE id % 4 = 0;
VACUUM (INDEX_CLEANUP ON) unl;
SELECT phnsw_check('unl_v', true, true);
SET enable_seqscan = off;
SELECT id FROM unl ORDER BY v <-> '[101,10,3,1]' LIMIT 3;

TRUNCATE unl;
SELECT phnsw_check('unl_v', true, true);
SELECT id FROM unl ORDER BY v <-> '[101,10,3,1]' LIMIT 3;
INSERT INTO unl SELECT i, ARRAY[i, i % 13, i % 7, 1]::vector FROM generate_series(1, 100) i;
SELECT phnsw_check('unl_v', true, true);
SELECT id FROM unl ORDER BY v <-> '[50.2,11,1,1]' LIMIT 3;

ALTER TABLE unl SET LOGGED;
SELECT phnsw_check('unl_v', true, true);
ALTER TABLE unl SET UNLOGGED;
SELECT phnsw_check('unl_v', true, true);
SELECT id FROM unl ORDER BY v <-> '[50.2,11,1,1]' LIMIT 3;

-- TRUNCATE between inserts of one transaction, rolled back
BEGIN;
INSERT INTO unl VALUES (1000, '[1,2,3,4]');
TRUNCATE unl;
INSERT INTO unl VALUES (1001, '[1,2,3,4]');
SELECT id FROM unl ORDER BY v <-> '[1.1,2,3,4]' LIMIT 3;
ROLLBACK;
SELECT phnsw_check('unl_v', true, true);
SELECT id FROM unl ORDER BY v <-> '[1.1,2,3,4]' LIMIT 3;
DROP TABLE unl;

CREATE TEMP TABLE tmp (id int, v vector(4)) ON COMMIT DELETE ROWS;
CREATE INDEX tmp_v ON tmp USING phnsw (v);
BEGIN;
INSERT INTO tmp SELECT i, ARRAY[i, i % 13, i % 7, 1]::vector FROM generate_series(1, 300) i;
SELECT id FROM tmp ORDER BY v <-> '[50.2,11,1,1]' LIMIT 3;
SELECT phnsw_check('tmp_v', true, true);
COMMIT;
SELECT phnsw_check('tmp_v', true, true);
SELECT id FROM tmp ORDER BY v <-> '[50.2,11,1,1]' LIMIT 3;
INSERT INTO tmp VALUES (1, '[1,2,3,4]');
VACUUM tmp;
SELECT phnsw_check('tmp_v', true, true);
DROP TABLE tmp;
