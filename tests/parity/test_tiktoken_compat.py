"""``gptbpe.compat.tiktoken`` against tiktoken itself: each function and method, on one set of ranks."""

from __future__ import annotations

import copy
import inspect
import pickle
import random
import subprocess
import sys
from array import array
from collections import deque
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptbpe import Tokenizer
from gptbpe.compat import tiktoken as compat
from gptbpe.compat.tiktoken import Encoding, get_encoding

tiktoken = pytest.importorskip("tiktoken")
models = pytest.importorskip("tiktoken.model")
registry = pytest.importorskip("tiktoken.registry")
openai_public = pytest.importorskip("tiktoken_ext.openai_public")

END, MARK = "<|endoftext|>", "<|é|>"
LETTERS = st.sampled_from(list("abehlortw '.!\n\t 019é中🙂<|>\x1c\x85\u3000\u2028"))
TEXTS = st.lists(
    st.one_of(
        st.text(st.one_of(LETTERS, st.characters(exclude_categories=["Cs"])), max_size=8),
        st.sampled_from([END, MARK, "<|endof", "  \n \n", "hello world", "你好", "👩\u200d👩\u200d👧"]),
    ),
    max_size=6,
).map("".join)
SURROGATES = st.lists(
    st.sampled_from(["a", "é", "\ud83d", "\ude42", "\udfff", END, MARK, "ab"]), max_size=5
).map("".join)

OPTIONS: list[dict[str, Any]] = [
    {},
    {"allowed_special": "all"},
    {"allowed_special": {END}},
    {"allowed_special": {END, "ab"}, "disallowed_special": "all"},
    {"allowed_special": {MARK}, "disallowed_special": ()},
    {"allowed_special": frozenset(), "disallowed_special": []},
    {"disallowed_special": None},
    {"disallowed_special": {"ab", END}},
    {"disallowed_special": ["ab"]},
    {"disallowed_special": "ab"},
    {"disallowed_special": {""}},
    {"allowed_special": "all", "disallowed_special": {"ab", MARK}},
]


class Pair:
    """One encoding, ours and tiktoken's."""

    def __init__(self, ours: Encoding) -> None:
        self.ours = ours
        self.theirs = tiktoken.Encoding(
            ours.name,
            pat_str=ours._pat_str,
            mergeable_ranks=ours._mergeable_ranks,
            special_tokens=ours._special_tokens,
        )

    def same(self, call: Callable[[Any], Any]) -> None:
        """Call it with both and compare what comes out, a value or an exception."""
        assert outcome(call, self.ours) == outcome(call, self.theirs)


def outcome(call: Callable[[Any], Any], encoding: Any) -> Any:
    try:
        return call(encoding)
    except Exception as error:
        # Of an exception of this package: what else it is, which is what code for tiktoken catches.
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == "builtins")
        return kind, error.args if kind is KeyError else None


@pytest.fixture(scope="module")
def gpt2() -> Pair:
    return Pair(with_mark(get_encoding("gpt2"), 50300))


@pytest.fixture(scope="module")
def cl100k() -> Pair:
    return Pair(with_mark(get_encoding("cl100k_base"), 100300))


def with_mark(base: Encoding, id: int) -> Encoding:
    return Encoding(
        base.name,
        pat_str=base._pat_str,
        mergeable_ranks=base._mergeable_ranks,
        special_tokens=base._special_tokens | {MARK: id},
    )


@pytest.fixture(scope="module")
def small() -> Pair:
    """Return a small vocabulary, on which every completion can be compared.

    Some tokens are not reached by merges, one special token is also an ordinary one, one is white space.
    """
    letters = random.Random(1)
    text = " ".join("".join(letters.choices("abeho'é中", k=4)) for _ in range(3000)) + "  \n \n\t" * 50
    tok = Tokenizer.train(text.encode(), 700, pattern="gpt2")
    ranks = tok.ranks() | {b"abcd": 700, b" x": 701, "ééé".encode(): 702, b"\xa9x": 703, b"ho": 704}
    special_tokens = {"<|x|>": 800, END: 801, MARK: 802, "ab": 803, "\n\n": 804}
    return Pair(
        Encoding("small", pat_str=tok.regexes[0], mergeable_ranks=ranks, special_tokens=special_tokens)
    )


