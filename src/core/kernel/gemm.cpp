#include "kernel/gemm.hpp"

#include "kernel/kernels.hpp"

namespace phnsw {

const GemmKernels &gemm_kernels() noexcept {
#if defined(__x86_64__)
  const char *name = kernels().name;
  if (std::strcmp(name, kAvx512Gemm.name) == 0) return kAvx512Gemm;
  if (std::strcmp(name, kAvxVnniGemm.name) == 0) return kAvxVnniGemm;
  if (std::strcmp(name, kAvx2Gemm.name) == 0) return kAvx2Gemm;
#endif
  return kScalarGemm;
}

}  // namespace phnsw
