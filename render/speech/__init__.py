"""Scripts and the speech engines that speak them: text and SSML in, samples out. Decoding is in `render.media`."""
