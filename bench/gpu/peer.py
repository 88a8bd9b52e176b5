"""One PyTorch model on the GPU in a process of its own: reads a number of runs from stdin, answers with
their milliseconds as JSON. A run ends when the logits are on the host, as ours does.
`peer.py eager|compile MODEL BATCH PRECISION`: timm's model; for clips, which timm has none of, the
same architecture in plain PyTorch (bench/cpu/vit.py), both with fused attention.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "cpu"))
from turns import answer_turns  # noqa: E402

kind, name, batch, precision = sys.argv[1:]
dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
torch.manual_seed(0)


def make_model():
    if name.startswith("video"):
        from vit import ViT

        model = ViT(name)
        return model, (int(batch), *model.input_shape)
    import timm

    timm.layers.set_fused_attn(True)
    model = timm.create_model(name, pretrained=False, num_classes=1000)
    return model, (int(batch), 3, *model.patch_embed.img_size)


def main():
    model, shape = make_model()
    model = model.eval().to("cuda", dtype)
    if kind == "compile":
        model = torch.compile(model, mode="max-autotune")
    x = torch.randn(*shape, device="cuda", dtype=dtype)

    def run():
        return model(x).float().cpu()

    with torch.inference_mode():
        # Ours has measured its products right before: a device that rested would run faster than that.
        answer_turns(run, warm_up=5, wake_seconds=0.5)


main()
