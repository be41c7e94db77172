// Objects that are used again, with the memory they have grown to.
#pragma once
#include <memory>
#include <utility>
#include <vector>

namespace moe {

// One thread uses it. What was taken goes back when its holder goes, before the pool does. The last to come back is the
// first to be taken.
template <class T>
class Pool {
 public:
  struct Return {
    Pool* pool;
    void operator()(T* object) const noexcept { pool->free_.emplace_back(object); }  // there is room
  };
  using Taken = std::unique_ptr<T, Return>;

  // Makes one of `arguments` where none is free.
  template <class... Arguments>
  Taken take(Arguments&&... arguments) {
    if (free_.empty()) {
      free_.reserve(made_ + 1);
      Taken made(new T(std::forward<Arguments>(arguments)...), Return{this});
      ++made_;
      return made;
    }
    Taken taken(free_.back().release(), Return{this});
    free_.pop_back();
    return taken;
  }

 private:
  std::vector<std::unique_ptr<T>> free_;
  size_t made_ = 0;
};

}  // namespace moe
