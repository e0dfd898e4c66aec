// Products of fp32 matrices on AMX, which multiplies bf16 numbers and adds in fp32.
//
// A number of 24 bits is the sum of three bf16 numbers of 8 bits each: a = a0 + a1 + a2, cut off, not rounded.
// Of the nine products of two such sums the six largest are added up, the smallest first; what is left out is
// below 2^-22 of |a b|. (Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 Artificial Intelligence Datatype
// For Higher-Precision Computations".) AMX takes numbers below 2^-126 for zero, so factors below 2^-110 are
// less exact. What is not finite stays not finite.
//
// Both factors are packed into tiles of 16 rows by 32 depths, three of them for each place. Of the larger
// factor a thread packs 32 rows at a time for itself, which stay in its first-level cache; all threads pack
// the other factor together, `DEPTH` deep and up to `WIDTH` rows, which stays in the second level. Each number
// is added up in one order, whatever the number of threads.

#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

using bf16 = uint16_t;
constexpr int TILE = 16;            // rows of a tile
constexpr int STEP = 32;            // its depth
constexpr int STRIP = 2 * TILE;     // rows packed together
constexpr int PARTS = 3;            // tiles for each place
constexpr int NUMBERS = TILE * STEP;
constexpr int PLACE = 2 * PARTS * NUMBERS;  // numbers of a strip in one step
constexpr int DEPTH = 256;
constexpr int WIDTH = 1024;

// Rows of a factor: row r at depth k is x[r * outer + k * inner], and one of the strides is 1.
struct Factor {
  const float* x;
  long outer, inner;
  int rows;
};

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

void configure_tiles() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.bytes[i] = 64;
    config.rows[i] = TILE;
  }
  _tile_loadconfig(&config);
}

// The parts of 32 numbers, one row of each of three tiles. AMX wants the left factor as a row of depths, and
// the right one (`pairs`) as pairs of depths beside one another: there a and b are two depths of 16 rows.
template <bool pairs>
inline __attribute__((always_inline)) void split_row(__m512 a, __m512 b, bf16* out) {
  const __m512i top = _mm512_set1_epi32(0xffff0000);
  for (int part = 0; part < PARTS; ++part) {
    const __m512i high_a = _mm512_and_si512(_mm512_castps_si512(a), top);
    const __m512i high_b = _mm512_and_si512(_mm512_castps_si512(b), top);
    const __m512i row =
        pairs ? _mm512_or_si512(_mm512_srli_epi32(high_a, 16), high_b)
              : (__m512i)_mm512_cvtne2ps_pbh(_mm512_castsi512_ps(high_b), _mm512_castsi512_ps(high_a));
    _mm512_store_si512(out + part * NUMBERS, row);
    a = _mm512_sub_ps(a, _mm512_castsi512_ps(high_a));
    b = _mm512_sub_ps(b, _mm512_castsi512_ps(high_b));
  }
}

inline __mmask16 first(int n) { return n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1 : 0; }

// `rows` rows and `depth` depths from x on, as three tiles; what a tile has beyond them is zero.
template <bool pairs>
void pack_tile(const float* x, long outer, long inner, int rows, int depth, bf16* out) {
  const bool along_depth = inner == 1;
  if (along_depth != pairs && rows == TILE && depth == STEP) {
#pragma GCC unroll 4
    for (int r = 0; r < TILE; ++r) {
      const float* at = pairs ? x + 2 * r * inner : x + r * outer;
      split_row<pairs>(_mm512_loadu_ps(at), _mm512_loadu_ps(at + (pairs ? inner : 16)), out + r * STEP);
    }
    return;
  }
  __m512 v[32];  // along the depth: depths 0 to 15 of each row, then 16 to 31; else a depth of all rows
  if (along_depth) {
    for (int r = 0; r < TILE; ++r) {
      v[r] = _mm512_maskz_loadu_ps(r < rows ? first(depth) : 0, x + r * outer);
      v[TILE + r] = _mm512_maskz_loadu_ps(r < rows ? first(depth - 16) : 0, x + r * outer + 16);
    }
  } else {
    for (int k = 0; k < STEP; ++k) v[k] = _mm512_maskz_loadu_ps(k < depth ? first(rows) : 0, x + k * inner);
  }
  if (along_depth == pairs) {
    transpose16(v);
    transpose16(v + 16);
  }
  for (int r = 0; r < TILE; ++r)
    split_row<pairs>(v[pairs ? 2 * r : r], v[pairs ? 2 * r + 1 : TILE + r], out + r * STEP);
}

template <bool pairs>
void pack_strip(const Factor& factor, int strip, int k0, int steps, int K, bf16* out) {
  for (int half = 0; half < 2; ++half) {
    const int row = strip * STRIP + half * TILE, rows = std::clamp(factor.rows - row, 0, TILE);
    for (int step = 0; step < steps; ++step) {
      const int k = k0 + step * STEP;
      pack_tile<pairs>(factor.x + row * factor.outer + k * factor.inner, factor.outer, factor.inner, rows,
                       std::min(STEP, K - k), out + step * PLACE + half * PARTS * NUMBERS);
    }
  }
}

