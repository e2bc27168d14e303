"""The paper's 44 backbones: what its tables call them, and what `build` does.

What they are charged is what the authors' files say: millions of parameters with the head of 1,000
classes, and GFLOPs (10^9 multiply-adds) of one image. It is what torchvision states for its
weights, so one network is charged for a size at which it is not run: the authors' loader takes
timm's tf_efficientnetv2_l at 384 pixels, while 56.08 GFLOPs belong to 480 pixels. At 384 it needs
35.90 by our count (`Backbone.gflops`; its model card says 36.1, which counts more than products),
so the duos it leads have a FLOPs balance 1.56 times that of the paper.

    backbone("ConvNeXt_Base").model       "torchvision:convnext_base"
    [each.name for each in BACKBONES if "large" in each.roles]

Source: arXiv 2505.18636, section 4 and appendix A.1, and the authors' released code.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

Role = Literal["large", "small"]


@dataclass(frozen=True)
class Backbone:
    """One backbone of the paper.

    Attributes:
        name: what the paper's tables and the authors' files call it, such as "ConvNeXt_Base".
        model: what `duokit.models.build` takes, such as "torchvision:convnext_base".
        weights: tag of its weights: the DEFAULT of torchvision, or timm's tag.
        family: as the paper groups them, such as "ConvNeXt".
        params_millions: parameters with a head of 1,000 classes.
        charged_gflops: 10^9 multiply-adds an image, as the authors charge it.
        gflops: 10^9 multiply-adds an image at `resolution`.
        resolution: side in pixels of the crop on which the authors' loader runs it.
        roles: what it is in the authors' ImageNet duos: "large", "small", both, or neither.
            ResNet50 (Tables 1 to 3) and Swin_V2_S (Table 4) are also large ones there.
    """

    name: str
    model: str
    weights: str
    family: str
    params_millions: float
    charged_gflops: float
    gflops: float
    resolution: int
    roles: tuple[Role, ...]

    @property
    def library(self) -> str:
        """The library it comes from, "torchvision" or "timm"."""
        return self.model.partition(":")[0]

    @property
    def flops(self) -> int:
        """Multiply-adds an image at `resolution`, for a record; rounded as the authors round."""
        return round(self.gflops * 1e9)

    @property
    def tag(self) -> str:
        """The words by which records name the weights; what `weights_tag` returns."""
        return f"{self.weights}, {self.library}"


def backbone(name: str) -> Backbone:
    """Returns the backbone of this name.

    Args:
        name: the paper's name ("ConvNeXt_Base", in any case), or that for `build`
            ("torchvision:convnext_base").

    Raises:
        ValueError: none of the 44; the text lists those with a similar name.
    """
    known = {each.name.lower(): each for each in BACKBONES}
    known |= {each.model: each for each in BACKBONES}
    found = known.get(name.lower())
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), known, n=4, cutoff=0.5)
    names = list(dict.fromkeys(known[each].name for each in near))
    hint = f"near it: {', '.join(names)}" if names else "BACKBONES lists them"
    raise ValueError(f"{name!r} is none of the paper's {len(BACKBONES)} backbones; {hint}")


def _torchvision(
    name: str,
    weights: int,
    family: str,
    params_millions: float,
    gflops: float,
    resolution: int,
    *roles: Role,
) -> Backbone:
    """Returns a backbone whose name, in small letters, is torchvision's."""
    model, tag = f"torchvision:{name.lower()}", f"IMAGENET1K_V{weights}"
    return Backbone(name, model, tag, family, params_millions, gflops, gflops, resolution, roles)


def _timm(
    name: str,
    family: str,
    params_millions: float,
    charged: float,
    gflops: float,
    resolution: int,
    *roles: Role,
) -> Backbone:
    """Returns a backbone that the authors call as timm does, with the tag of its weights."""
    model, tag = f"timm:{name}", name.partition(".")[2]
    return Backbone(name, model, tag, family, params_millions, charged, gflops, resolution, roles)


