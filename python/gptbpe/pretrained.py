"""Folders of a tokenizer, as Hugging Face's ``transformers`` reads and writes them.

A folder holds the tokenizer itself, ``tokenizer.json`` (or GPT-2's pair of files, or tiktoken's ranks), and
what ``transformers`` wants to know beside it: ``tokenizer_config.json``, ``special_tokens_map.json`` and the
chat templates. The second part does not change what ids a text has, with one exception: a token that is named
there and unknown to the first part is added to it, as ``transformers`` adds it.

What is known of it is a :class:`Settings`, which a tokenizer carries from the folder that it was loaded from
to the one that it is saved in. Written is what ``transformers`` 5 writes, and ``special_tokens_map.json`` for
older ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gptbpe import added, alphabet, files, names, packaged, recognise
from gptbpe._core import CoreTokenizer
from gptbpe.errors import TokenizerFileError
from gptbpe.types import END_OF_TEXT

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"
ADDED = "added_tokens.json"
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
DEFAULT = "default"

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""What a special token may be there for, in the order in which ``transformers`` adds missing ones."""

_ENDLESS = 10**18
"""``model_max_length`` beyond this stands for none: ``transformers`` writes 10**30."""

_OF_ANOTHER_TOKENIZER = {
    *(f"{role}_token" for role in ROLES),
    "added_tokens_decoder",
    "additional_special_tokens",
    "auto_map",
    "extra_special_tokens",
    "init_inputs",
    "tokenizer_class",
}
"""What an existing ``tokenizer_config.json`` says of the tokenizer that was in the folder before."""

_OF_ANOTHER_PLACE = {
    "auto_map",
    "backend",
    "device_map",
    "files_loaded",
    "is_local",
    "local_files_only",
    "merges_file",
    "name_or_path",
    "slow_tokenizer_class",
    "special_tokens_map_file",
    "tokenizer_file",
    "vocab_file",
}
"""Settings that name files, classes or code that a folder written here does not have."""

_GPT2_CLASSES = {"GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend", None}


@dataclass(frozen=True)
class Settings:
    """What a folder says of a tokenizer beside ``tokenizer.json``; a value that nothing changes."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """``tokenizer_config.json``, without chat templates."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Chat templates by name; the usual one is ``"default"``."""

    def token(self, role: str, core: CoreTokenizer) -> str | None:
        """Return the special token for ``role``: the one that is named so, else the one that the core finds.

        Where a text begins with no token of its own, the end of the text before it stands there.
        """
        key = f"{role}_token"
        if key in self.config:
            return _content(self.config[key])
        ids = {"bos": core.bos_token_id, "eos": core.eos_token_id, "pad": core.pad_token_id}
        special = added.tokens(core)
        if role == "bos" and ids["bos"] is None and END_OF_TEXT in special:
            return END_OF_TEXT
        return next((name for name, id in special.items() if id == ids.get(role)), None)

    def token_id(self, role: str, core: CoreTokenizer) -> int | None:
        """Return the id of the token for ``role``: as the settings name it, else as the core finds it."""
        if f"{role}_token" in self.config:
            return added.tokens(core).get(self.token(role, core) or "")
        ids = {"bos": core.bos_token_id, "eos": core.eos_token_id, "pad": core.pad_token_id}
        return ids.get(role)

    @property
    def max_length(self) -> int | None:
        """How many tokens the model takes, where that is known."""
        length = self.config.get("model_max_length")
        return int(length) if isinstance(length, (int, float)) and 0 < length < _ENDLESS else None

    def changed(
        self, chat_template: str | None, max_length: int | None, tokens: Mapping[str, str]
    ) -> Settings:
        """Return these settings with what is given in place of what was there."""
        config = dict(self.config) | {f"{role}_token": token for role, token in tokens.items()}
        if max_length is not None:
            config["model_max_length"] = max_length
        templates = self.templates if chat_template is None else {**self.templates, DEFAULT: chat_template}
        return replace(self, config=config, templates=templates)


NOTHING = Settings()


# ---- reading ---------------------------------------------------------------------------------------


def load(folder: Path) -> tuple[CoreTokenizer, Settings]:
    """Read the tokenizer of a folder. ``Tokenizer.load`` documents it."""
    settings = read_settings(folder)
    if (folder / TOKENIZER).is_file():
        path = folder / TOKENIZER
        data = files.read(path)
        core = read_json(data, str(path))
        if list(_missing(settings, added.tokens(core))):
            core = _extended(core, settings, json.loads(data))
        return core, settings
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _gpt2(folder, settings), settings
    ranks = sorted(folder.glob(f"*{recognise.SUFFIX}"))
    if len(ranks) == 1:
        return read_ranks(files.read(ranks[0]), str(ranks[0])), settings
    raise TokenizerFileError(_no_tokenizer(folder, ranks))


