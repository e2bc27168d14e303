"""What a reader would need for a benchmark: GPU hours and disk space, both estimates."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from duokit.published.tables import BENCHMARKS, duos, single_models, throughput

# Archives to download, in 10^9 bytes, as their sources state them. ImageNet-V2 needs both: the
# weights are fitted on ImageNet's val.
PICTURES_GB = {"imagenet": 6.7, "imagenet_v2": 1.3 + 6.7, "caltech256": 1.2, "iwildcam": 12.0}
# Training images and epochs of the paper: linear probe, then fine-tuning. Nothing is trained for
# ImageNet.
TRAINING = {"caltech256": (21_424, 8, 16), "iwildcam": (129_809, 8, 12)}
BACKWARD = 2  # passes forward that a pass backward costs, a rule of thumb
BYTES = {"logit": 2, "parameter": 4}


def estimated_cost(benchmark: str, models: Sequence[str]) -> pd.DataFrame:
    """Return an ESTIMATE of what logits of these models cost on one V100, the authors' GPU.

    Images per second are the authors' measurement at large batches, with the pictures in memory;
    reading them from disk may take longer. A step of training is taken as three forward passes,
    and one training run as the paper's epochs: a search over settings costs a multiple of it.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        models: The authors' names.

    Returns:
        Index model and "together"; columns images_per_second, logits_hours (of val and test),
        training_hours (one run; 0 where nothing is trained), logits_gb (float16) and weights_gb,
        10^9 bytes. nan where the authors give no throughput. attrs: "pictures_gb", what to
        download, and "images", how many are looked at.

    Raises:
        ValueError: Another benchmark, or a model the authors do not have there.
    """
    duos(benchmark)
    info = BENCHMARKS[benchmark]
    alone, measured = single_models(benchmark), throughput()["images_per_second"]
    unknown = [name for name in models if name not in alone.index]
    if unknown:
        raise ValueError(f"the authors' {info.title} has no model {unknown[0]!r}")
    images = info.val + info.test
    train, probe, tune = TRAINING.get(info.data, (0, 0, 0))
    passes = train * (probe + (1 + BACKWARD) * tune)
    rows = {}
    for name in models:
        rate = float(measured.get(name, np.nan))
        rows[name] = {
            "images_per_second": rate,
            "logits_hours": images / rate / 3600,
            "training_hours": passes / rate / 3600 if passes else 0.0,
            "logits_gb": images * info.classes * BYTES["logit"] / 1e9,
            "weights_gb": float(alone["parameters"][name]) * BYTES["parameter"] / 1e9,
        }
    found = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    together = found.sum(skipna=False)
    together["images_per_second"] = 1 / (1 / found["images_per_second"]).sum(skipna=False)
    found.loc["together"] = together
    found.attrs = {"pictures_gb": PICTURES_GB[info.data], "images": images}
    return found
