import numpy as np
import torch

from storybook import page
from storybook.base_model.corpus import encode_pages, page_scenes
from storybook.base_model.parts import build_autoencoder


def test_more_pages_begin_with_their_kind_and_leave_the_others_alone() -> None:
    scenes = list(page_scenes(3, 5, {"owl": 2, "palm": 1}))
    assert scenes[:3] == list(page_scenes(3, 5))
    assert [scene.things[0].kind for scene in scenes[3:]] == ["owl", "owl", "palm"]
    # Each is from a generator of its own: it can be made alone.
    assert scenes[4] == page.sample_scene(np.random.default_rng((5, 4)), "owl")


def test_latents_and_captions_go_together_over_batches() -> None:
    torch.manual_seed(0)
    model = build_autoencoder().eval()
    latents, captions = encode_pages(model, 250, 1, {"duck": 10})
    assert latents.shape == (260, 4, 16, 16)
    assert latents.dtype == torch.float16
    assert captions == [page.caption(scene) for scene in page_scenes(250, 1, {"duck": 10})]
    alone, _ = encode_pages(model, 2, 1)
    torch.testing.assert_close(latents[:2], alone, atol=0.05, rtol=0)
