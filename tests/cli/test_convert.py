"""tools/convert_checkpoint.py: a checkpoint that went through PyTorch's pickle is the same model. And what
it says where it cannot do its work.
"""

import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import tap
from program import DATA, ROOT, assert_one_error_line, needs, run, tome_ok

FIXTURES = ROOT / "tests" / "fixtures" / "hf"

# Where setup.sh took LibTorch with its CUDA libraries, its .venv can import torch, too.
PYTHONS = [os.environ.get("TOME_TORCH_PYTHON"), ROOT / ".venv" / "bin" / "python", sys.executable]

# Runs where torch is: saves a fixture's tensors (a prefix taken off) as the training scripts do.
TO_PICKLE = """
import argparse, json, struct, sys, torch
source, target, prefix, wrapped = sys.argv[1:]
raw = open(source, "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
tensors = {}
for name, about in json.loads(raw[8:8 + size]).items():
    if name == "__metadata__" or not name.startswith(prefix) or about["dtype"] != "F32":
        continue
    begin, end = (8 + size + offset for offset in about["data_offsets"])
    data = torch.frombuffer(bytearray(raw[begin:end]), dtype=torch.float32)
    tensors[name[len(prefix):]] = data.reshape(about["shape"])
tensors["decoder_embed.weight"] = torch.ones(2, 2)
state = {"model": tensors, "epoch": 3, "args": argparse.Namespace(lr=1.0)}
torch.save(state if wrapped == "1" else tensors, target)
"""

TO_FLOAT8 = """
import sys, torch
state = torch.load(sys.argv[1], weights_only=True)
state["head.weight"] = state["head.weight"].to(torch.float8_e4m3fn)
torch.save(state, sys.argv[1])
"""

# Runs where torch is: several conversions of one checkpoint, its tensors named and wrapped otherwise
# each time, in one process, since importing torch is most of the time that one takes. For each a line
# of JSON: status and stderr.
VARIANTS = """
import contextlib, io, json, sys, torch
tool, source, variants = sys.argv[1:]
sys.path.insert(0, tool)
import convert_checkpoint
state = torch.load(source, weights_only=True)
for number, (expression, options) in enumerate(json.loads(variants)):
    path = f"{source}.{number}.pth"
    torch.save(eval(expression), path)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        status = convert_checkpoint.main([path, f"{source}.{number}", *options])
    print(json.dumps([status, said.getvalue()]))
"""

EVIL = """
import sys, torch
class Evil:
    def __reduce__(self):
        return (open, (sys.argv[1] + ".evil", "w"))
torch.save({"model": {"a": Evil()}}, sys.argv[1])
"""


def can_import_torch(python):
    return subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0


@functools.cache
def python_with_torch():
    for python in PYTHONS:
        if python and Path(python).exists() and can_import_torch(python):
            return python
    raise tap.Skip("no Python with torch (pip install torch): TOME_TORCH_PYTHON can name one")


def pickled(folder, source, prefix="", wrapped=True):
    path = Path(folder) / "checkpoint.pth"
    status, _, err = run(python_with_torch(), "-c", TO_PICKLE, source, path, prefix, int(wrapped))
    assert status == 0, err
    return path


def convert(*arguments, **options):
    return run(python_with_torch(), ROOT / "tools" / "convert_checkpoint.py", *arguments, **options)


def convert_ok(*arguments):
    status, out, err = convert(*arguments)
    assert status == 0, err
    return out


def convert_variants(folder, fixture, *variants):
    """Converts a fixture as `variants`, pairs of an expression of its `state` and options, say. Returns
    status, stderr and folder of each."""
    path = pickled(folder, FIXTURES / fixture / "model.safetensors", wrapped=False)
    status, out, err = run(python_with_torch(), "-c", VARIANTS, ROOT / "tools", path, json.dumps(variants))
    assert status == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    return [(status, said, Path(f"{path}.{number}")) for number, (status, said) in enumerate(lines)]


