-- CREATE INDEX over every kind of table, then the same rows through the index and through the table.
\set VERBOSITY terse
SET client_min_messages = warning;

-- reproducible vectors, any number of dimensions
CREATE FUNCTION pseudo(i int, dims int) RETURNS vector IMMUTABLE LANGUAGE sql AS
$$SELECT array_agg((hashint4(i * 16384 + j) & 65535) / 65536.0 - 0.5 ORDER BY j)::real[]::vector FROM generate_series(1, dims) j$$;

-- rows that the ten nearest by index and by table have in common, over 20 queries: out of 200
CREATE FUNCTION agreement(tab regclass, operator text, dims int) RETURNS int LANGUAGE plpgsql AS
$$
DECLARE
	query text := format('SELECT array_agg(id) FROM (SELECT id FROM %s ORDER BY v %s $1 LIMIT 10) t', tab, operator);
	exact int[];
	found int[];
	hits int := 0;
BEGIN
	FOR i IN 1..20 LOOP
		SET LOCAL enable_indexscan = off;
		SET LOCAL enable_seqscan = on;
		EXECUTE query INTO exact USING pseudo(-i, dims);
		SET LOCAL enable_indexscan = on;
		SET LOCAL enable_seqscan = off;
		EXECUTE query INTO found USING pseudo(-i, dims);
		hits := hits + (SELECT count(*) FROM unnest(exact) e JOIN unnest(found) f ON e = f);
	END LOOP;
	RETURN hits;
END
$$;

-- no rows, only NULLs, one row, few rows
CREATE TABLE b (id int, v vector(3));
CREATE INDEX b_v ON b USING phnsw (v);
SET enable_seqscan = off;
SELECT id FROM b ORDER BY v <-> '[1,2,3]';
SELECT phnsw_check('b_v');
INSERT INTO b VALUES (1, NULL);
REINDEX INDEX b_v;
SELECT id FROM b ORDER BY v <-> '[1,2,3]';
INSERT INTO b VALUES (2, '[1,1,1]');
REINDEX INDEX b_v;
SELECT id FROM b ORDER BY v <-> '[1,2,3]';
SELECT phnsw_check('b_v');
INSERT INTO b SELECT i, ARRAY[i, i, -i]::vector FROM generate_series(3, 30) i;
REINDEX INDEX b_v;
SELECT array_agg(id) FROM (SELECT id FROM b ORDER BY v <-> '[1,1,1]') t;
SELECT phnsw_check('b_v');
SELECT reltuples FROM pg_class WHERE relname = 'b_v';

-- equal vectors: all of them come back
TRUNCATE b;
INSERT INTO b SELECT i, '[1,2,3]' FROM generate_series(1, 500) i;
REINDEX INDEX b_v;
SELECT count(*), count(DISTINCT id), sum(id) FROM (SELECT id FROM b ORDER BY v <-> '[1,2,3]') t;
SELECT phnsw_check('b_v');
DROP TABLE b;

-- zero vectors have no direction: not in a cosine index
CREATE TABLE b (id int, v vector(3));
INSERT INTO b VALUES (1, '[0,0,0]'), (2, '[1,0,0]'), (3, '[0,0,0]'), (4, '[0,2,0]');
CREATE INDEX b_v ON b USING phnsw (v vector_cosine_ops);
SET enable_seqscan = on;
SET enable_indexscan = off;
SELECT id FROM b ORDER BY v <=> '[1,1,0]', id;
RESET enable_indexscan;
SET enable_seqscan = off;
SELECT id FROM b ORDER BY v <=> '[1,0.5,0]';
SELECT reltuples FROM pg_class WHERE relname = 'b_v';
SELECT phnsw_check('b_v');
DROP TABLE b;

-- each metric, enough rows for a graph of some levels
CREATE TABLE b (id int PRIMARY KEY, kind int, v vector(16));
INSERT INTO b SELECT i, i % 4, pseudo(i, 16) FROM generate_series(1, 3000) i;
ANALYZE b;
CREATE INDEX b_l2 ON b USING phnsw (v);
SELECT agreement('b', '<->', 16) >= 180 AS l2;
SELECT phnsw_check('b_l2');
DROP INDEX b_l2;
CREATE INDEX b_ip ON b USING phnsw (v vector_ip_ops);
SELECT agreement('b', '<#>', 16) >= 180 AS ip;
SELECT phnsw_check('b_ip');
DROP INDEX b_ip;
CREATE INDEX b_cosine ON b USING phnsw (v vector_cosine_ops) WITH (m = 8, ef_construction = 32);
SELECT agreement('b', '<=>', 16) >= 180 AS cosine;
SELECT phnsw_check('b_cosine');
DROP INDEX b_cosine;

-- partial, expression, concurrently, and all rows in order
CREATE INDEX b_partial ON b USING phnsw (v) WHERE kind = 1;
SELECT reltuples FROM pg_class WHERE relname = 'b_partial';
SELECT count(*), bool_and(kind = 1) FROM (SELECT kind FROM b WHERE kind = 1 ORDER BY v <-> pseudo(0, 16) LIMIT 50) t;
DROP INDEX b_partial;
CREATE INDEX b_expression ON b USING phnsw ((subvector(v, 1, 4)::vector(4)));
SELECT count(*) FROM (SELECT id FROM b ORDER BY subvector(v, 1, 4)::vector(4) <-> '[0,0,0,0]' LIMIT 7) t;
DROP INDEX b_expression;
CREATE INDEX CONCURRENTLY b_v ON b USING phnsw (v);
REINDEX INDEX CONCURRENTLY b_v;
SELECT indisvalid, reltuples FROM pg_index JOIN pg_class ON oid = indexrelid WHERE relname = 'b_v';
SELECT agreement('b', '<->', 16) >= 180 AS concurrently;
SELECT phnsw_check('b_v');

