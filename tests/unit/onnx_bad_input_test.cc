// What a stranger's .onnx file may hold: each gets its own message, none a crash, a hang or a huge
// allocation.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "onnx_writer.h"

namespace headrace::onnx::test {
namespace {

using ::testing::HasSubstr;

Model relu() {
  Model m;
  m.input("x", 1, {"N", "4"}).initializer(floats("w", {4}, {1, 2, 3, 4}));
  m.node("Add", {"x", "w"}, {"a"}).node("Relu", {"a"}, {"y"}, {}, "", "last").output("y");
  return m;
}

std::string import_error(std::string_view bytes) {
  try {
    import_bytes(std::as_bytes(std::span(bytes.data(), bytes.size())), nullptr);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(OnnxBadInput, NotOnnx) {
  EXPECT_THAT(import_error(""), HasSubstr("empty"));
  EXPECT_THAT(import_error("hello, this is no model"), HasSubstr("not a valid ONNX file"));
  EXPECT_THAT(import_error(std::string(200, '\xff')), HasSubstr("not a valid ONNX file"));
  EXPECT_THROW(import_file("/no/such/file.onnx"), Error);
}

TEST(OnnxBadInput, TruncatedAnywhere) {
  const Bytes whole = relu().bytes();
  EXPECT_EQ(import_error(whole), "");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_NE(import_error(std::string_view(whole).substr(0, n)), "") << "prefix of " << n << " bytes";
  }
}

TEST(OnnxBadInput, AnyByteChangedThrowsErrorOrImports) {
  const Bytes whole = relu().bytes();
  for (std::size_t i = 0; i < whole.size(); ++i) {
    for (unsigned char flip : {0x01, 0x80, 0xff}) {
      Bytes changed = whole;
      changed[i] = static_cast<char>(static_cast<unsigned char>(changed[i]) ^ flip);
      import_error(changed);  // anything but an Error fails the test
    }
  }
}

TEST(OnnxBadInput, Versions) {
  Model old = relu();
  old.opset = 6;
  EXPECT_THAT(old.error(), HasSubstr("opset 6"));
  Model future = relu();
  future.opset = 29;
  EXPECT_THAT(future.error(), HasSubstr("opset 29 is outside"));
  Model ir = relu();
  ir.ir = 15;
  EXPECT_THAT(ir.error(), HasSubstr("IR version 15"));
}

TEST(OnnxBadInput, Cyclic) {
  Model m;
  m.input("x", 1, {"4"}).node("Add", {"x", "b"}, {"a"}).node("Relu", {"a"}, {"b"}).output("b");
  EXPECT_THAT(m.error(), HasSubstr("cyclic"));
}

TEST(OnnxBadInput, MissingInitialiser) {
  Model m;
  m.input("x", 1, {"4"}).node("Add", {"x", "w"}, {"y"}).output("y");
  EXPECT_THAT(m.error(), HasSubstr("'w' is defined nowhere"));
}

TEST(OnnxBadInput, DefinedTwice) {
  Model m;
  m.input("x", 1, {"4"}).node("Relu", {"x"}, {"y"}).node("Abs", {"x"}, {"y"}).output("y");
  EXPECT_THAT(m.error(), HasSubstr("'y' is defined twice"));
}

TEST(OnnxBadInput, RawAndTypedData) {
  Model m = relu();
  m.initializer(message([](auto& w) {
    w.add_int64(1, 1);
    w.add_int32(2, 1);
    w.add_float(4, 1.0f);
    w.add_string(8, "both");
    w.add_bytes(9, "abcd");
  }));
  EXPECT_THAT(m.error(), HasSubstr("'both': has both raw and typed data"));
}

TEST(OnnxBadInput, SizesThatDoNotFit) {
  auto with = [](std::vector<std::int64_t> dims, std::size_t bytes) {
    return relu().initializer(tensor("t", 1, dims, std::vector<char>(bytes))).error();
  };
  EXPECT_THAT(with({3}, 8), HasSubstr("needs 12"));
  EXPECT_THAT(with({std::int64_t{1} << 40}, 4), HasSubstr("needs 4398046511104"));
  EXPECT_THAT(with({std::int64_t{1} << 40, std::int64_t{1} << 40}, 4), HasSubstr("more than 64 bits"));
  EXPECT_THAT(with({-3}, 4), HasSubstr("negative dimension -3"));
}

TEST(OnnxBadInput, SmallFileThatAsksForGigabytes) {
  Model empty = relu();  // no data at all for a tensor of 4 TiB
  empty.initializer(message([](auto& w) {
    w.add_int64(1, std::int64_t{1} << 40);
    w.add_int32(2, 1);
    w.add_string(8, "huge");
  }));
  EXPECT_THAT(empty.error(), HasSubstr("'huge': has 0 values"));
  Model fill;  // importing allocates nothing of that size
  fill.initializer(ints("s", {2}, {1 << 20, 1 << 20})).node("ConstantOfShape", {"s"}, {"y"}).output("y");
  EXPECT_EQ(fill.error(), "");
}

TEST(OnnxBadInput, FunctionsNestedDeep) {
  Model m;
  m.input("x", 1, {"4"}).node("f0", {"x"}, {"y"}, {}, "local").output("y");
  for (int i = 0; i < 3000; ++i) {
    m.function("f" + std::to_string(i), {"a"}, {"b"},
               {i == 2999 ? node("Relu", {"a"}, {"b"})
                          : node("f" + std::to_string(i + 1), {"a"}, {"b"}, {}, "local")});
  }
  EXPECT_THAT(m.error(), HasSubstr("nested more than 64 deep"));
}

TEST(OnnxBadInput, FunctionThatCallsItself) {
  Model m;
  m.input("x", 1, {"4"}).node("f", {"x"}, {"y"}, {}, "local").output("y");
  m.function("f", {"a"}, {"b"}, {node("g", {"a"}, {"b"}, {}, "local")});
  m.function("g", {"a"}, {"b"}, {node("f", {"a"}, {"b"}, {}, "local")});
  EXPECT_THAT(m.error(), HasSubstr("function 'f' calls itself, through 'g'"));
}

TEST(OnnxBadInput, FunctionsThatMultiply) {  // 2 calls each, 40 deep: 2^40 nodes
  Model m;
  m.input("x", 1, {"4"}).node("f0", {"x"}, {"y"}, {}, "local").output("y");
  for (int i = 0; i < 40; ++i) {
    const std::string next = "f" + std::to_string(i + 1);
    m.function("f" + std::to_string(i), {"a"}, {"c"},
               {node(next, {"a"}, {"b"}, {}, "local"), node(next, {"b"}, {"c"}, {}, "local")});
  }
  m.function("f40", {"a"}, {"c"}, {node("Relu", {"a"}, {"c"})});
  EXPECT_THAT(m.error(), HasSubstr("more than 200000 nodes"));
}

TEST(OnnxBadInput, AllErrorsAtOnce) {
  Model m;
  m.input("x", 1, {"2", "3"});
  m.node("Foo", {"x"}, {"f"}, {}, "", "foo1").node("Foo", {"f"}, {"f2"}).node("Bar", {"f"}, {"g"});
  m.node("Relu", {"f"}, {"r"});  // behind a failure: not reported
  m.node("Transpose", {"x"}, {"t"}, {attr("perm", {0, 5})}, "", "turn");
  m.node("Relu", {"x"}, {"u"}, {attr("slope", 1.0f)}, "", "sloped");
  m.node("Elu", {"x"}, {"v"}, {attr("alpha", 1)}, "", "typed").output("t");
  const std::string e = m.error();
  EXPECT_THAT(
      e, HasSubstr("2 unsupported operators: Bar (1 node, first making 'g'), Foo (2 nodes, first 'foo1')"));
  EXPECT_THAT(e, HasSubstr("node 'turn' (Transpose, opset 17): perm entry 5 is outside [-2, 2)"));
  EXPECT_THAT(e, HasSubstr("node 'sloped' (Relu, opset 17): unknown attribute 'slope'"));
  EXPECT_THAT(e, HasSubstr("node 'typed' (Elu, opset 17): attribute 'alpha' is of type int; expected float"));
  EXPECT_THAT(e, ::testing::Not(HasSubstr("making 'r'")));
}

class OnnxExternalData : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "headrace_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    outside_ = pattern;
    folder_ = outside_ / "model";
    std::filesystem::create_directory(folder_);
    const float values[4] = {1, 2, 3, 4};
    for (const auto& path : {folder_ / "w.bin", outside_ / "secret.bin"}) {
      std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(values), sizeof values);
    }
  }
  void TearDown() override { std::filesystem::remove_all(outside_); }