def tensors_of(path):
    """Shape and bytes of every tensor."""
    raw = Path(path).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    data = raw[8 + size :]
    header = json.loads(raw[8 : 8 + size])
    return {
        name: (about["shape"], data[slice(*about["data_offsets"])])
        for name, about in header.items()
        if name != "__metadata__"
    }


def picture(folder):
    """64 x 48 in a format of three lines."""
    pixels = bytes((x * y + 60 * c) % 256 for y in range(48) for x in range(64) for c in range(3))
    path = Path(folder) / "picture.ppm"
    path.write_bytes(b"P6\n64 48\n255\n" + pixels)
    return path


def scores(model, image):
    line = tome_ok("classify", "--model", model, "--json", "--top-k", 5, image).splitlines()[0]
    tags = json.loads(line)["tags"]
    return sorted((tag["id"], round(tag["score"], 5)) for tag in tags)


def check_timm(fixture, *options):
    """Converted from a pickle, the fixture gives the scores of the original folder."""
    original = FIXTURES / fixture
    with tempfile.TemporaryDirectory() as folder:
        path = pickled(folder, original / "model.safetensors")
        out = Path(folder) / "model"
        convert_ok(path, out, "--num-heads", 4, *options)
        assert tensors_of(out / "model.safetensors") == tensors_of(original / "model.safetensors")
        image = picture(folder)
        assert scores(out, image) == scores(original, image)


HALF = ("--mean", 0.5, 0.5, 0.5, "--std", 0.5, 0.5, 0.5, "--crop-pct", 0.9)


def test_average_pooling_layer_scale_and_no_class_token():
    check_timm("timm_average", "--image-size", 32, 48, *HALF)


def test_registers_without_positions_and_without_qkv_bias():
    with tempfile.TemporaryDirectory() as folder:
        path = pickled(folder, FIXTURES / "timm_registers" / "model.safetensors", wrapped=False)
        out = Path(folder) / "model"
        convert_ok(path, out, "--num-heads", 4)
        arguments = json.loads((out / "config.json").read_text())["model_args"]
        original = json.loads((FIXTURES / "timm_registers" / "config.json").read_text())
        for key, value in original["model_args"].items():
            if key not in ("in_chans", "num_classes"):
                assert arguments[key] == value, (key, arguments[key], value)
        assert scores(out, picture(folder))


def test_distilled():
    source = DATA / "parity" / "vit_tiny_distilled.safetensors"
    needs(source)
    with tempfile.TemporaryDirectory() as folder:
        path = pickled(folder, source, "weights.")
        out = Path(folder) / "model"
        labels = Path(folder) / "ten.txt"
        labels.write_text("".join(f"label {i}\n" for i in range(10)))
        convert_ok(path, out, "--num-heads", 4, "--labels", labels, "--dtype", "bf16")
        config = json.loads((out / "config.json").read_text())
        assert config["architecture"] == "deit_base_distilled_patch8_64", config
        line = tome_ok("classify", "--model", out, "--json", picture(folder)).splitlines()[0]
        assert json.loads(line)["tags"][0]["label"].startswith("label ")


def test_mae_st():
    source = DATA / "parity" / "video_tiny.safetensors"
    needs(source)
    with tempfile.TemporaryDirectory() as folder:
        path = pickled(folder, source, "weights.")
        out = Path(folder) / "model"
        convert_ok(path, out, "--num-heads", 4)
        config = json.loads((out / "config.json").read_text())
        expected = {
            "model_type": "mae_st", "img_size": [32, 32], "patch_size": 8, "num_frames": 8,
            "t_patch_size": 2, "embed_dim": 64, "depth": 4, "num_heads": 4, "mlp_ratio": 4.0,
            "num_classes": 10, "no_qkv_bias": False, "sep_pos_embed": True, "cls_embed": True,
        }
        assert {key: config[key] for key in expected} == expected, config
        names = set(tensors_of(out / "model.safetensors"))
        assert "blocks.3.attn.v.bias" in names and "decoder_embed.weight" not in names


