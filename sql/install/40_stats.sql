-- Statistics.

CREATE FUNCTION phnsw_stats(
	OUT index regclass,
	OUT scope text,
	OUT scans bigint,
	OUT hops bigint,
	OUT distances bigint,
	OUT pins bigint,
	OUT glances bigint,
	OUT pin_misses bigint,
	OUT rechecks bigint,
	OUT late bigint,
	OUT sweeps bigint,
	OUT killed bigint,
	OUT inserts bigint,
	OUT inserts_bulk bigint,
	OUT bulk_flushes bigint,
	OUT vacuums bigint,
	OUT rows_removed bigint,
	OUT nodes_freed bigint,
	OUT lists_repaired bigint,
	OUT since timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;

COMMENT ON FUNCTION phnsw_stats() IS
	'what the phnsw indexes of this database have done: in all sessions if shared_preload_libraries names phnsw, else in this one';

CREATE VIEW phnsw_stats AS SELECT * FROM phnsw_stats();

COMMENT ON VIEW phnsw_stats IS
	'what the phnsw indexes of this database have done: in all sessions if shared_preload_libraries names phnsw, else in this one';

GRANT SELECT ON phnsw_stats TO PUBLIC;

CREATE FUNCTION phnsw_stats_reset(index regclass DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION phnsw_stats_reset(regclass) IS
	'forgets the statistics of a phnsw index, or of all';

CREATE FUNCTION phnsw_last_scan(
	OUT index regclass,
	OUT ef integer,
	OUT hops bigint,
	OUT distances bigint,
	OUT pins bigint,
	OUT glances bigint,
	OUT pin_misses bigint,
	OUT rechecks bigint,
	OUT late bigint,
	OUT sweeps bigint,
	OUT killed bigint,
	OUT first_row_ms double precision,
	OUT total_ms double precision)
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

COMMENT ON FUNCTION phnsw_last_scan() IS
	'work and time of the last phnsw index scan that ended in this session';
