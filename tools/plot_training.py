#!/usr/bin/env python3
"""Draws log.jsonl of `tome train`: loss, top-1 and learning rate over steps, as PNG or SVG.

usage: plot_training.py LOG.jsonl OUT.png
"""
import json
import sys


def read(path):
    steps, evals = [], []
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"{path}: {getattr(error, 'strerror', None) or 'not text'}")
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            sys.exit(f"{path} line {number}: not JSON")
        if not isinstance(record, dict) or "step" not in record:
            sys.exit(f"{path} line {number}: no record of `tome train`")
        (evals if "eval_top1" in record else steps).append(record)
    if not steps:
        sys.exit(f"{path}: no training step in it")
    return steps, evals


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.strip())
    steps, evals = read(sys.argv[1])
    try:
        import matplotlib
    except ImportError:
        sys.exit("plot_training.py needs matplotlib (Debian: python3-matplotlib)")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x = [record["step"] for record in steps]
    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(8, 6))
    top.plot(x, [record["train_top1"] for record in steps], label="training", alpha=0.6)
    if evals:
        at = [record["step"] for record in evals]
        top.plot(at, [record["eval_top1_r0"] for record in evals], "o-", label="evaluation, r=0")
        top.plot(at, [record["eval_top1"] for record in evals], "s-", label="evaluation, merged")
    top.set_ylabel("top-1")
    top.grid(alpha=0.3)
    top.legend()
    bottom.plot(x, [record["loss"] for record in steps], label="loss")
    if any(record["motion_loss"] for record in steps):
        bottom.plot(x, [record["motion_loss"] for record in steps], label="motion loss")
    bottom.set_ylabel("loss")
    bottom.set_xlabel("step")
    bottom.grid(alpha=0.3)
    rate = bottom.twinx()
    rate.plot(x, [record["learning_rate"] for record in steps], color="gray", linestyle=":")
    rate.set_ylabel("learning rate")
    bottom.legend()
    figure.tight_layout()
    try:
        figure.savefig(sys.argv[2], dpi=120)
    except (OSError, ValueError) as error:
        sys.exit(f"{sys.argv[2]}: cannot be written: {error}")


if __name__ == "__main__":
    main()
