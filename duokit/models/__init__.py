"""Networks by name, and what they say about pictures: features, linear probes, logits, cost.

model = build("tf_efficientnet_lite0", classes=101)
transform = eval_transform("tf_efficientnet_lite0", 96)
found = features(model, images, transform=transform, rows=train)
probe = linear_probe(found, labels, val_features=..., val_labels=...)
set_head(model, probe.weight, probe.bias)
logits = predict(model, images, transform=transform, rows=test)
cost("tf_efficientnet_lite0", 96, classes=101).flops

pixels = decode(images, preprocessing("tf_efficientnet_lite0", 96))
fine_tune(model, pixels, FineTune("tf_efficientnet_lite0"), train=..., val=..., folder=...)
AsymmetricDuo(large, small, weights, members=..., classes=101).predict(picture)
"""

from duokit.models.backbones import BACKBONES, Backbone, backbone
from duokit.models.baselines import (
    View,
    dropout_layers,
    ensemble_logits,
    mc_dropout,
    standard_views,
    test_time_augmentation,
)
from duokit.models.build import build, set_head, weights_tag
from duokit.models.cost import Cost, cost, count
from duokit.models.duo.cascaded import CascadedDuo
from duokit.models.duo.export import export_onnx, export_torch
from duokit.models.duo.member import Member
from duokit.models.duo.module import AsymmetricDuo
from duokit.models.duo.prediction import Prediction
from duokit.models.duo.runs import duo_from_runs
from duokit.models.ensemble import ensemble_records
from duokit.models.inference import features, pick_device, predict
from duokit.models.last_layer import LastLayerLaplace, last_layer_laplace
from duokit.models.linear import Probe, linear_probe
from duokit.models.pixels import Pixels, decode
from duokit.models.pretrained import pretrained_records
from duokit.models.records import Recipe, probe_records
from duokit.models.speed import Speed, compare_speeds, duo_calls
from duokit.models.transforms import Preprocessing, eval_transform, preprocessing
from duokit.models.tuning.finetune import fine_tune
from duokit.models.tuning.footprint import Footprint, measure_step
from duokit.models.tuning.methods import Method
from duokit.models.tuning.predict import predict_records
from duokit.models.tuning.run import Run, load_run
from duokit.models.tuning.settings import FineTune, read_settings
from duokit.models.tuning.soup import Soup, average, greedy_soup, reestimate_batchnorm, uniform_soup
from duokit.models.tuning.souped import soup_records
from duokit.models.tuning.space import Search, Space
from duokit.models.tuning.tuned import prepare, probe_head, tuned_records

__all__ = [
    "build",
    "backbone",
    "Backbone",
    "BACKBONES",
    "weights_tag",
    "eval_transform",
    "preprocessing",
    "Preprocessing",
    "features",
    "linear_probe",
    "Probe",
    "set_head",
    "predict",
    "pick_device",
    "cost",
    "count",
    "Cost",
    "Recipe",
    "probe_records",
    "pretrained_records",
    "decode",
    "Pixels",
    "FineTune",
    "read_settings",
    "probe_head",
    "measure_step",
    "Footprint",
    "prepare",
    "fine_tune",
    "tuned_records",
    "load_run",
    "Run",
    "predict_records",
    "Method",
    "Search",
    "Space",
    "soup_records",
    "average",
    "uniform_soup",
    "greedy_soup",
    "reestimate_batchnorm",
    "Soup",
    "ensemble_logits",
    "ensemble_records",
    "mc_dropout",
    "dropout_layers",
    "test_time_augmentation",
    "standard_views",
    "View",
    "last_layer_laplace",
    "LastLayerLaplace",
    "AsymmetricDuo",
    "CascadedDuo",
    "duo_from_runs",
    "Member",
    "Prediction",
    "export_torch",
    "export_onnx",
    "compare_speeds",
    "duo_calls",
    "Speed",
]
