/*
 * phnsw_search.h
 *    A resumable best-first search of one level.
 *    What holds for every entry: phnsw_core.h.
 */
#ifndef PHNSW_CORE_SEARCH_H
#define PHNSW_CORE_SEARCH_H

#include "phnsw_status.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The machine knows ids, scores and versions; the caller owns the pages.
 *
 *    phnsw_search_begin(s, ef);                          forget everything
 *    phnsw_search_offer(s, entry ids, scores, versions, n);
 *    while (phnsw_search_pop(s, &node))                  nearest candidate not yet expanded
 *    {
 *        links = copy of node's list;
 *        n = phnsw_search_fresh(s, links, n, fresh);     the ones not seen before, now marked seen
 *        score them;
 *        phnsw_search_offer(s, fresh, scores, versions, n);
 *    }
 *    the window, sorted by score, is the result
 *
 * Ids offered before the first phnsw_search_fresh() are entry points: they are marked seen, repeated ones dropped.
 * Later offers name ids that phnsw_search_fresh() returned, each at most once.  A NaN score counts as +inf.  The
 * window holds the ef best candidates that have not been taken; what falls out of it is kept in a reserve.
 * phnsw_search_take() removes a candidate from the window and lets the reserve fill the place, so that a scan goes
 * on for as long as the graph goes on: take, pop until false, take ...
 */
typedef struct phnsw_search phnsw_search;

typedef struct phnsw_candidate
{
	float    score;
	uint32_t id;
	uint32_t version;
	uint32_t expanded; /* 0 or 1 */
} phnsw_candidate;

