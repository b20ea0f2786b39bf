#include "postgres.h"
void __attribute__((weak)) phnsw_ambeginscan(void); void phnsw_ambeginscan(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_ambuild(void); void phnsw_ambuild(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_ambuildempty(void); void phnsw_ambuildempty(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_ambulkdelete(void); void phnsw_ambulkdelete(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_amcostestimate(void); void phnsw_amcostestimate(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_amendscan(void); void phnsw_amendscan(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_amgettuple(void); void phnsw_amgettuple(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_aminsert(void); void phnsw_aminsert(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_amrescan(void); void phnsw_amrescan(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_amvacuumcleanup(void); void phnsw_amvacuumcleanup(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_codec_create(void); void phnsw_codec_create(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_codec_destroy(void); void phnsw_codec_destroy(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_cosine_distance(void); void phnsw_cosine_distance(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_inner_product(void); void phnsw_inner_product(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_l1(void); void phnsw_l1(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_l2_squared(void); void phnsw_l2_squared(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_meta_validate(void); void phnsw_meta_validate(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_query_create(void); void phnsw_query_create(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_query_destroy(void); void phnsw_query_destroy(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_query_score(void); void phnsw_query_score(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_search_begin(void); void phnsw_search_begin(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_search_create(void); void phnsw_search_create(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_search_destroy(void); void phnsw_search_destroy(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_search_fresh(void); void phnsw_search_fresh(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_search_offer(void); void phnsw_search_offer(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_search_pop(void); void phnsw_search_pop(void) { elog(ERROR, "%s is not there yet", __func__); }
void __attribute__((weak)) phnsw_search_window(void); void phnsw_search_window(void) { elog(ERROR, "%s is not there yet", __func__); }
bool __attribute__((weak)) phnsw_simd_force(const char *n); bool phnsw_simd_force(const char *n) { return true; }
const char * __attribute__((weak)) phnsw_simd_name(void); const char *phnsw_simd_name(void) { return "scalar"; }
