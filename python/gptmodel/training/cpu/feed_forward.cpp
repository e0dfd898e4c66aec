// A feed-forward layer down(activation(up(x))): a thread computes some of its rows at a time, from the first
// product to the last, and their F numbers stay in its second-level cache in between.
//
// The forward pass keeps what `up` gave, without the bias. The backward pass computes the activation and its
// slope from that again: it takes a twentieth of the products' time, and keeps half of the numbers.

namespace {

constexpr long BYTES_AT_A_TIME = 1 << 20;  // of rows of F numbers
constexpr long LEAST_AT_A_TIME = 64;       // rows: MKL multiplies fewer at a lower speed

enum Activation { GELU, GELU_TANH, RELU_SQUARED };

struct FeedForward {
  long rows, D, F, out;  // x is (rows, D) and y is (rows, out)
  int threads;

  long at_a_time() const { return std::max(LEAST_AT_A_TIME, BYTES_AT_A_TIME / (F * 4) / LANES * LANES); }
};

template <Activation activation>
INLINE ValueAndSlope activate(__m512 x) {
  if constexpr (activation == GELU) return gelu_erf(x);
  if constexpr (activation == GELU_TANH) return gelu_tanh(x);
  const __m512 positive = _mm512_max_ps(_mm512_setzero_ps(), x);  // of NaN and 0 it takes the second
  return {_mm512_mul_ps(positive, positive), _mm512_add_ps(positive, positive)};
}

// `work(values, column, mask)` for each vector of some rows of F numbers, after the bias is added.
template <class Work>
INLINE void for_each_vector(const FeedForward& s, const float* h, const float* bias, long rows, const Work& work) {
  for (long i = 0; i < rows; ++i)
    for (long f = 0; f < s.F; f += LANES) {
      const __mmask16 mask = first(s.F - f);
      __m512 x = load(h + i * s.F + f, mask);
      if (bias != nullptr) x = _mm512_add_ps(x, load(bias + f, mask));
      work(x, i * s.F + f, f, mask);
    }
}

// The weights of the two products of a pass, packed if each thread multiplies by them more than once.
struct TwoFactors {
  RightFactor first, second;
  long at_a_time;
  bool packs;

  size_t first_numbers() const { return packs ? first.packed_numbers(at_a_time) : 0; }
  size_t numbers() const { return packs ? first_numbers() + second.packed_numbers(at_a_time) : 0; }

  // All threads of a team call it.
  void pack(float* memory) {
    if (!packs) return;
#pragma omp sections
    {
#pragma omp section
      first.pack(at_a_time, memory);
#pragma omp section
      second.pack(at_a_time, memory + first_numbers());
    }
  }
};

TwoFactors factors(const FeedForward& s, const RightFactor& first, const RightFactor& second) {
  return {first, second, s.at_a_time(), s.rows > s.at_a_time() * s.threads};
}

// y (rows, out) and h = x up' (rows, F); false without memory.
template <Activation activation>
bool feed_forward(const FeedForward& s, const float* x, const float* up, const float* bias, const float* down, float* y,
                  float* h) {
  const int D = s.D, F = s.F, out = s.out;
  TwoFactors weights = factors(s, {{up, 1, D}, D, F}, {{down, 1, F}, F, out});
  const long some = s.at_a_time(), held = some * F;
  float* const memory = workspace<float>(s.threads * held + weights.numbers());
  if (memory == nullptr) return false;
#pragma omp parallel num_threads(s.threads)
  {
    const OneThread of_mkl;
    const int thread = omp_get_thread_num();
    const Share mine = share(s.rows, thread, omp_get_num_threads());
    float* const values = memory + thread * held;
    weights.pack(memory + s.threads * held);
    for (long r = mine.begin; r < mine.end; r += some) {
      const long rows = std::min(some, mine.end - r);
      multiply(x + r * D, weights.first, h + r * F, rows);
      for_each_vector(s, h + r * F, bias, rows, [&](__m512 x, long at, long, __mmask16 mask) {
        store(values + at, activate<activation>(x).value, mask);
      });
      multiply(values, weights.second, y + r * out, rows);
    }
  }
  return true;
}

struct Gradients {
  float *x, *up, *bias, *down;  // bias is not written where there is none
};

// The gradients, from that of y; false without memory.
template <Activation activation>
bool feed_forward_backward(const FeedForward& s, const float* dy, const float* x, const float* h, const float* up,
                           const float* bias, const float* down, const Gradients& to) {
  const int D = s.D, F = s.F, out = s.out;
  TwoFactors weights = factors(s, {{down, F, 1}, out, F}, {{up, D, 1}, F, D});
  const size_t wide = s.rows * s.F, sums_size = (s.threads * s.F + LANES - 1) / LANES * LANES;
  const size_t parts = std::max(numbers_of_parts(F, D, s.threads), numbers_of_parts(out, F, s.threads));
  float* const memory = workspace<float>(2 * wide + sums_size + std::max(parts, weights.numbers()));
  if (memory == nullptr) return false;
  float *const values = memory, *const gradients = values + wide, *const sums = gradients + wide;
  float* const rest = sums + sums_size;
#pragma omp parallel num_threads(s.threads)
  {
    const OneThread of_mkl;
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    const Share mine = share(s.rows, thread, team);
    float* const sum = sums + thread * F;
    std::fill(sum, sum + F, 0.f);
    weights.pack(rest);
    for (long r = mine.begin, some = s.at_a_time(); r < mine.end; r += some) {
      const long rows = std::min(some, mine.end - r);
      float *const a = values + r * F, *const d = gradients + r * F;
      multiply(dy + r * out, weights.first, d, rows);
      for_each_vector(s, h + r * F, bias, rows, [&](__m512 x, long at, long f, __mmask16 mask) {
        const ValueAndSlope found = activate<activation>(x);
        const __m512 gradient = _mm512_mul_ps(load(d + at, mask), found.slope);
        store(a + at, found.value, mask);
        store(d + at, gradient, mask);
        if (bias != nullptr) store(sum + f, _mm512_add_ps(load(sum + f, mask), gradient), mask);
      });
      multiply(d, weights.second, to.x + r * D, rows);
    }
#pragma omp barrier
    multiply_over_tokens({gradients, 1, F}, {x, D, 1}, to.up, F, D, s.rows, rest);
#pragma omp barrier
    multiply_over_tokens({dy, 1, out}, {values, F, 1}, to.down, out, F, s.rows, rest);
    if (bias != nullptr) {
      const Share numbers = share(F, thread, team);
      for (long f = numbers.begin; f < numbers.end; ++f) {
        to.bias[f] = sums[f];
        for (int other = 1; other < team; ++other) to.bias[f] += sums[other * F + f];
      }
    }
  }
  return true;
}

}  // namespace
