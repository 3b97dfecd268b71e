"""The engines that make a video's frames, their common interface (`base`), and which of them are installed."""
