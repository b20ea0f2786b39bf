-- Equal vectors share a node; their rows come all, once each, in every way of reading and after vacuum.
SET enable_seqscan = off;
SET enable_sort = off;
SET jit = off;
SET phnsw.check_bounds = on;

-- One vector, built and inserted: one node.
CREATE TABLE same (id int, v vector(3));
CREATE INDEX same_v ON same USING phnsw (v);
CREATE TABLE nothing AS SELECT NULL::vector AS q;
INSERT INTO same SELECT i, '[1,2,3]' FROM generate_series(1, 20) i;
INSERT INTO same SELECT i, '[1,2,3]' FROM generate_series(21, 12000) i;
SELECT live_nodes, duplicates, round(duplicate_share::numeric, 5) AS share FROM phnsw_index_info('same_v');
SELECT count(*), count(DISTINCT id), min(d), max(d) FROM (SELECT id, v <-> '[1,2,4]' AS d FROM same ORDER BY v <-> '[1,2,4]') s;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM same ORDER BY v <-> '[1,2,4]' LIMIT 11) s;
SELECT count(*), count(DISTINCT id) FROM nothing, LATERAL (SELECT id FROM same ORDER BY v <-> q LIMIT 100000) s;
SELECT phnsw_check('same_v', true);
REINDEX INDEX same_v;
SELECT live_nodes, duplicates FROM phnsw_index_info('same_v');
SELECT count(*), count(DISTINCT id), min(d), max(d) FROM (SELECT id, v <-> '[1,2,4]' AS d FROM same ORDER BY v <-> '[1,2,4]') s;
INSERT INTO same SELECT i, '[1,2,3]' FROM generate_series(12001, 12100) i;
SELECT live_nodes, duplicates FROM phnsw_index_info('same_v');
SELECT phnsw_check('same_v', true);

-- Vacuum takes rows out of the chain, and out of the slot; later rows fill the places.
DELETE FROM same WHERE id % 3 = 1;
VACUUM same;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM same ORDER BY v <-> '[1,2,4]') s;
SELECT phnsw_check('same_v', true);
INSERT INTO same SELECT i, '[1,2,3]' FROM generate_series(13001, 13500) i;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM same ORDER BY v <-> '[1,2,4]') s;
SELECT live_nodes FROM phnsw_index_info('same_v');
SELECT phnsw_check('same_v', true);
DELETE FROM same;
VACUUM same;
INSERT INTO same SELECT i, '[1,2,3]' FROM generate_series(1, 100) i;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM same ORDER BY v <-> '[1,2,4]') s;
SELECT phnsw_check('same_v', true);

-- A few vectors many times, by all metrics; vectors of one direction are one node under cosine.
CREATE TABLE few (id int, v vector(2));
CREATE INDEX few_l2 ON few USING phnsw (v);
CREATE INDEX few_cosine ON few USING phnsw (v vector_cosine_ops);
CREATE INDEX few_ip ON few USING phnsw (v vector_ip_ops);
INSERT INTO few SELECT i, ARRAY[1 + i % 5, 3]::vector FROM generate_series(1, 10) i;
INSERT INTO few SELECT i, ARRAY[1 + i % 5, 3]::vector FROM generate_series(11, 4000) i;
SELECT live_nodes FROM phnsw_index_info('few_l2');
SELECT live_nodes FROM phnsw_index_info('few_cosine');
SELECT d::numeric(6, 3), count(*) FROM (SELECT v <-> '[0,0]' AS d FROM few ORDER BY v <-> '[0,0]') s GROUP BY 1 ORDER BY 1;
SELECT d::numeric(6, 3), count(*) FROM (SELECT v <=> '[1,0]' AS d FROM few ORDER BY v <=> '[1,0]') s GROUP BY 1 ORDER BY 1;
SELECT d::numeric(6, 3), count(*) FROM (SELECT v <#> '[1,1]' AS d FROM few ORDER BY v <#> '[1,1]') s GROUP BY 1 ORDER BY 1;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM few WHERE id % 500 = 7 ORDER BY v <-> '[0,0]' LIMIT 100) s;
SELECT phnsw_check('few_l2', true), phnsw_check('few_cosine', true), phnsw_check('few_ip', true);

-- Vectors that differ by less than a code's step are told apart by the executor.
-- (one by one: float32 does not tell these distances apart, and equal ones come in the order of the nodes)
SET phnsw.merge_threshold = 2147483647;
CREATE TABLE close (id int, v vector(2));
CREATE INDEX close_v ON close USING phnsw (v);
INSERT INTO close SELECT i, ARRAY[1 + i * 1e-6, 1]::real[]::vector FROM generate_series(1, 10) i;
INSERT INTO close SELECT i, ARRAY[1 + i * 1e-6, 1]::real[]::vector FROM generate_series(11, 1000) i;
INSERT INTO close SELECT i, ARRAY[1 + i * 1e-6, 1]::real[]::vector FROM generate_series(1, 1000) i;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM close ORDER BY v <-> '[1,1]') s;
SELECT array_agg(id) FROM (SELECT id FROM close ORDER BY v <-> '[1,1]' LIMIT 6) s;
SELECT array_agg(id) FROM (SELECT id FROM close ORDER BY v <-> '[2,1]' LIMIT 6) s;
SELECT phnsw_check('close_v', true);
RESET phnsw.merge_threshold;

-- Updates that leave the vector as it is add rows to its node.
CREATE TABLE moved (id int, n int, v vector(2));
INSERT INTO moved SELECT i, 0, ARRAY[i, i]::vector FROM generate_series(1, 50) i;
CREATE INDEX moved_v ON moved USING phnsw (v);
CREATE INDEX moved_n ON moved (n);
DO $$ BEGIN FOR i IN 1..40 LOOP UPDATE moved SET n = n + 1; END LOOP; END $$;
SELECT live_nodes FROM phnsw_index_info('moved_v');
SELECT count(*), count(DISTINCT id), min(n), max(n) FROM (SELECT id, n FROM moved ORDER BY v <-> '[0,0]') s;
SELECT phnsw_check('moved_v', true);

-- Copies that differ by less than their codes show, one by one: a node's residual is that of its first row, and who is farther from the code does not join.
CREATE TABLE near (id int, v vector(8));
CREATE INDEX near_v ON near USING phnsw (v);
SET phnsw.merge_threshold = 2147483647;
DO $$ BEGIN
	FOR i IN 1..200 LOOP
		INSERT INTO near SELECT i, array_agg((sin(j) + (i % 20) * 0.00002 * cos(i * j))::real)::vector FROM generate_series(1, 8) j;
		PERFORM count(*) FROM (SELECT id FROM near ORDER BY v <-> '[0,0,0,0,0,0,0,0]' LIMIT 1) s;
	END LOOP;
END $$;
RESET phnsw.merge_threshold;
SELECT live_nodes BETWEEN 20 AND 195 AS some_joined, rows FROM phnsw_index_info('near_v');
SELECT phnsw_check('near_v', true, true);

DROP TABLE nothing, same, few, close, moved, near;
