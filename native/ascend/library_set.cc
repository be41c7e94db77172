#include "ascend/library_set.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace moe::ascend {
namespace {

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);)
    if (!part.empty()) parts.push_back(part);
  return parts;
}

bool is_there(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// Libraries to link against: each of their functions fails.
bool is_stub(const std::string& path) {
  return path.find("/stub/") != std::string::npos || path.find("/devlib/") != std::string::npos;
}

std::string path_of(void* library) {
  const link_map* map = nullptr;
  return dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map ? map->l_name : "";
}

// The vendors that <opp>/vendors/config.ini lists in its line `load_priority=a,b`.
std::vector<std::string> vendors(const std::string& opp) {
  constexpr std::string_view kKey = "load_priority=";
  std::ifstream file(opp + "/vendors/config.ini");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(kKey)) return split(line.substr(kKey.size()), ',');
  return {};
}

}  // namespace

SearchPath SearchPath::from_environment() {
  return {variable("ASCEND_HOME_PATH"), variable("ASCEND_OPP_PATH"), variable("ASCEND_CUSTOM_OPP_PATH")};
}

std::string SearchPath::description() const {
  const std::string system = "where the system's loader looks (LD_LIBRARY_PATH)";
  return home.empty() ? system + ", for ASCEND_HOME_PATH is not set"
                      : "in " + home + "/lib64 (ASCEND_HOME_PATH) and " + system;
}

bool LibrarySet::open(const char* name) {
  const std::string at_home = search_.home + "/lib64/" + name;
  return open_file(!search_.home.empty() && is_there(at_home) ? at_home : name);
}

void LibrarySet::open_custom_operators() {
  std::vector<std::string> packages = split(search_.custom_opp, ':');
  if (!search_.opp.empty())
    for (const std::string& vendor : vendors(search_.opp)) packages.push_back(search_.opp + "/vendors/" + vendor);
  for (const std::string& package : packages)
    if (const std::string path = package + "/op_api/lib/libcust_opapi.so"; is_there(path)) open_file(path);
}

bool LibrarySet::open_file(const std::string& path) {
  void* const library = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (!library) {
    problems_.emplace_back(dlerror());
    return false;
  }
  if (const std::string from = path_of(library); is_stub(from)) {
    problems_.push_back(from + ": a stub to link against");
    dlclose(library);
    return false;
  }
  libraries_.push_back(library);
  opened_.push_back(path_of(library));
  return true;
}

void* LibrarySet::find(const char* symbol) const {
  for (void* library : libraries_)
    if (void* const address = dlsym(library, symbol)) return address;
  return nullptr;
}

}  // namespace moe::ascend
