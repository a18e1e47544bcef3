"""Trains storybook's Stable Diffusion from scratch: ``python -m storybook.base_model.train``.

Hours on two CPU cores. Stop it at any time; the same command continues. The result is a diffusers
folder with the record of its training beside it.
"""

import json
import logging
import platform
import time
from pathlib import Path
from typing import Annotated

import cyclopts
import torch
import yaml
from cyclopts import Parameter
from diffusers import AutoencoderTiny, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from transformers import CLIPTextModel, CLIPTokenizer

from storybook.base_model.autoencoder import train_autoencoder
from storybook.base_model.corpus import encode_pages
from storybook.base_model.parts import (
    build_scheduler,
    build_text_encoder,
    build_unet,
    train_tokenizer,
)
from storybook.base_model.unet import train_unet

log = logging.getLogger(__name__)
HERE = Path(__file__).parent


def assemble(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    vae: AutoencoderTiny,
    tokenizer_folder: Path,
    folder: Path,
) -> None:
    """Save the parts as one `StableDiffusionPipeline` folder, half precision, safetensors."""
    vae.register_to_config(_name_or_path="")  # where it was loaded from is nobody's business
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer_folder),
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)


def main(
    *,
    params: Annotated[Path, Parameter(help="training parameters")] = HERE / "params.yaml",
    work: Annotated[Path, Parameter(help="checkpoints, kept between runs")] = HERE / "work",
    out: Annotated[Path, Parameter(help="the model folder to write")] = HERE / "out",
    start: Annotated[Path | None, Parameter(help="a model folder to go on from")] = None,
    snapshot: Annotated[bool, Parameter(help="only export the last checkpoint to OUT")] = False,
) -> None:
    """Train the tokenizer, the autoencoder and the UNet, then write the model folder.

    From START all three are taken; only the UNet and the word vectors are trained further.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    settings = yaml.safe_load(params.read_text())
    torch.set_num_threads(settings["threads"])
    work.mkdir(parents=True, exist_ok=True)
    started = time.strftime("%Y-%m-%d")
    earlier = json.loads((start / "training.json").read_text()) if start else None

    if start:
        vae = AutoencoderTiny.from_pretrained(start / "vae", torch_dtype=torch.float32).eval()
    else:
        if not (work / "vae").exists():
            vae, record = train_autoencoder(**settings["autoencoder"])
            (work / "autoencoder.json").write_text(json.dumps(record, indent=2))
            vae.save_pretrained(work / "vae")
        vae = AutoencoderTiny.from_pretrained(work / "vae").eval()

    corpus = work / "corpus.pt"
    if not corpus.exists():
        latents, captions = encode_pages(vae, **settings["corpus"])
        torch.save({"latents": latents, "captions": captions}, corpus)
    stored = torch.load(corpus, weights_only=True)
    if start:
        tokenizer = CLIPTokenizer.from_pretrained(start / "tokenizer")
        tokenizer.save_pretrained(work / "tokenizer")
    else:
        tokenizer = train_tokenizer(stored["captions"], work / "tokenizer")

    def tokenize(texts: list[str]) -> torch.Tensor:
        return tokenizer(texts, padding="max_length", return_tensors="pt").input_ids

    torch.manual_seed(settings["unet"]["seed"])
    text_encoder = build_text_encoder(tokenizer)
    unet = build_unet(tuple(settings["unet"].pop("block_out_channels")))
    if start:
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(start / "unet").state_dict())
        text_encoder.load_state_dict(
            CLIPTextModel.from_pretrained(start / "text_encoder").state_dict()
        )
    if snapshot:
        state = torch.load(work / "unet.pt", weights_only=True)
        parameters = [*unet.parameters(), *text_encoder.parameters()]
        average = EMAModel(parameters)
        average.load_state_dict(state["average"])
        average.copy_to(parameters)
        assemble(unet, text_encoder, vae, work / "tokenizer", out)
        return
    record = train_unet(
        unet,
        text_encoder,
        build_scheduler(),
        stored["latents"],
        tokenize(stored["captions"]),
        tokenize([""])[0],
        checkpoint=work / "unet.pt",
        **settings["unet"],
    )
    assemble(unet, text_encoder, vae, work / "tokenizer", out)
    (out / "training.json").write_text(
        json.dumps(
            {
                "date": started,
                "machine": f"{platform.machine()}, {settings['threads']} cores, no GPU",
                "torch": torch.__version__,
                "settings": yaml.safe_load(params.read_text()),
                "parameters": {
                    "unet": unet.num_parameters(),
                    "text_encoder": text_encoder.num_parameters(),
                    "autoencoder": vae.num_parameters(),
                },
                "autoencoder": earlier["autoencoder"]
                if earlier
                else json.loads((work / "autoencoder.json").read_text()),
                "unet": record,
                "earlier": earlier,
            },
            indent=1,
        )
    )
    log.info("wrote %s", out)


if __name__ == "__main__":
    cyclopts.run(main)
