/*
 * validate.c
 *    Operator classes: the support functions that name a metric, and the check that a class is complete and consistent.
 *
 * A class consists of one operator and one or two functions:
 *
 *    strategy 1           the distance, FOR ORDER BY float_ops: (type, type) -> float8
 *    support function 1   () -> int4: the phnsw_metric that the index is built for
 *    support function 2   () -> int4: the PhnswElement that the type's coordinates are stored as; without it, float32
 *
 * Both are numbers and not names of functions and types, so that schemas and functions can be renamed, and so that a
 * type of another extension gets a class by naming the metric that its operator computes.
 */
#include "phnsw.h"

#include "access/amvalidate.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(phnsw_metric_l2);
PG_FUNCTION_INFO_V1(phnsw_metric_ip);
PG_FUNCTION_INFO_V1(phnsw_metric_cosine);
PG_FUNCTION_INFO_V1(phnsw_element_half);

Datum
phnsw_metric_l2(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PHNSW_L2);
}

Datum
phnsw_metric_ip(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PHNSW_IP);
}

Datum
phnsw_metric_cosine(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PHNSW_COSINE);
}

Datum
phnsw_element_half(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PHNSW_ELEMENT_HALF);
}

static bool
phnsw_validate_operator(Form_pg_amop operator, const char *family)
{
	bool		valid = true;

	if (operator->amopstrategy != 1)
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator family \"%s\" of access method %s contains operator %s with invalid strategy number %d",
						family, "phnsw", format_operator(operator->amopopr), operator->amopstrategy)));
		valid = false;
	}
	if (operator->amoppurpose != AMOP_ORDER ||
		!opfamily_can_sort_type(operator->amopsortfamily, get_op_rettype(operator->amopopr)))
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator family \"%s\" of access method %s contains invalid ORDER BY specification for operator %s",
						family, "phnsw", format_operator(operator->amopopr))));
		valid = false;
	}
	if (operator->amoplefttype != operator->amoprighttype ||
		!check_amop_signature(operator->amopopr, FLOAT8OID, operator->amoplefttype, operator->amoprighttype))
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator family \"%s\" of access method %s contains operator %s with wrong signature",
						family, "phnsw", format_operator(operator->amopopr))));
		valid = false;
	}
	return valid;
}

/* Does the support function return one of the numbers that there are? */
static bool
phnsw_validate_number(Form_pg_amproc function, const char *family)
{
	int32		number = DatumGetInt32(OidFunctionCall0(function->amproc));
	const char *what;

	if (function->amprocnum == PHNSW_PROC_METRIC)
	{
		what = "metric";
		if (number == PHNSW_L2 || number == PHNSW_IP || number == PHNSW_COSINE)
			return true;
	}
	else
	{
		what = "type of coordinates";
		if (number == PHNSW_ELEMENT_FLOAT || number == PHNSW_ELEMENT_HALF)
			return true;
	}
	ereport(INFO,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("operator family \"%s\" of access method %s contains function %s that returns no %s: %d",
					family, "phnsw", format_procedure(function->amproc), what, number)));
	return false;
}

static bool
phnsw_validate_function(Form_pg_amproc function, const char *family)
{
	bool		valid = true;

	if (function->amprocnum != PHNSW_PROC_METRIC && function->amprocnum != PHNSW_PROC_ELEMENT)
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator family \"%s\" of access method %s contains function %s with invalid support number %d",
						family, "phnsw", format_procedure(function->amproc), function->amprocnum)));
		valid = false;
	}
	if (function->amproclefttype != function->amprocrighttype ||
		!check_amproc_signature(function->amproc, INT4OID, true, 0, 0))
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator family \"%s\" of access method %s contains function %s with wrong signature for support number %d",
						family, "phnsw", format_procedure(function->amproc), function->amprocnum)));
		valid = false;
	}
	else if (valid)
		valid = phnsw_validate_number(function, family);
	return valid;
}

/* Every type of the family has both members, and the class's own type is one of them. */
static bool
phnsw_validate_groups(CatCList *operators, CatCList *functions, Oid type, const char *family, const char *opclass)
{
	bool		valid = true;
	bool		found = false;
	ListCell   *cell;
	List	   *groups = identify_opfamily_groups(operators, functions);

	foreach(cell, groups)
	{
		OpFamilyOpFuncGroup *group = lfirst(cell);

		if (group->operatorset != (UINT64CONST(1) << 1) ||
			!(group->functionset & (UINT64CONST(1) << PHNSW_PROC_METRIC)))
		{
			ereport(INFO,
					(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
					 errmsg("operator family \"%s\" of access method %s is missing operator or function for types %s and %s",
							family, "phnsw", format_type_be(group->lefttype), format_type_be(group->righttype))));
			valid = false;
		}
		if (group->lefttype == type && group->righttype == type)
			found = true;
	}
	if (!found)
	{
		ereport(INFO,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("operator class \"%s\" of access method %s is missing operator and support function for its type %s",
						opclass, "phnsw", format_type_be(type))));
		valid = false;
	}
	return valid;
}

static char *
phnsw_family_name(Oid family)
{
	HeapTuple	tuple = SearchSysCache1(OPFAMILYOID, ObjectIdGetDatum(family));
	char	   *name;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator family %u", family);
	name = pstrdup(NameStr(((Form_pg_opfamily) GETSTRUCT(tuple))->opfname));
	ReleaseSysCache(tuple);
	return name;
}

bool
phnsw_amvalidate(Oid opclass_oid)
{
	bool		valid = true;
	HeapTuple	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass_oid));
	Form_pg_opclass opclass;
	char	   *family;
	CatCList   *operators;
	CatCList   *functions;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass_oid);
	opclass = (Form_pg_opclass) GETSTRUCT(tuple);
	family = phnsw_family_name(opclass->opcfamily);
	operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(opclass->opcfamily));
	functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(opclass->opcfamily));

	for (int i = 0; i < operators->n_members; i++)
		valid &= phnsw_validate_operator((Form_pg_amop) GETSTRUCT(&operators->members[i]->tuple), family);
	for (int i = 0; i < functions->n_members; i++)
		valid &= phnsw_validate_function((Form_pg_amproc) GETSTRUCT(&functions->members[i]->tuple), family);
	valid &= phnsw_validate_groups(operators, functions, opclass->opcintype, family, NameStr(opclass->opcname));

	ReleaseCatCacheList(functions);
	ReleaseCatCacheList(operators);
	ReleaseSysCache(tuple);
	return valid;
}
