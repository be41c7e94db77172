// The CANN release whose documents are enforced: 81, 85 or 91. Each build of the libraries has one.
#pragma once

namespace ascend_sim {

int release();

}  // namespace ascend_sim