def test_transformers_keep_their_configuration():
    original = FIXTURES / "vit"
    with tempfile.TemporaryDirectory() as folder:
        path = pickled(folder, original / "model.safetensors", wrapped=False)
        out = Path(folder) / "model"
        status, _, err = convert(path, out)
        assert status == 2 and "config.json" in err and err.count("\n") <= 2, err
        for name in ("config.json", "preprocessor_config.json"):
            (Path(folder) / name).write_bytes((original / name).read_bytes())
        convert_ok(path, out)
        image = picture(folder)
        assert scores(out, image) == scores(original, image)


def test_what_was_assumed_is_said():
    """The wrong mean and deviation cost a ViT 35 points of top-1, and nothing else shows it."""
    heads = ["--num-heads", "4"]
    look = [str(option) for option in HALF] + ["--interpolation", "bicubic"]
    name = lambda text: [*heads, "--architecture", text]
    wider = "{n: t.repeat([2 if size == 32 else 1 for size in t.shape]) for n, t in state.items()}"
    cells = "(384 // state['patch_embed.proj.weight'].shape[-1]) ** 2"
    larger = f"state | {{'pos_embed': state['pos_embed'][:, :1].repeat(1, {cells}, 1)}}"
    with tempfile.TemporaryDirectory() as folder:
        found = convert_variants(
            folder, "timm_registers", (wider, []), ("state", heads + look),
            *(("state", name(text)) for text in
              ("vit_tiny_patch16_224", "deit3_small_patch16_384", "vit_base_patch16_clip_224")),
            (larger, heads))
        assert all(status == 0 for status, _, _ in found), found
        said = [[line for line in err.splitlines() if "assumed" in line] for _, err, _ in found]
        assert said[1] == [] and all(len(lines) == 1 for lines in (said[0], *said[2:])), said
        for word in ("1 heads of 64", "mean 0.485 0.456 0.406", "std 0.229", "crop 0.9", "bicubic", "--num-heads",
                     "--mean", "--std", "--crop-pct", "--interpolation"):
            assert word in said[0][0], (word, said[0])
        assert "heads" not in said[2][0], said[2]
        for (_, _, out), lines, mean, crop in zip(found[2:], said[2:], (0.5, 0.485, 0.48145466, 0.485), (0.9, 1, 1, 1)):
            about = json.loads((out / "config.json").read_text())["pretrained_cfg"]
            assert (about["mean"][0], about["crop_pct"]) == (mean, crop), about
            assert f"mean {mean:g}" in lines[0], (mean, lines)


def test_names_of_what_the_model_was_part_of():
    named = "{'%s' + name: tensor for name, tensor in state.items()}"
    wrapped = [named % prefix for prefix in ("module.", "_orig_mod.module.", "model.vit.")]
    beside = "{('' if name.startswith(%r) else 'backbone.') + name: t for name, t in state.items()}"
    wrapped += [beside % (("head",),), beside % (("head", "norm."),)]
    wrapped.append(f"{{'state_dict': {named % 'model.'} | {{'loss.weight': state['head.bias']}}}}")
    several = "{'state_dict': {name: 0 * t for name, t in state.items()}, 'state_dict_ema': state}"
    bare = "{name: t for name, t in state.items() if not name.startswith('norm.')}"
    students = f"{named % 'student.'} | {named % 'teacher.'}"
    with tempfile.TemporaryDirectory() as folder:
        heads = ["--num-heads", "4"]
        found = convert_variants(folder, "timm_registers", *((text, heads) for text in wrapped), (several, heads),
                                 (students, heads), (bare, heads))
        *good, (status, err, _), without_norm = found
        expected = tensors_of(FIXTURES / "timm_registers" / "model.safetensors")
        for status_of_one, said, out in good:
            assert status_of_one == 0, said
            assert tensors_of(out / "model.safetensors") == expected, said
        assert "left out: loss.weight" in good[5][1] and "left out: head" not in good[3][1], good
        assert "took 'state_dict_ema'; left 'state_dict'" in good[6][1] and "took" not in good[5][1], good
        assert status == 2 and "several models" in err and "'student.', 'teacher.'" in err, err
        assert without_norm[0] == 2 and "neither norm.weight nor fc_norm.weight" in without_norm[1], without_norm


