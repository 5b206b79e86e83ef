"""Training: on one process or many ranks, with checkpoints that survive signals."""
