#include "../grouped_matmul.h"

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnGroupedMatmulV5GetWorkspaceSize(
    const aclTensorList* x, const aclTensorList* weight, const aclTensorList* bias, const aclTensorList* scale,
    const aclTensorList* offset, const aclTensorList* antiquant_scale, const aclTensorList* antiquant_offset,
    const aclTensorList* per_token_scale, const aclTensor* group_list, const aclTensorList* activation_input,
    const aclTensorList* activation_scale, const aclTensorList* activation_offset, int64_t split_item,
    int64_t group_type, int64_t group_list_type, int64_t act_type, aclIntArray* tuning, aclTensorList* out,
    aclTensorList* activation_out, aclTensorList* dynamic_scale_out, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnGroupedMatmulV5", size, executor, [&](Op& op) {
    op.require(array_of(tuning).size() <= 3, "tuningConfig has at most three values");
    describe_grouped_matmul(op, {x, weight, bias, scale, offset, antiquant_scale, antiquant_offset, per_token_scale,
                                 group_list, activation_input, activation_scale, activation_offset, split_item,
                                 group_type, group_list_type, act_type, out, activation_out, dynamic_scale_out});
  });
}
ASCEND_SIM_PHASE_2(aclnnGroupedMatmulV5)

}  // extern "C"
