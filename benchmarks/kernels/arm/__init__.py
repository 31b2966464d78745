"""The AArch64 kernels on emulated boards."""
