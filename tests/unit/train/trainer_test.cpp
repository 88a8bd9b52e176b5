// The training loop: schedules, resuming after a kill, learning at all.
#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "tome_error.h"
#include "train/parameters.h"
#include "trainer_fixtures.h"

namespace tome::train {
namespace {

TEST(LearningRate, WarmsUpThenFollowsACosine) {
  TrainOptions options;
  options.learning_rate = 2;
  options.warmup_steps = 10;
  options.steps = 110;
  options.final_share = 0.1;
  EXPECT_DOUBLE_EQ(learning_rate_at(0, options), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate_at(9, options), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(10, options), 2);
  EXPECT_NEAR(learning_rate_at(60, options), 2 * 0.55, 1e-12);
  EXPECT_NEAR(learning_rate_at(110, options), 0.2, 1e-12);
}

TEST(Trainer, WorkersGiveTheSameGradientsAsOne) {
  at::set_num_threads(1);
  const auto source = tiny_source();
  TrainOptions options = tiny_options();
  options.steps = 2;
  options.drop_path = 0;
  options.motion_loss = 0;  // its mean is over what each worker sees
  const auto run = [&](int workers) {
    options.workers = workers;
    const fs::path folder = fresh_folder("workers" + std::to_string(workers));
    Trainer trainer(tiny_checkpoint(), options, folder);
    trainer.run(*source, nullptr, 0);
    return std::pair(trainer.result(), folder);
  };
  const int64_t size = source->batch(0).labels.size(0);
  ASSERT_NE(size % 5, 0) << "parts of unequal size, or a wrong share would not show";
  auto [one, one_folder] = run(1);
  for (const int workers : {2, 5}) {
    auto [many, folder] = run(workers);
    const auto from = list_parameters(many.weights);
    const auto to = list_parameters(one.weights);
    for (size_t i = 0; i < from.size(); ++i) {
      EXPECT_TRUE(at::allclose(from[i].tensor, to[i].tensor, 1e-3, 1e-5)) << from[i].name;
    }
    // The weights alone would not tell: the length of Adam's first steps is not the gradient's.
    for (const char* key : {"gradient_norm", "loss"}) {
      const std::vector<double> wanted = logged(one_folder, key), found = logged(folder, key);
      ASSERT_EQ(found.size(), 2U);
      for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(found[i] / wanted[i], 1, 1e-3) << key;
    }
  }
}

TEST(Trainer, WorkersDropTheSamePathsWhateverTheirOrder) {
  at::set_num_threads(1);
  const auto source = tiny_source();
  TrainOptions options = tiny_options();
  options.steps = 4;
  options.workers = 3;
  options.drop_path = 0.5;
  Trainer first(tiny_checkpoint(), options, fresh_folder("dropped"));
  first.run(*source, nullptr, 0);
  for (int i = 0; i < 3; ++i) {
    Trainer again(tiny_checkpoint(), options, fresh_folder("dropped_again"));
    at::manual_seed(static_cast<uint64_t>(i));  // nothing takes from the global generator
    again.run(*source, nullptr, 0);
    expect_equal_weights(first.result(), again.result());
  }
}

TEST(Trainer, WorkersLeaveTheNumberOfThreadsAsItWas) {
  at::set_num_threads(2);
  TrainOptions options = tiny_options();
  options.steps = 1;
  options.workers = 2;
  Trainer(tiny_checkpoint(), options, fresh_folder("threads")).run(*tiny_source(), nullptr, 0);
  EXPECT_EQ(at::get_num_threads(), 2);
  at::set_num_threads(1);
}

TEST(BatchLoader, AThreadThatCannotBeStartedIsAnErrorAndNoDeadlock) {
  // Room for the stack of one thread and not for that of another.
  constexpr size_t kStack = size_t{4} << 30U;
  pthread_attr_t usual;
  ASSERT_EQ(pthread_getattr_default_np(&usual), 0);
  pthread_attr_t large = usual;
  ASSERT_EQ(pthread_attr_setstacksize(&large, kStack), 0);
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  rlimit tight = before;
  tight.rlim_cur = pages * static_cast<size_t>(sysconf(_SC_PAGESIZE)) + kStack * 3 / 2;
  const auto source = tiny_source();
  ASSERT_EQ(pthread_setattr_default_np(&large), 0);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
  EXPECT_THROW(BatchLoader(*source, 0, 100, 2), Error);
  setrlimit(RLIMIT_AS, &before);
  pthread_setattr_default_np(&usual);
}

/// One clip of each of two classes that a linear model can tell apart.
class TwoClasses : public BatchSource {
 public:
  Batch batch(int64_t index) const override {
    Batch out;
    at::Tensor noise = at::empty({8, 4, 4, 3 * 64});
    Random random(Random::mix(77, static_cast<uint64_t>(index)));
    float* values = noise.data_ptr<float>();
    for (int64_t i = 0; i < noise.numel(); ++i) values[i] = static_cast<float>(random.normal());
    out.labels = at::arange(8, at::kLong).remainder(2);
    out.patches = noise * 0.2 + (out.labels.to(at::kFloat) * 2 - 1).view({8, 1, 1, 1});
    return out;
  }
  std::vector<std::string> labels() const override { return {"dark", "bright"}; }
};

Checkpoint two_class_checkpoint() {
  Checkpoint checkpoint = tiny_checkpoint();
  checkpoint.config.classes = 2;
  checkpoint.weights = make_weights(checkpoint.config, 2);
  return checkpoint;
}

TrainOptions two_class_options() {
  TrainOptions options = tiny_options();
  options.steps = 30;
  options.motion_loss = 0;
  options.learning_rate = 3e-3;
  options.optimizer.ema = 0.9;
  options.save_every = 1000;
  return options;
}

void expect_learning(TrainOptions options) {
  at::set_num_threads(1);
  const TwoClasses source;
  Trainer trainer(two_class_checkpoint(), std::move(options), fresh_folder("learns"));
  trainer.run(source, nullptr, 0);
  const Checkpoint result = trainer.result();
  const VisionTransformer model(result.config, result.weights);
  ForwardOptions forward;
  forward.r = resolve_r("2", result.config);
  const EvalResult eval = evaluate(model, source, 4, forward);
  EXPECT_EQ(eval.r, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(eval.top1, 1.0);
  EXPECT_EQ(eval.confusion[0][0], 16);
}

TEST(Trainer, LearnsWithMergingOn) { expect_learning(two_class_options()); }

TEST(Trainer, LearnsWithMergingOnInMixedPrecision) {
  TrainOptions options = two_class_options();
  options.bf16 = true;
  expect_learning(options);
}

TEST(Trainer, LearnsFromMixedSamplesWithDecayingRates) {
  TrainOptions options = two_class_options();
  options.mixup = 0.4;
  options.layer_decay = 0.9;
  expect_learning(options);
}

TEST(Trainer, MixingNextToNothingEnds) {
  at::set_num_threads(1);
  TrainOptions options = two_class_options();
  options.steps = 2;
  options.mixup = 1e-9;  // shares of zero and one
  Trainer trainer(two_class_checkpoint(), options, fresh_folder("unmixed"));
  EXPECT_EQ(trainer.run(TwoClasses(), nullptr, 0), 2);
}

/// Some batches, by number, have a pixel that is no number.
class BrokenBatches : public TwoClasses {
 public:
  explicit BrokenBatches(std::function<bool(int64_t)> broken) : broken_(std::move(broken)) {}
  Batch batch(int64_t index) const override {
    Batch out = TwoClasses::batch(index);
    if (broken_(index)) out.patches[0][0][0][0] = std::nan("");
    return out;
  }

 private:
  std::function<bool(int64_t)> broken_;
};

TEST(Trainer, StepsThatAreSkippedAreCounted) {
  at::set_num_threads(1);
  TrainOptions options = two_class_options();
  options.steps = 12;
  options.log_every = 4;
  options.save_every = 4;
  const BrokenBatches source([](int64_t index) { return index == 1 || index == 6 || index == 7; });
  const fs::path folder = fresh_folder("skipped");
  options.stop_after = 6;
  Trainer first(two_class_checkpoint(), options, folder);
  EXPECT_EQ(first.run(source, nullptr, 0), 6);
  EXPECT_EQ(first.skipped_steps(), 1);
  options.stop_after = 0;
  Trainer second(two_class_checkpoint(), options, folder);  // from step 4 on
  EXPECT_EQ(second.run(source, nullptr, 0), 12);
  EXPECT_EQ(second.skipped_steps(), 3);
  std::vector<int64_t> skipped;
  std::ifstream log(folder / "log.jsonl");
  for (std::string line; std::getline(log, line);) {
    EXPECT_EQ(line.find("null"), std::string::npos) << line;
    skipped.push_back(std::stoll(line.substr(line.find("\"skipped_steps\":") + 16)));
  }
  EXPECT_EQ(skipped, (std::vector<int64_t>{1, 3, 3}));
  Checkpoint result = second.result();
  for (const Parameter& parameter : list_parameters(result.weights)) {
    EXPECT_TRUE(at::isfinite(parameter.tensor).all().item<bool>()) << parameter.name;
  }
}

TEST(Trainer, ATrainingThatDivergedEndsWithAnErrorThatNamesTheLearningRate) {
  at::set_num_threads(1);
  TrainOptions options = two_class_options();
  options.steps = 200;
  const auto error_with = [&](std::function<bool(int64_t)> broken) -> std::string {
    try {
      Trainer trainer(two_class_checkpoint(), options, fresh_folder("diverged"));
      trainer.run(BrokenBatches(std::move(broken)), nullptr, 0);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const std::string text = error_with([](int64_t index) { return index >= 3; });
  EXPECT_NE(text.find("the last 50 steps, up to step 53"), std::string::npos) << text;
  EXPECT_NE(text.find("learning rate is too high, expected less than --lr 0.003"),
            std::string::npos)
      << text;
  EXPECT_EQ(error_with([](int64_t index) { return index % 50 != 49; }), "no error");
}

TEST(Trainer, MixedSamplesHaveAHigherLossThanPureOnes) {
  // A model that has learned says one class; a mixture of both is half wrong at best.
  at::set_num_threads(1);
  const TwoClasses source;
  const auto last_loss = [&](double mixup) {
    TrainOptions options = two_class_options();
    options.label_smoothing = 0;
    options.mixup = mixup;
    const fs::path folder = fresh_folder(mixup > 0 ? "mixtures" : "pure");
    Trainer(two_class_checkpoint(), options, folder).run(source, nullptr, 0);
    std::ifstream log(folder / "log.jsonl");
    double sum = 0;
    int count = 0;
    for (std::string line; std::getline(log, line); ++count) {
      if (count >= 20) sum += std::stod(line.substr(line.find("\"loss\":") + 7));
    }
    return sum / (count - 20);
  };
  EXPECT_GT(last_loss(1), last_loss(0) + 0.1);
}

TEST(LayerDecay, TheHeadTakesTheWholeRateAndTheEmbeddingTheLeast) {
  ViTConfig config = tiny_config();
  config.class_token = true;
  ViTWeights weights = make_weights(config, 1);
  std::vector<Parameter> parameters = list_parameters(weights);
  decay_rates_by_layer(parameters, config.depth, 0.5);
  std::map<std::string, double> rates;
  for (const Parameter& parameter : parameters) rates[parameter.name] = parameter.rate;
  EXPECT_EQ(rates.at("head.weight"), 1);
  EXPECT_EQ(rates.at("fc_norm.bias"), 1);
  EXPECT_EQ(rates.at("blocks.1.qkv.weight"), 0.5);
  EXPECT_EQ(rates.at("blocks.0.norm1.weight"), 0.25);
  for (const char* first : {"patch_embed.weight", "patch_embed.bias", "prefix", "pos_embed"}) {
    EXPECT_EQ(rates.at(first), 0.125) << first;
  }
}

TEST(LayerDecay, AStepIsAsLongAsItsShareOfTheRate) {
  // AdamW's first step has the length of the learning rate, whatever the gradient.
  std::vector<Parameter> parameters;
  for (const double rate : {1.0, 0.25}) {
    Parameter parameter{"p" + std::to_string(parameters.size()), at::zeros({2}), false, rate};
    parameter.tensor.requires_grad_(true);
    parameters.push_back(parameter);
  }
  Optimizer optimizer(parameters, {});
  for (Parameter& parameter : parameters) parameter.tensor.mutable_grad() = at::full({2}, 3.0);
  optimizer.step(0.1);
  EXPECT_NEAR(parameters[0].tensor[0].item<double>(), -0.1, 1e-6);
  EXPECT_NEAR(parameters[1].tensor[0].item<double>(), -0.025, 1e-6);
}

}  // namespace
}  // namespace tome::train
