"""Every metric as a slow loop that anyone can read; the tests compare duokit.metrics with these.

Plain Python on lists: probabilities (n rows of k), labels, or one confidence or uncertainty per
image and whether it was right. Nothing here is shared with the code under test.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise, permutations

Numbers = Sequence[float]
Flags = Sequence[bool]
Rows = Sequence[Numbers]


def softmax(logits: Rows) -> list[list[float]]:
    rows = []
    for z in logits:
        top = max(z)
        e = [math.exp(v - top) for v in z]
        rows.append([v / math.fsum(e) for v in e])
    return rows


def accuracy(predictions: Sequence[int], labels: Sequence[int]) -> float:
    return sum(p == y for p, y in zip(predictions, labels, strict=True)) / len(labels)


def macro_f1(predictions: Sequence[int], labels: Sequence[int]) -> float:
    scores = []
    for c in set(predictions) | set(labels):
        pairs = list(zip(predictions, labels, strict=True))
        hit = sum(p == c and y == c for p, y in pairs)
        scores.append(2 * hit / sum((p == c) + (y == c) for p, y in pairs))
    return math.fsum(scores) / len(scores)


def nll(logits: Rows, labels: Sequence[int]) -> float:
    total = 0.0
    for z, y in zip(logits, labels, strict=True):
        top = max(z)
        total += top + math.log(math.fsum(math.exp(v - top) for v in z)) - z[y]
    return total / len(labels)


def brier(probs: Rows, labels: Sequence[int]) -> float:
    total = 0.0
    for p, y in zip(probs, labels, strict=True):
        total += math.fsum((v - (c == y)) ** 2 for c, v in enumerate(p))
    return total / len(labels)


def bin_members(values: Numbers, bins: int) -> list[list[int]]:
    """Return the images of each bin of equal width, (lo, hi], the first with 0."""
    members: list[list[int]] = [[] for _ in range(bins)]
    for i, value in enumerate(values):
        for b in range(bins):
            if (b / bins < value or b == 0) and value <= (b + 1) / bins:
                members[b].append(i)
    return members


def ece(confidence: Numbers, right: Flags, bins: int = 15) -> float:
    total = 0.0
    for members in bin_members(confidence, bins):
        total += abs(math.fsum(confidence[i] - right[i] for i in members))
    return total / len(confidence)


def mce(confidence: Numbers, right: Flags, bins: int = 15) -> float:
    gaps = []
    for members in bin_members(confidence, bins):
        if members:
            gaps.append(abs(math.fsum(confidence[i] - right[i] for i in members)) / len(members))
    return max(gaps)


def ece_class(probs: Rows, labels: Sequence[int], bins: int = 15) -> float:
    classes = len(probs[0])
    errors = [ece([p[c] for p in probs], [y == c for y in labels], bins) for c in range(classes)]
    return math.fsum(errors) / classes


def tied_groups(values: Numbers) -> list[list[int]]:
    """Return the images of each distinct value, smallest value first."""
    return [[i for i, v in enumerate(values) if v == value] for value in sorted(set(values))]


def copies(confidence: Numbers, right: Flags, bins: int) -> list[tuple[float, float]]:
    """Return (confidence, accuracy) of `bins` copies of every image, tied ones made equal.

    Of n images there are n * bins copies, so a bin of equal mass holds exactly n of them.
    """
    made = []
    for group in tied_groups(confidence):
        share = sum(right[i] for i in group) / len(group)
        made += [(confidence[group[0]], share)] * (len(group) * bins)
    return made


def ece_mass(confidence: Numbers, right: Flags, bins: int = 15) -> float:
    n, made = len(confidence), copies(confidence, right, bins)
    total = 0.0
    for b in range(bins):
        total += abs(math.fsum(c - a for c, a in made[b * n : (b + 1) * n]))
    return total / (n * bins)


def ece_debiased(confidence: Numbers, right: Flags, bins: int = 15) -> float:
    n = len(confidence)
    bins = min(bins, n // 2)
    if bins == 0:
        return math.nan
    made, size, square = copies(confidence, right, bins), n / bins, 0.0
    for b in range(bins):
        part = made[b * n : (b + 1) * n]
        conf, acc = math.fsum(c for c, _ in part) / n, math.fsum(a for _, a in part) / n
        square += ((conf - acc) ** 2 - acc * (1 - acc) / (size - 1)) / bins
    return math.sqrt(max(0.0, square))


def smooth_error(confidence: Numbers, right: Flags, width: float, mesh: int = 1000) -> float:
    """Return the integral over t of |mean over images of kernel(t, confidence) * gap|."""
    total = 0.0
    for m in range(mesh):
        t, value = (m + 0.5) / mesh, 0.0
        for c, r in zip(confidence, right, strict=True):
            for image in (c, -c, 2 - c, c - 2, c + 2, -2 - c, 4 - c):  # mirrors at 0 and 1
                value += math.exp(-(((t - image) / width) ** 2) / 2) * (c - r)
        total += abs(value) / (width * math.sqrt(2 * math.pi)) / mesh
    return total / len(confidence)


def ece_smooth(confidence: Numbers, right: Flags, mesh: int = 200) -> float:
    low, high = 1e-3, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        if smooth_error(confidence, right, middle, mesh) > middle:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def auroc(uncertainty: Numbers, right: Flags) -> float:
    wins = pairs = 0.0
    for u, r in zip(uncertainty, right, strict=True):
        for v, s in zip(uncertainty, right, strict=True):
            if r and not s:
                pairs += 1
                wins += 1.0 if u < v else 0.5 if u == v else 0.0
    return wins / pairs if pairs else math.nan


def mean_risk(right: Flags) -> float:
    """Return the mean error rate over the prefixes of a list that is in order."""
    risks, errors = [], 0
    for k, r in enumerate(right, start=1):
        errors += not r
        risks.append(errors / k)
    return math.fsum(risks) / len(risks)


def aurc(uncertainty: Numbers, right: Flags) -> float:
    """Return the mean risk; with ties the mean over every order of every tied group."""
    orders: list[list[bool]] = [[]]
    for group in tied_groups(uncertainty):
        ways = [list(way) for way in permutations(right[i] for i in group)]
        orders = [start + way for start in orders for way in ways]
    return math.fsum(mean_risk(order) for order in orders) / len(orders)


def e_aurc(uncertainty: Numbers, right: Flags) -> float:
    return aurc(uncertainty, right) - mean_risk(sorted(right, reverse=True))


def prefixes(uncertainty: Numbers, right: Flags) -> list[tuple[int, int]]:
    """Return (images, errors) of every prefix that a threshold can accept."""
    points, images, errors = [], 0, 0
    for group in tied_groups(uncertainty):
        images += len(group)
        errors += sum(not right[i] for i in group)
        points.append((images, errors))
    return points


def augrc(uncertainty: Numbers, right: Flags) -> float:
    n, total = len(right), 0.0
    for (images, errors), (later, more) in pairwise([(0, 0), *prefixes(uncertainty, right)]):
        total += (later - images) / n * (errors + more) / (2 * n)
    return total


def coverage_at_accuracy(uncertainty: Numbers, right: Flags, percent: int) -> float:
    best = 0
    for images, errors in prefixes(uncertainty, right):
        if Fraction(images - errors, images) >= Fraction(percent, 100):
            best = max(best, images)
    return best / len(right)


def risk_at_coverage(uncertainty: Numbers, right: Flags, percent: int) -> float:
    kept = math.ceil(Fraction(percent * len(right), 100))
    left, errors = kept, 0.0
    for group in tied_groups(uncertainty):
        taken = min(left, len(group))
        errors += taken * sum(not right[i] for i in group) / len(group)
        left -= taken
    return errors / kept


def all_metrics(logits: Rows, labels: Sequence[int], *, smooth: bool = True) -> dict[str, float]:
    """Return every metric of logits whose rows have one largest entry."""
    probs = softmax(logits)
    found = [z.index(max(z)) for z in (list(z) for z in logits)]
    right = [p == y for p, y in zip(found, labels, strict=True)]
    confidence = [max(p) for p in probs]
    uncertainty = [math.fsum(p) - max(p) for p in probs]
    table = {
        "accuracy": accuracy(found, labels),
        "macro_f1": macro_f1(found, labels),
        "nll": nll(logits, labels),
        "brier": brier(probs, labels),
        "ece": ece(confidence, right),
        "ece_mass": ece_mass(confidence, right),
        "ece_class": ece_class(probs, labels),
        "ece_debiased": ece_debiased(confidence, right),
        "mce": mce(confidence, right),
        "auroc": auroc(uncertainty, right),
        "aurc": aurc(uncertainty, right),
        "e_aurc": e_aurc(uncertainty, right),
        "augrc": augrc(uncertainty, right),
    }
    if smooth:
        table["ece_smooth"] = ece_smooth(confidence, right)
    for percent in range(90, 100):
        table[f"sac{percent}"] = coverage_at_accuracy(uncertainty, right, percent)
    for percent in (80, 90, 95):
        table[f"risk{percent}"] = risk_at_coverage(uncertainty, right, percent)
    return table
