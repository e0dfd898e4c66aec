// The norm of all gradients, and their scaling down to a limit, in two passes over memory.
//
// Squares are added up in pieces of fixed size and the pieces in double precision and in one order, whatever the
// number of threads.

namespace {

constexpr long PIECE = 1 << 14;

struct Piece {
  float* x;
  long size;
};

double squares(const Piece& piece) {
  __m512 sums[4] = {};
  for (long i = 0; i < piece.size; i += 4 * LANES)
    for (int j = 0; j < 4; ++j) {
      const __m512 x = load(piece.x + i + j * LANES, first(piece.size - i - j * LANES));
      sums[j] = _mm512_fmadd_ps(x, x, sums[j]);
    }
  double sum = 0;
  for (const __m512& each : sums) {
    sum += _mm512_reduce_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(each)));
    sum += _mm512_reduce_add_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(each, 1)));
  }
  return sum;
}

void scale(const Piece& piece, float factor) {
  for (long i = 0; i < piece.size; i += LANES) {
    const __mmask16 mask = first(piece.size - i);
    store(piece.x + i, _mm512_mul_ps(load(piece.x + i, mask), _mm512_set1_ps(factor)), mask);
  }
}

}  // namespace

// Multiplies `count` arrays of fp32 numbers by limit / (norm + epsilon) where that is below 1, or not a number.
// Returns their norm before.
extern "C" float gptmodel_clip(float* const* arrays, const int64_t* sizes, int count, float limit, float epsilon,
                               int threads) {
  std::vector<Piece> pieces;
  for (int i = 0; i < count; ++i)
    for (long at = 0; at < sizes[i]; at += PIECE) pieces.push_back({arrays[i] + at, std::min(PIECE, sizes[i] - at)});
  std::vector<double> sums(pieces.size());
  float norm = 0;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (size_t i = 0; i < pieces.size(); ++i) sums[i] = squares(pieces[i]);
#pragma omp single
    norm = std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
    const float factor = limit / (norm + epsilon);
    if (!(factor >= 1)) {
#pragma omp for schedule(static)
      for (size_t i = 0; i < pieces.size(); ++i) scale(pieces[i], factor);
    }
  }
  return norm;
}
