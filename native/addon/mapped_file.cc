#include "addon/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "addon/arguments.h"
#include "addon/environment.h"
#include "addon/errors.h"

namespace moe {
namespace {

constexpr napi_type_tag kFileTag = {0x6d6f652d66696c65, 0x9b1c54f2a7e04d31};

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error(ErrorCode::kCheckpoint, "Cannot map " + path + ": " + reason);
}

size_t size_of_file(int descriptor, const std::string& path) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) fail(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(path, "it is not a regular file");
  return static_cast<size_t>(status.st_size);
}

}  // namespace

MappedFile::MappedFile(std::string path)
    : path_(std::move(path)),
      descriptor_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {  // a pipe: no wait
  if (descriptor_ < 0) fail(path_, std::strerror(errno));
  try {
    size_ = size_of_file(descriptor_, path_);
    if (size_ == 0) return;
    void* const memory = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
    if (memory == MAP_FAILED) fail(path_, std::strerror(errno));
    data_ = static_cast<const uint8_t*>(memory);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<uint8_t*>(data_), size_);
  ::close(descriptor_);
}

void MappedFile::expect_unshortened() const {
  const size_t now = size_of_file(descriptor_, path_);
  if (now < size_)
    fail(path_,
         "it had " + std::to_string(size_) + " bytes when it was opened and has " + std::to_string(now) + " now");
}

void MappedFile::release() const {
  if (data_) madvise(const_cast<uint8_t*>(data_), size_, MADV_DONTNEED);  // advice only
}

Napi::Function FileObject::define(Napi::Env env) {
  return DefineClass(env, "MappedFile",
                     {InstanceMethod<&FileObject::read>("read"), InstanceMethod<&FileObject::close>("close")});
}

Napi::Object FileObject::open(Napi::Env env, const std::string& path) {
  return Environment::of(env).file_constructor.New({Napi::String::New(env, path)});
}

FileObject::FileObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FileObject>(info) {
  guarded(info.Env(), [&] { file_ = std::make_shared<MappedFile>(info[0].As<Napi::String>().Utf8Value()); });
  Value().TypeTag(&kFileTag);
}

std::shared_ptr<MappedFile> FileObject::from(Napi::Value value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kFileTag)) return nullptr;
  const FileObject& object = *Unwrap(value.As<Napi::Object>());
  object.file();
  return object.file_;
}

MappedFile& FileObject::file() const {
  if (!file_) throw Error(ErrorCode::kClosed, "The mapped file was closed");
  return *file_;
}

Napi::Value FileObject::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const size_t offset = to_size(info[0], "offset"), length = to_size(info[1], "length");
    const MappedFile& from = file();
    if (offset > from.size() || length > from.size() - offset)
      throw Error(ErrorCode::kCheckpoint, "Expected bytes " + std::to_string(offset) + " to " +
                                              std::to_string(offset + length) + " inside " + from.path() +
                                              ", which has " + std::to_string(from.size()));
    from.expect_unshortened();
    Napi::Uint8Array bytes = Napi::Uint8Array::New(info.Env(), length);
    if (length > 0) std::memcpy(bytes.Data(), from.data() + offset, length);
    return bytes;
  });
}

void FileObject::close(const Napi::CallbackInfo&) { file_.reset(); }

}  // namespace moe