# Sorted by charged GFLOPs, as the authors list them.
BACKBONES: tuple[Backbone, ...] = (
    _torchvision("ShuffleNet_V2_X0_5", 1, "ShuffleNet", 1.4, 0.04, 224, "small"),
    _torchvision("MNASNet0_5", 1, "MNASNet", 2.2, 0.1, 224, "small"),
    _torchvision("ShuffleNet_V2_X1_0", 1, "ShuffleNet", 2.3, 0.14, 224, "small"),
    _torchvision("MNASNet0_75", 1, "MNASNet", 3.2, 0.21, 224, "small"),
    _torchvision("ShuffleNet_V2_X1_5", 1, "ShuffleNet", 3.5, 0.3, 224, "small"),
    _torchvision("MNASNet1_0", 1, "MNASNet", 4.4, 0.31, 224, "small"),
    _torchvision("EfficientNet_B0", 1, "EfficientNet", 5.3, 0.39, 224, "small"),
    _torchvision("RegNet_X_400MF", 2, "RegNet", 5.5, 0.41, 224, "small"),
    _torchvision("MNASNet1_3", 1, "MNASNet", 6.3, 0.53, 224, "small"),
    _torchvision("ShuffleNet_V2_X2_0", 1, "ShuffleNet", 7.4, 0.58, 224, "small"),
    _torchvision("EfficientNet_B1", 2, "EfficientNet", 7.8, 0.69, 240, "small"),
    _torchvision("RegNet_X_800MF", 2, "RegNet", 7.3, 0.8, 224, "small"),
    _torchvision("EfficientNet_B2", 1, "EfficientNet", 9.1, 1.09, 288, "small"),
    _torchvision("RegNet_X_1_6GF", 2, "RegNet", 9.2, 1.6, 224, "small"),
    _torchvision("EfficientNet_B3", 1, "EfficientNet", 12.2, 1.83, 300, "small"),
    _torchvision("RegNet_X_3_2GF", 2, "RegNet", 15.3, 3.18, 224, "small"),
    _torchvision("ResNet50", 2, "ResNet", 25.6, 4.09, 224, "small"),
    _torchvision("ResNeXt50_32X4D", 2, "ResNeXt", 25, 4.23, 224, "small"),
    _torchvision("EfficientNet_B4", 1, "EfficientNet", 19.3, 4.39, 380, "small"),
    _torchvision("ConvNeXt_Tiny", 1, "ConvNeXt", 28.6, 4.46, 224, "small"),
    _torchvision("Swin_T", 1, "Swin", 28.3, 4.49, 224, "small"),
    _torchvision("Swin_V2_T", 1, "Swin", 28.4, 5.94, 256, "small"),
    _torchvision("ResNet101", 2, "ResNet", 44.5, 7.8, 224, "small"),
    _torchvision("RegNet_X_8GF", 2, "RegNet", 39.6, 8, 224, "small"),
    _torchvision("EfficientNet_V2_S", 1, "EfficientNet", 21.5, 8.37, 384),
    _torchvision("ConvNeXt_Small", 1, "ConvNeXt", 50.2, 8.68, 224, "small"),
    _torchvision("Swin_S", 1, "Swin", 49.6, 8.74, 224, "small"),
    _torchvision("EfficientNet_B5", 1, "EfficientNet", 30.4, 10.27, 456, "small"),
    _torchvision("ResNet152", 2, "ResNet", 60.2, 11.51, 224, "small"),
    _torchvision("Swin_V2_S", 1, "Swin", 49.7, 11.55, 256, "small"),
    _torchvision("ConvNeXt_Base", 1, "ConvNeXt", 88.6, 15.36, 224, "large", "small"),
    _torchvision("Swin_B", 1, "Swin", 87.8, 15.43, 224, "small"),
    _torchvision("ResNeXt101_64X4D", 1, "ResNeXt", 83.5, 15.46, 224, "small"),
    _torchvision("RegNet_X_16GF", 2, "RegNet", 54.3, 15.94, 224, "small"),
    _torchvision("ResNeXt101_32X8D", 2, "ResNeXt", 88.8, 16.41, 224, "small"),
    _timm(
        "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k",
        "ViT",
        86.6,
        17.56,
        17.56,
        224,
        "large",
        "small",
    ),
    _torchvision("EfficientNet_B6", 1, "EfficientNet", 43, 19.07, 528, "small"),
    _torchvision("Swin_V2_B", 1, "Swin", 87.9, 20.32, 256, "large", "small"),
    _torchvision("EfficientNet_V2_M", 1, "EfficientNet", 54.1, 24.58, 480),
    _torchvision("RegNet_X_32GF", 2, "RegNet", 107.8, 31.74, 224, "small"),
    _torchvision("ConvNeXt_Large", 1, "ConvNeXt", 197.8, 34.36, 224, "small"),
    _torchvision("EfficientNet_B7", 1, "EfficientNet", 66.3, 37.75, 600),
    _timm("tf_efficientnetv2_l.in21k_ft_in1k", "EfficientNet", 118.5, 56.08, 35.9, 384, "large"),
    _torchvision("EfficientNet_V2_L", 1, "EfficientNet", 118.5, 56.08, 480),
)
