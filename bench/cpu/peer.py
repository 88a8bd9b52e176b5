"""One peer in a process of its own: reads a number of runs from stdin, answers with their
milliseconds as JSON. `peer.py ENGINE MODEL BATCH THREADS PRECISION R`"""

import sys
import tempfile

import torch

from turns import answer_turns
from vit import ViT

engine, name, batch, threads, precision, r = sys.argv[1:]
batch, threads, r = int(batch), int(threads), int(r)
dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
torch.set_num_threads(threads)
torch.manual_seed(0)


def rows(model):
    return torch.randn(batch, *model.input_shape)


def prepare_torch():
    model = ViT(name, r).eval().to(dtype)
    x = rows(model).to(dtype)
    return lambda: model(x)


def prepare_timm():
    import timm

    model = timm.create_model(name, pretrained=False, num_classes=1000).eval().to(dtype)
    x = torch.randn(batch, 3, *model.patch_embed.img_size).to(dtype)
    return lambda: model(x)


def quantized(model, x):
    """Weights and activations in 8 bits, as Intel's tools make a DL Streamer model. What it is
    calibrated on says nothing here: weights are random, and speed does not depend on them."""
    import nncf

    nncf.set_log_level(40)  # errors
    samples = nncf.Dataset([x.numpy(), *(torch.randn_like(x).numpy() for _ in range(3))])
    return nncf.quantize(model, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=4)


def prepare_openvino():
    import openvino as ov

    model = ViT(name).eval()
    x = rows(model)
    converted = ov.convert_model(model, example_input=x, input=list(x.shape))
    if engine == "openvino-int8":
        converted = quantized(converted, x)
    kind = {"fp32": "f32", "bf16": "bf16"}[precision]
    compiled = ov.Core().compile_model(converted, "CPU", {
        "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"})
    request, pixels = compiled.create_infer_request(), x.numpy()
    return lambda: request.infer([pixels], share_inputs=True, share_outputs=True)


def prepare_onnxruntime():
    import onnxruntime as ort

    model = ViT(name).eval()
    x = rows(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as folder:
        torch.onnx.export(model, (x,), f"{folder}/model.onnx", dynamo=False, opset_version=18)
        session = ort.InferenceSession(f"{folder}/model.onnx", options, ["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x.numpy()}
    return lambda: session.run(None, feed)


with torch.inference_mode():
    run = globals()[f"prepare_{engine.split('-')[0]}"]()
    answer_turns(run, warm_up=2)
