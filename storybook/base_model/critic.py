"""A small segmenter trained on drawn images: the judge of the base model and of its adapters.

It measures what the labels know and the base model was never told: whether the prompted thing is
there, and where.
"""

import logging

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from storybook import page, street
from storybook.base_model.corpus import page_scenes, to_tensor
from storybook.vocabulary import CLASS_NAMES

log = logging.getLogger(__name__)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Critic(nn.Module):
    """A U-Net (Ronneberger et al. 2015), four scales: ``(N, 3, H, W)`` in -1..1 to logits."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (24, 48, 96, 128)) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _block(a, b) for a, b in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.up = nn.ModuleList(
            _block(a + b, a) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = []
        x = images
        for i, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if i else x)
            features.append(x)
        for block, skip in zip(self.up, features[-2::-1], strict=True):
            larger = functional.interpolate(x, scale_factor=2, mode="bilinear")
            x = block(torch.cat([larger, skip], 1))
        logits: Tensor = self.head(x)
        return logits


def labelled_images(count: int, seed: int, domain: str = "page") -> tuple[Tensor, Tensor]:
    """``float32 (count, 3, 64, 64)`` in -1..1 and ``int64 (count, 64, 64)``."""
    if domain == "page":
        pairs = [page.render(scene) for scene in page_scenes(count, seed)]
    else:
        generators = (np.random.default_rng((seed, index)) for index in range(count))
        pairs = [street.render(street.sample_street(rng)) for rng in generators]
    images, labels = zip(*pairs, strict=True)
    return to_tensor(np.stack(images)), torch.from_numpy(np.stack(labels)).long()


def train_critic(
    steps: int, seed: int, *, domain: str = "page", images: int = 6000, batch: int = 32
) -> Critic:
    """Train on drawn images with exact labels, with noise and blur so that samples fit in too."""
    torch.manual_seed(seed)
    pixels, labels = labelled_images(images, seed, domain)
    critic = Critic(len(CLASS_NAMES[domain]))
    critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub
    optimizer = torch.optim.AdamW(critic.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(images, (batch,))
        x = pixels[chosen]
        if step % 2:
            x = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = x + 0.08 * torch.rand(()) * torch.randn_like(x)
        with torch.autocast("cpu", torch.bfloat16):
            logits = critic(x.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits.float(), labels[chosen])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 100 == 99:
            log.info("critic step %d of %d, loss %.4f", step + 1, steps, loss.item())
    return critic.eval()


@torch.no_grad()
def predict(critic: Critic, images: Tensor) -> Tensor:
    """Label maps ``int64 (N, 64, 64)`` of ``(N, 3, 64, 64)`` in -1..1."""
    return torch.cat([critic(part).argmax(1) for part in images.split(64)])


def mean_iou(predicted: Tensor, truth: Tensor, count: int) -> float:
    """Mean over ``count`` classes of intersection over union, counted over all pixels."""
    confusion = torch.bincount((truth * count + predicted).flatten(), minlength=count**2)
    confusion = confusion.view(count, count).double()
    hit = confusion.diag()
    return float((hit / (confusion.sum(0) + confusion.sum(1) - hit)).mean())
