-- Functions and aggregates of vector.

-- all of them immutable, strict and parallel safe
SELECT p.oid::regprocedure
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'phnsw'
WHERE p.prokind = 'f' AND ('vector'::regtype = p.prorettype OR 'vector'::regtype = ANY (p.proargtypes))
	AND NOT (p.provolatile = 'i' AND p.proisstrict AND p.proparallel = 's');

-- distances
SELECT l2_distance('[0,0]'::vector, '[3,4]'), l2_distance('[1]'::vector, '[1]') AS zero, vector_l2_squared_distance('[0,0]', '[3,4]') AS squared;
SELECT inner_product('[1,2]'::vector, '[3,4]'), vector_negative_inner_product('[1,2]', '[3,4]') AS negative;
SELECT l1_distance('[0,0]'::vector, '[3,-4]');
SELECT cosine_distance('[1,0]'::vector, '[0,2]') AS right_angle, cosine_distance('[2,0]'::vector, '[3,0]') AS same_direction,
	cosine_distance('[2,0]'::vector, '[-3,0]') AS opposite, cosine_distance('[1,2]'::vector, '[0,0]') AS no_direction;
SELECT round(vector_spherical_distance('[1,0]', '[0,1]')::numeric, 12) AS half, vector_spherical_distance('[1,0]', '[1,0]') AS zero,
	vector_spherical_distance('[1,0]', '[-1,0]') AS one;

-- sums in float64: nothing overflows, nothing is lost to the large first term
SELECT l2_distance('[3e38]'::vector, '[-3e38]')::numeric > 5.9e38 AS l2, inner_product('[3e38]'::vector, '[3e38]')::numeric > 8e76 AS ip,
	l1_distance('[3e38]'::vector, '[-3e38]')::numeric > 5.9e38 AS l1, abs(cosine_distance('[3e38,1]'::vector, '[3e38,1]')) < 1e-15 AS cosine;
SELECT l1_distance('[16777216,1,1,1]'::vector, '[0,0,0,0]') AS l1, inner_product('[16777216,1]'::vector, '[16777216,1]') AS ip,
	l2_distance('[1e-30]'::vector, '[0]') > 0 AS l2;

-- every length around the width of vector registers, against sums over arrays
SELECT n AS wrong_length
FROM (SELECT n, array_agg(i * 7 % 11 - 5 ORDER BY i)::vector AS a, array_agg(i * 5 % 13 - 6 ORDER BY i)::vector AS b
	FROM generate_series(1, 140) AS n, generate_series(1, n) AS i GROUP BY n) AS pairs,
	LATERAL (SELECT sum(x * y) AS ip, sqrt(sum((x - y) ^ 2)) AS l2, sum(abs(x - y)) AS l1,
		1 - sum(x * y) / sqrt(sum(x * x) * sum(y * y)) AS cosine
		FROM unnest(a::real[]::float8[], b::real[]::float8[]) AS u(x, y)) AS expected
WHERE inner_product(a, b) <> ip OR l2_distance(a, b) <> l2 OR l1_distance(a, b) <> l1
	OR abs(cosine_distance(a, b) - cosine) > 1e-12 OR abs(vector_norm(a) - sqrt(inner_product(a, a))) > 1e-12;

SELECT l2_distance('[1,2]'::vector, '[3]');
SELECT inner_product('[1,2]'::vector, '[3]');
SELECT cosine_distance('[1,2]'::vector, '[3]');
SELECT l1_distance('[1,2]'::vector, '[3]');
SELECT vector_spherical_distance('[1,2]', '[3]');
SELECT vector_l2_squared_distance('[1,2]', '[3]');
SELECT vector_negative_inner_product('[1,2]', '[3]');
SELECT l2_distance(NULL, '[1]'::vector) IS NULL AS null_in_null_out;

-- dimensions, norm
SELECT vector_dims('[1,2,3]'::vector), vector_norm('[3,4]'), vector_norm('[0,0]') AS zero, vector_norm('[3e38,0]') > 2.9e38 AS large;
SELECT l2_normalize('[3,4]'::vector), l2_normalize('[0,-0.1]'::vector) AS axis, l2_normalize('[0,0]'::vector) AS zero, l2_normalize('[3e38]'::vector) AS large,
	l2_normalize('[1e-45,0]'::vector) AS denormal;

-- subvector, counted from 1, cut off at the ends
SELECT subvector('[1,2,3,4,5]'::vector, 1, 3) AS head, subvector('[1,2,3,4,5]'::vector, 3, 9) AS tail, subvector('[1,2,3,4,5]'::vector, -1, 3) AS before,
	subvector('[1,2,3,4,5]'::vector, 5, 1) AS last;
