"""What did the real dllama print, and is it whole? Lines, runs, times and bytes."""
