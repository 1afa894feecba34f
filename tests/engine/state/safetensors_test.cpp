// The safetensors reader against well-formed files and a table of broken ones.
#include "engine/state/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"

namespace syncnorm::test {
namespace {

std::string file_of(const std::string& header, const std::string& data) {
  std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  const std::vector<float> values = {1.0f, -2.5f, 3e-40f, 4.0f, 5.0f, 6.0f};
  const std::int64_t count = 7;
  const std::vector<TensorView> tensors = {
      {"a.weight", "F32", {2, 3}, {reinterpret_cast<const char*>(values.data()), 24}},
      {"n", "I64", {}, {reinterpret_cast<const char*>(&count), 8}}};
  const std::string file = write_safetensors(tensors);
  const auto read = parse_safetensors(file, "f");
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].name, "a.weight");
  EXPECT_EQ(read[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(read[0].values<float>(), values);
  EXPECT_EQ(read[1].values<std::int64_t>(), std::vector<std::int64_t>{7});
}

TEST(Safetensors, HeaderIsAlignedAndHasThePublishedForm) {
  const float one = 1.0f;
  const std::string file = write_safetensors(
      std::vector<TensorView>{{"w", "F32", {1}, {reinterpret_cast<const char*>(&one), 4}}});
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  EXPECT_EQ(file.substr(8, length).find(
                "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"),
            0u);
}

TEST(Safetensors, AnEmptyTensorMayShareItsPlace) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
                             R"("__metadata__":{"format":"pt"}})";
  const std::string file = file_of(header, std::string(4, '\0'));
  const auto read = parse_safetensors(file, "f");
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].name, "b");
  EXPECT_EQ(read[1].bytes.size(), 4u);
}

struct Broken {
  std::string file;
  const char* message;
};

class BrokenFiles : public ::testing::TestWithParam<Broken> {};

TEST_P(BrokenFiles, AreRefused) {
  try {
    parse_safetensors(GetParam().file, "f");
    FAIL() << "the file was accepted";
  } catch (const CheckpointError& error) {
    EXPECT_EQ(std::string(error.what()).rfind("f: ", 0), 0u) << error.what();
    EXPECT_NE(std::string(error.what()).find(GetParam().message), std::string::npos)
        << error.what();
  }
}

const std::string kFour(4, '\0');
const std::string kEight(8, '\0');

INSTANTIATE_TEST_SUITE_P(
    Table, BrokenFiles,
    ::testing::Values(
        Broken{"abc", "3 bytes are too few for a header"},
        Broken{std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8) + "{}", "the header claims"},
        Broken{file_of("{", ""), "the header is not JSON"},
        Broken{file_of("[1]", ""), "the header is not a JSON object"},
        Broken{file_of(" {}", ""), "the header is not a JSON object from its first byte"},
        Broken{file_of(R"({"__metadata__":{"a":1}})", ""), "__metadata__ is not a map of texts"},
        Broken{file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", kEight),
               "4 bytes follow the last tensor"},
        Broken{file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", kFour),
               "is larger than the file"},
        Broken{file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", kEight),
               "begins at byte 4 instead of 0"},
        Broken{file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                       R"("b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                       kEight),
               "'b' begins at byte 0 instead of 4"},
        Broken{file_of(R"({"a":{"dtype":"F24","shape":[1],"data_offsets":[0,4]}})", kFour),
               "has the unknown dtype 'F24'"},
        Broken{file_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", kFour),
               "is not a whole number"},
        Broken{
            file_of(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})",
                    ""),
            "is larger than the file"},
        Broken{file_of(R"({"a":{"dtype":"F32","shape":[1]}})", kFour), "lacks dtype"},
        Broken{file_of(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},)"
                       R"("a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
                       ""),
               "tensor 'a' appears twice"},
        Broken{std::string("\x80\x02}q\0X....", 10), "the header claims"}));

}  // namespace
}  // namespace syncnorm::test