// c (32 x 32) = or += the product of two strips. `soon` is fetched into the first-level cache meanwhile.
void multiply_strips(const bf16* a, const bf16* b, int steps, float* c, long stride, bool fresh, const bf16* soon) {
  const long bytes = stride * 4;
  if (fresh) {
    _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
  } else {
    _tile_loadd(0, c, bytes); _tile_loadd(1, c + 16, bytes);
    _tile_loadd(2, c + 16 * stride, bytes); _tile_loadd(3, c + 16 * stride + 16, bytes);
  }
#define LEFT(part) _tile_loadd(4, a + (part) * NUMBERS, 64); _tile_loadd(5, a + (PARTS + (part)) * NUMBERS, 64);
#define RIGHT(part) _tile_loadd(6, b + (part) * NUMBERS, 64); _tile_loadd(7, b + (PARTS + (part)) * NUMBERS, 64);
#define ADD _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
#define FETCH(tile) for (int i = 0; i < TILE; ++i) _mm_prefetch((const char*)(soon + (tile) * NUMBERS + i * STEP), _MM_HINT_T0);
  for (int step = 0; step < steps; ++step, a += PLACE, b += PLACE, soon += PLACE) {
    LEFT(2) RIGHT(0) ADD FETCH(0)
    LEFT(1) ADD FETCH(1)
    RIGHT(1) ADD FETCH(2)
    LEFT(0) ADD FETCH(3)
    RIGHT(2) ADD FETCH(4)
    RIGHT(0) ADD FETCH(5)
  }
#undef LEFT
#undef RIGHT
#undef ADD
#undef FETCH
  _tile_stored(0, c, bytes); _tile_stored(1, c + 16, bytes);
  _tile_stored(2, c + 16 * stride, bytes); _tile_stored(3, c + 16 * stride + 16, bytes);
}

template <bool left_is_shared>
bool multiply(const Factor& left, const Factor& right, float* c, long stride, int K, int threads) {
  const Factor &shared = left_is_shared ? left : right, &own = left_is_shared ? right : left;
  const int shared_strips = (shared.rows + STRIP - 1) / STRIP, own_strips = (own.rows + STRIP - 1) / STRIP;
  const int panel_strips = std::min(shared_strips, WIDTH / STRIP);
  const size_t strip = (size_t)std::min(DEPTH / STEP, (K + STEP - 1) / STEP) * PLACE, panel = panel_strips * strip;
  // two panels, so that one is packed while a slower thread reads the other; a strip of each thread; what is
  // fetched ahead of the last one
  bf16* const memory = workspace<bf16>(2 * panel + threads * strip + PLACE);
  if (memory == nullptr) return false;
#pragma omp parallel num_threads(threads)
  {
    configure_tiles();
    const int thread = omp_get_thread_num(), team = omp_get_num_threads();
    const int begin = own_strips * thread / team, end = own_strips * (thread + 1) / team;
    bf16* const mine = memory + 2 * panel + thread * strip;
    alignas(64) float edge[STRIP * STRIP];
    int turn = 0;
    for (int s0 = 0; s0 < shared_strips; s0 += panel_strips) {
      const int here = std::min(panel_strips, shared_strips - s0);
      for (int k0 = 0; k0 < K; k0 += DEPTH, turn ^= 1) {
        const int steps = (std::min(DEPTH, K - k0) + STEP - 1) / STEP;
        bf16* const both = memory + turn * panel;
        for (int s = here * thread / team; s < here * (thread + 1) / team; ++s)
          pack_strip<!left_is_shared>(shared, s0 + s, k0, steps, K, both + s * strip);
#pragma omp barrier
        for (int o = begin; o < end; ++o) {
          pack_strip<left_is_shared>(own, o, k0, steps, K, mine);
          for (int s = 0; s < here; ++s) {
            const bf16* const packed = both + s * strip;
            const bf16 *a = left_is_shared ? packed : mine, *b = left_is_shared ? mine : packed;
            const int row = (left_is_shared ? s0 + s : o) * STRIP, column = (left_is_shared ? o : s0 + s) * STRIP;
            const int rows = std::min(STRIP, left.rows - row), columns = std::min(STRIP, right.rows - column);
            float* const to = c + row * stride + column;
            if (rows == STRIP && columns == STRIP) {
              multiply_strips(a, b, steps, to, stride, k0 == 0, packed + PLACE);
              continue;
            }
            if (k0) for (int r = 0; r < rows; ++r) memcpy(edge + r * STRIP, to + r * stride, columns * 4);
            multiply_strips(a, b, steps, edge, STRIP, k0 == 0, packed + PLACE);
            for (int r = 0; r < rows; ++r) memcpy(to + r * stride, edge + r * STRIP, columns * 4);
          }
        }
      }
    }
    _tile_release();
  }
  return true;
}

}  // namespace

// Ask the kernel for AMX's registers, once in a process; 0 when it gives them.
extern "C" int split_products_allowed() {
  constexpr int REQUEST = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA of Linux
  return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) != 0;
}

// c (M, N) with rows of `stride` numbers = a (M, K) b (K, N), with the strides of both; 1 without memory.
extern "C" int split_products(const float* a, long a_row, long a_depth, const float* b, long b_depth, long b_column,
                              float* c, long stride, int M, int N, int K, int threads) {
  const Factor left{a, a_row, a_depth, M}, right{b, b_column, b_depth, N};
  return !(M >= N ? multiply<false>(left, right, c, stride, K, threads)
                  : multiply<true>(left, right, c, stride, K, threads));
}
