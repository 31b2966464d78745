"""What the operating system offers; knows no model and no wire."""
