"""The training of storybook's tiny Stable Diffusion, from scratch, on images and captions only."""
