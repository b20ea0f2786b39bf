
-- The access method and its operator classes.

CREATE FUNCTION phnsw_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;

CREATE ACCESS METHOD phnsw TYPE INDEX HANDLER phnsw_handler;

COMMENT ON ACCESS METHOD phnsw IS 'approximate nearest neighbours: HNSW graph over quantised vectors';

-- Support function 1 of an operator class: the metric of its index.
CREATE FUNCTION phnsw_metric_l2() RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION phnsw_metric_ip() RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION phnsw_metric_cosine() RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE OPERATOR CLASS vector_l2_ops
	DEFAULT FOR TYPE vector USING phnsw AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 phnsw_metric_l2();

CREATE OPERATOR CLASS vector_ip_ops
	FOR TYPE vector USING phnsw AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 phnsw_metric_ip();

CREATE OPERATOR CLASS vector_cosine_ops
	FOR TYPE vector USING phnsw AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 phnsw_metric_cosine();

-- Support function 2: coordinates that are not float4.
CREATE FUNCTION phnsw_element_half() RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE OPERATOR CLASS halfvec_l2_ops
	DEFAULT FOR TYPE halfvec USING phnsw AS
	OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 phnsw_metric_l2(),
	FUNCTION 2 phnsw_element_half();

CREATE OPERATOR CLASS halfvec_ip_ops
	FOR TYPE halfvec USING phnsw AS
	OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 phnsw_metric_ip(),
	FUNCTION 2 phnsw_element_half();

CREATE OPERATOR CLASS halfvec_cosine_ops
	FOR TYPE halfvec USING phnsw AS
	OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 phnsw_metric_cosine(),
	FUNCTION 2 phnsw_element_half();
