// A protobuf message reader that checks every wire type and says where the bytes went wrong.
//
// Contract: wraps protozero; all failures are Error(invalid_model) with message name, field and byte offset.
// After next(), exactly one of the getters or skip() must be called.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <protozero/pbf_reader.hpp>

#include <headrace/error.h>

namespace headrace::onnx {

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view what)
      : Reader(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), what,
               reinterpret_cast<const char*>(bytes.data())) {}
  Reader(std::string_view bytes, std::string_view what, const char* base)
      : all_(bytes), what_(what), base_(base), reader_(bytes.data(), bytes.size()) {}

  bool next() {
    return guarded([&] { return reader_.next(); });
  }
  std::uint32_t field() const { return reader_.tag(); }
  std::string_view all() const { return all_; }
  void skip() {
    guarded([&] { reader_.skip(); });
  }
  std::int64_t integer() {
    expect(protozero::pbf_wire_type::varint, "an integer");
    return guarded([&] { return reader_.get_int64(); });
  }
  float real() {
    expect(protozero::pbf_wire_type::fixed32, "a float");
    return guarded([&] { return reader_.get_float(); });
  }
  std::string_view bytes() {
    expect(protozero::pbf_wire_type::length_delimited, "bytes");
    return guarded([&] {
      const protozero::data_view view = reader_.get_view();
      return std::string_view(view.data(), view.size());
    });
  }
  Reader message(std::string_view what) { return {bytes(), what, base_}; }
  /// Repeated numbers, packed or one by one; appended. The callback forms take each number.
  template <class F>
  void each_integer(F&& f) {
    if (reader_.wire_type() == protozero::pbf_wire_type::varint) return f(integer());
    const std::string_view packed = bytes();
    guarded([&] {
      const char* at = packed.data();
      const char* const end = at + packed.size();
      while (at != end) f(static_cast<std::int64_t>(protozero::decode_varint(&at, end)));
    });
  }
  void integers(std::vector<std::int64_t>& out) {
    each_integer([&](std::int64_t v) { out.push_back(v); });
  }
  /// Repeated 4- or 8-byte values; `f` gets a pointer to the (unaligned) bytes of each.
  template <std::size_t Size, class F>
  void each_fixed(F&& f) {
    static_assert(Size == 4 || Size == 8);
    constexpr auto kType = Size == 4 ? protozero::pbf_wire_type::fixed32 : protozero::pbf_wire_type::fixed64;
    if (reader_.wire_type() == kType) {
      if constexpr (Size == 4) {
        const std::uint32_t v = guarded([&] { return reader_.get_fixed32(); });
        f(reinterpret_cast<const char*>(&v));
      } else {
        const std::uint64_t v = guarded([&] { return reader_.get_fixed64(); });
        f(reinterpret_cast<const char*>(&v));
      }
      return;
    }
    const std::string_view packed = bytes();
    if (packed.size() % Size != 0) fail("packed numbers of " + std::to_string(packed.size()) + " bytes");
    for (std::size_t i = 0; i < packed.size(); i += Size) f(packed.data() + i);
  }
  void reals(std::vector<float>& out) {
    each_fixed<4>([&](const char* p) {
      float v;
      __builtin_memcpy(&v, p, 4);
      out.push_back(v);
    });
  }
  std::string where() const {
    return std::string(what_) + " field " + std::to_string(reader_.tag()) + ", near byte " +
           std::to_string(reader_.data().data() - base_);
  }
  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorCode::invalid_model, "not a valid ONNX file: " + problem + " in " + where());
  }

 private:
  void expect(protozero::pbf_wire_type type, const char* expected) {
    if (reader_.wire_type() != type) fail(std::string("expected ") + expected);
  }
  template <class F>
  auto guarded(F&& f) -> decltype(f()) {
    try {
      return f();
    } catch (const protozero::exception& e) {
      fail(std::string(e.what()) == "end of buffer exception" ? "truncated data" : std::string(e.what()));
    }
  }
  std::string_view all_, what_;
  const char* base_;
  protozero::pbf_reader reader_;
};

}  // namespace headrace::onnx
