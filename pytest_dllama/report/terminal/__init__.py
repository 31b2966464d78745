"""What a run says on the terminal, as plain lines."""
