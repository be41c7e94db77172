// A file mapped read-only, and its JavaScript object.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "addon/napi_setup.h"

namespace moe {

class MappedFile {
 public:
  // Throws kCheckpoint with the path and the system's reason.
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

  // Throws kCheckpoint when the file has become shorter than it was: reading the lost pages would end the process.
  void expect_unshortened() const;

  // Pages that were read no longer count as this process's memory. They may be read again, from the system's cache
  // where it has kept them.
  void release() const;

 private:
  std::string path_;
  int descriptor_;
  size_t size_ = 0;
  const uint8_t* data_ = nullptr;
};

class FileObject final : public Napi::ObjectWrap<FileObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object open(Napi::Env env, const std::string& path);
  // The file behind a JavaScript value, or null when it is something else. Throws kClosed when it was closed.
  static std::shared_ptr<MappedFile> from(Napi::Value value);

  explicit FileObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value read(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  MappedFile& file() const;

  std::shared_ptr<MappedFile> file_;  // a load that borrows it keeps it mapped after close
};

}  // namespace moe
