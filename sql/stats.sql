-- Statistics: what is counted, for whom, and who may see and forget it.
\set VERBOSITY default

CREATE TABLE st (id int, v vector(4));
CREATE INDEX st_v ON st USING phnsw (v);
SELECT phnsw_stats_reset();
SELECT index, scope, scans, inserts FROM phnsw_stats WHERE index = 'st_v'::regclass;

-- few rows of a transaction go into the index one by one, many together
INSERT INTO st SELECT i, ARRAY[i, i % 7, i % 11, 1]::real[]::vector FROM generate_series(1, 100) i;
SELECT index, scope, scans, inserts, inserts_bulk, bulk_flushes FROM phnsw_stats WHERE index = 'st_v'::regclass;
TRUNCATE st;
INSERT INTO st SELECT i, ARRAY[sin(i), cos(i * 1.7), sin(i * 0.3), cos(i * 0.11)]::real[]::vector FROM generate_series(1, 4000) i;
SELECT inserts, inserts_bulk, bulk_flushes FROM phnsw_stats WHERE index = 'st_v'::regclass;
INSERT INTO st VALUES (4001, '[0,0,0,0]'), (4002, NULL);
SELECT inserts, inserts_bulk, bulk_flushes FROM phnsw_stats WHERE index = 'st_v'::regclass;
ANALYZE st;

-- a scan is counted when it ends
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT id FROM st ORDER BY v <-> '[1,0,0,0]' LIMIT 10) t;
SELECT scans, hops > 0 AS hops, distances > hops AS distances, pins > 0 AS pins, rechecks >= 10 AS rechecks, sweeps
FROM phnsw_stats WHERE index = 'st_v'::regclass;
SELECT index, ef > 0 AS ef, hops > 0 AS hops, distances > hops AS distances, pins > 0 AS pins,
	rechecks BETWEEN 10 AND 1000 AS rechecks, sweeps, first_row_ms > 0 AS first_row, total_ms >= first_row_ms AS total
FROM phnsw_last_scan();
SELECT rechecks, sweeps, distances FROM phnsw_stats WHERE index = 'st_v'::regclass \gset before_
SET phnsw.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT id FROM st ORDER BY v <-> '[1,0,0,0]') t;
RESET phnsw.iterative_scan;
SELECT rechecks, sweeps FROM phnsw_last_scan();
SELECT rechecks - :before_rechecks AS rechecks, sweeps - :before_sweeps AS sweeps
FROM phnsw_stats WHERE index = 'st_v'::regclass;

-- ten rows and a few that are rechecked come out of one window, which the default has room for; more rows need another
SET phnsw.ef_search = 20;
SELECT count(*) FROM (SELECT id FROM st ORDER BY v <-> '[1,0,0,0]' LIMIT 1) t;
SELECT hops FROM phnsw_last_scan() \gset one_
SELECT count(*) FROM (SELECT id FROM st ORDER BY v <-> '[1,0,0,0]' LIMIT 12) t;
SELECT rechecks > 12 AS rechecks, hops = :one_hops AS one_window FROM phnsw_last_scan();
SELECT count(*) FROM (SELECT id FROM st ORDER BY v <-> '[1,0,0,0]' LIMIT 16) t;
SELECT hops > :one_hops AS another FROM phnsw_last_scan();
RESET phnsw.ef_search;
SET phnsw.target_recall = 0.5;
SELECT count(*) FROM (SELECT id FROM st ORDER BY v <-> '[1,0,0,0]' LIMIT 10) t;
SELECT ef FROM phnsw_last_scan();
RESET phnsw.target_recall;

-- with every rescan the next one begins; two scans that alternate are kept apart
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT scans, rechecks FROM phnsw_stats WHERE index = 'st_v'::regclass \gset before_
SELECT count(*) FROM st a CROSS JOIN LATERAL (SELECT b.id FROM st b ORDER BY b.v <-> a.v LIMIT 3) n WHERE a.id <= 5;
SELECT scans - :before_scans AS scans FROM phnsw_stats WHERE index = 'st_v'::regclass;

CREATE TABLE st2 (id int, v vector(4));
CREATE INDEX st2_v ON st2 USING phnsw (v);
INSERT INTO st2 SELECT i, ARRAY[i, 0, 0, 0]::real[]::vector FROM generate_series(1, 50) i;
BEGIN;
DECLARE one CURSOR FOR SELECT id FROM st ORDER BY v <-> '[0,1,0,0]';
DECLARE two CURSOR FOR SELECT id FROM st2 ORDER BY v <-> '[20,0,0,0]';
FETCH 1 FROM two;
MOVE 5 FROM one;
FETCH 1 FROM two;
MOVE 5 FROM one;
INSERT INTO st2 VALUES (51, '[51,0,0,0]');
FETCH 1 FROM two;
CLOSE two;
SELECT index, hops, distances > 0 AS distances, pins > 0 AS pins, pin_misses <= pins AS pin_misses, late, sweeps FROM phnsw_last_scan();
CLOSE one;
SELECT index, hops > 0 AS hops, distances > 50 AS distances FROM phnsw_last_scan();
COMMIT;

-- a scan that an error ends counts as well
SELECT scans, rechecks FROM phnsw_stats WHERE index = 'st2_v'::regclass \gset before_
SELECT 1 / (id - 20) FROM st2 ORDER BY v <-> '[20,0,0,0]' LIMIT 1;
SELECT scans - :before_scans AS scans, rechecks > :before_rechecks AS rechecks FROM phnsw_stats WHERE index = 'st2_v'::regclass;
SELECT index, sweeps FROM phnsw_last_scan();

-- a scan that returns nothing
SELECT id FROM st2 WHERE id < 0 ORDER BY v <-> '[20,0,0,0]' LIMIT 1;
SELECT rechecks, first_row_ms <= total_ms AS first_row FROM phnsw_last_scan();
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_seqscan;

-- vacuum
SELECT vacuums, rows_removed, nodes_freed, lists_repaired FROM phnsw_stats WHERE index = 'st2_v'::regclass;
DELETE FROM st2 WHERE id % 5 = 0;
VACUUM (INDEX_CLEANUP ON, PARALLEL 0) st2;
SELECT vacuums, rows_removed, nodes_freed, lists_repaired > 0 AS lists_repaired
FROM phnsw_stats WHERE index = 'st2_v'::regclass;

-- resetting one index leaves the others alone
SELECT phnsw_stats_reset('st2_v');
SELECT index FROM phnsw_stats WHERE index IN ('st_v'::regclass, 'st2_v'::regclass);
SELECT phnsw_stats_reset();
SELECT count(*) FROM phnsw_stats;

-- everybody sees what the own session did; dropped indexes vanish
CREATE ROLE phnsw_stats_reader;
SET SESSION AUTHORIZATION phnsw_stats_reader;
CREATE TEMP TABLE st3 (v vector(2));
CREATE INDEX st3_v ON st3 USING phnsw (v);
INSERT INTO st3 VALUES ('[1,2]'), ('[3,4]');
SELECT index, inserts FROM phnsw_stats;
SELECT phnsw_stats_reset('st3_v');
DROP TABLE st3;
SELECT count(*) FROM phnsw_stats;
RESET SESSION AUTHORIZATION;
DROP ROLE phnsw_stats_reader;

SELECT phnsw_check('st_v', true), phnsw_check('st2_v', true);
DROP TABLE st, st2;
