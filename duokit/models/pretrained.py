"""From a pretrained network, its own head kept, to the records of ImageNet's pictures.

This is how the paper gets its logits on ImageNet: nothing is trained. It needs pictures of the
very classes that the head was trained on, in its order: the 1,000 of ILSVRC 2012, sorted by wnid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from duokit.images import ImageSet, Splits
from duokit.images.wnids import imagenet_wnids
from duokit.logits import Record
from duokit.models.build import IMAGENET_CLASSES, build, resolve
from duokit.models.cost import cost
from duokit.models.inference import predict
from duokit.models.records import Recipe, kept_record

METHOD = "the head it was pretrained with"


def pretrained_records(
    image_set: ImageSet,
    splits: Splits,
    recipe: Recipe,
    *,
    parts: Sequence[str] | None = None,
    command: str = "",
    **options: Any,
) -> Iterator[tuple[str, Record]]:
    """Returns (part, record) one after the other, so that each can be kept when it is made.

    Pictures go through the eval transform of the weights, to the logits of the network as it was
    published. In memory there are the logits of one part, in float32, and what is kept of them:
    47,500 images of 1,000 classes take about 0.6 GB.

    Args:
        image_set: pictures whose classes are ImageNet's: "imagenet", "imagenet_v2", or a folder
            with one folder a wnid.
        splits: parts of the image set.
        recipe: network, resolution, where its weights come from, how logits are kept.
        parts: which parts; all but "train" if not given.
        command: the command to put into the records.
        **options: batch, workers, device and progress of `predict`.

    Raises:
        ValueError: as `check_head`; a part that is not there; logits that are not finite or too
            large for the dtype.
        FileNotFoundError, ConnectionError: as `build`.
    """
    check_head(image_set, recipe)
    chosen = [part for part in splits.parts if part != "train"] if parts is None else list(parts)
    unknown = [part for part in chosen if part not in splits.parts]
    if unknown or not chosen:
        raise ValueError(
            f"the splits of {splits.dataset} have the parts {', '.join(splits.parts)}; "
            f"asked for: {', '.join(chosen) or 'none'}"
        )
    return _records(image_set, splits, recipe, chosen, command, options)


def check_head(image_set: ImageSet, recipe: Recipe) -> None:
    """Returns nothing if the outputs of a network's own head are the classes of these pictures.

    Args:
        image_set: pictures and labels.
        recipe: network and where its weights come from.

    Raises:
        ValueError: random weights, a head of other than 1,000 outputs, or other classes.
    """
    if recipe.pretrained is None:
        raise ValueError(f"{recipe.model} with random weights has no head that knows a class")
    outputs = _outputs(recipe)
    if outputs != IMAGENET_CLASSES:
        raise ValueError(
            f"the head of {recipe.model} ({recipe.weights}) has {outputs:,} outputs, not "
            f"ImageNet's {IMAGENET_CLASSES:,}: choose weights that were trained on these"
        )
    wnids = imagenet_wnids()
    if image_set.class_names == wnids:
        return
    if image_set.classes != len(wnids):
        raise ValueError(
            f"{image_set.name} has {image_set.classes} classes, the head of {recipe.model} "
            f"ImageNet's {len(wnids):,}: give the network a head for them, with `duokit probe` or "
            "`duokit finetune`"
        )
    pairs = zip(image_set.class_names, wnids, strict=True)
    row, (found, wanted) = next((r, pair) for r, pair in enumerate(pairs) if pair[0] != pair[1])
    raise ValueError(
        f"class {row} of {image_set.name} is {found!r}, output {row} of the head of "
        f"{recipe.model} is {wanted!r}: name the class folders by wnid, all 1,000 of them, or give "
        "the network a head for these classes, with `duokit probe` or `duokit finetune`"
    )


def _outputs(recipe: Recipe) -> int:
    """Returns how many outputs the head of the weights has."""
    library, bare = resolve(recipe.model, recipe.pretrained)
    if library == "torchvision":
        return IMAGENET_CLASSES  # all that get_model_weights offers for classifiers
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(bare)
    return IMAGENET_CLASSES if config is None else int(config.num_classes)


def _records(
    image_set: ImageSet,
    splits: Splits,
    recipe: Recipe,
    parts: Sequence[str],
    command: str,
    options: dict[str, Any],
) -> Iterator[tuple[str, Record]]:
    """Yields part and record; the network is built once."""
    name = ":".join(resolve(recipe.model, recipe.pretrained))  # both libraries have a resnet50
    price = cost(name, recipe.size, image_set.classes)
    config = {
        "command": command,
        "method": METHOD,
        "weights_sha256": recipe.weights_sha256,
        "preprocessing": recipe.preprocessing.as_dict(),
        "protocol": splits.protocol,
        "split_seed": splits.seed,
        "cost": asdict(price),
        "images": {"licence": image_set.licence, "source": image_set.source},
    }
    model = build(recipe.model, pretrained=recipe.pretrained, resolution=recipe.resolution)
    transform = recipe.preprocessing.transform()
    for part in parts:
        ids = splits.parts[part]
        rows = image_set.rows(ids)
        yield (
            part,
            kept_record(
                predict(model, image_set, transform=transform, rows=rows, **options),
                image_set.labels[rows],
                ids,
                dtype=recipe.dtype,
                config=config,
                model=recipe.model,
                weights=recipe.weights,
                resolution=recipe.size,
                dataset=image_set.name,
                split=part,
                split_checksum=splits.checksum,
                flops=price.flops,
                parameters=price.parameters,
                class_names=image_set.class_names,
            ),
        )
