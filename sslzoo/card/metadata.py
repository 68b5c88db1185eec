"""What the Hub reads of a card: licence, tags to filter by, data sets, sizes, and results as a model-index."""

from __future__ import annotations

from huggingface_hub import ModelCardData

from sslzoo.card.contents import Contents
from sslzoo.card.results import model_index
from sslzoo.hub.names import hub_dataset


def metadata(contents: Contents, name: str) -> ModelCardData:
    """The block at the top of the card of the model ``name``. ``sslzoo list --models`` reads its entry ``sslzoo``.

    The library is the one whose loading code the Hub shows, and timm alone does not know encoders of clips.
    """
    method, dataset = contents.method, hub_dataset(contents.dataset["name"])
    kinds = [method[key] for key in ("name", "category", "family") if method[key]]
    return ModelCardData(
        library_name="sslzoo" if contents.frames else "timm",
        license=contents.config["pretrained_cfg"]["license"],
        pipeline_tag="feature-extraction" if contents.frames else "image-feature-extraction",
        tags=["sslzoo", "self-supervised-learning", *kinds, "timm", "transformers"],
        datasets=[dataset] if dataset else None,
        model_name=name,
        sslzoo={
            "method": method["name"],
            "category": method["category"],
            "family": method["family"],
            "encoder": contents.config["architecture"],
            "dataset": contents.dataset["name"],
            "input_size": list(contents.input_size),
            **({"frames": contents.frames} if contents.frames else {}),
            "parameters": contents.parameters,
            "bytes": contents.size,
        },
        eval_results=[result for report in contents.reports.values() for result in model_index(report)] or None,
    )
