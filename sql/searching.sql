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
PREPARE nearest(vector) AS SELECT id, embedding <-> $1 AS distance FROM items ORDER BY distance LIMIT 10;
PREPARE most_similar(vector) AS SELECT id, 1 - (embedding <=> $1) AS similarity FROM items ORDER BY embedding <=> $1 LIMIT 10;
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
PREPARE items_near(vector, float8) AS
SELECT id, embedding <-> $1 AS distance FROM items WHERE embedding <-> $1 < $2 ORDER BY distance LIMIT 100;
CREATE INDEX items_embedding_cosine ON items USING phnsw (embedding vector_cosine_ops);
PREPARE items_like(vector, float8) AS
SELECT id, 1 - (embedding <=> $1) AS similarity FROM items WHERE 1 - (embedding <=> $1) > $2 ORDER BY embedding <=> $1 LIMIT 100;

SELECT uses(format('SELECT id, embedding <-> %1$L AS distance FROM items ORDER BY distance LIMIT 10', q)) AS nearest,
	uses(format('SELECT id, 1 - (embedding <=> %1$L) AS similarity FROM items ORDER BY embedding <=> %1$L LIMIT 10', q)) AS similar,
	(SELECT count(*) FROM uses(format('SELECT id, 1 - (embedding <=> %1$L) AS similarity FROM items ORDER BY similarity DESC LIMIT 10', q))) AS by_similarity
FROM (SELECT embedding AS q FROM items WHERE id = 17) t;

-- They read the index, stop early, and find what there is; without LIMIT the table is sorted.
SELECT embedding AS query FROM items WHERE id = 17 \gset
CREATE FUNCTION finds(query text, OUT by_index text, OUT several boolean, OUT stopped_early boolean, OUT nearly_all boolean) LANGUAGE plpgsql AS $$
DECLARE
	found bigint;
	there bigint;
BEGIN
	by_index := uses(query);
	EXECUTE format('SELECT count(*) FROM (%s) t', query) INTO found;
	SELECT rechecks BETWEEN found AND 2 * found + 100 INTO stopped_early FROM phnsw_last_scan();
	EXECUTE format('SELECT count(*) FROM (%s) t', regexp_replace(query, 'ORDER.*', '')) INTO there;
	several := there BETWEEN 20 AND 99;
	nearly_all := found BETWEEN 0.95 * there AND there;
END
$$;
SELECT * FROM finds(format('SELECT id, embedding <-> %1$L AS distance FROM items WHERE embedding <-> %1$L < 0.8 ORDER BY distance LIMIT 100', :'query'));
SELECT * FROM finds(format('SELECT id FROM items WHERE 1 - (embedding <=> %1$L) > 0.984 ORDER BY embedding <=> %1$L LIMIT 100', :'query'));
SELECT uses(format('SELECT id, embedding <-> %1$L AS distance FROM items WHERE embedding <-> %1$L < 1.0 ORDER BY distance', :'query')) AS without_limit;
\o /dev/null
EXECUTE items_near(:'query', 1.0);
EXECUTE items_like(:'query', 0.98);
\o
DROP INDEX items_embedding_cosine;

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
DROP FUNCTION finds, uses;
DROP TABLE items;
