-- Storage parameters, settings and properties of the access method: limits, defaults, messages.
\set VERBOSITY default

-- storage parameters
CREATE TABLE o (v vector(3));
CREATE INDEX o_default ON o USING phnsw (v);
CREATE INDEX o_both ON o USING phnsw (v) WITH (m = 8, ef_construction = 40);
CREATE INDEX o_most ON o USING phnsw (v) WITH (m = 100, ef_construction = 1000);
CREATE INDEX o_least ON o USING phnsw (v) WITH (m = 2, ef_construction = 4);
SELECT relname, reloptions FROM pg_class WHERE relname LIKE 'o\_%' ORDER BY relname;
CREATE INDEX ON o USING phnsw (v) WITH (m = 1);
CREATE INDEX ON o USING phnsw (v) WITH (m = 101);
CREATE INDEX ON o USING phnsw (v) WITH (ef_construction = 3);
CREATE INDEX ON o USING phnsw (v) WITH (ef_construction = 1001);
CREATE INDEX ON o USING phnsw (v) WITH (m = 'many');
CREATE INDEX ON o USING phnsw (v) WITH (lists = 10);

-- ef_construction against m, the default of either included
CREATE INDEX ON o USING phnsw (v) WITH (m = 16, ef_construction = 31);
CREATE INDEX ON o USING phnsw (v) WITH (m = 33);
CREATE INDEX ON o USING phnsw (v) WITH (ef_construction = 31);
CREATE INDEX o_equal ON o USING phnsw (v) WITH (m = 32);

-- a change is checked like a definition, and takes effect with REINDEX
ALTER INDEX o_both SET (m = 30);
ALTER INDEX o_both SET (m = 10);
REINDEX INDEX o_both;
ALTER INDEX o_both RESET (m, ef_construction);
SELECT reloptions FROM pg_class WHERE relname = 'o_both';
DROP TABLE o;

-- settings
SELECT name, setting, vartype, min_val, max_val, enumvals, context
FROM pg_settings WHERE name LIKE 'phnsw.%' ORDER BY name;
SET phnsw.test_point = 'wait';
SET phnsw.test_point = 'wait nowhere';
SET phnsw.test_point = 'wait record';
SET phnsw.test_point = 'crash record 0';
SET phnsw.test_point = 'crash record 1 2';
SET phnsw.test_point = 'wait vacuum-free 7';
RESET phnsw.test_point;
SET phnsw.ef_search = -1;
SET phnsw.ef_search = 100001;
SET phnsw.target_recall = 0.4;
SET phnsw.target_recall = 1;
SET phnsw.max_scan_tuples = -1;
SET phnsw.iterative_scan = 'off';
SET phnsw.simd = 'mmx';
SHOW phnsw.simd;
SET phnsw.simd = 'scalar';
SELECT '[1,2,3]'::vector <-> '[1,2,4]'::vector AS distance;
RESET phnsw.simd;
SET phnsw.probes = 3;

-- properties
SELECT property, pg_indexam_has_property(am.oid, property)
FROM pg_am am, unnest(ARRAY['can_order', 'can_unique', 'can_multi_col', 'can_exclude', 'can_include']) property
WHERE amname = 'phnsw';
CREATE TABLE o (v vector(3));
CREATE INDEX o_v ON o USING phnsw (v);
SELECT property, pg_index_has_property('o_v', property)
FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan']) property;
SELECT property, pg_index_column_has_property('o_v', 1, property)
FROM unnest(ARRAY['orderable', 'distance_orderable', 'returnable', 'search_array', 'search_nulls']) property;
DROP TABLE o;
