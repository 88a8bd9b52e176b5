// Things that are made once per key and live as long as somebody holds them.
#pragma once

#include <exception>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "engine/failure.h"
#include "tome_error.h"

namespace tome {

/// Holds weak references only. Threads that ask for what is being made wait for it.
///
/// Note [Exceptions stay on their thread]
/// What is thrown is described (Failure) and thrown anew on the other thread: an exception object
/// that two threads hold is counted inside libstdc++, where ThreadSanitizer cannot see it.
template <class T>
class SharedCache {
 public:
  /// @param content   what the key stands for
  /// @param make      called without a lock; if it throws, nothing stays and all who wait throw an
  ///   Error that says the same
  /// @param conflict  called (it should throw) with the content that the key stands for already, if
  ///   that is another one
  std::shared_ptr<T> acquire(const std::string& key, const std::string& content,
                             const std::function<std::shared_ptr<T>()>& make,
                             const std::function<void(const std::string&)>& conflict) {
    std::promise<Made> promise;
    std::shared_ptr<T> live;  // outlives the lock: it may be the last by now
    {
      std::unique_lock lock(mutex_);
      forget_expired();
      if (const auto found = entries_.find(key); found != entries_.end()) {
        // The only look at `value`, for its last user may let go at any moment.
        live = found->second.value.lock();
        const auto making = found->second.making;
        if (live || making.valid()) {
          if (found->second.content != content) conflict(found->second.content);
          if (live) return live;
          lock.unlock();
          const Made& made = making.get();
          if (made.failure) throw Error(made.failure->kind, made.failure->text);
          return made.value;
        }
      }
      entries_[key] = {content, {}, promise.get_future().share()};
    }
    return fill(key, make, promise);
  }

 private:
  struct Made {
    std::shared_ptr<T> value;
    std::optional<Failure> failure;
  };
  struct Entry {
    std::string content;
    std::weak_ptr<T> value;
    std::shared_future<Made> making;  // valid until made
  };

  std::shared_ptr<T> fill(const std::string& key, const std::function<std::shared_ptr<T>()>& make,
                          std::promise<Made>& promise) {
    try {
      std::shared_ptr<T> value = make();
      {
        const std::lock_guard lock(mutex_);
        Entry& entry = entries_[key];
        entry.value = value;
        entry.making = {};
      }
      promise.set_value({value, std::nullopt});
      return value;
    } catch (...) {
      {
        const std::lock_guard lock(mutex_);
        entries_.erase(key);
      }
      promise.set_value({nullptr, describe_failure(std::current_exception())});
      throw;
    }
  }

  void forget_expired() {
    std::erase_if(entries_, [](const auto& item) {
      return !item.second.making.valid() && item.second.value.expired();
    });
  }

  std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace tome
