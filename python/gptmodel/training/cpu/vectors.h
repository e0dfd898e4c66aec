// What the loops of this folder share: vectors of 16 fp32 numbers (AVX-512).

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int LANES = 16;

#define INLINE inline __attribute__((always_inline))

inline __mmask16 first(long n) { return n >= LANES ? 0xffff : n > 0 ? (1u << n) - 1 : 0; }

// e^x for x <= 0, 0 below -104. The polynomial of the part beside the power of two is off by 3e-9.
INLINE __m512 exp_negative(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);  // ln 2 in two parts
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(0.00138144672f);
  for (float c : {0.00836878084f, 0.0416683927f, 0.166665196f, 0.49999994f, 1.f, 1.f})
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, n);
}

// 16 numbers of memory, fp32 or bf16, as fp32; bf16 is rounded to the nearest, ties to even.
using bf16 = uint16_t;

INLINE __m512 load(const float* x, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, x); }

INLINE __m512 load(const bf16* x, __mmask16 mask) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x)), 16));
}

INLINE void store(float* to, __m512 x, __mmask16 mask) { _mm512_mask_storeu_ps(to, mask, x); }

INLINE void store(bf16* to, __m512 x, __mmask16 mask) {
  const __m512i bits = _mm512_castps_si512(x), one = _mm512_set1_epi32(1);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc00000));
  _mm256_mask_storeu_epi16(to, mask, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

// c (ROWS x 32) = or += a (ROWS x depth) b (depth x 32). Number (r, k) of a is a[r * a_row + k * a_depth], and b
// has 32 numbers a depth, `b_depth` apart. One order of additions, whatever ROWS is.
template <int ROWS>
INLINE void multiply_block(const float* a, long a_row, long a_depth, const float* b, long b_depth, int depth, float* c,
                           long c_row, bool fresh) {
  __m512 sum[ROWS][2];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
    for (int h = 0; h < 2; ++h)
      sum[r][h] = fresh ? _mm512_setzero_ps() : _mm512_loadu_ps(c + r * c_row + h * LANES);
  for (int k = 0; k < depth; ++k, a += a_depth, b += b_depth) {
    const __m512 left = _mm512_loadu_ps(b), right = _mm512_loadu_ps(b + LANES);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const __m512 x = _mm512_set1_ps(a[r * a_row]);
      sum[r][0] = _mm512_fmadd_ps(x, left, sum[r][0]);
      sum[r][1] = _mm512_fmadd_ps(x, right, sum[r][1]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
    for (int h = 0; h < 2; ++h) _mm512_storeu_ps(c + r * c_row + h * LANES, sum[r][h]);
}

}  // namespace
