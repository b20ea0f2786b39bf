-- phnsw_recall, phnsw_suggest, phnsw_prewarm: against what SQL computes, on all kinds of indexes, and who may.
\set VERBOSITY default

CREATE TABLE tl (id int, odd boolean, v vector(16));
CREATE FUNCTION tl_vector(i int) RETURNS vector(16) LANGUAGE sql IMMUTABLE AS
	$$SELECT array_agg(sin(i * (1 + j * 0.37) + j * j))::real[]::vector(16) FROM generate_series(1, 16) j$$;
INSERT INTO tl SELECT i, i % 2 = 1, tl_vector(i) FROM generate_series(1, 3000) i;
CREATE INDEX tl_v ON tl USING phnsw (v) WITH (m = 4, ef_construction = 16);
ANALYZE tl;

-- an index so poor, with so few candidates, that it misses some
SELECT k, ef, recall BETWEEN 0.2 AND 0.99 AS misses, low < recall AND recall < high AS inside, queries_used FROM phnsw_recall('tl_v', ef => 4);
SELECT (phnsw_recall('tl_v', ef => 4)).recall < (phnsw_recall('tl_v', ef => 100)).recall AS larger_ef_is_better;
SELECT (phnsw_recall('tl_v', ef => 4)) = (phnsw_recall('tl_v', ef => 4)) AS same_sample;
SHOW phnsw.ef_search;
-- ef is so large against the index that the scan reads all of it
SELECT recall = 1 AS complete, low > 0.98 AS low, high FROM phnsw_recall('tl_v', ef => 400);
SELECT ef > 0 AS chosen FROM phnsw_recall('tl_v', sample => 1);

-- the same number from SQL
CREATE TABLE tl_queries AS SELECT i, tl_vector(100000 + i) AS q FROM generate_series(1, 40) i;
SET phnsw.ef_search = 5;
SET enable_seqscan = off;
CREATE TABLE tl_found AS
	SELECT i, t.id FROM tl_queries, LATERAL (SELECT id FROM tl ORDER BY v <-> q LIMIT 7) t;
RESET enable_seqscan;
SET enable_indexscan = off;
CREATE TABLE tl_true AS
	SELECT i, t.id FROM tl_queries, LATERAL (SELECT id FROM tl ORDER BY v <-> q LIMIT 7) t;
RESET enable_indexscan;
SELECT round(recall::numeric, 6) = round(count(*) / 280.0, 6) AS same, recall < 1 AS misses, k, ef, queries_used
FROM tl_found JOIN tl_true USING (i, id), phnsw_recall('tl_v', 7, queries => (SELECT array_agg(q) FROM tl_queries))
GROUP BY recall, k, ef, queries_used;
RESET phnsw.ef_search;

-- other metrics, a partial index, an index on an expression
CREATE INDEX tl_ip ON tl USING phnsw (v vector_ip_ops) WHERE odd;
CREATE INDEX tl_cosine ON tl USING phnsw (((v + v)::vector(16)) vector_cosine_ops);
INSERT INTO tl VALUES (3001, true, array_fill(0, ARRAY[16])::vector), (3002, true, NULL);
SELECT recall > 0.9 AS recall, queries_used FROM phnsw_recall('tl_ip', ef => 200);
SELECT recall > 0.9 AS recall, queries_used FROM phnsw_recall('tl_cosine', ef => 200);
-- a query without neighbours is left out
SELECT recall > 0.9 AS recall, queries_used
FROM phnsw_recall('tl_cosine', queries => ARRAY[array_fill(0, ARRAY[16])::vector, tl_vector(5)]);