def read_json(data: bytes, origin: str) -> CoreTokenizer:
    """Read a ``tokenizer.json``; what is none is named for what it is."""
    if not data[:100].lstrip().startswith(b"{"):
        what = recognise.what(data, origin) or (
            "no tokenizer.json, which begins with a brace; other forms are read by Tokenizer.from_tiktoken, "
            "Tokenizer.from_gpt2 and `gptbpe import`"
        )
        raise TokenizerFileError(f"{origin} is {what}")
    try:
        return CoreTokenizer.read_json(data, files.spelled(origin))
    except TokenizerFileError:
        other = recognise.what(data, origin)
        if other is None:
            raise
        raise TokenizerFileError(f"{origin} is {other}") from None


def read_ranks(data: bytes, origin: str) -> CoreTokenizer:
    """Read ranks of tiktoken from a file named as a packaged encoding, with what else that one has."""
    name = Path(origin).name.removesuffix(recognise.SUFFIX)
    if not origin.endswith(recognise.SUFFIX) or name not in packaged.ENCODINGS:
        raise TokenizerFileError(f"{origin} is {recognise.what(data, origin) or 'no file of tiktoken ranks'}")
    known = packaged.get(name)
    return CoreTokenizer.read_tiktoken(data, known.regexes, known.special_tokens, files.spelled(origin))


def read_settings(folder: Path) -> Settings:
    """Read what a folder says beside the tokenizer itself; all of it may be missing."""
    config = _object(folder / CONFIG)
    if "added_tokens_decoder" not in config:
        config |= _object(folder / SPECIAL)
    templates = _templates(config.pop("chat_template", None))
    if (folder / TEMPLATE).is_file():
        templates = {DEFAULT: (folder / TEMPLATE).read_text(encoding="utf-8")}
    if (folder / MORE_TEMPLATES).is_dir():
        for path in sorted((folder / MORE_TEMPLATES).glob("*.jinja")):
            templates[path.stem] = path.read_text(encoding="utf-8")
    return Settings(config, templates)


def _object(path: Path) -> dict[str, Any]:
    """Read a file of one JSON object; an empty one where there is no file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise TokenizerFileError(f"{path} is damaged: {error}") from None
    if not isinstance(value, dict):
        raise TokenizerFileError(f"{path} is damaged: expected an object, found {type(value).__name__}")
    return value


def _templates(value: object) -> dict[str, str]:
    """Return the chat templates of a ``tokenizer_config.json``: one, or a list of named ones."""
    if isinstance(value, str):
        return {DEFAULT: value}
    if isinstance(value, dict):
        return {str(name): str(template) for name, template in value.items()}
    if isinstance(value, list):
        return {
            str(entry["name"]): str(entry["template"]) for entry in value if {"name", "template"} <= {*entry}
        }
    return {}


def _content(token: object) -> str | None:
    """Return the string of a token, which may be written with options."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _missing(settings: Settings, added_tokens: Iterable[str]) -> Iterable[str]:
    """Yield the tokens that ``transformers`` would add to those that are there, in its order."""
    known = set(added_tokens)
    named = settings.config.get("added_tokens_decoder")
    tokens = [named[id] for id in sorted(named, key=int)] if isinstance(named, dict) else []
    tokens += [settings.config.get(f"{role}_token") for role in ROLES]
    for key, value in settings.config.items():
        if key in ("extra_special_tokens", "additional_special_tokens") and isinstance(value, (list, dict)):
            tokens += value.values() if isinstance(value, dict) else value
    for token in tokens:
        content = _content(token)
        if content and content not in known:
            known.add(content)
            yield content


def _extended(core: CoreTokenizer, settings: Settings, document: Any) -> CoreTokenizer:
    """Add the missing tokens, with the ids that ``tokenizers`` gives them."""
    vocab = document["model"]["vocab"]
    there = document.get("added_tokens") or []
    taken = [token["id"] for token in there]
    more = []
    for content in _missing(settings, (token["content"] for token in there)):
        id = vocab.get(content)
        if id is None:
            id = max(len(vocab), *(id + 1 for id in taken), 0)
            taken.append(id)
        more.append((content, id))
    return core.with_special_tokens(more) if more else core


