"""The parts of the tiny Stable Diffusion: tokenizer, text encoder, autoencoder, UNet, scheduler.

Every part is a stock diffusers or transformers class, so that the result loads with
`StableDiffusionPipeline.from_pretrained` like any model from the hub.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TEXT_LENGTH = 20
"""Tokens of a prompt, start and end included. Short, so that padding dilutes attention little."""
TEXT_WIDTH = 128
LATENT_CHANNELS = 4
LATENT_SIDE = 16
START, END = "<|startoftext|>", "<|endoftext|>"


def train_tokenizer(captions: Iterable[str], folder: Path) -> CLIPTokenizer:
    """Learn byte-pair merges until each word of ``captions`` is one token; save to ``folder``.

    Words that storybook does not know split into several tokens, as with the real CLIP tokenizer.
    """
    raw = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=" ", behavior="removed"),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        special_tokens=[START, END],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    raw.train_from_iterator(captions, trainer)
    trained = json.loads(raw.to_str())["model"]
    # The trainer leaves out end-of-word forms of single bytes that it did not see: add them, so
    # that any text has tokens.
    vocab: dict[str, int] = dict(trained["vocab"])
    for symbol in alphabet:
        vocab.setdefault(f"{symbol}</w>", len(vocab))
    merges = [tuple(pair) for pair in trained["merges"]]
    tokenizer = CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=TEXT_LENGTH,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A CLIP text model with no transformer layer: word vectors plus positions, normalised.

    Where tokens mix, end-of-text and padding carry the sentence and the class word's attention map
    does not localise.
    """
    end = tokenizer.convert_tokens_to_ids(END)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=0,
        num_attention_heads=4,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.convert_tokens_to_ids(START),
        eos_token_id=end,
        pad_token_id=end,
    )
    return CLIPTextModel(config)


def build_autoencoder() -> AutoencoderTiny:
    """64x64x3 images to 16x16x4 latents and back; 0.3 M parameters."""
    return AutoencoderTiny(
        latent_channels=LATENT_CHANNELS,
        encoder_block_out_channels=(32, 32, 32),
        decoder_block_out_channels=(32, 32, 32),
        num_encoder_blocks=(1, 2, 2),
        num_decoder_blocks=(2, 2, 1),
        latent_magnitude=3,
        scaling_factor=1.0,
    )


def build_unet(block_out_channels: tuple[int, int, int]) -> UNet2DConditionModel:
    """A UNet with cross-attention at 16x16, 8x8 and 4x4."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=block_out_channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        mid_block_type="UNetMidBlock2DCrossAttn",
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """v-prediction: with epsilon the model did not follow the prompt in the same time."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
    )