-- rows at equal distance: any will do; more neighbours wanted than there are
CREATE TABLE tl_few (v vector(2));
CREATE INDEX tl_few_v ON tl_few USING phnsw (v);
SELECT * FROM phnsw_recall('tl_few_v');
INSERT INTO tl_few VALUES ('[1,1]');
SELECT * FROM phnsw_recall('tl_few_v');
INSERT INTO tl_few SELECT '[1,1]' FROM generate_series(1, 30);
INSERT INTO tl_few VALUES ('[2,2]'), ('[3,3]');
SELECT recall, queries_used FROM phnsw_recall('tl_few_v', 5);
SELECT recall, queries_used FROM phnsw_recall('tl_few_v', 100);
-- rows of a transaction that is still open
BEGIN;
INSERT INTO tl_few SELECT ARRAY[i, -i]::vector FROM generate_series(1, 20) i;
DELETE FROM tl_few WHERE v = '[1,1]';
SELECT recall, queries_used FROM phnsw_recall('tl_few_v', 3);
ROLLBACK;

-- errors
SELECT phnsw_recall('tl');
SELECT phnsw_recall('tl_v', 0);
SELECT phnsw_recall('tl_v', 1001);
SELECT phnsw_recall('tl_v', NULL);
SELECT phnsw_recall('tl_v', sample => 0);
SELECT phnsw_recall('tl_v', ef => 100001);
SELECT phnsw_recall('tl_v', queries => ARRAY['[1,2]'::vector]);
SELECT phnsw_recall('tl_v', queries => ARRAY[NULL::vector]);
SELECT phnsw_recall(NULL);
CREATE INDEX tl_btree ON tl (id);
SELECT phnsw_recall('tl_btree');

-- size: exact but for how many nodes the upper levels get
SELECT rows, m, ef_construction, dims, bits, build_threads > 0 AS threads, build_seconds > 0 AS seconds,
	build_memory BETWEEN 24e6 AND 30e6 AS memory, maintenance_work_mem, memory_suffices
FROM phnsw_suggest('tl', 'v', 3000, 4, 16);
SELECT abs(s.index_bytes - pg_relation_size('tl_v')) <= 2 * 8192 AS size, s.bytes_per_row = s.index_bytes / 3000.0 AS per_row
FROM phnsw_suggest('tl', 'v', 3000, 4, 16) s;
ANALYZE tl;
SELECT rows, m, ef_construction FROM phnsw_suggest('tl', 'v');
SELECT rows, m, ef_construction FROM phnsw_suggest('tl', 'v', m => 48);
SELECT rows, index_bytes, bytes_per_row FROM phnsw_suggest('tl', 'v', 0);
CREATE TABLE tl_wide (v vector(16000), u vector, t text);
SELECT dims, bits, bytes_per_row, maintenance_work_mem FROM phnsw_suggest('tl_wide', 'v', 1000000);
SELECT phnsw_suggest('tl_wide', 'u');
SELECT phnsw_suggest('tl_wide', 't');
SELECT phnsw_suggest('tl_wide', 'w');
SELECT phnsw_suggest('tl_wide', 'v', -1);
SELECT phnsw_suggest('tl_wide', 'v', 10, 101);
SELECT phnsw_suggest('tl_wide', 'v', 10, 50, 64);
SELECT phnsw_suggest('tl_wide', NULL);
SELECT phnsw_suggest('tl', 'v', metric => 'l1');
SELECT phnsw_suggest('tl', 'v', sample => -1);

