// Products of fp32 matrices by MKL on the thread that calls, for loops that have a team of threads themselves.
//
// A thread multiplies the rows that it has in the loops around the product: they are in its second-level cache,
// and threads do not wait for one another after each product.

extern "C" {  // in torch's library, where torch is built with MKL
#define IF_THERE __attribute__((weak))
IF_THERE void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                     const int*, const float*, const int*, const float*, float*, const int*);
IF_THERE size_t sgemm_pack_get_size_(const char*, const int*, const int*, const int*);
IF_THERE void sgemm_pack_(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                          const int*, float*);
IF_THERE void sgemm_compute_(const char*, const char*, const int*, const int*, const int*, const float*, const int*,
                             const float*, const int*, const float*, float*, const int*);
IF_THERE int MKL_Set_Num_Threads_Local(int);
#undef IF_THERE
}

namespace {

bool products_are_there() {
  return sgemm_ != nullptr && sgemm_pack_get_size_ != nullptr && sgemm_pack_ != nullptr &&
         sgemm_compute_ != nullptr && MKL_Set_Num_Threads_Local != nullptr;
}

// While one exists, MKL computes on the thread that calls it.
struct OneThread {
  const int before = MKL_Set_Num_Threads_Local(1);
  ~OneThread() { MKL_Set_Num_Threads_Local(before); }
};

// Number (r, k) is x[r * row + k * column], and one of the two strides is 1.
struct Matrix {
  const float* x;
  long row, column;
  Matrix from_row(long r) const { return {x + r * row, row, column}; }
  Matrix from_column(long k) const { return {x + k * column, row, column}; }
  const char* transposed() const { return column == 1 ? "N" : "T"; }
  int stride() const { return column == 1 ? row : column; }
};

// c (M, N), rows `c_row` apart, = a (M, K) b (K, N). MKL counts columns first: to it, that is c' = b' a'.
void multiply(const Matrix& a, const Matrix& b, float* c, int c_row, int M, int N, int K) {
  const float one = 1, zero = 0;
  const int a_stride = a.stride(), b_stride = b.stride();
  if (M > 0 && N > 0)
    sgemm_(b.transposed(), a.transposed(), &N, &M, &K, &one, b.x, &b_stride, a.x, &a_stride, &zero, c, &c_row);
}

// The right factor (K, N) of several products, which `pack` copies into MKL's own order.
struct RightFactor {
  Matrix b;
  int K, N;
  const float* packed = nullptr;

  size_t packed_numbers(int rows) const {
    constexpr size_t PAGE = 4096;
    return (sgemm_pack_get_size_("A", &N, &rows, &K) + PAGE - 1) / PAGE * (PAGE / sizeof(float));
  }

  // For left factors of about `rows` rows. `memory` has room for `packed_numbers`.
  void pack(int rows, float* memory) {
    const float one = 1;
    const int stride = b.stride();
    sgemm_pack_("A", b.transposed(), &N, &rows, &K, &one, b.x, &stride, memory);
    packed = memory;
  }
};

// c (rows, N) = a (rows, K) b, all rows contiguous.
void multiply(const float* a, const RightFactor& b, float* c, int rows) {
  if (b.packed == nullptr) return multiply({a, b.K, 1}, b.b, c, b.N, rows, b.N, b.K);
  const float zero = 0;
  sgemm_compute_("P", "N", &b.N, &rows, &b.K, b.packed, &b.K, a, &b.K, &zero, c, &b.N);
}

// From `begin` to before `end`: what thread `thread` of `team` has of `size`.
struct Share {
  long begin, end;
  long size() const { return end - begin; }
};

Share share(long size, int thread, int team) { return {size * thread / team, size * (thread + 1) / team}; }

// Whether each thread adds up a gradient (M, N) over its own tokens, which are in its cache, and the sums are
// added afterwards; if not, each thread computes some of the numbers, over all tokens.
bool in_parts(long M, long N) { return M * N <= 1 << 18; }

size_t numbers_of_parts(long M, long N, int threads) { return in_parts(M, N) ? (threads - 1) * M * N : 0; }

// c (M, N) = a (M, tokens) b (tokens, N). All threads of a team call it, after a barrier; `parts` has room for
// `numbers_of_parts`.
void multiply_over_tokens(const Matrix& a, const Matrix& b, float* c, long M, long N, long tokens, float* parts) {
  const int thread = omp_get_thread_num(), team = omp_get_num_threads();
  if (in_parts(M, N)) {
    const Share mine = share(tokens, thread, team), numbers = share(M * N, thread, team);
    multiply(a.from_column(mine.begin), b.from_row(mine.begin), thread == 0 ? c : parts + (thread - 1) * M * N, N, M, N,
             mine.size());
#pragma omp barrier
    for (int other = 1; other < team; ++other)
      for (long i = numbers.begin; i < numbers.end; ++i) c[i] += parts[(other - 1) * M * N + i];
  } else if (M >= N) {
    const Share rows = share(M, thread, team);
    multiply(a.from_row(rows.begin), b, c + rows.begin * N, N, rows.size(), N, tokens);
  } else {
    const Share columns = share(N, thread, team);
    multiply(a, b.from_column(columns.begin), c + columns.begin, N, M, columns.size(), tokens);
  }
}

}  // namespace
