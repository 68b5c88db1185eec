"""``torch.hub.load("sslzoo/sslzoo", NAME, trust_repo=True)``: an entry per released encoder, ``encoder`` for others.

torch.hub puts this folder on the path without installing anything, so no plugin can be found here. None is needed: what
sslzoo publishes is a plain timm encoder. A released encoder is a folder of ``model_cards``; its entry has its name.
"""

import json as _json
import re as _re
import sys as _sys
import warnings as _warnings
from importlib import metadata as _metadata
from pathlib import Path as _Path

dependencies = ["torch", "timm", "huggingface_hub", "safetensors"]

_CLONE = _Path(__file__).resolve().parent
_ORGANISATION = "sslzoo"
"""On the Hugging Face Hub, for weights that are too large for this repository."""


def encoder(name, token=None):  # type: ignore[no-untyped-def]
    """A pretrained encoder on the CPU and in eval(): images (B, C, H, W), or clips (B, C, T, H, W), to features (B, D).

    It is a timm model. The input's size, mean and standard deviation are in ``encoder.pretrained_cfg``. Weights are
    read from safetensors, never unpickled, and checked against their recorded checksum and forward fingerprint.

    Args:
        name: a run folder, an encoder folder, "hf-hub:org/name", "hf-hub:org/name@revision" (downloaded once, then
            read from the Hugging Face cache), or "random:ARCH" for an untrained encoder. A second encoder, of sounds,
            is "hf-hub:org/name/sound_encoder".
        token: for a private repository; the saved login of huggingface_hub if not given.

    Example:
        >>> encoder = torch.hub.load("sslzoo/sslzoo", "encoder", "hf-hub:org/rotation_resnet50", trust_repo=True)
        >>> features = encoder(images)
    """
    _say_which_sslzoo()
    from sslzoo.hub.load import load_encoder

    return load_encoder(name, token=token)


def _entry(folder):  # type: ignore[no-untyped-def]
    """The entry of a released encoder."""

    def entry():  # type: ignore[no-untyped-def]
        if (folder / "model.safetensors").is_file():
            return encoder(folder)
        return _from_hub(folder)

    entry.__name__ = entry.__qualname__ = folder.name
    entry.__doc__ = _help(folder)
    return entry


def _from_hub(folder):  # type: ignore[no-untyped-def]
    """The encoder that ``folder`` describes without holding its weights.

    Raises:
        UserError: if the Hub gives another one by now.
    """
    model = f"hf-hub:{_ORGANISATION}/{folder.name}"
    found = encoder(model)
    from sslzoo.config import UserError
    from sslzoo.hub.fingerprint import check

    try:
        check(found, _read(folder / "config.json")["sslzoo"]["fingerprint"])
    except UserError as error:
        raise UserError(
            f"{model} is no longer what this clone describes: reload the clone, or name a revision: "
            f'torch.hub.load(…, "encoder", "{model}@REVISION")'
        ) from error
    return found


def _help(folder):  # type: ignore[no-untyped-def]
    """What ``torch.hub.help`` says, read from the folder's files."""
    config, record = _read(folder / "config.json"), _read(folder / "run.json")
    described, ours, method, data = config["pretrained_cfg"], config["sslzoo"], record["method"], record["dataset"]
    channels, *side = described["input_size"]
    frames = [config["model_args"]["frames"]] if "frames" in config["model_args"] else []
    size, kind = ", ".join(map(str, [channels, *frames, *side])), "clips" if frames else "images"
    paper = method["paper"]
    dim, license = ours["fingerprint"]["shape"][1], data["license"] or "licence not stated"
    embedded = (folder / "model.safetensors").is_file()
    where = "in this repository" if embedded else f"hf-hub:{_ORGANISATION}/{folder.name}"
    reports = map(_read, sorted((folder / "evaluations").glob("*.json")))
    scores = "\n        ".join(line for report in reports for line in _scores(report)) or "none yet"
    return f"""{config["architecture"]} pretrained on {data["name"]} by {method["name"]}: {method["summary"]}

    A timm model on the CPU and in eval(): {kind} (B, {size}) to features (B, {dim}).
    Pixels in [0, 1] are normalised with mean {described["mean"]} and standard deviation {described["std"]}.

    Method: {method["name"]} ({method["category"]}, {method["family"]})
    Paper: {paper["authors"]}, "{paper["title"]}", {paper["venue"]} {paper["year"]}, {paper["url"]}
    Data: {data["name"]}, {data["samples"]} samples, {license}
    Recipe: {record["command"]}
    Weights: {where}, {described["license"]}, sha256 {ours["weights_sha256"]}
    Scores, beside those of the untrained encoder:
        {scores}

    Example:
        >>> encoder = torch.hub.load("sslzoo/sslzoo", "{folder.name}", trust_repo=True)
        >>> features = encoder(torch.zeros(1, {size}))  # (1, {dim})
    """


def _scores(report):  # type: ignore[no-untyped-def]
    untrained = (report.get("baseline") or {}).get("metrics", {})
    for metric, value in report["metrics"].items():
        beside = f", {untrained[metric]:.3f} untrained" if metric in untrained else ""
        yield f"{report['protocol']}, {report['test']['name']}, {metric.replace('_', ' ')}: {value:.3f}{beside}"


def _say_which_sslzoo():  # type: ignore[no-untyped-def]
    """Python holds one sslzoo: the one that was imported first, else this clone's. Warn where versions differ."""
    is_first = "sslzoo" not in _sys.modules
    import sslzoo

    ours = _re.search(r'^__version__ = "(.+)"', (_CLONE / "sslzoo" / "__init__.py").read_text(), _re.MULTILINE)[1]
    if sslzoo.__version__ != ours:
        _warnings.warn(
            f"sslzoo {sslzoo.__version__} was imported before, so it loads this encoder, not the sslzoo {ours} of "
            f"{_CLONE}; for that one, load in a new process",
            stacklevel=3,
        )
    elif is_first and (installed := _installed()) not in (None, ours):
        _warnings.warn(
            f"this process now has the sslzoo {ours} of {_CLONE}, not the installed {installed}; for that one, import "
            "sslzoo before torch.hub.load",
            stacklevel=3,
        )


def _installed():  # type: ignore[no-untyped-def]
    """The version of the sslzoo that pip installed; None if it did not."""
    try:
        return _metadata.version("sslzoo")
    except _metadata.PackageNotFoundError:
        return None


def _read(path):  # type: ignore[no-untyped-def]
    return _json.loads(path.read_text(encoding="utf-8"))


globals().update(
    (folder.name, _entry(folder))
    for folder in sorted((_CLONE / "model_cards").glob("[!.]*"))
    if (folder / "config.json").is_file()
)
