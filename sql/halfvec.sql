-- The type halfvec: text and binary form, rounding, casts, functions, comparison, and indexes on it.  What it shares with vector, errors of
-- the text among it, is tested there (type.sql, cast.sql); here every one of its own errors.
\set VERBOSITY terse
SET extra_float_digits = 0;

-- text, rounded to the nearest half, ties to even
SELECT '[1,2,3]'::halfvec, ' [ 1 , 2.5 ] '::halfvec, '[-0]'::halfvec;
SELECT '[0.1,65504,65519.99,-65504,6e-8,2e-8,2049,2051]'::halfvec;
SELECT '[65520]'::halfvec;
SELECT '[1,-1e9]'::halfvec;
SELECT '[1e39]'::halfvec;
SELECT '[]'::halfvec;
SELECT '[1,2'::halfvec;
SELECT '[1,x]'::halfvec;
SELECT '[NaN]'::halfvec;
SELECT '[-Infinity]'::halfvec;
SELECT '1,2'::halfvec;
SELECT '[1]2'::halfvec;
SELECT ('[' || repeat('1,', 15999) || '1]')::halfvec IS NOT NULL AS longest;
SELECT ('[' || repeat('1,', 16000) || '1]')::halfvec;

-- binary form: dimensions, zero, 16 bits a coordinate
SELECT halfvec_send('[1,-2,0.1,65504,6e-8]');
CREATE TEMP TABLE sent (v halfvec);
SELECT current_setting('data_directory') || '/halfvec.copy' AS file \gset
COPY (SELECT v FROM (VALUES ('[1,2,3]'::halfvec), ('[65504,-6e-8,0.1]')) t(v)) TO :'file' WITH (FORMAT binary);
COPY sent FROM :'file' WITH (FORMAT binary);
SELECT * FROM sent;
COPY (SELECT '\x0001000100ff'::bytea) TO :'file' WITH (FORMAT binary);
COPY sent FROM :'file' WITH (FORMAT binary);
COPY (SELECT '\x00007c00'::bytea) TO :'file' WITH (FORMAT binary);
COPY sent FROM :'file' WITH (FORMAT binary);
COPY (SELECT '\x000100007c00'::bytea) TO :'file' WITH (FORMAT binary);
COPY sent FROM :'file' WITH (FORMAT binary);
COPY (SELECT '\x000100007e00'::bytea) TO :'file' WITH (FORMAT binary);
COPY sent FROM :'file' WITH (FORMAT binary);
COPY (SELECT '\x000200003c00'::bytea) TO :'file' WITH (FORMAT binary);
COPY sent FROM :'file' WITH (FORMAT binary);

-- type modifiers
SELECT '[1,2,3]'::halfvec(3);
SELECT '[1,2,3]'::halfvec(2);
CREATE TEMP TABLE no_dims (v halfvec(0));
CREATE TEMP TABLE no_dims (v halfvec(16001));
CREATE TEMP TABLE no_dims (v halfvec(1, 2));

-- casts
SELECT castsource::regtype, casttarget::regtype, castcontext, castfunc::regprocedure
FROM pg_cast
WHERE 'halfvec'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text, casttarget::regtype::text;
SELECT '[1,2.1,65519]'::vector::halfvec, '[1,2.1]'::halfvec::vector, '[1,2.1]'::vector(2)::halfvec(2), '[1,2.5]'::halfvec::real[];
SELECT '{1,2}'::int[]::halfvec, '{1,2.1}'::real[]::halfvec, '{1,2.1}'::double precision[]::halfvec, '{1,2.1}'::numeric[]::halfvec(2);
SELECT '[65520]'::vector::halfvec;
SELECT '[1,2]'::vector::halfvec(3);
SELECT '[1,2]'::halfvec::vector(3);
SELECT '{70000}'::int[]::halfvec;
SELECT '{1e39}'::double precision[]::halfvec;
SELECT '{1,NULL}'::real[]::halfvec;
SELECT '{{1},{2}}'::real[]::halfvec;
SELECT '{}'::real[]::halfvec;
SELECT '{1,2}'::real[]::halfvec(3);

-- distances; of a vector and a halfvec they are those of halves
SELECT l2_distance(a, b), inner_product(a, b), cosine_distance(a, b), l1_distance(a, b)
FROM (SELECT '[1,2,3]'::halfvec, '[-4,5,6.5]'::halfvec) t(a, b);
SELECT a <-> b = l2_distance(a, b) AS l2, a <#> b = -inner_product(a, b) AS ip, a <=> b = cosine_distance(a, b) AS cosine, a <+> b = l1_distance(a, b) AS l1,
	halfvec_l2_squared_distance(a, b) = (a <-> b) ^ 2 AS squared
