#!/usr/bin/env python3
"""Turns a PyTorch checkpoint (.pth, .pt, .bin) into a model folder: config.json and model.safetensors.

Needs Python >= 3.9 and, nothing else, torch==2.11.0 (with pip's dependencies, which the .venv of
setup.sh leaves out):

    python3 -m venv convert && convert/bin/pip install torch==2.11.0
    convert/bin/python tools/convert_checkpoint.py deit_tiny_patch16_224.pth my/deit_tiny \\
        --labels imagenet.txt
    convert/bin/python tools/convert_checkpoint.py video_vit_large.pth my/vit_l

The file is read with torch.load(weights_only=True): no code in it runs. Families, told from the
names of the tensors:

  timm     vit and deit (distilled too), also facebookresearch's deit and mae: config.json gets
           `architecture` and every argument in `model_args`
  mae_st   facebookresearch/mae_st: config.json gets the keys of docs/checkpoints.md
  hf       transformers vit, deit, siglip, dinov2 (with registers too), videomae, vivit: config.json
           (and preprocessor_config.json) beside the input are copied

One prefix that all names have (module., _orig_mod., model., backbone. and so on) is taken off. Heads
cannot be told from the tensors: 64 columns each unless --num-heads says otherwise. Neither can the
pre-processing: with --architecture it is what timm's weights of that name mostly take, and --mean,
--std, --crop-pct and --interpolation say it. A line on stderr tells what was assumed: predictions of
a model that sees other colours than it was trained on are bad, and nothing else shows it.
"""

import argparse
import json
import math
import pathlib
import re
import sys
import warnings

from model_files import DTYPES, copy, replaced, write_safetensors

# Torch without NumPy, which nothing here needs and pip does not install with it.
warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
try:
    import torch
except ImportError as error:  # --help works without
    torch, NO_TORCH = None, error

SAVE_AS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
SIZES = {(192, 12): "tiny", (384, 12): "small", (512, 12): "medium", (768, 12): "base",
         (1024, 24): "large", (1280, 32): "huge", (1408, 40): "giant"}
MOST_REPEATED = 4
# What pre-training leaves behind and a classifier has no use for.
TRAINING_ONLY = ("decoder", "mask_token")
# What a checkpoint's tensors may lie under, the best first: averages before what they are averages of.
WRAPPERS = ("model_ema", "state_dict_ema", "model", "state_dict", "model_state", "module")
HF_PREFIXES = ("vit", "deit", "vision_model", "dinov2", "dinov2_with_registers", "videomae", "vivit")
# Where a name begins, whatever modules the model was part of. Timm's may itself be called vit.
NAME_STARTS = (re.compile(r"(?:^|\.)(?=blocks\.0\.)"),
               re.compile(rf"(?:^|\.)(?=(?:{'|'.join(HF_PREFIXES)})\.(?:embeddings|encoder)\.)"))
# A classifier often stands beside the backbone, not in it, and so does the last norm.
HEADS = ("head.", "head_dist.", "classifier.", "fc_norm.", "norm.")

HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CLIP = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
UNIT = {"mean": [0.0] * 3, "std": [1.0] * 3}


class ConvertError(Exception):
    """One line for the user."""


def why_not_loaded(error):
    """One sentence of what torch.load raised, without its advice to run the code in the file."""
    refused = re.search(r"Unsupported (global: GLOBAL \S+|class \S+)", str(error))
    if refused:
        return f"found code (torch's word: {refused[0]}), expected tensors alone; nothing of it was run"
    return f"found no PyTorch checkpoint ({type(error).__name__} in torch.load)"


def load_state(path):
    """The tensors of a checkpoint by name, whatever they are wrapped in."""
    # Training scripts store their arguments beside the weights; a Namespace only holds values.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:
            raise ConvertError(f"{path}: {why_not_loaded(error)}") from error
    state = unwrapped(state)
    if not isinstance(state, dict):
        raise ConvertError(f"{path}: holds a {type(state).__name__}, expected named tensors")
    tensors = {k: v for k, v in state.items()
               if isinstance(k, str) and isinstance(v, torch.Tensor) and v.is_floating_point()}
    if not tensors:
        raise ConvertError(f"{path}: holds no named tensors")
    for name, tensor in tensors.items():
        check_memory(path, name, tensor)
    check_repeats(path, tensors)
    return without_prefix(tensors)


def check_memory(path, name, tensor):
    """Values are read from memory as they lie there, which not every tensor has."""
    if tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.is_nested:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise ConvertError(f"{path}: tensor {name} is {kind}, on device {tensor.device.type}, expected a "
                           "dense one with its values")


