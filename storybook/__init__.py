"""The embedded world: a renderer with exact labels, its captions, and a tiny Stable Diffusion."""
