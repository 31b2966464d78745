"""What is written: Markdown, files, the terminal's table."""
