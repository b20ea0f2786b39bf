-- The type: text form, type modifier, storage, binary form, relocation.

-- text in and out
SELECT '[1,2,3]'::vector, ' [ +1 , -2.50,	3e0 ] '::vector AS spaces, '[.5,7.,0x10]'::vector AS forms;
SELECT '[0.1,1e10,1e15,123456.78,16777216,-0]'::vector AS shortest;
SELECT '[3.4028235e38,-3.4028235e38,1.1754944e-38,1e-45]'::vector AS limits;
SELECT '[1e-46,-1e-46]'::vector AS underflow;
SET extra_float_digits = 0;
SELECT '[0.1,16777217,0.33333334]'::vector AS always_shortest;
RESET extra_float_digits;

-- text refused
SELECT ''::vector;
SELECT '1,2'::vector;
SELECT '{1,2}'::vector;
SELECT '['::vector;
SELECT '[]'::vector;
SELECT ' [  ] '::vector;
SELECT '[1'::vector;
SELECT '[1,'::vector;
SELECT '[1,]'::vector;
SELECT '[1,,2]'::vector;
SELECT '[1 2]'::vector;
SELECT '[1x]'::vector;
SELECT '[--1]'::vector;
SELECT '[1,2]]'::vector;
SELECT '[1] x'::vector;
SELECT '[1,nan]'::vector;
SELECT '[inf]'::vector;
SELECT '[1,-Infinity]'::vector;
SELECT '[1,4e38]'::vector;
SELECT '[-1e400]'::vector;

-- at most 16,000 dimensions
SELECT vector_dims(('[1' || repeat(',1', 15999) || ']')::vector);
SELECT ('[1' || repeat(',1', 16000) || ']')::vector;

