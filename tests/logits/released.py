"""Small folders of logits, written as the paper's released code writes them."""

import numpy as np
import pandas as pd


def scores(labels, k, noise, seed):
    random = np.random.default_rng(seed)
    return (3 * np.eye(k)[labels] + noise * random.normal(size=(len(labels), k))).astype(np.float32)


def write(base, dataset="imagenet", split="val", models=("A", "B"), n=60, k=5, noise=1.5, **named):
    """Writes raw/MODEL.csv of these models and point_prediction.csv; returns labels and logits.

    The first model stores the labels, each adds the column of the classes it names.
    """
    folder = base / "y-prediction" / dataset / split
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    labels = np.random.default_rng(len(split)).integers(0, k, size=n)
    table, made = {"target": labels}, {}
    for number, model in enumerate(models):
        made[model] = scores(labels, k, noise, 10 * number + len(split))
        pd.DataFrame(made[model]).to_csv(folder / "raw" / f"{model}.csv", index=False)
        table[model] = made[model].argmax(axis=1)
    pd.DataFrame(table | named).to_csv(folder / "point_prediction.csv", index=False)
    return labels, made


def rewrite(path, change):
    """Replaces a .csv by what `change` makes of its table."""
    table = pd.read_csv(path)
    table = change(table)
    table.to_csv(path, index=False)
