"""The recipe of a run, the errors that are a user's to mend, and where what can be computed again is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


class UserError(Exception):
    """Something the user can mend. Its text is one line: what is wrong, whose fault it is, what to do next."""


class UsageError(UserError):
    """A wrong word on the command line or in a call: unknown name, flag or value."""


def cache_folder() -> Path:
    """``$SSLZOO_CACHE``, or ``sslzoo`` in the user's cache folder."""
    if named := os.environ.get("SSLZOO_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sslzoo"


@dataclass(frozen=True)
class PretrainConfig:
    """Everything about a run that is not the method's own. A method's ``defaults`` are its paper's recipe."""

    dataset: str = "cliparts"
    """Embedded name, folder:PATH, datasets id, or local parquet/arrow; D[split] picks a split."""
    encoder: str = "resnet18"
    """Any timm architecture."""
    encoder_args: tuple[str, ...] = ()
    """Arguments of the timm model as name=value, for example patch_size=4 drop_path_rate=0.1."""
    image_size: int = 224
    """Height and width of a view in pixels."""
    channels: int = 3
    """Channels of a view: 1 is grey, 3 is RGB, 4 keeps alpha."""
    frames: int = 16
    """Frames of a clip, for video encoders only."""
    image_column: str = ""
    """Column that holds the images; recognised by name or type if not given."""
    label_column: str = ""
    """Column that holds the labels, to take it away; recognised if not given."""
    streaming: bool = False
    """Read the data set as a stream instead of downloading it whole."""
    samples_per_epoch: int = 0
    """Length of an epoch of a stream that does not say how long it is."""
    validation: str = ""
    """Data set for the pretext task's held-out scores after each epoch, for example cliparts[test]."""

    epochs: int = 100
    """Passes over the data set."""
    batch_size: int = 256
    """Samples per optimizer step, over all processes and accumulated micro-batches."""
    accumulate: int = 1
    """Micro-batches per optimizer step."""
    optimizer: str = "sgd"
    """Any optimizer of timm, for example sgd, adamw, lars."""
    lr: float = 0.1
    """Peak learning rate."""
    base_batch_size: int = 0
    """The peak rate becomes lr * batch_size / base_batch_size; 0 takes lr as it is."""
    momentum: float = 0.9
    """Momentum of SGD-like optimizers, beta1 of Adam-like ones."""
    weight_decay: float = 1e-4
    """Decay of weights; norms and biases are spared."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the rate falls after warm-up."""
    milestones: tuple[float, ...] = ()
    """For the step schedule: shares of training after which the rate is divided by ten."""
    warmup_epochs: float = 0.0
    """Epochs of linear rise to the peak rate."""
    clip_grad: float = 0.0
    """Largest gradient norm; 0 does not clip."""
    ema: float = 0.0
    """Momentum of a running average of the encoder, which is then what is published; 0 keeps none."""
    seed: int = 0
    """Decides every random number of the run."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the forward pass; auto is bf16 where the processor has it."""
    channels_last: bool = True
    """Memory layout of weights and views, of 4 dimensions or, with a video encoder, 5."""
    compile: bool = False
    """Compile the method with torch.compile."""
    threads: int = 0
    """Threads of the training process on CPU; 0 shares the cores out among the processes."""
    workers: int = -1
    """Loader processes; -1 chooses, 0 loads in the training process."""
    sync_batch_norm: bool = True
    """On several GPUs, take batch statistics over all of them."""

    save_every: int = 0
    """Steps between checkpoints; 0 writes one at the end of each epoch."""
    log_every: int = 10
    """Steps between lines of log.jsonl."""
    monitor_features: bool = False
    """At every tenth logged step, examine the features of 256 fixed images (of --validation, if given) for collapse."""
    monitor_knn: str = ""
    """Labelled data set for a k-NN score after each epoch, for example cliparts[train]; the method never sees it."""
    stop_on: Literal["never", "non-finite", "collapse"] = "non-finite"
    """Trouble that ends the run, and is else only reported: a loss that is not finite, or also collapsed features,
    of which --monitor-features sees more."""
    tracker: Literal["none", "tensorboard", "trackio", "wandb"] = "none"
    """Also send the log there."""
    illustrate: bool = False
    """After each epoch, draw in figures/illustration.png what the method makes of a few held-out pictures."""


SMALL: Mapping[str, Any] = {
    "encoder": "resnet18",
    "image_size": 64,
    "epochs": 30,
    "batch_size": 64,
    "optimizer": "adamw",
    "lr": 2e-3,
    "base_batch_size": 0,
    "momentum": 0.9,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "milestones": (),
    "warmup_epochs": 1.0,
}
"""What the methods' recipes called ``small`` have in common: for a few thousand small images and small batches."""
