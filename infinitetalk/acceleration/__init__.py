"""What makes the networks faster or smaller: attention kernels, torch.compile, 8 bits, memory plans."""
