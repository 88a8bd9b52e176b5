#include "engine/cuda_pixels.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cuda/element_type.h"
#include "media/colour.h"
#include "media/preprocess_cuda.h"
#include "tome_error.h"

namespace tome {
namespace {

/// What a pool keeps for later. A clip's frame is a block of its own: 224 pixels in bf16 are 301
/// KB, and 50 windows of 16 frames fit.
constexpr size_t kKeptBytes = size_t{256} << 20;

}  // namespace

std::shared_ptr<const cuda::DeviceMemory> BlockPool::take(size_t bytes) {
  cuda::DeviceMemory memory;
  {
    const std::lock_guard lock(mutex_);
    // The smallest that is large enough; none for a clip's frame in place of a batch's.
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const bool fits = it->bytes() >= bytes && it->bytes() <= 4 * bytes;
      if (fits && (best == free_.end() || it->bytes() < best->bytes())) best = it;
    }
    if (best != free_.end()) {
      memory = std::move(*best);
      free_.erase(best);
      free_bytes_ -= memory.bytes();
    }
  }
  if (memory.data() == nullptr) {
    memory = with_room([&] { return cuda::DeviceMemory(bytes, "patches of frames"); });
  }
  auto owner = shared_from_this();
  auto* lent = std::make_unique<cuda::DeviceMemory>(std::move(memory)).release();
  return {lent, [owner](const cuda::DeviceMemory* back) {
            const std::unique_ptr<cuda::DeviceMemory> mine(const_cast<cuda::DeviceMemory*>(back));
            owner->give_back(std::move(*mine));
          }};
}

void BlockPool::give_back(cuda::DeviceMemory memory) {
  const std::vector<cuda::DeviceMemory> surplus = let_go(kKeptBytes);
  const std::lock_guard lock(mutex_);
  free_bytes_ += memory.bytes();
  free_.push_back(std::move(memory));
}

std::vector<cuda::DeviceMemory> BlockPool::let_go(size_t kept) {
  std::vector<cuda::DeviceMemory> surplus;
  const std::lock_guard lock(mutex_);
  auto end = free_.begin();
  for (; end != free_.end() && free_bytes_ > kept; ++end) {
    free_bytes_ -= end->bytes();
    surplus.push_back(std::move(*end));
  }
  free_.erase(free_.begin(), end);
  return surplus;
}

CudaPixels::CudaPixels(int device, const PreprocessSpec& spec, const ViTConfig& config,
                       cuda::ElementType type, std::shared_ptr<BlockPool> pool)
    : device_(device),
      spec_(spec),
      patch_(static_cast<int>(config.patch)),
      type_(type),
      frame_bytes_(static_cast<size_t>(config.grid_rows() * config.grid_cols() * 3 * config.patch *
                                       config.patch) *
                   cuda::element_bytes(type)),
      pool_(std::move(pool)),
      staging_(spec) {}

void CudaPixels::admit(PreprocessJob& job, cuda::Stream stream) {
  const Frame& frame = *job.frame;
  if (frame.memory == MemoryKind::kCuda && frame.device != device_) {
    throw Error(ErrorKind::kDevice, "frame lies in memory of cuda:" + std::to_string(frame.device) +
                                        ", expected cuda:" + std::to_string(device_) +
                                        ", where the model runs");
  }
  if (frame.memory == MemoryKind::kCuda) {
    if (frame.producer_stream != nullptr) {
      produced_.order(static_cast<cuda::Stream>(frame.producer_stream), stream);
    }
    held_.push_back(frame.keep_alive);
  }
  staging_.add(frame);  // last: a frame that fails must leave nothing among those that are read
}

void CudaPixels::allocate(size_t bytes) {
  pool_->with_room([&] {
    host_ = {};
    block_ = {};
    host_ = cuda::PinnedMemory(bytes, "frames");
    block_ = cuda::DeviceMemory(bytes, "frames");
  });
}

void CudaPixels::upload(cuda::Stream stream, bool parallel) {
  const size_t bytes = staging_.lay_out();
  if (host_.bytes() < bytes || block_.bytes() < bytes) {
    try {
      // A little more than asked, so that frames that grow do not allocate each time.
      allocate(bytes + bytes / 4);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kOutOfMemory) throw;
      allocate(bytes);
    }
  }
  staging_.fill(host_.data(), block_.as<unsigned char>(), parallel);
  cuda::copy_to_device(block_.data(), host_.data(), bytes, stream);
}

void CudaPixels::launch(const unsigned char* patches, cuda::Stream stream) const {
  const Normalisation normalisation = normalisation_of(spec_);
  cuda::PreprocessRequest q;
  q.jobs = block_.as<const cuda::FrameJob>();
  q.patches = const_cast<unsigned char*>(patches);
  q.type = type_;
  q.frames = static_cast<int>(staging_.frames());
  q.width = spec_.width;
  q.height = spec_.height;
  q.patch = patch_;
  q.mean = normalisation.mean;
  q.scale = normalisation.scale;
  q.fill = fill_of(spec_, normalisation);
  cuda::preprocess_frames(q, stream);
}

void CudaPixels::enqueue(std::span<PreprocessJob> jobs, cuda::Stream stream, bool parallel) {
  // What was copied last must have arrived before its staging memory is written again. It has, but
  // where a batch came to nothing.
  cuda::synchronise(stream);
  staging_.clear();
  for (PreprocessJob& job : jobs) {
    try {
      admit(job, stream);
    } catch (...) {
      job.error = std::current_exception();
    }
  }
  if (staging_.frames() == 0) return;
  const auto block = pool_->take(staging_.frames() * frame_bytes_);
  upload(stream, parallel);
  launch(block->as<unsigned char>(), stream);
  const auto* at = block->as<unsigned char>();
  for (PreprocessJob& job : jobs) {
    if (job.error) continue;
    auto patches = std::make_shared<DevicePatches>();
    patches->block = block;
    patches->data = at;
    at += frame_bytes_;
    job.patches = std::move(patches);
  }
}

}  // namespace tome