-- all rows: in strict order the few found late come at the very end, in relaxed order when they are found
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM b ORDER BY v <-> pseudo(0, 16)) t;
SELECT count(*), count(DISTINCT id), bool_and(d >= before OR before IS NULL) AS ascending
FROM (SELECT id, d, lag(d) OVER () AS before FROM (SELECT id, v <-> pseudo(0, 16) AS d FROM b ORDER BY v <-> pseudo(0, 16) LIMIT 2900) t) t;
SET phnsw.iterative_scan = relaxed_order;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM b ORDER BY v <-> pseudo(0, 16)) t;
RESET phnsw.iterative_scan;

-- the same rows give the same pages, but for build_id, LSN and checksum
CREATE FUNCTION pages(index regclass) RETURNS text LANGUAGE sql AS
$$
SELECT md5(string_agg(CASE WHEN block = 0 THEN substr(file, 41, 8152) ELSE substr(file, block * 8192 + 11, 8182) END, '' ORDER BY block))
FROM pg_read_binary_file(pg_relation_filepath(index)) file, generate_series(0, length(file) / 8192 - 1) block
$$;
CREATE TEMP TABLE versions (threads int, hash text);
SET max_parallel_maintenance_workers = 0;
REINDEX INDEX b_v;
INSERT INTO versions SELECT 1, pages('b_v');
SET max_parallel_maintenance_workers = 1;
REINDEX INDEX b_v;
INSERT INTO versions SELECT 2, pages('b_v');
RESET max_parallel_maintenance_workers;
ALTER TABLE b SET (parallel_workers = 0);
REINDEX INDEX b_v;
INSERT INTO versions SELECT 1, pages('b_v');
SELECT count(*), count(DISTINCT hash) FROM versions;
DROP TABLE b, versions;

-- little memory: the arena is in a file
CREATE TABLE b (id int, v vector(256));
INSERT INTO b SELECT i, pseudo(i, 256) FROM generate_series(1, 2000) i;
SET maintenance_work_mem = '1MB';
CREATE INDEX b_v ON b USING phnsw (v);
RESET maintenance_work_mem;
SELECT phnsw_check('b_v');
DROP TABLE b;

-- unlogged, temporary, and a table created in the same transaction
CREATE UNLOGGED TABLE b (id int, v vector(8));
INSERT INTO b SELECT i, pseudo(i, 8) FROM generate_series(1, 1000) i;
CREATE INDEX b_v ON b USING phnsw (v);
SELECT agreement('b', '<->', 8) >= 180 AS unlogged;
SELECT pg_relation_size('b_v', 'init');
DROP TABLE b;
CREATE TEMP TABLE b (id int, v vector(8));
INSERT INTO b SELECT i, pseudo(i, 8) FROM generate_series(1, 1000) i;
CREATE INDEX b_v ON b USING phnsw (v);
SELECT agreement('b', '<->', 8) >= 180 AS temporary;
DROP TABLE b;
BEGIN;
CREATE TABLE b (id int, v vector(8));
INSERT INTO b SELECT i, pseudo(i, 8) FROM generate_series(1, 1000) i;
CREATE INDEX b_v ON b USING phnsw (v);
SAVEPOINT s;
TRUNCATE b;
SELECT count(*) FROM (SELECT id FROM b ORDER BY v <-> pseudo(0, 8)) t;
ROLLBACK TO s;
COMMIT;
SELECT agreement('b', '<->', 8) >= 180 AS same_transaction;
SELECT phnsw_check('b_v');
DROP TABLE b;

-- partitions
CREATE TABLE b (id int, v vector(8)) PARTITION BY HASH (id);
CREATE TABLE b0 PARTITION OF b FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE b1 PARTITION OF b FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO b SELECT i, pseudo(i, 8) FROM generate_series(1, 2000) i;
CREATE INDEX b_v ON b USING phnsw (v);
SELECT agreement('b', '<->', 8) >= 180 AS partitioned;
DROP TABLE b;

-- extremes of dimensions
CREATE TABLE b (id int, v vector(1));
INSERT INTO b SELECT i, ARRAY[i]::vector FROM generate_series(1, 1000) i;
CREATE INDEX b_v ON b USING phnsw (v);
SELECT array_agg(id) FROM (SELECT id FROM b ORDER BY v <-> '[500.2]' LIMIT 5) t;
SELECT phnsw_check('b_v');
DROP TABLE b;
CREATE TABLE b (id int, v vector(16000));
INSERT INTO b SELECT i, pseudo(i, 16000) FROM generate_series(1, 20) i;
CREATE INDEX b_v ON b USING phnsw (v);
SELECT id FROM b ORDER BY v <-> pseudo(7, 16000) LIMIT 1;
SELECT phnsw_check('b_v');
DROP TABLE b;

RESET enable_seqscan;
DROP FUNCTION pages, agreement, pseudo;