@pytest.fixture(scope="module", params=["gpt2", "cl100k", "small"])
def pair(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


# ---- the surface -----------------------------------------------------------------------------------


def test_the_surface_is_the_same() -> None:
    for name, value in vars(tiktoken).items():
        assert name.startswith("_") or inspect.ismodule(value) or hasattr(compat, name), name
    for name, theirs in inspect.getmembers(tiktoken.Encoding):
        if name.startswith("_") and name != "__init__":
            continue
        ours = getattr(Encoding, name)
        if inspect.isfunction(theirs):
            shape = [(each.name, each.kind) for each in inspect.signature(theirs).parameters.values()]
            mine = [(each.name, each.kind) for each in inspect.signature(ours).parameters.values()]
            assert mine == shape, name
    for name in ("get_encoding", "encoding_for_model", "encoding_name_for_model", "list_encoding_names"):
        ours, theirs = getattr(compat, name), getattr(tiktoken, name)
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)


def test_what_it_is(pair: Pair) -> None:
    for call in (
        repr,
        lambda enc: enc.name,
        lambda enc: enc.n_vocab,
        lambda enc: enc.max_token_value,
        lambda enc: enc.eot_token,
        lambda enc: enc.special_tokens_set,
        lambda enc: enc.token_byte_values(),
        lambda enc: enc._pat_str,
        lambda enc: [enc.is_special_token(id) for id in (0, 50256, 100257, 801, -1, 10**9, True)],
        lambda enc: enc.is_special_token("a"),
        lambda enc: enc.is_special_token(np.int64(801)),
    ):
        pair.same(call)


def test_functions_of_the_module() -> None:
    assert compat.list_encoding_names() == tiktoken.list_encoding_names()
    assert compat.model.MODEL_TO_ENCODING == models.MODEL_TO_ENCODING
    assert compat.model.MODEL_PREFIX_TO_ENCODING == models.MODEL_PREFIX_TO_ENCODING
    names = [*models.MODEL_TO_ENCODING, *models.MODEL_PREFIX_TO_ENCODING]
    names += [name + "-x" for name in names] + [name[:-1] for name in names] + ["", "GPT-4", "x"]
    for name in names:
        ours = outcome(lambda module, name=name: module.encoding_name_for_model(name), compat)
        theirs = outcome(lambda module, name=name: module.encoding_name_for_model(name), tiktoken)
        assert ours == theirs or ours[0] is theirs[0] is KeyError, name
    for name in ("no such", "", 5, None, ["gpt2"]):
        for module in (compat, tiktoken):
            with pytest.raises(ValueError, match=r"."):
                module.get_encoding(name)
    assert compat.get_encoding("p50k_edit") is compat.get_encoding("p50k_edit")
    assert compat.encoding_for_model("gpt-oss-20b") is compat.get_encoding("o200k_harmony")
    with pytest.raises(KeyError):
        compat.encoding_for_model("no such")