def test_labels_are_as_many_as_the_classes():
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{count}.txt" for count in (4, 5, 6)]
        for count, file in zip((4, 5, 6), files):
            file.write_text("\n".join("abcdef"[:count]) + "\n\n")
        again = Path(folder) / "checkpoint.pth.3" / "labels.txt"  # where it is written to
        again.parent.mkdir()
        again.write_text(files[1].read_text())
        few, right, many, same = convert_variants(folder, "timm_average", *(
            ("state", ["--num-heads", "4", "--image-size", "32", "48", "--labels", str(file)])
            for file in (*files, again)))
        assert right[0] == same[0] == 0, (right, same)
        assert again.read_text() == (right[2] / "labels.txt").read_text() and same[2] == again.parent
        for (status, err, out), count in ((few, 4), (many, 6)):
            line = err.splitlines()[-1]
            assert status == 2 and f"{count}.txt: found {count} labels, expected 5" in line, err
            assert not out.exists()


def test_no_code_runs():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "evil.pth"
        status, _, err = run(python_with_torch(), "-c", EVIL, path)
        assert status == 0, err
        status, out, err = convert(path, Path(folder) / "model")
        assert status == 2 and out == "" and "evil.pth: found code" in err and err.count("\n") == 1, err
        assert not Path(str(path) + ".evil").exists()


def test_other_checkpoints_are_refused():
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.pth"
        for content in ("not a checkpoint", ""):
            text.write_text(content)
            status, _, err = convert(text, Path(folder) / "model")
            assert status == 2 and "text.pth: found no PyTorch checkpoint" in err, err
            assert err.count("\n") == 1, err
        status, _, err = convert(Path(folder) / "none.pth", Path(folder) / "model")
        assert status == 2 and "none.pth" in err and err.count("\n") == 1, err
        other = pickled(folder, FIXTURES / "vit" / "model.safetensors", "vit.layernorm.")
        status, _, err = convert(other, Path(folder) / "model")
        assert status == 2 and "neither timm's" in err, err


def test_usage_needs_no_torch():
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "torch.py").write_text("raise ImportError('no torch here')")
        tool = (sys.executable, ROOT / "tools" / "convert_checkpoint.py")
        environment = {**os.environ, "PYTHONPATH": folder}
        status, out, _ = run(*tool, "--help", env=environment)
        assert status == 0 and out.startswith("usage: convert_checkpoint.py"), out
        status, _, err = run(*tool, env=environment)
        assert status == 2 and err.startswith("usage: convert_checkpoint.py"), err
        assert_one_error_line(run(*tool, "a.pth", Path(folder) / "model", env=environment),
                              "torch", "no torch here", "pip install")
        assert not (Path(folder) / "model").exists()


def test_float8_is_no_dtype_to_keep():
    with tempfile.TemporaryDirectory() as folder:
        path = pickled(folder, FIXTURES / "timm_average" / "model.safetensors", wrapped=False)
        status, _, err = run(python_with_torch(), "-c", TO_FLOAT8, path)
        assert status == 0, err
        out = Path(folder) / "model"
        command = (path, out, "--num-heads", 4, "--image-size", 32, 48)
        status, _, err = convert(*command)
        line = err.splitlines()[-1]
        assert status == 2 and "head.weight is torch.float8_e4m3fn" in line and "--dtype" in line, err
        assert not out.exists()
        convert_ok(*command, "--dtype", "fp32")
        assert len(tensors_of(out / "model.safetensors")["head.weight"][1]) == 4 * 5 * 32


