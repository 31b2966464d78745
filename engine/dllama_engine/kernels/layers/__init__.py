"""What stands between the products: norms, activations, rope, attention."""
