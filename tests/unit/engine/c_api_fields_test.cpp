// Each field that crosses the C table arrives, shown by what it does to a small random model.
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "expected_scores.h"

namespace tome::testing {
namespace {

struct CApiFields : ApiTest {
  ModelPtr tiny_model(int32_t clip_length = 0) {
    TomeModelConfig config = model_config(tiny());
    config.clip_length = clip_length;
    ModelPtr model = open(config);
    EXPECT_NE(model, nullptr) << error.message;
    return model;
  }
  static TomeModelInfo info_of(const ModelPtr& model) {
    TomeModelInfo info{};
    api().model_info(model.get(), &info);
    return info;
  }
};

TEST_F(CApiFields, Smoothing) {
  const ModelPtr model = tiny_model();
  TomeStreamConfig config = stream_config();
  config.smoothing = 0.75;
  const StreamPtr to = stream(model, config);
  Picture a(32, 32, 1), b(32, 32, 2);
  const TicketPtr first = submit(to, a.frame());
  const TicketPtr second = submit(to, b.frame());
  expect_scores(wait(first).at(0), expected_scores({&a}, 0));
  std::vector<float> scores = class_scores({media_frame(a)});
  const std::vector<float> of_b = class_scores({media_frame(b)});
  ASSERT_GT(largest_difference(scores, of_b), 1e-3);
  for (size_t i = 0; i < scores.size(); ++i) scores[i] = 0.75F * scores[i] + 0.25F * of_b[i];
  expect_scores(wait(second).at(0), best_first(scores));
}

TEST_F(CApiFields, FrameStrideAndTimesOfAClip) {
  const ModelPtr model = tiny_model(2);
  TomeStreamConfig config = stream_config();
  config.frame_stride = 2;
  const StreamPtr to = stream(model, config);
  Picture pictures[] = {{32, 32, 1}, {32, 32, 2}, {32, 32, 3}};
  const auto submit_at = [&](int index, int64_t pts) {
    TomeFrame frame = pictures[index].frame();
    frame.pts = pts;
    return submit(to, frame);
  };
  wait(submit_at(0, 10), TOME_TICKET_NONE);
  wait(submit_at(1, 20), TOME_TICKET_NONE);
  const TicketPtr ticket = submit_at(2, 30);
  const auto results = wait(ticket);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].clip_start_pts, 10);
  EXPECT_EQ(results[0].clip_end_pts, 30);
  expect_scores(results[0], expected_scores({&pictures[0], &pictures[2]}, 0));
}

TEST_F(CApiFields, ClipStride) {
  const ModelPtr model = tiny_model(2);
  TomeStreamConfig config = stream_config();
  config.clip_stride = 1;
  const StreamPtr to = stream(model, config);
  Picture a(32, 32, 1), b(32, 32, 2), c(32, 32, 3);
  wait(submit(to, a.frame()), TOME_TICKET_NONE);
  const TicketPtr first = submit(to, b.frame());
  const TicketPtr second = submit(to, c.frame());
  expect_scores(wait(first).at(0), expected_scores({&a, &b}, 0));
  expect_scores(wait(second).at(0), expected_scores({&b, &c}, 0));
}

TEST_F(CApiFields, ProportionalAttention) {
  const ModelPtr model = tiny_model();
  TomeStreamConfig config = stream_config();
  config.schedule = "3";
  config.prop_attn = TOME_PROP_ATTN_OFF;
  const StreamPtr to = stream(model, config);
  Picture picture(32, 32);
  ForwardOptions options;
  options.r.assign(3, 3);
  const std::vector<float> automatic = class_scores({media_frame(picture)}, options);
  options.prop_attn = PropAttn::kOff;
  const std::vector<float> off = class_scores({media_frame(picture)}, options);
  ASSERT_GT(largest_difference(automatic, off), 1e-3);
  const TicketPtr ticket = submit(to, picture.frame());
  expect_scores(wait(ticket).at(0), best_first(off));
}

/// Noise in I420, whose chroma is as wide and high as half the picture.
struct Yuv {
  Picture noise{32, 16};  // of three bytes: as many as there are samples
  TomeFrame frame() {
    TomeFrame made = noise.frame();
    made.format = TOME_FORMAT_I420;
    made.height = 32;
    for (int i = 0; i < 3; ++i) {
      made.plane[i] = noise.pixels.data() + kAt[i];
      made.stride[i] = i == 0 ? 32 : 16;
      made.plane_size[i] = i == 0 ? 1024 : 256;
    }
    return made;
  }
  Frame media() {
    const TomeFrame here = frame();
    Frame made;
    made.format = PixelFormat::kI420;
    made.width = made.height = 32;
    for (size_t i = 0; i < 3; ++i) {
      made.planes[i] = {here.plane[i], here.stride[i], here.plane_size[i]};
    }
    return made;
  }
  static constexpr size_t kAt[] = {0, 1024, 1280};
};