PROJECTION = "blocks.0.attn.proj.weight"


def instead(tensor):
    """Of a `state`: its tensors, one of them as this expression of `t` makes it."""
    return f"state | {{{PROJECTION!r}: (lambda t: {tensor})(state[{PROJECTION!r}])}}"


def test_tensors_without_values_in_memory_are_refused():
    """Of those on `meta` there is nothing but a shape."""
    kinds = (("t.to('meta')", "strided, on device meta"), ("t.to_sparse()", "sparse_coo, on device cpu"),
             ("t.to_sparse_csr()", "sparse_csr, on device cpu"),
             ("torch.nested.nested_tensor([t[0], t[1]])", "nested, on device cpu"))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        *found, negative = convert_variants(
            folder, "timm_registers", *((instead(kind), ["--num-heads", "4"]) for kind, _ in kinds),
            (instead("torch._neg_view(-t)"), ["--num-heads", "4"]))  # fmt: skip
        for (status, err, out), (kind, word) in zip(found, kinds):
            line = err.splitlines()[-1]
            assert status == 2 and f"tensor {PROJECTION} is {word}, expected" in line, (kind, status, err)
            assert not out.exists(), kind
        # Its bytes in memory are the values with their signs turned.
        assert negative[0] == 0, negative
        expected = tensors_of(FIXTURES / "timm_registers" / "model.safetensors")
        assert tensors_of(negative[2] / "model.safetensors") == expected


def test_values_that_are_repeated_are_not_written_out():
    """A file of kilobytes would become one of terabytes."""
    variants = (instead("t[:1, :1].expand(10**6, 10**6)"),
                f"state | {{f'head.{{i}}': state[{PROJECTION!r}] for i in range(1000)}}")  # fmt: skip
    options = ["--num-heads", "4"]
    with tempfile.TemporaryDirectory() as folder:
        for status, err, out in convert_variants(folder, "timm_registers", *((text, options) for text in variants)):
            assert status == 2 and err.count("\n") == 1 and "expected at most 4 times as many" in err, (status, err)
            assert not out.exists()


def test_names_and_shapes_that_no_model_has():
    variants = (
        ("state | {'blocks.x.foo': state['head.bias']}", "found tensor blocks.x.foo, expected blocks.NUMBER"),
        ("state | {'blocks.': state['head.bias']}", "found tensor blocks., expected blocks.NUMBER"),
        ("state | {'blocks.' + 9999 * '9' + '.a': state['head.bias']}", "expected blocks.NUMBER"),
        ("state | {'reg_token': state['head.bias']}", "tensor reg_token is missing, is empty, or has not 3"),
        ("state | {'pos_embed': torch.ones(1, 2, 64)}", "2 positions make no square"),
        ("state | {'patch_embed.proj.weight': torch.ones(64, 3, 0, 0)}", "proj.weight is missing, is empty"),
        ("state | {'blocks.\\x1b[31m\\n.a': state['head.bias']}", "found tensor blocks. [31m .a, expected"),
        ("{'a\\x1b]0;b\\x07': torch.ones(1)}", "the first tensors are a ]0;b "),
    )  # fmt: skip
    left_out = "state | {'decoder\\x1b[31m\\nü': torch.ones(1)}"
    with tempfile.TemporaryDirectory() as folder:
        found = convert_variants(folder, "timm_registers", *((text, ["--num-heads", "4"]) for text, _ in variants),
                                 (left_out, ["--num-heads", "4"]))
        for (status, err, _), (text, word) in zip(found, variants):
            line = err.splitlines()[-1]
            assert status == 2 and line.startswith("convert_checkpoint: ") and word in line, (text, status, err)
            assert "\x1b" not in err, (text, err)
        status, err, _ = found[-1]
        assert status == 0 and "left out: decoder [31m ü\n" in err, (status, err)


