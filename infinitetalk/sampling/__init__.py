"""From noise to latents: time steps, guidance, TeaCache, color correction, and the point to resume from."""
