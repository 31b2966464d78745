"""Do the AArch64 kernels give this machine's results, to the bit, on CPUs of two boards?"""
