/*
 * distance_range.c
 *    Which conditions of WHERE are ranges of the distance in ORDER BY.
 *
 * A condition is a range if a larger distance cannot meet it where a smaller one does not: a comparison of something
 * that grows or falls with the distance, as -(v <#> q) or 1 - (v <=> q) do, with something that is the same for all
 * rows.  A scan ends where it can no longer be met (scan/range_end.c), which is cheaper than reading on (cost.c).
 *
 * What is computed of the distance never raises an error: it is computed of rows, too, that a
 * policy hides, and what overflows tells of them.  So there are few steps, with constants of
 * moderate size.  Distances are below 1e82, and 0 or above 1e-92.
 */
#include "phnsw.h"

#include <math.h>

#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"

#define PHNSW_RANGE_STEPS      8
#define PHNSW_RANGE_CONSTANT   1e9

/* The distance that is ordered by, and how a condition names it. */
typedef struct OrderedBy
{
	OpExpr	   *distance;
	Node	   *query;			/* of the condition; NULL: that of the order, by its form */
	int			steps;			/* from the distance to what is compared */
} OrderedBy;

/* Does the expression have one value for all rows of a scan? */
static bool
is_fixed(Node *expr)
{
	return !contain_var_clause(expr) && !contain_volatile_functions(expr) && !contain_subplans(expr);
}

/* A constant of moderate size, or 0? */
static bool
is_moderate(const Node *expr, double *constant)
{
	const Const *value = (const Const *) expr;
	double		size;

	if (!IsA(expr, Const) || value->constisnull)
		return false;
	*constant = DatumGetFloat8(value->constvalue);
	size = fabs(*constant);
	return size == 0 || (size >= 1 / PHNSW_RANGE_CONSTANT && size <= PHNSW_RANGE_CONSTANT);
}

/* What may be added or taken away. */
static bool
is_addend(const Node *expr)
{
	double		addend;

	return is_moderate(expr, &addend);
}

/* 1, -1: a factor, or divisor, of this sign; 0: unknown. */
static int
sign_of(const Node *expr)
{
	double		factor;

	if (!is_moderate(expr, &factor))
		return 0;
	return factor > 0 ? 1 : factor < 0 ? -1 : 0;
}

/* The same distance, of the same column, perhaps from another query?  The operators are symmetric. */
static bool
is_distance(Node *expr, OrderedBy *order)
{
	OpExpr	   *op = (OpExpr *) expr;
	Node	   *first = linitial(order->distance->args);
	Node	   *column = is_fixed(first) ? lsecond(order->distance->args) : first;
	Node	   *left;
	Node	   *right;

	if (!IsA(expr, OpExpr) || op->opno != order->distance->opno)
		return false;
	left = linitial(op->args);
	right = lsecond(op->args);
	if (equal(expr, order->distance))
		order->query = NULL;
	else if (equal(left, column) && is_fixed(right))
		order->query = right;
	else if (equal(right, column) && is_fixed(left))
		order->query = left;
	else
		return false;
	return true;
}

/*
 * Does the expression (of type float8) never fall (1) or never grow (-1) when the
 * distance grows?  0: neither, as far as is known.
 */
static int
direction(Node *expr, OrderedBy *order)
{
	OpExpr	   *op = (OpExpr *) expr;
	Node	   *left;
	Node	   *right;

	if (is_distance(expr, order))
		return 1;
	if (!IsA(expr, OpExpr) || order->steps++ == PHNSW_RANGE_STEPS)
		return 0;
	left = linitial(op->args);
	if (op->opfuncid == F_FLOAT8UM)
		return -direction(left, order);
	if (list_length(op->args) != 2)
		return 0;
	right = lsecond(op->args);
	switch (op->opfuncid)
	{
		case F_FLOAT8PL:
			return is_addend(right) ? direction(left, order) : is_addend(left) ? direction(right, order) : 0;
		case F_FLOAT8MI:
			return is_addend(right) ? direction(left, order) : is_addend(left) ? -direction(right, order) : 0;
		case F_FLOAT8MUL:
			return IsA(right, Const) ? direction(left, order) * sign_of(right)
				: direction(right, order) * sign_of(left);
		case F_FLOAT8DIV:
			return direction(left, order) * sign_of(right);
		default:
			return 0;
	}
}

/*
 * 1: a comparison that holds up to some value of its left side; -1: from some
 * value on; 0: neither.  Of float8 with either float.
 */
static int
comparison(Oid function)
{
	switch (function)
	{
		case F_FLOAT8LT:
		case F_FLOAT8LE:
		case F_FLOAT84LT:
		case F_FLOAT84LE:
		case F_FLOAT48LT:
		case F_FLOAT48LE:
			return 1;
		case F_FLOAT8GT:
		case F_FLOAT8GE:
		case F_FLOAT84GT:
		case F_FLOAT84GE:
		case F_FLOAT48GT:
		case F_FLOAT48GE:
			return -1;
		default:
			return 0;
	}
}

bool
phnsw_is_range(Node *condition, OpExpr *distance, Node **query)
{
	OpExpr	   *op = (OpExpr *) condition;
	OrderedBy	order = {distance, NULL, 0};
	int			sense = IsA(condition, OpExpr) ? comparison(op->opfuncid) : 0;
	Node	   *left;
	Node	   *right;

	if (sense == 0)
		return false;
	left = linitial(op->args);
	right = lsecond(op->args);
	if (is_fixed(right) ? direction(left, &order) != sense : !is_fixed(left) || direction(right, &order) != -sense)
		return false;
	*query = order.query;
	return true;
}