FROM (SELECT '[3,0,0]'::halfvec, '[0,4,0]'::halfvec) t(a, b);
SELECT '[0,0]'::halfvec <=> '[1,1]', '[1,1]'::halfvec <=> '[1,1]', halfvec_spherical_distance('[1,0]', '[0,1]'), halfvec_spherical_distance('[1,0]', '[1,0]');
SELECT '[0.1]'::vector <-> '[0]'::halfvec = '[0.1]'::halfvec <-> '[0]' AS rounded;
SELECT '[1,2]'::halfvec <-> '[1,2,3]';
SELECT '[65504,65504]'::halfvec <-> '[-65504,-65504]';
SELECT count(*) AS differ FROM generate_series(1, 300) n,
	LATERAL (SELECT array_agg(sin(n * i))::halfvec, array_agg(cos(n + i))::halfvec FROM generate_series(1, n) i) t(a, b)
WHERE abs((a <-> b) - (a::vector <-> b::vector)) > 1e-12 OR abs((a <#> b) - (a::vector <#> b::vector)) > 1e-12 OR
	abs((a <=> b) - (a::vector <=> b::vector)) > 1e-12 OR abs((a <+> b) - (a::vector <+> b::vector)) > 1e-12;

-- functions
SELECT vector_dims('[1,2,3]'::halfvec), l2_norm('[3,4]'::halfvec), l2_normalize('[3,4]'::halfvec), l2_normalize('[0,0]'::halfvec);
SELECT l2_normalize('[65504]'::halfvec), l2_normalize('[6e-8]'::halfvec);
SELECT subvector('[1,2,3,4]'::halfvec, 2, 2), subvector('[1,2,3,4]'::halfvec, -1, 3), subvector('[1,2,3,4]'::halfvec, 3, 2147483647);
SELECT subvector('[1,2,3,4]'::halfvec, 5, 1);
SELECT binary_quantize('[1,0,-1,-0,6e-8,-6e-8,3,4,5]'::halfvec);
SELECT '[1,2]'::halfvec + '[3,4]', '[1,2]'::halfvec - '[3,4]', '[1,2]'::halfvec * '[3,4]', '[1,2]'::halfvec || '[3]';
SELECT '[1,2]'::halfvec + '[3]';
SELECT '[65504]'::halfvec + '[15.9]', '[2048]'::halfvec + '[1]' AS tie_to_even, '[2050]'::halfvec + '[1]' AS tie_to_even;
SELECT '[65504]'::halfvec + '[16]';
SELECT '[-65504]'::halfvec - '[65504]';
SELECT '[256]'::halfvec * '[256]';
SELECT '[6e-8]'::halfvec * '[0.5]';
SELECT '[6e-8]'::halfvec * '[0]';
SELECT array_fill(1, ARRAY[16000])::halfvec || '[1]';

-- aggregates, alone and in parts
SELECT avg(v), sum(v), avg(v) FILTER (WHERE false) AS nothing FROM (VALUES ('[1,2.5]'::halfvec), ('[3,4]'), (NULL)) t(v);
SELECT avg(v) FROM (VALUES ('[65504]'::halfvec), ('[65504]')) t(v);
SELECT sum(v) FROM (VALUES ('[65504]'::halfvec), ('[65504]')) t(v);
SELECT avg(v) FROM (VALUES ('[1]'::halfvec), ('[1,2]')) t(v);
SELECT halfvec_avg(halfvec_combine(halfvec_accum('{0}', '[1,2]'), halfvec_accum('{0}', '[3,4]')));
SELECT halfvec_avg('{1,70000}');

-- order
SELECT v FROM (VALUES ('[1]'::halfvec), ('[-1]'), ('[1,0]'), ('[0]'), ('[-6e-8]'), ('[65504]'), ('[-65504]'), ('[6e-8]')) t(v) ORDER BY v;
SELECT '[0]'::halfvec = '[-0]' AS eq, '[1]'::halfvec <> '[1]' AS ne, '[1]'::halfvec < '[1,1]' AS lt, '[2]'::halfvec <= '[1]' AS le,
	'[-1]'::halfvec > '[-2]' AS gt, '[-2]'::halfvec >= '[-1]' AS ge, halfvec_cmp('[1]', '[2]');
CREATE TABLE h (id int, v halfvec(3));
CREATE INDEX h_btree ON h (v);
INSERT INTO h VALUES (1, '[1,2,3]'), (2, '[1,2,4]'), (3, NULL), (4, '[0,0,0]'), (5, '[-3,1,1]'), (6, '[1,2,3]');
SELECT count(DISTINCT v) FROM h;
SET enable_seqscan = off;
SELECT id FROM h WHERE v = '[1,2,3]' ORDER BY id;
DROP INDEX h_btree;

-- indexes
CREATE INDEX h_l2 ON h USING phnsw (v);
EXPLAIN (COSTS OFF) SELECT id FROM h ORDER BY v <-> '[1,2,3]' LIMIT 3;
SELECT * FROM (SELECT id, v <-> '[1,2,3]' AS d FROM h ORDER BY v <-> '[1,2,3]' LIMIT 3) n ORDER BY d, id;
SELECT id FROM h ORDER BY v <-> '[1,2]' LIMIT 3;
INSERT INTO h VALUES (7, '[1,2]');
DROP INDEX h_l2;
CREATE INDEX h_ip ON h USING phnsw (v halfvec_ip_ops);
SELECT * FROM (SELECT id, v <#> '[1,2,3]' AS d FROM h ORDER BY v <#> '[1,2,3]' LIMIT 3) n ORDER BY d, id;
SELECT phnsw_check('h_ip', heap_check => true);
DROP INDEX h_ip;
CREATE INDEX h_cosine ON h USING phnsw (v halfvec_cosine_ops);
SELECT * FROM (SELECT id, v <=> '[1,2,3]' AS d FROM h ORDER BY v <=> '[1,2,3]' LIMIT 9) n ORDER BY d, id;
SELECT phnsw_check('h_cosine', heap_check => true);
DROP INDEX h_cosine;
CREATE TABLE h_no_dims (v halfvec);
\set VERBOSITY default
CREATE INDEX ON h_no_dims USING phnsw (v);
\set VERBOSITY terse
CREATE INDEX ON h USING phnsw (v vector_l2_ops);

-- an index of halves on a column of vectors, the way to index what is stored exactly
CREATE TABLE exact (id int, v vector(3));
INSERT INTO exact SELECT id, v FROM h;
CREATE INDEX exact_half ON exact USING phnsw ((v::halfvec(3)) halfvec_l2_ops);
EXPLAIN (COSTS OFF) SELECT id FROM exact ORDER BY v::halfvec(3) <-> '[1,2,3]' LIMIT 3;
SELECT id FROM (SELECT id, v::halfvec(3) <-> '[1,2,3]' AS d FROM exact ORDER BY v::halfvec(3) <-> '[1,2,3]' LIMIT 3) n ORDER BY d, id;
SELECT phnsw_check('exact_half', heap_check => true);

-- tools
SELECT k, recall FROM phnsw_recall('exact_half', k => 2, queries => ARRAY['[1,2,3]', '[0.1,0,0]']::vector[]);
SELECT k, recall FROM phnsw_recall('exact_half', k => 2, queries => ARRAY['[70000,2,3]']::vector[]);
SELECT dims, bits, sample_rows FROM phnsw_suggest('h', 'v');
SELECT * FROM phnsw_suggest('h_no_dims', 'v');

-- operator classes that name the coordinates of another type
CREATE FUNCTION no_element() RETURNS int4 LANGUAGE sql IMMUTABLE AS 'SELECT 77';
CREATE OPERATOR CLASS floats_of_halfvec FOR TYPE halfvec USING phnsw AS
	OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops, FUNCTION 1 phnsw_metric_l2();
CREATE OPERATOR CLASS halves_of_vector FOR TYPE vector USING phnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 phnsw_metric_l2(), FUNCTION 2 phnsw_element_half();
CREATE OPERATOR CLASS nothing_of_vector FOR TYPE vector USING phnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 phnsw_metric_l2(), FUNCTION 2 no_element();
CREATE INDEX ON h USING phnsw (v floats_of_halfvec);
CREATE INDEX ON exact USING phnsw (v halves_of_vector);
CREATE INDEX ON exact USING phnsw (v nothing_of_vector);
TRUNCATE h;
CREATE INDEX h_floats ON h USING phnsw (v floats_of_halfvec);
INSERT INTO h VALUES (1, '[1,2,3]');
SELECT id FROM h ORDER BY v <-> '[1,2,3]';
DROP OPERATOR FAMILY floats_of_halfvec USING phnsw CASCADE;
DROP OPERATOR FAMILY halves_of_vector USING phnsw;
DROP OPERATOR FAMILY nothing_of_vector USING phnsw;
DROP FUNCTION no_element();
RESET enable_seqscan;
DROP TABLE h, h_no_dims, exact;
