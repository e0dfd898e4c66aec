"""Composition: who wins, where a value came from, and what is refused with which words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from gptmodel import presets
from gptmodel.config import SECTIONS, compose, dump_toml, parse
from gptmodel.errors import ConfigError


def test_a_setting_stands_in_one_table_only() -> None:
    names = [name for kind in SECTIONS.values() for name in kind.model_fields]
    assert len(names) == len(set(names))
    assert not set(names) & {"preset", "depth", "config", "resume", "print_config"}


def test_every_layer_beats_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("batch_size = 3\nseed = 3\n[optim]\nlearning-rate = 0.3\n[model]\nlayers = 3\n")
    environment = {"GPTMODEL_SEED": "4", "GPTMODEL_LAYERS": "4", "PATH": "/bin"}
    found = compose({"preset": "nano", "layers": 5}, file=file, environment=environment)
    assert found.config.train.batch_size == 3
    assert found.config.optim.learning_rate == 0.3
    assert found.config.train.seed == 4
    assert found.config.model["layers"] == 5
    assert found.config.model["width"] == presets.preset("nano")["model"]["width"]
    assert found.origins["preset"] == "--preset"
    assert found.origins["model.width"] == "preset nano"
    assert found.origins["train.batch_size"] == str(file)
    assert found.origins["train.seed"] == "GPTMODEL_SEED"
    assert found.origins["model.layers"] == "--layers"
    assert "optim.beta1" not in found.origins


def test_printing_shows_value_and_origin_and_is_toml() -> None:
    text = str(compose({"seed": 7}))
    assert tomllib.loads(text)["train"]["seed"] == 7
    assert next(line for line in text.splitlines() if line.startswith("seed")).endswith("# --seed")


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_composes_and_survives_its_own_toml(name: str) -> None:
    config = compose({"preset": name, "train_data": ("a b.txt", 'q"\\uote\x7f')}).config
    assert parse(dump_toml(config)) == config
    assert "vocab_size" not in config.model
    assert config.build_model_config(300).vocab_size == 300


def test_the_vocabulary_of_a_preset_is_only_what_to_train() -> None:
    assert compose({"preset": "gpt2"}).config.data.vocab == 50257
    assert compose({"vocab_size": 999}).config.build_model_config(5).vocab_size == 999


def test_depth_is_one_dial_over_modern() -> None:
    found = compose({"depth": 4, "heads": 4})
    assert found.config.preset == "modern"
    shape = found.config.build_model_config(10)
    assert (shape.layers, shape.width, shape.heads) == (4, 256, 4)
    assert found.origins["model.width"] == "derived from depth 4"
    assert found.derived.keys() >= {"layers", "width", "learning_rate", "batch_size", "max_steps"}
    assert "heads" not in found.derived
    assert compose({"preset": "gpt2", "depth": 6}).config.model["heads"] == 6


def test_a_run_goes_on_with_the_depth_that_it_began_with() -> None:
    base = compose({"depth": 4}).config
    assert compose({"depth": 4}, base=base).config == base
    with pytest.raises(ConfigError, match=r"the run has 4 layers and keeps them"):
        compose({"depth": "6"}, base=base)


def test_depth_gives_way_to_what_is_said() -> None:
    found = compose({"depth": 4, "max_steps": 7, "learning_rate": 0.5, "context_length": 512}).config
    assert (found.train.max_steps, found.optim.learning_rate) == (7, 0.5)
    assert found.train.batch_size == 4 * compose({"depth": 4}).config.train.batch_size


def test_who_says_how_long_last_says_it_alone() -> None:
    assert compose({"preset": "tiny"}).config.train.max_steps is not None
    train = compose({"preset": "tiny", "epochs": 2}).config.train
    assert (train.epochs, train.max_steps, train.max_tokens) == (2, None, None)


def test_hyphens_are_underscores() -> None:
    assert compose({"learning-rate": 0.5}).config == compose({"learning_rate": 0.5}).config


def test_a_resumed_run_keeps_what_it_was_started_with() -> None:
    base = compose({"preset": "nano", "seed": 3, "max_steps": 5}).config
    found = compose({"max_steps": 9}, base=base)
    assert found.config.train.seed == 3
    assert found.config.train.max_steps == 9
    assert found.origins["train.seed"] == "the run's config.toml"
    with pytest.raises(ConfigError, match="--preset nano, not tiny"):
        compose({"preset": "tiny"}, base=base)


REFUSED = [
    ({"lerning_rate": 1}, {}, "unknown setting 'lerning_rate' .*did you mean 'learning_rate'"),
    ({}, {"GPTMODEL_BATCH_SIEZ": "1"}, "GPTMODEL_BATCH_SIEZ.*did you mean 'batch_size'"),
    ({}, {"GPTMODEL_BATCH_SIZE": "many"}, "batch_size = 'many' .from GPTMODEL_BATCH_SIZE."),
    ({"width": -1}, {}, "width = -1 .from --width.: should be greater than 0"),
    ({"learning_rate": -1}, {}, "learning_rate = -1 .from --learning-rate.: should be greater than 0"),
    ({"preset": "nan"}, {}, "did you mean 'nano'"),
    ({"heads": 5}, {}, "192 is not divisible by 5 heads"),
    ({"depth": 0}, {}, "depth = 0 .from --depth."),
    ({"depth": 2, "preset": "nano"}, {}, "depth is the dial of gpt2 and modern, not of 'nano'"),
    ({"position": "absolute"}, {}, "position"),
]


@pytest.mark.parametrize(("flags", "environment", "message"), REFUSED)
def test_refusals_are_one_line_and_say_where(
    flags: dict[str, object], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose(flags, environment=environment)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optim]\nbeta3 = 1\n", "unknown setting 'beta3' in .optim.*did you mean 'beta"),
        ("[optim]\nseed = 1\n", "it belongs to .train."),
        ("[optimizer]\nseed = 1\n", "unknown table .optimizer.*did you mean 'optim'"),
        ("[optim\n", "cannot read the configuration"),
    ],
)
def test_files_are_checked(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        compose(file=file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        compose(file=tmp_path / "no.toml")


@pytest.mark.parametrize(("steps", "batches"), [(1, 1), (109, 1), (250, 4), (880, 20), (10**6, 20)])
def test_an_evaluation_of_a_short_run_is_short(steps: int, batches: int) -> None:
    assert compose().config.train.evaluated_batches(steps) == batches
    assert compose({"eval_batches": 5}).config.train.evaluated_batches(steps) == 5


@pytest.mark.parametrize("steps", [8, 10, 11, 12, 23, 36, 50, 99, 100, 130, 200, 350, 800, 5000])
def test_evaluations_and_samples_take_a_tenth_of_a_run(steps: int) -> None:
    """In the time of a step of the preset tiny an evaluated batch takes 0.4 and a sample 0.7."""
    settings = compose().config.train
    distance = settings.evaluation_distance(steps)
    times = -(-steps // distance)
    assert times * (0.4 * settings.evaluated_batches(steps) + 0.7) <= max(1.1, 0.125 * steps)
    assert distance % max(1, steps // 10) == 0  # a step that is saved
    assert settings.sample_distance(steps) == distance
    asked = compose({"eval_every": 3, "sample_every": 5}).config.train
    assert (asked.evaluation_distance(steps), asked.sample_distance(steps)) == (3, 5)


def test_a_batch_in_tokens_is_whole_windows() -> None:
    found = compose({"preset": "tiny", "batch_tokens": 3000, "micro_batch_size": "auto"})
    assert found.config.train.batch_size == 23  # of 128
    assert found.origins["train.batch_size"] == "--batch-tokens 3000"
    assert found.config.train.rows_at_once(23) == 23
    assert compose({"batch_tokens": 1}).config.train.batch_size == 1
    for wrong in ({"batch_tokens": 0}, {"batch_tokens": "many"}, {"batch_tokens": 256, "batch_size": 2}):
        with pytest.raises(ConfigError, match="batch_tokens"):
            compose(wrong)
    assert compose({}, environment={"GPTMODEL_MICRO_BATCH_SIZE": "8"}).config.train.rows_at_once(12) == 8


def test_a_name_that_no_toml_can_hold_is_refused_as_what_it_is() -> None:
    with pytest.raises(ConfigError, match=r"train_data = .*udcff.* not UTF-8.*rename the file"):
        compose({"train_data": (Path("te\udcffxt.txt"),)})
