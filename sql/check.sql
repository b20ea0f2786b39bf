-- phnsw_check and phnsw_index_info: what they accept, who may call them, what they tell.
CREATE TABLE chk (id int PRIMARY KEY, v vector(3), w vector(3)) WITH (autovacuum_enabled = false);
CREATE INDEX chk_v ON chk USING phnsw (v);
CREATE INDEX chk_expression ON chk USING phnsw (((v + w)::vector(3)) vector_cosine_ops);
CREATE INDEX chk_partial ON chk USING phnsw (w vector_ip_ops) WHERE id % 2 = 0;
SELECT phnsw_check('chk_v'), phnsw_check('chk_v', true), phnsw_check('chk_v', true, true);
SELECT * FROM phnsw_index_info('chk_v') \gx

-- rows: NULLs and, under cosine, zero vectors are not indexed
INSERT INTO chk SELECT i, ARRAY[i, i % 10, 1]::vector, ARRAY[i % 7, -i, 2]::vector FROM generate_series(1, 300) i;
INSERT INTO chk VALUES (301, NULL, '[1,2,3]'), (302, '[1,2,3]', NULL), (303, '[1,1,1]', '[-1,-1,-1]');
SELECT phnsw_check('chk_v', true, true), phnsw_check('chk_expression', true, true), phnsw_check('chk_partial', true, true);
SELECT metric, dims, rows, live_nodes, dead_nodes, duplicates FROM phnsw_index_info('chk_v');
SELECT metric, dims, rows, live_nodes, dead_nodes, duplicates FROM phnsw_index_info('chk_expression');
SELECT metric, dims, rows, live_nodes, dead_nodes, duplicates FROM phnsw_index_info('chk_partial');
REINDEX TABLE chk;
SELECT phnsw_check('chk_v', true, true), phnsw_check('chk_expression', true, true), phnsw_check('chk_partial', true, true);

-- the calibration of a build has ascending ef and recall in 0 ... 1
SELECT bool_and((c->>'recall')::float BETWEEN 0 AND 1) FROM phnsw_index_info('chk_v'), jsonb_array_elements(calibration) c;

-- within the transaction that wrote, and before its rows reach the index otherwise
BEGIN;
CREATE TABLE chk_new (v vector(2));
CREATE INDEX chk_new_v ON chk_new USING phnsw (v);
INSERT INTO chk_new SELECT ARRAY[i, 1]::vector FROM generate_series(1, 1000) i;
SELECT phnsw_check('chk_new_v', true, true);
SELECT rows FROM phnsw_index_info('chk_new_v');
ROLLBACK;

-- not a phnsw index
SELECT phnsw_check('chk_pkey');
SELECT phnsw_check('chk');
SELECT phnsw_index_info('chk_pkey');
SELECT phnsw_check(NULL) IS NULL AS strict;
SELECT phnsw_check(0);
CREATE TABLE chk_parts (id int, v vector(3)) PARTITION BY RANGE (id);
CREATE TABLE chk_part PARTITION OF chk_parts FOR VALUES FROM (0) TO (100);
CREATE INDEX chk_parts_v ON chk_parts USING phnsw (v);
INSERT INTO chk_parts SELECT i, ARRAY[i, 1, 2]::vector FROM generate_series(0, 99) i;
SELECT phnsw_check('chk_parts_v');
SELECT phnsw_index_info('chk_parts_v');
SELECT phnsw_check('chk_part_v_idx', true, true);

-- an index whose build failed
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'chk_v'::regclass;
SELECT phnsw_check('chk_v');
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'chk_v'::regclass;

-- a row that the index does not know: here because the index was told not to take it
UPDATE pg_index SET indisready = false WHERE indexrelid = 'chk_v'::regclass;
INSERT INTO chk VALUES (400, '[4,0,0]', NULL);
UPDATE pg_index SET indisready = true WHERE indexrelid = 'chk_v'::regclass;
SELECT phnsw_check('chk_v');
SELECT phnsw_check('chk_v', true);
DELETE FROM chk WHERE id = 400;
SELECT phnsw_check('chk_v', true);

-- privileges
CREATE ROLE regress_phnsw_user;
GRANT SELECT ON chk TO regress_phnsw_user;
SET ROLE regress_phnsw_user;
SELECT phnsw_check('chk_v');
SELECT phnsw_index_info('chk_v');
RESET ROLE;
GRANT pg_monitor TO regress_phnsw_user;
GRANT EXECUTE ON FUNCTION phnsw_check(regclass, boolean, boolean) TO regress_phnsw_user;
SET ROLE regress_phnsw_user;
SELECT phnsw_check('chk_v');
SELECT rows FROM phnsw_index_info('chk_v');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION phnsw_check(regclass, boolean, boolean) FROM regress_phnsw_user;
REVOKE pg_monitor FROM regress_phnsw_user;
ALTER TABLE chk OWNER TO regress_phnsw_user;
SET ROLE regress_phnsw_user;
SELECT rows FROM phnsw_index_info('chk_v');
RESET ROLE;

DROP TABLE chk, chk_parts;
DROP ROLE regress_phnsw_user;
