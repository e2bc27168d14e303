"""`duokit fit`: the weights of a duo, from the logits of the validation split."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from duokit.cli.members import FORMATS, add_labels, add_mismatch, read_members


def register(subparsers: Any) -> None:
    """Adds the command to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "fit",
        help="fit the weights of a duo on logits of the validation split",
        description="Fits one weight a model by minimising the mean negative log-likelihood (NLL, "
        "in nats) of the labels, and prints weights, their standard errors, the NLL, how far from "
        "the best it can be, and the score test of the sidekick.",
        epilog=FORMATS,
    )
    parser.add_argument("large", type=Path, metavar="LARGE", help="logits of the large model")
    parser.add_argument("small", type=Path, metavar="SMALL", help="logits of the small model")
    parser.add_argument(
        "more",
        type=Path,
        nargs="*",
        metavar="MORE",
        help="logits of further models (default: none)",
    )
    add_labels(parser, "--labels", "the images")
    add_mismatch(parser)
    parser.add_argument(
        "--out", type=Path, metavar="JSON", help="file for the fit (default: only printed)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file of --out (default: refuse)"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Returns 0 after printing the fit and writing it to --out."""
    from duokit.evaluation import fit_duo
    from duokit.logits import versions
    from duokit.logits.files import write_whole

    if given.out is not None and given.out.suffix != ".json":
        raise ValueError(f"--out {given.out} does not end in .json")
    files = [given.large, given.small, *given.more]
    records = read_members(files, given.labels)
    duo = fit_duo(records, allow_mismatch=given.allow_mismatch)
    members = [
        {
            "file": str(file),
            "model": record.model,
            "resolution": record.resolution,
            "weight": _number(weight),
            "standard_error": _number(error),
            "weight_alone": _number(alone.weights[0]),
            "nll_alone": alone.nll,
        }
        for file, record, weight, error, alone in zip(
            files, duo.val, duo.weights, duo.fit.standard_errors, duo.own, strict=True
        )
    ]
    found = {
        "members": members,
        "images": duo.fit.images,
        "classes": duo.val[0].k,
        "nll": duo.fit.nll,
        "gap": duo.fit.gap,
        "status": duo.fit.status,
        "passes": duo.fit.passes,
        "flops_balance": _number(duo.flops_balance),
        "sidekick_test": {k: _number(v) for k, v in asdict(duo.test).items()} if duo.test else None,
        "allowed": list(duo.allowed),
        "versions": versions(),
    }
    _print(found)
    if given.out is not None:
        text = json.dumps(found, indent=2, allow_nan=False) + "\n"
        print(f"written: {write_whole(given.out, text.encode(), overwrite=given.overwrite)}")
    return 0


def _number(value: Any) -> Any:
    """Returns a number that JSON has, or None: nan says that it is not determined."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _print(found: dict[str, Any]) -> None:
    from duokit.fusion.sidekick import LEAST_IMAGES, ROUGH_IMAGES

    width = max(len(_name(member)) for member in found["members"])
    print(f"{'model':{width}}  {'weight':>8}  {'s.e.':>7}  {'alone':>8}  {'NLL alone':>9}")
    for one in found["members"]:
        error = "-" if one["standard_error"] is None else f"{one['standard_error']:.4f}"
        print(
            f"{_name(one):{width}}  {one['weight']:8.4f}  {error:>7}  "
            f"{one['weight_alone']:8.4f}  {one['nll_alone']:9.4f}"
        )
    print(
        f"NLL together {found['nll']:.6f} nats on {found['images']} images of {found['classes']} "
        f"classes, at most {found['gap']:.1g} above the smallest; {found['status']} after "
        f"{found['passes']} passes"
    )
    if found["flops_balance"] is not None:
        print(f"FLOPs of the others / FLOPs of the large model: {found['flops_balance']:.3f}")
    test = found["sidekick_test"]
    if test is not None and test["t"] is not None:
        says = "it helps" if test["p_value"] < 0.01 else "no sign that it helps"
        few = f"; rough, from {found['images']} images" if found["images"] < ROUGH_IMAGES else ""
        print(
            f"score test of the sidekick: t = {test['t']:.2f}, p = {test['p_value']:.2g}: "
            f"{says}{few}"
        )
    elif found["images"] < LEAST_IMAGES:
        print(f"score test of the sidekick: none, it needs {LEAST_IMAGES} images or more")
    print(*found["allowed"], sep="\n", end="\n" if found["allowed"] else "")


def _name(member: dict[str, Any]) -> str:
    size = f"@{member['resolution']}" if member["resolution"] else ""
    return f"{member['model']}{size}"