@pytest.mark.parametrize("name", tiktoken.list_encoding_names())
def test_encodings_are_defined_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the ranks, which would be downloaded; ``test_packaged.py`` compares those."""
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    monkeypatch.setattr(openai_public, "data_gym_to_mergeable_bpe_ranks", lambda *_, **__: {})
    theirs = openai_public.ENCODING_CONSTRUCTORS[name]()
    ours = get_encoding(name)
    assert ours._special_tokens == theirs["special_tokens"]
    assert compat.registry.ENCODING_CONSTRUCTORS[name]().keys() == theirs.keys() - {"explicit_n_vocab"}
    assert ours.name == name
    ranks = {bytes([byte]): byte for byte in range(256)}
    assert Tokenizer.from_ranks(ranks, pattern=[theirs["pat_str"]]).pattern == ours._tokenizer.pattern


def test_pickles_and_copies(pair: Pair) -> None:
    def copies(enc: Any) -> list[Any]:
        return [pickle.loads(pickle.dumps(enc)), copy.copy(enc), copy.deepcopy(enc)]

    pair.same(lambda enc: [each.encode("hello <|endoftext|>", allowed_special="all") for each in copies(enc)])
    pair.same(lambda enc: [(each.name, each.special_tokens_set, each.n_vocab) for each in copies(enc)])
    known = get_encoding("cl100k_base")
    assert pickle.loads(pickle.dumps(known)) is known
    assert len(pickle.dumps(known)) < 100


@pytest.mark.parametrize("is_registered", [True, False])
def test_a_pickle_of_tiktoken_opens_where_it_is_replaced(is_registered: bool) -> None:
    ours = get_encoding("gpt2")
    theirs = tiktoken.Encoding(
        "gpt2", pat_str=ours._pat_str, mergeable_ranks=ours._mergeable_ranks, special_tokens={END: 50256}
    )
    with mock.patch.dict(registry.ENCODINGS, {"gpt2": theirs} if is_registered else {}):
        data = pickle.dumps(theirs)
    assert (len(data) < 100) == is_registered
    code = (
        "import pickle, sys; from gptbpe.compat import tiktoken; sys.modules['tiktoken'] = tiktoken\n"
        "encoding = pickle.loads(sys.stdin.buffer.read())\n"
        "import tiktoken.core\n"
        "assert type(encoding) is tiktoken.core.Encoding is tiktoken.Encoding\n"
        "print(encoding.name, encoding.encode('hello world'))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, input=data).stdout
    assert printed.decode().strip() == "gpt2 [31373, 995]"


def test_published_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What our ``load`` reads has the hashes that tiktoken's constructors ask for."""
    for name in ("load_tiktoken_bpe", "data_gym_to_mergeable_bpe_ranks"):
        monkeypatch.setattr(openai_public, name, getattr(compat.load, name))
    for name, constructor in openai_public.ENCODING_CONSTRUCTORS.items():
        assert constructor()["mergeable_ranks"] == get_encoding(name)._mergeable_ranks


def test_impossible_encodings() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    for arguments in (
        {"pat_str": "("},
        {"pat_str": 5},
        {"explicit_n_vocab": 7},
        {"explicit_n_vocab": 256},
        {"explicit_n_vocab": 0},
        {"mergeable_ranks": {}},
        {"mergeable_ranks": []},
        {"mergeable_ranks": {"a": 1}},
        {"special_tokens": None},
        {"special_tokens": ["<|x|>"]},
        {"special_tokens": {5: 5}},
        {"special_tokens": {"<|x|>": 1.5}},
        {"special_tokens": {"<|x|>": 97.0}},
        {"special_tokens": {"<|x|>": 300, "<|y|>": 300.0}},
        {"special_tokens": {"<|x|>": True}},
        {"special_tokens": {"<|x|>": -1}},
        {"special_tokens": {"<|x|>": 2**32}},
        {"special_tokens": {"\ud800": 300}},
    ):
        given = {"pat_str": r"\w+|\W", "mergeable_ranks": ranks, "special_tokens": {}} | arguments
        ours, theirs = (
            outcome(lambda kind, given=given: kind("x", **given).n_vocab, module.Encoding)
            for module in (compat, tiktoken)
        )
        assert ours == theirs, arguments


# ---- encoding --------------------------------------------------------------------------------------


