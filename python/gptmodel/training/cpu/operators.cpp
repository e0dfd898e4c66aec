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

template <class Work>
bool by_activation(int64_t activation, const Work& work) {
  switch (activation) {
    case GELU: return work(std::integral_constant<Activation, GELU>());
    case GELU_TANH: return work(std::integral_constant<Activation, GELU_TANH>());
    default: return work(std::integral_constant<Activation, RELU_SQUARED>());
  }
}

const float* at_or_null(const std::optional<Tensor>& x) { return x.has_value() ? at<float>(*x) : nullptr; }

void check_layer(const Tensor& x, const Tensor& up, const std::optional<Tensor>& bias, const Tensor& down) {
  const auto whole = [](const Tensor& x) { return x.scalar_type() == ScalarType::Float && x.is_contiguous(); };
  STD_TORCH_CHECK(products_are_there(), "this torch has no products of MKL");
  STD_TORCH_CHECK(whole(x) && whole(up) && whole(down) && (!bias.has_value() || whole(*bias)),
                  "a feed-forward layer needs contiguous fp32 numbers");
  STD_TORCH_CHECK(x.dim() == 2 && up.dim() == 2 && down.dim() == 2 && x.size(1) == up.size(1) &&
                      up.size(0) == down.size(1) && (!bias.has_value() || bias->numel() == up.size(0)),
                  "a feed-forward layer needs x (N, D), up (F, D), bias (F) and down (D, F)");
}

std::tuple<Tensor, Tensor> feed_forward_operator(const Tensor& input, const Tensor& up, const std::optional<Tensor>& bias,
                                                 const Tensor& down, int64_t activation) {
  const Tensor x = torch::stable::contiguous(input);
  check_layer(x, up, bias, down);
  const FeedForward s{x.size(0), x.size(1), up.size(0), down.size(0), threads()};
  Tensor y = torch::stable::new_empty(x, {s.rows, s.out}), h = torch::stable::new_empty(x, {s.rows, s.F});
  STD_TORCH_CHECK(by_activation(activation, [&](auto kind) {
    return feed_forward<kind()>(s, at<float>(x), at<float>(up), at_or_null(bias), at<float>(down), at<float>(y),
                                at<float>(h));
  }), "no memory for a feed-forward layer");
  return {y, h};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> feed_forward_backward_operator(
    const Tensor& gradient, const Tensor& input, const Tensor& h, const Tensor& up, const std::optional<Tensor>& bias,
    const Tensor& down, int64_t activation) {
  const Tensor dy = torch::stable::contiguous(gradient), x = torch::stable::contiguous(input);
  check_layer(x, up, bias, down);
  const FeedForward s{x.size(0), x.size(1), up.size(0), down.size(0), threads()};
  Tensor dx = torch::stable::empty_like(x), dup = torch::stable::empty_like(up), ddown = torch::stable::empty_like(down);
  Tensor dbias = torch::stable::new_empty(x, {bias.has_value() ? s.F : 0});
  const Gradients to{at<float>(dx), at<float>(dup), at<float>(dbias), at<float>(ddown)};
  STD_TORCH_CHECK(by_activation(activation, [&](auto kind) {
    return feed_forward_backward<kind()>(s, at<float>(dy), at<float>(x), at<float>(h), at<float>(up), at_or_null(bias),
                                         at<float>(down), to);
  }), "no memory for the gradient of a feed-forward layer");
  return {dx, dup, dbias, ddown};
}

}  // namespace

// Whether this torch has MKL's products, which the feed-forward layer needs.
extern "C" int gptmodel_has_products() { return products_are_there(); }

STABLE_TORCH_LIBRARY_FRAGMENT(gptmodel, library) {
  library.def("gelu(Tensor x, bool tanh) -> (Tensor, Tensor)");
  library.def("attention(Tensor qkv, int heads) -> (Tensor, Tensor)");
  library.def("attention_backward(Tensor gradient, Tensor qkv, Tensor stats, int heads) -> Tensor");
  library.def("feed_forward(Tensor x, Tensor up, Tensor? bias, Tensor down, int activation) -> (Tensor, Tensor)");
  library.def(
      "feed_forward_backward(Tensor gradient, Tensor x, Tensor h, Tensor up, Tensor? bias, Tensor down, "
      "int activation) -> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(gptmodel, CPU, library) {
  library.impl("gelu", TORCH_BOX(&gelu_operator));
  library.impl("attention", TORCH_BOX(&attention_operator));
  library.impl("attention_backward", TORCH_BOX(&attention_backward_operator));
  library.impl("feed_forward", TORCH_BOX(&feed_forward_operator));
  library.impl("feed_forward_backward", TORCH_BOX(&feed_forward_backward_operator));
}
