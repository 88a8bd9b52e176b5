// What a training leaves in its folder, and how it goes on from there.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <string>

#include "checkpoint/safetensors.h"
#include "tome_error.h"
#include "trainer_fixtures.h"

namespace tome::train {
namespace {

TEST(Trainer, ARunThatWasKilledEndsAsOneThatWasNot) {
  at::set_num_threads(1);
  const auto source = tiny_source();
  Trainer whole(tiny_checkpoint(), tiny_options(), fresh_folder("whole"));
  EXPECT_EQ(whole.run(*source, nullptr, 0), 6);

  const fs::path folder = fresh_folder("killed");
  TrainOptions killed = tiny_options();
  killed.stop_after = 5;  // one step after the last state was saved
  {
    Trainer first(tiny_checkpoint(), killed, folder);
    EXPECT_EQ(first.run(*source, nullptr, 0), 5);
  }
  Trainer second(tiny_checkpoint(), tiny_options(), folder);
  EXPECT_EQ(second.run(*source, nullptr, 0), 6);

  expect_equal_weights(whole.result(), second.result());
  // The log of the killed run has each step once.
  std::ifstream log(folder / "log.jsonl");
  int lines = 0;
  for (std::string line; std::getline(log, line);) ++lines;
  EXPECT_EQ(lines, 6);
}

TEST(Trainer, ASignalToStopSavesTheStateAndTheRunGoesOn) {
  at::set_num_threads(1);
  const auto source = tiny_source();
  Trainer whole(tiny_checkpoint(), tiny_options(), fresh_folder("unstopped"));
  whole.run(*source, nullptr, 0);

  const fs::path folder = fresh_folder("stopped");
  TrainOptions stopped = tiny_options();  // saves every second step
  int asked = 0;
  stopped.should_stop = [&] { return ++asked == 3; };
  EXPECT_EQ(Trainer(tiny_checkpoint(), stopped, folder).run(*source, nullptr, 0), 3);
  int64_t begun = -1;
  TrainOptions second = tiny_options();
  second.on_start = [&] { begun = static_cast<int64_t>(logged(folder, "step").back()); };
  Trainer rest(tiny_checkpoint(), second, folder);
  rest.run(*source, nullptr, 0);
  EXPECT_EQ(begun, 3) << "the third step is not done again";
  expect_equal_weights(whole.result(), rest.result());
}

std::string resume_error(const TrainOptions& options, const fs::path& folder) {
  static const std::unique_ptr<GeneratorSource> source = tiny_source();
  try {
    Trainer(tiny_checkpoint(), options, folder).run(*source, nullptr, 0);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Trainer, AnotherSettingIsNamedAndAnotherNumberOfStepsIsNone) {
  at::set_num_threads(1);
  const fs::path folder = fresh_folder("settings");
  TrainOptions options = tiny_options();
  options.steps = 2;
  options.learning_rate = 1e-8;
  ASSERT_EQ(resume_error(options, folder), "no error");
  TrainOptions changed = options;
  changed.learning_rate = 2e-8;  // the same in six decimals
  EXPECT_NE(resume_error(changed, folder).find("lr: found '1e-08', this run has '2e-08'"),
            std::string::npos)
      << resume_error(changed, folder);
  changed = options;
  changed.drop_path = 0.25;
  changed.optimizer.ema = 0.5;
  const std::string both = resume_error(changed, folder);
  EXPECT_NE(both.find("drop-path: found '0.1', this run has '0.25'"), std::string::npos) << both;
  EXPECT_NE(both.find("ema"), std::string::npos) << both;
  changed = options;
  changed.init_hash = "other weights";
  const std::string weights = resume_error(changed, folder);
  EXPECT_NE(weights.find("init-hash: found '', this run has 'other weights'"), std::string::npos)
      << weights;
  changed = options;
  changed.init_config_hash = "other look";
  const std::string look = resume_error(changed, folder);
  EXPECT_NE(look.find("init-config-hash: found '', this run has 'other look'"), std::string::npos)
      << look;
  changed = options;
  changed.steps = 3;
  changed.loader_threads = 2;
  EXPECT_EQ(resume_error(changed, folder), "no error");
}

TEST(Trainer, AStateSaysPartitionsByTheirNames) {
  at::set_num_threads(1);
  const fs::path folder = fresh_folder("names");
  TrainOptions options = tiny_options();
  options.steps = 1;
  options.mixed_partitions = false;
  options.partition = Partition::kCheckerboard;
  ASSERT_EQ(resume_error(options, folder), "no error");
  const fs::path path = folder / "state.safetensors";
  EXPECT_EQ(SafetensorsFile::open(path).metadata().at("run.partition"), "checkerboard");
  TrainOptions changed = options;
  changed.partition = Partition::kByFrame;
  const std::string text = resume_error(changed, folder);
  EXPECT_NE(text.find("partition: found 'checkerboard', this run has 'by-frame'"),
            std::string::npos)
      << text;
}

struct SavedState {
  std::map<std::string, at::Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

SavedState read_state(const fs::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  SavedState out{{}, file.metadata()};
  for (const std::string& name : file.names()) out.tensors[name] = file.tensor(name).clone();
  return out;
}

TEST(Trainer, AStateThatDoesNotSayItsStepIsAnErrorThatNamesIt) {
  at::set_num_threads(1);
  const fs::path folder = fresh_folder("stepless");
  TrainOptions options = tiny_options();
  options.steps = 1;
  ASSERT_EQ(resume_error(options, folder), "no error");
  const fs::path path = folder / "state.safetensors";
  auto [tensors, metadata] = read_state(path);
  for (const char* step : {"", "seven", "-1"}) {
    metadata["step"] = step;
    write_safetensors(path, tensors, metadata);
    const std::string text = resume_error(options, folder);
    EXPECT_NE(text.find("state.safetensors': found the step '" + std::string(step)),
              std::string::npos)
        << text;
  }
  metadata.erase("step");
  write_safetensors(path, tensors, metadata);
  EXPECT_NE(resume_error(options, folder).find("found the step ''"), std::string::npos);
  write_safetensors(path, tensors, {{"step", "1"}});
  EXPECT_NE(resume_error(options, folder).find("it names none"), std::string::npos);
}

TEST(Trainer, AStateWithNumbersThatNoTrainingLeavesIsAnErrorThatNamesThem) {
  at::set_num_threads(1);
  const fs::path folder = fresh_folder("damaged");
  TrainOptions options = tiny_options();
  options.steps = 3;
  ASSERT_EQ(resume_error(options, folder), "no error");
  const fs::path path = folder / "state.safetensors";
  const SavedState good = read_state(path);
  ASSERT_EQ(good.tensors.at("steps").item<int64_t>(), 3);
  const auto error_with = [&](const std::string& name, const at::Tensor& tensor) {
    std::map<std::string, at::Tensor> tensors = good.tensors;
    tensors.at(name) = tensor;
    write_safetensors(path, tensors, good.metadata);
    fs::remove(folder / "log.jsonl");
    const std::string text = resume_error(options, folder);
    EXPECT_FALSE(fs::exists(folder / "log.jsonl")) << name << ": nothing is written before";
    EXPECT_NE(text.find("state.safetensors': tensor '" + name + "' holds "), std::string::npos)
        << name << ": " << text;
    return text;
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::string layer = "blocks.0.fc1.weight";
  for (const std::string part : {"weight/", "moment/", "square/", "average/"}) {
    for (const double number : {kNan, kInfinity, -kInfinity}) {
      at::Tensor tensor = good.tensors.at(part + layer).clone();
      tensor.view({-1})[-1] = number;  // one is enough
      error_with(part + layer, tensor);
    }
  }
  const at::Tensor wide = good.tensors.at("weight/" + layer).to(at::kDouble).fill_(1e300);
  error_with("weight/" + layer, wide);  // infinite as float32
  error_with("square/" + layer, -good.tensors.at("square/" + layer) - 1);
  for (const double count : {-1.0, 4.0, kNan}) error_with("count/" + layer, at::full({1}, count));
  for (const int64_t steps : {int64_t{-1}, int64_t{4}, -(int64_t{1} << 62)}) {
    const std::string text = error_with("steps", at::full({1}, steps, at::kLong));
    EXPECT_NE(text.find(std::to_string(steps) + ", expected 0 to 3"), std::string::npos) << text;
  }
  write_safetensors(path, good.tensors, good.metadata);
  EXPECT_EQ(resume_error(options, folder), "no error");
}

/// Files of this process end at `size` bytes, as on a full disk, while it lives.
class FullDisk {
 public:
  explicit FullDisk(rlim_t size) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{size, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

TEST(TrainLog, ALineThatCannotBeWrittenIsAnError) {
  const fs::path folder = fresh_folder("full_disk");
  fs::create_directories(folder);
  TrainLog log(folder / "log.jsonl", 100, 0, false);
  log.add(1, {}, true);
  const FullDisk full(fs::file_size(folder / "log.jsonl") + 10);
  log.add(2, {}, false);
  for (const bool evaluates : {false, true}) {
    try {
      if (evaluates) {
        log.evaluation(3, 0.5, 0.5);
      } else {
        log.add(3, {}, true);
      }
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("log.jsonl"), std::string::npos) << error.what();
    }
  }
}

TEST(TrainLog, LinesThatNoTrainingWroteAreTakenOut) {
  const fs::path folder = fresh_folder("other_lines");
  fs::create_directories(folder);
  const std::string own = R"({"loss":0.5,"step":2})";
  std::ofstream(folder / "log.jsonl") << R"({"step":"2"})" << '\n'
                                      << R"({"step":null})" << '\n'
                                      << own << '\n'
                                      << R"({"step":true})" << '\n'
                                      << R"({"step":1e300})" << '\n'
                                      << "[2]\n2\n\n{\n";
  const TrainLog log(folder / "log.jsonl", 100, 2, false);
  std::ifstream left(folder / "log.jsonl");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(left), {}), own + "\n");
}

TEST(SaveCheckpoint, WhatCannotBeWrittenLeavesNothingBehind) {
  const fs::path folder = fresh_folder("unwritable");
  Checkpoint checkpoint = tiny_checkpoint();
  checkpoint.labels[3] = "\xfc";
  EXPECT_ANY_THROW(save_checkpoint(checkpoint, folder));
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  fs::create_directories(folder / "config.json" / "full");  // no file can take its place
  EXPECT_THROW(save_checkpoint(tiny_checkpoint(), folder), Error);
  for (const auto& entry : fs::directory_iterator(folder)) {
    EXPECT_EQ(entry.path().string().find(".part"), std::string::npos) << entry.path();
  }
}

TEST(Trainer, StateOfAnotherModelIsAnError) {
  const auto source = tiny_source();
  const fs::path folder = fresh_folder("other");
  TrainOptions options = tiny_options();
  options.steps = 2;
  Trainer(tiny_checkpoint(), options, folder).run(*source, nullptr, 0);
  Checkpoint wider = tiny_checkpoint();
  wider.config.dim = 48;
  wider.weights = make_weights(wider.config, 1);
  try {
    Trainer(wider, options, folder).run(*source, nullptr, 0);
    FAIL() << "resumed the state of another model";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("state.safetensors"), std::string::npos);
  }
}

}  // namespace
}  // namespace tome::train
