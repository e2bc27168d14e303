"""What holds for every test: one thread, no screen, the same random examples at each run."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Two cores shared by several processes: a deadline would measure the machine. Derandomised, so that
# a change fails for what it did, not for the day's luck; HYPOTHESIS_PROFILE=search looks further.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def pytest_collection_modifyitems(items):
    """Carry the mark of a promise to the report that tools/promises.py counts."""
    for item in items:
        item.user_properties += [("promise", mark.args[0]) for mark in item.iter_markers("promise")]