def check_repeats(path, tensors):
    """Views that repeat a few values, and names of one tensor, are written out in full. Weights that are
    tied are few."""
    storages = (tensor.untyped_storage() for tensor in tensors.values())
    held = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if size > MOST_REPEATED * held:
        raise ConvertError(f"{path}: its tensors have {size} bytes, made of {held} that it holds, expected at most "
                           f"{MOST_REPEATED} times as many")


def printable(text):
    """Names come from the file, and a terminal obeys control characters."""
    return "".join(character if character.isprintable() else " " for character in str(text))


def say(text):
    print(f"convert_checkpoint: {printable(text)}", file=sys.stderr)


def say_left_out(name):
    print(f"left out: {printable(name)}", file=sys.stderr)


def unwrapped(state):
    """What is innermost, of several things the first of WRAPPERS."""
    for _ in WRAPPERS:
        found = [key for key in WRAPPERS if isinstance(state, dict) and isinstance(state.get(key), dict)]
        if not found:
            break
        if len(found) > 1:
            others = ", ".join(f"'{key}'" for key in found[1:])
            say(f"took '{found[0]}'; left {others}, which the file holds too")
        state = state[found[0]]
    return state


def without_prefix(tensors):
    """The names as the model alone has them, without what it was part of."""
    for start in NAME_STARTS:
        prefixes = {name[:found.end()] for name in tensors
                    if "decoder" not in name and (found := start.search(name))}
        if len(prefixes) > 1:
            raise ConvertError("found several models, expected one: their names begin with "
                               + ", ".join(f"'{prefix}'" for prefix in sorted(prefixes)))
        if prefixes:
            break
    else:
        return tensors
    prefix = prefixes.pop()
    out = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            continue
        if name.startswith(HEADS) and name not in out:
            out[name] = tensor
        else:
            say_left_out(name)
    return out


def clean(tensors):
    """Drops what only training needs, and brings DeiT III's layer scale to timm's name."""
    out = {}
    for name, tensor in tensors.items():
        if name.startswith(TRAINING_ONLY):
            say_left_out(name)
            continue
        name = name.replace(".gamma_1", ".ls1.gamma").replace(".gamma_2", ".ls2.gamma")
        out[name] = tensor
    return out


def family_of(tensors):
    if any(name.split(".")[0] in HF_PREFIXES for name in tensors):
        return "hf"
    if "blocks.0.attn.q.weight" in tensors:
        return "mae_st"
    if "blocks.0.attn.qkv.weight" in tensors:
        return "timm"
    raise ConvertError("neither timm's nor mae_st's nor transformers' names: the first tensors are "
                       + ", ".join(list(tensors)[:5]))


def shape_of(tensors, name, dims):
    """None of its sizes is 0."""
    if name not in tensors or tensors[name].dim() != dims or 0 in tensors[name].shape:
        raise ConvertError(f"tensor {name} is missing, is empty, or has not {dims} dimensions")
    return list(tensors[name].shape)


def square(count, what):
    side = math.isqrt(max(count, 0))
    if count < 1 or side * side != count:
        raise ConvertError(f"{count} {what} make no square: give --image-size")
    return side


def common_config(tensors, args):
    """What every family of the blocks.N.… naming shares."""
    dim, hidden = shape_of(tensors, "blocks.0.mlp.fc2.weight", 2)
    ratio = hidden / dim
    if int(dim * ratio) != hidden:  # the quotient was rounded down
        ratio = (hidden + 0.5) / dim
    heads = args.num_heads or dim // 64
    if heads == 0 or dim % heads:
        raise ConvertError(f"width {dim} does not divide into {heads} heads: give --num-heads")
    return {"embed_dim": dim, "depth": depth_of(tensors), "num_heads": heads, "mlp_ratio": ratio}


def depth_of(tensors):
    depth = 0
    for name in tensors:
        if not name.startswith("blocks."):
            continue
        number = re.match(r"blocks\.([0-9]{1,6})\.", name)
        if number is None:
            raise ConvertError(f"found tensor {name}, expected blocks.NUMBER.…")
        depth = max(depth, 1 + int(number[1]))
    return depth


def timm_defaults(name):
    """Pre-processing of most of the weights that timm has under an architecture's name."""
    words = re.split("[_.]", name)
    size = max((int(word) for word in words if word.isdecimal()), default=224)
    if "miil" in words:
        return {**UNIT, "crop_pct": 0.875, "interpolation": "bilinear"}
    if "clip" in words:
        colours, crop = CLIP, 1.0
    elif words[0].startswith("deit") or {"dino", "dinov2", "mae"} & set(words):
        colours, crop = IMAGENET, 1.0 if size >= 336 or "dinov2" in words else 0.9
    elif "tipsv2" in words:
        colours, crop = UNIT, 1.0
    elif "siglip" in words:
        colours, crop = HALF, 0.9
    else:
        colours, crop = HALF, 1.0 if size >= 336 else 0.95 if size in (240, 256) else 0.9
    return {**colours, "crop_pct": crop, "interpolation": "bicubic"}


