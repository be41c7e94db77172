// Between row-major and the fractal format.
#include <algorithm>

#include "../../nnop/op.h"

using namespace ascend_sim;

extern "C" {

aclnnStatus aclnnNpuFormatCastCalculateSizeAndFormat(const aclTensor* source, int format, int additional_type,
                                                     int64_t** shape, uint64_t* rank, int* actual_format) {
  return call("aclnnNpuFormatCastCalculateSizeAndFormat", [&] {
    require(shape && rank && actual_format, kNullptr, "an output is null");
    require(soc() != Soc::k310P, kFindKernel, "the operator does not exist on 310P");
    const auto tensor = find<Tensor>(source, kInvalid);
    require(format == kFractalNz, kInvalid, "the target must be FRACTAL_NZ (29), got " + std::to_string(format));
    require(additional_type == -1 || additional_type == tensor->type, kInvalid,
            "additionalDtype must be -1 or the type of src");
    require(tensor->rank() >= 2, kInvalid, "src must have 2 or more dimensions");
    const Shape storage = nz_storage(tensor->shape, tensor->type);
    *rank = storage.size();
    *shape = new int64_t[storage.size()];
    std::copy(storage.begin(), storage.end(), *shape);
    *actual_format = kFractalNz;
  });
}

aclnnStatus aclnnNpuFormatCastGetWorkspaceSize(const aclTensor* source, aclTensor* target, uint64_t* size,
                                               aclOpExecutor** executor) {
  return plan_op("aclnnNpuFormatCast", size, executor, [&](Op& op) {
    op.only_on({Soc::kA2, Soc::kA3});
    const auto from = op.in("src", source, {kFloat, kFloat16, kBf16, kInt8});
    const auto to = op.out("dst", target, {kFloat, kFloat16, kBf16, kInt8});
    op.same_type(to, from);
    op.shape(to, from->shape);
    op.require(from->format != to->format, "src and dst are of one format");
    op.run([=](const Frame& frame) {
      frame.clear(to);
      frame.store(to, frame.numbers(from));
    });
  });
}
ASCEND_SIM_PHASE_2(aclnnNpuFormatCast)

}  // extern "C"
