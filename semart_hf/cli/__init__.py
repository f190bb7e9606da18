"""The command lines, one file a command: each parses, calls one room, and prints."""
