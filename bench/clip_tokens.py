#!/usr/bin/env python3
"""Tokens and agreement of a model on clips, merged against its own r=0.

usage: clip_tokens.py MODEL VIDEO... [--r 0,49,98] [--static -1,0,2] [--partition alternating,…]
       [--clip-length 8] [--frame-stride 4] [--still 64]

Each video counts twice: as it is (moving), and as its first frame repeated (still). Printed for
each: the mean of the tokens after the last block, of an image model also as a multiple of one
frame's, the share of windows whose best tag is that of r=0 without static patches, and the share of
the scores (total variation) that merging moved. Needs gst-launch-1.0 with decoders; --still 0 leaves still clips out.
"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path

TOME = Path(__file__).parent.parent / "build" / "tools" / "tome"


def quote(path):
    """A path in gst-launch's syntax, whatever characters it has."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def freeze(video, folder, frames):
    """The first frame of a video, repeated, as a file in which the copies are equal to the bit."""
    still = folder / (video.stem + "-still.avi")
    pipeline = ["filesrc", f"location={quote(video)}"]
    pipeline += f"! decodebin ! videoconvert ! imagefreeze num-buffers={frames} !".split()
    pipeline += "videoconvert ! jpegenc quality=95 ! avimux ! filesink".split()
    pipeline += [f"location={quote(still)}"]
    subprocess.run(["gst-launch-1.0", "-q", *pipeline], check=True)
    return still


def classify(options, files, r, partition, static):
    """Tokens after the last block, best tag and all scores, of every window."""
    command = [options.tome, "classify", "--model", options.model, "--json", "--top-k", "100000"]
    command += ["--clip-length", options.clip_length, "--frame-stride", options.frame_stride]
    command += ["--r", r, "--partition", partition, "--static", static, *files]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        (line["tokens_out"], line["tags"][0]["id"], {t["id"]: t["score"] for t in line["tags"]})
        for line in lines
    ]


def distance(scores, reference):
    """Total variation: the share of the probability that moved."""
    return sum(abs(scores.get(key, 0) - value) for key, value in reference.items()) / 2


def print_rows(options, kind, files):
    reference = classify(options, files, "0", "auto", "-1")
    for static in options.static.split(","):
        for partition in options.partition.split(","):
            for r in options.r.split(","):
                found = classify(options, files, r, partition, static)
                assert len(found) == len(reference)
                tokens = sum(window[0] for window in found) / len(found)
                agreed = sum(a[1] == b[1] for a, b in zip(found, reference)) / len(found)
                moved = sum(distance(a[2], b[2]) for a, b in zip(found, reference)) / len(found)
                threshold = "off" if float(static) < 0 else static
                of_one = f" {tokens / options.one_frame:.2f} |" if options.one_frame else ""
                print(
                    f"| {kind} | {threshold} | {partition} | {r} | {tokens:.0f} |{of_one}"
                    f" {100 * agreed:.1f} | {100 * moved:.1f} |",
                    flush=True,
                )
    return len(reference)


def tokens_of_one_frame(options):
    """None for a clip model, to which one frame is a clip, too."""
    one = [options.tome, "classify", "--model", options.model, "--json", "--r", "0"]
    one += ["--interval", "1000000", options.videos[0]]
    first = subprocess.run([str(part) for part in one], stdout=subprocess.PIPE, check=True)
    line = json.loads(first.stdout.splitlines()[0])
    return None if line["clip"] else line["tokens_out"]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("model")
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--r", default="0,49,98,147,196")
    parser.add_argument("--static", default="-1,0,2")
    parser.add_argument("--partition", default="auto")
    parser.add_argument("--clip-length", default="8")
    parser.add_argument("--frame-stride", default="4")
    parser.add_argument("--still", default=64, type=int)
    parser.add_argument("--tome", default=TOME)
    options = parser.parse_args()
    options.one_frame = tokens_of_one_frame(options)
    of_one = " of one frame's |" if options.one_frame else ""
    print(f"| clips | tome-static | partition | r | tokens |{of_one} top tag as r=0, % | scores moved, % |")
    print("|---|---|---|---|---|---|---|" + ("---|" if options.one_frame else ""))
    with tempfile.TemporaryDirectory() as folder:
        moving = print_rows(options, "moving", options.videos)
        still = 0
        if options.still > 0:
            files = [freeze(video, Path(folder), options.still) for video in options.videos]
            still = print_rows(options, "still", files)
    print(f"\n{moving} moving and {still} still windows of {options.clip_length} frames")


if __name__ == "__main__":
    main()
