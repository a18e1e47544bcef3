import json
from pathlib import Path

import torch
import yaml
from diffusers import AutoencoderTiny, UNet2DConditionModel
from safetensors.torch import load_file

from storybook.base_model.train import HERE, main

MODEL = Path(__file__).parents[3] / "models/storybook-sd"


def test_training_goes_on_from_a_model(tmp_path: Path) -> None:
    settings = yaml.safe_load((HERE / "further.yaml").read_text())
    settings["corpus"] |= {"count": 6, "more": {"duck": 2}}
    settings["unet"] |= {"minutes": 1e-6, "batch": 2, "compiled": False}  # one step
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(settings))
    out = tmp_path / "out"
    main(params=params, work=tmp_path / "work", out=out, start=MODEL)

    weights = "diffusion_pytorch_model.safetensors"
    before, after = (load_file(folder / "unet" / weights) for folder in (MODEL, out))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    for name, value in before.items():  # a step of the warm-up is small
        torch.testing.assert_close(after[name].float(), value.float(), atol=1e-3, rtol=0)
    vaes = (AutoencoderTiny.from_pretrained(folder / "vae").state_dict() for folder in (MODEL, out))
    for one, other in zip(*(vae.values() for vae in vaes), strict=True):
        assert torch.equal(one, other)
    words = [(folder / "tokenizer/tokenizer.json").read_bytes() for folder in (MODEL, out)]
    assert words[0] == words[1]

    record, earlier = (
        json.loads((folder / "training.json").read_text()) for folder in (out, MODEL)
    )
    assert record["unet"]["steps"] == 1
    assert record["unet"]["corpus"] == 8
    assert record["settings"] == settings
    assert record["earlier"] == earlier
    assert record["autoencoder"] == earlier["autoencoder"]
    assert UNet2DConditionModel.from_pretrained(out / "unet").num_parameters() == 6985476
