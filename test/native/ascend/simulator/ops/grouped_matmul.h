// The grouped matrix product behind all of its interfaces.
#pragma once
#include "../nnop/op.h"

namespace ascend_sim {

struct GroupedMatmul {
  const aclTensorList *x, *weight, *bias, *scale, *offset, *antiquant_scale, *antiquant_offset, *per_token_scale;
  const aclTensor* group_list;
  const aclTensorList *activation_input, *activation_scale, *activation_offset;
  int64_t split_item, group_type, group_list_type, act_type;
  const aclTensorList *out, *activation_out, *dynamic_scale_out;
};

void describe_grouped_matmul(Op& op, const GroupedMatmul& call);

}  // namespace ascend_sim
