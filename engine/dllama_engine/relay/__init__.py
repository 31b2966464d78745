"""Network emulation in user space: a relay that delays the streams between local processes."""
