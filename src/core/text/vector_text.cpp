// Recursive descent over "[n,n,...]"; std::from_chars does the numbers.  See vector_text.hpp and README.md.
#include "text/vector_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

namespace phnsw {
namespace {

// C's isspace in the "C" locale: what PostgreSQL's array and vector readers skip.
constexpr bool is_space(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r';
}

// The value of a decimal or hexadecimal digit, -1 for anything else.
constexpr int digit_value(char c, int base) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (base == 16 && c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (base == 16 && c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "0x" and a digit, with or without a point between.  Otherwise the "0" is the number and the "x" is not part of it.
constexpr bool starts_hexadecimal(std::string_view text) noexcept {
  if (text.size() < 3 || text[0] != '0' || (text[1] != 'x' && text[1] != 'X')) return false;
  if (text[2] == '.') return text.size() > 3 && digit_value(text[3], 16) >= 0;
  return digit_value(text[2], 16) >= 0;
}

// Whether an unsigned number that from_chars found out of range is too large (true) or rounds to zero (false).
// Such a number is beyond 1e38 or below 1e-44, so the place of its first significant digit plus its exponent, a count
// of powers of the base, has the sign that tells: nothing near zero can occur.
// REQUIRES: digits is a whole number as from_chars accepted it, and not zero.
bool is_overflow(std::string_view digits, bool hexadecimal) noexcept {
  const int base = hexadecimal ? 16 : 10;
  constexpr std::int64_t kLimit = std::int64_t{1} << 40;  // more than any text is long; 10 times it stays in range
  std::int64_t place = 0;                                 // powers of the base below (negative) or above the point
  bool seen_significant = false;
  bool seen_point = false;
  std::size_t i = 0;
  for (; i < digits.size(); ++i) {
    if (digits[i] == '.') {
      seen_point = true;
      continue;
    }
    const int value = digit_value(digits[i], base);
    if (value < 0) break;
    seen_significant = seen_significant || value > 0;
    if (seen_significant && !seen_point) ++place;
    if (!seen_significant && seen_point) --place;
  }
  std::int64_t exponent = 0;
  if (i < digits.size()) {  // at 'e' or 'p'
    ++i;
    const bool negative = i < digits.size() && digits[i] == '-';
    if (i < digits.size() && (digits[i] == '-' || digits[i] == '+')) ++i;
    for (; i < digits.size(); ++i) exponent = std::min(kLimit, exponent * 10 + digit_value(digits[i], 10));
    if (negative) exponent = -exponent;
  }
  return (hexadecimal ? 4 * place : place) + exponent > 0;
}

struct Number {
  float value = 0;
  const char *end = nullptr;  // nullptr: no number here
  bool overflow = false;
};

// One number as strtof reads it: optional sign, decimal or 0x hexadecimal, inf, infinity, nan.  Too small is zero.
Number parse_number(const char *first, const char *last) noexcept {
  const char *digits = first;
  const bool negative = digits < last && *digits == '-';
  if (digits < last && (*digits == '-' || *digits == '+')) ++digits;
  if (digits == last || *digits == '-') return {};  // from_chars would take a second sign

  const bool hexadecimal = starts_hexadecimal({digits, static_cast<std::size_t>(last - digits)});
  if (hexadecimal) digits += 2;
  Number number;
  const std::from_chars_result r =
      std::from_chars(digits, last, number.value, hexadecimal ? std::chars_format::hex : std::chars_format::general);
  if (r.ec == std::errc::invalid_argument) return {};
  number.end = r.ptr;
  if (r.ec == std::errc::result_out_of_range) {
    number.overflow = is_overflow({digits, static_cast<std::size_t>(r.ptr - digits)}, hexadecimal);
    number.value = 0;
  }
  if (negative) number.value = -number.value;
  return number;
}

}  // namespace

VectorText parse_vector_text(std::string_view text, std::span<float> values) noexcept {
  const char *const begin = text.data();
  const char *const last = begin + text.size();
  const char *at = begin;
  std::uint32_t dims = 0;

  const auto skip_spaces = [&] {
    while (at < last && is_space(*at)) ++at;
  };
  const auto fault = [&](phnsw_text_result result, std::size_t length = 0) {
    return VectorText{result, dims, static_cast<std::size_t>(at - begin), length};
  };

  skip_spaces();
  if (at == last || *at != '[') return fault(PHNSW_TEXT_NO_BRACKET);
  ++at;
  skip_spaces();
  if (at < last && *at == ']') return fault(PHNSW_TEXT_EMPTY);

  for (;;) {
    skip_spaces();
    if (dims == values.size()) return fault(PHNSW_TEXT_TOO_MANY);
    const Number number = parse_number(at, last);
    if (number.end == nullptr) return fault(PHNSW_TEXT_SYNTAX);
    const auto length = static_cast<std::size_t>(number.end - at);
    if (number.overflow) return fault(PHNSW_TEXT_OUT_OF_RANGE, length);
    if (std::isnan(number.value)) return fault(PHNSW_TEXT_NAN, length);
    if (std::isinf(number.value)) return fault(PHNSW_TEXT_INFINITE, length);
    values[dims++] = number.value;
    at = number.end;

    skip_spaces();
    if (at == last || (*at != ',' && *at != ']')) return fault(PHNSW_TEXT_SYNTAX);
    if (*at++ == ']') break;
  }
  skip_spaces();
  return at == last ? fault(PHNSW_TEXT_OK) : fault(PHNSW_TEXT_TRAILING);
}

}  // namespace phnsw
