-- Access method hnsw and its operator classes, which are phnsw's under the names of pgvector.  As there, none is a type's default.
\echo Use "CREATE EXTENSION vector" to load this file. \quit

-- phnsw may be in another schema, and whoever creates a trusted extension may own the one that it is created in: every object is named
-- with its schema, so that nothing of theirs can stand for phnsw's.  (@extschema:phnsw@ is PostgreSQL 16's.)
DO $$
DECLARE
	here text := pg_catalog.current_schema();
	phnsw text;
	class record;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	SELECT n.nspname INTO STRICT phnsw FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'phnsw';
	EXECUTE format('CREATE ACCESS METHOD hnsw TYPE INDEX HANDLER %I.phnsw_handler', phnsw);
	FOR class IN
		SELECT t.type, m.metric, m.operator, t.more
		FROM (VALUES ('vector', ''), ('halfvec', ', FUNCTION 2 %1$I.phnsw_element_half()')) AS t (type, more),
			(VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>')) AS m (metric, operator)
	LOOP
		EXECUTE format('CREATE OPERATOR CLASS %2$I.%3$I FOR TYPE %1$I.%4$I USING hnsw AS'
			' OPERATOR 1 %1$I.%5$s (%1$I.%4$I, %1$I.%4$I) FOR ORDER BY float_ops, FUNCTION 1 %1$I.%6$I()' || class.more,
			phnsw, here, class.type || '_' || class.metric || '_ops', class.type, class.operator, 'phnsw_metric_' || class.metric);
	END LOOP;
END
$$;

COMMENT ON ACCESS METHOD hnsw IS 'approximate nearest neighbours: phnsw under the name of pgvector''s';
