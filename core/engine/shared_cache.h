// Things that are made once per key and live as long as somebody holds them.
#pragma once

#include <exception>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace tome {

/// Holds weak references only. Threads that ask for what is being made wait for it.
template <class T>
class SharedCache {
 public:
  /// @param content   what the key stands for
  /// @param make      called without a lock; what it throws goes to all who wait, and nothing stays
  /// @param conflict  called (it should throw) with the content that the key stands for already, if
  ///   that is another one
  std::shared_ptr<T> acquire(const std::string& key, const std::string& content,
                             const std::function<std::shared_ptr<T>()>& make,
                             const std::function<void(const std::string&)>& conflict) {
    std::promise<std::shared_ptr<T>> promise;
    {
      std::unique_lock lock(mutex_);
      forget_expired();
      if (const auto found = entries_.find(key); found != entries_.end()) {
        if (found->second.content != content) conflict(found->second.content);
        if (auto live = found->second.value.lock()) return live;
        const auto making = found->second.making;
        lock.unlock();
        return making.get();
      }
      entries_[key] = {content, {}, promise.get_future().share()};
    }
    return fill(key, make, promise);
  }

 private:
  struct Entry {
    std::string content;
    std::weak_ptr<T> value;
    std::shared_future<std::shared_ptr<T>> making;  // valid until made
  };

  std::shared_ptr<T> fill(const std::string& key, const std::function<std::shared_ptr<T>()>& make,
                          std::promise<std::shared_ptr<T>>& promise) {
    try {
      std::shared_ptr<T> value = make();
      {
        const std::lock_guard lock(mutex_);
        Entry& entry = entries_[key];
        entry.value = value;
        entry.making = {};
      }
      promise.set_value(value);
      return value;
    } catch (...) {
      {
        const std::lock_guard lock(mutex_);
        entries_.erase(key);
      }
      promise.set_exception(std::current_exception());
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
