#include "base/file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <headrace/error.h>

#include "base/handle.h"

namespace headrace {
namespace {

using FileHandle = Handle<int, ::close, -1>;
namespace fs = std::filesystem;

[[noreturn]] void fail(const char* action, const fs::path& path, const std::string& reason) {
  throw Error(ErrorCode::io, std::string("cannot ") + action + " '" + path.string() + "': " + reason);
}

[[noreturn]] void fail_errno(const char* action, const fs::path& path) {
  const int error = errno;
  fail(action, path, std::strerror(error));
}

FileHandle open_for_reading(const fs::path& path, struct stat& status) {
  FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::fstat(file.get(), &status) != 0) fail_errno("read", path);
  if (S_ISDIR(status.st_mode)) fail("read", path, "it is a folder, not a file");
  return file;
}

void write_all(int file, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file, bytes.data(), std::min<std::size_t>(bytes.size(), 1u << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_errno("write", path);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

template <class Bytes>
Bytes read_whole(const fs::path& path, std::size_t max_bytes) {
  const auto refuse = [&] {
    fail("read", path, "it is larger than the limit of " + std::to_string(max_bytes) + " bytes");
  };
  struct stat status;
  const FileHandle file = open_for_reading(path, status);
  const std::size_t expected = S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size) : 0;
  if (expected > max_bytes) refuse();
  Bytes bytes;
  bytes.resize(expected + 1);  // one more byte shows the end of the file without growing
  std::size_t size = 0;
  for (;;) {
    const ssize_t count = ::read(file.get(), bytes.data() + size, bytes.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_errno("read", path);
    if (count == 0) break;
    size += static_cast<std::size_t>(count);
    if (size > max_bytes) refuse();
    if (size == bytes.size()) bytes.resize(size + std::max<std::size_t>(size, 65536));
  }
  bytes.resize(size);
  return bytes;
}

// Removes the file when it goes out of scope, unless it was renamed away.
struct TemporaryFile {
  fs::path path;
  ~TemporaryFile() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

FileHandle create_beside(const fs::path& target, TemporaryFile& temporary) {
  static std::atomic<unsigned> counter{0};
  for (int attempt = 0; attempt < 100; ++attempt) {
    fs::path path = target;
    path += ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(counter.fetch_add(1));
    FileHandle file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (file) {
      temporary.path = std::move(path);
      return file;
    }
    if (errno != EEXIST) break;
  }
  fail_errno("write", target);
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) {
  struct stat status;
  const FileHandle file = open_for_reading(path, status);
  if (!S_ISREG(status.st_mode)) fail("map", path, "it is not a regular file");
  if (status.st_size == 0) return;
  void* data =
      ::mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail_errno("map", path);
  data_ = static_cast<const std::byte*>(data);
  size_ = static_cast<std::size_t>(status.st_size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  MappedFile taken(std::move(other));
  std::swap(data_, taken.data_);
  std::swap(size_, taken.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::vector<std::byte> read_file(const fs::path& path, std::size_t max_bytes) {
  return read_whole<std::vector<std::byte>>(path, max_bytes);
}

std::string read_text_file(const fs::path& path, std::size_t max_bytes) {
  return read_whole<std::string>(path, max_bytes);
}

void write_file_atomic(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  struct stat status;
  if (::lstat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode)) {
    fail("write", path, S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file");
  }
  TemporaryFile temporary;
  FileHandle file = create_beside(path, temporary);
  for (const auto& piece : pieces) write_all(file.get(), piece, path);
  if (::fsync(file.get()) != 0) fail_errno("write", path);
  if (::close(file.release()) != 0) fail_errno("write", path);
  if (::rename(temporary.path.c_str(), path.c_str()) != 0) fail_errno("replace", path);
  temporary.path.clear();

  // The rename survives a power cut only when the folder is synced too; some file systems refuse that.
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const FileHandle handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle) static_cast<void>(::fsync(handle.get()));
}

void write_file_atomic(const fs::path& path, std::span<const std::byte> bytes) {
  write_file_atomic(path, std::span(&bytes, 1));
}

void write_file_atomic(const fs::path& path, std::string_view text) {
  write_file_atomic(path, std::as_bytes(std::span(text)));
}

}  // namespace headrace
