"""What a plugin promises by being one, and how to mend a promise that is broken."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """One line of the contract that can be checked."""

    says: str
    mend: str
    """What to do where it is broken."""


LITERAL_INFO = Promise(
    "what it is can be read without running it",
    "write info in the class body, in plain literals",
)
CONFIG_FLAGS = Promise(
    "its configuration becomes flags, and comes back from JSON",
    "a frozen dataclass of int, float, bool, str, Literal and tuples of them, each with a default; a method's has no "
    "name that PretrainConfig has",
)
CONDUCT: dict[str, Promise] = {
    "quiet": Promise(
        "it prints nothing",
        "return what should be seen: scalars of forward, pictures of illustrate, details of a Result; warn of trouble",
    ),
    "no-files": Promise(
        "it writes no files and starts no programs",
        "keep state in buffers; run folders and reports are written by the core",
    ),
    "no-global-state": Promise(
        "it leaves the process as it found it",
        "set nothing outside the plugin: no seeds, default types, thread counts, environment, warning filters",
    ),
    "no-network": Promise(
        "it does not touch the network",
        "encoders are given or start from scratch, and data comes from the data set",
    ),
}

METHOD: dict[str, Promise] = {
    "literal-info": LITERAL_INFO,
    "config-flags": CONFIG_FLAGS,
    "picklable-views": Promise(
        "its views travel to the loader's workers",
        "keep open files, lambdas and models out of the Views object; views() takes config and spec only",
    ),
    "keyed-views": Promise(
        "equal keys give equal views, in every process and with any number of workers",
        "draw every random number from draw_for(samples) in crop and Draw(batch['key']) in augment; keep no counters",
    ),
    "separate-samples": Promise(
        "the views of a sample depend on its content and key alone",
        "leave index and the rest of the batch out of it; compare samples in forward, where they can be gathered",
    ),
    "blind-to-labels": Promise(
        "views never see a human label",
        "make pseudo-labels from the data and the key; human labels are taken away before views run",
    ),
    "loss": Promise(
        "forward returns a finite scalar loss, and scalars to log, by the same names each time",
        "return {'loss': mean over the batch, …}; guard logarithms, roots and divisions against zero",
    ),
    "gradients": Promise(
        "the loss reaches the encoder, and every trainable parameter at every step",
        "use what you build, or requires_grad_(False) what is not learnt; check for a detach() too many",
    ),
    "teacher": Promise(
        "a copy of the encoder gets no gradient, and moves",
        "make it with nn.ema.frozen_copy, and move it with ema_update in on_step_end",
    ),
    "eval-mode": Promise(
        "in eval() forward changes no state and gives the same scores again",
        "guard queues and running averages with self.training; draw in views, not in forward",
    ),
    "sees-views": Promise(
        "other pictures give another loss",
        "the loss must be computed from encoder(batch['views'])",
    ),
    "no-collapse": Promise(
        "minimising the loss does not make all features equal",
        "a loss that a constant minimises needs negatives, a variance term, a predictor with stop-gradient, or a "
        "teacher; if the method has one, check that it is in force",
    ),
    "round-trip": Promise(
        "its encoder goes through timm unchanged",
        "leave the encoder as it was given, without other layers or another forward, and return it, or a frozen_copy "
        "of it, from trained_encoder()",
    ),
    "resume": Promise(
        "a stopped and resumed run is the same run",
        "keep all state in parameters, persistent buffers or submodules; give them their size in __init__ or on_start",
    ),
    "two-processes": Promise(
        "two processes have the gradient and the state of one",
        "gather what is compared across the batch, with gradient (nn.gather); fill buffers from gathered tensors",
    ),
    **CONDUCT,
    "step-cost": Promise(
        "a step costs what its matrix products cost",
        "run the encoder once over concatenated views, and replace loops over samples by batched operations",
    ),
}

EVALUATION: dict[str, Promise] = {
    "literal-info": LITERAL_INFO,
    "config-flags": CONFIG_FLAGS,
    "result": Promise(
        "run gives a Result of plain JSON whose metrics hold info.metric, in [0, 1]",
        "return Result(metrics={info.metric: …}, …) with floats, lists and dicts",
    ),
    "figures": Promise(
        "draw gives figures, with and without the untrained encoder, whose names begin with the evaluation's",
        "name them after info.name, and go through the results that are there",
    ),
    "encoder-untouched": Promise(
        "the encoder is left as it was given",
        "evaluate under torch.no_grad(), fine-tune a copy, and put back train() or eval()",
    ),
    "repeatable": Promise(
        "the same encoder gets the same score",
        "seed a generator of its own from a fixed number or the configuration",
    ),
    "test-unseen": Promise(
        "nothing is chosen by looking at test labels",
        "choose settings on parts of the training split, and score once",
    ),
    **CONDUCT,
}

DATASET: dict[str, Promise] = {
    "literal-info": LITERAL_INFO,
    "splits": Promise(
        "every split of info.splits opens, whole or sliced, and no other does",
        "use data.splits.check_split and slices, as datasets/cliparts does",
    ),
    "samples": Promise(
        "a sample holds what info.modalities says",
        "image: PIL or (C, H, W) uint8; clip: (T, C, H, W) uint8; audio: (1, bands, time) float32",
    ),
    "labels-apart": Promise(
        "no sample carries its human label",
        "give labels through Source.labels() only",
    ),
    "labels": Promise(
        "labels are one int64 per sample, positions in class names that all splits share; or 1, 0, -1 for each class",
        "return a tensor of shape (len(source),) or (len(source), classes), and set class_names",
    ),
    "annotations": Promise(
        "masks and boxes, where there are any, fit their images",
        "give what data/source.py says of Annotation: pixels of the image as read gives it, positions in names",
    ),
    "repeatable": Promise(
        "a sample is the same each time it is read, in every process",
        "read without augmenting; draw procedural data from a generator seeded by the index",
    ),
    "fingerprint": Promise(
        "each split has a fingerprint of its content",
        "digest the content, or a version and the split",
    ),
    "picklable": Promise(
        "sources travel to the loader's workers",
        "open files when reading, not when building",
    ),
    "disjoint": Promise(
        "no sample of a split for testing is in another split",
        "assign samples to splits by their content",
    ),
    "quiet": CONDUCT["quiet"],
    "no-global-state": CONDUCT["no-global-state"],
}

PROMISES = {"method": METHOD, "evaluation": EVALUATION, "dataset": DATASET}
"""By contract and name, in the order in which they are reported."""
