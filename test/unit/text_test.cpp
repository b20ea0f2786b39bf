// The reader of "[1,2,3]": what it takes, what it refuses and where, and that it agrees with strtof.
//
// strtof in the C locale is the oracle for numbers, a naive reader built on it for whole texts.  Texts lie in heap
// blocks of exactly their length, so that the address sanitizer sees any read beyond them.
#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "capi/phnsw_core.h"

namespace {

constexpr float kUntouched = -12345.0f;

struct Parsed {
  phnsw_text_result result = PHNSW_TEXT_OK;
  std::vector<float> values;
  size_t offset = 0;
  size_t length = 0;
};

// Parses an unterminated copy into a buffer of exactly `capacity` floats.
Parsed parse(const std::string &text, uint32_t capacity = 16) {
  const std::unique_ptr<char[]> copy(new char[text.size()]);
  if (!text.empty()) std::memcpy(copy.get(), text.data(), text.size());
  Parsed parsed;
  parsed.values.assign(capacity, kUntouched);
  uint32_t dims = 0;
  parsed.result =
      phnsw_text_parse(copy.get(), text.size(), parsed.values.data(), capacity, &dims, &parsed.offset, &parsed.length);
  EXPECT_LE(dims, capacity);
  for (uint32_t i = dims; i < capacity; i++) EXPECT_EQ(parsed.values[i], kUntouched) << "written beyond dims";
  parsed.values.resize(dims);
  return parsed;
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

// Reads a text as the grammar says, with strtof.  Only the result and the values are told, not the place of the fault.
Parsed reference(const std::string &text, uint32_t capacity = 16) {
  Parsed parsed;
  const char *at = text.c_str();
  const auto skip = [&] { at += std::strspn(at, " \t\n\v\f\r"); };
  const auto end = [&](phnsw_text_result result) {
    parsed.result = result;
    return parsed;
  };
  skip();
  if (*at++ != '[') return end(PHNSW_TEXT_NO_BRACKET);
  skip();
  if (*at == ']') return end(PHNSW_TEXT_EMPTY);
  for (;;) {
    skip();
    if (parsed.values.size() == capacity) return end(PHNSW_TEXT_TOO_MANY);
    char *stop = nullptr;
    const float value = std::strtof(at, &stop);
    if (stop == at) return end(PHNSW_TEXT_SYNTAX);
    if (std::isnan(value)) return end(PHNSW_TEXT_NAN);
    if (std::isinf(value))
      return end(std::strchr("iI", at[std::strspn(at, "+-")]) ? PHNSW_TEXT_INFINITE : PHNSW_TEXT_OUT_OF_RANGE);
    parsed.values.push_back(value);
    at = stop;
    skip();
    if (*at != ',' && *at != ']') return end(PHNSW_TEXT_SYNTAX);
    if (*at++ == ']') break;
  }
  skip();
  return end(*at == '\0' && at == text.c_str() + text.size() ? PHNSW_TEXT_OK : PHNSW_TEXT_TRAILING);
}

void expect_as_reference(const std::string &text, uint32_t capacity = 16) {
  const Parsed actual = parse(text, capacity);
  const Parsed expected = reference(text, capacity);
  ASSERT_EQ(actual.result, expected.result) << text;
  ASSERT_EQ(actual.values.size(), expected.values.size()) << text;
  for (size_t i = 0; i < actual.values.size(); i++)
    ASSERT_TRUE(same_bits(actual.values[i], expected.values[i])) << text;
}

}  // namespace

// Whatever the grammar allows is read, with the spaces that C calls spaces.
TEST(VectorText, Accepts) {
  const std::vector<float> one_two_three = {1, 2, 3};
  for (const char *text :
       {"[1,2,3]", " [ 1,  2 ,    3  ] ", "[1.,2.,3.]", "\t\n\v\f\r[\t\n\v\f\r1\t\n\v\f\r,2,3]\t\n\v\f\r",
        "[+1,+2e0,300e-2]", "[0x1,0X2p0,0x.cp2]", "[.1e1,20E-1,3.0e+0]", "[1,2,0000000000000000000003]"}) {
    const Parsed parsed = parse(text);
    EXPECT_EQ(parsed.result, PHNSW_TEXT_OK) << text;
    EXPECT_EQ(parsed.values, one_two_three) << text;
  }
}

// Every fault has its own result, and the place of the first one from the left is told.
TEST(VectorText, Refuses) {
  struct Case {
    std::string text;
    phnsw_text_result result;
    size_t offset;
    size_t length;
  };
  const std::vector<Case> cases = {
      {"", PHNSW_TEXT_NO_BRACKET, 0, 0},
      {"  ", PHNSW_TEXT_NO_BRACKET, 2, 0},
      {"1,2,3", PHNSW_TEXT_NO_BRACKET, 0, 0},
      {" {1}", PHNSW_TEXT_NO_BRACKET, 1, 0},
      {"[", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[ ", PHNSW_TEXT_SYNTAX, 2, 0},
      {"[,", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[,]", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[]", PHNSW_TEXT_EMPTY, 1, 0},
      {"[ ]", PHNSW_TEXT_EMPTY, 2, 0},
      {"[1,]", PHNSW_TEXT_SYNTAX, 3, 0},
      {"[1a]", PHNSW_TEXT_SYNTAX, 2, 0},
      {"[1 2]", PHNSW_TEXT_SYNTAX, 3, 0},
      {"[1,,3]", PHNSW_TEXT_SYNTAX, 3, 0},
      {"[1, ,3]", PHNSW_TEXT_SYNTAX, 4, 0},
      {"[1,2,3", PHNSW_TEXT_SYNTAX, 6, 0},
      {"[--1]", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[+-1]", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[-+1]", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[- 1]", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[-]", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[.]", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[1e]", PHNSW_TEXT_SYNTAX, 2, 0},
      {"[1e+]", PHNSW_TEXT_SYNTAX, 2, 0},
      {"[0x]", PHNSW_TEXT_SYNTAX, 2, 0},
      {"[0x.]", PHNSW_TEXT_SYNTAX, 2, 0},
      {"[0x-1]", PHNSW_TEXT_SYNTAX, 2, 0},
      {std::string("[1\0]", 4), PHNSW_TEXT_SYNTAX, 2, 0},
      {"[1,2,3]9", PHNSW_TEXT_TRAILING, 7, 0},
      {"[1] ]", PHNSW_TEXT_TRAILING, 4, 0},
      {std::string("[1]\0", 4), PHNSW_TEXT_TRAILING, 3, 0},
      {"[1, NaN]", PHNSW_TEXT_NAN, 4, 3},
      {"[-nan(123)]", PHNSW_TEXT_NAN, 1, 9},
      {"[1,Infinity]", PHNSW_TEXT_INFINITE, 3, 8},
      {"[-INF,hello", PHNSW_TEXT_INFINITE, 1, 4},
      {"[infinit]", PHNSW_TEXT_INFINITE, 1, 3},
      {"[hello,nan]", PHNSW_TEXT_SYNTAX, 1, 0},
      {"[4e38,1]", PHNSW_TEXT_OUT_OF_RANGE, 1, 4},
      {"[1, -4e38 ]", PHNSW_TEXT_OUT_OF_RANGE, 4, 5},
      {"[0x1p128]", PHNSW_TEXT_OUT_OF_RANGE, 1, 7},
  };
  for (const Case &c : cases) {
    const Parsed parsed = parse(c.text);
    EXPECT_EQ(parsed.result, c.result) << c.text;
    EXPECT_EQ(parsed.offset, c.offset) << c.text;
    EXPECT_EQ(parsed.length, c.length) << c.text;
  }
}

// The two ends of the range: from_chars calls both out of range, the reader must tell them apart however they are
// written.
TEST(VectorText, TooLargeAndTooSmall) {
  const std::string zeros(400, '0');
  for (const std::string &text : std::vector<std::string>{
           "1e39", "3.4028236e38", "1e400", "1e99999999999999999999", "0.00001e44", "-1" + zeros, "1" + zeros + ".5",
           "0." + zeros + "1e440", "0x1p128", "0xffffffp120", "0x1p99999999999999999999", "0x." + zeros + "1p9999",
           "+340282356779733661637539395458142568448"})
    EXPECT_EQ(parse("[" + text + "]").result, PHNSW_TEXT_OUT_OF_RANGE) << text;

  for (const std::string &text : std::vector<std::string>{
           "1e-46", "7e-46", "1e-400", "1e-99999999999999999999", "0." + zeros + "1", "1" + zeros + "e-450", "0x1p-150",
           "0x.0001p-140", "0x1" + zeros + "p-9999", "0x1p-99999999999999999999"}) {
    const Parsed positive = parse("[" + text + "]");
    ASSERT_EQ(positive.result, PHNSW_TEXT_OK) << text;
    EXPECT_TRUE(same_bits(positive.values[0], 0.0f)) << text;
    const Parsed negative = parse("[-" + text + "]");
    ASSERT_EQ(negative.result, PHNSW_TEXT_OK) << text;
    EXPECT_TRUE(same_bits(negative.values[0], -0.0f)) << text;
  }

  // Zeros stay zeros whatever the exponent says, and the last finite and denormal numbers are kept.
  for (const char *text : {"[0e99999999999999999999]", "[0e-99999999999999999999]", "[0x0p99999999999999999999]",
                           "[3.4028235e38]", "[3.40282356e38]", "[1e-45]", "[1.4e-45]", "[0x1p-149]", "[1e-40]"})
    expect_as_reference(text);
}

// Any float32, printed with 9 digits or as its shortest text, comes back bit for bit; seed 20.
TEST(VectorText, RoundTrip) {
  std::mt19937 random(20);
  for (int i = 0; i < 200000; i++) {
    const uint32_t bits = random();
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    char text[64];
    std::snprintf(text, sizeof text, "[%.9g]", static_cast<double>(value));
    Parsed parsed = parse(text, 1);
    ASSERT_EQ(parsed.result, PHNSW_TEXT_OK) << text;
    ASSERT_TRUE(same_bits(parsed.values[0], value)) << text;

    const std::to_chars_result printed = std::to_chars(text + 1, text + sizeof text - 1, value);
    *printed.ptr = ']';
    parsed = parse(std::string(text, printed.ptr + 1), 1);
    ASSERT_EQ(parsed.result, PHNSW_TEXT_OK);
    ASSERT_TRUE(same_bits(parsed.values[0], value));
  }
}

// Decimals of any length and exponent round as strtof rounds them: the hard ones lie half-way between two floats;
// seed 21.
TEST(VectorText, RoundsAsStrtof) {
  std::mt19937 random(21);
  for (int i = 0; i < 50000; i++) {
    std::string number = random() % 2 ? "-" : "";
    for (unsigned n = random() % 30; n > 0; n--) number += static_cast<char>('0' + random() % 10);
    number += '.';
    for (unsigned n = 1 + random() % 30; n > 0; n--) number += static_cast<char>('0' + random() % 10);
    number += 'e' + std::to_string(static_cast<int>(random() % 120) - 70);
    ASSERT_NO_FATAL_FAILURE(expect_as_reference("[" + number + "]"));

    const uint32_t bits = random() & 0x7fffffffu;
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    const float above = std::nextafter(value, std::numeric_limits<float>::infinity());
    if (!std::isfinite(value) || !std::isfinite(above)) continue;
    char text[512];
    std::snprintf(text, sizeof text, "[%.*f]", 160, (static_cast<double>(value) + static_cast<double>(above)) / 2);
    ASSERT_NO_FATAL_FAILURE(expect_as_reference(text));
  }
}

// Never more than capacity numbers, and no error when they are exactly as many.
TEST(VectorText, Capacity) {
  EXPECT_EQ(parse("[1,2,3]", 3).result, PHNSW_TEXT_OK);
  const Parsed parsed = parse("[1,2,3]", 2);
  EXPECT_EQ(parsed.result, PHNSW_TEXT_TOO_MANY);
  EXPECT_EQ(parsed.offset, 5u);
  EXPECT_EQ(parse("[1]", 0).result, PHNSW_TEXT_TOO_MANY);

  std::string text = "[0";
  for (int i = 1; i < PHNSW_DIMS_MAX; i++) text += ",0";
  EXPECT_EQ(parse(text + "]", PHNSW_DIMS_MAX).result, PHNSW_TEXT_OK);
  EXPECT_EQ(parse(text + ",0]", PHNSW_DIMS_MAX).result, PHNSW_TEXT_TOO_MANY);
}

// Texts cut off anywhere, and texts with random bytes replaced, agree with the naive reader; seed 22.
TEST(VectorText, AgreesWithReference) {
  const std::string seed = " [1.5e-3,-0x1.8p1 , +inf,nan(2),.5,7.,1e39,-1e-50, 0.1] ";
  for (size_t n = 0; n <= seed.size(); n++) ASSERT_NO_FATAL_FAILURE(expect_as_reference(seed.substr(0, n)));

  const std::string plain = " [1.5e-3,-0x1.8p1 , +0,.5,7., 0.1] ";
  const std::string alphabet = "0123456789+-.eExXpPaA[], \tnif()";
  std::mt19937 random(22);
  for (int i = 0; i < 200000; i++) {
    std::string text = plain;
    for (unsigned n = 1 + random() % 4; n > 0; n--) text[random() % text.size()] = alphabet[random() % alphabet.size()];
    ASSERT_NO_FATAL_FAILURE(expect_as_reference(text, 5 + random() % 4));
  }
}
