"""What is written: Markdown, HTML, comments, and their files."""
