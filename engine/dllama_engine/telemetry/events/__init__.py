"""The vocabulary of the event stream: one frozen dataclass an event."""
