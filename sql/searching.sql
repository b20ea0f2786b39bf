-- The examples of docs/searching.md, word for word (test/tools/check-docs.sh compares).  Where the output is not the same
-- everywhere it goes to /dev/null; errors appear all the same.
CREATE TABLE items (id bigint PRIMARY KEY, kind int, embedding vector(32));

-- what the page takes for granted
SET jit = off;
INSERT INTO items SELECT i, i % 10, (SELECT array_agg(sin(i * 0.01 * (1 + j % 5)) + 0.1 * sin(i * j)) FROM generate_series(1, 32) j)::real[]::vector
FROM generate_series(1, 5000) i;
CREATE INDEX items_embedding ON items USING phnsw (embedding);
ANALYZE items;
CREATE FUNCTION uses(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		RETURN QUERY SELECT (regexp_match(line, 'Index Scan using (\w+)'))[1] WHERE line ~ 'using items_[ek]';
	END LOOP;
END
$$;

-- The nearest rows
\o /dev/null
SELECT id, embedding <-> (SELECT embedding FROM items WHERE id = 17) AS distance
FROM items ORDER BY distance LIMIT 10;
\o
SELECT uses('SELECT id, embedding <-> (SELECT embedding FROM items WHERE id = 17) AS distance FROM items ORDER BY distance LIMIT 10');
\o /dev/null
SELECT * FROM (SELECT id, kind, embedding <-> (SELECT embedding FROM items WHERE id = 17) AS distance
               FROM items ORDER BY distance LIMIT 10) AS nearest
ORDER BY round(distance::numeric, 1), kind;
\o
SELECT uses('SELECT * FROM (SELECT id, kind, embedding <-> (SELECT embedding FROM items WHERE id = 17) AS distance
               FROM items ORDER BY distance LIMIT 10) AS nearest
ORDER BY round(distance::numeric, 1), kind');

SET phnsw.target_recall = 0.99;

-- With conditions
\o /dev/null
SELECT id FROM items WHERE kind = 3 ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17) LIMIT 10;
\o
SELECT uses('SELECT id FROM items WHERE kind = 3 ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17) LIMIT 10');
CREATE INDEX items_kind_3 ON items USING phnsw (embedding) WHERE kind = 3;
SELECT uses('SELECT id FROM items WHERE kind = 3 ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17) LIMIT 10');
DROP INDEX items_kind_3;

-- A condition that few rows pass loses none: all of them come, and a scan that is read to its end has every row.
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*) FROM (SELECT id FROM items WHERE id % 500 = 0 ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17) LIMIT 20) t;
SELECT count(DISTINCT id) FROM (SELECT id FROM items ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17) LIMIT 10000) t;

SELECT id FROM (SELECT id, embedding <-> (SELECT embedding FROM items WHERE id = 17) AS distance
                FROM items WHERE id % 500 = 0 ORDER BY distance LIMIT 20) AS found
ORDER BY distance + 0;

SET phnsw.iterative_scan = relaxed_order;
SELECT count(DISTINCT id) FROM (SELECT id FROM items ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17) LIMIT 10000) t;

RESET phnsw.iterative_scan;
RESET enable_seqscan;
RESET enable_sort;

-- Everything within a distance
\o /dev/null
WITH nearest AS MATERIALIZED (
	SELECT id, embedding <-> (SELECT embedding FROM items WHERE id = 17) AS distance
	FROM items ORDER BY distance LIMIT 100)
SELECT id, distance FROM nearest WHERE distance < 1.0 ORDER BY distance;
\o
SELECT uses('WITH nearest AS MATERIALIZED (
	SELECT id, embedding <-> (SELECT embedding FROM items WHERE id = 17) AS distance
	FROM items ORDER BY distance LIMIT 100)
SELECT id, distance FROM nearest WHERE distance < 1.0 ORDER BY distance');

\o /dev/null
CREATE FUNCTION items_within(query vector, radius float8) RETURNS TABLE (id bigint, distance float8)
LANGUAGE plpgsql STABLE AS $$
DECLARE
	nearest CURSOR FOR SELECT i.id, i.embedding <-> query AS distance FROM items i ORDER BY i.embedding <-> query;
BEGIN
	FOR item IN nearest LOOP
		EXIT WHEN item.distance >= radius;
		id := item.id;
		distance := item.distance;
		RETURN NEXT;
	END LOOP;
END
$$;
SELECT count(*) FROM items_within((SELECT embedding FROM items WHERE id = 17), 1.0);
\o

-- The function reads the index, stops early, and finds what there is.
SELECT phnsw_stats_reset('items_embedding');
SELECT count(*) AS found,
	count(*) >= 0.95 * (SELECT count(*) FROM items WHERE embedding <-> (SELECT embedding FROM items WHERE id = 17) < 1.0) AS nearly_all,
	count(*) FILTER (WHERE distance >= 1.0) AS too_far
FROM items_within((SELECT embedding FROM items WHERE id = 17), 1.0) \gset
\echo nearly all :nearly_all, too far :too_far
SELECT :found BETWEEN 20 AND 1000 AS some, scans, rechecks BETWEEN :found AND 2 * :found + 100 AS stopped_early FROM phnsw_stats WHERE index = 'items_embedding'::regclass;

\o /dev/null
BEGIN;
DECLARE pages CURSOR FOR SELECT id FROM items ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17);
FETCH 10 FROM pages;
FETCH 10 FROM pages;
COMMIT;
\o
SELECT uses('DECLARE pages CURSOR FOR SELECT id FROM items ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 17)');

-- What makes it fast
\o /dev/null
SHOW shared_memory_size_in_huge_pages;
\o
ALTER TABLE items ALTER COLUMN embedding SET STORAGE PLAIN;
UPDATE items SET embedding = embedding WHERE id <= 10;
SELECT attstorage FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'embedding';
SELECT phnsw_check('items_embedding', heap_check => true);

RESET phnsw.target_recall;
DROP FUNCTION items_within, uses;
DROP TABLE items;
