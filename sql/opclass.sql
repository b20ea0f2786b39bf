-- Operator classes: amvalidate accepts the extension's and names every fault of a broken one; an index finds its metric
-- wherever the functions are.
\set VERBOSITY terse

SELECT opcname, opcdefault, amvalidate(c.oid)
FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod WHERE amname = 'phnsw' ORDER BY opcname;

SELECT phnsw_metric_l2(), phnsw_metric_ip(), phnsw_metric_cosine();

-- nothing at all
BEGIN;
CREATE OPERATOR CLASS broken FOR TYPE vector USING phnsw AS STORAGE vector;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'broken';
ROLLBACK;

-- a metric without an operator, an operator without a metric
BEGIN;
CREATE OPERATOR CLASS no_operator FOR TYPE vector USING phnsw AS FUNCTION 1 phnsw_metric_l2();
CREATE OPERATOR CLASS no_metric FOR TYPE vector USING phnsw AS OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops;
SELECT opcname, amvalidate(oid) FROM pg_opclass WHERE opcname LIKE 'no\_%' ORDER BY opcname;
ROLLBACK;

-- a search operator, a metric that is none, a metric of the wrong type
BEGIN;
CREATE FUNCTION no_such_metric() RETURNS int4 LANGUAGE sql AS 'SELECT 77';
CREATE FUNCTION text_metric() RETURNS text LANGUAGE sql AS 'SELECT ''l2''';
CREATE OPERATOR CLASS wrong_operator FOR TYPE vector USING phnsw AS
	OPERATOR 1 = (vector, vector), FUNCTION 1 phnsw_metric_l2();
CREATE OPERATOR CLASS wrong_metric FOR TYPE vector USING phnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 no_such_metric();
CREATE OPERATOR CLASS wrong_type FOR TYPE vector USING phnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 text_metric();
CREATE OPERATOR CLASS wrong_element FOR TYPE vector USING phnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 phnsw_metric_l2(), FUNCTION 2 no_such_metric();
SELECT opcname, amvalidate(oid) FROM pg_opclass WHERE opcname LIKE 'wrong\_%' ORDER BY opcname;
ROLLBACK;

-- numbers that do not exist
CREATE OPERATOR CLASS beyond FOR TYPE vector USING phnsw AS
	OPERATOR 2 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 1 phnsw_metric_l2();
CREATE OPERATOR CLASS beyond FOR TYPE vector USING phnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops, FUNCTION 3 phnsw_metric_l2();

-- everything in another schema and under other names
CREATE TABLE o (id int, v vector(2));
INSERT INTO o VALUES (1, '[1,0]'), (2, '[10,1]'), (3, '[0,3]'), (4, '[-2,-2]');
CREATE INDEX o_l2 ON o USING phnsw (v vector_l2_ops);
CREATE SCHEMA elsewhere;
ALTER EXTENSION phnsw SET SCHEMA elsewhere;
ALTER FUNCTION elsewhere.phnsw_metric_ip() RENAME TO inner_metric;
SET search_path = public, elsewhere;
CREATE INDEX o_ip ON o USING phnsw (v vector_ip_ops);
CREATE INDEX o_cosine ON o USING phnsw (v vector_cosine_ops);
SET enable_seqscan = off;
SELECT id, v FROM o ORDER BY v <-> '[1,1]' LIMIT 2;
SELECT id, v FROM o ORDER BY v <#> '[1,1]' LIMIT 2;
SELECT id, v FROM o ORDER BY v <=> '[1,1]' LIMIT 2;
RESET enable_seqscan;
DROP TABLE o;
ALTER FUNCTION elsewhere.inner_metric() RENAME TO phnsw_metric_ip;
RESET search_path;
ALTER EXTENSION phnsw SET SCHEMA public;
DROP SCHEMA elsewhere;
