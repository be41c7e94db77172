#include "../nnop/release.h"

namespace ascend_sim {

int release() { return ASCEND_SIM_RELEASE; }

}  // namespace ascend_sim
