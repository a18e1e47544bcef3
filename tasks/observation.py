"""Looking at the queries and keys of a UNet's attention layers, at chosen calls.

Forward hooks on the layers' own projections: nothing is replaced, and whatever processors or LoRA
layers are in force stay so. Hooks on layers exist only while a call is read.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, FusedAttnProcessor2_0
from torch import Tensor, nn

from tasks.params import InputError

Size = tuple[int, int]
SUPPORTED = "supported are pipelines with a UNet2DConditionModel (Stable Diffusion 1.x, 2.x, XL)"


class Observer(Protocol):
    """What looks at the layers.

    Attributes:
        steps: the calls of the UNet to look at.
        step: index of the call in progress, -1 before the first; kept by `observe`.
        guided: whether the batch is (unconditional, conditional); None before the first call read.
    """

    steps: frozenset[int]
    step: int
    guided: bool | None

    def wants(self, size: Size) -> bool:
        """Whether layers of this (h, w) are read."""

    def read(self, query: Tensor, key: Tensor, size: Size, mask: Tensor | None) -> None:
        """Look at one layer of the conditional half.

        Args:
            query: ``(N, heads, h * w, d)``.
            key: ``(N, heads, tokens, d)``, scaled by 1 / sqrt(d).
            mask: ``(N, 1, 1, tokens)`` to add to their products.
        """


def _map_size(latents: Size, positions: int) -> Size | None:
    """The (h, w) of a layer with ``positions`` query positions, a halving of the latents."""
    h, w = latents
    while h * w > positions:
        h, w = -(-h // 2), -(-w // 2)
    return (h, w) if h * w == positions else None


def _readable_layers(unet: nn.Module, cross: bool) -> list[Attention]:
    """The attention layers of the asked kind.

    Raises:
        InputError: the network is of another kind, or cannot be observed as it is set up.
    """
    inner = getattr(unet, "_orig_mod", unet)  # of torch.compile
    layers = [
        module
        for module in inner.modules()
        if isinstance(module, Attention) and module.is_cross_attention == cross
    ]
    if not isinstance(inner, UNet2DConditionModel) or not layers:
        kind = "cross" if cross else "self"
        raise InputError(
            f"{type(inner).__name__}: its {kind}-attention cannot be read; {SUPPORTED}"
        )
    if inner._compiled_call_impl is not None:
        raise InputError(
            "the UNet is compiled in place, which hides its attention; use "
            "pipeline.unet = torch.compile(pipeline.unet), or compile_repeated_blocks()"
        )
    # Not by layer.fused_projections: it stays on when the projections are unfused.
    if any(isinstance(layer.processor, FusedAttnProcessor2_0) for layer in layers):
        raise InputError(
            "the UNet's projections are fused, which hides its attention; call "
            "unfuse_qkv_projections() first"
        )
    return layers


@contextmanager
def observe(unet: nn.Module, observer: Observer, samples: int, *, cross: bool) -> Iterator[None]:
    """Count the UNet's calls, and at the chosen ones show the layers to an observer.

    The layers have hooks only while they are read. Compiled code runs no hooks, so a compiled UNet
    runs uncompiled at these calls; at the others nothing is there to be compiled in.

    Raises:
        InputError: the network is of another kind, or cannot be observed as it is set up.
    """
    layers = _readable_layers(unet, cross)
    reading = ExitStack()

    def before_unet(_unet: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        observer.step += 1
        if observer.step not in observer.steps:
            return
        if _is_compiled(unet):
            reading.enter_context(torch.compiler.set_stance("force_eager"))
        latents = (args[0] if args else kwargs["sample"]).shape[-2:]
        for layer in layers:
            for remove in watch(layer, (latents[0], latents[1])):
                reading.callback(remove)

    def after_unet(*_: Any) -> None:
        reading.close()

    def watch(layer: Attention, latents: Size) -> Iterator[Callable[[], None]]:
        seen: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
            def hook(_projection: nn.Module, _args: Any, output: Tensor) -> None:
                seen[name] = output

            return hook

        @torch.no_grad()
        def after_layer(
            _layer: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any], _output: Tensor
        ) -> None:
            if len(seen) < 2:
                raise InputError(
                    f"{type(layer.processor).__name__} attends without the layer's to_q and to_k, "
                    "which hides its attention; call unet.set_attn_processor(AttnProcessor2_0()) "
                    "first"
                )
            query, key = seen.pop("query"), seen.pop("key")
            size = _map_size(latents, query.shape[1])
            if size is None:
                raise InputError(
                    f"an attention layer of {query.shape[1]} positions is no halving of the "
                    f"{latents[0]}x{latents[1]} latents; {SUPPORTED}"
                )
            if not observer.wants(size):
                return
            _note_guidance(observer, len(query), samples)
            query, key = _heads(layer, query[-samples:], key[-samples:])
            mask = kwargs.get("attention_mask")
            if mask is not None:
                mask = mask[-samples:].float().reshape(samples, 1, 1, -1)
            observer.read(query, key, size, mask)

        yield layer.to_q.register_forward_hook(keep("query")).remove
        yield layer.to_k.register_forward_hook(keep("key")).remove
        yield layer.register_forward_hook(after_layer, with_kwargs=True).remove

    with ExitStack() as hooks:
        hooks.callback(reading.close)
        hooks.callback(unet.register_forward_pre_hook(before_unet, with_kwargs=True).remove)
        # Prepended: of nested traces the inner one ends first, and the stance with it.
        ended = unet.register_forward_hook(after_unet, always_call=True, prepend=True)
        hooks.callback(ended.remove)
        yield


def _is_compiled(unet: nn.Module) -> bool:
    return any(
        hasattr(module, "_orig_mod") or module._compiled_call_impl is not None
        for module in unet.modules()
    )


def _note_guidance(observer: Observer, batch: int, samples: int) -> None:
    """Tell whether the batch is guided.

    Raises:
        ValueError: the batch is neither as large as the samples nor twice that.
    """
    if batch not in (samples, 2 * samples):
        raise ValueError(
            f"the trace was made for {samples} samples, but the UNet runs a batch of {batch}; "
            f"expected {samples} or, guided, {2 * samples}"
        )
    # With classifier-free guidance the batch is (unconditional, conditional).
    observer.guided = batch == 2 * samples


def _heads(layer: Attention, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Queries, and keys scaled by 1 / sqrt(d): ``(N, heads, positions, d)``, as processors do."""
    query = query.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    key = key.unflatten(-1, (layer.heads, -1)).transpose(1, 2)
    if layer.upcast_attention:  # Stable Diffusion 2.x: the products overflow float16
        query, key = query.float(), key.float()
    return query, key * layer.scale  # the keys are fewer
