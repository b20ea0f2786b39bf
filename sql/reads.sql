-- How an index is read: pages without a pin, the upper levels in the backend's own memory, and what PostgreSQL's statistics say.
CREATE TABLE rd (id int, v vector(8)) WITH (autovacuum_enabled = false);
INSERT INTO rd SELECT i, (SELECT array_agg(sin(i * j + j)::real ORDER BY j) FROM generate_series(1, 8) j)::vector
FROM generate_series(1, 6000) i;
CREATE INDEX rd_v ON rd USING phnsw (v);
SET enable_seqscan = off;
SET phnsw.ef_search = 40;

-- what scan after scan of one query has counted
CREATE TABLE scans (scan int, hops bigint, distances bigint, pins bigint, glances bigint, pin_misses bigint, sweeps bigint);
CREATE FUNCTION scan(n int) RETURNS SETOF scans LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		PERFORM id FROM rd ORDER BY v <-> '[0.8,0.1,-0.7,-0.3,0.5,0.2,-0.1,0.4]' LIMIT 10;
		RETURN QUERY SELECT i, s.hops, s.distances, s.pins, s.glances, s.pin_misses, s.sweeps FROM phnsw_last_scan() s;
	END LOOP;
END $$;

-- in a session of its own, which has no copy of the upper levels yet
\c -
SET enable_seqscan = off;
SET phnsw.ef_search = 40;
INSERT INTO scans SELECT * FROM scan(80);
SELECT count(*) AS scans, min(hops) > 40 AS hops, max(sweeps) AS sweeps FROM scans;

-- The upper levels: twelve descents go through pages, the following ones copy some nodes each, so that no query waits for all.  When they are copied, a descent
-- takes about as many hops, which read no page but that of the node where it ends.
SELECT count(*) AS waits FROM scans, (SELECT max(pins) AS pins FROM scans WHERE scan BETWEEN 2 AND 10) before WHERE scans.pins > 1.5 * before.pins;
SELECT b.hops > 0.9 * a.hops AS as_many_hops, b.pins < 0.9 * a.pins AS fewer_pins, b.distances < 0.9 * a.distances AS fewer_distances
FROM scans a, scans b WHERE a.scan = 10 AND b.scan = 60;

-- most lists and nodes are read without a pin, once it is known where they are; what is returned is looked at with one
SELECT count(*) AS scans, bool_and(glances > 0.75 * pins) AS most, bool_and(glances < pins) AS not_all FROM scans WHERE scan > 60;

-- pg_statio_user_indexes: every read once, with a pin and without, and next to nothing from disk
SELECT pg_stat_force_next_flush();
SELECT idx_blks_hit AS hit, idx_blks_read AS read FROM pg_statio_user_indexes WHERE indexrelname = 'rd_v' \gset before_
SELECT pins FROM phnsw_stats WHERE index = 'rd_v'::regclass \gset before_
SELECT count(*) FROM scan(100);
SELECT pg_stat_force_next_flush();
SELECT (idx_blks_hit - :before_hit)::numeric / (pins - :before_pins) BETWEEN 0.9 AND 1.1 AS hits_are_pins,
	idx_blks_read - :before_read < 0.01 * (pins - :before_pins) AS none_from_disk
FROM pg_statio_user_indexes, phnsw_stats WHERE indexrelname = 'rd_v' AND index = 'rd_v'::regclass;

-- The TOAST table: vectors of 600 dimensions have two chunks each, behind two or three pages of its index.  PostgreSQL's functions, which
-- subvector() uses, and phnsw's own count alike, up to what is told a little later.
CREATE TABLE far (id int, v vector(600)) WITH (autovacuum_enabled = false);
ALTER TABLE far ALTER v SET STORAGE EXTERNAL;
INSERT INTO far SELECT i, (SELECT array_agg(sin(i * j + j)::real ORDER BY j) FROM generate_series(1, 600) j)::vector FROM generate_series(1, 1000) i;
CREATE FUNCTION toast_reads() RETURNS TABLE (hit bigint, tree bigint, read bigint) LANGUAGE sql AS
	$$ SELECT toast_blks_hit, tidx_blks_hit, toast_blks_read + tidx_blks_read FROM pg_statio_user_tables WHERE relname = 'far' $$;
SELECT sum(v <-> v) FROM far;
SELECT pg_stat_force_next_flush();
SELECT hit, tree, read FROM toast_reads() \gset start_
SELECT count(subvector(v, 1, 600)) FROM far;
SELECT pg_stat_force_next_flush();
SELECT hit - :start_hit AS hit, tree - :start_tree AS tree FROM toast_reads() \gset theirs_
SELECT hit, tree FROM toast_reads() \gset start_
SELECT sum(v <-> v) FROM far;
SELECT sum(v <-> v) FROM far WHERE id = 1;
SELECT pg_stat_force_next_flush();
-- a vector twice in each row; the tree from its meta page on, which PostgreSQL remembers
SELECT (hit - :start_hit)::numeric / :theirs_hit BETWEEN 1.9 AND 2.1 AS hit, (tree - :start_tree)::numeric / :theirs_tree BETWEEN 1.9 AND 6 AS tree,
	read - :start_read AS read FROM toast_reads();

-- inserts read at a glance, too: some hundred pages each
SELECT idx_blks_hit AS hit FROM pg_statio_user_indexes WHERE indexrelname = 'rd_v' \gset before_
INSERT INTO rd VALUES (6001, '[0.8,0.1,-0.7,-0.3,0.5,0.2,-0.1,0.4]');
INSERT INTO rd VALUES (6002, '[-0.8,0.1,0.7,-0.3,0.5,0.2,-0.1,0.4]');
SELECT pg_stat_force_next_flush();
SELECT idx_blks_hit - :before_hit > 400 AS inserts FROM pg_statio_user_indexes WHERE indexrelname = 'rd_v';

SELECT phnsw_check('rd_v', true, true);
DROP FUNCTION scan(int);
DROP FUNCTION toast_reads();
DROP TABLE rd, scans, far;
