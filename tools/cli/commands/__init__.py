"""The commands of `secateur`, one file each, cheap to import: each imports what it needs when it runs."""