def pretrained_cfg(args, height, width, defaults):
    chosen = {key: getattr(args, key) or value for key, value in defaults.items()}
    return {"input_size": [3, height, width], "fixed_input_size": True, "crop_mode": "center", **chosen}


def say_assumed(args, config):
    """One line of what the file does not say and no option said."""
    look = config["pretrained_cfg"]
    sizes = config.get("model_args", config)
    numbers = lambda values: " ".join(f"{value:g}" for value in values)
    heads = sizes["num_heads"]
    texts = {"num_heads": f"{heads} heads of {sizes['embed_dim'] // heads}",
             "mean": f"mean {numbers(look['mean'])}", "std": f"std {numbers(look['std'])}",
             "crop_pct": f"crop {look['crop_pct']:g}", "interpolation": look["interpolation"]}
    assumed = [key for key in texts if not getattr(args, key)]
    if assumed:
        options = ", ".join("--" + key.replace("_", "-") for key in assumed)
        say(f"assumed, not in the file: {', '.join(texts[key] for key in assumed)}; {options} "
            f"{'say' if len(assumed) > 1 else 'says'} otherwise")


def registers_of(tensors):
    return shape_of(tensors, "reg_token", 3)[1] if "reg_token" in tensors else 0


def timm_grid(tensors, args, patch):
    """Height and width in pixels, and whether prefix tokens have positions."""
    prefix = sum(name in tensors for name in ("cls_token", "dist_token"))
    prefix += registers_of(tensors)
    rows = shape_of(tensors, "pos_embed", 3)[1]
    if args.image_size:
        height, width = args.image_size[0], args.image_size[-1]
        cells = (height // patch) * (width // patch)
        if rows not in (cells, cells + prefix):
            raise ConvertError(f"pos_embed has {rows} rows, {height}x{width} needs {cells} or "
                               f"{cells + prefix}")
        return height, width, rows == cells + prefix
    with_prefix = rows > prefix and math.isqrt(rows - prefix) ** 2 == rows - prefix
    side = patch * square(rows - prefix if with_prefix else rows, "positions")
    return side, side, with_prefix


def timm_config(tensors, args):
    patch = shape_of(tensors, "patch_embed.proj.weight", 4)[-1]
    height, width, embed_prefix = timm_grid(tensors, args, patch)
    classes = shape_of(tensors, "head.weight", 2)[0]
    if not {"norm.weight", "fc_norm.weight"} & set(tensors):
        raise ConvertError("found neither norm.weight nor fc_norm.weight, expected the norm before the head")
    pooled = args.global_pool or ("avg" if "fc_norm.weight" in tensors else "token")
    model_args = {"img_size": [height, width], "patch_size": patch, **common_config(tensors, args),
                  "qkv_bias": "blocks.0.attn.qkv.bias" in tensors,
                  "init_values": 1e-5 if "blocks.0.ls1.gamma" in tensors else None,
                  "class_token": "cls_token" in tensors,
                  "reg_tokens": registers_of(tensors),
                  "no_embed_class": not embed_prefix,
                  "pre_norm": "norm_pre.weight" in tensors,
                  "fc_norm": "fc_norm.weight" in tensors,
                  "final_norm": True,
                  "global_pool": pooled}
    size = SIZES.get((model_args["embed_dim"], model_args["depth"]), "base")
    kind = "deit" if "dist_token" in tensors else "vit"
    distilled = "_distilled" if "head_dist.weight" in tensors else ""
    clip = "_clip" if "norm_pre.weight" in tensors else ""
    name = args.architecture or f"{kind}_{size}{distilled}_patch{patch}{clip}_{height}"
    # The sizes alone do not tell a ViT from a DeiT, of which most .pth files are.
    defaults = timm_defaults(name if args.architecture or clip else f"deit_{height}")
    return {"architecture": name, "num_classes": classes, "global_pool": pooled,
            "model_args": model_args, "pretrained_cfg": pretrained_cfg(args, height, width, defaults)}


def mae_st_config(tensors, args):
    _, _, tubelet, patch, _ = shape_of(tensors, "patch_embed.proj.weight", 5)
    separable = "pos_embed_spatial" in tensors
    if separable:
        cells = shape_of(tensors, "pos_embed_spatial", 3)[1]
        frames = shape_of(tensors, "pos_embed_temporal", 3)[1] * tubelet
    else:
        if not args.num_frames:
            raise ConvertError("one table of positions for space and time: give --num-frames")
        frames = args.num_frames
        if frames < tubelet:
            raise ConvertError(f"--num-frames: found {frames}, expected at least {tubelet}")
        rows = shape_of(tensors, "pos_embed", 3)[1] - ("cls_token" in tensors)
        cells = rows // (frames // tubelet)
    side = patch * square(cells, "positions in space")
    height, width = (args.image_size[0], args.image_size[-1]) if args.image_size else (side, side)
    defaults = {"mean": [0.45] * 3, "std": [0.225] * 3, "crop_pct": 0.875, "interpolation": "bilinear"}
    return {"model_type": "mae_st", "architecture": args.architecture or "mae_st",
            "img_size": [height, width], "patch_size": patch, "num_frames": frames,
            "t_patch_size": tubelet, **common_config(tensors, args),
            "num_classes": shape_of(tensors, "head.weight", 2)[0],
            "no_qkv_bias": "blocks.0.attn.q.bias" not in tensors, "sep_pos_embed": separable,
            "cls_embed": "cls_token" in tensors,
            "pretrained_cfg": pretrained_cfg(args, height, width, defaults)}


def saved_as(tensors, name):
    """The tensors in the dtype that --dtype names."""
    if name in SAVE_AS:
        return {k: tensor.to(getattr(torch, SAVE_AS[name])) for k, tensor in tensors.items()}
    for k, tensor in tensors.items():
        if str(tensor.dtype) not in DTYPES:
            raise ConvertError(f"tensor {k} is {tensor.dtype}, which gst-tome does not read: give "
                               f"--dtype {', '.join(SAVE_AS)}")
    return tensors


def check_labels(path, tensors):
    """Refuses a file of labels for another number of classes."""
    head = next((tensors[name] for name in ("head.weight", "classifier.weight", "cls_classifier.weight")
                 if name in tensors), None)
    lines = path.read_text(encoding="utf-8-sig", errors="replace").rstrip("\r\n").split("\n")
    if head is None:
        return
    rows = head.shape[0] if head.dim() > 0 else 0
    if len(lines) != rows:
        raise ConvertError(f"{path}: found {len(lines)} labels, expected {rows}, one for each row of the head")


def copy_configuration(args):
    """What transformers keeps beside the weights."""
    beside = args.input.parent
    if not (beside / "config.json").is_file():
        raise ConvertError(f"{beside / 'config.json'}: missing; a transformers model is nothing "
                           "without its configuration")
    looks = ("preprocessor_config.json", "video_preprocessor_config.json")
    for name in ("config.json", *looks):
        if (beside / name).is_file():
            copy(beside / name, args.output / name)
    if not any((args.output / name).is_file() for name in looks):
        say(f"assumed, without a {looks[0]} beside the file: transformers' defaults for the family")


def convert(args):
    tensors = clean(load_state(args.input))
    family = family_of(tensors)
    tensors = saved_as(tensors, args.dtype)
    if args.labels:
        check_labels(args.labels, tensors)
    args.output.mkdir(parents=True, exist_ok=True)
    if family == "hf":
        copy_configuration(args)
    else:
        config = (mae_st_config if family == "mae_st" else timm_config)(tensors, args)
        with replaced(args.output / "config.json") as out:
            out.write((json.dumps(config, indent=2) + "\n").encode())
        say_assumed(args, config)
    if args.labels:
        copy(args.labels, args.output / "labels.txt")
    write_safetensors(args.output / "model.safetensors", tensors)
    total = sum(tensor.numel() for tensor in tensors.values())
    print(f"{args.output}: {family}, {len(tensors)} tensors, {total / 1e6:.1f} M parameters")


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=pathlib.Path, help="checkpoint: .pth, .pt or .bin")
    parser.add_argument("output", type=pathlib.Path, help="folder to write")
    parser.add_argument("--architecture", help="timm's name for it (default: told from the sizes)")
    parser.add_argument("--num-heads", type=int, help="default: width / 64")
    parser.add_argument("--image-size", type=int, nargs="+", help="side, or height and width")
    parser.add_argument("--num-frames", type=int, help="mae_st with one table of positions")
    parser.add_argument("--global-pool", choices=("token", "avg"),
                        help="default: avg where there is an fc_norm")
    parser.add_argument("--mean", type=float, nargs=3, help="of each channel, in units of [0, 1]")
    parser.add_argument("--std", type=float, nargs=3)
    parser.add_argument("--crop-pct", type=float, help="input size / resized shorter side")
    parser.add_argument("--interpolation", choices=("nearest", "bilinear", "bicubic", "lanczos"))
    parser.add_argument("--labels", type=pathlib.Path, help="text file, one label a line")
    parser.add_argument("--dtype", choices=("keep", *SAVE_AS), default="keep")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    try:
        if torch is None:
            raise ConvertError(f"needs torch ({NO_TORCH}): pip install torch==2.11.0")
        convert(args)
    except (ConvertError, OSError) as error:
        say(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
