"""What the transformer is conditioned on: image, voice, prompt and speakers, encoded. Nothing of the sampling."""
