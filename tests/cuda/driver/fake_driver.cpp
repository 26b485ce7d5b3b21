// A libcuda.so.1 to be found before the machine's own, for tests of what goes wrong there (tests/cuda/bad_drivers.py).
// By itself it is a driver of another version, or one that does not start. With FAKE_DRIVER_REAL, the path of the real
// one, everything is that one's but for the call that is to fail. The codes are those of cuda.h.
//
//   FAKE_DRIVER_VERSION=12040    what cuDriverGetVersion tells
//   FAKE_DRIVER_INIT=803         what cuInit returns
//   FAKE_DRIVER_CONTEXT=46       what making a context returns
//   FAKE_DRIVER_LAUNCH=719:FILE  what launching a kernel or a graph returns, as long as FILE exists
#include <dlfcn.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

namespace {

using Result = int;
constexpr Result kSuccess = 0, kNotFound = 500, kUnknown = 999;

int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

// The real driver's function, if there is one.
void* real(const char* symbol) {
  static void* const library = [] {
    const char* path = std::getenv("FAKE_DRIVER_REAL");
    return path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  }();
  return library ? dlsym(library, symbol) : nullptr;
}

Result unknown() { return kUnknown; }
Result context_fails() { return number("FAKE_DRIVER_CONTEXT", kUnknown); }

// Launches of the real driver, by what it gave out for them.
void *launch_kernel, *launch_graph;
Result launch_error() {
  const char* setting = std::getenv("FAKE_DRIVER_LAUNCH");
  const char* file = setting ? std::strchr(setting, ':') : nullptr;
  return file && access(file + 1, F_OK) == 0 ? std::atoi(setting) : kSuccess;
}
Result launch_kernel_or_fail(const void* config, void* function, void** params, void** extra) {
  if (const Result error = launch_error()) return error;
  return reinterpret_cast<Result (*)(const void*, void*, void**, void**)>(launch_kernel)(config, function, params,
                                                                                         extra);
}
Result launch_graph_or_fail(void* graph, void* stream) {
  if (const Result error = launch_error()) return error;
  return reinterpret_cast<Result (*)(void*, void*)>(launch_graph)(graph, stream);
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) Result cuDriverGetVersion(int* version) {
  if (void* there = real("cuDriverGetVersion"); there && !std::getenv("FAKE_DRIVER_VERSION"))
    return reinterpret_cast<Result (*)(int*)>(there)(version);
  *version = number("FAKE_DRIVER_VERSION", 13000);
  return kSuccess;
}

__attribute__((visibility("default"))) Result cuInit(unsigned flags) {
  if (void* there = real("cuInit"); there && !std::getenv("FAKE_DRIVER_INIT"))
    return reinterpret_cast<Result (*)(unsigned)>(there)(flags);
  return number("FAKE_DRIVER_INIT", kSuccess);
}

__attribute__((visibility("default"))) Result cuGetExportTable(const void** table, const void* id) {
  if (void* there = real("cuGetExportTable"))
    return reinterpret_cast<Result (*)(const void**, const void*)>(there)(table, id);
  *table = nullptr;
  return kNotFound;
}

__attribute__((visibility("default"))) Result cuGetProcAddress_v2(const char* symbol, void** function, int version,
                                                                  uint64_t flags, int* status) {
  const std::string_view name = symbol;
  if (void* there = real("cuGetProcAddress_v2")) {
    const Result result = reinterpret_cast<Result (*)(const char*, void**, int, uint64_t, int*)>(there)(
        symbol, function, version, flags, status);
    if (name == "cuLaunchKernelEx" && std::getenv("FAKE_DRIVER_LAUNCH"))
      launch_kernel = std::exchange(*function, reinterpret_cast<void*>(launch_kernel_or_fail));
    if (name == "cuGraphLaunch" && std::getenv("FAKE_DRIVER_LAUNCH"))
      launch_graph = std::exchange(*function, reinterpret_cast<void*>(launch_graph_or_fail));
    if ((name == "cuDevicePrimaryCtxRetain" || name == "cuCtxCreate") && std::getenv("FAKE_DRIVER_CONTEXT"))
      *function = reinterpret_cast<void*>(context_fails);
    if (name == "cuInit") *function = reinterpret_cast<void*>(cuInit);
    if (name == "cuDriverGetVersion") *function = reinterpret_cast<void*>(cuDriverGetVersion);
    if (name == "cuGetProcAddress") *function = reinterpret_cast<void*>(cuGetProcAddress_v2);
    return result;
  }
  if (status) *status = 0;
  *function = reinterpret_cast<void*>(unknown);
  if (name == "cuInit") *function = reinterpret_cast<void*>(cuInit);
  if (name == "cuDriverGetVersion") *function = reinterpret_cast<void*>(cuDriverGetVersion);
  if (name == "cuGetExportTable") *function = reinterpret_cast<void*>(cuGetExportTable);
  if (name == "cuGetProcAddress") *function = reinterpret_cast<void*>(cuGetProcAddress_v2);
  return kSuccess;
}

}  // extern "C"
