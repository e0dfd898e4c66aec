"""Put the operators of this folder in the graph of a model that torch compiles for a CPU.

The model stays as it is written. A pass over the graph as it was traced, before it is differentiated,
replaces feed-forward layers, GELU, embeddings, and attention that is written out
(`model.attention.math_attention`).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gptmodel.model.attention import WRITTEN_OUT, math_attention
from gptmodel.training.cpu import embedding, operators
from gptmodel.training.cpu.library import source

__all__ = ["in_compiled_graphs"]

Node = Any  # a torch.fx.Node, whose arguments may be anything

LEAST_TOKENS = 64
"""So many a thread: MKL has 178 GFLOP/s with 32 rows of the recipe, 239 with 64 and 290 with 384."""

EMBEDDING = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")


@contextmanager
def in_compiled_graphs(*, mkl: bool = True) -> Iterator[None]:
    """Inside, graphs that torch compiles for a CPU have the operators that there are on this computer.

    ``mkl`` says whether MKL multiplies their matrices, which feed-forward layers of ours also leave to it.
    """
    from torch._inductor import config

    if not hasattr(config, "pre_grad_custom_pass"):  # an older torch
        yield
        return
    replacements: dict[Any, Any] = {F.embedding: _embedding}
    if operators.load():
        replacements |= {F.gelu: _gelu, math_attention: _attention}
        allow: Any = torch.compiler.allow_in_graph
        allow(math_attention)  # one node of the traced graph, not its ten operators
    if mkl and operators.has_products():
        replacements |= {F.linear: _feed_forward}
    with config.patch(pre_grad_custom_pass=_graph_pass(replacements)):
        yield


def _graph_pass(replacements: dict[Any, Any]) -> Any:
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

    class UseOperators(CustomGraphPass):
        """Replaces what an operator computes."""

        def __call__(self, graph: torch.fx.Graph) -> None:
            for node in reversed(list(graph.nodes)):  # a whole layer before the activation in it
                if node.target in replacements:
                    with graph.inserting_before(node):
                        found = replacements[node.target](graph, node) if node.users else None
                    if found is not None:
                        found.meta = {**node.meta, **found.meta}  # the nodes after it ask for its shape
                        node.replace_all_uses_with(found)
                        graph.erase_node(node)

        def uuid(self) -> Any:
            files = (__file__, operators.__file__, embedding.__file__)
            return get_hash_for_files(files), source(), len(replacements), torch.get_num_threads()

    return UseOperators()


def _gelu(graph: Any, node: Node) -> Node | None:
    (x,) = node.args
    if not _fits(x, torch.float32, torch.bfloat16):
        return None
    tanh = node.kwargs.get("approximate", "none") == "tanh"
    return _first(graph, graph.call_function(torch.ops.gptmodel.gelu.default, (x, tanh)))


def _feed_forward(graph: Any, node: Node) -> Node | None:
    """A layer, if ``node`` is the second of its products, and each thread has enough tokens."""
    values, down, down_bias = _linear(node)
    h, activation = _activation(values)
    if activation is None or h.target is not F.linear or len(h.users) != 1:
        return None
    x, up, bias = _linear(h)
    given = [part for part in (x, up, bias, down, down_bias) if part is not None]
    tokens, width = _value(x).shape[:-1].numel(), _value(x).shape[-1]
    if not all(_fits(part, torch.float32) for part in given):
        return None
    if tokens < LEAST_TOKENS * torch.get_num_threads():
        return None
    rows = graph.call_method("reshape", (x, (tokens, width)))
    index = operators.ACTIVATIONS.index(activation)
    layer = torch.ops.gptmodel.feed_forward.default
    y = _first(graph, graph.call_function(layer, (rows, up, bias, down, index)))
    y = graph.call_method("view", (y, _value(node).shape))
    return y if down_bias is None else graph.call_function(operator.add, (y, down_bias))


def _linear(node: Node) -> tuple[Node, Node, Node | None]:
    """Input, weight and bias."""
    given = dict(zip(("input", "weight", "bias"), node.args, strict=False)) | dict(node.kwargs)
    return given["input"], given["weight"], given.get("bias")


def _activation(node: Node) -> tuple[Node, str | None]:
    """The input and the name of an activation that nothing else uses; None as its name for anything else."""
    if len(node.users) == 1 and node.target is F.gelu:
        tanh = node.kwargs.get("approximate", "none") == "tanh"
        return node.args[0], "gelu_tanh" if tanh else "gelu"
    if len(node.users) == 1 and node.target == "square":
        relu = node.args[0]
        if len(relu.users) == 1 and relu.target is F.relu:
            return relu.args[0], "relu2"
    return node, None


def _embedding(graph: Any, node: Node) -> Node | None:
    given = dict(zip(EMBEDDING, node.args, strict=False)) | dict(node.kwargs)
    ids, weight = given["input"], given["weight"]
    limited = given.get("padding_idx") is not None or given.get("max_norm") is not None
    if limited or given.get("scale_grad_by_freq") or given.get("sparse"):
        return None
    if not _fits(weight, torch.float32) or not _fits(ids, torch.int64):
        return None
    return graph.call_function(embedding.embedding_operator(), (weight, ids))


def _attention(graph: Any, node: Node) -> Node | None:
    options = node.kwargs
    if not options.get("causal") or options.get("mask") is not None or options.get("dropout"):
        return None
    narrow = [_before_cast(x) for x in node.args]
    if not all(_fits(x, torch.float32, torch.bfloat16) for x in narrow):
        return None
    queries, keys = _value(narrow[0]), _value(narrow[1])
    _, heads, positions, _ = queries.shape
    if keys.shape[2:] != queries.shape[2:] or positions > WRITTEN_OUT:
        return None
    qkv = _packed(narrow)
    if qkv is None:
        qkv = graph.call_method("transpose", (graph.call_function(torch.cat, (narrow, 1)), 1, 2))
    pair = graph.call_function(torch.ops.gptmodel.attention.default, (qkv, heads))
    y_BHTK = graph.call_method("transpose", (_first(graph, pair), 1, 2))
    return graph.call_method("to", (y_BHTK, _value(node.args[2]).dtype))


def _packed(heads: list[Node]) -> Node | None:
    """The tensor (B, T, J, K) of which queries, keys and values are all the parts, in this order."""
    splits = {part.args[0] for part in heads if part.target is operator.getitem}
    if [part.args[1:] for part in heads] != [(0,), (1,), (2,)] or len(splits) != 1:
        return None
    (split,) = splits
    turned = split.args[0]
    if split.target != "split" or turned.target != "transpose" or turned.args[1:] != (1, 2):
        return None
    return turned.args[0]


def _before_cast(node: Node) -> Node:
    """What was cast to fp32: the operators read bf16."""
    return node.args[0] if node.target == "float" else node


def _first(graph: Any, pair: Node) -> Node:
    return graph.call_function(operator.getitem, (pair, 0))


def _value(node: Node) -> Tensor:
    value: Tensor = node.meta["example_value"]
    return value


def _fits(node: Node, *dtypes: torch.dtype) -> bool:
    value = _value(node)
    return value.device.type == "cpu" and value.dtype in dtypes
