"""Files and folders: of users, of a session; read with limits, written whole."""