@given(text=st.one_of(TEXTS, SURROGATES), options=st.sampled_from(OPTIONS))
def test_encoding(text: str, options: dict[str, Any], pair: Pair) -> None:
    pair.same(lambda enc: enc.encode_ordinary(text))
    pair.same(lambda enc: enc.encode(text, **options))
    pair.same(lambda enc: enc.encode_to_numpy(text, **options).tolist())
    pair.same(lambda enc: enc.encode_to_numpy(text, **options).dtype)
    pair.same(lambda enc: enc._encode_bytes(text.encode("utf-8", "surrogatepass")))


@settings(max_examples=30)
@given(
    texts=st.lists(st.one_of(TEXTS, SURROGATES), min_size=1, max_size=4),
    options=st.sampled_from(OPTIONS).filter(lambda options: options != {"disallowed_special": None}),
)
def test_batches(texts: list[str], options: dict[str, Any], pair: Pair) -> None:
    pair.same(lambda enc: enc.encode_batch(texts, num_threads=2, **options))
    pair.same(lambda enc: enc.encode_ordinary_batch(texts, num_threads=1))


@given(piece=st.one_of(st.binary(min_size=1, max_size=12), TEXTS.map(str.encode).filter(bool)))
def test_bytes_and_pieces(piece: bytes, pair: Pair) -> None:
    pair.same(lambda enc: enc._encode_bytes(piece))
    pair.same(lambda enc: enc._encode_single_piece(piece))
    pair.same(lambda enc: enc.encode_single_token(piece))


@pytest.mark.parametrize(
    "token",
    ["hello", " world", b"\xff", END, "ab", "no such token", "", b"\xff\xfe\xfd", MARK, "\ud800", 5, None],
)
def test_single_tokens(token: Any, pair: Pair) -> None:
    pair.same(lambda enc: enc.encode_single_token(token))


@pytest.mark.parametrize("text", [5, None, b"bytes", bytearray(b"x"), ["a"], ""])
@pytest.mark.parametrize(
    "method", ["encode", "encode_ordinary", "encode_to_numpy", "encode_with_unstable", "encode_batch"]
)
def test_what_is_no_text(method: str, text: Any, small: Pair) -> None:
    if method == "encode_batch":
        small.same(lambda enc: enc.encode_batch([text]))
        small.same(lambda enc: enc.encode_ordinary_batch([text]))
    else:
        small.same(lambda enc: np.asarray(getattr(enc, method)(text), dtype=object).tolist())


@pytest.mark.parametrize(
    "options",
    [
        {"allowed_special": [END]},
        {"allowed_special": END},
        {"allowed_special": END, "disallowed_special": ()},
        {"allowed_special": {5}},
        {"disallowed_special": 5},
        {"disallowed_special": {5}},
    ],
)
@pytest.mark.parametrize("method", ["encode", "encode_to_numpy", "encode_with_unstable", "encode_batch"])
def test_what_is_no_set_of_names(method: str, options: dict[str, Any], small: Pair) -> None:
    text = ["text"] if method == "encode_batch" else "text"
    small.same(lambda enc: getattr(enc, method)(text, **options))


@pytest.mark.parametrize(
    "allowed", [{5}, {"ab", 5}, {"\ud800"}, {"ab": 1}.keys(), {b"ab"}, ["ab"], "ab", 5, None, {"no such"}]
)
@pytest.mark.parametrize("disallowed", ["all", (), {"ab"}, {"\ud800"}, {5}, ["ab", 5], {""}, "ab", [[]], 5])
def test_the_first_error_is_tiktokens(allowed: Any, disallowed: Any, small: Pair) -> None:
    options = {"allowed_special": allowed, "disallowed_special": disallowed}
    for text in ("x", "x ab", "x\ud800", "ab\ud800", b"x ab", None):
        for method in ("encode", "encode_to_numpy", "encode_with_unstable"):
            small.same(lambda enc, m=method, t=text: plain(getattr(enc, m)(t, **options)))
        for texts in ([], ["x", text], ["x ab", text], [text, "ab"]):
            small.same(lambda enc, texts=texts: enc.encode_batch(texts, **options))


