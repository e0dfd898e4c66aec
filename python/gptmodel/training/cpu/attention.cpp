// Causal attention over a short context: a thread computes a head of a row of the batch in its caches.
//
// Queries, keys and values come as the product of a layer has them, (B, T, J, K): H heads of queries, then G of
// keys and G of values. Scores are never written to memory. The forward pass keeps, for each query, the largest
// score and one over the sum of exponentials, from which the backward pass makes the same probabilities again.
// All is added up in fp32 and in one order, whatever the number of threads.

namespace {

constexpr int BLOCK = 32;  // queries and keys at a time
constexpr int ROWS = 8;    // and so many rows of them in registers

struct Attention {
  int B, T, H, G, K;
  int rows() const { return (T + BLOCK - 1) / BLOCK * BLOCK; }
  int width() const { return (K + BLOCK - 1) / BLOCK * BLOCK; }
  int scores() const { return rows() + LANES; }  // so that the rows do not lie in the same sets of the cache
  long token() const { return (long)(H + 2 * G) * K; }
  float scale() const { return 1.f / std::sqrt((float)K); }
  int key(int g) const { return H + g; }
  int value(int g) const { return H + G + g; }
};

// A head as (rows, width) in fp32, zero beyond T and K.
template <class T>
void copy_head(const Attention& s, const T* x, long token, float* out) {
  for (int t = 0; t < s.rows(); ++t)
    for (int k = 0; k < s.width(); k += LANES)
      _mm512_store_ps(out + t * s.width() + k, load(x + t * token + k, t < s.T ? first(s.K - k) : 0));
}

// (rows, width) as blocks of BLOCK columns, each (width, BLOCK).
void transpose_head(const Attention& s, const float* x, float* out) {
  for (int t = 0; t < s.rows(); t += LANES)
    for (int k = 0; k < s.width(); k += LANES) {
      __m512 v[LANES];
      for (int r = 0; r < LANES; ++r) v[r] = _mm512_load_ps(x + (t + r) * s.width() + k);
      transpose16(v);
      float* const to = out + t / BLOCK * BLOCK * s.width() + k * BLOCK + t % BLOCK;
      for (int r = 0; r < LANES; ++r) _mm512_store_ps(to + r * BLOCK, v[r]);
    }
}

template <class T>
void write_head(const Attention& s, const float* x, int rows, T* out, long token) {
  for (int t = 0; t < rows; ++t)
    for (int k = 0; k < s.K; k += LANES)
      store(out + t * token + k, _mm512_load_ps(x + t * s.width() + k), first(s.K - k));
}

// BLOCK rows of a head times `seen` columns of a transposed one: scores, or gradients of probabilities.
void multiply_transposed(const Attention& s, const float* a, const float* transposed, int seen, float* out) {
  for (int j = 0; j < seen; j += BLOCK)
    for (int r = 0; r < BLOCK; r += ROWS)
      multiply_block<ROWS>(a + r * s.width(), s.width(), 1, transposed + j * s.width(), BLOCK, s.K,
                           out + r * s.scores() + j, s.scores(), true);
}

// BLOCK rows times a head, `depth(r)` deep: row r at depth k is a[r * a_row + k * a_depth].
template <class Depth>
void multiply_head(const Attention& s, const float* a, long a_row, long a_depth, const float* head,
                   const Depth& depth, float* out, bool fresh) {
  for (int k = 0; k < s.width(); k += BLOCK)
    for (int r = 0; r < BLOCK; r += ROWS)
      multiply_block<ROWS>(a + r * a_row, a_row, a_depth, head + k, s.width(), depth(r), out + r * s.width() + k,
                           s.width(), fresh);
}

template <class T>
void attend(const Attention& s, int g, const T* qkv, T* y, float* stats, float* memory) {
  const long plane = (long)s.rows() * s.width(), token = s.token();
  float *q = memory, *k = q + plane, *v = k + plane, *kt = v + plane, *p = kt + plane, *out = p + BLOCK * s.scores();
  const __m512 scale = _mm512_set1_ps(s.scale());
  copy_head(s, qkv + s.key(g) * s.K, token, k);
  copy_head(s, qkv + s.value(g) * s.K, token, v);
  transpose_head(s, k, kt);
  for (int h = g * s.H / s.G; h < (g + 1) * s.H / s.G; ++h) {
    copy_head(s, qkv + h * s.K, token, q);
    for (int i = 0; i < s.T; i += BLOCK) {
      const int rows = std::min(BLOCK, s.T - i), seen = i + BLOCK;
      const auto depth = [&](int r) { return std::min(i + r + ROWS, s.T); };
      multiply_transposed(s, q + i * s.width(), kt, seen, p);
      __m512 inverse[BLOCK];
      for (int r = 0; r < rows; ++r) {
        float* const row = p + r * s.scores();
        __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
        for (int j = 0; j < seen; j += LANES)
          top = _mm512_mask_max_ps(top, first(i + r + 1 - j), top, _mm512_load_ps(row + j));
        const float most = _mm512_reduce_max_ps(top) * s.scale();
        for (int j = 0; j < seen; j += LANES) {
          const __m512 x = _mm512_fmsub_ps(_mm512_load_ps(row + j), scale, _mm512_set1_ps(most));
          const __m512 e = _mm512_maskz_mov_ps(first(i + r + 1 - j), exp_negative(x));
          sum = _mm512_add_ps(sum, e);
          _mm512_store_ps(row + j, e);
        }
        const float one_over = 1.f / _mm512_reduce_add_ps(sum);
        inverse[r] = _mm512_set1_ps(one_over);
        float* const kept = stats + ((long)h * s.T + i + r) * 2;
        kept[0] = most;
        kept[1] = one_over;
      }
      multiply_head(s, p, s.scores(), 1, v, depth, out, true);
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < s.width(); c += LANES) {
          float* const at = out + r * s.width() + c;
          _mm512_store_ps(at, _mm512_mul_ps(_mm512_load_ps(at), inverse[r]));
        }
      write_head(s, out, rows, y + ((long)i * s.H + h) * s.K, (long)s.H * s.K);
    }
  }
}