SELECT subvector('[1,2,3]'::vector, 3, 2147483647) AS far_end, subvector('[1,2,3]'::vector, -2147483645, 2147483647) AS far_start;
SELECT subvector('[1,2,3]'::vector, 1, 0);
SELECT subvector('[1,2,3]'::vector, 2, -1);
SELECT subvector('[1,2,3]'::vector, 4, 1);
SELECT subvector('[1,2,3]'::vector, -2147483648, 2147483647);
SELECT subvector('[1,2,3]'::vector, 2147483647, 2147483647);
SELECT subvector('[1,2,3]'::vector, -2147483648, -2147483648);

-- a bit per coordinate
SELECT binary_quantize('[1,0,-1,1e-45,-0]'::vector) AS bits, length(binary_quantize(array_fill(1, ARRAY[16000])::vector)) AS long,
	binary_quantize('[1,-1,1,1,-1,-1,1,-1,1]'::vector) AS over_a_byte, binary_quantize(NULL::vector) IS NULL AS null_in_null_out;
SELECT binary_quantize('[1,2,-3]'::vector)::bit(3) # B'010' AS other;

-- aggregates
SELECT avg(v), sum(v), count(v) FROM (VALUES ('[1,2]'::vector), (NULL), ('[4,-2]')) AS t(v);
SELECT avg(v), sum(v) FROM (VALUES (NULL::vector)) AS t(v);
SELECT avg(v), sum(v) FROM (SELECT '[1]'::vector WHERE false) AS t(v);
SELECT g, avg(v), sum(v) FROM (VALUES (1, '[1,2]'::vector), (2, '[9]'), (1, '[3,4]'), (2, '[10]')) AS t(g, v) GROUP BY g ORDER BY g;
SELECT i, avg(v) OVER w AS running, sum(v) OVER w
FROM (SELECT i, ARRAY[i, -i]::vector AS v FROM generate_series(1, 4) AS i) AS t WINDOW w AS (ORDER BY i ROWS 1 PRECEDING);
SELECT avg(v) FROM (VALUES ('[1,2]'::vector), ('[3]')) AS t(v);
SELECT sum(v) FROM (VALUES ('[1,2]'::vector), ('[3]')) AS t(v);
SELECT avg(v) AS no_overflow FROM (VALUES ('[3e38]'::vector), ('[3e38]')) AS t(v);
SELECT sum(v) FROM (VALUES ('[3e38]'::vector), ('[3e38]')) AS t(v);

-- the state of avg, called by hand: arguments are never changed, nonsense is refused
SELECT state, vector_accum(state, '[1,2]'), vector_combine(state, '{2,3,4}') FROM (VALUES ('{1,1,1}'::float8[]), ('{0}')) AS t(state);
SELECT vector_combine('{2,3,4}', '{0}'), vector_combine('{0}', '{0}') AS nothing, vector_avg('{2,3,4}'), vector_avg('{0}') IS NULL AS none;
SELECT vector_accum('{}', '[1]');
SELECT vector_accum('{{0}}', '[1]');
SELECT vector_accum('{NULL}', '[1]');
SELECT vector_accum('{1,1}', '[1,2]');
SELECT vector_accum('{1,1.7976931348623157e308}', '[3e38]') = '{2,1.7976931348623157e308}' AS still_finite;
SELECT vector_combine('{1,1e308}', '{1,1e308}');
SELECT vector_combine('{1,1}', '{1,1,1}');
SELECT vector_combine('{1,1}', '{1,NULL}');
SELECT vector_combine('{0}', array_fill(1::float8, ARRAY[16002]));
SELECT vector_avg('{}');
SELECT vector_avg('{1}');
SELECT vector_avg('{1,1e300}');
SELECT vector_avg('{1,NaN}');
SELECT vector_avg(array_fill(1::float8, ARRAY[16002]));

-- parallel plans, with partial states passed between processes
CREATE TABLE many AS SELECT i, i % 3 AS g, ARRAY[i, i % 10, 0.5]::vector(3) AS v FROM generate_series(1, 3000) AS i;
ANALYZE many;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET parallel_leader_participation = off;
EXPLAIN (COSTS OFF) SELECT avg(v), sum(v) FROM many;
SELECT avg(v), sum(v) FROM many;
SELECT g, avg(v), sum(v) FROM many GROUP BY g ORDER BY g;
EXPLAIN (COSTS OFF) SELECT min(v <-> '[7,7,0.5]') FROM many;
SELECT min(v <-> '[7,7,0.5]'), max(v <#> '[1,0,0]'), count(DISTINCT v) FROM many;
RESET ALL;
DROP TABLE many;