def plain(result: Any) -> Any:
    """Return something that can be compared: of completions, which come in any order, a sorted list."""
    if isinstance(result, tuple):
        return result[0], sorted(result[1])
    return result.tolist() if isinstance(result, np.ndarray) else result


def test_numbers_of_threads(small: Pair) -> None:
    for threads in (0, -1, 1, 50):
        small.same(lambda enc, threads=threads: enc.encode_batch(["a", "b"], num_threads=threads))
        small.same(lambda enc, threads=threads: enc.encode_ordinary_batch(["a"], num_threads=threads))
        small.same(lambda enc, threads=threads: enc.decode_batch([[97], [98]], num_threads=threads))
        small.same(lambda enc, threads=threads: enc.decode_bytes_batch([[97]], num_threads=threads))
    small.same(lambda enc: enc.encode_batch([]))
    small.same(lambda enc: enc.encode_batch("abc"))


UNSTABLE = st.text(alphabet="abehox '\n\t <|>é中\x1c\u3000", max_size=9)


@settings(max_examples=150)
@given(text=UNSTABLE, ends=st.sampled_from(["", "<|x|>", "\n\n", "ab"]), options=st.sampled_from(OPTIONS))
def test_unstable(text: str, ends: str, options: dict[str, Any], small: Pair) -> None:
    def call(enc: Any) -> Any:
        stable, completions = enc.encode_with_unstable(text[:4] + ends + text[4:], **options)
        return stable, sorted(completions)

    small.same(call)


@pytest.mark.parametrize(("name", "text", "count"), [("gpt2", "中", 2), ("o200k_base", "hello ſ", 7)])
def test_completions_that_are_no_token(name: str, text: str, count: int) -> None:
    pair = Pair(get_encoding(name))
    pair.same(lambda enc: plain(enc.encode_with_unstable(text)))
    assert len(pair.ours.encode_with_unstable(text)[1]) == count


@pytest.mark.parametrize(
    "text", ["hello fanta", "x  \n", "中文", "a\n \n", "don't", f"a{END}", "\ud800", " 你"]
)
def test_unstable_with_a_real_vocabulary(text: str, cl100k: Pair) -> None:
    def call(enc: Any) -> Any:
        stable, completions = enc.encode_with_unstable(text, allowed_special="all")
        return stable, sorted(completions)

    cl100k.same(call)


# ---- ids that special tokens share -----------------------------------------------------------------


@pytest.fixture(scope="module")
def harmony() -> Pair:
    return Pair(get_encoding("o200k_harmony"))


SHARED = "a<|endofprompt|> b<|reserved_200018|><|start|>中"


def test_two_names_of_one_id(harmony: Pair) -> None:
    for options in (
        {"allowed_special": "all"},
        {"allowed_special": {"<|reserved_200018|>"}, "disallowed_special": ()},
        {"allowed_special": {"<|endofprompt|>"}, "disallowed_special": ()},
        {"allowed_special": {"<|endofprompt|>"}},
        {"disallowed_special": ()},
        {"disallowed_special": {"<|reserved_200018|>"}},
        {},
    ):
        for text in (SHARED, SHARED + "\ud800", "a"):
            harmony.same(lambda enc, options=options, text=text: enc.encode(text, **options))
            harmony.same(
                lambda enc, options=options, text=text: enc.encode_batch([text, text, "b"], **options)
            )
            for method in ("encode_to_numpy", "encode_with_unstable"):
                harmony.same(lambda enc, m=method, o=options, t=text: plain(getattr(enc, m)(t, **o)))
    assert harmony.ours.encode(SHARED, allowed_special="all").count(200018) == 2
    for name in ("<|endofprompt|>", "<|reserved_200018|>"):
        harmony.same(lambda enc, name=name: enc.encode_single_token(name))
    for ids in ([200018], [200017, 200018, 97], [201087], [201088], [201089]):
        for decode in DECODERS:
            harmony.same(lambda enc, decode=decode, ids=ids: decode(enc, ids))
    harmony.same(lambda enc: (enc.n_vocab, len(enc.special_tokens_set), enc.is_special_token(201088)))
    harmony.same(lambda enc: pickle.loads(pickle.dumps(enc)).encode(SHARED, allowed_special="all"))