  Model model(const std::string& location, const std::string& offset = "0",
              const std::string& length = "16") const {
    Model m;
    m.input("x", 1, {"4"}).node("Add", {"x", "w"}, {"y"}).output("y");
    auto entry = [](const std::string& key, const std::string& value) {
      return message([&](auto& w) {
        w.add_string(1, key);
        w.add_string(2, value);
      });
    };
    m.initializer(message([&](auto& w) {
      w.add_int64(1, 4);
      w.add_int32(2, 1);
      w.add_string(8, "w");
      w.add_message(13, entry("location", location));
      w.add_message(13, entry("offset", offset));
      w.add_message(13, entry("length", length));
      w.add_int32(14, 1);
    }));
    return m;
  }
  std::filesystem::path outside_, folder_;
};

TEST_F(OnnxExternalData, IsRead) {
  const Graph g = model("w.bin").import(folder_.string());
  bool found = false;
  for (std::size_t i = 0; i < g.value_count(); ++i) {
    if (const auto& c = g.value(static_cast<ValueId>(i)).constant)
      found |= c->elements() == 4 && c->at_double(3) == 4;
  }
  EXPECT_TRUE(found);
}

TEST_F(OnnxExternalData, StaysInTheFolder) {
  EXPECT_THAT(model("w.bin").error(), HasSubstr("refused for a model from memory"));
  EXPECT_THAT(model("../secret.bin").error(folder_.string()), HasSubstr("'..'"));
  EXPECT_THAT(model((outside_ / "secret.bin").string()).error(folder_.string()), HasSubstr("relative path"));
  std::filesystem::create_symlink(outside_ / "secret.bin", folder_ / "link.bin");
  EXPECT_THAT(model("link.bin").error(folder_.string()), HasSubstr("symbolic link"));
  std::filesystem::create_directory_symlink(outside_, folder_ / "dir");
  EXPECT_THAT(model("dir/secret.bin").error(folder_.string()), HasSubstr("symbolic link"));
  std::filesystem::create_hard_link(outside_ / "secret.bin", folder_ / "hard.bin");
  EXPECT_THAT(model("hard.bin").error(folder_.string()), HasSubstr("hard link"));
  EXPECT_THAT(model("none.bin").error(folder_.string()), HasSubstr("not in the model's folder"));
  EXPECT_THAT(model(".").error(folder_.string()), HasSubstr("not a regular file"));
}

TEST_F(OnnxExternalData, LiesInTheFile) {
  EXPECT_THAT(model("w.bin", "4").error(folder_.string()), HasSubstr("outside the file of 16 bytes"));
  EXPECT_THAT(model("w.bin", "0", "8").error(folder_.string()), HasSubstr("needs 16"));
  EXPECT_THAT(model("w.bin", "-4").error(folder_.string()), HasSubstr("not a number"));
  EXPECT_THAT(model("w.bin", "999999999999999999").error(folder_.string()), HasSubstr("outside the file"));
}

}  // namespace
}  // namespace headrace::onnx::test
