"""Pictures of a run: what each shows, and how it is drawn; the only room that knows matplotlib."""
