#include "engine/cuda_session.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "cuda/element_type.h"
#include "engine/batcher.h"
#include "engine/log.h"
#include "tome_error.h"
#include "vit/first_tokens.h"

namespace tome {
namespace {

const DevicePatches& on_device(const PatchesPtr& patches) {
  return static_cast<const DevicePatches&>(*patches);  // a session sees its own alone
}

template <class Memory>
void grow(Memory& memory, size_t bytes, const char* what, bool& moved) {
  if (memory.bytes() >= bytes) return;
  moved = true;
  memory = Memory();  // first, so that both need not fit
  memory = Memory(bytes, what);
}

/// Lets go of frames when the stream has passed them, also where a forward fails.
class Release {
 public:
  Release(CudaPixels& pixels, cuda::Stream stream) : pixels_(pixels), stream_(stream) {}
  ~Release() {
    if (!pixels_.holds_pixels()) return;
    try {
      cuda::synchronise(stream_);  // for nothing, after a forward that came back
    } catch (const Error&) {       // a lost device reads no more
    }
    pixels_.release();
  }
  Release(const Release&) = delete;
  Release& operator=(const Release&) = delete;

 private:
  CudaPixels& pixels_;
  cuda::Stream stream_;
};

}  // namespace

CudaSession::CudaSession(CudaSessionSetup setup)
    : setup_(std::move(setup)),
      pool_(std::make_shared<BlockPool>()),
      pixels_(setup_.device, setup_.preprocess, setup_.config, setup_.type, pool_),
      one_pixels_(setup_.device, setup_.preprocess, setup_.config, setup_.type, pool_) {
  if (setup_.model) {
    ops_.emplace();
    stream_ = ops_->stream();
  } else {
    own_stream_.emplace();
    stream_ = own_stream_->get();
  }
}

CudaSession::~CudaSession() {
  finish_reading();
  try {
    const cuda::CurrentDevice device(setup_.device);
    cuda::synchronise(stream_);
  } catch (const Error&) {  // a lost device has nothing left to finish
  }
}

void CudaSession::preprocess(std::span<PreprocessJob> jobs) {
  const cuda::CurrentDevice device(setup_.device);
  pixels_.enqueue(jobs, stream_, true);
}

PatchesPtr CudaSession::preprocess_one(const Frame& frame) {
  const cuda::CurrentDevice device(setup_.device);
  const std::lock_guard lock(one_);
  const Release release(one_pixels_, one_stream_.get());
  PreprocessJob job{&frame, nullptr, nullptr};
  one_pixels_.enqueue({&job, 1}, one_stream_.get(), false);
  if (job.error) std::rethrow_exception(job.error);
  // The forward reads the patches on another stream, and the window may outlive the frame.
  cuda::synchronise(one_stream_.get());
  return job.patches;
}

void CudaSession::finish_reading() {
  try {
    const cuda::CurrentDevice device(setup_.device);
    const Release release(pixels_, stream_);
  } catch (const Error&) {  // a lost device reads no more
    pixels_.release();
  }
}

BatchOutput CudaSession::forward(const BatchInput& input) {
  const cuda::CurrentDevice device(setup_.device);
  const Release release(pixels_, stream_);
  const bool merges_static = input.static_threshold >= 0 && input.frames_per_request > 1;
  return setup_.model && !merges_static ? forward_fused(input) : forward_aten(input);
}

FusedShape CudaSession::shape_of(const BatchInput& input) const {
  const ViTConfig& config = setup_.config;
  FusedShape shape;
  shape.batch = input.batch;
  shape.joint_frames = FirstTokens(config, input.frames_per_request).joint_frames;
  shape.r = input.r;
  shape.proportional = is_proportional(input.prop_attn, config);
  shape.partition = input.partition.value_or(default_partition(input.frames_per_request));
  return shape;
}

CudaSession::Planned& CudaSession::plan(const FusedShape& shape) {
  auto found = plans_.find(shape);
  if (found == plans_.end()) {
    if (plans_.size() >= kMostShapes) {
      plans_.erase(std::min_element(plans_.begin(), plans_.end(), [](const auto& a, const auto& b) {
        return a.second.used < b.second.used;
      }));
    }
    Planned planned;
    planned.forward = std::make_unique<FusedForward>(setup_.model->weights, shape);
    found = plans_.emplace(shape, std::move(planned)).first;
  }
  found->second.used = ++forwards_;
  return found->second;
}

void CudaSession::make_room(const FusedForward& forward) {
  const auto batch = static_cast<size_t>(forward.shape().batch);
  const size_t row = static_cast<size_t>(forward.patch_rows() * forward.patch_columns());
  const size_t logits = batch * static_cast<size_t>(setup_.config.classes) * sizeof(float);
  bool moved = false;
  try {
    pool_->with_room([&] {
      grow(buffers_.workspace, forward.workspace_bytes(), "a forward's memory", moved);
      grow(buffers_.input, batch * row * cuda::element_bytes(setup_.type), "a forward's input",
           moved);
      grow(buffers_.logits, logits, "a forward's logits", moved);
      grow(buffers_.host_logits, logits, "a forward's logits", moved);
    });
  } catch (...) {
    drop_graphs();
    throw;
  }
  if (moved) drop_graphs();
}

void CudaSession::drop_graphs() {
  for (auto& [shape, planned] : plans_) {
    planned.graph = {};
    planned.fits = true;  // there may be more memory now
  }
}

/// Frames become rows of tubelets: frame f of a tubelet fills columns f * k .. of its rows.
void CudaSession::gather(const BatchInput& input, const FusedForward& forward) {
  const ViTConfig& config = setup_.config;
  const size_t cells = static_cast<size_t>(config.grid_rows() * config.grid_cols());
  const size_t frame_bytes = pixels_.frame_bytes();
  const size_t row_bytes = frame_bytes / cells;
  const auto tubelet = static_cast<size_t>(config.tubelet);
  auto* to = buffers_.input.as<unsigned char>();
  const auto at = [&](size_t i) { return on_device(input.frames[i]).data; };
  const auto follows = [&](const PatchesPtr& first, const PatchesPtr& then) {
    const DevicePatches &a = on_device(first), &b = on_device(then);
    return b.block == a.block && b.data == a.data + frame_bytes;
  };
  for (size_t i = 0; i < input.frames.size();) {
    size_t end = i + 1;  // frames that were pre-processed together lie together
    while (end < input.frames.size() && follows(input.frames[end - 1], input.frames[end])) ++end;
    if (tubelet == 1) {
      cuda::copy_on_device(to + i * frame_bytes, at(i), (end - i) * frame_bytes, stream_);
      i = end;
      continue;
    }
    const bool whole = i % tubelet == 0 && end - i >= tubelet;
    const size_t tubelets = whole ? (end - i) / tubelet : 1;
    for (size_t k = 0; k < (whole ? tubelet : 1); ++k) {
      const cuda::Slices from{const_cast<unsigned char*>(at(i + k)), row_bytes,
                              tubelet * frame_bytes};
      const size_t column = (i + k) % tubelet;
      unsigned char* start = to + (i + k - column) * frame_bytes + column * row_bytes;
      cuda::copy_rows_on_device({start, row_bytes * tubelet, tubelet * frame_bytes}, from,
                                row_bytes, cells, tubelets, stream_);
    }
    i += whole ? tubelets * tubelet : 1;
  }
}

/// Replays the forward's graph, captured first where it is due. The first replay may be what finds
/// no memory.
bool CudaSession::replays(Planned& planned, const std::function<void()>& enqueue) {
  const bool due = planned.seen && planned.fits && captures_;
  if (!planned.graph && !due) return false;
  try {
    if (!planned.graph) planned.graph = cuda::Graph(stream_, enqueue, ops_->counters());
    planned.graph.launch(stream_);
    return true;
  } catch (const Error& error) {
    planned.graph = {};
    if (error.kind() == ErrorKind::kOutOfMemory) {
      planned.fits = false;  // the launches themselves need no memory
    } else {
      captures_ = false;
    }
    log(LogLevel::kWarning, std::string("forwards run without CUDA graphs: ") + error.what());
    return false;
  }
}

void CudaSession::run(Planned& planned) {
  const auto enqueue = [&] {
    ops_->restart_counters();
    planned.forward->run(*ops_, buffers_.input.data(), buffers_.workspace.data(),
                         buffers_.logits.as<float>());
  };
  if (replays(planned, enqueue)) return;
  try {
    enqueue();
  } catch (...) {
    ops_->rejoin();
    throw;
  }
  planned.seen = true;
}

BatchOutput CudaSession::forward_fused(const BatchInput& input) {
  Planned& planned = plan(shape_of(input));
  make_room(*planned.forward);
  gather(input, *planned.forward);
  run(planned);
  BatchOutput output;
  output.classes = setup_.config.classes;
  output.logits.resize(static_cast<size_t>(input.batch * output.classes));
  const size_t bytes = output.logits.size() * sizeof(float);
  cuda::copy_to_host(buffers_.host_logits.data(), buffers_.logits.data(), bytes, stream_);
  cuda::synchronise(stream_);
  std::memcpy(output.logits.data(), buffers_.host_logits.data(), bytes);
  output.tokens_in = planned.forward->tokens_in();
  output.tokens_out.assign(static_cast<size_t>(input.batch), planned.forward->tokens_out());
  return output;
}

/// What cannot be measured keeps cuBLASLt's first guess.
void CudaSession::tune(const BatchInput& input) {
  const cuda::CurrentDevice device(setup_.device);
  Planned& planned = plan(shape_of(input));
  try {
    cuda::TuningOps tuning(*ops_);
    for (int pass = 0; pass < 2; ++pass) {  // Note [Which algorithm a product takes]
      planned.forward->run(tuning, buffers_.input.data(), buffers_.workspace.data(),
                           buffers_.logits.as<float>());
    }
  } catch (const Error& error) {
    tunes_ = error.kind() == ErrorKind::kOutOfMemory;  // a smaller batch may have the memory
    log(LogLevel::kWarning, std::string("products are not measured: ") + error.what());
  }
  planned.graph = {};  // of the algorithms before
}

void CudaSession::warm_up(const BatchInput& input) {
  forward(input);
  if (setup_.model && tunes_) tune(input);
  forward(input);
}

PatchesPtr CudaSession::to_host(const DevicePatches& patches) {
  const ViTConfig& config = setup_.config;
  const at::Tensor rows =
      at::empty({config.grid_rows() * config.grid_cols(), 3 * config.patch * config.patch},
                scalar_type(setup_.type));
  cuda::copy_to_host(rows.mutable_data_ptr(), patches.data, rows.nbytes(), stream_);
  cuda::synchronise(stream_);
  return std::make_shared<const Patches>(Patches{rows.to(at::kFloat)});
}

/// Note [LibTorch's way on the same device]
/// What the fused forward has not goes through VisionTransformer::forward, by way of the host: the
/// patches come back, rounded to the model's type. It is slower, and there for the results.
BatchOutput CudaSession::forward_aten(const BatchInput& input) {
  if (!aten_) {
    aten_ = std::make_unique<AtenSession>(setup_.aten(), setup_.preprocess);
    log(LogLevel::kInfo, std::string("forwards of ") + setup_.config.name + " on cuda:" +
                             std::to_string(setup_.device) + " go through LibTorch's operators: " +
                             (setup_.model ? "they merge static patches"
                                           : why_not_fused(setup_.config, setup_.type)));
  }
  BatchInput host = input;
  for (PatchesPtr& frame : host.frames) frame = to_host(on_device(frame));
  BatchOutput output = aten_->forward(host);
  // Of what LibTorch's CUDA half destroys at exit, much is made with its first forward.
  static const bool registered = (stop_batchers_at_exit(), true);
  static_cast<void>(registered);
  return output;
}

std::vector<OperationTime> CudaSession::time_operations(const BatchInput& input) {
  if (!setup_.model) {
    throw Error(ErrorKind::kSettings,
                "times of operations: " + setup_.config.name +
                    " has no fused forward here: " + why_not_fused(setup_.config, setup_.type));
  }
  const cuda::CurrentDevice device(setup_.device);
  const Planned& planned = plan(shape_of(input));
  make_room(*planned.forward);
  gather(input, *planned.forward);
  cuda::synchronise(stream_);
  cuda::CudaOps in_turn(cuda::CudaOps::Matching::kInTurn);
  const auto timed = [&] {
    cuda::TimedOps ops(in_turn);
    planned.forward->run(ops, buffers_.input.data(), buffers_.workspace.data(),
                         buffers_.logits.as<float>());
    return ops.times();
  };
  timed();  // warms up
  return timed();
}

size_t CudaSession::graphs() const {
  return static_cast<size_t>(std::count_if(plans_.begin(), plans_.end(), [](const auto& entry) {
    return static_cast<bool>(entry.second.graph);
  }));
}

bool built_with_cuda() { return true; }

std::string why_no_cuda_kernels(int device) {
  try {
    cuda::open_device(device);
    cuda::lt::functions();
    const cuda::CurrentDevice context(device);
    cuda::try_kernel();
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

int cuda_device_count() {
  try {
    return cuda::device_count();
  } catch (const Error&) {
    return 1;
  }
}

std::string cuda_device_name(int device) {
  try {
    return cuda::open_device(device).name;
  } catch (const Error&) {
    return {};
  }
}

std::shared_ptr<const CudaModel> upload_model(const ViTConfig& config, const ViTWeights& weights,
                                              cuda::ElementType type, int device) {
  const cuda::CurrentDevice current(device);
  auto model = std::make_shared<CudaModel>();
  model->device = device;
  model->weights =
      fuse_weights(config, weights, type, [&model](const at::Tensor& tensor) -> const void* {
        const at::Tensor whole = tensor.contiguous();
        cuda::DeviceMemory memory(whole.nbytes(), "weights");
        memory.upload(whole.const_data_ptr(), whole.nbytes());
        model->memory.push_back(std::move(memory));
        return model->memory.back().data();
      });
  return model;
}

std::unique_ptr<DeviceSession> open_cuda_session(CudaSessionSetup setup) {
  const cuda::CurrentDevice device(setup.device);
  return std::make_unique<CudaSession>(std::move(setup));
}

std::vector<OperationTime> time_operations(DeviceSession& session, const BatchInput& input) {
  if (auto* ours = dynamic_cast<CudaSession*>(&session)) return ours->time_operations(input);
  throw Error(ErrorKind::kSettings, "times of operations: expected a session of a CUDA device");
}

}  // namespace tome
