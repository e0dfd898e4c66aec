// Rows of a table, and their gradient. torch's compiler adds the rows of a gradient up with atomic additions in
// whatever order the threads come, so two equal runs end with different bits. Here each thread has some columns of
// all rows and adds in the order of the tokens.

namespace {

template <class Work>
void for_each_column_range(long width, int threads, const Work& work) {
  const long ranges = (width + LANES - 1) / LANES;
#pragma omp parallel num_threads(threads)
  {
    const long thread = omp_get_thread_num(), team = omp_get_num_threads();
    const long begin = ranges * thread / team * LANES, end = std::min(width, ranges * (thread + 1) / team * LANES);
    if (begin < end) work(begin, end);
  }
}

void look_up(const float* table, const int64_t* ids, long tokens, long width, float* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (long t = 0; t < tokens; ++t) memcpy(out + t * width, table + ids[t] * width, width * sizeof(float));
}

void add_rows(const float* gradient, const int64_t* ids, long tokens, long width, long rows, float* out,
              int threads) {
  for_each_column_range(width, threads, [&](long begin, long end) {
    for (long r = 0; r < rows; ++r) memset(out + r * width + begin, 0, (end - begin) * sizeof(float));
    for (long t = 0; t < tokens; ++t) {
      float* const to = out + ids[t] * width;
      const float* const from = gradient + t * width;
      for (long c = begin; c < end; c += LANES) {
        const __mmask16 mask = first(end - c);
        store(to + c, _mm512_add_ps(load(to + c, mask), load(from + c, mask)), mask);
      }
    }
  });
}

}  // namespace