-- error codes, which clients match on
CREATE FUNCTION error_code(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate;
END $$;
SELECT statement, error_code('SELECT ' || statement)
FROM (VALUES (1, $$'[1'::vector$$), (2, $$'1'::vector$$), (3, $$'[1]1'::vector$$), (4, $$'[]'::vector$$),
	(5, $$'[NaN]'::vector$$), (6, $$'[inf]'::vector$$), (7, $$'[1e39]'::vector$$), (8, $$'[1]'::vector(2)$$),
	(9, $$array_fill(1, ARRAY[16001])::vector$$), (10, $$'{NULL}'::real[]::vector$$), (11, $$'[1]'::vector <-> '[1,2]'$$),
	(12, $$'[3e38]'::vector + '[3e38]'$$), (13, $$NULL::vector(0)$$)) AS s(n, statement)
ORDER BY n;
DROP FUNCTION error_code(text);

-- type modifier
SELECT '[1,2,3]'::vector(3);
SELECT '[1,2,3]'::vector(2);
SELECT '{"[1,2,3]"}'::vector(2)[];
SELECT '[1]'::vector(0);
SELECT '[1]'::vector(-1);
SELECT '[1]'::vector(16001);
SELECT '[1]'::vector(1, 2);
CREATE TABLE t (id int, v vector(3));
SELECT format_type(atttypid, atttypmod), attstorage FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'v';
INSERT INTO t VALUES (1, '[1,2,3]'), (2, NULL), (3, '[0.1,-0,1e-40]');
INSERT INTO t VALUES (4, '[1,2]');
INSERT INTO t SELECT 4, v FROM (SELECT '[1,2]'::vector AS v) AS untyped;
ALTER TABLE t ALTER v TYPE vector;
INSERT INTO t VALUES (4, '[1,2]');
ALTER TABLE t ALTER v TYPE vector(3);
DELETE FROM t WHERE id = 4;
ALTER TABLE t ALTER v TYPE vector(3);

-- binary form
SELECT vector_send('[1,-2]');
\copy t TO 'results/vector.bin' WITH (FORMAT binary)
CREATE TABLE back (id int, v vector(3));
\copy back FROM 'results/vector.bin' WITH (FORMAT binary)
SELECT back.id, back.v, vector_send(back.v) = vector_send(t.v) AS same_bytes FROM back JOIN t USING (id) ORDER BY id;
\copy t TO 'results/vector.csv' WITH (FORMAT csv)
TRUNCATE back;
\copy back FROM 'results/vector.csv' WITH (FORMAT csv)
SELECT back.id, back.v, vector_send(back.v) = vector_send(t.v) AS same_bytes FROM back JOIN t USING (id) ORDER BY id;

-- binary refused; bytea travels as it is, so it can play a hostile client
CREATE TABLE anyv (v vector);
\copy (SELECT '\x00020000'::bytea || '\x3f800000c0000000') TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
SELECT * FROM anyv;
CREATE TABLE two (v vector(2));
\copy two FROM 'results/vector.bin' WITH (FORMAT binary)
CREATE TABLE three (v vector(3));
\copy three FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\x00000000'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\xffff0000'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\x3e810000'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\x000100013f800000'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\x000100007fc00000'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\x000200003f800000ff800000'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\x000200003f800000'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\x000100003f80000000'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
\copy (SELECT '\x00'::bytea) TO 'results/vector.bin' WITH (FORMAT binary)
\copy anyv FROM 'results/vector.bin' WITH (FORMAT binary)
SELECT count(*) FROM anyv;
DROP TABLE t, back, anyv, two, three;

-- storage: short headers, full ones, out of line, compressed; every function sees the same value
CREATE TABLE stored (dims int, external vector, compressed vector, plain vector);
ALTER TABLE stored ALTER compressed SET STORAGE extended, ALTER plain SET STORAGE plain;
INSERT INTO stored
SELECT n, v, v, CASE WHEN n < 1000 THEN v END
FROM unnest(ARRAY[1, 3, 100, 600, 1536, 16000]) AS n, LATERAL (SELECT array_agg(1 + i % 7)::vector AS v FROM generate_series(1, n) AS i) AS made;
SELECT dims, pg_column_size(external) AS external_bytes, pg_column_compression(compressed) IS NOT NULL AS is_compressed,
	pg_column_size(plain) AS plain_bytes, vector_dims(external) AS external, vector_dims(compressed) AS compressed,
	vector_dims(plain) AS plain
FROM stored ORDER BY dims;
SELECT dims, external = compressed AS equal, external <-> compressed AS distance, plain = external AS plain_equal,
	(external + compressed) = (external + external) AS sums, md5(external::text) = md5(compressed::text) AS texts,
	vector_send(external) = vector_send(compressed) AS sends
FROM stored ORDER BY dims;
DROP TABLE stored;

-- prepared statements, custom and generic plans
CREATE TABLE p (id int, v vector(2));
INSERT INTO p SELECT i, ARRAY[i, -i] FROM generate_series(1, 5) AS i;
SET plan_cache_mode = force_generic_plan;
PREPARE nearest(vector) AS SELECT id, v <-> $1 AS distance FROM p ORDER BY v <-> $1, id LIMIT 2;
EXECUTE nearest('[4,-4]');
EXECUTE nearest('[4,-4,4]');
PREPARE add_row(int, vector(2)) AS INSERT INTO p VALUES ($1, $2) RETURNING v;
EXECUTE add_row(6, '[6,-6]');
EXECUTE add_row(7, '[7]');
SET plan_cache_mode = force_custom_plan;
EXECUTE nearest(ARRAY[0.5, -0.5]::real[]::vector);
RESET plan_cache_mode;
DEALLOCATE ALL;
DROP TABLE p;

-- arrays, composite types, domains, defaults
SELECT unnest('{"[1,2]","[3]",NULL}'::vector[]);
CREATE DOMAIN unit AS vector(2) CHECK (abs(vector_norm(VALUE) - 1) < 1e-6);
SELECT '[0.6,0.8]'::unit;
SELECT '[1,1]'::unit;
DROP DOMAIN unit;
CREATE TABLE d (v vector(2) DEFAULT '[1,0]', h vector(2) GENERATED ALWAYS AS (l2_normalize(v)) STORED);
INSERT INTO d VALUES (DEFAULT), ('[3,4]');
SELECT * FROM d;
DROP TABLE d;

-- the extension moves to another schema, and works from there with nothing on the search path
CREATE SCHEMA elsewhere;
ALTER EXTENSION phnsw SET SCHEMA elsewhere;
SET search_path = '';
SELECT '[1,2]'::elsewhere.vector(2) OPERATOR(elsewhere.<->) ARRAY[4, 6]::elsewhere.vector AS distance,
	elsewhere.avg(v) FROM (VALUES ('[1,2]'::elsewhere.vector), ('[3,4]')) AS t(v);
RESET search_path;
ALTER EXTENSION phnsw SET SCHEMA public;
DROP SCHEMA elsewhere;
