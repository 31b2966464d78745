"""y = x W^T by type and instruction set, and the packing that it reads."""
