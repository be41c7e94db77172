// Panels of weights as they were published: from codes and factors to what cpu/kernels/published.h reads.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/weights/grouped.h"
#include "cpu/kernels/table.h"

namespace moe::cpu {

// Whether panels hold the form. They do not where no format has it: groups of an order or a size of their own whose
// codes are of 5 or 6 bits or from a table, or whose scales are no plain floats; float8 with more than a scale.
bool can_hold(const GroupedForm& form);

// How panels of `depth` rows hold weights of a form that they hold, but for group_of_row.
PublishedForm published_form(const GroupedForm& form, const Kernels& kernels, int64_t depth);

// Puts a column into a panel that is zeros before. codes: [depth]; factors: one for each of the form's groups.
void put_published(const GroupedForm& form, const PublishedForm& held, int64_t panel_columns, int64_t depth,
                   std::byte* panel, int64_t column, const uint8_t* codes, const GroupFactors* factors);

// Whether int8 rows can be multiplied by the codes.
bool has_dots(const GroupedForm& form);

}  // namespace moe::cpu