-- options: from an index on a sample of the rows.  The curve is easy; of independent coordinates more links are asked for, the
-- more so the more rows there will be.
CREATE TABLE "tl Hard" (id int, "the v" vector(64));
SELECT setseed(0.5);
INSERT INTO "tl Hard" SELECT i, array_agg(random())::real[]::vector FROM generate_series(1, 4000) i, generate_series(1, 64) GROUP BY i;
ANALYZE "tl Hard";
SELECT rows, m, ef_construction, ef_search < 60 AS small_ef, sample_rows FROM phnsw_suggest('tl', 'v', rows => 100000);
SELECT rows, m, ef_construction, ef_search BETWEEN 40 AND 100 AS large_ef, sample_rows FROM phnsw_suggest('"tl Hard"', 'the v');
SELECT rows, m, ef_construction, ef_search > 100 AS large_ef, sample_rows FROM phnsw_suggest('"tl Hard"', 'the v', rows => 1000000);
-- options that are given stay, and are what is tried
SELECT m, ef_construction, ef_search > (phnsw_suggest('"tl Hard"', 'the v', m => 48)).ef_search AS larger_ef
FROM phnsw_suggest('"tl Hard"', 'the v', m => 8);
-- a higher target needs a larger ef, whatever phnsw.ef_search is
SET phnsw.ef_search = 7;
SET phnsw.target_recall = 0.6;
SELECT ef_search BETWEEN 8 AND 30 AS smaller_ef FROM phnsw_suggest('"tl Hard"', 'the v');
RESET phnsw.ef_search;
RESET phnsw.target_recall;
-- what it promises is what the index chooses
CREATE INDEX tl_hard_v ON "tl Hard" USING phnsw ("the v");
SELECT s.ef_search::float8 / r.ef BETWEEN 0.8 AND 1.25 AS same_ef
FROM phnsw_suggest('"tl Hard"', 'the v') s, phnsw_recall('tl_hard_v', sample => 1) r;
SELECT phnsw_check('tl_hard_v', true, true);
-- a part of the rows; other metrics; no rows; too few that differ
SELECT sample_rows BETWEEN 2000 AND 3900 AS a_part FROM phnsw_suggest('"tl Hard"', 'the v', sample => 2800);
SELECT m, sample_rows FROM phnsw_suggest('"tl Hard"', 'the v', metric => 'cosine');
SELECT m, sample_rows FROM phnsw_suggest('"tl Hard"', 'the v', metric => 'ip', m => 16);
SELECT m, ef_construction, ef_search, sample_rows FROM phnsw_suggest('"tl Hard"', 'the v', 1000000, sample => 0);
SELECT m, ef_construction, ef_search, sample_rows FROM phnsw_suggest('tl_wide', 'v', 1000000);
INSERT INTO tl_wide (u) SELECT '[1,2]' FROM generate_series(1, 5000);
ALTER TABLE tl_wide ALTER u TYPE vector(2);
ANALYZE tl_wide;
SELECT m, ef_search, sample_rows FROM phnsw_suggest('tl_wide', 'u');

-- prewarm
SELECT phnsw_prewarm('tl_v') = pg_relation_size('tl_v') / 8192 AS all_blocks;
SELECT phnsw_prewarm('tl_btree');

-- only for those who may read the rows, all of them
CREATE ROLE phnsw_tools_reader;
SET ROLE phnsw_tools_reader;
SELECT phnsw_recall('tl_v');
SELECT phnsw_prewarm('tl_v');
-- may ask what an index costs, but not how hard the rows are
SELECT rows, m, ef_search, sample_rows FROM phnsw_suggest('"tl Hard"', 'the v');
RESET ROLE;
GRANT SELECT ("the v") ON "tl Hard" TO phnsw_tools_reader;
SET ROLE phnsw_tools_reader;
SELECT sample_rows FROM phnsw_suggest('"tl Hard"', 'the v');
RESET ROLE;
GRANT SELECT ON tl TO phnsw_tools_reader;
SET ROLE phnsw_tools_reader;
SELECT queries_used FROM phnsw_recall('tl_v');
SELECT phnsw_prewarm('tl_v') > 0 AS prewarmed;
RESET ROLE;
ALTER TABLE tl ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_odd ON tl USING (odd);
SET ROLE phnsw_tools_reader;
SELECT phnsw_recall('tl_v');
RESET ROLE;
REVOKE ALL ON tl FROM phnsw_tools_reader;
DROP TABLE "tl Hard";
DROP ROLE phnsw_tools_reader;

SELECT phnsw_check('tl_v', true), phnsw_check('tl_ip', true), phnsw_check('tl_cosine', true), phnsw_check('tl_few_v', true);
DROP TABLE tl, tl_queries, tl_found, tl_true, tl_few, tl_wide;
DROP FUNCTION tl_vector;