def test_no_file_but_its_own_is_written():
    """Not even through a link that has the name of what is written at first."""
    sys.path.insert(0, str(ROOT / "tools"))
    from model_files import replaced
    with tempfile.TemporaryDirectory() as folder:
        victim, model = Path(folder) / "victim", Path(folder) / "model.safetensors"
        victim.write_text("mine")
        (Path(folder) / "model.safetensors.part").symlink_to(victim)
        with replaced(model) as out:
            out.write(b"new")
            during = [file.name for file in Path(folder).iterdir()]
        assert f"model.safetensors.part{os.getpid()}-0" in during, during
        assert model.read_text() == "new" and victim.read_text() == "mine"
        planted = [Path(folder) / f"model.safetensors.part{os.getpid()}-{number}" for number in range(1, 9)]
        for link in planted:
            link.symlink_to(victim)
        with replaced(model) as out:
            out.write(b"newer")
        assert model.read_text() == "newer" and victim.read_text() == "mine", "it was written through a link"
        assert all(link.is_symlink() for link in planted), "not its own to remove"
        ended = subprocess.Popen(["true"])
        ended.wait()
        left = Path(folder) / f"model.safetensors.part{ended.pid}-0"
        others = [Path(folder) / name for name in ("model.safetensors.part7", f"other.part{ended.pid}-0")]
        for file in (left, *others):
            file.write_text("of somebody")
        with replaced(model) as out:
            out.write(b"newest")
        assert model.read_text() == "newest" and not left.exists()
        assert all(file.exists() for file in others)


def test_a_process_with_the_number_of_one_that_was_killed():
    """As in a container, where they begin at 1 again. What is older than this one is its own to remove."""
    sys.path.insert(0, str(ROOT / "tools"))
    from model_files import replaced
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        parts = [Path(folder) / f"model.safetensors.part{os.getpid()}-{number}" for number in range(100)]
        old = parts[50:]  # others here may have taken the first numbers
        for part in parts:
            part.write_text("half")
        for part in old:
            os.utime(part, (0, 0))
        with replaced(model) as out:
            out.write(b"new")
            os.utime(out.name, (0, 0))  # as a disk's clock may be behind
            with replaced(model) as other:
                other.write(b"meanwhile")
        assert model.read_text() == "new"
        assert [part.exists() for part in parts] == [True] * 50 + [False] * 50
        assert all(part.read_text() == "half" for part in parts[:50])


def test_a_configuration_is_not_written_through_a_link():
    original = FIXTURES / "vit"
    with tempfile.TemporaryDirectory() as folder:
        path = pickled(folder, original / "model.safetensors", wrapped=False)
        for name in ("config.json", "preprocessor_config.json"):
            (Path(folder) / name).write_bytes((original / name).read_bytes())
        victim, out = Path(folder) / "victim", Path(folder) / "model"
        victim.write_text("mine")
        out.mkdir()
        for name in ("config.json", "config.json.part", "model.safetensors.part"):
            (out / name).symlink_to(victim)
        convert_ok(path, out)
        assert victim.read_text() == "mine"
        assert (out / "config.json").read_bytes() == (original / "config.json").read_bytes()


def test_a_full_disk_keeps_the_old_model():
    with tempfile.TemporaryDirectory() as folder:
        path = pickled(folder, FIXTURES / "timm_registers" / "model.safetensors", wrapped=False)
        out = Path(folder) / "model"
        convert_ok(path, out, "--num-heads", 4)
        before = (out / "model.safetensors").read_bytes()
        small = len(before) // 2  # Python ignores the signal and sees an error of write()
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (small, small))
        status, _, err = convert(path, out, "--num-heads", 4, preexec_fn=limit)
        assert status == 2 and "File too large" in err.splitlines()[-1], err
        assert (out / "model.safetensors").read_bytes() == before
        assert sorted(file.name for file in out.iterdir()) == ["config.json", "model.safetensors"]


tap.main(globals())
