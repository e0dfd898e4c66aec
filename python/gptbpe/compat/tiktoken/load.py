"""``tiktoken.load``: reading and writing files of ranks. Nothing is downloaded.

A name is a path, or the URL of one of OpenAI's vocabularies: these come with gptbpe, byte for byte. Any other
URL is looked for in the cache folder under the name that tiktoken gives it there (the SHA-1 of the URL):
``TIKTOKEN_CACHE_DIR``, else ``DATA_GYM_CACHE_DIR``, else ``data-gym-cache`` among the temporary files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from gptbpe import files
from gptbpe.errors import TokenizerFileError
from gptbpe.tokenizer import Tokenizer

__all__ = [
    "check_hash",
    "data_gym_to_mergeable_bpe_ranks",
    "dump_tiktoken_bpe",
    "load_tiktoken_bpe",
    "read_file",
    "read_file_cached",
]

_PUBLIC = "https://openaipublic.blob.core.windows.net"


def _ranks_file(name: str) -> Callable[[], bytes]:
    return lambda: Tokenizer.get(name)._core.write_tiktoken()


def _gpt2_merges() -> bytes:
    return Tokenizer.get("gpt2")._core.write_gpt2()[1]


def _gpt2_vocab() -> bytes:
    # The published file is what Python's json writes by default, spaces included.
    return json.dumps(json.loads(Tokenizer.get("gpt2")._core.write_gpt2()[0])).encode()


_PACKAGED: dict[str, Callable[[], bytes]] = {
    f"{_PUBLIC}/encodings/{name}.tiktoken": _ranks_file(name)
    for name in ("r50k_base", "p50k_base", "cl100k_base", "o200k_base")
} | {
    f"{_PUBLIC}/gpt-2/encodings/main/vocab.bpe": _gpt2_merges,
    f"{_PUBLIC}/gpt-2/encodings/main/encoder.json": _gpt2_vocab,
}


def read_file(blobpath: str) -> bytes:
    r"""Return the contents of a file, or what OpenAI publishes at a URL.

    Raises:
        FileNotFoundError: there is no such file, or the URL is not one of OpenAI's vocabularies.

    >>> read_file("https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken")[:7]
    b'IQ== 0\n'
    """
    if "://" not in blobpath:
        return files.read(blobpath)
    packaged = _PACKAGED.get(blobpath)
    if packaged is None:
        raise FileNotFoundError(
            f"{blobpath} does not come with gptbpe, and nothing is downloaded; put the file into the folder "
            f"that TIKTOKEN_CACHE_DIR names, under the name {_cache_key(blobpath)}, or give a path"
        )
    return packaged()


def check_hash(data: bytes, expected_hash: str) -> bool:
    """Whether ``data`` has this SHA-256.

    >>> check_hash(b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    True
    """
    return hashlib.sha256(data).hexdigest() == expected_hash


def read_file_cached(blobpath: str, expected_hash: str | None = None) -> bytes:
    """Return the contents of a path, or of a URL that is in the cache folder or comes with gptbpe.

    A file in the cache folder with another hash is passed over and stays. Paths are always read anew.

    Raises:
        FileNotFoundError: it is found nowhere; nothing is downloaded.
        ValueError: what was found does not have the expected SHA-256.
    """
    cached = _cached(blobpath)
    if cached is not None and (expected_hash is None or check_hash(cached, expected_hash)):
        return cached
    try:
        contents = read_file(blobpath)
    except FileNotFoundError:
        if cached is None:
            raise
        contents = cached
    if expected_hash and not check_hash(contents, expected_hash):
        found = hashlib.sha256(contents).hexdigest()
        raise TokenizerFileError(f"{blobpath} has the sha256 {found}, expected {expected_hash}")
    return contents


def _cached(blobpath: str) -> bytes | None:
    """Return what the cache folder has for a URL."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        folder = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    if folder == "" or "://" not in blobpath:
        return None
    path = Path(folder) / _cache_key(blobpath)
    return path.read_bytes() if path.exists() else None


def _cache_key(blobpath: str) -> str:
    return hashlib.sha1(blobpath.encode(), usedforsecurity=False).hexdigest()


def load_tiktoken_bpe(tiktoken_bpe_file: str, expected_hash: str | None = None) -> dict[bytes, int]:
    """Read a ``.tiktoken`` file: a base64 token and its rank per line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is something else, or the file does not have the expected SHA-256.

    >>> url = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
    >>> load_tiktoken_bpe(url)[b" world"]
    1917
    """
    ranks = {}
    for line in read_file_cached(tiktoken_bpe_file, expected_hash).splitlines():
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[binascii.a2b_base64(token)] = int(rank)
        except ValueError as error:
            raise TokenizerFileError(
                f"{tiktoken_bpe_file}: expected a base64 token and a rank, found {line!r}"
            ) from error
    return ranks


def dump_tiktoken_bpe(bpe_ranks: Mapping[bytes, int], tiktoken_bpe_file: str) -> None:
    """Write a ``.tiktoken`` file in the order of ranks; it appears whole or not at all.

    Raises:
        OSError: the file cannot be written, or is a URL.
    """
    if "://" in tiktoken_bpe_file:
        raise OSError(f"{tiktoken_bpe_file} is no path, and gptbpe writes local files only")
    ordered = sorted(bpe_ranks.items(), key=lambda item: item[1])
    lines = [b"%b %d\n" % (base64.b64encode(token), rank) for token, rank in ordered]
    files.write_atomically(tiktoken_bpe_file, b"".join(lines))


def data_gym_to_mergeable_bpe_ranks(
    vocab_bpe_file: str,
    encoder_json_file: str,
    vocab_bpe_hash: str | None = None,
    encoder_json_hash: str | None = None,
    clobber_one_byte_tokens: bool = False,
) -> dict[bytes, int]:
    """Read GPT-2's pair of files, which must agree on the ranks.

    Args:
        vocab_bpe_file: the merges, after a first line that is passed over.
        encoder_json_file: token -> id.
        vocab_bpe_hash: the SHA-256 of the first file.
        encoder_json_hash: the SHA-256 of the second file.
        clobber_one_byte_tokens: take the ids of single bytes from the second file.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file does not have the expected SHA-256.
        AssertionError: the ids are not those that the order of the merges gives.
    """
    merges = read_file_cached(vocab_bpe_file, vocab_bpe_hash).decode()
    vocab = json.loads(read_file_cached(encoder_json_file, encoder_json_hash))
    byte_of = _bytes_of_letters()

    def token(letters: str) -> bytes:
        return bytes(byte_of[letter] for letter in letters)

    ids = {token(letters): id for letters, id in vocab.items()}
    for special in (b"<|endoftext|>", b"<|startoftext|>"):
        ids.pop(special, None)
    ranks = {bytes([byte]): rank for rank, byte in enumerate(byte_of.values())}
    for rank, line in enumerate(merges.split("\n")[1:-1], start=256):
        first, second = line.split()
        ranks[token(first) + token(second)] = rank
    if clobber_one_byte_tokens:
        ranks.update((each, id) for each, id in ids.items() if len(each) == 1)
    if ranks != ids:
        raise AssertionError(
            f"{encoder_json_file} gives other ids than the order of the merges in {vocab_bpe_file}"
        )
    return ranks


def _bytes_of_letters() -> dict[str, int]:
    """Letter -> byte, in the order of GPT-2's first 256 ids: bytes that print stand for themselves."""
    shown = [byte for byte in range(256) if chr(byte).isprintable() and byte != 0x20]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
