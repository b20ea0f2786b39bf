-- Codes of which a part rules most nodes out (384 dimensions and more): what a search passes over is scored when a scan goes on, so that
-- scans are as complete and as well ordered as with short codes.  Every bound is verified against the table.
SET enable_seqscan = off;
SET enable_sort = off;
SET jit = off;
SET phnsw.check_bounds = on;

SELECT setseed(0.5);
CREATE TABLE centres AS SELECT i, array_agg((random() - 0.5)::real ORDER BY d) AS x FROM generate_series(0, 19) i, generate_series(1, 400) d GROUP BY i;
-- Each at another distance from its centre.
CREATE FUNCTION near(x real[], far float8) RETURNS vector LANGUAGE sql VOLATILE AS $$
	SELECT array_agg((y + far * (random() - 0.5))::real ORDER BY d)::vector FROM unnest(x) WITH ORDINALITY u (y, d)
$$;
CREATE TABLE items AS SELECT n AS id, near(x, 0.2 + 1.2 * random())::vector(400) AS v FROM generate_series(1, 6000) n JOIN centres ON i = n % 20;
CREATE TABLE queries AS SELECT n AS id, near(x, 0.5) AS q FROM generate_series(1, 20) n JOIN centres ON i = n % 20;
CREATE INDEX items_l2 ON items USING phnsw (v vector_l2_ops);

-- The share of the n nearest rows that satisfy the filter which a scan at ef 20 returns; an error when it is out of order.
CREATE FUNCTION recall(op text, n int, filter text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	query record;
	got float8[];
	want float8[];
	found int := 0;
BEGIN
	SET LOCAL phnsw.ef_search = 20;
	FOR query IN SELECT * FROM queries LOOP
		EXECUTE format('SELECT array_agg(d) FROM (SELECT v %1$s $1 AS d FROM items WHERE %2$s ORDER BY v %1$s $1 LIMIT $2) s', op, filter)
			INTO got USING query.q, n;
		EXECUTE format('SELECT array_agg(d ORDER BY d) FROM (SELECT v %1$s $1 AS d FROM items WHERE %2$s ORDER BY (v %1$s $1) + 0 LIMIT $2) s', op, filter)
			INTO want USING query.q, n;
		IF got IS DISTINCT FROM (SELECT array_agg(d ORDER BY d) FROM unnest(got) d) THEN
			RAISE EXCEPTION 'out of order: %', got;
		END IF;
		found := found + (SELECT count(*) FROM unnest(got) d WHERE d <= want[n]);
	END LOOP;
	RETURN found / (20.0 * n);
END
$$;

SELECT recall('<->', 10, 'true') > 0.95 AS ten, recall('<->', 300, 'true') > 0.93 AS three_hundred, recall('<->', 10, 'id % 50 = 0') > 0.85 AS filtered;
SET phnsw.iterative_scan = relaxed_order;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> (SELECT q FROM queries WHERE id = 1)) s;
SELECT count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> (SELECT q FROM queries WHERE id = 2) LIMIT 350) s;
RESET phnsw.iterative_scan;
SELECT phnsw_check('items_l2', true);
DROP INDEX items_l2;

CREATE INDEX items_cosine ON items USING phnsw (v vector_cosine_ops);
SELECT recall('<=>', 10, 'true') > 0.95 AS ten, recall('<=>', 300, 'true') > 0.93 AS three_hundred, recall('<=>', 10, 'id % 50 = 0') > 0.85 AS filtered;
SELECT phnsw_check('items_cosine', true);
DROP INDEX items_cosine;

-- Parts tell nothing of inner products, nor where all distances are alike.
CREATE INDEX items_ip ON items USING phnsw (v vector_ip_ops);
SELECT recall('<#>', 300, 'true') > 0.85 AS three_hundred;
SELECT phnsw_check('items_ip', true);
DROP INDEX items_ip;
UPDATE items SET v = near((SELECT x FROM centres WHERE i = 0), 1);
CREATE INDEX items_l2 ON items USING phnsw (v vector_l2_ops);
SELECT recall('<->', 300, 'true') > 0.7 AS three_hundred;
SELECT phnsw_check('items_l2', true);
DROP TABLE items, queries, centres;
DROP FUNCTION near, recall;
