"""``gptbpe doctor``: is everything here that should be, and does it work?"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from gptbpe import packaged
from gptbpe._core import __version__
from gptbpe.cli import console
from gptbpe.tokenizer import Tokenizer

OPTIONAL = {
    "torch": "model",
    "safetensors": "model",
    "tensorboard": "model",
    "matplotlib": "model",
    "lightning": "lightning",
    "transformers": "hf",
    "tokenizers": "hf",
    "pyarrow": "parquet",
    "fastapi": "serve",
}
"""Optional package -> the extra that installs it."""


def doctor(*, json: console.Json = False) -> int:
    """Check this installation: versions, packaged encodings, a round trip, the disk, optional packages.

    Ends with exit code 1 when a check fails; optional packages that are missing are no failure.

    Parameters
    ----------
    json
        Print the findings as JSON on standard output.
    """
    findings: list[dict[str, str]] = []

    def check(name: str, test: Callable[[], str]) -> None:
        try:
            findings.append({"check": name, "state": "ok", "found": test()})
        except Exception as error:  # a doctor reports whatever is wrong and goes on
            findings.append({"check": name, "state": "failed", "found": console.one_line(error)})

    check("gptbpe", lambda: f"{__version__} in {Path(__file__).parent.parent}")
    check("python", lambda: f"{platform.python_version()} {sys.platform} {platform.machine()}")
    check("cores", lambda: str(os.cpu_count()))
    for name in packaged.names():
        check(f"encoding {name}", lambda name=name: _check_encoding(name))  # type: ignore[misc]
    check("round trip", _check_round_trip)
    check("temporary folder", _check_folder)
    for package, extra in OPTIONAL.items():
        findings.append(_optional(package, extra))

    failed = [finding for finding in findings if finding["state"] == "failed"]
    if json:
        console.write_json(findings)
    else:
        for finding in findings:
            console.write(f"{finding['state']:<8}{finding['check']:<22}{finding['found']}\n")
        console.say("all well" if not failed else f"{len(failed)} checks failed")
    return 1 if failed else 0


def _check_encoding(name: str) -> str:
    tok = Tokenizer.get(name)
    text = "Hello, world! 你好 🙂"
    if tok.decode(tok.encode(text)) != text:
        raise ValueError("decodes to something else than was encoded; reinstall gptbpe")
    return f"{tok.vocab_size:,} tokens, hash as expected"


def _check_round_trip() -> str:
    data = bytes(range(256)) * 4
    tok = Tokenizer.train(data, vocab_size=300)
    if tok.decode_bytes(tok.encode(data)) != data:
        raise ValueError("a trained tokenizer does not give its text back; reinstall gptbpe")
    return f"{len(tok.merges)} merges trained, all bytes come back"


def _check_folder() -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tok = Tokenizer.train(b"low low lower", vocab_size=259)
        tok.save(path)
        if Tokenizer.load(path) != tok:
            raise ValueError("a saved tokenizer loads as another one")
        return f"{tempfile.gettempdir()} can be written"


def _optional(package: str, extra: str) -> dict[str, str]:
    try:
        return {"check": package, "state": "ok", "found": metadata.version(package)}
    except metadata.PackageNotFoundError:
        return {"check": package, "state": "absent", "found": f'optional: pip install "gptbpe[{extra}]"'}