def test_a_special_token_with_the_id_of_an_ordinary_one() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256}
    special_tokens = {"<|x|>": 97, "<|y|>": 256, "<|z|>": 300, "<|space|>": 32}
    pair = Pair(Encoding("x", pat_str=r"\w+|\W", mergeable_ranks=ranks, special_tokens=special_tokens))
    text = "ab<|y|>  <|x|>a<|z|> <|space|> a  <|space|> "
    pair.same(lambda enc: enc.encode(text, allowed_special="all"))
    pair.same(lambda enc: enc.encode_to_numpy(text, allowed_special="all").tolist())
    for end in range(len(text) + 1):
        pair.same(
            lambda enc, end=end: plain(
                enc.encode_with_unstable(text[:end], allowed_special="all", disallowed_special=())
            )
        )
    for ids in ([97], [256], [300], [301], [304], [32]):
        for decode in DECODERS:
            pair.same(lambda enc, decode=decode, ids=ids: decode(enc, ids))
    pair.same(lambda enc: pickle.loads(pickle.dumps(enc)).encode(text, allowed_special="all"))


# ---- decoding --------------------------------------------------------------------------------------

DECODERS: list[Callable[[Any, Any], Any]] = [
    lambda enc, ids: enc.decode(ids),
    lambda enc, ids: enc.decode(ids, errors="ignore"),
    lambda enc, ids: enc.decode(ids, "strict"),
    lambda enc, ids: enc.decode_bytes(ids),
    lambda enc, ids: enc.decode_tokens_bytes(ids),
    lambda enc, ids: enc.decode_with_offsets(ids),
    lambda enc, ids: enc.decode_batch([ids, [97]]),
    lambda enc, ids: enc.decode_batch([ids], errors="strict"),
    lambda enc, ids: enc.decode_bytes_batch([[97], ids]),
]


@given(text=TEXTS)
def test_text_comes_back_with_its_offsets(text: str, pair: Pair) -> None:
    ids = pair.theirs.encode(text, allowed_special="all")
    assert pair.ours.decode(ids) == text
    for decode in DECODERS:
        pair.same(lambda enc, decode=decode: decode(enc, ids))


@given(ids=st.lists(st.one_of(st.integers(0, 703), st.integers(0, 101_000), st.just(END)), max_size=6))
def test_any_ids_decode_alike(ids: list[Any], pair: Pair) -> None:
    for decode in DECODERS:
        pair.same(lambda enc, decode=decode: decode(enc, ids))


@pytest.mark.parametrize(
    "ids",
    [
        [97, 10**6],
        [-1],
        [10**6, -1],
        [2**40],
        ["a"],
        [1.5],
        [None],
        "abc",
        b"abc",
        5,
        None,
        range(3),
        (97, 98),
        np.array([97, 98]),
        np.array([97, 98], dtype=np.uint8),
        np.array([[97], [98]]),
        np.array([97.0]),
        np.array([10**6, 2**40]),
        [True],
        [],
        {97},
        {97: 98},
        {97: 98}.keys(),
        deque([97, 98]),
        array("I", [97]),
        [10**6, "a"],
        [2**40, "a"],
    ],
)
@pytest.mark.parametrize("decode", DECODERS)
def test_what_are_no_ids(decode: Callable[[Any, Any], Any], ids: Any, small: Pair) -> None:
    small.same(lambda enc: decode(enc, ids))


@pytest.mark.parametrize(
    "id", [97, 801, 803, 900, 10**6, -1, 2**32, 2**40, "a", b"a", 1.5, None, True, np.int64(97)]
)
def test_single_ids(id: Any, small: Pair) -> None:
    small.same(lambda enc: enc.decode_single_token_bytes(id))
