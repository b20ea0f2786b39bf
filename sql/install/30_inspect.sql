-- Looking into an index.

CREATE FUNCTION phnsw_check(index regclass, heap_check boolean DEFAULT false, strict boolean DEFAULT false) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

COMMENT ON FUNCTION phnsw_check(regclass, boolean, boolean) IS
	'raises an error that names block and offset if a phnsw index is damaged; heap_check: compares it with its table; strict: nodes that searches cannot reach are errors, not warnings';

-- It blocks writers while it reads, so it is for superusers and whom they grant it to.
REVOKE ALL ON FUNCTION phnsw_check(regclass, boolean, boolean) FROM PUBLIC;

CREATE FUNCTION phnsw_index_info(index regclass,
	OUT metric text,
	OUT dims integer,
	OUT m integer,
	OUT ef_construction integer,
	OUT format_version integer,
	OUT bits integer,
	OUT code_dims integer,
	OUT rows bigint,
	OUT live_nodes bigint,
	OUT dead_nodes bigint,
	OUT free_slots bigint,
	OUT duplicates bigint,
	OUT duplicate_share double precision,
	OUT nodes_per_level bigint[],
	OUT average_degree double precision,
	OUT entry bigint,
	OUT entry_level integer,
	OUT aux_records bigint,
	OUT aux_free bigint,
	OUT centre_pages bigint,
	OUT node_pages bigint,
	OUT aux_pages bigint,
	OUT unused_pages bigint,
	OUT bytes bigint,
	OUT bytes_per_row double precision,
	OUT calibration jsonb)
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;

COMMENT ON FUNCTION phnsw_index_info(regclass) IS
	'what a phnsw index consists of; reads the whole index; for its owner and members of pg_monitor';
