#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headrace/tensor.h>

namespace headrace {
namespace {

namespace fs = std::filesystem;

constexpr DType kAll[] = {DType::f32, DType::f16, DType::f64, DType::i8,  DType::i16, DType::i32,
                          DType::i64, DType::u8,  DType::u16, DType::u32, DType::u64, DType::boolean};

class Npy : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/headrace-npy-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path() const { return (folder_ / "x.npy").string(); }

  void write(const std::string& bytes) { std::ofstream(path(), std::ios::binary) << bytes; }
  std::string read() {
    std::ifstream file(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// A file of format `major`.0 with this header text and data.
  static std::string file(int major, const std::string& header, const std::string& data) {
    std::string bytes("\x93NUMPY");
    bytes += static_cast<char>(major);
    bytes += '\0';
    for (int i = 0; i < (major == 1 ? 2 : 4); ++i)
      bytes += static_cast<char>(header.size() >> (8 * i) & 0xff);
    return bytes + header + data;
  }
  static std::string header(const std::string& descr, const std::string& order, const std::string& shape) {
    return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
  }
  /// What load_npy says about these bytes; it must name the file.
  std::string refusal(const std::string& bytes) {
    write(bytes);
    try {
      static_cast<void>(load_npy(path()));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      EXPECT_THAT(e.what(), testing::HasSubstr(path()));
      return e.what();
    }
    return "loaded";
  }

  fs::path folder_;
};

TEST_F(Npy, RoundTripOfEveryType) {
  for (const DType dtype : kAll)
    for (const Shape& shape :
         {Shape{}, Shape{1}, Shape{7}, Shape{2, 3}, Shape{1, 2, 3, 4, 5}, Shape{0}, Shape{2, 0, 3}}) {
      Tensor t(dtype, shape);
      std::byte* bytes = t.view().data();
      for (std::size_t i = 0; i < t.view().size_bytes(); ++i)
        bytes[i] = static_cast<std::byte>(dtype == DType::boolean ? i % 2 : i * 37 + 11);
      save_npy(path(), t.view());
      const Tensor back = load_npy(path());
      EXPECT_EQ(back.dtype(), dtype);
      EXPECT_EQ(back.shape(), shape);
      ASSERT_EQ(back.view().size_bytes(), t.view().size_bytes());
      if (t.view().size_bytes() > 0) {
        EXPECT_EQ(std::memcmp(back.view().data(), bytes, t.view().size_bytes()), 0) << to_string(dtype);
      }
    }
}

TEST_F(Npy, WritesWhatNumpyWrites) {
  const std::vector<std::int32_t> values = {1, 2, 3};
  save_npy(path(), ConstTensorView(std::span(values), {3}));
  const std::string bytes = read();
  EXPECT_EQ(bytes.size(), 128u + 12u);  // numpy.save pads the header to a multiple of 64
  EXPECT_EQ(bytes.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_THAT(bytes, testing::HasSubstr("{'descr': '<i4', 'fortran_order': False, 'shape': (3, ), }"));
  EXPECT_EQ(bytes[127], '\n');
}

TEST_F(Npy, ReadsAllThreeVersions) {
  for (const int major : {1, 2, 3}) {
    write(file(major, header("'<u2'", "False", "(2,)"), std::string("\1\0\2\1", 4)));
    const Tensor t = load_npy(path());
    ASSERT_EQ(t.shape(), Shape{2});
    EXPECT_EQ(t.as<std::uint16_t>()[0], 1);
    EXPECT_EQ(t.as<std::uint16_t>()[1], 258);
  }
}

TEST_F(Npy, BoolsAreZeroOrOneInMemory) {
  write(file(1, header("'|b1'", "False", "(3,)"), std::string("\0\1\xff", 3)));
  const Tensor t = load_npy(path());
  const std::byte* bytes = t.view().data();
  EXPECT_EQ(bytes[0], std::byte{0});
  EXPECT_EQ(bytes[1], std::byte{1});
  EXPECT_EQ(bytes[2], std::byte{1});
}

TEST_F(Npy, MalformedFilesAreRefusedWithAReason) {
  using testing::HasSubstr;
  const std::string data(64, 'x');
  const auto with_shape = [&](const std::string& shape) {
    return file(1, header("'<f4'", "False", shape), data);
  };
  EXPECT_EQ(refusal(with_shape("(2, 3)")), "loaded");  // what the rest is a variation of
  EXPECT_THAT(refusal(""), HasSubstr("magic"));
  EXPECT_THAT(refusal("\x93NUMPX" + data), HasSubstr("magic"));
  EXPECT_THAT(refusal(std::string("\x93NUMPY\x01", 7)), HasSubstr("magic"));
  EXPECT_THAT(refusal(file(4, header("'<f4'", "False", "(1,)"), data)), HasSubstr("version 4"));
  EXPECT_THAT(refusal(file(0, header("'<f4'", "False", "(1,)"), data)), HasSubstr("version 0"));
  EXPECT_THAT(refusal(std::string("\x93NUMPY\x01\x00\xff\xff{}", 12)), HasSubstr("cut short"));
  EXPECT_THAT(refusal(std::string("\x93NUMPY\x02\x00\xff\xff", 10)), HasSubstr("cut short"));
  EXPECT_THAT(refusal(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff{}", 14)), HasSubstr("cut short"));
  EXPECT_THAT(refusal(file(1, "{'descr': '<f4', 'shape': (1,)}", data)), HasSubstr("no 'fortran_order'"));
  EXPECT_THAT(refusal(file(1, "{'fortran_order': False, 'shape': (1,)}", data)), HasSubstr("no 'descr'"));
  EXPECT_THAT(refusal(file(1, "{'descr': '<f4', 'fortran_order': False}", data)), HasSubstr("no 'shape'"));
  EXPECT_THAT(refusal(file(1, header("'>f4'", "False", "(1,)"), data)), HasSubstr("'>f4' is not supported"));
  EXPECT_THAT(refusal(file(1, header("'<c8'", "False", "(1,)"), data)), HasSubstr("'<c8' is not supported"));
  EXPECT_THAT(refusal(file(1, header("'|O'", "False", "(1,)"), data)), HasSubstr("not supported"));
  EXPECT_THAT(refusal(file(1, header("[('a', '<f4')]", "False", "(1,)"), data)), HasSubstr("not supported"));
  EXPECT_THAT(refusal(file(1, header("'<f4'", "True", "(1,)"), data)), HasSubstr("Fortran order"));
  EXPECT_THAT(refusal(with_shape("(17,)")), HasSubstr("needs 68 bytes of data, the file has 64"));
  EXPECT_THAT(refusal(with_shape("(-1,)")), HasSubstr("not a tuple"));
  EXPECT_THAT(refusal(with_shape("(2.5,)")), HasSubstr("not a tuple"));
  EXPECT_THAT(refusal(with_shape("3")), HasSubstr("not a tuple"));
  EXPECT_THAT(refusal(with_shape("(,)")), HasSubstr("not a tuple"));
  EXPECT_THAT(refusal(with_shape("None")), HasSubstr("not a tuple"));
  EXPECT_THAT(refusal(with_shape("(3")), HasSubstr("not a tuple"));
  EXPECT_THAT(refusal(with_shape("(99999999999999999999,)")), HasSubstr("too large"));
  EXPECT_NE(refusal(with_shape("(4294967296, 4294967296)")), "loaded");
  EXPECT_NE(refusal(with_shape("(1099511627776, 4194304)")), "loaded");
}

TEST_F(Npy, MissingFilesAndFoldersAreIoErrors) {
  for (const fs::path& p : {folder_ / "none.npy", folder_}) {
    try {
      static_cast<void>(load_npy(p.string()));
      FAIL() << p;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::io);
    }
  }
  EXPECT_THROW(save_npy((folder_ / "no/such/x.npy").string(), Tensor(DType::f32, {1}).view()), Error);
}

}  // namespace
}  // namespace headrace
