"""Records of a made-up pair whose classes, data set and split can be a benchmark's."""

import numpy as np

from duokit.logits.record import Record, make_record

LARGE, SMALL = "ConvNeXt_Base", "EfficientNet_B2"
MODELS = {LARGE: "torchvision:convnext_base", SMALL: "torchvision:efficientnet_b2"}


def make_pair(
    split: str, *, n: int, k: int, dataset: str, seed: int = 0, run: int | None = None
) -> list[Record]:
    """Return the records of a strong and a weak model that err on different images."""
    draw = np.random.default_rng([seed, n])
    labels = draw.integers(0, k, n)
    labels[: min(k, n)] = np.arange(min(k, n))
    records = []
    for place, (lift, model) in enumerate(zip((5.0, 3.5), MODELS.values(), strict=True)):
        logits = draw.normal(size=(n, k)).astype(np.float32)
        logits[np.arange(n), labels] += (lift - draw.exponential(1.5, n)).astype(np.float32)
        records.append(
            make_record(
                *(logits, labels, [f"{split}-{i:05}" for i in range(n)]),
                model=model,
                dataset=dataset,
                split=split,
                resolution=224,
                flops=10 ** (10 - place),
                seed=run,
                dtype="float16",
            )
        )
    return records
