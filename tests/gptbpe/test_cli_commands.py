"""What single commands print: encode, decode, count, viz, compare, export, import, doctor and demo."""

from __future__ import annotations

import gzip
import json
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import zstandard
from command_line import TEXT, call, environment, process

from gptbpe import Tokenizer, extras


def test_encode_and_decode_are_inverse(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    hostile = bytes(range(256)) + "naïve 🙂\r\n<|endoftext|>".encode()
    (here / "hostile").write_bytes(hostile)
    code, ids, _ = call(capfdbinary, "encode", "hostile", "input.txt")
    assert code == 0
    assert ids.count(b"\n") == 2
    (here / "ids").write_bytes(ids)
    code, back, _ = call(capfdbinary, "decode", "ids")
    assert (code, back) == (0, hostile + TEXT.encode())
    assert call(capfdbinary, "decode", "--ids", "[108, 111,119]")[1] == b"low"
    code, out, _ = call(capfdbinary, "encode", "--text", "low", "--json")
    line = json.loads(out)
    assert line["tokens"] == len(line["ids"])


def test_encode_special(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert call(capfdbinary, "encode", "--text", "<|endoftext|>", "--allow-special")[1] == b"279\n"
    assert call(capfdbinary, "encode", "--text", "<|endoftext|>")[1].count(b" ") > 3
    assert call(capfdbinary, "encode", "--text", "--vocab")[0] == 0


def test_encode_packaged(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for name in ("gpt2", "GPT-2", "r50k"):
        assert call(capfdbinary, "encode", "--text", "Hello, world!", "-t", name)[1] == b"15496 11 995 0\n"


def test_a_folder_is_a_tokenizer(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Tokenizer.load("tokenizer.json").save_pretrained("folder")
    expected = call(capfdbinary, "count", "input.txt")
    assert call(capfdbinary, "count", "input.txt", "-t", "folder") == expected
    assert b"vocab size" in call(capfdbinary, "inspect", "folder")[1]


def test_count(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    tokens = len(Tokenizer.load("tokenizer.json").encode(TEXT))
    code, out, _ = call(capfdbinary, "count", "input.txt", "input.txt")
    assert code == 0
    assert out.decode() == f"{tokens}\tinput.txt\n{tokens}\tinput.txt\n{2 * tokens}\ttotal\n"
    line = json.loads(call(capfdbinary, "count", "input.txt", "--json")[1])
    assert line == {
        "input": "input.txt",
        "tokens": tokens,
        "bytes": len(TEXT),
        "bytes_per_token": round(len(TEXT) / tokens, 4),
    }


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_count_and_encode_decompress_as_shard_does(
    here: Path, suffix: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    data = gzip.compress(TEXT.encode()) if suffix == ".gz" else zstandard.compress(TEXT.encode())
    name = f"notes.jsonl{suffix}"  # plain text to these two, as notes.jsonl is
    (here / name).write_bytes(data)
    code, counted, err = call(capfdbinary, "count", name, "--json")
    assert (code, err) == (0, "")
    plain = json.loads(call(capfdbinary, "count", "input.txt", "--json")[1])
    assert json.loads(counted) == plain | {"input": name}
    assert call(capfdbinary, "encode", name) == call(capfdbinary, "encode", "input.txt")

    cut = f"cut.txt{suffix}"
    (here / cut).write_bytes(data[:-5])
    refused = [
        call(capfdbinary, *command, cut) for command in (("count",), ("encode",), ("shard", "-o", "s"))
    ]
    assert {code for code, _, _ in refused} == {2}
    said = {err for _, _, err in refused}
    assert said == {
        f"gptbpe: error: {cut} ends in the middle of its compressed data: it was cut; fetch it again\n"
    }


def test_viz(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, err = call(capfdbinary, "viz", "--text", "Hello, world!\n", "-t", "gpt2")
    assert code == 0
    assert out.decode() == "Hello|,|·world|!|↵\n\n"
    assert "5 tokens" in err
    assert b"\x1b[" in call(capfdbinary, "viz", "--text", "hi\nho", "-t", "gpt2", "--color", "always")[1]
    assert "(995)" in call(capfdbinary, "viz", "--text", " world", "-t", "gpt2", "--ids")[1].decode()
    (here / "broken").write_bytes(b"\xff\x00\x1b")
    assert call(capfdbinary, "viz", "broken", "-t", "gpt2")[1] == b"<FF>|<00>|<1B>\n"


def test_compare(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, _ = call(capfdbinary, "compare", "input.txt", "-t", "gpt2", "-t", "tokenizer.json")
    assert code == 0
    table = out.decode()
    assert "gpt2" in table
    assert "differ first" in table or "same places" in table
    code, out, _ = call(capfdbinary, "compare", "input.txt", "-t", "gpt2", "-t", "r50k_base", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[0]["tokens"] == rows[1]["tokens"]
    assert (
        "same places" in call(capfdbinary, "compare", "--text", "hi", "-t", "gpt2", "-t", "gpt2")[1].decode()
    )
    assert call(capfdbinary, "compare", "input.txt", "-t", "gpt2")[0] == 2


def test_export_and_import(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    tok = Tokenizer.load("tokenizer.json")
    for form, target in (("tiktoken", "x.tiktoken"), ("gpt2", "folder"), ("json", "x.json")):
        assert call(capfdbinary, "export", "--format", form, "-o", target)[0] == 0
    words = [
        "import",
        "x.tiktoken",
        "--pattern",
        "cl100k",
        "--special-token",
        "<|endoftext|>=279",
        "-o",
        "y.json",
    ]
    assert call(capfdbinary, *words)[0] == 0
    assert Tokenizer.load("y.json").encode(TEXT) == tok.encode(TEXT)
    assert Tokenizer.load("y.json").special_tokens == tok.special_tokens
    words = ["import", "folder/merges.txt", "folder/vocab.json", "--pattern", "cl100k", "-o", "z.json"]
    assert call(capfdbinary, *words)[0] == 0
    assert Tokenizer.load("z.json").encode(TEXT) == tok.encode(TEXT)
    assert call(capfdbinary, "import", "x.json", "-o", "w.json")[0] == 0
    assert Tokenizer.load("w.json") == tok
    assert call(capfdbinary, "import", "gpt2", "-o", "g.json")[0] == 0
    assert Tokenizer.load("g.json") == Tokenizer.get("gpt2")
    code, _, err = call(capfdbinary, "import", "x.tiktoken")
    assert (code, "--pattern" in err) == (2, True)


def test_doctor(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code, out, err = call(capfdbinary, "doctor")
    assert code == 0
    assert b"encoding gpt2" in out
    assert "all well" in err
    findings = json.loads(call(capfdbinary, "doctor", "--json")[1])
    assert {finding["state"] for finding in findings} <= {"ok", "absent"}


def test_doctor_fails_on_a_damaged_package(
    here: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gptbpe import packaged

    entry = packaged.ENCODINGS["r50k_base"]
    monkeypatch.setitem(packaged.ENCODINGS, "damaged", entry._replace(sha256="0" * 64))
    code, out, _ = call(capfdbinary, "doctor")
    assert code == 1
    assert b"failed  encoding damaged" in out


def test_the_demo_walks_the_whole_way(tmp_path: Path) -> None:
    if find_spec("torch") is None or find_spec("matplotlib") is None:
        pytest.skip("the demo trains a model, which needs gptbpe[model]")
    (tmp_path / "demo" / "runs" / "demo").mkdir(parents=True)  # as if it had been run before
    done = process("demo", "--max-steps", "1", "--prompt", "The ", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert b"The " in done.stdout
    said = done.stderr.decode()
    assert "$ gptbpe shard input.txt -t tokenizer.json -o data/" in said
    assert "$ python -m gptmodel.train --shards data/" in said
    _, _, printed = said.partition("to try next:\n")
    generate, tensorboard, viz, *_ = map(shlex.split, printed.splitlines())
    for command in (generate, viz):  # as printed, where the demo was started
        tried = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False)
        assert tried.returncode == 0, tried.stderr.decode()
    assert (tmp_path / tensorboard[2]).is_dir()
    assert (tmp_path / "demo" / "losses.png").stat().st_size > 1000
    assert (tmp_path / "demo" / "runs" / "demo-2").is_dir()


def test_the_demo_says_what_is_missing(
    here: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = call(capfdbinary, "demo")
    assert (code, extras.install("model") in err) == (2, True)
    assert not (here / "demo").exists()
