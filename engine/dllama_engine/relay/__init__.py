"""How processes of one machine are put on other links: what delays the streams between them."""
