"""The attention of one sample as it lies in its shard: one safetensors file, float16.

Cross-attention is kept per step and resolution under ``cross/<step>/<h>x<w>``, ``(phrases, h, w)``
in the order of the prompt row's classes; self-attention under ``self/<h>x<w>``, ``(h w, h w)``.
"""

from dataclasses import dataclass, field

import numpy as np
from safetensors.numpy import load, save

from tasks.params import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class Captured:
    """What was kept of a sample's attention.

    Attributes:
        cross: (entry of ``capture.steps``, (h, w)) -> ``float16 (phrases, h, w)``, probabilities.
        self_attention: (h, w) -> ``float16 (h w, h w)``, rows that sum to 1; at most one.
    """

    cross: dict[tuple[str, Size], np.ndarray]
    self_attention: dict[Size, np.ndarray] = field(default_factory=dict)

    def maps(self, step: int | str, sides: tuple[int, ...] | None) -> list[np.ndarray]:
        """The cross-attention of one step at the given sides (None: all), largest first.

        Raises:
            InputError: that was not kept, as sampling was done with another capture.
        """
        kept = {max(size): value for (name, size), value in self.cross.items() if name == str(step)}
        wanted = kept if sides is None else sides
        missing = [side for side in wanted if side not in kept]
        if missing or not kept:
            raise InputError(
                f"data/samples holds no attention of step {step}, sides "
                f"{missing or sides or 'all'}; it was sampled with another "
                "sample_images.capture: run sample_images again"
            )
        return [kept[side] for side in sorted(wanted, reverse=True)]

    def self_attention_size(self) -> Size:
        """(h, w) of the self-attention.

        Raises:
            InputError: none was kept.
        """
        for size in self.self_attention:
            return size
        raise InputError(
            "data/samples holds no self-attention; it was sampled with another "
            "sample_images.capture: run sample_images again"
        )

    def encode(self) -> bytes:
        """The file: the same bytes for the same arrays."""
        arrays = {f"cross/{step}/{h}x{w}": value for (step, (h, w)), value in self.cross.items()}
        arrays |= {f"self/{h}x{w}": value for (h, w), value in self.self_attention.items()}
        return bytes(save({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}))


def merge_phrases(maps: np.ndarray, names: list[str]) -> np.ndarray:
    """``(phrases, h, w)`` to one map per class: the largest value of the class's phrases."""
    return np.stack([maps[[n == name for n in names]].max(0) for name in dict.fromkeys(names)])


def decode_capture(data: bytes) -> Captured:
    """The inverse of `Captured.encode`."""
    cross, self_attention = {}, {}
    for name, value in load(data).items():
        kind, *step, sides = name.split("/")
        h, _, w = sides.partition("x")
        if kind == "cross":
            cross[step[0], (int(h), int(w))] = value
        else:
            self_attention[int(h), int(w)] = value
    return Captured(cross, self_attention)
