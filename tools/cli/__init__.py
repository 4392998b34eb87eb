"""The command line `secateur`: `commands/` holds a file each; here is what they share and print."""
