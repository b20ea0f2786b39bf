-- Inserts into an existing index: every size from nothing, every metric, against sequential scans.
SET enable_seqscan = off;
SET enable_sort = off;
SET jit = off;
SET phnsw.check_bounds = on;
SET phnsw.ef_search = 100;
SET phnsw.iterative_scan = relaxed_order;	-- every row, whatever its order

CREATE FUNCTION test_vector(id int, dims int) RETURNS vector LANGUAGE sql IMMUTABLE AS $$
	SELECT array_agg((hashint8extended(id, i) >> 40)::real / 8388608)::vector FROM generate_series(1, dims) i
$$;

-- Row by row from the first, in statements of their own.
CREATE TABLE items (id int, v vector(12));
CREATE INDEX items_l2 ON items USING phnsw (v) WITH (m = 8, ef_construction = 40);
CREATE INDEX items_cosine ON items USING phnsw (v vector_cosine_ops);
CREATE INDEX items_ip ON items USING phnsw (v vector_ip_ops);
INSERT INTO items VALUES (1, test_vector(1, 12));
SELECT id FROM items ORDER BY v <-> test_vector(1, 12);
SELECT phnsw_check('items_l2', true);
INSERT INTO items VALUES (2, test_vector(2, 12));
INSERT INTO items VALUES (3, NULL);
INSERT INTO items VALUES (4, '[0,0,0,0,0,0,0,0,0,0,0,0]');
SELECT id FROM items ORDER BY v <-> test_vector(2, 12);
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <=> test_vector(2, 12)) s;
SELECT phnsw_check('items_l2', true), phnsw_check('items_cosine', true), phnsw_check('items_ip', true);

-- Large enough for the graph; upper levels and new entry points among them.
INSERT INTO items SELECT i, test_vector(i, 12) FROM generate_series(5, 3000) i;
SELECT phnsw_check('items_l2', true), phnsw_check('items_cosine', true), phnsw_check('items_ip', true);
SELECT live_nodes, dead_nodes, entry_level > 1 AS levels FROM phnsw_index_info('items_l2');

-- How many of the n nearest the scans of 30 queries leave out.
CREATE TABLE queries AS SELECT i AS id, test_vector(-i, 12) AS q FROM generate_series(1, 30) i;
CREATE FUNCTION missed(op text, n int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	result bigint;
BEGIN
	EXECUTE format('SELECT sum((SELECT count(*) FROM '
		'((SELECT id FROM items ORDER BY (v %1$s q) + 0 LIMIT %2$s) EXCEPT '
		'(SELECT id FROM items ORDER BY v %1$s q LIMIT %2$s)) s)) FROM queries', op, n)
		INTO result;
	RETURN result;
END
$$;
SELECT op, missed(op, 10) <= 15 AS good FROM unnest('{<->,<#>}'::text[]) op;
-- The zero vector stands in the table, where its cosine distance sorts behind all others.
SELECT missed('<=>', 10) <= 15 AS good;

-- A bulk-built index that grows by a third.
REINDEX INDEX items_l2;
INSERT INTO items SELECT i, test_vector(i, 12) FROM generate_series(3001, 4000) i;
SELECT missed('<->', 10) <= 15 AS good;
SELECT phnsw_check('items_l2', true);

-- Rows far from all others can be found, and do not hide those that were there.
INSERT INTO items SELECT 10000 + i, (SELECT array_agg(1000 + (i * j) % 7)::vector FROM generate_series(1, 12) j)
FROM generate_series(1, 50) i;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> (SELECT array_agg(1000)::vector FROM generate_series(1, 12)) LIMIT 50) s
WHERE id > 10000;
SELECT missed('<->', 10) <= 15 AS good;
SELECT phnsw_check('items_l2', true);

-- Updates: of the vector, of another column.
UPDATE items SET v = test_vector(id + 100000, 12) WHERE id BETWEEN 100 AND 200;
UPDATE items SET id = id + 1000000 WHERE id BETWEEN 201 AND 300;
SELECT id FROM items ORDER BY v <-> test_vector(100150, 12) LIMIT 1;
SELECT id FROM items ORDER BY v <-> test_vector(250, 12) LIMIT 1;
SELECT missed('<->', 10) <= 15 AS good;
SELECT phnsw_check('items_l2', true), phnsw_check('items_cosine', true), phnsw_check('items_ip', true);

-- Everything goes, then comes again: slots are used again, the entry point moves.
DELETE FROM items;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> test_vector(1, 12)) s;
INSERT INTO items SELECT i, test_vector(i, 12) FROM generate_series(1, 100) i;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> test_vector(1, 12)) s;
SELECT phnsw_check('items_l2');
VACUUM items;
SELECT phnsw_check('items_l2', true);
INSERT INTO items SELECT i, test_vector(i, 12) FROM generate_series(101, 4000) i;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> test_vector(1, 12)) s;
SELECT phnsw_check('items_l2', true), phnsw_check('items_cosine', true), phnsw_check('items_ip', true);
SELECT missed('<->', 10) <= 15 AS good;

