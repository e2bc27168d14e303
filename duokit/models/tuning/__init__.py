"""Fine-tuning, from the settings to the records, sweeps and soups.

    settings -> tuned (pixels, linear probe) -> finetune (the loop) -> logits records
                                                  sweep (many runs) -> soup (their mean)

`finetune` is the file to read first. Beneath it lie `schedule` (what happens at each step),
`augment` (RandAugment for a batch on the device), `devices` (one, or many through accelerate),
`watch` (clock, progress bar, curves, the eye on the loss) and `checkpoint` (the run on the disk);
`footprint` measures what a step takes.
"""
