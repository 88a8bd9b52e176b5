// Whose turn it is to write to a file, pipe or terminal that several writers of a process share.
#pragma once

#include <sys/stat.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "wake_up.h"

namespace tome::gst {

/// A file's inode, which no other file gets while this lives, even if the file is deleted. It is
/// not opened: a pipe's reader sees the end of its writers all the same.
class KeptInode {
 public:
  /// @throws std::system_error
  explicit KeptInode(const std::string& path);
  ~KeptInode();
  KeptInode(const KeptInode&) = delete;
  KeptInode& operator=(const KeptInode&) = delete;

  const struct stat& file() const { return file_; }

 private:
  int descriptor_;
  struct stat file_ {};
};

/// Waiting for a turn ends at an interruption too: the writer whose turn it is may itself be
/// waiting for a reader that never comes.
class OutputTurn {
 public:
  /// The same for all descriptors of one file, as long as somebody has it.
  /// @param if_first  called if nobody else has it, before anybody else can
  static std::shared_ptr<OutputTurn> of(std::unique_ptr<KeptInode> inode,
                                        const std::function<void()>& if_first);
  /// That of standard output, which is kept: a writer that comes later knows of a torn line. Its
  /// inode is not: a log that was deleted would fill the disk until the process ends.
  static std::shared_ptr<OutputTurn> of_standard_output(const struct stat& file);

  /// @return false if `interruption` was set first
  bool take(const WakeUp& interruption);
  /// @param torn a line was begun and not ended
  void give_back(bool torn);
  /// To be called after an interruption was set.
  void look_again();

  /// Whether the writer before left a line that has no end. Asked by the one whose turn it is.
  bool is_torn() const { return torn_; }

 private:
  static std::shared_ptr<OutputTurn> of(const struct stat& file, std::unique_ptr<KeptInode> inode,
                                        const std::function<void()>& if_first);

  // Turns are told apart by it: another file with its number would be taken to be in use.
  std::unique_ptr<KeptInode> inode_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool taken_ = false;
  bool torn_ = false;
};

}  // namespace tome::gst