PHNSW_API phnsw_status phnsw_search_create(phnsw_search **search, phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API void phnsw_search_destroy(phnsw_search *search) PHNSW_NOEXCEPT;

/*
 * ef: 1 ... PHNSW_EF_MAX.  id_limit: ids at or above it are never returned by phnsw_search_fresh().
 * keep_reserve: remember what falls out of the window (a scan does, a descent or an insert does not).
 */
#define PHNSW_EF_MAX 100000
PHNSW_API phnsw_status phnsw_search_begin(phnsw_search *search, uint32_t ef, uint32_t id_limit, bool keep_reserve,
                                          phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * After begin: the search also ends when the nearest candidate not yet expanded is more than 1 + slack times as
 * far away as the rank-th of the window (rank 0: it does not; slack >= 0).  offset: what makes a score a
 * squared distance, phnsw_query_offset(); 0 for scores of PHNSW_FOR_INSERT.
 */
PHNSW_API void phnsw_search_stop_beyond(phnsw_search *search, uint32_t rank, float slack, float offset) PHNSW_NOEXCEPT;
/*
 * After stop_beyond, which must not be called with a larger slack before the next begin, without keep_reserve: what is
 * too far to be expanded does not enter the window, and phnsw_search_limit() says so.
 */
PHNSW_API void phnsw_search_forget_beyond(phnsw_search *search) PHNSW_NOEXCEPT;
/* Levels above 0 are searched with this ef, and end by distance: rank 1, this slack (graph/README.md). */
#define PHNSW_DESCENT_EF    16
#define PHNSW_DESCENT_SLACK 0.05f
/* The rank by which searches of level 0 are stopped, where they are (phnsw_stop). */
#define PHNSW_STOP_RANK     10
/* false: every candidate in the window has been expanded, or what has not is too far away. */
PHNSW_API bool phnsw_search_pop(phnsw_search *search, uint32_t *node) PHNSW_NOEXCEPT;
/* Stores the candidates that will be popped next if nothing nearer is offered, n at most; returns how many. */
PHNSW_API uint32_t phnsw_search_upcoming(const phnsw_search *search, uint32_t *nodes, uint32_t n) PHNSW_NOEXCEPT;
/* Stores the unseen of n <= PHNSW_LINKS_MAX links in fresh and marks them seen; returns how many.  May allocate. */
PHNSW_API phnsw_status phnsw_search_fresh(phnsw_search *search, const uint32_t *links, uint32_t n, uint32_t *fresh,
                                          uint32_t *n_fresh, phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API phnsw_status phnsw_search_offer(phnsw_search *search, const uint32_t *ids, const float *scores,
                                          const uint32_t *versions, uint32_t n, phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * What is known to score no less than phnsw_search_limit() does not enter the window and need not be scored
 * (phnsw_query_score_within): of `tested` ids that phnsw_search_fresh() returned these n.  With keep_reserve they
 * are remembered; after the first take they are to be scored after all, and offered (not before it: some may belong
 * into the window, which has been used): until phnsw_search_unscored(), which stores n at most, returns 0.  The
 * limit is +inf where passing over does not pay, and from the first take on.
 */
PHNSW_API float phnsw_search_limit(const phnsw_search *search) PHNSW_NOEXCEPT;
PHNSW_API phnsw_status phnsw_search_pass_over(phnsw_search *search, const uint32_t *ids, uint32_t n, uint32_t tested,
                                              phnsw_error *error) PHNSW_NOEXCEPT;
PHNSW_API uint32_t phnsw_search_unscored(phnsw_search *search, uint32_t *ids, uint32_t n) PHNSW_NOEXCEPT;
/* The window, sorted by (score, id); valid until the next call that is not const. */
PHNSW_API const phnsw_candidate *phnsw_search_window(const phnsw_search *search, uint32_t *n) PHNSW_NOEXCEPT;
/* So many of the window, from its beginning, have been expanded: all, unless the search was stopped by distance. */
PHNSW_API uint32_t phnsw_search_settled(const phnsw_search *search) PHNSW_NOEXCEPT;
/*
 * The nearest *n at most that have fallen out of the window, sorted like it; *n becomes how many
 * there are.  The reserve keeps them; valid as long as the window.
 */
PHNSW_API phnsw_status phnsw_search_passed(phnsw_search *search, uint32_t *n, const phnsw_candidate **passed,
                                           phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * Removes the first n candidates of the window (they were used) and refills it from the reserve.  To be called when
 * phnsw_search_pop() has returned false: the links of a candidate that is taken unexpanded are never followed.
 * The first take after offers heapifies the reserve, so a scan that may end early takes late, several at a time.
 */
PHNSW_API phnsw_status phnsw_search_take(phnsw_search *search, uint32_t n, phnsw_error *error) PHNSW_NOEXCEPT;
/*
 * The same for n < ef candidates, n <= the window's, without the reserve: the
 * window is narrower by n until the next take.
 */
PHNSW_API void phnsw_search_drop(phnsw_search *search, uint32_t n) PHNSW_NOEXCEPT;
/* Bytes held; what a scan compares with work_mem. */
PHNSW_API size_t phnsw_search_memory(const phnsw_search *search) PHNSW_NOEXCEPT;
/*
 * Before phnsw_search_begin(): gives back what earlier searches have needed, where that is more than so many bytes.
 * What an index of so many nodes takes whatever is searched for is neither counted nor given back.
 */
PHNSW_API void phnsw_search_trim(phnsw_search *search, size_t bytes) PHNSW_NOEXCEPT;

/*
 * Calibration of the rule that stops a search by distance: what searches of the same queries found in all,
 * and cost, with each slack and without any.  rank is PHNSW_STOP_RANK.
 */
#define PHNSW_STOP_SLACKS 12
typedef struct phnsw_tally
{
	uint64_t found;   /* of the true neighbours */
	uint64_t touches;
	uint64_t hops;
} phnsw_tally;

typedef struct phnsw_tallies
{
	phnsw_tally whole;
	phnsw_tally stopped[PHNSW_STOP_SLACKS];
} phnsw_tallies;

/* The slack of stopped[i]: ascending. */
PHNSW_API float phnsw_stop_slack(uint32_t i) PHNSW_NOEXCEPT;
/* stops[i] for each of n <= PHNSW_CALIBRATION_MAX lines, ef ascending; wanted: true neighbours of all queries. */
PHNSW_API void phnsw_find_stops(const phnsw_calibration *lines, const phnsw_tallies *tallies, uint32_t n,
								uint64_t wanted,
                                phnsw_stop *stops) PHNSW_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif /* PHNSW_CORE_SEARCH_H */
