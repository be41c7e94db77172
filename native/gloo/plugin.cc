#include "core/plugin.h"

#include "core/transport.h"
#include "gloo/gloo_transport.h"

extern "C" const moe::TransportPlugin* moe_transport_plugin() {
  static const moe::TransportPlugin plugin{moe::kBuildId, "gloo",
                                           [](const moe::TransportOptions& options) -> std::unique_ptr<moe::Transport> {
                                             return std::make_unique<moe::gloo_tcp::GlooTransport>(options);
                                           }};
  return &plugin;
}
