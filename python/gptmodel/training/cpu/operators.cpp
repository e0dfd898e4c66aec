// The loops as operators of torch: gptmodel::gelu, attention and its gradient; see operators.py.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

int threads() { return torch::stable::get_num_threads(); }

template <class T>
T* at(const Tensor& x) { return static_cast<T*>(x.data_ptr()); }

// `work` with a null pointer of the type of the numbers of `x`, bf16 or fp32.
template <class Work>
void by_type(const Tensor& x, const Work& work) {
  if (x.scalar_type() == ScalarType::BFloat16) work((bf16*)nullptr);
  else {
    STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, "numbers must be fp32 or bf16");
    work((float*)nullptr);
  }
}

std::tuple<Tensor, Tensor> gelu_operator(const Tensor& input, bool tanh) {
  const Tensor x = torch::stable::contiguous(input);
  Tensor value = torch::stable::empty_like(x), slope = torch::stable::empty_like(x);
  by_type(x, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    (tanh ? gelu<true, T> : gelu<false, T>)(at<T>(x), at<T>(value), at<T>(slope), x.numel(), threads());
  });
  return {value, slope};
}

Attention shape_of(const Tensor& qkv, int64_t heads) {
  STD_TORCH_CHECK(qkv.dim() == 4 && heads > 0 && (qkv.size(2) - heads) % 2 == 0,
                  "queries, keys and values must be (B, T, H + 2G, K)");
  const int groups = (qkv.size(2) - heads) / 2;
  STD_TORCH_CHECK(groups > 0 && heads % groups == 0, "the groups must divide the heads");
  return {(int)qkv.size(0), (int)qkv.size(1), (int)heads, groups, (int)qkv.size(3)};
}

std::tuple<Tensor, Tensor> attention_operator(const Tensor& input, int64_t heads) {
  const Tensor qkv = torch::stable::contiguous(input);
  const Attention s = shape_of(qkv, heads);
  Tensor y = torch::stable::new_empty(qkv, {s.B, s.T, s.H, s.K});
  Tensor stats = torch::stable::new_empty(qkv, {s.B, s.H, s.T, 2}, ScalarType::Float);
  by_type(qkv, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    STD_TORCH_CHECK(for_each_group(s, numbers_to_attend(s), threads(), [&](long b, int g, float* memory) {
      attend(s, g, at<T>(qkv) + b * s.T * s.token(), at<T>(y) + b * s.T * s.H * s.K,
             at<float>(stats) + b * s.H * s.T * 2, memory);
    }), "no memory for attention");
  });
  return {y, stats};
}

Tensor attention_backward_operator(const Tensor& gradient, const Tensor& input, const Tensor& stats, int64_t heads) {
  const Tensor qkv = torch::stable::contiguous(input), dy = torch::stable::contiguous(gradient);
  const Attention s = shape_of(qkv, heads);
  STD_TORCH_CHECK(dy.scalar_type() == qkv.scalar_type(), "a gradient has the type of its numbers");
  Tensor dqkv = torch::stable::empty_like(qkv);
  by_type(qkv, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    STD_TORCH_CHECK(for_each_group(s, numbers_to_differentiate(s), threads(), [&](long b, int g, float* memory) {
      differentiate(s, g, at<T>(dy) + b * s.T * s.H * s.K, at<T>(qkv) + b * s.T * s.token(),
                    at<float>(stats) + b * s.H * s.T * 2, at<T>(dqkv) + b * s.T * s.token(), memory);
    }), "no memory for attention");
  });
  return dqkv;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(gptmodel, library) {
  library.def("gelu(Tensor x, bool tanh) -> (Tensor, Tensor)");
  library.def("attention(Tensor qkv, int heads) -> (Tensor, Tensor)");
  library.def("attention_backward(Tensor gradient, Tensor qkv, Tensor stats, int heads) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(gptmodel, CPU, library) {
  library.impl("gelu", TORCH_BOX(&gelu_operator));
  library.impl("attention", TORCH_BOX(&attention_operator));
  library.impl("attention_backward", TORCH_BOX(&attention_backward_operator));
}