-- Rolled back rows are in the index, and invisible.
BEGIN;
INSERT INTO items SELECT 20000 + i, test_vector(-1, 12) FROM generate_series(1, 20) i;
SELECT min(id) > 20000 AS own FROM (SELECT id FROM items ORDER BY v <-> test_vector(-1, 12) LIMIT 20) s;
ROLLBACK;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> test_vector(-1, 12) LIMIT 20) s WHERE id > 20000;
SELECT phnsw_check('items_l2');

-- Wrong dimensions.
INSERT INTO items VALUES (0, '[1,2]');
ALTER TABLE items ALTER COLUMN v TYPE vector;
CREATE TABLE loose (v vector);
INSERT INTO loose VALUES ('[1,2]');
CREATE INDEX loose_v ON loose USING phnsw ((v::vector(2)));
INSERT INTO loose VALUES ('[1,2,3]');
DROP TABLE loose;

-- Slots of a page each, codes of four bits, the smallest m and the largest.
CREATE TABLE wide (id int, v vector(12000));
CREATE INDEX wide_v ON wide USING phnsw (v) WITH (m = 4);
INSERT INTO wide SELECT i, test_vector(i, 12000) FROM generate_series(1, 12) i;
INSERT INTO wide SELECT i, test_vector(i, 12000) FROM generate_series(13, 40) i;
SELECT id FROM wide ORDER BY v <-> test_vector(7, 12000) LIMIT 1;
SELECT phnsw_check('wide_v', true);
CREATE TABLE thin (id int, v vector(1));
CREATE INDEX thin_v ON thin USING phnsw (v) WITH (m = 2, ef_construction = 4);
CREATE INDEX thin_v2 ON thin USING phnsw (v) WITH (m = 100, ef_construction = 1000);
INSERT INTO thin SELECT i, ARRAY[i]::vector FROM generate_series(1, 20) i;
INSERT INTO thin SELECT i, ARRAY[i]::vector FROM generate_series(21, 2500) i;
SELECT id FROM thin ORDER BY v <-> '[1234.4]' LIMIT 3;
SELECT phnsw_check('thin_v', true), phnsw_check('thin_v2', true);

-- An unlogged and a temporary table.
CREATE UNLOGGED TABLE quick (id int, v vector(3));
CREATE INDEX quick_v ON quick USING phnsw (v);
INSERT INTO quick SELECT i, ARRAY[i, i % 10, 1]::vector FROM generate_series(1, 10) i;
INSERT INTO quick SELECT i, ARRAY[i, i % 10, 1]::vector FROM generate_series(11, 3000) i;
SELECT id FROM quick ORDER BY v <-> '[2000,0,1]' LIMIT 1;
CREATE TEMPORARY TABLE brief (id int, v vector(3));
CREATE INDEX brief_v ON brief USING phnsw (v);
INSERT INTO brief SELECT i, ARRAY[i, i % 10, 1]::vector FROM generate_series(1, 10) i;
INSERT INTO brief SELECT i, ARRAY[i, i % 10, 1]::vector FROM generate_series(11, 3000) i;
SELECT id FROM brief ORDER BY v <-> '[2000,0,1]' LIMIT 1;
SELECT phnsw_check('quick_v', true), phnsw_check('brief_v', true);

DROP TABLE items, queries, wide, thin, quick, brief;
DROP FUNCTION missed, test_vector;

-- Sessions that come and go fill one page.
CREATE TABLE visits (id int, v vector(3));
INSERT INTO visits SELECT i, ARRAY[i, i % 10, 1]::vector FROM generate_series(1, 400) i;
CREATE INDEX visits_v ON visits USING phnsw (v);
SELECT node_pages AS before FROM phnsw_index_info('visits_v') \gset
\c -
INSERT INTO visits VALUES (1001, ARRAY[1001, 0.5, 0]::vector);
\c -
INSERT INTO visits VALUES (1002, ARRAY[1002, 0.5, 0]::vector);
\c -
INSERT INTO visits VALUES (1003, ARRAY[1003, 0.5, 0]::vector);
\c -
INSERT INTO visits VALUES (1004, ARRAY[1004, 0.5, 0]::vector);
\c -
INSERT INTO visits VALUES (1005, ARRAY[1005, 0.5, 0]::vector);
SELECT node_pages - :before AS more_pages FROM phnsw_index_info('visits_v');
SELECT phnsw_check('visits_v', true);
DROP TABLE visits;
