// The older way to the fractal format: in place.
#include "../../nnop/op.h"

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnCalculateMatmulWeightSizeV2(const aclIntArray* shape, int type, uint64_t* elements) {
  return call("aclnnCalculateMatmulWeightSizeV2", [&] {
    require(shape != nullptr && elements != nullptr, kNullptr, "an argument is null");
    const auto sizes = array_of(shape);
    require(sizes.size() == 2 || sizes.size() == 3, kInvalid, "the shape must have 2 or 3 dimensions");
    require(type == kFloat16 || type == kInt8 || type == kBf16, kInvalid,
            "there is no such weight of " + type_name(type));
    *elements = product(nz_storage(sizes, type));
  });
}

aclnnStatus aclnnTransMatmulWeightGetWorkspaceSize(aclTensor* weight, uint64_t* size, aclOpExecutor** executor) {
  return plan_op("aclnnTransMatmulWeight", size, executor, [&](Op& op) {
    const auto w = op.in_out("weightRef", weight, {kFloat16, kInt8, kBf16});
    op.nd(w);
    op.require(w->rank() == 2 || w->rank() == 3, "weightRef must have 2 or 3 dimensions");
    op.require(w->contiguous(), "weightRef must be contiguous");
    const int64_t needed = product(nz_storage(w->shape, w->type));
    op.require(product(w->storage) >= needed, "the storage must hold the " + std::to_string(needed) +
                                                  " elements of aclnnCalculateMatmulWeightSizeV2, got " +
                                                  std::to_string(product(w->storage)));
    op.run([=](const Frame& frame) { frame.store_fractal(w, frame.numbers(w)); });
  });
}
ASCEND_SIM_PHASE_2(aclnnTransMatmulWeight)

}  // extern "C"