def _gpt2(folder: Path, settings: Settings) -> CoreTokenizer:
    """Read ``vocab.json`` and ``merges.txt`` as what ``transformers`` makes of them."""
    kind = settings.config.get("tokenizer_class")
    odd = next((key for key in ("add_prefix_space", "add_bos_token") if settings.config.get(key)), None)
    if kind not in _GPT2_CLASSES or odd is not None:
        why = f"is for the class {kind}, whose rules" if odd is None else f"sets {odd}, which"
        raise TokenizerFileError(
            f"{folder}: {CONFIG} {why} vocab.json and merges.txt do not hold; open the folder with Hugging "
            "Face's transformers and load the tokenizer.json that its save_pretrained writes"
        )
    path = folder / "vocab.json"
    core = CoreTokenizer.read_gpt2(files.read(path), files.read(folder / "merges.txt"), "gpt2", str(path))
    wanted = sorted(_object(folder / ADDED).items(), key=lambda entry: int(entry[1]))
    known = added.tokens(core)
    core = core.with_special_tokens([(name, id) for name, id in wanted if known.get(name) != id])
    if not list(_missing(settings, added.tokens(core))):
        return core
    there = [{"content": name, "id": id} for name, id in added.tokens(core).items()]
    vocab = {alphabet.spell(token): id for token, id in core.ranks()} | added.tokens(core)
    return _extended(core, settings, {"model": {"vocab": vocab}, "added_tokens": there})


def _no_tokenizer(folder: Path, ranks: list[Path]) -> str:
    looked = "looked for tokenizer.json, vocab.json with merges.txt, and one .tiktoken file"
    if len(ranks) > 1:
        return f"the folder {folder} holds {len(ranks)} .tiktoken files; load one of them by its name"
    found = sorted(path.name for path in folder.iterdir())
    if not found:
        return f"the folder {folder} is empty ({looked})"
    for name in ("tekken.json", "tokenizer.model"):
        path = folder / name
        what = recognise.what(path.read_bytes(), name) if path.is_file() else None
        if what is not None:
            return f"the folder {folder} holds no tokenizer that is read here: {name} is {what}"
    if "manifest.json" in found:
        return (
            f"the folder {folder} holds token shards; their tokenizer is "
            f"ShardReader({str(folder)!r}).tokenizer()"
        )
    below = sorted(folder.glob(f"*/*/{TOKENIZER}")) or sorted(folder.glob(f"*/{TOKENIZER}"))
    if below:
        return f"the folder {folder} holds no tokenizer itself; give {below[-1]}"
    shown = ", ".join(found[:6]) + (f" and {len(found) - 6} more" if len(found) > 6 else "")
    near = names.did_you_mean(TOKENIZER, found)
    return f"the folder {folder} holds no tokenizer ({looked}); it holds {shown}{near}"


# ---- writing ---------------------------------------------------------------------------------------


def save(folder: Path, core: CoreTokenizer, settings: Settings) -> None:
    """Write a tokenizer's folder. ``Tokenizer.save_pretrained`` documents it.

    All is made before anything is written, each file appears whole, and files of other names stay as they
    are.
    """
    tokenizer = core.write_json()
    special = added.tokens(core)
    roles = {f"{role}_token": settings.token(role, core) for role in ROLES}
    present = {key: token for key, token in roles.items() if token is not None}
    for key, token in present.items():
        if token not in special:
            raise TokenizerFileError(
                f"{key} is {token!r}, which is not a special token of this tokenizer; add it with "
                "with_special_tokens"
            )
    for name in settings.templates:
        if not name or name != Path(name).name or name.startswith("."):
            raise TokenizerFileError(f"the chat template {name!r} cannot be the name of a file; rename it")
    before = {
        key: value for key, value in _object(folder / CONFIG).items() if key not in _OF_ANOTHER_TOKENIZER
    }
    if settings.templates:
        before.pop("chat_template", None)
    own = {
        key: value for key, value in settings.config.items() if key not in _OF_ANOTHER_PLACE | roles.keys()
    }
    config = before | own | {key: roles[key] for key in roles if key in present or key in settings.config}
    config.setdefault("clean_up_tokenization_spaces", False)
    config["added_tokens_decoder"] = {
        str(token["id"]): {key: value for key, value in token.items() if key != "id"}
        for token in json.loads(tokenizer)["added_tokens"]
    }
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    extra = "additional_special_tokens"
    also = {extra: own[extra]} if extra in own else {}

    folder.mkdir(parents=True, exist_ok=True)
    files.write_atomically(folder / TOKENIZER, tokenizer)
    files.write_atomically(folder / CONFIG, _json(dict(sorted(config.items()))))
    files.write_atomically(folder / SPECIAL, _json(present | also))
    for name, template in settings.templates.items():
        path = folder / TEMPLATE
        if name != DEFAULT:
            path = folder / MORE_TEMPLATES / f"{name}.jinja"
            path.parent.mkdir(exist_ok=True)
        files.write_atomically(path, template.encode())


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
