#include "profile.h"

#include <cstdlib>
#include <mutex>

#include "../control.h"
#include "violations.h"

namespace ascend_sim {
namespace {

std::string text_of(const char* variable, const char* otherwise) {
  const char* const text = std::getenv(variable);
  return text && *text ? text : otherwise;
}

struct Profile {
  std::mutex mutex;
  std::string soc = text_of("ASCEND_SIM_SOC", "Ascend910B1");
  size_t memory = std::strtoull(text_of("ASCEND_SIM_MEMORY", "2147483648").c_str(), nullptr, 10);
};

Profile& profile() {
  static Profile& profile = *new Profile;
  return profile;
}

}  // namespace

std::string soc_name() {
  const std::lock_guard lock(profile().mutex);
  return profile().soc;
}

Soc soc() {
  const std::string name = soc_name();
  if (name.starts_with("Ascend310P")) return Soc::k310P;
  if (name.starts_with("Ascend910_93")) return Soc::kA3;
  return Soc::kA2;
}

std::string family_name() {
  switch (soc()) {
    case Soc::kA2:
      return "910B";
    case Soc::kA3:
      return "910_93";
    default:
      return "310P";
  }
}

int32_t device_count() { return std::atoi(text_of("ASCEND_SIM_DEVICES", "2").c_str()); }

size_t device_memory() {
  const std::lock_guard lock(profile().mutex);
  return profile().memory;
}

int idle_milliseconds() {
  static const int milliseconds = std::atoi(text_of("ASCEND_SIM_DELAY_MS", "10").c_str());
  return milliseconds;
}

}  // namespace ascend_sim

using namespace ascend_sim;

extern "C" {

const char* ascend_sim_name() { return "node-moe's CANN simulator"; }

const char* aclrtGetSocName() {
  static thread_local std::string name;
  name = soc_name();
  return name.c_str();
}

void ascend_sim_set_memory(size_t bytes_per_device) {
  const std::lock_guard lock(profile().mutex);
  profile().memory = bytes_per_device;
}

void ascend_sim_set_soc(const char* name) {
  const std::lock_guard lock(profile().mutex);
  profile().soc = name;
}

}  // extern "C"