template <class T>
void differentiate(const Attention& s, int g, const T* dy, const T* qkv, const float* stats, T* dqkv,
                   float* memory) {
  const long plane = (long)s.rows() * s.width(), square = (long)s.rows() * s.scores(), token = s.token();
  float *q = memory, *k = q + plane, *v = k + plane, *y = v + plane, *dk = y + plane, *dv = dk + plane;
  float *kt = dv + plane, *vt = kt + plane, *p = vt + plane, *d = p + square, *dq = d + square;
  const __m512 scale = _mm512_set1_ps(s.scale());
  copy_head(s, qkv + s.key(g) * s.K, token, k);
  copy_head(s, qkv + s.value(g) * s.K, token, v);
  transpose_head(s, k, kt);
  transpose_head(s, v, vt);
  for (int h = g * s.H / s.G; h < (g + 1) * s.H / s.G; ++h) {
    copy_head(s, qkv + h * s.K, token, q);
    copy_head(s, dy + h * s.K, (long)s.H * s.K, y);
    for (int i = 0; i < s.T; i += BLOCK) {
      const int rows = std::min(BLOCK, s.T - i), seen = i + BLOCK;
      const auto depth = [&](int r) { return std::min(i + r + ROWS, s.T); };
      float *const pi = p + (long)i * s.scores(), *const di = d + (long)i * s.scores();
      multiply_transposed(s, q + i * s.width(), kt, seen, pi);
      multiply_transposed(s, y + i * s.width(), vt, seen, di);
      for (int r = 0; r < rows; ++r) {
        float *const row = pi + r * s.scores(), *const slope = di + r * s.scores();
        const float* const kept = stats + ((long)h * s.T + i + r) * 2;
        const __m512 most = _mm512_set1_ps(kept[0]), inverse = _mm512_set1_ps(kept[1]);
        __m512 sum = _mm512_setzero_ps();
        for (int j = 0; j < seen; j += LANES) {
          const __m512 e = exp_negative(_mm512_fmsub_ps(_mm512_load_ps(row + j), scale, most));
          const __m512 x = _mm512_maskz_mul_ps(first(i + r + 1 - j), e, inverse);
          _mm512_store_ps(row + j, x);
          sum = _mm512_fmadd_ps(x, _mm512_load_ps(slope + j), sum);
        }
        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
        for (int j = 0; j < seen; j += LANES) {
          const __m512 x = _mm512_mul_ps(_mm512_load_ps(row + j), scale);
          const __m512 away = _mm512_sub_ps(_mm512_load_ps(slope + j), mean);
          _mm512_store_ps(slope + j, _mm512_maskz_mul_ps(first(i + r + 1 - j), x, away));
        }
      }
      multiply_head(s, di, s.scores(), 1, k, depth, dq, true);
      write_head(s, dq, rows, dqkv + i * token + h * s.K, token);
    }
    const bool fresh = h == g * s.H / s.G;
    for (int j = 0; j < s.T; j += BLOCK) {  // a key is seen by the queries from j on
      const long from = (long)j * s.scores() + j, head = (long)j * s.width();
      const auto depth = [&](int) { return s.T - j; };
      multiply_head(s, d + from, 1, s.scores(), q + head, depth, dk + head, fresh);
      multiply_head(s, p + from, 1, s.scores(), y + head, depth, dv + head, fresh);
    }
  }
  write_head(s, dk, s.T, dqkv + s.key(g) * s.K, token);
  write_head(s, dv, s.T, dqkv + s.value(g) * s.K, token);
}

long numbers_to_attend(const Attention& s) {
  return 4l * s.rows() * s.width() + BLOCK * (s.scores() + s.width());
}

long numbers_to_differentiate(const Attention& s) {
  return 8l * s.rows() * s.width() + 2l * s.rows() * s.scores() + BLOCK * s.width();
}

// `work(row of the batch, group, memory)` for all of them; false without memory.
template <class Work>
bool for_each_group(const Attention& s, long numbers, int threads, const Work& work) {
  bool failed = false;
#pragma omp parallel num_threads(threads) reduction(|| : failed)
  {
    float* const memory = workspace<float>(numbers);
    failed = memory == nullptr;
#pragma omp for schedule(static)
    for (int i = 0; i < s.B * s.G; ++i)
      if (!failed) work(i / s.G, i % s.G, memory);
  }
  return !failed;
}

}  // namespace