TEST_F(CApiFields, MatrixAndRangeOfAFrame) {
  struct Colours {
    TomeColorMatrix matrix;
    TomeColorRange range;
    ColorMatrix media_matrix;
    ColorRange media_range;
  };
  const Colours all[] = {
      {TOME_MATRIX_BT601, TOME_RANGE_LIMITED, ColorMatrix::kBt601, ColorRange::kLimited},
      {TOME_MATRIX_BT601, TOME_RANGE_FULL, ColorMatrix::kBt601, ColorRange::kFull},
      {TOME_MATRIX_BT709, TOME_RANGE_LIMITED, ColorMatrix::kBt709, ColorRange::kLimited},
      {TOME_MATRIX_BT709, TOME_RANGE_FULL, ColorMatrix::kBt709, ColorRange::kFull},
      {TOME_MATRIX_BT2020, TOME_RANGE_LIMITED, ColorMatrix::kBt2020, ColorRange::kLimited},
      {TOME_MATRIX_BT2020, TOME_RANGE_FULL, ColorMatrix::kBt2020, ColorRange::kFull},
  };
  const ModelPtr model = tiny_model();
  const StreamPtr to = stream(model, stream_config());
  Yuv yuv;
  std::vector<std::vector<float>> known;
  for (const Colours& colours : all) {
    TomeFrame frame = yuv.frame();
    frame.matrix = colours.matrix;
    frame.range = colours.range;
    Frame media = yuv.media();
    media.matrix = colours.media_matrix;
    media.range = colours.media_range;
    const std::vector<float> scores = class_scores({media});
    for (const auto& other : known) EXPECT_GT(largest_difference(scores, other), 1e-4);
    known.push_back(scores);
    const TicketPtr ticket = submit(to, frame);
    expect_scores(wait(ticket).at(0), best_first(scores));
  }
}

TEST_F(CApiFields, NoInference) {
  const ModelPtr model = tiny_model();
  const StreamPtr to = stream(model, stream_config());
  Picture picture(32, 32);
  TomeFrame frame = picture.frame();
  frame.no_inference = 1;
  wait(submit(to, frame), TOME_TICKET_SKIPPED);
  wait(submit(to, picture.frame()));
}

TEST_F(CApiFields, Discontinuity) {
  const ModelPtr model = tiny_model(3);
  const StreamPtr to = stream(model, stream_config());
  Picture a(32, 32, 1), b(32, 32, 2), c(32, 32, 3), d(32, 32, 4), e(32, 32, 5);
  wait(submit(to, a.frame()), TOME_TICKET_NONE);
  wait(submit(to, b.frame()), TOME_TICKET_NONE);
  TomeFrame jump = c.frame();
  jump.discont = 1;
  wait(submit(to, jump), TOME_TICKET_NONE);
  wait(submit(to, d.frame()), TOME_TICKET_NONE);
  const TicketPtr ticket = submit(to, e.frame());
  expect_scores(wait(ticket).at(0), expected_scores({&c, &d, &e}, 0));
}

/// A stream that asks for nothing has the schedule and the activation of the model's folder.
TEST_F(CApiFields, WhatTheFolderSays) {
  Checkpoint several = tiny_checkpoint();
  several.activation = ScoreActivation::kSigmoid;
  several.default_schedule = "2";
  save_checkpoint(several, folder.path());
  const ModelPtr model = open(model_config(folder.path().c_str()));
  ASSERT_NE(model, nullptr) << error.message;
  EXPECT_STREQ(info_of(model).default_schedule, "2");
  const StreamPtr to = stream(model, stream_config());
  Picture picture(32, 32);
  const TicketPtr ticket = submit(to, picture.frame());
  const auto results = wait(ticket);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].tokens_out, 11U);
  ForwardOptions options;
  options.r.assign(3, 2);
  expect_scores(results[0], best_first(class_scores({media_frame(picture)}, options, several)));
}

TEST_F(CApiFields, LabelsFilesOfModelsThatAreOpenAtOnce) {
  TomeModelConfig config = model_config(tiny());
  const std::string paths[] = {folder.path() / "front.txt", folder.path() / "back.txt"};
  std::ofstream(paths[0]) << "f0\nf1\nf2\nf3\nf4\n";
  std::ofstream(paths[1]) << "b0\nb1\nb2\nb3\nb4\n";
  const ModelPtr own = open(config);
  config.labels_file = paths[0].c_str();
  const ModelPtr front = open(config);
  config.labels_file = paths[1].c_str();
  const ModelPtr back = open(config);
  Picture picture(32, 32);
  const auto best_label = [&](const ModelPtr& model) {
    const StreamPtr to = stream(model, stream_config());
    const TicketPtr ticket = submit(to, picture.frame());
    return std::string(wait(ticket).at(0).scores[0].label);
  };
  const auto best = static_cast<size_t>(expected_scores({&picture}, 0)[0].id);
  EXPECT_EQ(best_label(own), tiny_checkpoint().labels[best]);
  EXPECT_EQ(best_label(front), "f" + std::to_string(best));
  EXPECT_EQ(best_label(back), "b" + std::to_string(best));
}

TEST_F(CApiFields, ClipLengthsOfModelsThatAreOpenAtOnce) {
  const ModelPtr one = tiny_model(), two = tiny_model(2), three = tiny_model(3);
  EXPECT_EQ(info_of(one).clip_length, 1U);
  EXPECT_EQ(info_of(two).clip_length, 2U);
  EXPECT_EQ(info_of(three).clip_length, 3U);
}

TEST_F(CApiFields, InputSize) {
  TomeModelConfig config = model_config(tiny());
  const ModelPtr own = open(config);
  config.input_width = 64;
  config.input_height = 32;
  const ModelPtr wide = open(config);
  ASSERT_NE(wide, nullptr) << error.message;
  EXPECT_EQ(info_of(own).width, 32U);
  EXPECT_EQ(info_of(wide).width, 64U);
  EXPECT_EQ(info_of(wide).height, 32U);
  EXPECT_EQ(info_of(wide).tokens, 33U);
  LoadOptions options;
  options.image_width = 64;
  options.image_height = 32;
  Picture picture(80, 40);
  const StreamPtr to = stream(wide, stream_config());
  const TicketPtr ticket = submit(to, picture.frame());
  expect_scores(wait(ticket).at(0),
                best_first(class_scores({media_frame(picture)}, {},
                                        load_checkpoint(folder.path(), options))));
}

}  // namespace
}  // namespace tome::testing
