-- Casts of vector: from and to arrays of numbers, between type modifiers, and in which contexts they apply by themselves.

SELECT castsource::regtype, casttarget::regtype, castcontext, castfunc::regprocedure
FROM pg_cast
WHERE 'vector'::regtype IN (castsource, casttarget)
ORDER BY castsource::regtype::text, casttarget::regtype::text;

SELECT ARRAY[1,2,3]::vector AS int4, ARRAY[1.5,-2,0.1]::vector AS numerics, '{1,2.5}'::real[]::vector AS float4,
	'{1,2.5}'::double precision[]::vector AS float8;
SELECT ARRAY[2147483647, -2147483648, 16777217]::vector AS rounds_to_float4;
SELECT '{1,2,3}'::real[]::vector(3), '{1,2,3}'::int[]::vector(3);
SELECT '[1,2.5,-0]'::vector::real[], ('[1,2.5]'::vector::real[])[2] AS second, array_ndims('[1]'::vector::real[]);
SELECT '[7,8,9]'::vector::real[]::vector = '[7,8,9]' AS round_trip;
SELECT '[1,2]'::vector::text, '[1,2]'::vector::varchar(3), '[1,2]'::text::vector;

-- lower bounds other than 1 and arrays kept as expanded objects
SELECT '[5:7]={1,2,3}'::int[]::vector;
DO $$
DECLARE
	a real[] := '{1,2}';
	v vector;
BEGIN
	a[3] := 3;
	v := a;
	a := v;
	RAISE NOTICE '% %', v, a;
END $$;

-- arrays that are no vector
SELECT '{1,2,3}'::real[]::vector(2);
SELECT '{}'::int[]::vector;
SELECT '{{1,2},{3,4}}'::real[]::vector;
SELECT '{1,NULL}'::int[]::vector;
SELECT '{1,NULL}'::real[]::vector;
SELECT '{1,NULL}'::double precision[]::vector;
SELECT '{1,NULL}'::numeric[]::vector;
SELECT '{NaN}'::real[]::vector;
SELECT '{1,-Infinity}'::real[]::vector;
SELECT '{NaN}'::double precision[]::vector;
SELECT '{NaN}'::numeric[]::vector;
SELECT '{Infinity}'::numeric[]::vector;
SELECT '{4e38}'::double precision[]::vector;
SELECT '{4e38}'::numeric[]::vector;
SELECT '{1e-46,-1e-46}'::double precision[]::vector AS underflow;
SELECT vector_dims(array_fill(1, ARRAY[16000])::vector);
SELECT array_fill(1, ARRAY[16001])::vector;
SELECT array_fill(1::real, ARRAY[16001])::vector;
SELECT array_fill(1::double precision, ARRAY[16001])::vector;
SELECT array_fill(1::numeric, ARRAY[16001])::vector;
SELECT '{"1","2"}'::text[]::vector;

-- in assignments arrays become vectors, in expressions vectors become real arrays
CREATE TABLE t (v vector(2), a real[]);
INSERT INTO t VALUES (ARRAY[1,2], '[3,4]'::vector), (ARRAY[1.5,2.5], NULL);
INSERT INTO t (v) VALUES (ARRAY[1,2,3]);
INSERT INTO t (v) VALUES ('{5,6}'::double precision[]);
UPDATE t SET a = v;
SELECT * FROM t ORDER BY v;
SELECT array_length(v, 1) FROM t;
SELECT count(*) FROM t WHERE a = v;
SELECT v <-> ARRAY[1,2] FROM t;
SELECT v <-> ARRAY[1,2]::vector AS distance FROM t ORDER BY 1;
DROP TABLE t;
