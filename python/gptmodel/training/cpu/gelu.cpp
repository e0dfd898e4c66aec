// GELU and its derivative in one pass, since both need the same exponential; the backward pass is then one
// multiplication. erf: x F(x), where F is the normal distribution and its upper tail at t = |x| is
// e^(-t^2 / 2) u P(u) with u = 1 / (1 + 0.21 t) and a polynomial P, fitted for 0 <= t <= 13.5 to 1.3e-8 of the
// tail. tanh: x s(2w) with the logistic function s and w = sqrt(2 / pi) (x + 0.044715 x^3).

namespace {

constexpr float TAIL[] = {-0.07203397899866104f, 0.2854534089565277f, -0.33418965339660645f, 0.3540336787700653f,
                          -0.0972457304596901f, 0.1263551563024521f, 0.06879004091024399f, 0.08512941002845764f,
                          0.08370770514011383f};

struct ValueAndSlope {
  __m512 value, slope;
};

INLINE __m512 reciprocal(__m512 x) {  // one step of Newton's from 14 bits
  const __m512 r = _mm512_rcp14_ps(x);
  return _mm512_mul_ps(r, _mm512_fnmadd_ps(x, r, _mm512_set1_ps(2.f)));
}

// `x` as far as it matters; what is not a number stays so.
INLINE __m512 within(__m512 x, float limit) {
  return _mm512_max_ps(_mm512_set1_ps(-limit), _mm512_min_ps(_mm512_set1_ps(limit), x));
}

INLINE ValueAndSlope gelu_erf(__m512 x) {
  const __m512 near = within(x, 13.f), t = _mm512_abs_ps(near);
  const __m512 e = exp_negative(_mm512_mul_ps(_mm512_mul_ps(t, t), _mm512_set1_ps(-.5f)));
  const __m512 u = reciprocal(_mm512_fmadd_ps(t, _mm512_set1_ps(.21f), _mm512_set1_ps(1.f)));
  __m512 p = _mm512_set1_ps(TAIL[0]);
  for (int i = 1; i < 9; ++i) p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(TAIL[i]));
  const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(p, u), e);
  const __mmask16 positive = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ);
  const __m512 share = _mm512_mask_sub_ps(tail, positive, _mm512_set1_ps(1.f), tail);
  return {_mm512_mul_ps(x, share), _mm512_fmadd_ps(_mm512_mul_ps(near, _mm512_set1_ps(0.3989422804f)), e, share)};
}

INLINE ValueAndSlope gelu_tanh(__m512 x) {
  const __m512 near = within(x, 10.f), square = _mm512_mul_ps(near, near);
  const __m512 cubic = _mm512_set1_ps(0.044715f), twice = _mm512_set1_ps(1.5957691216f);
  const __m512 w = _mm512_mul_ps(_mm512_mul_ps(near, twice), _mm512_fmadd_ps(square, cubic, _mm512_set1_ps(1.f)));
  const __m512 e = exp_negative(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_abs_ps(w)));
  const __m512 tail = _mm512_div_ps(e, _mm512_add_ps(e, _mm512_set1_ps(1.f)));  // s(-|2w|)
  const __mmask16 positive = _mm512_cmp_ps_mask(w, _mm512_setzero_ps(), _CMP_GT_OQ);
  const __m512 share = _mm512_mask_sub_ps(tail, positive, _mm512_set1_ps(1.f), tail);
  const __m512 both = _mm512_mul_ps(tail, _mm512_sub_ps(_mm512_set1_ps(1.f), tail));
  const __m512 steep =
      _mm512_mul_ps(twice, _mm512_fmadd_ps(square, _mm512_set1_ps(3 * 0.044715f), _mm512_set1_ps(1.f)));
  return {_mm512_mul_ps(x, share), _mm512_fmadd_ps(_mm512_mul_ps(near, both), steep, share)};
}

template <bool tanh, class T>
void gelu(const T* x, T* value, T* slope, long size, int threads) {
  const long vectors = (size + LANES - 1) / LANES;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long i = 0; i < vectors; ++i) {
    const __mmask16 mask = first(size - i * LANES);
    const ValueAndSlope found = tanh ? gelu_tanh(load(x + i * LANES, mask)) : gelu_erf(load(x + i * LANES, mask));
    store(value + i * LANES, found.value, mask);
    store(slope + i * LANES, found.slope, mask);
  }
}

}  // namespace
