"""How the shipped model is made: stories -> tokenizer -> training -> files.

Nothing here is needed to run the product. Only `llama`, `fake_quant`, `optimize`,
`evaluation` and `train` need PyTorch (`pip install .[train]`).
"""
