-- Operators of vector, and its order: btree indexes, sorts, DISTINCT, joins.

SELECT o.oprname, o.oprresult::regtype, o.oprcode, c.oprname AS commutator, n.oprname AS negator
FROM pg_operator o LEFT JOIN pg_operator c ON c.oid = o.oprcom LEFT JOIN pg_operator n ON n.oid = o.oprnegate
WHERE o.oprleft = 'vector'::regtype AND o.oprright = 'vector'::regtype
ORDER BY o.oprname COLLATE "C";

SELECT '[0,0]'::vector <-> '[3,4]' AS l2, '[1,2]'::vector <#> '[3,4]' AS negative_ip, '[1,0]'::vector <=> '[0,5]' AS cosine,
	'[0,0]'::vector <+> '[3,-4]' AS l1;
SELECT '[1]'::vector <-> '[1,2]';
SELECT '[1]'::vector <#> '[1,2]';
SELECT '[1]'::vector <=> '[1,2]';
SELECT '[1]'::vector <+> '[1,2]';
SELECT '[1]'::vector <-> NULL AS null_operand;

SELECT '[1,2]'::vector + '[3,4.5]' AS sum, '[1,2]'::vector - '[3,4.5]' AS difference, '[1,2]'::vector * '[3,4.5]' AS product,
	'[1,2]'::vector || '[3]' AS concatenation;
SELECT '[3e38]'::vector + '[3e38]';
SELECT '[-3e38]'::vector - '[3e38]';
SELECT '[1e20,1]'::vector * '[1e20,1]';
SELECT '[1e-30,1]'::vector * '[1e-30,1]';
SELECT '[0,1e-30]'::vector * '[1e-30,0]' AS zeros_are_no_underflow, '[1e-20]'::vector * '[1e-20]' AS denormal;
SELECT '[1]'::vector + '[1,2]';
SELECT '[1]'::vector - '[1,2]';
SELECT '[1]'::vector * '[1,2]';
SELECT vector_dims(array_fill(1, ARRAY[15999])::vector || '[1]');
SELECT array_fill(1, ARRAY[16000])::vector || '[1]';

-- order: coordinate by coordinate, then the shorter first; -0 equals 0
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt, vector_cmp(a, b)
FROM (VALUES ('[1,2]'::vector, '[1,2]'::vector), ('[1,2]', '[1,3]'), ('[2]', '[1,3]'), ('[1]', '[1,-1]'), ('[0]', '[-0]'),
	('[-1,5]', '[1e-45,-5]')) AS t(a, b);

CREATE TABLE t (id serial, v vector(3));
INSERT INTO t (v) VALUES ('[0,0,0]'), ('[1,2,3]'), ('[1,1,1]'), (NULL), ('[-1,9,9]'), ('[1,2,3]');
INSERT INTO t (v) SELECT ARRAY[i % 50, i % 7, 100 + i % 3] FROM generate_series(1, 2000) AS i;
CREATE INDEX t_v ON t (v);
ANALYZE t;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE v = '[1,2,3]' ORDER BY v;
SELECT id FROM t WHERE v = '[1,2,3]' ORDER BY id;
SELECT v FROM t WHERE v < '[1,2,3]' AND v >= '[0,0,0]' AND v <> '[0,0,0]' ORDER BY v LIMIT 5;
SELECT v FROM t WHERE v <= '[0,0,0]' ORDER BY v DESC;
EXPLAIN (COSTS OFF) SELECT v FROM t ORDER BY v DESC LIMIT 2;
SELECT v FROM t ORDER BY v DESC LIMIT 2;
SELECT count(*), count(DISTINCT v) FROM t;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_sort;

-- the same answers without the index
DROP INDEX t_v;
SELECT v FROM t WHERE v < '[1,2,3]' AND v >= '[0,0,0]' AND v <> '[0,0,0]' ORDER BY v LIMIT 5;
SELECT v, count(*) FROM t WHERE v > '[48,6,101]' GROUP BY v ORDER BY v LIMIT 3;
SELECT count(*) FROM t AS a JOIN t AS b ON a.v = b.v WHERE a.v < '[2,0,0]';

-- unique indexes, conflicts, merge join
\set VERBOSITY terse
CREATE UNIQUE INDEX t_unique ON t (v);
\set VERBOSITY default
DELETE FROM t WHERE v IS NOT NULL AND id NOT IN (SELECT min(id) FROM t GROUP BY v);
CREATE UNIQUE INDEX t_unique ON t (v);
INSERT INTO t (v) VALUES ('[1,2,3]');
INSERT INTO t (v) VALUES ('[1,2,3]'), ('[-5,0,0]') ON CONFLICT (v) DO NOTHING RETURNING v;
SET enable_hashjoin = off;
SET enable_nestloop = off;
DROP INDEX t_unique;
CREATE TABLE u AS TABLE t;
ANALYZE t, u;
EXPLAIN (COSTS OFF) SELECT count(*) FROM t JOIN u USING (v);
SELECT count(*) FROM t JOIN u USING (v);
DROP TABLE u;
RESET ALL;
DROP TABLE t;
