-- Measuring an index, planning one, warming one up.

CREATE FUNCTION phnsw_recall(index regclass, INOUT k integer DEFAULT 10, sample integer DEFAULT 200,
	INOUT ef integer DEFAULT 0, queries vector[] DEFAULT NULL,
	OUT recall double precision,
	OUT low double precision,
	OUT high double precision,
	OUT queries_used integer)
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;

COMMENT ON FUNCTION phnsw_recall(regclass, integer, integer, integer, vector[]) IS
	'share of the true k nearest neighbours that a phnsw index finds, with a 95 % confidence interval; reads the table twice';

CREATE FUNCTION phnsw_suggest("table" regclass, "column" name, INOUT rows bigint DEFAULT NULL,
	INOUT m integer DEFAULT NULL, INOUT ef_construction integer DEFAULT NULL,
	metric text DEFAULT 'l2', sample integer DEFAULT 20000,
	OUT dims integer,
	OUT bits integer,
	OUT index_bytes bigint,
	OUT bytes_per_row double precision,
	OUT build_memory bigint,
	OUT maintenance_work_mem text,
	OUT memory_suffices boolean,
	OUT build_threads integer,
	OUT build_seconds double precision,
	OUT ef_search integer,
	OUT sample_rows integer)
	AS 'MODULE_PATHNAME' LANGUAGE C STABLE PARALLEL UNSAFE COST 1000000;

COMMENT ON FUNCTION phnsw_suggest(regclass, name, bigint, integer, integer, text, integer) IS
	'options, size, memory and time of a phnsw index on a column, before it is built; tries them on a sample of the rows';

CREATE FUNCTION phnsw_prewarm(index regclass) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

COMMENT ON FUNCTION phnsw_prewarm(regclass) IS
	'reads a phnsw index into shared buffers; returns the number of blocks';
