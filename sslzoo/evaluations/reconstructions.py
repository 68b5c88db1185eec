"""What a trained method makes of pictures it has not seen: inpainted, coloured, put together again, turned back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from accelerate.utils import send_to_device
from matplotlib.figure import Figure
from torch import Tensor, nn

from sslzoo.config import UsageError, UserError
from sslzoo.data.loader import Collate
from sslzoo.data.samples import Samples
from sslzoo.data.source import Source
from sslzoo.encoders import spec_of
from sslzoo.evaluation import Evaluation, EvaluationInfo, Result
from sslzoo.evaluations.pictures import by_turns, known_labels
from sslzoo.figures import COLUMNS, illustration_sheet
from sslzoo.handover import illustrations
from sslzoo.method import Batch, PretextMethod
from sslzoo.views.keyed import Draw


@dataclass(frozen=True)
class ReconstructionsConfig:
    images: int = 6
    """How many are drawn, of as many classes as there are."""


@final
class Reconstructions(Evaluation):
    """What the method itself draws of a few images (``illustrate``), beside what it draws untrained.

    A row that is the same for both, such as the images themselves, is drawn once. The images go through the method's
    own views, with random numbers of their own that are the same every time.
    """

    info = EvaluationInfo(
        name="reconstructions",
        version=1,
        metric="",
        modalities=("image",),
        summary="What the method makes of images it was not trained on, where it draws any.",
        fits=False,
        needs="method",
    )
    Config = ReconstructionsConfig

    def run(self, encoder: nn.Module, train: Source, test: Source) -> Result:
        """Have a method draw images of ``test``.

        Raises:
            UsageError: if it is no method of images, or has nothing to draw, or too many images are asked for.
            UserError: if images cannot be read, or what is drawn is not finite.
        """
        method, count = encoder, self.config.images
        if not isinstance(method, PretextMethod):
            raise UsageError(f"reconstructions are drawn by a method, and this is a {type(method).__name__}")
        if not 1 <= count <= COLUMNS:
            raise UsageError(f"a row has 1 to {COLUMNS} images, not {count}")
        if "image" not in method.info.modalities:
            raise UsageError(f"{method.info.name} takes {' and '.join(method.info.modalities)}, not single images")
        pictures = illustrations(method, held_out(method, test, count))
        if not pictures:
            raise UsageError(f"{method.info.name} has nothing to draw; choose the run of a method that has")
        for title, images in pictures.items():
            if not images.isfinite().all():
                raise UserError(
                    f"{title!r} of {test.name} is not finite, so the method has diverged; draw an earlier one"
                )
        return Result(
            metrics={},
            details={"rows": list(pictures)},
            visuals={"pictures": pictures, "title": f"{method.info.name}: {method.info.summary}", "data": test.name},
        )

    def draw(self, results: dict[str, Result]) -> dict[str, Figure]:
        """The rows of the trained method, each above that of the untrained one."""
        first = results["trained"].visuals
        rows, caption = beside({name: result.visuals["pictures"] for name, result in results.items()})
        return {"reconstructions": illustration_sheet(rows, first["title"], f"on {first['data']}{caption}")}


def held_out(method: PretextMethod, source: Source, count: int) -> Batch:
    """A batch of ``count`` samples as the method takes them, on its device; others stand in for unreadable ones."""
    spec = spec_of(method.encoder).input
    index = by_turns(torch.arange(len(source)), known_labels(source))[:count]
    keys = Draw.root(0).at("evaluation", "reconstructions").of(index).key
    read = Samples(source, spec.size[0]).__getitems__(list(zip(index.tolist(), keys.tolist(), strict=True)))
    batch = Collate(method.views(method.config, spec), augment=True)(read)
    if "error" in batch:
        raise batch["error"]
    batch.pop("unreadable", None)
    return send_to_device(batch, next(method.parameters()).device)


def beside(pictures: dict[str, dict[str, Tensor]]) -> tuple[dict[str, Tensor], str]:
    """One sheet's rows by title, from the rows by encoder, and what is to be said of them."""
    trained, untrained = pictures["trained"], pictures.get("untrained")
    if untrained is None:
        return trained, ""
    rows: dict[str, Tensor] = {}
    for title in dict.fromkeys([*trained, *untrained]):
        ours, theirs = trained.get(title), untrained.get(title)
        if ours is not None and theirs is not None and torch.equal(ours, theirs):
            rows[title] = ours
            continue
        rows |= {f"{title}, trained": ours} if ours is not None else {}
        rows |= {f"{title}, untrained": theirs} if theirs is not None else {}
    if rows.keys() == trained.keys():
        return rows, ": the same before and after training, for the method draws what it is given"
    return rows, ""
