"""Options that all scripts have: which model, where it runs, and what is said of its results."""
import argparse
import json
import math
import os
import re
from pathlib import Path

import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst

from sources import is_utf8

# Options that are numbers, and tomeclassify's property of each.
NUMBERS = {"top_k": "top-k", "threshold": "threshold", "interval": "inference-interval",
           "batch_size": "batch-size", "reclassify": "reclassify-interval"}
ELEMENTS = ("tomeclassify", "tomepublish")
SHIPPED = Path(__file__).resolve().parent.parent / "models" / "camera-state"


def positive(text):
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number, 1 or more")
    return int(text)


def finite(text):
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"found '{text}', expected a number")
    return number


def given(text):
    """'', as of a shell's unset variable, is what is not given; as a path it would be the current folder."""
    return text or None


def add_model_options(parser):
    parser.add_argument("--model", type=given)
    parser.add_argument("--labels-file", type=given)
    parser.add_argument("--device", type=given)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp16", "int8"])
    parser.add_argument("--r", type=given)
    parser.add_argument("--top-k", type=positive, default=5)
    parser.add_argument("--threshold", type=finite)


def check_elements(parser):
    for element in ELEMENTS:
        if Gst.ElementFactory.make(element) is None:
            build = os.environ.get("TOME_BUILD")  # none where our elements are installed
            place = f" in {build}/gst-plugin" if build else ""
            parser.error(f"GStreamer does not find {element}{place}, or cannot load it")


def check_model_options(options, parser):
    check_elements(parser)
    for name, value in vars(options).items():
        # What is no UTF-8 cannot be a property's value. The names of files and cameras are looked at apart.
        if isinstance(value, str) and name != "source" and not is_utf8(value):
            parser.error(f"--{name.replace('_', '-')}: found {ascii(value)}, expected UTF-8")
    if options.model is not None and not os.path.isdir(options.model):
        parser.error(f"--model: there is no folder '{options.model}'")
    if options.labels_file is not None and not os.path.isfile(options.labels_file):
        parser.error(f"--labels-file: there is no file '{options.labels_file}'")
    check_numbers(options, parser)


def check_numbers(options, parser):
    """A property drops a value beyond its range, with a warning that few read."""
    classify = Gst.ElementFactory.make("tomeclassify")
    for name, of_element in NUMBERS.items():
        value = getattr(options, name, None)
        if value is None:
            continue
        accepted = classify.find_property(of_element)
        if not accepted.minimum <= value <= accepted.maximum:
            parser.error(f"--{name.replace('_', '-')}: found {value}, expected {accepted.minimum:.10g} to "
                         f"{accepted.maximum:.10g}")


def set_model_options(classify, options):
    for name, value in (("model", options.model), ("labels-file", options.labels_file)):
        if value is not None:
            classify.set_property(name, str(Path(value).resolve()))
    for name, value in (("device", options.device), ("tome-r", options.r), ("top-k", options.top_k),
                        ("threshold", options.threshold)):
        if value is not None:
            classify.set_property(name, value)
    if options.precision is not None:
        Gst.util_set_object_arg(classify, "precision", options.precision)


def frames_of(options):
    """That the model takes at a time, as far as its folder tells."""
    try:
        config = json.loads((Path(options.model or SHIPPED) / "config.json").read_text())
        return int(config.get("num_frames", 1))
    except (OSError, ValueError, TypeError, AttributeError):
        return 1
