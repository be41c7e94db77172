// Quantised weights without loss: the codes of a stored matrix, and what groups of them are multiplied by, as the file
// has both. Devices that hold weights as they were published pack these, others what read_block says.
#pragma once
#include <cstdint>
#include <optional>

#include "core/tensor.h"

namespace moe {

// What a code stands for before it is scaled.
enum class CodeKind : uint8_t {
  kInteger,     // code - zero
  kFloat4E2M1,  // 4 bits
  kIq4,         // 4 bits: the table of IQ4_NL and IQ4_XS, -127 to 113
  kFloat8E4M3,  // 8 bits
};

// How a group's scale stands. Of two levels, all groups of kSuperBlock inputs share the first.
enum class ScaleKind : uint8_t {
  kFloat32,
  kBFloat16,
  kFloat16,
  kFloat8E8M0,           // a power of two
  kFloat16TimesInteger,  // of two levels: float16 * an integer of 8 bits
  kFloat32TimesE4M3,     // of two levels: float32 * float8
};

constexpr int64_t kSuperBlock = 256;

constexpr int8_t kIq4Numbers[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// How the weights of a matrix are quantised. An element is value(code) * scale, or value(code) * scale + offset where
// there are offsets, each operation rounded to float32.
struct GroupedForm {
  CodeKind codes = CodeKind::kInteger;
  int32_t bits = 8;      // that hold a code: 4, 5, 6 or 8
  int32_t group = 0;     // inputs that share a scale; 0: all
  bool ordered = false;  // they are not side by side: each input says which group it is of
  ScaleKind scale = ScaleKind::kFloat32;
  bool divides = false;  // kFloat32TimesE4M3: the first level divides
  bool offsets = false;  // each group has an offset, of the scale's kind
  bool zeros = false;    // each group has a zero of its own; else that of all is `zero`
  int32_t zero = 0;

  bool two_levels() const { return scale == ScaleKind::kFloat16TimesInteger || scale == ScaleKind::kFloat32TimesE4M3; }
  int64_t groups(int64_t inputs) const { return group == 0 ? 1 : (inputs + group - 1) / group; }
  bool operator==(const GroupedForm&) const = default;
};

// What a group shares, as bits of the form's kind.
struct GroupFactors {
  uint32_t scale = 0;        // the number; of two levels, the first
  int32_t level = 1;         // of two levels, the second: an integer from -128 to 255, or bits of float8
  uint32_t offset = 0;       // as scale
  int32_t offset_level = 0;  // as level, 0 or less
  int32_t zero = 0;          // where groups have zeros: 0 to 255
};

// How a matrix is quantised; absent for floats, and where scales are not what GroupedForm can say.
std::optional<GroupedForm> grouped_form(const WeightMatrix& matrix);

// One output feature of a matrix with a grouped form, as unsigned codes. codes: [in_features]; factors: one for each
// group, the last of which may be shorter.
void read_grouped(const WeightMatrix& matrix, int64_t out, uint8_t* codes, GroupFactors* factors);

// The weights that codes of a group stand for, in the arithmetic of the file's format: levels are multiplied first,
// offsets added last.
void grouped_values(const GroupedForm& form, const GroupFactors& factors, const uint8_t* codes, int64_t count,
                    float* to);

// Whether scale and offset are finite numbers.
bool is_finite(const GroupedForm& form, const GroupFactors& factors);

}  // namespace moe
