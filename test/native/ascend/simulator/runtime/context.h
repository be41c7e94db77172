// The current context of the calling thread.
#pragma once
#include "streams.h"

namespace ascend_sim {

void require_initialized();
std::shared_ptr<Context> current_context();
// A stream that work may be queued on from here; null is the default stream of the current context.
std::shared_ptr<Stream> stream_here(aclrtStream handle);

}  // namespace ascend_sim
