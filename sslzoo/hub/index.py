"""Released encoders, by what their cards' metadata say. No torch, no weights: a list takes one request, or none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import build_hf_headers, paginate
from yaml import YAMLError

from sslzoo import __version__
from sslzoo.config import UserError
from sslzoo.hub.errors import hub_errors

T = TypeVar("T")


@dataclass(frozen=True)
class Score:
    """One metric of one evaluation."""

    protocol: str
    """``name@version``: numbers of different protocols are not to be compared."""
    dataset: str
    split: str | None
    metric: str
    value: float
    """Shares are in percent."""
    untrained: float | None
    """The same of the architecture with random weights."""


@dataclass(frozen=True)
class Released:
    """One encoder. What its card does not tell is None."""

    name: str
    """``org/name`` on the Hub, the name of the folder in a checkout."""
    method: str | None = None
    category: str | None = None
    family: str | None = None
    encoder: str | None = None
    dataset: str | None = None
    input_size: tuple[int, ...] | None = None
    """Channels, height, width."""
    parameters: int | None = None
    bytes: int | None = None
    scores: tuple[Score, ...] = ()
    """In the card's order; of each protocol and data set, the first metric stands for the whole."""
    trouble: str | None = None
    """Why there is less here than a card of sslzoo tells."""


def released_here(folder: Path) -> list[Released]:
    """The encoders in ``folder``, such as ``model_cards/``: one folder with a README.md each.

    Raises:
        UserError: if the folder does not exist.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no folder {folder.name}/ beside this sslzoo, as a clone of its repository has it: "
            "name an organisation of the Hub with --hub ORG"
        )
    return [_from_folder(path.parent) for path in sorted(folder.glob("*/README.md"))]


def released_on_hub(author: str, *, token: str | None = None, endpoint: str | None = None) -> list[Released]:
    """The models of an organisation or user on the Hub that have the tag ``sslzoo``, by name. One request.

    Raises:
        UserError: if the Hub does not answer.
    """
    # HfApi.list_models would do the same, but one card that its parser stumbles over ends its list.
    address = f"{endpoint or constants.ENDPOINT}/api/models"
    headers = build_hf_headers(token=token, library_name="sslzoo", library_version=__version__)
    wanted = {"author": author, "filter": "sslzoo", "cardData": True}
    with hub_errors(f"list the models of {author}"):
        found = [_from_card(item["id"], item.get("cardData")) for item in paginate(address, wanted, headers)]
    return sorted(found, key=lambda model: model.name)


def _from_folder(folder: Path) -> Released:
    try:
        return _from_card(folder.name, metadata_load(folder / "README.md"))
    except (OSError, ValueError, YAMLError, RecursionError) as error:
        first = next(iter(str(error).splitlines()), "")
        return Released(folder.name, trouble=f"the metadata of its card cannot be read ({first})")


def _from_card(name: str, card: Any) -> Released:
    ours = card.get("sslzoo") if isinstance(card, dict) else None
    if not isinstance(ours, dict):
        return Released(name, trouble="its card has no entry sslzoo: it was not pushed by this sslzoo")
    size = _of(list, ours.get("input_size")) or []
    try:
        scores, trouble = tuple(_scores(card.get("model-index"))), None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        scores, trouble = (), f"the model-index of its card cannot be read ({error!r})"
    return Released(
        name,
        **{key: _of(str, ours.get(key)) for key in ("method", "category", "family", "encoder", "dataset")},
        input_size=tuple(size) if size and all(isinstance(number, int) for number in size) else None,
        parameters=_of(int, ours.get("parameters")),
        bytes=_of(int, ours.get("bytes")),
        scores=scores,
        trouble=trouble,
    )


def _scores(index: Any) -> Iterator[Score]:
    for result in model_index_to_eval_results(index)[1] if index else ():
        args, value = result.metric_args or {}, result.metric_value
        if "protocol" in args and isinstance(value, (int, float)):  # others may add results of their own
            yield Score(
                protocol=str(args["protocol"]),
                dataset=str(result.dataset_name),
                split=_of(str, result.dataset_split),
                metric=str(result.metric_type),
                value=value,
                untrained=_of((int, float), args.get("untrained_encoder")),
            )


def _of(kind: type[T] | tuple[type[T], ...], value: Any) -> T | None:
    return value if isinstance(value, kind) else None
