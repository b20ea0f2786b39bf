// libFuzzer entry of the vector reader.  The first byte chooses the capacity, the rest is the text.
// Checked besides what the sanitizers see: nothing but finite numbers is stored, the fault lies inside the text, and a
// text that was accepted is accepted again, with the same bits, when its numbers are printed anew.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "capi/phnsw_core.h"

static void require(bool holds) {
  if (!holds) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  if (size == 0) return 0;
  const uint32_t capacity = data[0];
  const size_t length = size - 1;
  // Of its own size: libFuzzer's buffer may have room behind it.
  std::vector<char> text(length);
  if (length > 0) std::memcpy(text.data(), data + 1, length);
  std::vector<float> values(capacity);
  uint32_t dims = 0;
  size_t offset = 0;
  size_t token_length = 0;
  const phnsw_text_result result =
      phnsw_text_parse(text.data(), length, values.data(), capacity, &dims, &offset, &token_length);

  require(dims <= capacity);
  require(offset <= length && token_length <= length - offset);
  for (uint32_t i = 0; i < dims; i++) require(std::isfinite(values[i]));
  if (result != PHNSW_TEXT_OK) return 0;

  require(dims > 0 && offset == length);
  std::string again;
  for (uint32_t i = 0; i < dims; i++) {
    char number[32];
    std::snprintf(number, sizeof number, "%c%.9g", i == 0 ? '[' : ',', static_cast<double>(values[i]));
    again += number;
  }
  again += ']';
  std::vector<float> values_again(dims);
  uint32_t dims_again = 0;
  require(phnsw_text_parse(again.data(), again.size(), values_again.data(), dims, &dims_again, &offset,
                           &token_length) == PHNSW_TEXT_OK);
  require(dims_again == dims && std::memcmp(values.data(), values_again.data(), dims * sizeof(float)) == 0);
  return 0;
}
