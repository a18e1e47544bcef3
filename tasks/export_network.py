"""Export a trained network: to TorchScript or ONNX, or as a checkpoint of MMSegmentation.

    python -m tasks.export_network segmenter.onnx
    python -m tasks.export_network deeplab.pt --model deeplab.py --checkpoint deeplab.pth
    python -m tasks.export_network segmenter.pth --network 0

A checkpoint has its config beside it, see `tasks.stock_checkpoint`. The other two are written only
if the outputs agree, and need no MMSegmentation: RGB images ``float32 (N, 3, H, W)``, 0..255, go in
as ``images``, and ``logits``, ``float32 (N, C, H, W)`` before the softmax, come out; N, H and W are
free. Normalisation is inside; resizing, padding and sliding windows, of the config's
``test_pipeline``, are not. The file carries the class names by label value, JSON under
``classes.json``. All three carry the MD5 of the weights, see `tasks.exported_networks`.
"""

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
import torch
from cyclopts import Parameter
from mmengine.config import ConfigDict
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tasks.entry import run_tool
from tasks.exported_networks import WEIGHTS_MD5, source_md5
from tasks.output_paths import check_writable
from tasks.params import InputError
from tasks.segmenter import Segmenter, find_network
from tasks.stock_checkpoint import export_checkpoint
from tasks.version import project_version

log = logging.getLogger(__name__)

CLASSES = "classes.json"
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-4
"""Largest difference that is let pass, as a share of the largest logit."""

app = cyclopts.App(name="python -m tasks.export_network", version=project_version)

Run = Callable[[Tensor], Tensor]


class ImageNetwork(nn.Module):
    """A network of MMSegmentation as a function of the image alone.

    Args:
        network: an `EncoderDecoder` or `CoTrainingSegmentor`, of which both networks are exported.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        before = network.data_preprocessor
        # Images of MMSegmentation are BGR; a conversion makes RGB of them.
        self.takes_rgb = before._channel_conversion
        mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
        if before._enable_normalize:
            mean, std = before.mean, before.std
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalise(self, images: Tensor) -> Tensor:
        """What the network itself takes."""
        ordered = images if self.takes_rgb else images.flip(1)
        return (ordered - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, C, H, W)`` of RGB images ``(N, 3, H, W)``, 0..255."""
        logits = self.network(self.normalise(images), mode="tensor")
        return interpolate(
            logits,
            size=images.shape[-2:],
            mode="bilinear",
            align_corners=self.network.align_corners,
        )


def save_torchscript(
    module: ImageNetwork, example: Tensor, texts: Mapping[str, str], path: Path
) -> Run:
    """Write a module as TorchScript, traced with an example; ``texts`` by name go into the file.

    Returns:
        The network as it is read from the file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, that torch.export is newer
        traced = torch.jit.trace(module, example)
        torch.jit.save(traced, path, _extra_files=dict(texts))
        loaded: Run = torch.jit.load(path)
    return loaded


def save_onnx(module: ImageNetwork, example: Tensor, texts: Mapping[str, str], path: Path) -> Run:
    """Write a module as ONNX; ``texts`` by name go into the file.

    Returns:
        The network as ONNX Runtime reads it from the file.

    Raises:
        InputError: the exporter or the runtime is not installed.
    """
    lacking = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if lacking:
        raise InputError(
            f"{', '.join(lacking)}: not installed, and needed for ONNX; run `make onnx`, or "
            "export to TorchScript (.pt)"
        )
    import onnxruntime

    for name in ("onnx_ir", "onnxscript", "torch.onnx"):  # they tell of every step
        logging.getLogger(name).setLevel(logging.ERROR)
    free = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own code
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: free, 2: free, 3: free}},
        )
    assert program is not None  # what the exporter returns by dynamo=True
    program.model.metadata_props.update(texts)
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


CHECKPOINT = ".pth"
FORMATS = {".pt": save_torchscript, ".onnx": save_onnx}


def difference(run: Run, module: ImageNetwork, images: Tensor) -> float:
    """How far outputs are from MMSegmentation's own, as a share of the largest logit.

    Args:
        run: the exported network.
        module: what was exported; its network predicts as a whole.
        images: see `ImageNetwork.forward`.
    """
    with torch.no_grad():
        samples = module.network.predict(module.normalise(images))
        expected = torch.stack([sample.seg_logits.data for sample in samples])
        return float((run(images) - expected).abs().max() / expected.abs().max())


def export(segmenter: Segmenter, path: Path, weights: Path) -> list[tuple[tuple[int, ...], float]]:
    """Write a network to a file, unless the outputs of that differ.

    Args:
        segmenter: on the CPU.
        path: ends in ``.pt`` for TorchScript or ``.onnx``.
        weights: the file that the network's weights are from.

    Returns:
        The shapes of the images that were compared, and the `difference` of each.

    Raises:
        InputError: the file exists or has another suffix, what writes it is not installed, or its
            outputs differ.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: must end in {', '.join(FORMATS)} or {CHECKPOINT}")
    if path.exists():
        raise InputError(f"{path}: exists; choose another name, or remove it first")
    network: Any = revert_sync_batchnorm(segmenter.network)
    network.test_cfg = ConfigDict(mode="whole")
    module = ImageNetwork(network).eval()
    height, width = network.data_preprocessor.size or (512, 512)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.rand(shape, generator=generator) * 255
        for shape in ((2, 3, height, width), (1, 3, height + 32, width + 64))
    )
    texts = {CLASSES: json.dumps(segmenter.class_names), WEIGHTS_MD5: source_md5(weights)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with torch.no_grad():
            run = FORMATS[path.suffix](module, first, texts, partial)
        compared = [(tuple(one.shape), difference(run, module, one)) for one in (first, second)]
        worst = max(value for _, value in compared)
        if not worst <= TOLERANCE:
            raise InputError(
                f"{path}: not written: outputs differ by {worst:.1e} of the largest logit, more "
                f"than {TOLERANCE:.0e}; choose the other format ({' or '.join(FORMATS)})"
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return compared


@app.default
def export_network(
    path: Path,
    *,
    model: Path = Path("models/segmenter"),
    checkpoint: Path | None = None,
    network: Annotated[Literal["0", "1"] | None, Parameter(negative="")] = None,
) -> None:
    """Export a trained network to TorchScript or ONNX, or as a checkpoint of MMSegmentation.

    Of TorchScript and ONNX it is checked that the outputs agree.

    Args:
        path: the file to write: .pt is TorchScript, .onnx is ONNX (`make onnx`); .pth is a
            checkpoint, with its config as .py beside it.
        model: a folder with config.py and weights.pth, or a config file of MMSegmentation.
        checkpoint: the weights of a config file.
        network: which one of co-training's two goes into a .pth.
    """
    check_writable(path)
    if path.suffix == CHECKPOINT:
        config = export_checkpoint(model, path, checkpoint, int(network) if network else None)
        log.info("written: %s and %s", path, config)
        return
    if network:
        raise InputError("--network: is for .pth; .pt and .onnx take both networks' mean")
    weights = find_network(model, checkpoint)[1]
    compared = export(Segmenter(model, "cpu", checkpoint=checkpoint), path, weights)
    for shape, value in compared:
        log.info("%s: outputs agree to %.1e of the largest logit", "x".join(map(str, shape)), value)
    log.info("written: %s", path)


if __name__ == "__main__":
    run_tool(app)
