"""A model folder in Hugging Face layout with random weights, the same at each call.
`random_model.py ARCHITECTURE FOLDER`, the architecture by timm's name."""

import json
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

architecture, folder = sys.argv[1], Path(sys.argv[2])
folder.mkdir()
torch.manual_seed(0)
model = timm.create_model(architecture, pretrained=False)
save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()},
          folder / "model.safetensors")
keys = ("input_size", "interpolation", "crop_pct", "mean", "std")
(folder / "config.json").write_text(json.dumps(
    {"architecture": architecture, "num_classes": model.num_classes,
     "pretrained_cfg": {key: model.pretrained_cfg[key] for key in keys}}))
(folder / "labels.txt").write_text("".join(f"class {i}\n" for i in range(model.num_classes)))
