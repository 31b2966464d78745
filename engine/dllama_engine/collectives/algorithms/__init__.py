"""How many ranks exchange in rounds: one algorithm a module, behind `base.Collective`."""
