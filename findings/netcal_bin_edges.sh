#!/usr/bin/env bash
# netcal 1.4.0: the bins of ECE are closed below, [lo, hi), and 1.0 belongs to the last one.
#
# Seen:     with two bins a confidence of .5 is put in the upper bin, so that .5 (right) and .9
#           (wrong) share a bin: |1.4 - 1| / 2 = .2.
# Expected: (lo, hi], as in the paper that defines the measure (Guo et al., arXiv 1706.04599), which
#           parts them: (.5 + .9) / 2 = .7. torchmetrics 1.9.0 takes [lo, hi) too but gives 1.0 a bin
#           of its own, so three libraries give three numbers where confidences repeat, as votes do.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q netcal==1.4.0 torch==2.13.0
venv/bin/python - <<'P'
import warnings

warnings.simplefilter("ignore")
import netcal
import numpy as np
import scipy
from netcal.metrics import ECE

print("netcal", netcal.__version__, "numpy", np.__version__, "scipy", scipy.__version__)
inner = float(ECE(2).measure(np.array([0.5, 0.9]), np.array([1, 0])))
last = float(ECE(10).measure(np.array([1.0, 0.95]), np.array([0, 1])))
print(f"ECE(2) of .5 right, .9 wrong: {inner:.6f} ([lo, hi) gives .2, (lo, hi] gives .7)")
print(f"ECE(10) of 1 wrong, .95 right: {last:.6f} (one bin gives .475, two give .525)")
assert abs(inner - 0.2) < 1e-9, "the inner edges are no longer closed below"
assert abs(last - 0.475) < 1e-9, "1.0 is no longer in the last bin"
P
