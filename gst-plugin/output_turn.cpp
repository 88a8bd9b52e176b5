#include "output_turn.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <system_error>
#include <utility>

#include "never_destroyed.h"

namespace tome::gst {
namespace {

struct Turns {
  std::mutex mutex;
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<OutputTurn>> of_files;
};

struct StandardOutput {
  std::mutex mutex;
  std::shared_ptr<OutputTurn> turn;
};

}  // namespace

KeptInode::KeptInode(const std::string& path)
    : descriptor_(::open(path.c_str(), O_PATH | O_CLOEXEC)) {
  if (descriptor_ >= 0 && ::fstat(descriptor_, &file_) == 0) return;
  const int error = errno;
  if (descriptor_ >= 0) ::close(descriptor_);
  throw std::system_error(error, std::generic_category(), path);
}

KeptInode::~KeptInode() { ::close(descriptor_); }

std::shared_ptr<OutputTurn> OutputTurn::of(std::unique_ptr<KeptInode> inode,
                                           const std::function<void()>& if_first) {
  const struct stat file = inode->file();
  return of(file, std::move(inode), if_first);
}

std::shared_ptr<OutputTurn> OutputTurn::of(const struct stat& file,
                                           std::unique_ptr<KeptInode> inode,
                                           const std::function<void()>& if_first) {
  auto& turns = never_destroyed<Turns>();
  const std::scoped_lock lock(turns.mutex);
  std::erase_if(turns.of_files, [](const auto& turn) { return turn.second.expired(); });
  auto& known = turns.of_files[{file.st_dev, file.st_ino}];
  auto turn = known.lock();
  if (!turn && if_first) if_first();
  if (!turn) known = turn = std::make_shared<OutputTurn>();
  if (!turn->inode_) turn->inode_ = std::move(inode);
  return turn;
}

std::shared_ptr<OutputTurn> OutputTurn::of_standard_output(const struct stat& file) {
  auto& kept = never_destroyed<StandardOutput>();
  const std::scoped_lock lock(kept.mutex);
  kept.turn = of(file, nullptr, {});
  return kept.turn;
}

bool OutputTurn::take(const WakeUp& interruption) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !taken_ || interruption.is_set(); });
  if (taken_) return false;
  taken_ = true;
  return true;
}

void OutputTurn::give_back(bool torn) {
  const std::scoped_lock lock(mutex_);
  taken_ = false;
  torn_ = torn;
  changed_.notify_all();
}

void OutputTurn::look_again() {
  const std::scoped_lock lock(mutex_);
  changed_.notify_all();
}

}  // namespace tome::gst
