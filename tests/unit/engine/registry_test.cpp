// One model for many: by id, by equal configuration, opened once, gone with its last user.
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "fake_session.h"

namespace tome {
namespace {

using testing::fake_opener;
using testing::FakeDevice;

InstanceConfig config(const std::string& model, const std::string& id = "") {
  InstanceConfig made;
  made.model = model;
  made.instance_id = id;
  return made;
}

struct Registry : ::testing::Test {
  std::shared_ptr<FakeDevice> device = std::make_shared<FakeDevice>();
  ModelOpener open = fake_opener(device);
};

TEST_F(Registry, EqualConfigurationsShare) {
  const auto a = acquire_instance(config("m"), open);
  EXPECT_EQ(acquire_instance(config("m"), open), a);
  EXPECT_EQ(acquire_instance(config("./m"), open), a) << "the same folder by another path";
  auto other = config("m");
  other.batch_size = 3;
  EXPECT_NE(acquire_instance(other, open), a);
  EXPECT_NE(acquire_instance(config("n"), open), a);
}

TEST_F(Registry, EachSettingMakesAnotherInstance) {
  InstanceConfig wanted = config("m");
  wanted.input_width = wanted.input_height = 64;
  const auto a = acquire_instance(wanted, open);
  const auto differs = [&](auto change) {
    InstanceConfig other = wanted;
    change(other);
    EXPECT_NE(acquire_instance(other, open), a) << describe(other);
  };
  differs([](InstanceConfig& c) { c.model = "n"; });
  differs([](InstanceConfig& c) { c.labels_file = "labels.txt"; });
  differs([](InstanceConfig& c) { c.device = "cpu"; });
  differs([](InstanceConfig& c) { c.precision = "bf16"; });
  differs([](InstanceConfig& c) { c.instance_id = "front"; });
  differs([](InstanceConfig& c) { c.batch_size = 9; });
  differs([](InstanceConfig& c) { c.batch_timeout_ms = 6; });
  differs([](InstanceConfig& c) { c.threads = 1; });
  differs([](InstanceConfig& c) { c.clip_length = 4; });
  differs([](InstanceConfig& c) { c.input_width = 32; });
  differs([](InstanceConfig& c) { c.input_height = 32; });
  EXPECT_EQ(acquire_instance(wanted, open), a);
}

TEST_F(Registry, IdsShareAndSeparate) {
  const auto a = acquire_instance(config("m", "front"), open);
  EXPECT_EQ(acquire_instance(config("m", "front"), open), a);
  EXPECT_NE(acquire_instance(config("m", "back"), open), a);
  EXPECT_NE(acquire_instance(config("m"), open), a);
}

TEST_F(Registry, AnIdWithAnotherConfigurationNamesBoth) {
  const auto a = acquire_instance(config("m", "front"), open);
  auto other = config("m", "front");
  other.batch_size = 31;
  try {
    acquire_instance(other, open);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kSettings);
    const std::string text = error.what();
    EXPECT_NE(text.find("front"), std::string::npos) << text;
    EXPECT_NE(text.find("batch-size=31"), std::string::npos) << text;
    EXPECT_NE(text.find("batch-size=8"), std::string::npos) << text;
  }
  EXPECT_EQ(acquire_instance(config("m", "front"), open), a) << "the first is untouched";
}

TEST_F(Registry, GoneWithItsLastUser) {
  auto a = acquire_instance(config("m", "front"), open);
  auto b = a;
  a.reset();
  EXPECT_EQ(device->sessions_open, 1);
  b.reset();
  EXPECT_EQ(device->sessions_open, 0);
  auto other = config("n", "front");
  EXPECT_NO_THROW(acquire_instance(other, open)) << "and the id is free";
}

TEST_F(Registry, AStreamKeepsItsModel) {
  auto model = acquire_instance(config("m"), open);
  auto stream = std::make_unique<Stream>(model, StreamConfig{});
  model.reset();
  EXPECT_EQ(device->sessions_open, 1);
  stream.reset();
  EXPECT_EQ(device->sessions_open, 0);
}

TEST_F(Registry, ConcurrentUsersOpenOnce) {
  testing::Door door;
  door.shut();
  const ModelOpener slow = [&](const InstanceConfig& wanted) {
    door.pass();
    return open(wanted);
  };
  std::vector<std::future<std::shared_ptr<ModelInstance>>> users;
  for (int i = 0; i < 4; ++i) {
    users.push_back(
        std::async(std::launch::async, [&] { return acquire_instance(config("m"), slow); }));
  }
  door.wait_arrivals(1);
  auto conflicting = config("x", "taken");
  EXPECT_NO_THROW(acquire_instance(conflicting, open)) << "other models need not wait";
  door.open();
  std::vector<std::shared_ptr<ModelInstance>> got;
  for (auto& user : users) got.push_back(user.get());
  for (const auto& instance : got) EXPECT_EQ(instance, got[0]);
  EXPECT_EQ(device->sessions_made, 2);
}

TEST_F(Registry, AFailureLeavesNothingAndReachesAllWhoWait) {
  testing::Door door;
  door.shut();
  const ModelOpener failing = [&](const InstanceConfig&) -> OpenedModel {
    door.pass();
    throw Error(ErrorKind::kFormat, "broken weights");
  };
  std::vector<std::future<void>> users;
  for (int i = 0; i < 3; ++i) {
    users.push_back(std::async(std::launch::async, [&] {
      try {
        acquire_instance(config("m", "front"), failing);
        ADD_FAILURE();
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kFormat);
        EXPECT_STREQ(error.what(), "broken weights");
      }
    }));
  }
  door.wait_arrivals(1);
  door.open();
  for (auto& user : users) user.get();
  EXPECT_NO_THROW(acquire_instance(config("other", "front"), open)) << "the id is free again";
}

TEST_F(Registry, RefusesConfigurationsThatMakeNoSense) {
  const auto refuses = [&](auto change) {
    InstanceConfig wanted = config("m");
    change(wanted);
    EXPECT_THROW(acquire_instance(wanted, open), Error);
  };
  refuses([](InstanceConfig& c) { c.model = ""; });
  refuses([](InstanceConfig& c) { c.batch_size = 0; });
  refuses([](InstanceConfig& c) { c.batch_size = 100'000; });
  refuses([](InstanceConfig& c) { c.threads = -1; });
  refuses([](InstanceConfig& c) { c.clip_length = -1; });
  refuses([](InstanceConfig& c) { c.clip_length = 1'000'000; });
  refuses([](InstanceConfig& c) { c.input_width = 224; });
  EXPECT_EQ(device->sessions_made, 0);
}

}  // namespace
}  // namespace tome
