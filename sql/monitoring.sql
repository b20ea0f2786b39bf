-- The examples of docs/monitoring.md, word for word (test/tools/check-docs.sh compares).  Where the numbers are not the same
-- everywhere, the output goes to /dev/null; errors appear all the same.
CREATE TABLE items (id bigint PRIMARY KEY, embedding vector(32));

-- what the page takes for granted
INSERT INTO items SELECT i, (SELECT array_agg(sin(i * 0.01 * (1 + j % 5)) + 0.1 * sin(i * j)) FROM generate_series(1, 32) j)::real[]::vector
FROM generate_series(1, 3000) i;
ANALYZE items;

-- Before building: phnsw_suggest
\o /dev/null
SELECT rows, m, ef_construction, ef_search, sample_rows, pg_size_pretty(index_bytes) AS size, maintenance_work_mem,
	memory_suffices, build_threads, round(build_seconds::numeric, 1) AS build_seconds
FROM phnsw_suggest('items', 'embedding', rows => 1000000);
\o
SELECT rows, m, ef_construction, memory_suffices FROM phnsw_suggest('items', 'embedding', rows => 1000000);

-- While it is built
\o /dev/null
SELECT p.pid, p.relid::regclass AS "table", p.phase, p.tuples_done, p.tuples_total, p.blocks_done, p.blocks_total
FROM pg_stat_progress_create_index p;
\o

SET phnsw.log_build = on;
CREATE INDEX items_embedding ON items USING phnsw (embedding);
RESET phnsw.log_build;
SELECT indisvalid FROM pg_index WHERE indexrelid = 'items_embedding'::regclass;

-- What it consists of: phnsw_index_info
\o /dev/null
SELECT metric, dims, m, ef_construction, rows, live_nodes, dead_nodes, free_slots, nodes_per_level,
	round(average_degree::numeric, 1) AS average_degree, round(100 * duplicate_share::numeric, 1) AS duplicate_percent,
	pg_size_pretty(bytes) AS size, round(bytes_per_row) AS bytes_per_row
FROM phnsw_index_info('items_embedding');
\o
SELECT metric, dims, m, ef_construction, rows, live_nodes, duplicates, duplicate_share, dead_nodes, free_slots FROM phnsw_index_info('items_embedding');
SELECT bytes_per_row = bytes / 3000.0 AS per_row, node_pages + aux_pages + centre_pages + unused_pages + 1 = bytes / 8192 AS pages,
	entry < 3000 AS entry, entry_level = array_length(nodes_per_level, 1) - 1 AS entry_level, format_version > 0 AS format_version
FROM phnsw_index_info('items_embedding');

\o /dev/null
SELECT c.ef, c.recall, c.hops, c.touches AS distances
FROM phnsw_index_info('items_embedding') i, jsonb_to_recordset(i.calibration) AS c(ef int, recall float8, hops float8, touches float8)
ORDER BY c.ef;
\o
SELECT count(*) > 1 AS calibrated FROM phnsw_index_info('items_embedding') i, jsonb_array_elements(i.calibration);

-- What it has done: phnsw_stats
\o /dev/null
SELECT index, scans, round(hops::numeric / nullif(scans, 0), 1) AS hops, round(distances::numeric / nullif(scans, 0), 1) AS distances,
	round(100.0 * pin_misses / nullif(pins, 0), 1) AS miss_percent, round(rechecks::numeric / nullif(scans, 0), 1) AS rechecks,
	sweeps, inserts, inserts_bulk, vacuums
FROM phnsw_stats
ORDER BY scans DESC;
\o

SELECT phnsw_stats_reset('items_embedding');
SELECT phnsw_stats_reset();

-- One query: EXPLAIN, then phnsw_last_scan
\o /dev/null
EXPLAIN (ANALYZE, BUFFERS, TIMING OFF)
SELECT id FROM items ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 1) LIMIT 10;
SELECT * FROM phnsw_last_scan();
\o
SELECT index, ef >= 10 AS ef, hops >= 10 AS hops, distances > hops AS distances, rechecks BETWEEN 10 AND 100 AS rechecks, sweeps FROM phnsw_last_scan();
SELECT index, scans, sweeps FROM phnsw_stats;

-- Does it find the right rows: phnsw_recall
\o /dev/null
SELECT k, ef, recall, low, high, queries_used FROM phnsw_recall('items_embedding');
\o
SELECT k, recall BETWEEN 0.8 AND 1 AS recall, low <= recall AND recall <= high AS inside, queries_used FROM phnsw_recall('items_embedding');

\o /dev/null
SELECT ef, r.recall, r.low, r.high
FROM unnest(ARRAY[10, 40, 160]) AS wanted, phnsw_recall('items_embedding', ef => wanted, sample => 100) AS r;
\o

CREATE TABLE asked (embedding vector(32));
INSERT INTO asked SELECT embedding FROM items WHERE id % 100 = 0;
SELECT recall >= 0.5 AS acceptable, queries_used
FROM phnsw_recall('items_embedding', k => 20, queries => (SELECT array_agg(embedding) FROM asked));

-- In memory: phnsw_prewarm
SELECT phnsw_prewarm('items_embedding') * current_setting('block_size')::int = pg_relation_size('items_embedding') AS all_of_it;

-- Vacuum
\o /dev/null
DELETE FROM items WHERE id % 10 = 0;
VACUUM (INDEX_CLEANUP ON) items;
SELECT vacuums, rows_removed, nodes_freed, lists_repaired FROM phnsw_stats WHERE index = 'items_embedding'::regclass;
\o
SELECT vacuums > 0 AS vacuums, rows_removed, nodes_freed, lists_repaired > 0 AS lists FROM phnsw_stats WHERE index = 'items_embedding'::regclass;

-- Damage: phnsw_check
SELECT phnsw_check('items_embedding', heap_check => true);

DROP TABLE items, asked;
