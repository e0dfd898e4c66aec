"""What other trainers call our settings: nanoGPT, Hugging Face, Lightning, books about GPTs."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["ANSWERS", "SAME", "called_here"]

SAME = {
    "learning-rate": "lr max-lr peak-lr",
    "context-length": (
        "block-size context-size context-len ctx-len n-ctx n-positions seq-len seq-length sequence-length "
        "max-seq-len max-seq-length max-length"
    ),
    "width": "n-embd n-embed d-model emb-dim embed-dim hidden-size model-dim dim",
    "layers": "n-layer n-layers num-layers num-hidden-layers",
    "heads": "n-head n-heads num-heads num-attention-heads",
    "kv-heads": "n-kv-head n-kv-heads num-kv-heads num-key-value-heads",
    "epochs": "num-epochs n-epochs max-epochs num-train-epochs",
    "max-steps": "max-iters steps num-steps n-steps iterations num-iterations",
    "train-data": "data train-file train-files input-file text",
    "eval-data": "val-data valid-data validation-data validation-file",
    "log-every": "log-interval logging-steps",
    "eval-every": "eval-interval eval-steps val-interval",
    "eval-batches": "eval-iters",
    "save-every": "save-interval save-steps",
    "warmup-steps": "warmup-iters num-warmup-steps",
    "grad-clip": "clip-grad clip-grad-norm max-grad-norm gradient-clip-val",
    "weight-decay": "wd",
    "epsilon": "adam-epsilon adam-eps eps",
    "beta1": "adam-beta1",
    "beta2": "adam-beta2",
    "dropout": "drop-rate",
    "schedule": "lr-scheduler lr-scheduler-type lr-schedule",
    "experiment-name": "name run-name exp-name experiment",
    "micro-batch-size": "device-batch-size",
    "batch-size": "train-batch-size",
    "compile": "torch-compile",
    "precision": "dtype",
    "activation-checkpointing": "gradient-checkpointing",
    "tied-head": "tie-weights tie-embeddings tie-word-embeddings weight-tying",
    "rotary-base": "rope-theta rope-base",
    "init-from": "from-pretrained pretrained",
    "seed": "random-seed",
    "threads": "num-threads n-threads cpu-threads",
    "wandb": "wandb-project",
}
"""Our option -> what others call it."""

ANSWERS = {
    "out-dir output-dir save-dir checkpoint-dir log-dir": (
        "a run is written to OUTPUT/NAME; use --output FOLDER (default: runs) and --experiment-name NAME"
    ),
    "gradient-accumulation-steps grad-accum grad-accum-steps accumulate-grad-batches": (
        "--batch-size is the whole batch of a step, and --micro-batch-size is how much of it is computed "
        "at once"
    ),
    "per-device-batch-size per-device-train-batch-size": (
        "--batch-size is the whole batch of a step, over all devices; --micro-batch-size is how much of "
        "it one device computes at once"
    ),
    "min-lr": "--final-fraction is the final learning rate as a share of the peak (0.1: a tenth)",
    "lr-decay-iters": "the learning rate always falls until the end of the run, so it is not needed",
    "decay-lr": "--schedule constant keeps the learning rate constant",
    "abs-emb absolute-embeddings learned-embeddings": (
        "--position learned adds a learned vector to each position, as in GPT-2"
    ),
    "rope use-rope rotary use-rotary": "--position rotary is the default of all presets except gpt2",
    "flash flash-attn flash-attention use-flash use-flash-attn use-flash-attention": (
        "--attention auto, the default, uses flash attention if the device has it; --attention flash "
        "requires it"
    ),
    "fp16 bf16 fp32 tf32 amp mixed-precision half": "--precision is fp32, tf32, bf16, fp16 or auto",
    "wandb-log use-wandb": "--wandb PROJECT logs to that Weights & Biases project",
    "wandb-run-name": "the run has its --experiment-name there too",
    "always-save-checkpoint save-total-limit": (
        "--save-every N saves every N steps, and --keep N keeps that many checkpoints"
    ),
    "eval-only": "gptmodel eval RUN measures a run",
    "gpus num-gpus n-gpus nproc-per-node devices": (
        "torchrun --nproc-per-node N -m gptmodel.train … starts one process per card"
    ),
    "model model-name model-type arch": "--preset names a model and its settings (tiny, nano, gpt2, …)",
    "dataset": "use --train-data FILE for a text, or --shards FOLDER for token shards",
    "model-name-or-path": "--init-from starts from the weights of a run or a Hugging Face folder",
    "resume-from-checkpoint resume-from load-checkpoint": (
        "--resume continues the run of --experiment-name from its last checkpoint"
    ),
}
"""Options of others that have no exact equivalent here -> what to use instead."""


def called_here(name: str, known: Collection[str] = ()) -> str:
    """The tail of a message about an unknown setting: how it is called here, or nothing.

    Where only the names in ``known`` can be given, no other is told.

    >>> called_here("n_embd"), called_here("colour")
    ('; it is called width here', '')
    """
    spelt = name.replace("_", "-").casefold()
    for ours, others in SAME.items():
        if spelt in others.split():
            ours = ours.replace("-", "_")
            return f"; it is called {ours} here" if not known or ours in known else ""
    if known:
        return ""
    return next((f"; {answer}" for others, answer in ANSWERS.items() if spelt in others.split()), "")
