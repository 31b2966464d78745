"""How the small model that ships with the project is made: stories -> tokenizer -> training -> files.

Nothing here is needed to run the product. Only `model`, `quantization` and `train` need PyTorch.
"""
