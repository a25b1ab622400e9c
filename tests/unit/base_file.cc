#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <headrace/error.h>

#include "base/file.h"

namespace headrace {
namespace {

namespace fs = std::filesystem;

class File : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/headrace-file-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

template <class Act>
std::string error_of(Act act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::io);
    return error.what();
  }
  return "no error";
}

TEST_F(File, WritesPiecesAndReadsThemBack) {
  const std::string a = "one", b = "", c = "two";
  const std::array pieces{std::as_bytes(std::span(a)), std::as_bytes(std::span(b)),
                          std::as_bytes(std::span(c))};
  write_file_atomic(folder_ / "x", pieces);
  EXPECT_EQ(read_text_file(folder_ / "x"), "onetwo");
  EXPECT_EQ(read_file(folder_ / "x").size(), 6u);
  EXPECT_EQ(files(), 1u);
}

TEST_F(File, AReaderKeepsTheOldFileWhenItIsReplaced) {
  write_file_atomic(folder_ / "x", "old");
  MappedFile old(folder_ / "x");
  write_file_atomic(folder_ / "x", "new!");
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(old.bytes().data()), old.size_bytes()), "old");
  EXPECT_EQ(read_text_file(folder_ / "x"), "new!");
}

TEST_F(File, AFailedWriteLeavesTheOldFileAndNothingElse) {
  write_file_atomic(folder_ / "x", "old");
  struct rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 4096, before.rlim_max };  // the write fails half-way
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = error_of([&] { write_file_atomic(folder_ / "x", std::string(100'000, 'n')); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(error.find((folder_ / "x").string()), std::string::npos) << error;
  EXPECT_NE(error.find("File too large"), std::string::npos) << error;
  EXPECT_EQ(read_text_file(folder_ / "x"), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(File, RefusesTargetsThatAreNotFiles) {
  fs::create_directory(folder_ / "d");
  EXPECT_NE(error_of([&] { write_file_atomic(folder_ / "d", "x"); }).find("folder"), std::string::npos);
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { write_file_atomic(folder_ / "pipe", "x"); }).find("regular"), std::string::npos);
  EXPECT_NE(error_of([&] { write_file_atomic(folder_ / "no/x", "x"); }).find("No such file"),
            std::string::npos);
  EXPECT_EQ(files(), 2u);
}

TEST_F(File, ErrorsNameThePathAndTheReason) {
  for (const auto& act : {+[](const fs::path& path) { MappedFile file(path); },
                          +[](const fs::path& path) { static_cast<void>(read_file(path)); }}) {
    const std::string missing = error_of([&] { act(folder_ / "missing"); });
    EXPECT_NE(missing.find("/missing': No such file"), std::string::npos) << missing;
    const std::string folder = error_of([&] { act(folder_); });
    EXPECT_NE(folder.find("it is a folder"), std::string::npos) << folder;
  }
}

TEST_F(File, EmptyFilesAndLimits) {
  write_file_atomic(folder_ / "empty", "");
  EXPECT_TRUE(MappedFile(folder_ / "empty").bytes().empty());
  EXPECT_TRUE(read_file(folder_ / "empty").empty());
  write_file_atomic(folder_ / "ten", "0123456789");
  EXPECT_EQ(read_text_file(folder_ / "ten", 10), "0123456789");
  EXPECT_NE(error_of([&] { static_cast<void>(read_file(folder_ / "ten", 9)); }).find("limit of 9"),
            std::string::npos);
}

TEST_F(File, MappedFilesMove) {
  write_file_atomic(folder_ / "x", "abc");
  MappedFile first(folder_ / "x");
  MappedFile second(std::move(first));
  EXPECT_TRUE(first.bytes().empty());
  first = std::move(second);
  EXPECT_EQ(first.size_bytes(), 3u);
  EXPECT_EQ(first.bytes()[2], std::byte{'c'});
}

}  // namespace
}  // namespace headrace
