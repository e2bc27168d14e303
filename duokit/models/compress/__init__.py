"""Smaller versions of a trained network: int8, pruned, or shown smaller pictures.

    run -> compressed (the same run with another network) -> predict_records -> logits records

`compressed` is the file to read first. Beneath it lie `quantise` (int8, by onnxruntime), `prune`
(zeros in place of small weights) and `size` (bytes of a file, multiply-adds that are left).
Distillation, the other way to a small network, is a stage of fine-tuning
(`duokit.models.tuning.objectives`).
"""
