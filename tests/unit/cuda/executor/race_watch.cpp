#include "cuda/executor/race_watch.h"

#if defined(__SANITIZE_THREAD__)

#include <sys/mman.h>

#include <deque>
#include <new>

// The runtime's own, to be replaced by programs.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options() {
  // Blocks have shared memory in one place; libraries that are not compiled so synchronise unseen.
  return "suppress_equal_addresses=0:history_size=4:ignore_noninstrumented_modules=1";
}

namespace {
int races_so_far = 0;
bool races_are_expected = false;
}  // namespace

namespace __tsan {
class ReportDesc;
/// @return whether it is no error
[[gnu::visibility("default")]] bool OnReport(const ReportDesc* /*report*/, bool suppressed) {
  if (!races_are_expected) return suppressed;
  ++races_so_far;
  return true;
}
}  // namespace __tsan

namespace tome::cuda::races {
namespace {

constexpr size_t kMostLines = 2048;

unsigned char* new_stack(size_t bytes) {
  void* stack = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) throw std::bad_alloc();
  return static_cast<unsigned char*>(stack);
}

/// By a line that has done nothing, as the new one shall know nothing.
TOME_UNWATCHED void* new_fiber(void* maker) {
  void* const mine = __tsan_get_current_fiber();
  go_on(maker);
  void* const fiber = __tsan_create_fiber(0);
  go_on(mine);
  return fiber;
}

/// The lines of this thread's launches. What is left in `begun_` and `ended_` is never more than
/// the thread itself knows when it is taken, so both serve all launches.
class Lines {
 public:
  static Lines& instance() {
    thread_local auto* lines = new Lines();  // never destroyed: nor are the stacks
    return *lines;
  }

  void begin(LaunchOrder order) {
    if (order == LaunchOrder::kBesideLast) return;
    leave_at(begun_.at());
    free_.insert(free_.end(), used_.begin(), used_.end());
    used_.clear();
  }

  void end() { take_at(ended_.at()); }

  Line take(size_t stack_bytes) {
    Line line;
    if (!free_.empty()) {
      line = next_of(free_);
    } else if (made_ < kMostLines) {
      line.stack = new_stack(stack_bytes);
      line.fiber = new_fiber(maker_);
      ++made_;
    } else {
      line = next_of(used_);
    }
    take_at(begun_.at(), line);
    return line;
  }

  void give_back(const Line& line) {
    leave_at(ended_.at(), line);
    used_.push_back(line);
  }

 private:
  static Line next_of(std::deque<Line>& lines) {
    if (lines.empty()) throw std::bad_alloc();
    const Line line = lines.front();
    lines.pop_front();
    return line;
  }

  void* maker_ = __tsan_create_fiber(0);
  Word begun_, ended_;
  std::deque<Line> free_, used_;
  size_t made_ = 0;
};

}  // namespace

ExpectedRaces::ExpectedRaces() {
  races_so_far = 0;
  races_are_expected = true;
}

ExpectedRaces::~ExpectedRaces() { races_are_expected = false; }

int ExpectedRaces::count() const { return races_so_far; }

Launch::Launch(LaunchOrder order) { Lines::instance().begin(order); }

Launch::~Launch() { Lines::instance().end(); }

Line take_line(size_t stack_bytes) { return Lines::instance().take(stack_bytes); }

void give_back(const Line& line) { Lines::instance().give_back(line); }

}  // namespace tome::cuda::races

#endif
