"""What bounds a kernel: the CPU's ports, memory, or how its threads are led?"""
