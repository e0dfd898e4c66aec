// Memory of the calling thread, kept for the next call; null when there is none. Aligned to 4096 bytes.

#include <cstddef>
#include <cstdlib>

namespace {

template <class T>
T* workspace(size_t numbers) {
  struct Block {
    T* at = nullptr;
    size_t numbers = 0;
    ~Block() { free(at); }
  };
  static thread_local Block held;
  if (held.numbers < numbers) {
    free(held.at);
    held.at = (T*)aligned_alloc(4096, (numbers * sizeof(T) + 4095) / 4096 * 4096);
    held.numbers = held.at == nullptr ? 0 : numbers;
  }
  return held.at;
}

}  // namespace
