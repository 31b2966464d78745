"""How often verdicts are right, measured: real pairs, injected changes, other tools' judgements."""
