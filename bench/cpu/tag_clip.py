"""What a Python user would write: OpenCV reads and scales, timm or OpenVINO classifies in batches.
`tag_clip.py timm|openvino FILE ARCHITECTURE PRECISION BATCH WARM_UP`: frames per second after WARM_UP
frames, as JSON. PRECISION is fp32 or bf16."""

import json
import sys
import time

import cv2
import numpy as np
import timm
import torch

engine, path, architecture, precision, batch, warm_up = sys.argv[1:]
batch, warm_up = int(batch), int(warm_up)
torch.manual_seed(0)
model = timm.create_model(architecture, pretrained=False).eval()
side = model.patch_embed.img_size[0]
resized = round(side / 0.9)


def classifier():
    if engine == "timm":
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        model.to(dtype)
        return lambda pixels: model(torch.from_numpy(pixels).to(dtype)).float().numpy()
    import openvino as ov

    example = torch.zeros(batch, 3, side, side)
    converted = ov.convert_model(model, example_input=example, input=list(example.shape))
    kind = {"fp32": "f32", "bf16": "bf16"}[precision]
    compiled = ov.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": kind})
    return lambda pixels: compiled(filled(pixels))[0][:len(pixels)]


def filled(pixels):
    """A last batch too has the size that the model was converted for."""
    missing = np.zeros((batch - len(pixels), *pixels.shape[1:]), pixels.dtype)
    return np.concatenate([pixels, missing]) if len(missing) else pixels


def preprocess(frame):
    scale = resized / min(frame.shape[:2])
    small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    top, left = (small.shape[0] - side) // 2, (small.shape[1] - side) // 2
    rgb = cv2.cvtColor(small[top:top + side, left:left + side], cv2.COLOR_BGR2RGB)
    return (rgb.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)


with torch.inference_mode():
    classify = classifier()
    capture = cv2.VideoCapture(path)
    count, waiting, started = 0, [], None
    while True:
        good, frame = capture.read()
        if good:
            waiting.append(preprocess(frame))
        if len(waiting) == batch or (not good and waiting):
            np.argsort(-classify(np.stack(waiting)), axis=1)[:, :5]
            count += len(waiting)
            waiting = []
            if started is None and count >= warm_up:
                started, skipped = time.perf_counter(), count
        if not good:
            break
if started is None or count == skipped:
    sys.exit(f"tag_clip.py: found {count} frames in {path}, expected more than {warm_up}, and a batch")
print(json.dumps({"frames_per_s": (count - skipped) / (time.perf_counter() - started)}))
