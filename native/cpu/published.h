// Panels of weights as they were published: from codes and factors to what cpu/kernels/published.h reads.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/weights/grouped.h"
#include "cpu/kernels/table.h"

namespace moe::cpu {

// How panels of `depth` rows hold weights of a form, for rows of any type. Throws kConfig for a form that no published
// format has: 5 or 6 bits in groups that would share a word.
PublishedForm published_form(const GroupedForm& form, const Kernels& kernels, int64_t depth);

// Puts a column into a panel that is zeros before. codes: [depth]; factors: one for each of the form's groups.
void put_published(const GroupedForm& form, const PublishedForm& held, int64_t panel_columns, int64_t depth,
                   std::byte* panel, int64_t column, const uint8_t* codes, const GroupFactors* factors);

// Whether int8 rows can be multiplied by the codes.
inline bool has_dots(const GroupedForm& form) { return form.codes != CodeKind::kFloat8E4M3; }

}  // namespace moe::cpu
